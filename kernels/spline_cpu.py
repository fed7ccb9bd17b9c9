"""Cubic B-splines on equally spaced knots, and edge weights times coefficients, each in one pass over memory."""

from __future__ import annotations

import numpy as np
from numba import prange

from qkan.kernels.numba_cpu import both

f4 = np.float32


def _cubic(x, out, first, inverse):
    """Splines of x (N,) into out (N, K); ``first`` is the middle of the first one, ``inverse`` 1/h."""
    for i in prange(len(x)):
        u = (x[i] - first) * inverse
        for k in range(out.shape[1]):
            outer = f4(2) - abs(u - f4(k))
            inner = outer - f4(1)
            if outer < f4(0):
                outer = f4(0)
            if inner < f4(0):
                inner = f4(0)
            out[i, k] = (outer * outer * outer - f4(4) * inner * inner * inner) * f4(1 / 6)


def _cubic_backward(grad, x, out, first, inverse):
    """Σ_k grad_k B'_k(x): grad (N, K), x and out (N,)."""
    for i in prange(len(x)):
        u = (x[i] - first) * inverse
        total = f4(0)
        for k in range(grad.shape[1]):
            v = u - f4(k)
            outer = f4(2) - abs(v)
            inner = outer - f4(1)
            if outer < f4(0):
                outer = f4(0)
            if inner < f4(0):
                inner = f4(0)
            slope = f4(2) * inner * inner - f4(0.5) * outer * outer
            total += grad[i, k] * (slope if v >= f4(0) else -slope)
        out[i] = total * inverse


def _scaled(coefficients, weight, out):
    """Out = coefficients (E, K) · weight (E,)."""
    for e in prange(len(weight)):
        for k in range(out.shape[1]):
            out[e, k] = coefficients[e, k] * weight[e]


def _scaled_backward(grad, coefficients, weight, of_coefficients, of_weight):
    """Gradients by both, reading every number once."""
    for e in prange(len(weight)):
        total = f4(0)
        for k in range(grad.shape[1]):
            total += grad[e, k] * coefficients[e, k]
            of_coefficients[e, k] = grad[e, k] * weight[e]
        of_weight[e] = total


CUBIC, CUBIC_BACKWARD = both(_cubic), both(_cubic_backward)
SCALED, SCALED_BACKWARD = both(_scaled), both(_scaled_backward)
