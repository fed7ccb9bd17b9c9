"""A layer of circuits as one matrix and a bias, for callers that multiply features by it many times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkan.kernels.node_ops import per_edge


def from_coefficients(
    coefficients: Tensor, weight: Tensor | None, base: Tensor | None, bias: Tensor | None, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Matrix (K', n, m) and bias (m,) in plain PyTorch.

    Args:
        coefficients: (m, n, K) or (groups, K), the constant feature's first.
        weight: (m, n) edge weights, or ``None`` for 1.
        base: (m, n) weights of the base branch, or ``None``.
        bias: (m,), or ``None`` for 0.
        shape: (m, n).
    """
    edges = per_edge(coefficients, shape[1], shape[0])
    edges = edges if weight is None else edges * weight.unsqueeze(-1)
    constant = edges[..., 0].sum(-1)
    columns = edges[..., 1:] if base is None else torch.cat([edges[..., 1:], base.unsqueeze(-1)], -1)
    return columns.permute(2, 1, 0), constant if bias is None else constant + bias


class NodeMatrix(torch.autograd.Function):
    """:func:`from_coefficients` of circuits' angles theta, compiled; float32 on the CPU."""

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, weight: Tensor | None, base: Tensor | None, bias: Tensor | None, *rest: Any
    ) -> tuple[Tensor, Tensor]:
        from qkan.kernels import node_matrix_cpu

        shape, text = rest
        matrix, out_bias, coefficients = node_matrix_cpu.forward(theta, weight, base, bias, shape, text)
        ctx.save_for_backward(theta, weight, base, bias, coefficients)
        ctx.shape, ctx.text = shape, text
        return matrix, out_bias

    @staticmethod
    def backward(ctx: Any, grad_matrix: Tensor, grad_bias: Tensor) -> Any:
        theta, weight, base, bias, coefficients = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable(ctx, (grad_matrix, grad_bias), (theta, weight, base, bias)), None, None
        from qkan.kernels import node_matrix_cpu

        found = node_matrix_cpu.backward(grad_matrix, grad_bias, theta, weight, base, coefficients, ctx.text)
        return *found, None if bias is None else grad_bias, None, None


def _differentiable(ctx: Any, grads: tuple[Tensor, ...], tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """The same gradients by the reference, to be differentiated again."""
    from qkan.kernels.node_ops import coefficients_reference

    needed = zip(tensors, ctx.needs_input_grad, strict=False)
    wanted = [tensor for tensor, need in needed if need and tensor is not None]
    theta, weight, base, bias = tensors
    assert theta is not None
    made = from_coefficients(coefficients_reference(theta, ctx.text), weight, base, bias, ctx.shape)
    found = iter(torch.autograd.grad(made, wanted, grads, create_graph=True, materialize_grads=True))
    return [next(found) if need else None for need in ctx.needs_input_grad[:4]]
