"""A small layer of circuits in one compiled call each way: coefficients, features and their product.

For small layers the time goes into calling, not into arithmetic. Large ones are better served by a matrix product from
the BLAS library; :mod:`qkan.kernels.node_layer_cpu` chooses. Rows of the batch are the vector lanes.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels import numba_cpu
from qkan.kernels.feature_rows_cpu import harmonic_rows, harmonic_rows_backward, torus_rows, torus_rows_backward
from qkan.kernels.numba_cpu import array_at, block_shape, columns, combine

f4 = np.float32
_COEFFICIENTS, _COEFFICIENTS_BACKWARD = numba_cpu.COEFFICIENTS[0], numba_cpu.COEFFICIENTS_BACKWARD[0]
#: At most so many rows in a block: its features stay in the cache.
_ROWS = 64


@njit(cache=True, fastmath={"contract"})
def _matrices(coefficients, weight, grouped, bias, matrix):
    """Coefficients times weights: of the constant feature, summed over inputs, (m,); of the others, (m, n(K-1))."""
    (m, n), (circuits, size) = weight.shape, coefficients.shape
    for o in range(m):
        total = f4(0)
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            total += coefficients[e, 0] * weight[o, i]
            for k in range(1, size):
                matrix[o, i * (size - 1) + k - 1] = coefficients[e, k] * weight[o, i]
        bias[o] = total


@njit(cache=True, fastmath={"contract"})
def _store(block, start, count, out):
    """What :func:`~qkan.kernels.numba_cpu.columns` took, back into its rows."""
    for i in range(count):
        for j in range(block.shape[0]):
            out[start + i, j] = block[j, i]


@njit(cache=True, fastmath={"contract"})
def _features(angles, torus, order, out):
    """Features but the constant: angles (n, lanes) or (n·L, lanes), out (n(K-1), lanes)."""
    reps = order if torus else 1
    n = angles.shape[0] // reps
    size = out.shape[0] // n
    for i in range(n):
        rows = out[i * size : (i + 1) * size]
        if torus:
            torus_rows(angles[i * reps : (i + 1) * reps], rows)
        else:
            harmonic_rows(angles[i], rows, order)


@njit(cache=True, fastmath={"contract"})
def _features_backward(grad, features, torus, order, out):
    """From gradients by feature to gradients by angle, shapes as in :func:`_features`."""
    reps = order if torus else 1
    n = out.shape[0] // reps
    size = grad.shape[0] // n
    for i in range(n):
        rows = slice(i * size, (i + 1) * size)
        if torus:
            torus_rows_backward(grad[rows], features[rows], out[i * reps : (i + 1) * reps])
        else:
            harmonic_rows_backward(grad[rows], features[rows], out[i], order)


@njit(cache=True, fastmath={"contract", "reassoc"})
def _dot(a, b):
    """Σ a·b, in any order."""
    total = f4(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(cache=True, fastmath={"contract", "reassoc"})
def _sum(a):
    """Σ a, in any order."""
    total = f4(0)
    for i in range(a.size):
        total += a[i]
    return total


@njit(cache=True, fastmath={"contract"})
def _forward_blocks(u, first, last, lanes, torus, order, bias, matrix, out):
    """The blocks of rows from ``first`` to before ``last``."""
    angles, features = np.empty((u.shape[1], lanes), f4), np.empty((matrix.shape[1], lanes), f4)
    found = np.empty((out.shape[1], lanes), f4)
    for block in range(first, last):
        start = block * lanes
        count = min(lanes, out.shape[0] - start)
        columns(u, start, count, angles)
        _features(angles, torus, order, features)
        for o in range(bias.size):
            found[o] = bias[o]
            combine(matrix[o], features, found[o])
        _store(found, start, count, out)


@njit(cache=True, fastmath={"contract"})
def _backward_blocks(grad, u, first, last, lanes, torus, order, transposed, out_u, grad_bias, grad_matrix):
    """The same for the gradients; transposed (n(K-1), m) is that of the matrix."""
    width, m = transposed.shape
    angles, features = np.empty((u.shape[1], lanes), f4), np.empty((width, lanes), f4)
    upstream, by_feature = np.empty((m, lanes), f4), np.empty((width, lanes), f4)
    grad_bias[:] = f4(0)
    grad_matrix[:] = f4(0)
    for block in range(first, last):
        start = block * lanes
        count = min(lanes, grad.shape[0] - start)
        columns(u, start, count, angles)
        columns(grad, start, count, upstream)
        _features(angles, torus, order, features)
        for o in range(m):
            grad_bias[o] += _sum(upstream[o])
            for k in range(width):
                grad_matrix[o, k] += _dot(upstream[o], features[k])
        for k in range(width):
            by_feature[k] = f4(0)
            combine(transposed[k], upstream, by_feature[k])
        _features_backward(by_feature, features, torus, order, angles)
        _store(angles, start, count, out_u)


@njit(cache=True, fastmath={"contract"})
def _collect(grad_bias, grad_matrix, weight, grouped, coefficients, grad_coefficients, out_weight):
    """From the sums over every part of the batch to the gradients of coefficients and weights."""
    (m, n), (circuits, size) = weight.shape, coefficients.shape
    constants, slopes = grad_bias[0], grad_matrix[0]
    for part in range(1, len(grad_bias)):
        constants += grad_bias[part]
        slopes += grad_matrix[part]
    grad_coefficients[:] = f4(0)
    for o in range(m):
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            total = constants[o] * coefficients[e, 0]
            grad_coefficients[e, 0] += constants[o] * weight[o, i]
            for k in range(1, size):
                slope = slopes[o, i * (size - 1) + k - 1]
                total += slope * coefficients[e, k]
                grad_coefficients[e, k] += slope * weight[o, i]
            if out_weight.size > 0:
                out_weight[o, i] = total


@njit(cache=True)
def _weights(address, m, n):
    """The edge weights (m, n), 1 where there are none."""
    if address == 0:
        return np.ones((m, n), f4)
    return array_at(address, (m, n)).copy()


def _forward(addresses, sizes, circuit, torus, order, parts):
    """From u (B, n) or (B, n·L), theta (E, P) and weight (m, n) to out (B, m) and coefficients (E, K).

    ``addresses`` are those of these five in that order, 0 for no weight; ``sizes`` are B, n, m, E, P
    and whether the E circuits are shared by all outputs.
    """
    batch, n, m, circuits, angles, grouped = sizes
    size = circuit[4].shape[0]
    u = array_at(addresses[0], (batch, n * order if torus else n))
    theta = array_at(addresses[1], (circuits, angles))
    out, coefficients = array_at(addresses[3], (batch, m)), array_at(addresses[4], (circuits, size))
    _COEFFICIENTS(theta, *circuit, coefficients)
    bias, matrix = np.empty(m, f4), np.empty((m, n * (size - 1)), f4)
    _matrices(coefficients, _weights(addresses[2], m, n), grouped, bias, matrix)
    blocks, lanes = block_shape(batch, _ROWS)
    per_part = (blocks + parts - 1) // parts
    for part in prange(parts):
        last = min((part + 1) * per_part, blocks)
        _forward_blocks(u, part * per_part, last, lanes, torus, order, bias, matrix, out)


def _backward(addresses, sizes, circuit, torus, order, parts):
    """From grad (B, m), u, theta, weight and coefficients to the gradients of u, theta and weight.

    ``addresses`` are those of these eight in that order, 0 for no weight.
    """
    batch, n, m, circuits, angles, grouped = sizes
    size = circuit[4].shape[0]
    width = n * (size - 1)
    grad, u = array_at(addresses[0], (batch, m)), array_at(addresses[1], (batch, n * order if torus else n))
    theta, weight = array_at(addresses[2], (circuits, angles)), _weights(addresses[3], m, n)
    coefficients = array_at(addresses[4], (circuits, size))
    out_u, out_theta = array_at(addresses[5], u.shape), array_at(addresses[6], theta.shape)
    bias, matrix = np.empty(m, f4), np.empty((m, width), f4)
    _matrices(coefficients, weight, grouped, bias, matrix)
    transposed = matrix.T.copy()
    grad_bias, grad_matrix = np.empty((parts, m), f4), np.empty((parts, m, width), f4)
    blocks, lanes = block_shape(batch, _ROWS)
    per_part = (blocks + parts - 1) // parts
    for part in prange(parts):
        last = min((part + 1) * per_part, blocks)
        sums = grad_bias[part], grad_matrix[part]
        _backward_blocks(grad, u, part * per_part, last, lanes, torus, order, transposed, out_u, *sums)
    grad_coefficients = np.empty((circuits, size), f4)
    out_weight = array_at(addresses[7], (m if addresses[7] else 0, n))
    _collect(grad_bias, grad_matrix, weight, grouped, coefficients, grad_coefficients, out_weight)
    _COEFFICIENTS_BACKWARD(grad_coefficients, theta, *circuit, out_theta)


FORWARD = numba_cpu.both(_forward)
BACKWARD = numba_cpu.both(_backward)
