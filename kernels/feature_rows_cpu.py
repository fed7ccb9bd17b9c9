"""Features of one input after another, rows of the batch as the vector lanes.

The order is (n, K-1, B), where :mod:`qkan.kernels.numba_cpu` has (B, n, K). The constant feature is left out: what it
multiplies is the same for all rows, a bias.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels.numba_cpu import both, sincos_block, sincos_double

f4 = np.float32
_ONE = f4(1)
_LOW_DEGREE = 4  # up to here float32 is accurate enough


@njit(cache=True, fastmath={"contract"})
def _high_harmonic_rows(angles, rows, degree):
    """The same in float64: the error of an angle grows with the order."""
    lines = np.empty((4, angles.size), np.float64)
    sin1, cos1, sines, cosines = lines[0], lines[1], lines[2], lines[3]
    sincos_double(angles, sin1, cos1)
    sines[:], cosines[:] = sin1, cos1
    rows[0], rows[degree] = cos1, sin1
    for j in range(1, degree):
        row_cos, row_sin = rows[j], rows[degree + j]
        for i in range(angles.size):
            turned = cosines[i] * cos1[i] - sines[i] * sin1[i]
            sines[i] = sines[i] * cos1[i] + cosines[i] * sin1[i]
            cosines[i] = turned
            row_cos[i], row_sin[i] = f4(turned), f4(sines[i])


@njit(cache=True, fastmath={"contract"})
def harmonic_rows(angles, rows, degree):
    """Rows = cos u … cos Du, sin u … sin Du by angle addition; angles (lanes,), rows (2D, lanes)."""
    if degree > _LOW_DEGREE:
        _high_harmonic_rows(angles, rows, degree)
        return
    cos1, sin1 = rows[0], rows[degree]
    sincos_block(_ONE, f4(0), angles, sin1, cos1, angles.size)
    for j in range(2, degree + 1):  # counted from 2: from 1 the loop below is not vectorised
        cos0, sin0, cosines, sines = rows[j - 2], rows[degree + j - 2], rows[j - 1], rows[degree + j - 1]
        for i in range(angles.size):
            cosines[i] = cos0[i] * cos1[i] - sin0[i] * sin1[i]
            sines[i] = sin0[i] * cos1[i] + cos0[i] * sin1[i]


@njit(cache=True, fastmath={"contract"})
def harmonic_rows_backward(grad, rows, out, degree):
    """Out = Σ_j j (grad_sin_j cos ju - grad_cos_j sin ju); grad and rows (2D, lanes), out (lanes,)."""
    out[:] = f4(0)
    for j in range(degree):
        for i in range(out.size):
            out[i] += f4(j + 1) * (grad[degree + j, i] * rows[j, i] - grad[j, i] * rows[degree + j, i])


@njit(cache=True, fastmath={"contract"})
def torus_rows(angles, rows):
    """Rows = products of {1, cos φ_l, sin φ_l} but 1, the last angle fastest: (L, lanes) -> (3^L-1, lanes)."""
    size = 1
    for rep in range(angles.shape[0] - 1, -1, -1):
        cosines, sines = rows[size - 1], rows[2 * size - 1]
        sincos_block(_ONE, f4(0), angles[rep], sines, cosines, cosines.size)
        for j in range(size - 1):
            for i in range(cosines.size):
                rows[size + j, i] = rows[j, i] * cosines[i]
                rows[2 * size + j, i] = rows[j, i] * sines[i]
        size *= 3


@njit(cache=True, fastmath={"contract"})
def torus_rows_backward(grad, rows, out):
    """Out[l] = Σ (grad_sin·F_cos - grad_cos·F_sin) over pairs that differ in angle l only; out (L, lanes)."""
    size, stride = rows.shape[0] + 1, 1
    for rep in range(out.shape[0] - 1, -1, -1):
        line = out[rep]
        line[:] = f4(0)
        for base in range(stride, size, 3 * stride):
            for k in range(base - 1, base - 1 + stride):
                for i in range(line.size):
                    line[i] += grad[k + stride, i] * rows[k, i] - grad[k, i] * rows[k + stride, i]
        stride *= 3


def _harmonics(angles, out, degree):
    """Angles (n, B), out (n, 2D, B)."""
    for i in prange(len(angles)):
        harmonic_rows(angles[i], out[i], degree)


def _harmonics_backward(grad, features, out, degree):
    """Grad and features (n, 2D, B), out (n, B)."""
    for i in prange(len(out)):
        harmonic_rows_backward(grad[i], features[i], out[i], degree)


def _torus(angles, out):
    """Angles (n, L, B), out (n, 3^L-1, B)."""
    for i in prange(len(angles)):
        torus_rows(angles[i], out[i])


def _torus_backward(grad, features, out):
    """Grad and features (n, 3^L-1, B), out (n, L, B)."""
    for i in prange(len(out)):
        torus_rows_backward(grad[i], features[i], out[i])


HARMONICS, HARMONICS_BACKWARD = both(_harmonics), both(_harmonics_backward)
TORUS, TORUS_BACKWARD = both(_torus), both(_torus_backward)
