"""The compiled passes of spline layers as PyTorch operators; gradients of gradients go through plain PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qkan.kernels.spline import uniform_cubic


def cubic_reference(x: Tensor, first: float, step: float, count: int) -> Tensor:
    """What :func:`cubic` computes, in plain PyTorch."""
    return uniform_cubic(x, first + step * torch.arange(count, dtype=x.dtype, device=x.device), step)


@torch.library.custom_op("qkan::cubic", mutates_args=(), device_types="cpu")
def cubic(x: Tensor, first: float, step: float, count: int) -> Tensor:
    """Cubic B-splines with middles first, first + step, …: float32 (...) -> (..., count).

    Args:
        x: positions, any shape.
        first: middle of the first spline.
        step: distance of the middles.
        count: number K of the splines.
    """
    from qkan.kernels import numba_cpu, spline_cpu

    out = x.new_empty(*x.shape, count)
    numba_cpu.run(spline_cpu.CUBIC, out.numel(), torch.get_num_threads(), *flat(x, out), *endless(first, step, count))
    return out


@cubic.register_fake
def _(x: Tensor, first: float, step: float, count: int) -> Tensor:
    return x.new_empty(*x.shape, count)


@torch.library.custom_op("qkan::cubic_backward", mutates_args=(), device_types="cpu")
def cubic_backward(grad: Tensor, x: Tensor, first: float, step: float) -> Tensor:
    """Gradient by x.

    Args:
        grad: (..., K).
        x: positions, any shape.
        first: middle of the first spline.
        step: distance of the middles.
    """
    from qkan.kernels import numba_cpu, spline_cpu

    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    arguments = *flat(grad, x, out), *endless(first, step, grad.shape[-1])
    numba_cpu.run(spline_cpu.CUBIC_BACKWARD, grad.numel(), torch.get_num_threads(), *arguments)
    return out


@cubic_backward.register_fake
def _(grad: Tensor, x: Tensor, first: float, step: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save_cubic(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, *ctx.grid = inputs
    ctx.save_for_backward(x)


def _differentiate_cubic(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    (x,) = ctx.saved_tensors
    first, step, count = ctx.grid
    if torch.is_grad_enabled():
        found = cubic_reference(x, first, step, count)
        return torch.autograd.grad(found, x, grad, create_graph=True)[0], None, None, None
    return cubic_backward(grad, x, first, step), None, None, None


cubic.register_autograd(_differentiate_cubic, setup_context=_save_cubic)


@torch.library.custom_op("qkan::scaled", mutates_args=(), device_types="cpu")
def scaled(coefficients: Tensor, weight: Tensor) -> Tensor:
    """Coefficients (m, n, K) times edge weights (m, n), float32.

    Args:
        coefficients: (m, n, K).
        weight: (m, n).
    """
    from qkan.kernels import numba_cpu, spline_cpu

    out = torch.empty_like(coefficients, memory_format=torch.contiguous_format)
    count = (0,) * coefficients.shape[-1]
    numba_cpu.run(spline_cpu.SCALED, out.numel(), torch.get_num_threads(), *flat(coefficients, weight, out), count)
    return out


@scaled.register_fake
def _(coefficients: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(coefficients, memory_format=torch.contiguous_format)


@torch.library.custom_op("qkan::scaled_backward", mutates_args=(), device_types="cpu")
def scaled_backward(grad: Tensor, coefficients: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by both.

    Args:
        grad: (m, n, K).
        coefficients: (m, n, K).
        weight: (m, n).
    """
    from qkan.kernels import numba_cpu, spline_cpu

    by_coefficients = grad.clone(memory_format=torch.contiguous_format)
    by_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    tensors = flat(by_coefficients, coefficients, weight, by_weight)
    numba_cpu.run(spline_cpu.SCALED_BACKWARD, grad.numel(), torch.get_num_threads(), *tensors, (0,) * grad.shape[-1])
    return by_coefficients, by_weight


@scaled_backward.register_fake
def _(grad: Tensor, coefficients: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    made = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (coefficients, weight)]
    return made[0], made[1]


def _save_scaled(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_scaled(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    coefficients, weight = ctx.saved_tensors
    if torch.is_grad_enabled():
        return grad * weight.unsqueeze(-1), (grad * coefficients).sum(-1)
    return scaled_backward(grad, coefficients, weight)


scaled.register_autograd(_differentiate_scaled, setup_context=_save_scaled)


def flat(*tensors: Tensor) -> list[Any]:
    """The numbers of every tensor in a row, shared with it where it is contiguous."""
    return [tensor.detach().numpy().reshape(-1) for tensor in tensors]


def endless(first: float, step: float, count: int) -> tuple[Any, ...]:
    """Grid and number of splines that die out, as the compiled passes take them.

    Args:
        first: middle of the first spline.
        step: distance of the middles.
        count: number of the splines.
    """
    return grid_numbers(first, step, -math.inf, math.inf, 0.0), (0,) * count


def grid_numbers(*numbers: float) -> tuple[Any, ...]:
    """Middle of the first spline, distance of knots, both ends and tail; see :mod:`qkan.kernels.spline_cpu`."""
    import numpy as np

    first, step, *rest = numbers
    return tuple(np.float32(number) for number in (first, 1 / step, *rest))
