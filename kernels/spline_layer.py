"""A whole layer of cubic splines, edge scales and a base branch as one differentiable function, float32 on the CPU.

A layer of a few hundred outputs and a batch of dozens of rows spends more time on its coefficients than on its rows,
and a small one more on calls than on numbers. Here the coefficients are passed over twice in a training step
besides the matrix products: once to scale them, and once for the gradients of coefficients and of scales.

The layer is that of Liu et al., arXiv 2404.19756, equation 2.10; ``base=None`` is one weight for both parts.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from qkan.kernels import spline_ops

#: From so many weights and rows on, their product with a gradient is taken transposed: there the processor's library
#: is a quarter faster, and two threads share the work evenly.
_WIDE, _ROWS = 2**20, 16


class Grid(NamedTuple):
    """K cubic splines on equally spaced knots.

    Attributes:
        first: middle of the first spline.
        step: distance of the knots.
        splines: K in the formulas.
        low, high: the interval outside of which splines are continued.
        tail: how: 1 with the slope at the end, 0 with the value there. Splines that die out have no ends (±inf).
    """

    first: float
    step: float
    splines: int
    low: float = -math.inf
    high: float = math.inf
    tail: float = 0.0


def features_reference(x: Tensor, grid: Grid) -> Tensor:
    """The splines of x (...), (..., K), in plain PyTorch.

    Args:
        x: any shape.
        grid: first middle, step and number K of the splines.
    """
    found = spline_ops.cubic_reference(x.clamp(grid.low, grid.high), grid.first, grid.step, grid.splines)
    if grid.tail == 0:
        return found
    low, high = (_slopes(end, grid).to(x) for end in (grid.low, grid.high))
    below, above = torch.relu(grid.low - x).unsqueeze(-1), torch.relu(x - grid.high).unsqueeze(-1)
    return found + grid.tail * (above * high - below * low)


def _slopes(end: float, grid: Grid) -> Tensor:
    """Derivatives (K,) at one place, float64."""
    v = (end - grid.first) / grid.step - torch.arange(grid.splines, dtype=torch.float64, device="cpu")
    outer, inner = (2 - v.abs()).clamp_min(0), (1 - v.abs()).clamp_min(0)
    return v.sign() * (2 * inner.square() - outer.square() / 2) / grid.step


def reference(
    x: Tensor, coefficients: Tensor, scale: Tensor, base: Tensor | None, bias: Tensor | None, grid: Grid
) -> Tensor:
    """What :class:`SplineLayer` computes, in plain PyTorch: x (N, n), coefficients (m, n, K), scale (m, n), bias (m,).

    ``base`` (m, n) multiplies silu(x); ``None`` means ``scale``.
    """
    weight = (coefficients * scale.unsqueeze(-1)).flatten(-2)
    branch = functional.linear(functional.silu(x), scale if base is None else base, bias)
    return branch + functional.linear(features_reference(x, grid).flatten(-2), weight)


class SplineLayer(torch.autograd.Function):
    """Gradients of gradients go through :func:`reference`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, coefficients, scale, base, bias, grid = inputs
        width = x.shape[1] * grid.splines
        features, weight = x.new_empty(len(x), width), x.new_empty(len(scale), width)
        _run("CUBIC", (x, features), grid, _numbers(grid))
        _run("SCALED", (coefficients, scale, weight), grid)
        act, by_act = functional.silu(x), (scale if base is None else base).t()
        out = torch.mm(act, by_act) if bias is None else torch.addmm(bias, act, by_act)
        ctx.grid = grid
        ctx.save_for_backward(x, coefficients, scale, base, bias, features, weight, act)
        return out.addmm_(features, weight.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, coefficients, scale, base, bias, features, weight, act = ctx.saved_tensors
        grid, need = ctx.grid, ctx.needs_input_grad
        if torch.is_grad_enabled():
            tensors = x, coefficients, scale, base, bias
            wanted = [tensor for tensor, needed in zip(tensors, need, strict=False) if needed]
            slopes = iter(torch.autograd.grad(reference(*tensors, grid), wanted, grad, create_graph=True))
            return *(next(slopes) if needed else None for needed in need[:5]), None
        grad = grad.contiguous()
        by_x = by_coefficients = by_scale = by_base = None
        if need[0]:
            by_x = torch.ops.aten.silu_backward(torch.mm(grad, scale if base is None else base), x)
            by_x += _by_places(grad, weight, x, grid)
        columns = grad.t()
        if need[1] or need[2]:
            by_coefficients = torch.mm(columns, features).view_as(coefficients)
            by_scale = x.new_empty(scale.shape)
            _run("SCALED_BACKWARD", (by_coefficients, coefficients, scale, by_scale), grid)
            if base is None:
                by_scale.addmm_(columns, act)
        if need[3]:
            by_base = torch.mm(columns, act)
        return by_x, by_coefficients, by_scale, by_base, grad.sum(0) if need[4] else None, None


def _by_places(grad: Tensor, weight: Tensor, x: Tensor, grid: Grid) -> Tensor:
    """The gradient by x (N, n) of features @ weight.T, by way of the features."""
    if weight.numel() < _WIDE or len(x) < _ROWS:
        by_x = torch.empty_like(x)
        _run("CUBIC_BACKWARD", (torch.mm(grad, weight), x, by_x), grid, _numbers(grid))
        return by_x
    columns = x.t().contiguous()
    by_columns = torch.empty_like(columns)
    by_features = torch.mm(weight.t(), grad.t())
    _run("CUBIC_COLUMNS_BACKWARD", (by_features, columns, by_columns), grid, _numbers(grid), len(x))
    return by_columns.t()


def _numbers(grid: Grid) -> tuple[Any, ...]:
    return spline_ops.grid_numbers(grid.first, grid.step, grid.low, grid.high, grid.tail)


def _run(kernel: str, tensors: tuple[Tensor, ...], grid: Grid, *numbers: Any) -> None:
    spline_ops.run(kernel, tensors, *numbers, (0,) * grid.splines)
