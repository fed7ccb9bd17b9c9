"""What the time loop of a recurrent layer is made of: products of small matrices and the gates' functions, float32.

Rows of the batch stay rows; the vector lanes run along units. Everything works in place on parts of larger arrays, so
that a block of rows stays in the cache through all time steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qkan.kernels.numba_cpu import sincos_block

f4, i4 = np.float32, np.int32
_ONE, _TWO = f4(1), f4(2)
_LOW_DEGREE = 4  # up to here angle addition is accurate in float32

#: Exponential: 2^k times a polynomial, relative error below 1e-7 in ±87. Adding the magic number rounds to a whole
#: number and leaves it in the low bits, so no conversion to integer can overflow on NaN.
_LOG2E, _MAGIC = f4(1.44269504), f4(12582912.0)
_LN2_HIGH, _LN2_LOW = f4(0.693359375), f4(-2.12194440e-4)
_E2, _E3, _E4 = f4(5.0000001201e-1), f4(1.6666665459e-1), f4(4.1665795894e-2)
_E5, _E6, _E7 = f4(8.3334519073e-3), f4(1.3981999507e-3), f4(1.9875691500e-4)
#: (Functions that divide take NumPy's error model: Python's looks for a zero in every lane, which forbids vectors.)
#: Tanh near zero, where 1 - 2/(e^2x + 1) loses its digits.
_T3, _T5, _T7 = f4(-3.33332819422e-1), f4(1.33314422036e-1), f4(-5.37397155531e-2)
_T9, _T11 = f4(2.06390887954e-2), f4(-5.70498872745e-3)


@njit(cache=True, fastmath={"contract"}, inline="always")
def _exp(x):
    """e^x for x in ±87; NaN stays NaN."""
    magic = f4(x * _LOG2E + _MAGIC)
    k = magic.view(np.int32)
    whole = magic - _MAGIC
    r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    y = _E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))
    y = y * (r * r) + r + _ONE
    return y * i4(i4(i4(k) << i4(23)) + i4(127 << 23)).view(np.float32)


@njit(cache=True, fastmath={"contract"}, inline="always")
def _held(x, limit):
    """X within ±limit; NaN stays NaN."""
    x = -limit if x < -limit else x
    return limit if x > limit else x


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def sigmoid(x):
    """1/(1 + e^-x) of one row, in place: with an output of its own, memory that overlaps would forbid vectors."""
    for i in range(x.size):
        x[i] = _ONE / (_ONE + _exp(-_held(x[i], f4(87))))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def tanh(x):
    """Tanh of one row, in place."""
    for i in range(x.size):
        v = x[i]
        far = _ONE - _TWO / (_exp(_held(_TWO * v, f4(87))) + _ONE)
        s = v * v
        near = v + v * s * (_T3 + s * (_T5 + s * (_T7 + s * (_T9 + s * _T11))))
        x[i] = near if abs(v) < f4(0.625) else far


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def silu(x, out, slope):
    """Out = x σ(x) and its derivative."""
    for i in range(out.size):
        s = _ONE / (_ONE + _exp(-_held(x[i], f4(87))))
        out[i] = x[i] * s
        slope[i] = s * (_ONE + x[i] * (_ONE - s))


@njit(cache=True, fastmath={"contract"})
def multiply_add(a, b, out):
    """Out += a @ b for a (r, k), b (k, j) and out (r, j), four rows and four terms at a time."""
    rows, width = a.shape
    whole_rows, whole = rows // 4 * 4, width // 4 * 4
    for r in range(0, whole_rows, 4):
        for k in range(0, whole, 4):
            a00, a01, a02, a03 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            a10, a11, a12, a13 = a[r + 1, k], a[r + 1, k + 1], a[r + 1, k + 2], a[r + 1, k + 3]
            a20, a21, a22, a23 = a[r + 2, k], a[r + 2, k + 1], a[r + 2, k + 2], a[r + 2, k + 3]
            a30, a31, a32, a33 = a[r + 3, k], a[r + 3, k + 1], a[r + 3, k + 2], a[r + 3, k + 3]
            for j in range(b.shape[1]):
                b0, b1, b2, b3 = b[k, j], b[k + 1, j], b[k + 2, j], b[k + 3, j]
                out[r, j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                out[r + 1, j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                out[r + 2, j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                out[r + 3, j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3
        for k in range(whole, width):
            a0, a1, a2, a3 = a[r, k], a[r + 1, k], a[r + 2, k], a[r + 3, k]
            for j in range(b.shape[1]):
                b0 = b[k, j]
                out[r, j] += a0 * b0
                out[r + 1, j] += a1 * b0
                out[r + 2, j] += a2 * b0
                out[r + 3, j] += a3 * b0
    for r in range(whole_rows, rows):
        for k in range(0, whole, 4):
            a00, a01, a02, a03 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            for j in range(b.shape[1]):
                out[r, j] += a00 * b[k, j] + a01 * b[k + 1, j] + a02 * b[k + 2, j] + a03 * b[k + 3, j]
        for k in range(whole, width):
            a00 = a[r, k]
            for j in range(b.shape[1]):
                out[r, j] += a00 * b[k, j]


@njit(cache=True, fastmath={"contract"})
def features(v, degree, start, out, slope):
    """Out (K, B, n), rows from ``start``, = cos v … cos Dv, sin v … sin Dv and, if K is 2D + 1, silu v.

    Slope (r, n) is then the derivative of silu.
    """
    flat, rows = v.reshape(-1), slice(start, start + len(v))
    for j in range(1, degree + 1):
        cosines, sines = out[j - 1][rows].reshape(-1), out[degree + j - 1][rows].reshape(-1)
        if j == 1 or j > _LOW_DEGREE:
            sincos_block(f4(j), f4(0), flat, sines, cosines, flat.size)
            continue
        cos0, sin0 = out[j - 2][rows].reshape(-1), out[degree + j - 2][rows].reshape(-1)
        cos1, sin1 = out[0][rows].reshape(-1), out[degree][rows].reshape(-1)
        for i in range(flat.size):
            cosines[i] = cos0[i] * cos1[i] - sin0[i] * sin1[i]
            sines[i] = sin0[i] * cos1[i] + cos0[i] * sin1[i]
    if len(out) > 2 * degree:
        silu(flat, out[2 * degree][rows].reshape(-1), slope.reshape(-1))


@njit(cache=True, fastmath={"contract"})
def features_backward(grad, found, start, slope, degree, out):
    """From gradients by feature (r, K n), features (K, B, n) and slopes to gradients by input, out (r, n)."""
    n = out.shape[1]
    for r in range(len(out)):
        line = out[r]
        line[:] = f4(0)
        for j in range(1, degree + 1):
            cosines, sines = found[j - 1, start + r], found[degree + j - 1, start + r]
            by_cos, by_sin = grad[r, (j - 1) * n : j * n], grad[r, (degree + j - 1) * n : (degree + j) * n]
            for i in range(n):
                line[i] += f4(j) * (by_sin[i] * cosines[i] - by_cos[i] * sines[i])
        if len(found) > 2 * degree:
            by_base, its = grad[r, 2 * degree * n :], slope[r]
            for i in range(n):
                line[i] += by_base[i] * its[i]
