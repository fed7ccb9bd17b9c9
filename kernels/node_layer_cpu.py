"""A whole layer of circuits on the CPU: chooses between one compiled call and kernels around a BLAS product."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import feature_rows_cpu, numba_cpu, small_layer_cpu
from qkan.kernels.node_ops import Tables, per_edge, tables
from qkan.kernels.workspace import by_rows, chunks, product, room

#: Layers with fewer multiply-adds than this run in one compiled call; beyond, a BLAS matrix product wins.
SMALL_WORK = 2**21


def _features(read: Tables, u: Tensor) -> tuple[Tensor, Tensor]:
    """Angles (n, b) or (n, L, b) of one chunk of rows, and features (n, K-1, b), valid until the next: all but 1."""
    angles = (u.permute(1, 2, 0) if read.torus else u.t()).contiguous()
    out = room("features", u.shape[1], len(read.transform) - 1, u.shape[0])
    threads = torch.get_num_threads()
    if read.torus:
        numba_cpu.run(feature_rows_cpu.TORUS, out.numel(), threads, angles.numpy(), out.numpy())
    else:
        numba_cpu.run(feature_rows_cpu.HARMONICS, out.numel(), threads, angles.numpy(), out.numpy(), read.order)
    return angles, out


def _features_backward(read: Tables, grad: Tensor, features: Tensor, out: Tensor) -> None:
    arrays, threads = (grad.numpy(), features.numpy(), out.numpy()), torch.get_num_threads()
    if read.torus:
        numba_cpu.run(feature_rows_cpu.TORUS_BACKWARD, read.order * grad.numel(), threads, *arrays)
    else:
        numba_cpu.run(feature_rows_cpu.HARMONICS_BACKWARD, grad.numel(), threads, *arrays, read.order)


def run_circuits(forms: Any, grad: tuple[np.ndarray, ...], read: Tables, theta: Tensor, out: Tensor) -> None:
    """Run a coefficient kernel for all circuits: theta (..., P) to out (..., K), or the gradients the other way."""
    flat = theta.numpy().reshape(-1, theta.shape[-1])
    work = len(flat) * len(read.gates) * len(read.transform)
    result = out.numpy().reshape(-1, out.shape[-1])
    numba_cpu.run(forms, work, torch.get_num_threads(), *grad, flat, *read.circuit, result)


def forward(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    """See :func:`qkan.kernels.node_ops.node_layer`."""
    read = tables(text)
    theta = theta.contiguous()
    coefficients = theta.new_empty(*theta.shape[:-1], len(read.transform))
    out = u.new_empty(u.shape[0], out_features)
    if _is_small(u, out_features, read):
        u, weight = u.contiguous(), None if weight is None else weight.contiguous()
        _run_small(small_layer_cpu.FORWARD, read, (u, theta, weight, out, coefficients), u, theta, out_features)
    else:
        _forward_wide(read, u.detach(), theta.detach(), weight, out, coefficients)
    return out, coefficients


def _forward_wide(
    read: Tables, u: Tensor, theta: Tensor, weight: Tensor | None, out: Tensor, coefficients: Tensor
) -> None:
    run_circuits(numba_cpu.COEFFICIENTS, (), read, theta, coefficients)
    bias, matrix = _matrix(coefficients, weight, u.shape[1], out.shape[1])
    for rows in chunks(u.shape[0], matrix.shape[1]):
        product(bias, _features(read, u[rows])[1].flatten(0, 1), matrix, out[rows])


def _is_small(u: Tensor, m: int, read: Tables) -> bool:
    return u.shape[0] * u.shape[1] * m * len(read.transform) <= SMALL_WORK


def _run_small(forms: Any, read: Tables, tensors: tuple[Tensor | None, ...], u: Tensor, theta: Tensor, m: int) -> None:
    """Run a small-layer kernel on contiguous tensors."""
    batch, n, angles, threads = u.shape[0], u.shape[1], theta.shape[-1], torch.get_num_threads()
    grouped = theta.dim() == 2
    sizes = batch, n, m, theta.shape[0] if grouped else m * n, angles, grouped
    addresses = tuple([0 if tensor is None else tensor.data_ptr() for tensor in tensors])
    work = batch * n * m * len(read.transform) // 16  # that many multiply-adds are one step
    numba_cpu.run(forms, work, threads, addresses, sizes, read.circuit, read.torus, read.order, threads)


def _matrix(coefficients: Tensor, weight: Tensor | None, n: int, m: int) -> tuple[Tensor, Tensor]:
    """What the constant feature contributes, (m,), and the (m, n(K-1)) matrix of the product with the others."""
    edges = per_edge(coefficients, n, m)
    edges = edges if weight is None else edges * weight.unsqueeze(-1)
    return edges[..., 0].sum(-1), edges[..., 1:].reshape(m, -1)


def backward(
    grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor, text: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """See :func:`qkan.kernels.node_ops.node_layer_backward`; ``None`` for no weight."""
    read, m = tables(text), grad.shape[1]
    grad, theta = grad.contiguous(), theta.contiguous()
    if not _is_small(u, m, read):
        return _backward_wide(read, grad, u.detach(), theta.detach(), weight, coefficients)
    u, weight = u.contiguous(), None if weight is None else weight.contiguous()
    results = torch.empty_like(u), torch.empty_like(theta), None if weight is None else torch.empty_like(weight)
    coefficients = coefficients.contiguous()
    _run_small(small_layer_cpu.BACKWARD, read, (grad, u, theta, weight, coefficients, *results), u, theta, m)
    return results


def _backward_wide(
    read: Tables, grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    n, m = u.shape[1], grad.shape[1]
    columns = _matrix(coefficients, weight, n, m)[1].t().contiguous()
    grad_u = u.new_empty(u.shape[0], *reversed(u.shape[1:]))  # (B, L, n): what follows runs along the inputs
    grad_columns = torch.zeros_like(columns)
    for rows in chunks(u.shape[0], len(columns)):
        angles, features = _features(read, u[rows])
        grad_columns += by_rows(features.flatten(0, 1), grad[rows].t().contiguous())
        back = by_rows(columns, grad[rows]).view_as(features)
        _features_backward(read, back, features, angles)
        grad_u[rows] = angles.permute(2, 1, 0) if read.torus else angles.t()
    constant = grad.sum(0)[:, None, None].expand(m, n, 1)
    grad_edges = torch.cat([constant, grad_columns.t().view(m, n, -1)], -1)
    grad_weight = None
    if weight is not None:
        grad_weight = (grad_edges * per_edge(coefficients, n, m)).sum(-1)
        grad_edges = grad_edges * weight.unsqueeze(-1)
    if theta.dim() == 2:
        index = torch.arange(n) % theta.shape[0]
        grad_edges = torch.zeros_like(coefficients).index_add_(0, index, grad_edges.sum(0))
    grad_theta = torch.empty_like(theta)
    flat = grad_edges.contiguous().numpy().reshape(-1, len(read.transform))
    run_circuits(numba_cpu.COEFFICIENTS_BACKWARD, (flat,), read, theta, grad_theta)
    return grad_u.transpose(1, 2) if read.torus else grad_u, grad_theta, grad_weight
