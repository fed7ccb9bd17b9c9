"""Circuits, edge weights and base branch of a layer as the matrix of its features, in one call each way.

The matrix is (K', n, m): K' features of every input, the harmonics but the constant and, with a base branch, the base
activation. What the constant feature contributes is part of the bias (m,).
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from qkan.kernels import numba_cpu
from qkan.kernels.node_layer_cpu import run_circuits
from qkan.kernels.node_ops import tables

f4 = np.float32


@njit(cache=True, fastmath={"contract"}, nogil=True)
def _fill(coefficients, weight, base, bias, grouped, matrix, out_bias):
    """From coefficients (E, K), weight (m, n), and base (m, n) and bias (m,) or empty, to matrix and bias."""
    (m, n), (circuits, size) = weight.shape, coefficients.shape
    for o in range(m):
        total = bias[o] if bias.size > 0 else f4(0)
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            total += coefficients[e, 0] * weight[o, i]
            for k in range(1, size):
                matrix[k - 1, i, o] = coefficients[e, k] * weight[o, i]
            if base.size > 0:
                matrix[size - 1, i, o] = base[o, i]
        out_bias[o] = total


@njit(cache=True, fastmath={"contract"}, nogil=True)
def _fill_backward(grad_matrix, grad_bias, coefficients, weight, grouped, of_coefficients, of_weight, of_base):
    """From gradients by matrix and bias to those by coefficients, weight and base (empty arrays are left out)."""
    (m, n), (circuits, size) = weight.shape, coefficients.shape
    of_coefficients[:] = f4(0)
    for o in range(m):
        for i in range(n):
            e = i % circuits if grouped else o * n + i
            total = grad_bias[o] * coefficients[e, 0]
            of_coefficients[e, 0] += grad_bias[o] * weight[o, i]
            for k in range(1, size):
                slope = grad_matrix[k - 1, i, o]
                total += slope * coefficients[e, k]
                of_coefficients[e, k] += slope * weight[o, i]
            if of_weight.size > 0:
                of_weight[o, i] = total
            if of_base.size > 0:
                of_base[o, i] = grad_matrix[size - 1, i, o]


_NOTHING = torch.empty(0, 0, device="cpu", dtype=torch.float32)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def forward(
    theta: Tensor, weight: Tensor | None, base: Tensor | None, bias: Tensor | None, shape: tuple[int, int], text: str
) -> tuple[Tensor, Tensor, Tensor]:
    """See :class:`qkan.kernels.node_matrix.NodeMatrix`; the circuits' coefficients come third."""
    read, theta = tables(text), theta.detach().contiguous()
    coefficients = theta.new_empty(*theta.shape[:-1], len(read.transform))
    run_circuits(numba_cpu.COEFFICIENTS, (), read, theta, coefficients)
    m, n = shape
    matrix = theta.new_empty(len(read.transform) - (base is None), n, m)
    out_bias = theta.new_empty(m)
    weight = theta.new_ones(()).expand(m, n) if weight is None else weight
    base_array = _array(_NOTHING if base is None else base)
    bias_array = _array(_NOTHING.view(-1) if bias is None else bias)
    flat, grouped = coefficients.numpy().reshape(-1, coefficients.shape[-1]), theta.dim() == 2
    _fill(flat, _array(weight), base_array, bias_array, grouped, matrix.numpy(), out_bias.numpy())
    return matrix, out_bias, coefficients


def backward(
    grad_matrix: Tensor,
    grad_bias: Tensor,
    theta: Tensor,
    weight: Tensor | None,
    base: Tensor | None,
    coefficients: Tensor,
    text: str,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients by theta, weight (m, n) and base (m, n), ``None`` where there is none; by the bias it is ``grad_bias``.

    ``grad_matrix`` is (K', n, m), K' = K with a base, else K - 1; theta is (m, n, P) or (groups, P), and coefficients
    have K in place of P.
    """
    read, theta = tables(text), theta.detach().contiguous()
    (n, m), size = grad_matrix.shape[1:], coefficients.shape[-1]
    of_weight, of_base = ((_NOTHING if like is None else theta.new_empty(m, n)) for like in (weight, base))
    of_coefficients = theta.new_empty(coefficients.shape)
    given = theta.new_ones(()).expand(m, n) if weight is None else weight
    flat, of_flat = (tensor.numpy().reshape(-1, size) for tensor in (coefficients, of_coefficients))
    arrays = _array(grad_matrix), _array(grad_bias), flat, _array(given)
    _fill_backward(*arrays, theta.dim() == 2, of_flat, of_weight.numpy(), of_base.numpy())
    of_theta = torch.empty_like(theta)
    run_circuits(numba_cpu.COEFFICIENTS_BACKWARD, (of_flat,), read, theta, of_theta)
    return of_theta, None if weight is None else of_weight, None if base is None else of_base
