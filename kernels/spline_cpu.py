"""Cubic B-splines on equally spaced knots, and edge weights times coefficients, each in one pass over memory.

Everything that has K numbers per entry is flat here, and K is the length of a tuple, so that it is known when the code
is compiled: only then does the compiler turn the loop over entries into vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels import workspace  # noqa: F401  keeps freed memory
from qkan.kernels.numba_cpu import both

f4 = np.float32


@njit(cache=True, fastmath={"contract"}, inline="always")
def _held(x, low, high):
    """The place within [low, high] next to x, and how far x is from it; NaN stays NaN."""
    place, beyond = x, f4(0)
    if x < low:
        place, beyond = low, x - low
    if x > high:
        place, beyond = high, x - high
    return place, beyond


@njit(cache=True, fastmath={"contract"}, inline="always")
def _halves(v):
    """(2 - |v|)₊ and (1 - |v|)₊, of which a spline at the distance v from its middle is made; NaN stays NaN."""
    outer = f4(2) - abs(v)
    inner = outer - f4(1)
    if outer < f4(0):
        outer = f4(0)
    if inner < f4(0):
        inner = f4(0)
    return outer, inner


@njit(cache=True, fastmath={"contract"}, inline="always")
def _slope(v, outer, inner):
    """Derivative by v."""
    found = f4(2) * inner * inner - f4(0.5) * outer * outer
    return found if v >= f4(0) else -found


def _cubic(x, out, grid, count):
    """Splines of x (N,) into out (N · K).

    ``grid`` is the middle of the first spline, 1/h, the two ends and 1 or 0: whether the splines go on with their
    slopes beyond the ends, or stay as they are there.
    """
    first, inverse, low, high, tail = grid
    for i in prange(len(x)):
        place, beyond = _held(x[i], low, high)
        u, further = (place - first) * inverse, beyond * inverse * tail
        for k in range(len(count)):
            outer, inner = _halves(u - f4(k))
            value = (outer * outer * outer - f4(4) * inner * inner * inner) * f4(1 / 6)
            out[i * len(count) + k] = value + further * _slope(u - f4(k), outer, inner)


def _cubic_backward(grad, x, out, grid, count):
    """Σ_k grad_k B'_k(x): grad (N · K), x and out (N,)."""
    first, inverse, low, high, tail = grid
    for i in prange(len(x)):
        place, beyond = _held(x[i], low, high)
        u, total = (place - first) * inverse, f4(0)
        for k in range(len(count)):
            outer, inner = _halves(u - f4(k))
            total += grad[i * len(count) + k] * _slope(u - f4(k), outer, inner)
        out[i] = total * inverse if beyond == f4(0) else total * inverse * tail


def _scaled(coefficients, weight, out, count):
    """Out (E · K) = coefficients (E · K) · weight (E,)."""
    for e in prange(len(weight)):
        for k in range(len(count)):
            out[e * len(count) + k] = coefficients[e * len(count) + k] * weight[e]


def _scaled_backward(grad, coefficients, weight, by_weight, count):
    """Gradients of :func:`_scaled`: by the coefficients in the place of ``grad`` (E · K), by the weights (E,)."""
    for e in prange(len(weight)):
        total = f4(0)
        for k in range(len(count)):
            slope = grad[e * len(count) + k]
            total += slope * coefficients[e * len(count) + k]
            grad[e * len(count) + k] = slope * weight[e]
        by_weight[e] = total


CUBIC, CUBIC_BACKWARD = both(_cubic), both(_cubic_backward)
SCALED, SCALED_BACKWARD = both(_scaled), both(_scaled_backward)
