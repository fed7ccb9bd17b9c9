"""Compiled CPU kernels in float32: Fourier coefficients of circuits, and harmonics, each with its gradient.

Importing this module imports Numba; machine code is cached on disk beside it, or in Numba's own cache folder. Each
kernel exists in a serial and a parallel form of the same source; small work runs serially, because waking threads
costs more than it saves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba import carray, njit, prange, types
from numba.extending import intrinsic

f4, i4 = np.float32, np.int32

#: Cody-Waite reduction by π/2 in three parts and minimax polynomials: error below 2e-7 for |x| <= 1e4. The rounding
#: trick needs exact arithmetic, so "contract" is the only fast-math flag allowed; full fast-math breaks it.
_INVERSE, _MAGIC = f4(0.636619772), f4(12582912.0)
_PART1, _PART2, _PART3 = f4(1.5703125), f4(4.837512969970703125e-4), f4(7.549789948768648e-8)
_S1, _S2, _S3 = f4(-1.6666654611e-1), f4(8.3321608736e-3), f4(-1.9515295891e-4)
_C1, _C2, _C3 = f4(4.166664568298827e-2), f4(-1.388731625493765e-3), f4(2.443315711809948e-5)
#: The same in float64: reduction in one part, and Taylor polynomials.
f8, i8 = np.float64, np.int64
_INVERSE_8, _MAGIC_8, _QUARTER = 2 / math.pi, 6755399441055744.0, math.pi / 2
_D2, _D4, _D6, _D8, _D10, _D12 = (f8((-1) ** (k // 2)) / math.factorial(k) for k in range(2, 13, 2))
_D3, _D5, _D7, _D9, _D11 = (f8((-1) ** (k // 2)) / math.factorial(k) for k in range(3, 12, 2))
_HALF, _ONE, _LIMIT = f4(0.5), f4(1), f4(1e4)
_BLOCK = 64
#: At most so many circuits run side by side, one per vector lane.
_LANES = 256

THETA, DATA = 0, 1


def _start_threads() -> None:
    """Start Numba's threads so that they get along with PyTorch's, whose cores they share.

    Starting them resets the OpenMP thread count of PyTorch, so it is set back. Idle ones sleep at once instead of
    spinning for a millisecond, as GNU OpenMP's do by default, while PyTorch's threads want the core.
    """
    count, name = torch.get_num_threads(), "GOMP_SPINCOUNT"
    given = os.environ.get(name)
    os.environ[name] = given or "0"  # read by the OpenMP library that is loaded now
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    torch.set_num_threads(count)
    if given is None:
        del os.environ[name]


_start_threads()


def both(function: Callable[..., None]) -> tuple[Any, Any]:
    """The serial and the parallel form of a kernel.

    The disk cache tells kernels apart by name and not by their flags, so the parallel form has a name of its own.
    """
    flags = {"contract"}
    twin = FunctionType(function.__code__, function.__globals__, f"{function.__name__}_parallel")
    twin.__qualname__ = twin.__name__
    serial = njit(cache=True, fastmath=flags, nogil=True)(function)
    return serial, njit(cache=True, fastmath=flags, nogil=True, parallel=True)(twin)


@intrinsic
def _float_pointer(typing_context, address):
    """An address as a pointer to float32."""

    def cast(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(types.int64), cast


@njit(cache=True)
def array_at(address, shape):
    """The contiguous float32 array at an address.

    Numba takes a microsecond to receive an array from PyTorch, which a small layer does not have; a number costs
    nothing. The caller keeps the memory alive.
    """
    return carray(_float_pointer(address), shape)  # type: ignore[call-arg]


@njit(cache=True, fastmath={"contract"})
def _sincos_far(slope, offset, x, sines, cosines, count):
    """Replace the results for angles beyond 1e4, NaN and infinity, by the slow exact route."""
    for i in range(count):
        angle = slope * x[i] + offset
        if not abs(angle) <= _LIMIT:
            wide = float(angle)
            sines[i] = f4(math.sin(wide)) if math.isfinite(wide) else f4(np.nan)
            cosines[i] = f4(math.cos(wide)) if math.isfinite(wide) else f4(np.nan)


@njit(cache=True, fastmath={"contract"}, inline="always")
def sincos_block(slope, offset, x, sines, cosines, count):
    """Sin and cos of ``count`` float32 angles slope x + offset, right for any angle; NaN for NaN and infinity."""
    ordinary = i4(0)
    for i in range(count):
        v = slope * x[i] + offset
        q = (v * _INVERSE + _MAGIC) - _MAGIC
        k = i4(q)
        r = ((v - q * _PART1) - q * _PART2) - q * _PART3
        r2 = r * r
        s = r + r * r2 * (_S1 + r2 * (_S2 + _S3 * r2))
        c = _ONE - _HALF * r2 + r2 * r2 * (_C1 + r2 * (_C2 + _C3 * r2))
        odd = (k & i4(1)) != 0
        a = c if odd else s
        b = s if odd else c
        sines[i] = -a if (k & i4(2)) else a
        cosines[i] = -b if ((k + i4(1)) & i4(2)) else b
        ordinary += i4(abs(v) <= _LIMIT)
    if ordinary < count:
        _sincos_far(slope, offset, x, sines, cosines, count)


@njit(cache=True, fastmath={"contract"})
def sincos_double(x, sines, cosines):
    """Sin and cos in float64, to 1e-11, of the float32 angles x; NaN for NaN and infinity."""
    ordinary = i4(0)
    for i in range(x.size):
        v = f8(x[i])
        q = (v * _INVERSE_8 + _MAGIC_8) - _MAGIC_8
        k = i8(q)
        r = v - q * _QUARTER
        r2 = r * r
        s = r + r * r2 * (_D3 + r2 * (_D5 + r2 * (_D7 + r2 * (_D9 + r2 * _D11))))
        c = 1.0 + r2 * (_D2 + r2 * (_D4 + r2 * (_D6 + r2 * (_D8 + r2 * (_D10 + r2 * _D12)))))
        odd = (k & 1) != 0
        a = c if odd else s
        b = s if odd else c
        sines[i] = -a if (k & 2) else a
        cosines[i] = -b if ((k + 1) & 2) else b
        ordinary += i4(abs(x[i]) <= _LIMIT)
    if ordinary < x.size:
        for i in range(x.size):
            if not abs(x[i]) <= _LIMIT:
                wide = f8(x[i])
                sines[i] = math.sin(wide) if math.isfinite(wide) else np.nan
                cosines[i] = math.cos(wide) if math.isfinite(wide) else np.nan


def _harmonics(angles, out, degree):
    """out[i] = 1, cos u … cos Du, sin u … sin Du by angle addition. angles (N,), out (N, 2D+1)."""
    blocks = (angles.size + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        start = block * _BLOCK
        count = min(_BLOCK, angles.size - start)
        sin1, cos1 = np.empty(_BLOCK, f4), np.empty(_BLOCK, f4)
        sincos_block(_ONE, f4(0), angles[start : start + count], sin1, cos1, count)
        for i in range(count):
            row = out[start + i]
            c1, s1 = cos1[i], sin1[i]
            c, s = c1, s1
            row[0] = _ONE
            row[1] = c
            row[degree + 1] = s
            for j in range(2, degree + 1):
                c, s = c * c1 - s * s1, s * c1 + c * s1
                row[j] = c
                row[degree + j] = s


def _harmonics_backward(grad, features, out, degree):
    """out[i] = Σ_j j (grad_sin_j cos ju - grad_cos_j sin ju). grad, features (N, 2D+1), out (N,)."""
    blocks = (out.size + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, out.size)):
            total = f4(0)
            for j in range(1, degree + 1):
                total += f4(j) * (grad[i, degree + j] * features[i, j] - grad[i, j] * features[i, degree + j])
            out[i] = total


def _torus(angles, out):
    """out[i] = all products of {1, cos φ_l, sin φ_l}, the last angle fastest. angles (N, L), out (N, 3^L)."""
    reps = angles.shape[1]
    for block in prange((angles.shape[0] + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        count = min(_BLOCK, angles.shape[0] - start)
        sines, cosines = np.empty(_BLOCK * reps, f4), np.empty(_BLOCK * reps, f4)
        flat = angles[start : start + count].reshape(-1)
        sincos_block(_ONE, f4(0), flat, sines, cosines, count * reps)
        for i in range(count):
            row = out[start + i]
            row[0] = _ONE
            size = 1
            for rep in range(reps - 1, -1, -1):
                c, s = cosines[i * reps + rep], sines[i * reps + rep]
                for j in range(size):
                    row[size + j] = row[j] * c
                    row[2 * size + j] = row[j] * s
                size *= 3


def _torus_backward(grad, features, out):
    """out[i, l] = Σ (grad_sin·F_cos - grad_cos·F_sin) over the pairs that differ in angle l only. out (N, L)."""
    reps, size = out.shape[1], features.shape[1]
    blocks = (out.shape[0] + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, out.shape[0])):
            stride = 1
            for rep in range(reps - 1, -1, -1):
                total = f4(0)
                for base in range(stride, size, 3 * stride):
                    for k in range(base, base + stride):
                        total += grad[i, k + stride] * features[i, k] - grad[i, k] * features[i, k + stride]
                out[i, rep] = total
                stride *= 3


@njit(cache=True, fastmath={"contract"}, inline="always")
def plane(axis):
    """The two coordinates a rotation about ``axis`` turns into each other, in order, and the axis itself."""
    return (0, 1, 2) if axis == 2 else ((2, 0, 1) if axis == 1 else (1, 2, 0))


@njit(cache=True)
def block_shape(count, most):
    """Blocks that ``count`` things fill, none of them empty, and lanes of each: a multiple of 16, at most ``most``."""
    blocks = max(1, (count + most - 1) // most)
    return blocks, ((count + blocks - 1) // blocks + 15) // 16 * 16


@njit(cache=True, fastmath={"contract"})
def columns(rows, start, count, out):
    """Some rows, transposed: out (columns, lanes), zero in the lanes beyond ``count``."""
    for i in range(count):
        for j in range(out.shape[0]):
            out[j, i] = rows[start + i, j]
    out[:, count:] = f4(0)


@njit(cache=True, fastmath={"contract"})
def angle_trigs(theta, start, count, constants, lanes):
    """Sines and cosines, (2, P + constants, lanes), of a block of circuits: of trainable angles, then of constants."""
    size = theta.shape[1]
    trigs, angles = np.empty((2, size + len(constants), lanes), f4), np.empty((size, lanes), f4)
    columns(theta, start, count, angles)
    sincos_block(_ONE, f4(0), angles.reshape(-1), trigs[0].reshape(-1), trigs[1].reshape(-1), angles.size)
    for k in range(len(constants)):
        trigs[0, size + k] = f4(math.sin(constants[k]))
        trigs[1, size + k] = f4(math.cos(constants[k]))
    return trigs


@njit(cache=True, fastmath={"contract"}, inline="always")
def trig_row(gate, size):
    """Where :func:`angle_trigs` keeps the angle of a gate, for circuits of ``size`` trainable angles."""
    return gate[2] if gate[1] == THETA else size + gate[2]


@njit(cache=True, fastmath={"contract"}, inline="always")
def rotate_block(vectors, axis, sines, cosines, sign):
    """Rotate (3, K, lanes) Bloch vectors; the angle differs from circuit to circuit."""
    first, second, _ = plane(axis)
    for k in range(vectors.shape[1]):
        a, b = vectors[first, k], vectors[second, k]
        for i in range(a.size):
            turned = a[i] * cosines[i] - b[i] * (sign * sines[i])
            b[i] = a[i] * (sign * sines[i]) + b[i] * cosines[i]
            a[i] = turned


@njit(cache=True, fastmath={"contract"}, inline="always")
def _rotate_data(vectors, axis, node_sin, node_cos, sign):
    """Rotate (3, K, lanes) Bloch vectors; the angle differs from node to node."""
    first, second, _ = plane(axis)
    for k in range(vectors.shape[1]):
        a, b = vectors[first, k], vectors[second, k]
        c, s = node_cos[k], sign * node_sin[k]
        for i in range(a.size):
            turned = a[i] * c - b[i] * s
            b[i] = a[i] * s + b[i] * c
            a[i] = turned


@njit(cache=True, fastmath={"contract"}, inline="always")
def _evolve(vectors, gates, size, trigs, node_sin, node_cos):
    """Run a block of circuits at all nodes, from |+⟩ to the end."""
    vectors[:] = f4(0)
    vectors[0] = _ONE
    for g in range(gates.shape[0]):
        if gates[g, 1] == DATA:
            _rotate_data(vectors, gates[g, 0], node_sin[gates[g, 2]], node_cos[gates[g, 2]], _ONE)
        else:
            row = trig_row(gates[g], size)
            rotate_block(vectors, gates[g, 0], trigs[0, row], trigs[1, row], _ONE)


@njit(cache=True, fastmath={"contract"})
def combine(factors, rows, out):
    """Out += Σ_k factors[k] · rows[k], four rows at a time; rows (k, lanes), out (lanes,)."""
    whole = factors.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        row_a, row_b, row_c, row_d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for i in range(out.size):
            out[i] += a * row_a[i] + b * row_b[i] + c * row_c[i] + d * row_d[i]
    for k in range(whole, factors.size):
        a, row_a = factors[k], rows[k]
        for i in range(out.size):
            out[i] += a * row_a[i]


def _coefficients(theta, gates, constants, node_sin, node_cos, transform, out):
    """out[e] = transform @ (⟨Z⟩ of circuit e at the K nodes). theta (E, P), out (E, K); node tables are (L, K)."""
    (circuits, size), nodes = theta.shape, transform.shape[0]
    blocks, lanes = block_shape(circuits, _LANES)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, circuits - start)
        vectors, line = np.empty((3, nodes, lanes), f4), np.empty(lanes, f4)
        trigs = angle_trigs(theta, start, count, constants, lanes)
        _evolve(vectors, gates, size, trigs, node_sin, node_cos)
        for j in range(nodes):
            line[:] = f4(0)
            combine(transform[j], vectors[2], line)
            for i in range(count):
                out[start + i, j] = line[i]


def _coefficients_backward(grad, theta, gates, constants, node_sin, node_cos, transform, out):
    """out[e, p] = d(Σ grad·coefficients)/d theta[e, p] by the reversible adjoint: no state is stored on the way."""
    (circuits, size), nodes = theta.shape, transform.shape[0]
    values_by_coefficient = transform.T.copy()
    blocks, lanes = block_shape(circuits, _LANES)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, circuits - start)
        vectors, adjoints = np.empty((3, nodes, lanes), f4), np.zeros((3, nodes, lanes), f4)
        upstream, line = np.empty((nodes, lanes), f4), np.empty(lanes, f4)
        trigs = angle_trigs(theta, start, count, constants, lanes)
        _evolve(vectors, gates, size, trigs, node_sin, node_cos)
        columns(grad, start, count, upstream)
        for k in range(nodes):
            combine(values_by_coefficient[k], upstream, adjoints[2, k])
        out[start : start + count] = f4(0)
        for g in range(gates.shape[0] - 1, -1, -1):
            axis, source, index = gates[g, 0], gates[g, 1], gates[g, 2]
            if source == DATA:
                _rotate_data(vectors, axis, node_sin[index], node_cos[index], -_ONE)
                _rotate_data(adjoints, axis, node_sin[index], node_cos[index], -_ONE)
                continue
            if source == THETA:  # λ·(n × v), summed over the nodes
                first, second, _ = plane(axis)
                line[:] = f4(0)
                for k in range(nodes):
                    v_a, v_b, l_a, l_b = vectors[first, k], vectors[second, k], adjoints[first, k], adjoints[second, k]
                    for i in range(line.size):
                        line[i] += l_b[i] * v_a[i] - l_a[i] * v_b[i]
                for i in range(count):
                    out[start + i, index] += line[i]
            row = trig_row(gates[g], size)
            rotate_block(vectors, axis, trigs[0, row], trigs[1, row], -_ONE)
            rotate_block(adjoints, axis, trigs[0, row], trigs[1, row], -_ONE)


HARMONICS = both(_harmonics)
HARMONICS_BACKWARD = both(_harmonics_backward)
TORUS = both(_torus)
TORUS_BACKWARD = both(_torus_backward)
COEFFICIENTS = both(_coefficients)
COEFFICIENTS_BACKWARD = both(_coefficients_backward)


def run(forms: tuple[Any, Any], work: int, threads: int, *arguments: Any) -> None:
    """Run the serial form for little work (in elementary steps), else the parallel one on ``threads`` threads."""
    if threads == 1 or work < 20_000:
        forms[0](*arguments)
        return
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    forms[1](*arguments)
