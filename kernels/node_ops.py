"""A whole layer of circuits evaluated at nodes, as one PyTorch operator: features, coefficients and their product.

One operator instead of three keeps small layers from being ruled by call overhead. Features are computed again in the
backward pass rather than stored, and in chunks over the batch, so memory stays near that of inputs, outputs and
coefficients.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from qkan.kernels import reference, spectral
from qkan.kernels.program import decode, table

#: Features of more bytes than this are computed chunk by chunk: large enough for full matmul speed.
CHUNK_BYTES = 64 * 2**20
#: Layers with fewer multiply-adds than this run in one compiled call; beyond, a BLAS matrix product wins.
SMALL_WORK = 2**18


def recipe(gates: str, frequencies: list[int] | None, reps: int) -> str:
    """Circuit and nodes as text: integer frequencies mean the circle, ``None`` the torus of ``reps`` angles."""
    nodes = f"torus {reps}" if frequencies is None else "circle " + ",".join(map(str, frequencies))
    return f"{nodes}|{gates}"


class Tables(NamedTuple):
    """A recipe in numbers: nodes and ``values_to_coefficients`` in float64 for the reference, the rest for kernels.

    Sines and cosines of the node angles are (L, K).
    """

    torus: bool
    order: int  # reps of the torus, degree of the circle
    nodes: np.ndarray
    values_to_coefficients: np.ndarray
    gates: np.ndarray
    constants: np.ndarray
    node_sin: np.ndarray
    node_cos: np.ndarray
    transform: np.ndarray
    text: str

    @property
    def circuit(self) -> tuple[np.ndarray, ...]:
        """What the coefficient kernels take."""
        return self.gates, self.constants, self.node_sin, self.node_cos, self.transform


@lru_cache(maxsize=256)
def tables(text: str) -> Tables:
    """Read a recipe."""
    head, gates = text.split("|")
    kind, numbers = head.split(" ")
    if kind == "torus":
        order = int(numbers)
        nodes, transform = spectral.torus_nodes(order), spectral.torus_transform(order)
    else:
        weights = np.array([int(number) for number in numbers.split(",")])
        order = int(weights.sum())
        nodes, transform = spectral.circle_nodes(order)[:, None] * weights, spectral.circle_transform(order)
    angles = np.ascontiguousarray(nodes.T)
    trigs = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    return Tables(kind == "torus", order, nodes, transform, *table(gates), *trigs, transform.astype(np.float32), gates)


def node_layer_reference(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> Tensor:
    """What :func:`node_layer` computes, in plain PyTorch."""
    read = tables(text)
    nodes = torch.as_tensor(read.nodes, dtype=theta.dtype, device=theta.device)
    values = reference.expectation_z(decode(read.text), theta.unsqueeze(-2), nodes)
    found = values @ torch.as_tensor(read.values_to_coefficients, dtype=theta.dtype, device=theta.device)
    coefficients = _per_edge(found, u.shape[1], out_features)
    if weight is not None:
        coefficients = coefficients * weight.unsqueeze(-1)
    features = spectral.torus_harmonics(u) if read.torus else spectral.harmonics(u, read.order)
    return features.flatten(1) @ coefficients.flatten(1).t()


def _per_edge(coefficients: Tensor, n: int, m: int) -> Tensor:
    """(m, n, K), from (groups, K) where input i uses circuit i mod groups."""
    if coefficients.dim() == 3:
        return coefficients
    index = torch.arange(n, device=coefficients.device) % coefficients.shape[0]
    return coefficients[index].expand(m, -1, -1)


def _features(read: Tables, u: Tensor) -> Tensor:
    """(b, n, K) of one chunk."""
    from qkan.kernels import numba_cpu

    size = len(read.transform)
    out = u.new_empty(*u.shape[:2], size)
    flat, threads = out.numpy().reshape(-1, size), torch.get_num_threads()
    if read.torus:
        numba_cpu.run(numba_cpu.TORUS, 2 * out.numel(), threads, u.numpy().reshape(-1, read.order), flat)
    else:
        numba_cpu.run(numba_cpu.HARMONICS, 2 * out.numel(), threads, u.numpy().reshape(-1), flat, read.order)
    return out


def _features_backward(read: Tables, grad: Tensor, features: Tensor, out: Tensor) -> None:
    from qkan.kernels import numba_cpu

    size = len(read.transform)
    arrays = grad.numpy().reshape(-1, size), features.numpy().reshape(-1, size)
    threads = torch.get_num_threads()
    if read.torus:
        forms, work = numba_cpu.TORUS_BACKWARD, read.order * grad.numel()
        numba_cpu.run(forms, work, threads, *arrays, out.numpy().reshape(-1, read.order))
    else:
        forms, work = numba_cpu.HARMONICS_BACKWARD, grad.numel()
        numba_cpu.run(forms, work, threads, *arrays, out.numpy().reshape(-1), read.order)


def _circuits(forms: Any, grad: tuple[np.ndarray, ...], read: Tables, theta: Tensor, out: Tensor) -> None:
    """Run a coefficient kernel for all circuits."""
    from qkan.kernels import numba_cpu

    flat = theta.numpy().reshape(-1, theta.shape[-1])
    work = len(flat) * len(read.gates) * len(read.transform)
    result = out.numpy().reshape(-1, out.shape[-1])
    numba_cpu.run(forms, work, torch.get_num_threads(), *grad, flat, *read.circuit, result)


def _chunks(batch: int, row_features: int) -> list[slice]:
    rows = max(1, CHUNK_BYTES // (4 * row_features))
    return [slice(start, start + rows) for start in range(0, batch, rows)]


@torch.library.custom_op("qkan::node_layer", mutates_args=(), device_types="cpu")
def node_layer(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    """Σ_i weight_oi φ_oi(u_i), and the Fourier coefficients of the circuits for the backward pass; float32.

    Args:
        u: data angles, (B, n) on the circle or (B, n, L) on the torus.
        theta: trainable angles (m, n, P), or (groups, P).
        weight: (m, n) or ``None``.
        out_features: m.
        text: a :func:`recipe`.

    Returns:
        (B, m) and (m, n, K) or (groups, K).
    """
    from qkan.kernels import numba_cpu

    read = tables(text)
    u, theta = u.detach().contiguous(), theta.detach().contiguous()
    coefficients = theta.new_empty(*theta.shape[:-1], len(read.transform))
    out = u.new_empty(u.shape[0], out_features)
    if _is_small(u, out_features, read):
        from qkan.kernels import small_layer_cpu

        arrays = _small_arrays(read, u, theta, weight, out_features)
        run: Any = small_layer_cpu.forward
        run(*arrays, out.numpy(), coefficients.numpy().reshape(-1, len(read.transform)))
        return out, coefficients
    _circuits(numba_cpu.COEFFICIENTS, (), read, theta, coefficients)
    matrix = _matrix(coefficients, weight, u.shape[1], out_features)
    for rows in _chunks(u.shape[0], matrix.shape[1]):
        torch.mm(_features(read, u[rows]).flatten(1), matrix.t(), out=out[rows])
    return out, coefficients


def _is_small(u: Tensor, m: int, read: Tables) -> bool:
    return u.shape[0] * u.shape[1] * m * len(read.transform) <= SMALL_WORK


def _small_arrays(read: Tables, u: Tensor, theta: Tensor, weight: Tensor | None, m: int) -> tuple[Any, ...]:
    """The leading arguments of both small-layer kernels."""
    flat = u.numpy().reshape(-1, read.order if read.torus else 1)
    weights = _ones(m, u.shape[1]) if weight is None else weight.detach().contiguous().numpy()
    circuits = theta.numpy().reshape(-1, theta.shape[-1])
    return flat, circuits, weights, theta.dim() == 2, read.circuit, read.torus, read.order


@lru_cache(maxsize=64)
def _ones(m: int, n: int) -> np.ndarray:
    return np.ones((m, n), np.float32)


def _matrix(coefficients: Tensor, weight: Tensor | None, n: int, m: int) -> Tensor:
    """The (m, n·K) matrix of the product."""
    edges = _per_edge(coefficients, n, m)
    return (edges if weight is None else edges * weight.unsqueeze(-1)).reshape(m, -1)


@node_layer.register_fake
def _(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    size = len(tables(text).transform)
    return u.new_empty(u.shape[0], out_features), theta.new_empty(*theta.shape[:-1], size)


@torch.library.custom_op("qkan::node_layer_backward", mutates_args=(), device_types="cpu")
def node_layer_backward(
    grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor, text: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to u, theta and weight (empty if there is none)."""
    from qkan.kernels import numba_cpu

    read = tables(text)
    grad, u, theta = grad.contiguous(), u.detach().contiguous(), theta.detach().contiguous()
    n, m = u.shape[1], grad.shape[1]
    if _is_small(u, m, read):
        return _small_backward(read, grad, u, theta, weight, coefficients)
    matrix = _matrix(coefficients, weight, n, m)
    grad_u, grad_matrix = torch.empty_like(u), torch.zeros_like(matrix)
    for rows in _chunks(u.shape[0], matrix.shape[1]):
        features = _features(read, u[rows])
        grad_matrix.addmm_(grad[rows].t(), features.flatten(1))
        _features_backward(read, torch.mm(grad[rows], matrix), features, grad_u[rows])
    grad_edges = grad_matrix.view(m, n, -1)
    grad_weight = grad.new_empty(0)
    if weight is not None:
        grad_weight = (grad_edges * _per_edge(coefficients, n, m)).sum(-1)
        grad_edges = grad_edges * weight.unsqueeze(-1)
    if theta.dim() == 2:
        index = torch.arange(n) % theta.shape[0]
        grad_edges = torch.zeros_like(coefficients).index_add_(0, index, grad_edges.sum(0))
    grad_theta = torch.empty_like(theta)
    flat = grad_edges.contiguous().numpy().reshape(-1, len(read.transform))
    _circuits(numba_cpu.COEFFICIENTS_BACKWARD, (flat,), read, theta, grad_theta)
    return grad_u, grad_theta, grad_weight


def _small_backward(
    read: Tables, grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from qkan.kernels import small_layer_cpu

    m, n, size = grad.shape[1], u.shape[1], len(read.transform)
    out = torch.empty_like(u), torch.empty_like(theta), u.new_empty(m, n)
    arrays = _small_arrays(read, u, theta, weight, m)
    results = out[0].numpy().reshape(arrays[0].shape), out[1].numpy().reshape(arrays[1].shape), out[2].numpy()
    found = coefficients.detach().numpy().reshape(-1, size)
    run: Any = small_layer_cpu.backward
    run(grad.numpy(), *arrays, found, *results)
    return out[0], out[1], out[2] if weight is not None else u.new_empty(0)


@node_layer_backward.register_fake
def _(grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    made = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (u, theta)]
    return made[0], made[1], grad.new_empty(0 if weight is None else weight.shape)


@register_flop_formula(torch.ops.qkan.node_layer)
def _flops(u: Any, theta: Any, weight: Any, out_features: int, text: str, **_: Any) -> int:
    """Its matrix products, two per multiply-add: values to coefficients for each circuit, and the layer itself."""
    size = len(tables(text).transform)
    return 2 * math.prod(theta[:-1]) * size * size + 2 * u[0] * u[1] * size * out_features


def _save(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    u, theta, weight, ctx.out_features, ctx.text = inputs
    ctx.save_for_backward(u, theta, weight, output[1])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    u, theta, weight, coefficients = ctx.saved_tensors
    if grad is None:
        return None, None, None, None, None
    if torch.is_grad_enabled():
        tensors = u, theta, weight
        wanted = [tensor for tensor, need in zip(tensors, ctx.needs_input_grad, strict=False) if need]
        y = node_layer_reference(u, theta, weight, ctx.out_features, ctx.text)
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return *(next(found) if need else None for need in ctx.needs_input_grad[:3]), None, None
    grads = node_layer_backward(grad, u, theta, weight, coefficients, ctx.text)
    return grads[0], grads[1], None if weight is None else grads[2], None, None


node_layer.register_autograd(_differentiate, setup_context=_save)
