"""A small layer of circuits in one compiled call each way: coefficients, features and their product.

For small layers the time goes into calling, not into arithmetic. Large ones are better served by a matrix product from
the BLAS library; :mod:`qkan.kernels.node_ops` chooses.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qkan.kernels import numba_cpu

f4 = np.float32
_COEFFICIENTS, _COEFFICIENTS_BACKWARD = numba_cpu.COEFFICIENTS[0], numba_cpu.COEFFICIENTS_BACKWARD[0]
_HARMONICS, _HARMONICS_BACKWARD = numba_cpu.HARMONICS[0], numba_cpu.HARMONICS_BACKWARD[0]
_TORUS, _TORUS_BACKWARD = numba_cpu.TORUS[0], numba_cpu.TORUS_BACKWARD[0]


@njit(cache=True, fastmath={"contract"})
def _features(u, torus, order, out):
    if torus:
        _TORUS(u, out)
    else:
        _HARMONICS(u.reshape(-1), out, order)


@njit(cache=True, fastmath={"contract"})
def _matrix(coefficients, weight, grouped, out):
    """(m, n·K) coefficients of all edges times their weights."""
    (m, n), (circuits, size) = weight.shape, coefficients.shape
    for o in range(m):
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            for k in range(size):
                out[o, i * size + k] = coefficients[e, k] * weight[o, i]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _dot(a, b):
    """Σ a·b, in any order."""
    total = f4(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(cache=True, fastmath={"contract"})
def forward(u, theta, weight, grouped, circuit, torus, order, out, coefficients):
    """U (B·n, 1 or L), theta (E, P), weight (m, n) -> out (B, m) and coefficients (E, K)."""
    (m, n), size = weight.shape, coefficients.shape[1]
    _COEFFICIENTS(theta, *circuit, coefficients)
    features = np.empty((u.shape[0], size), f4)
    _features(u, torus, order, features)
    matrix = np.empty((m, n * size), f4)
    _matrix(coefficients, weight, grouped, matrix)
    rows = features.reshape(out.shape[0], n * size)
    for b in range(out.shape[0]):
        for o in range(m):
            out[b, o] = _dot(rows[b], matrix[o])


@njit(cache=True, fastmath={"contract"})
def backward(grad, u, theta, weight, grouped, circuit, torus, order, coefficients, out_u, out_theta, out_weight):
    """Grad (B, m) -> gradients with respect to u, theta and weight."""
    (m, n), size = weight.shape, coefficients.shape[1]
    features = np.empty((u.shape[0], size), f4)
    _features(u, torus, order, features)
    matrix, grad_matrix = np.empty((m, n * size), f4), np.zeros((m, n * size), f4)
    _matrix(coefficients, weight, grouped, matrix)
    grad_features = np.zeros((u.shape[0], size), f4)
    rows, grad_rows = features.reshape(grad.shape[0], n * size), grad_features.reshape(grad.shape[0], n * size)
    for b in range(grad.shape[0]):
        row, grad_row = rows[b], grad_rows[b]
        for o in range(m):
            g, line, grad_line = grad[b, o], matrix[o], grad_matrix[o]
            for k in range(n * size):
                grad_line[k] += g * row[k]
                grad_row[k] += g * line[k]
    if torus:
        _TORUS_BACKWARD(grad_features, features, out_u)
    else:
        _HARMONICS_BACKWARD(grad_features, features, out_u.reshape(-1), order)
    grad_coefficients = np.zeros_like(coefficients)
    for o in range(m):
        for i in range(n):
            e = i % coefficients.shape[0] if grouped else o * n + i
            total = f4(0)
            for k in range(size):
                slope = grad_matrix[o, i * size + k]
                total += slope * coefficients[e, k]
                grad_coefficients[e, k] += slope * weight[o, i]
            out_weight[o, i] = total
    _COEFFICIENTS_BACKWARD(grad_coefficients, theta, *circuit, out_theta)
