"""Features of wide layers, one feature after another for all inputs of a row: the inputs are the vector lanes.

The order is (B, K-1, n), where :mod:`qkan.kernels.numba_cpu` has (B, n, K), which suits few inputs. The constant
feature is left out: what it multiplies is the same for all rows, a bias.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from qkan.kernels.numba_cpu import both, sincos_block

f4 = np.float32
_ONE = f4(1)
_ROWS = 16  # rows of one task


def _harmonics(angles, out, degree):
    """out[b] = cos u … cos Du, sin u … sin Du by angle addition; angles (B, n), out (B, 2D, n)."""
    batch, n = angles.shape
    for task in prange((batch + _ROWS - 1) // _ROWS):
        for b in range(task * _ROWS, min(task * _ROWS + _ROWS, batch)):
            rows = out[b]
            cos1, sin1 = rows[0], rows[degree]
            sincos_block(_ONE, f4(0), angles[b], sin1, cos1, n)
            for j in range(2, degree + 1):  # counted from 2: from 1 the loop below is not vectorised
                cos0, sin0, cosines, sines = rows[j - 2], rows[degree + j - 2], rows[j - 1], rows[degree + j - 1]
                for i in range(n):
                    cosines[i] = cos0[i] * cos1[i] - sin0[i] * sin1[i]
                    sines[i] = sin0[i] * cos1[i] + cos0[i] * sin1[i]


def _harmonics_backward(grad, features, out, degree):
    """out[b] = Σ_j j (grad_sin_j cos ju - grad_cos_j sin ju); grad and features (B, 2D, n), out (B, n)."""
    batch, n = out.shape
    for task in prange((batch + _ROWS - 1) // _ROWS):
        for b in range(task * _ROWS, min(task * _ROWS + _ROWS, batch)):
            line, g, f = out[b], grad[b], features[b]
            line[:] = f4(0)
            for j in range(degree):
                for i in range(n):
                    line[i] += f4(j + 1) * (g[degree + j, i] * f[j, i] - g[j, i] * f[degree + j, i])


def _torus(angles, out):
    """out[b] = products of {1, cos φ_l, sin φ_l} but 1, the last angle fastest; angles (B, L, n), out (B, 3^L-1, n)."""
    batch, reps, n = angles.shape
    for task in prange((batch + _ROWS - 1) // _ROWS):
        for b in range(task * _ROWS, min(task * _ROWS + _ROWS, batch)):
            rows = out[b]
            size = 1
            for rep in range(reps - 1, -1, -1):
                cosines, sines = rows[size - 1], rows[2 * size - 1]
                sincos_block(_ONE, f4(0), angles[b, rep], sines, cosines, n)
                for j in range(size - 1):
                    for i in range(n):
                        rows[size + j, i] = rows[j, i] * cosines[i]
                        rows[2 * size + j, i] = rows[j, i] * sines[i]
                size *= 3


def _torus_backward(grad, features, out):
    """out[b, l] = Σ (grad_sin·F_cos - grad_cos·F_sin) over pairs that differ in angle l only; out (B, L, n)."""
    (batch, reps, n), size = out.shape, features.shape[1] + 1
    for task in prange((batch + _ROWS - 1) // _ROWS):
        for b in range(task * _ROWS, min(task * _ROWS + _ROWS, batch)):
            g, f = grad[b], features[b]
            stride = 1
            for rep in range(reps - 1, -1, -1):
                line = out[b, rep]
                line[:] = f4(0)
                for base in range(stride, size, 3 * stride):
                    for k in range(base - 1, base - 1 + stride):
                        for i in range(n):
                            line[i] += g[k + stride, i] * f[k, i] - g[k, i] * f[k + stride, i]
                stride *= 3


HARMONICS, HARMONICS_BACKWARD = both(_harmonics), both(_harmonics_backward)
TORUS, TORUS_BACKWARD = both(_torus), both(_torus_backward)
