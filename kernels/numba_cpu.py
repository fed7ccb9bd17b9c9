"""Compiled CPU kernels in float32: Fourier coefficients of circuits, and harmonics, each with its gradient.

Importing this module imports Numba; machine code is cached on disk beside it, or in Numba's own cache folder. Each
kernel exists in a serial and a parallel form of the same source; small work runs serially, because waking threads
costs more than it saves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange

f4, i4 = np.float32, np.int32

#: Cody-Waite reduction by π/2 in three parts and minimax polynomials: error below 2e-7 for |x| <= 1e4. The rounding
#: trick needs exact arithmetic, so "contract" is the only fast-math flag allowed; full fast-math breaks it.
_INVERSE, _MAGIC = f4(0.636619772), f4(12582912.0)
_PART1, _PART2, _PART3 = f4(1.5703125), f4(4.837512969970703125e-4), f4(7.549789948768648e-8)
_S1, _S2, _S3 = f4(-1.6666654611e-1), f4(8.3321608736e-3), f4(-1.9515295891e-4)
_C1, _C2, _C3 = f4(4.166664568298827e-2), f4(-1.388731625493765e-3), f4(2.443315711809948e-5)
_HALF, _ONE, _LIMIT = f4(0.5), f4(1), f4(1e4)
_BLOCK = 64
#: At most so many circuits run side by side, one per vector lane.
_LANES = 64

THETA, DATA = 0, 1


def _start_threads() -> None:
    """Starting Numba's threads resets the OpenMP thread count that PyTorch shares: do it now, and set it back."""
    count = torch.get_num_threads()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    torch.set_num_threads(count)


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


@njit(cache=True, fastmath={"contract"}, inline="always")
def _gate_angles(gate, theta, start, count, constants, sines, cosines, angles):
    """Sin and cos of a trainable or constant gate's angle for a block of circuits."""
    if gate[1] == THETA:
        for i in range(count):
            angles[i] = theta[start + i, gate[2]]
        sincos_block(_ONE, f4(0), angles, sines, cosines, angles.size)
    else:
        angle = constants[gate[2]]
        sines[:] = f4(math.sin(angle))
        cosines[:] = f4(math.cos(angle))


@njit(cache=True, fastmath={"contract"}, inline="always")
def _rotate_block(vectors, axis, sines, cosines, sign):
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
def _evolve(vectors, gates, theta, start, count, constants, node_sin, node_cos, sines, cosines, angles):
    """Run a block of circuits at all nodes, from |+⟩ to the end."""
    vectors[:] = f4(0)
    vectors[0] = _ONE
    for g in range(gates.shape[0]):
        if gates[g, 1] == DATA:
            _rotate_data(vectors, gates[g, 0], node_sin[gates[g, 2]], node_cos[gates[g, 2]], _ONE)
        else:
            _gate_angles(gates[g], theta, start, count, constants, sines, cosines, angles)
            _rotate_block(vectors, gates[g, 0], sines, cosines, _ONE)


def _coefficients(theta, gates, constants, node_sin, node_cos, transform, out):
    """out[e] = (⟨Z⟩ of circuit e at the K nodes) @ transform. theta (E, P), out (E, K); node tables are (L, K)."""
    nodes, circuits = transform.shape[0], theta.shape[0]
    blocks, lanes = block_shape(circuits, _LANES)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, circuits - start)
        vectors = np.empty((3, nodes, lanes), f4)
        sines, cosines, angles = np.empty(lanes, f4), np.empty(lanes, f4), np.zeros(lanes, f4)
        _evolve(vectors, gates, theta, start, count, constants, node_sin, node_cos, sines, cosines, angles)
        for j in range(nodes):
            angles[:] = f4(0)
            for k in range(nodes):
                weight = transform[k, j]
                for i in range(lanes):
                    angles[i] += vectors[2, k, i] * weight
            for i in range(count):
                out[start + i, j] = angles[i]


def _coefficients_backward(grad, theta, gates, constants, node_sin, node_cos, transform, out):
    """out[e, p] = d(Σ grad·coefficients)/d theta[e, p] by the reversible adjoint: no state is stored on the way."""
    nodes, circuits = transform.shape[0], theta.shape[0]
    blocks, lanes = block_shape(circuits, _LANES)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, circuits - start)
        vectors, adjoints = np.empty((3, nodes, lanes), f4), np.zeros((3, nodes, lanes), f4)
        sines, cosines, angles = np.empty(lanes, f4), np.empty(lanes, f4), np.zeros(lanes, f4)
        _evolve(vectors, gates, theta, start, count, constants, node_sin, node_cos, sines, cosines, angles)
        for j in range(nodes):
            for i in range(count):
                angles[i] = grad[start + i, j]
            for k in range(nodes):
                weight = transform[k, j]
                for i in range(count):
                    adjoints[2, k, i] += angles[i] * weight
        out[start : start + count] = f4(0)
        for g in range(gates.shape[0] - 1, -1, -1):
            axis, source, index = gates[g, 0], gates[g, 1], gates[g, 2]
            if source == DATA:
                _rotate_data(vectors, axis, node_sin[index], node_cos[index], -_ONE)
                _rotate_data(adjoints, axis, node_sin[index], node_cos[index], -_ONE)
                continue
            if source == THETA:  # λ·(n × v), summed over the nodes
                first, second, _ = plane(axis)
                slopes = np.zeros(lanes, f4)
                for k in range(nodes):
                    for i in range(lanes):
                        slopes[i] += (
                            adjoints[second, k, i] * vectors[first, k, i]
                            - adjoints[first, k, i] * vectors[second, k, i]
                        )
                for i in range(count):
                    out[start + i, index] += slopes[i]
            _gate_angles(gates[g], theta, start, count, constants, sines, cosines, angles)
            _rotate_block(vectors, axis, sines, cosines, -_ONE)
            _rotate_block(adjoints, axis, sines, cosines, -_ONE)


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
