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
#: Numbers of a part, which one thread computes by itself: only loops of one thread become vectors.
_NUMBERS = 16_384


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


@njit(cache=True, fastmath={"contract"})
def _cubic_part(x, out, grid, count):
    first, inverse, low, high, tail = grid
    for i in range(len(x)):
        place, beyond = _held(x[i], low, high)
        u, further = (place - first) * inverse, beyond * inverse if tail > f4(0) else f4(0)  # infinity times 0 is NaN
        for k in range(len(count)):
            outer, inner = _halves(u - f4(k))
            value = (outer * outer * outer - f4(4) * inner * inner * inner) * f4(1 / 6)
            out[i * len(count) + k] = value + further * _slope(u - f4(k), outer, inner)


@njit(cache=True, fastmath={"contract"})
def _cubic_backward_part(grad, x, out, grid, count):
    first, inverse, low, high, tail = grid
    for i in range(len(x)):
        place, beyond = _held(x[i], low, high)
        u, total = (place - first) * inverse, f4(0)
        for k in range(len(count)):
            outer, inner = _halves(u - f4(k))
            total += grad[i * len(count) + k] * _slope(u - f4(k), outer, inner)
        out[i] = total * inverse if beyond == f4(0) else total * inverse * tail


@njit(cache=True, fastmath={"contract"})
def _scaled_part(coefficients, weight, out, count):
    for e in range(len(weight)):
        for k in range(len(count)):
            out[e * len(count) + k] = coefficients[e * len(count) + k] * weight[e]


@njit(cache=True, fastmath={"contract"})
def _scaled_backward_part(grad, coefficients, weight, by_weight, count):
    for e in range(len(weight)):
        total = f4(0)
        for k in range(len(count)):
            slope = grad[e * len(count) + k]
            total += slope * coefficients[e * len(count) + k]
            grad[e * len(count) + k] = slope * weight[e]
        by_weight[e] = total


@njit(cache=True)
def _parts(entries, count):
    """How many parts there are for so many entries with K numbers each."""
    size = max(1, _NUMBERS // count)
    return (entries + size - 1) // size


@njit(cache=True)
def _part(number, entries, count):
    """The entries of one part, and their K numbers each."""
    size = max(1, _NUMBERS // count)
    start, stop = number * size, min((number + 1) * size, entries)
    return slice(start, stop), slice(start * count, stop * count)


def _cubic(x, out, grid, count):
    """Splines of x (N,) into out (N · K).

    ``grid`` is the middle of the first spline, 1/h, the two ends and 1 or 0: whether the splines go on with their
    slopes beyond the ends, or stay as they are there.
    """
    for number in prange(_parts(len(x), len(count))):
        one, wide = _part(number, len(x), len(count))
        _cubic_part(x[one], out[wide], grid, count)


def _cubic_backward(grad, x, out, grid, count):
    """Σ_k grad_k B'_k(x): grad (N · K), x and out (N,)."""
    for number in prange(_parts(len(x), len(count))):
        one, wide = _part(number, len(x), len(count))
        _cubic_backward_part(grad[wide], x[one], out[one], grid, count)


def _cubic_columns_backward(grad, x, out, grid, rows, count):
    """The same as :func:`_cubic_backward` for a transposed batch: grad (n · K · N), x and out (n · N), ``rows`` N."""
    first, inverse, low, high, tail = grid
    step = f4(1) / inverse
    for i in prange(len(x) // rows):
        places, slopes = x[i * rows : (i + 1) * rows], out[i * rows : (i + 1) * rows]
        slopes[:] = f4(0)
        for k in range(len(count)):
            start = (i * len(count) + k) * rows
            column = grad[start : start + rows]
            middle = first + f4(k) * step
            for b in range(rows):
                place, beyond = _held(places[b], low, high)
                v = (place - middle) * inverse
                outer, inner = _halves(v)
                further = inverse if beyond == f4(0) else inverse * tail
                slopes[b] += column[b] * _slope(v, outer, inner) * further


def _scaled(coefficients, weight, out, count):
    """Out (E · K) = coefficients (E · K) · weight (E,)."""
    for number in prange(_parts(len(weight), len(count))):
        one, wide = _part(number, len(weight), len(count))
        _scaled_part(coefficients[wide], weight[one], out[wide], count)


def _scaled_backward(grad, coefficients, weight, by_weight, count):
    """Gradients of :func:`_scaled`: by the coefficients in the place of ``grad`` (E · K), by the weights (E,)."""
    for number in prange(_parts(len(weight), len(count))):
        one, wide = _part(number, len(weight), len(count))
        _scaled_backward_part(grad[wide], coefficients[wide], weight[one], by_weight[one], count)


CUBIC, CUBIC_BACKWARD = both(_cubic), both(_cubic_backward)
CUBIC_COLUMNS_BACKWARD = both(_cubic_columns_backward)
SCALED, SCALED_BACKWARD = both(_scaled), both(_scaled_backward)
