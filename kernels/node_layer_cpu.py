"""A whole layer of circuits on the CPU: chooses between one compiled call and kernels around a BLAS product."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import feature_rows_cpu, numba_cpu, small_layer_cpu
from qkan.kernels.node_ops import Tables, per_edge, tables
from qkan.kernels.workspace import chunks, room

#: Layers with fewer multiply-adds than this run in one compiled call; beyond, a BLAS matrix product wins.
SMALL_WORK = 2**21


def _by_rows(read: Tables, u: Tensor) -> Tensor:
    """Data angles with the inputs last: (B, n), or (B, L, n)."""
    u = u.detach()
    return (u.transpose(1, 2) if read.torus else u).contiguous()


def _features(read: Tables, u: Tensor) -> Tensor:
    """(b, K-1, n) of one chunk, valid until the next: all but the constant."""
    out = room("features", u.shape[0], len(read.transform) - 1, u.shape[-1])
    threads = torch.get_num_threads()
    if read.torus:
        numba_cpu.run(feature_rows_cpu.TORUS, out.numel(), threads, u.numpy(), out.numpy())
    else:
        numba_cpu.run(feature_rows_cpu.HARMONICS, out.numel(), threads, u.numpy(), out.numpy(), read.order)
    return out


def _features_backward(read: Tables, grad: Tensor, features: Tensor, out: Tensor) -> None:
    arrays, threads = (grad.numpy(), features.numpy(), out.numpy()), torch.get_num_threads()
    if read.torus:
        numba_cpu.run(feature_rows_cpu.TORUS_BACKWARD, read.order * grad.numel(), threads, *arrays)
    else:
        numba_cpu.run(feature_rows_cpu.HARMONICS_BACKWARD, grad.numel(), threads, *arrays, read.order)


def run_circuits(forms: Any, grad: tuple[np.ndarray, ...], read: Tables, theta: Tensor, out: Tensor) -> None:
    """Run a coefficient kernel for all circuits."""
    flat = theta.numpy().reshape(-1, theta.shape[-1])
    work = len(flat) * len(read.gates) * len(read.transform)
    result = out.numpy().reshape(-1, out.shape[-1])
    numba_cpu.run(forms, work, torch.get_num_threads(), *grad, flat, *read.circuit, result)


def forward(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    """See :func:`qkan.kernels.node_ops.node_layer`."""
    read = tables(text)
    theta = theta.detach().contiguous()
    coefficients = theta.new_empty(*theta.shape[:-1], len(read.transform))
    out = u.new_empty(u.shape[0], out_features)
    if _is_small(u, out_features, read):
        u = u.detach().contiguous()
        arrays = _small_arrays(read, u, theta, weight, out_features)
        work = _small_work(u, out_features, read)
        forms, threads = small_layer_cpu.FORWARD, torch.get_num_threads()
        numba_cpu.run(
            forms, work, threads, *arrays, threads, out.numpy(), coefficients.numpy().reshape(-1, len(read.transform))
        )
        return out, coefficients
    run_circuits(numba_cpu.COEFFICIENTS, (), read, theta, coefficients)
    bias, matrix = _matrix(coefficients, weight, u.shape[1], out_features)
    angles = _by_rows(read, u)
    for rows in chunks(u.shape[0], matrix.shape[1]):
        features = _features(read, angles[rows])
        torch.addmm(bias, features.flatten(1), matrix.t(), out=out[rows])
    return out, coefficients


def _is_small(u: Tensor, m: int, read: Tables) -> bool:
    return u.shape[0] * u.shape[1] * m * len(read.transform) <= SMALL_WORK


def _small_work(u: Tensor, m: int, read: Tables) -> int:
    """Elementary steps of the product; a step takes about eight multiply-adds at once."""
    return u.shape[0] * u.shape[1] * m * len(read.transform) // 8


def _small_arrays(read: Tables, u: Tensor, theta: Tensor, weight: Tensor | None, m: int) -> tuple[Any, ...]:
    """The leading arguments of both small-layer kernels."""
    flat = u.numpy().reshape(-1, read.order if read.torus else 1)
    weights = _ones(m, u.shape[1]) if weight is None else weight.detach().contiguous().numpy()
    circuits = theta.numpy().reshape(-1, theta.shape[-1])
    return flat, circuits, weights, theta.dim() == 2, read.circuit, read.torus, read.order


@lru_cache(maxsize=64)
def _ones(m: int, n: int) -> np.ndarray:
    return np.ones((m, n), np.float32)


def _matrix(coefficients: Tensor, weight: Tensor | None, n: int, m: int) -> tuple[Tensor, Tensor]:
    """What the constant feature contributes, (m,), and the (m, (K-1)·n) matrix of the product with the others."""
    edges = per_edge(coefficients, n, m).transpose(1, 2)
    edges = edges if weight is None else edges * weight.unsqueeze(1)
    return edges[:, 0].sum(-1), edges[:, 1:].reshape(m, -1)


def backward(
    grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor, text: str
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`qkan.kernels.node_ops.node_layer_backward`."""
    read = tables(text)
    grad, theta = grad.contiguous(), theta.detach().contiguous()
    n, m = u.shape[1], grad.shape[1]
    if _is_small(u, m, read):
        return _small_backward(read, grad, u.detach().contiguous(), theta, weight, coefficients)
    _, matrix = _matrix(coefficients, weight, n, m)
    angles = _by_rows(read, u)
    grad_u, grad_matrix = torch.empty_like(angles), torch.zeros_like(matrix)
    for rows in chunks(u.shape[0], matrix.shape[1]):
        features = _features(read, angles[rows])
        grad_matrix.addmm_(grad[rows].t(), features.flatten(1))
        back = room("gradient", *features.shape)
        torch.mm(grad[rows], matrix, out=back.view(-1, matrix.shape[1]))
        _features_backward(read, back, features, grad_u[rows])
    constant = grad.sum(0)[:, None, None].expand(m, 1, n)
    grad_edges = torch.cat([constant, grad_matrix.view(m, -1, n)], 1).transpose(1, 2)
    grad_weight = grad.new_empty(0)
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


def _small_backward(
    read: Tables, grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    m, n, size = grad.shape[1], u.shape[1], len(read.transform)
    out = torch.empty_like(u), torch.empty_like(theta), u.new_empty(m, n)
    arrays = _small_arrays(read, u, theta, weight, m)
    results = out[0].numpy().reshape(arrays[0].shape), out[1].numpy().reshape(arrays[1].shape), out[2].numpy()
    found = coefficients.detach().numpy().reshape(-1, size)
    work, threads = _small_work(u, m, read), torch.get_num_threads()
    numba_cpu.run(small_layer_cpu.BACKWARD, work, threads, grad.numpy(), *arrays, threads, found, *results)
    return out[0], out[1], out[2] if weight is not None else u.new_empty(0)
