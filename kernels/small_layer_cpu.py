"""A small layer of circuits in one compiled call each way: coefficients, features and their product.

For small layers the time goes into calling, not into arithmetic. Large ones are better served by a matrix product from
the BLAS library; :mod:`qkan.kernels.node_layer_cpu` chooses.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

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
def _rows_forward(u, torus, order, matrix, out):
    features = np.empty((u.shape[0], matrix.shape[1] * out.shape[0] // u.shape[0]), f4)
    _features(u, torus, order, features)
    rows = features.reshape(out.shape[0], matrix.shape[1])
    for b in range(out.shape[0]):
        for o in range(out.shape[1]):
            out[b, o] = _dot(rows[b], matrix[o])


@njit(cache=True, fastmath={"contract"})
def _rows_backward(grad, u, torus, order, matrix, out_u, grad_matrix):
    batch, width = grad.shape[0], matrix.shape[1]
    features = np.empty((u.shape[0], width * batch // u.shape[0]), f4)
    _features(u, torus, order, features)
    grad_features = np.zeros_like(features)
    rows, grad_rows = features.reshape(batch, width), grad_features.reshape(batch, width)
    for b in range(batch):
        row, grad_row = rows[b], grad_rows[b]
        for o in range(grad.shape[1]):
            g, line, grad_line = grad[b, o], matrix[o], grad_matrix[o]
            for k in range(width):
                grad_line[k] += g * row[k]
                grad_row[k] += g * line[k]
    if torus:
        _TORUS_BACKWARD(grad_features, features, out_u)
    else:
        _HARMONICS_BACKWARD(grad_features, features, out_u.reshape(-1), order)


def _forward(u, theta, weight, grouped, circuit, torus, order, parts, out, coefficients):
    """From u (B·n, 1 or L), theta (E, P), weight (m, n) to out (B, m) and coefficients (E, K), rows in ``parts``."""
    (m, n), batch = weight.shape, out.shape[0]
    _COEFFICIENTS(theta, *circuit, coefficients)
    matrix = np.empty((m, n * coefficients.shape[1]), f4)
    _matrix(coefficients, weight, grouped, matrix)
    per_part = (batch + parts - 1) // parts
    for part in prange(parts):
        first, last = part * per_part, min((part + 1) * per_part, batch)
        if first < last:
            _rows_forward(u[first * n : last * n], torus, order, matrix, out[first:last])


def _backward(
    grad, u, theta, weight, grouped, circuit, torus, order, parts, coefficients, out_u, out_theta, out_weight
):
    """From grad (B, m) to the gradients with respect to u, theta and weight."""
    (m, n), (circuits, size), batch = weight.shape, coefficients.shape, grad.shape[0]
    matrix, part_matrices = np.empty((m, n * size), f4), np.zeros((parts, m, n * size), f4)
    _matrix(coefficients, weight, grouped, matrix)
    per_part = (batch + parts - 1) // parts
    for part in prange(parts):
        first, last = part * per_part, min((part + 1) * per_part, batch)
        if first < last:
            rows = slice(first * n, last * n)
            _rows_backward(grad[first:last], u[rows], torus, order, matrix, out_u[rows], part_matrices[part])
    grad_coefficients = np.zeros_like(coefficients)
    for o in range(m):
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            total = f4(0)
            for k in range(size):
                slope = f4(0)
                for part in range(parts):
                    slope += part_matrices[part, o, i * size + k]
                total += slope * coefficients[e, k]
                grad_coefficients[e, k] += slope * weight[o, i]
            out_weight[o, i] = total
    _COEFFICIENTS_BACKWARD(grad_coefficients, theta, *circuit, out_theta)


FORWARD = numba_cpu.both(_forward)
BACKWARD = numba_cpu.both(_backward)
