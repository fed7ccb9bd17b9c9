"""A whole layer of circuits evaluated at nodes, as one PyTorch operator: features, coefficients and their product.

One operator instead of three keeps small layers from being ruled by call overhead. Features are computed again in the
backward pass rather than stored, and in chunks over the batch, so memory stays near that of inputs, outputs and
coefficients.

Angles are in radians.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import reference, spectral
from qkan.kernels.program import decode, table


def recipe(gates: str, frequencies: list[int] | None, reps: int) -> str:
    """Circuit and nodes as text: integer frequencies mean the circle, ``None`` the torus of ``reps`` angles.

    Args:
        gates: the circuit as text, from :func:`qkan.kernels.program.encode`.
        frequencies: w_l of the data angles; ``None`` where they are trained.
        reps: number L of data angles.
    """
    nodes = f"torus {reps}" if frequencies is None else "circle " + ",".join(map(str, frequencies))
    return f"{nodes}|{gates}"


class Tables(NamedTuple):
    """A recipe in numbers: nodes and ``values_to_coefficients`` in float64 for the reference, the rest for kernels.

    Sines and cosines of the node angles are (L, K). ``transform`` turns node values (K,) into coefficients, from the
    left.
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
        """Gates (G, 3), constants (C,), sines and cosines (L, K), and transform (K, K), for the coefficient kernels."""
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
    return Tables(
        kind == "torus",
        order,
        nodes,
        transform,
        *table(gates),
        *trigs,
        np.ascontiguousarray(transform.T, np.float32),
        gates,
    )


def coefficients_reference(theta: Tensor, text: str) -> Tensor:
    """Fourier coefficients of ⟨Z⟩ by a recipe, in plain PyTorch: theta (..., P) -> (..., K).

    Args:
        theta: (..., P).
        text: circuit and nodes, from :func:`recipe`.
    """
    read = tables(text)
    nodes = torch.as_tensor(read.nodes, dtype=theta.dtype, device=theta.device)
    values = reference.expectation_z(decode(read.text), theta.unsqueeze(-2), nodes)
    return values @ torch.as_tensor(read.values_to_coefficients, dtype=theta.dtype, device=theta.device)


def node_layer_reference(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> Tensor:
    """What :func:`node_layer` computes, in plain PyTorch."""
    read = tables(text)
    coefficients = per_edge(coefficients_reference(theta, text), u.shape[1], out_features)
    if weight is not None:
        coefficients = coefficients * weight.unsqueeze(-1)
    features = spectral.torus_harmonics(u) if read.torus else spectral.harmonics(u, read.order)
    return features.flatten(1) @ coefficients.flatten(1).t()


def per_edge(coefficients: Tensor, n: int, m: int) -> Tensor:
    """(m, n, K), from (groups, K) where input i uses circuit i mod groups.

    Args:
        coefficients: (m, n, K) or (groups, K).
        n: inputs.
        m: outputs.
    """
    if coefficients.dim() == 3:
        return coefficients
    index = torch.arange(n, device=coefficients.device) % coefficients.shape[0]
    return coefficients[index].expand(m, -1, -1)


@torch.library.custom_op("qkan::node_layer", mutates_args=(), device_types="cpu")
def node_layer(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    """Σ_i weight_oi φ_oi(u_i), and the Fourier coefficients of the circuits for the backward pass; float32.

    Args:
        u: data angles, (B, n) on the circle or (B, n, L) on the torus.
        theta: trainable angles (m, n, P), or (groups, P).
        weight: (m, n) or ``None``.
        out_features: number m of outputs.
        text: a :func:`recipe`.

    Returns:
        (B, m) and (m, n, K) or (groups, K).
    """
    from qkan.kernels import node_layer_cpu

    return node_layer_cpu.forward(u, theta, weight, out_features, text)


@node_layer.register_fake
def _(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> tuple[Tensor, Tensor]:
    size = len(tables(text).transform)
    return u.new_empty(u.shape[0], out_features), theta.new_empty(*theta.shape[:-1], size)


@torch.library.custom_op("qkan::node_layer_backward", mutates_args=(), device_types="cpu")
def node_layer_backward(
    grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, coefficients: Tensor, text: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to u, theta and weight (empty if there is none).

    Args:
        grad: (B, m).
        u: data angles, (B, n) or (B, n, L).
        theta: (m, n, P) or (groups, P).
        weight: (m, n), or ``None`` for 1.
        coefficients: of the forward pass.
        text: circuit and nodes, from :func:`recipe`.
    """
    from qkan.kernels import node_layer_cpu

    of_u, of_theta, of_weight = node_layer_cpu.backward(grad, u, theta, weight, coefficients, text)
    return of_u.contiguous(), of_theta, grad.new_empty(0) if of_weight is None else of_weight


@node_layer_backward.register_fake
def _(grad: Tensor, u: Tensor, theta: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    made = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (u, theta)]
    return made[0], made[1], grad.new_empty(0 if weight is None else weight.shape)


def _save(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    u, theta, weight, ctx.out_features, ctx.text = inputs
    ctx.save_for_backward(u, theta, weight, output[1])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def _gradients(backward: Any, ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    u, theta, weight, coefficients = ctx.saved_tensors
    if grad is None:
        return None, None, None, None, None
    if torch.is_grad_enabled():
        tensors = u, theta, weight
        wanted = [tensor for tensor, need in zip(tensors, ctx.needs_input_grad, strict=False) if need]
        y = node_layer_reference(u, theta, weight, ctx.out_features, ctx.text)
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return *(next(found) if need else None for need in ctx.needs_input_grad[:3]), None, None
    grads = backward(grad, u, theta, weight, coefficients, ctx.text)
    return grads[0], grads[1], None if weight is None else grads[2], None, None


def _differentiate(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    return _gradients(node_layer_backward, ctx, grad)


node_layer.register_autograd(_differentiate, setup_context=_save)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """The compiled kernels, imported once: an import statement takes a microsecond even then."""
    from qkan.kernels import node_layer_cpu

    return node_layer_cpu


class _Direct(torch.autograd.Function):
    """The same without the operator's dispatch, which takes as long as a small layer's arithmetic."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> Tensor:
        output, coefficients = _compiled().forward(u, theta, weight, out_features, text)
        ctx.save_for_backward(u, theta, weight, coefficients)
        ctx.out_features, ctx.text = out_features, text
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _gradients(_compiled().backward, ctx, grad)


def run(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, text: str) -> Tensor:
    """(B, m) of :func:`node_layer`: directly on ordinary tensors, as the operator where something traces.

    Kernels of small layers read memory by its address, so the direct way is for tensors that have memory on the CPU.
    """
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    plain = type(u) is Tensor and type(theta) in _PLAIN and theta.is_cpu and (weight is None or weight.is_cpu)
    if traced or not plain:
        return node_layer(u, theta, weight, out_features, text)[0]
    return _Direct.apply(u, theta, weight, out_features, text)


_PLAIN = (Tensor, torch.nn.Parameter)
