"""The compiled passes of spline layers as PyTorch operators; gradients of gradients go through plain PyTorch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from qkan.kernels.spline import uniform_cubic

#: Spline values and products are computed by the vector: so many in the time of one elementary step of
#: :func:`qkan.kernels.numba_cpu.run`. Waking a second thread takes about as long as three hundred thousand of them.
_NUMBERS_PER_STEP = 16


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
    out = x.new_empty(*x.shape, count)
    run("CUBIC", (x, out), *endless(first, step, count))
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
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    run("CUBIC_BACKWARD", (grad, x, out), *endless(first, step, grad.shape[-1]))
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
    out = torch.empty_like(coefficients, memory_format=torch.contiguous_format)
    run("SCALED", (coefficients, weight, out), (0,) * coefficients.shape[-1])
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
    by_coefficients = grad.clone(memory_format=torch.contiguous_format)
    by_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    run("SCALED_BACKWARD", (by_coefficients, coefficients, weight, by_weight), (0,) * grad.shape[-1])
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


@lru_cache(maxsize=1)
def _compiled() -> Any:
    from qkan.kernels import numba_cpu, spline_cpu

    return numba_cpu.run, spline_cpu


def run(kernel: str, tensors: tuple[Tensor, ...], *numbers: Any) -> None:
    """Run a compiled pass by its name.

    Args:
        kernel: a name in :mod:`qkan.kernels.spline_cpu`.
        tensors: of any shape, contiguous where they are written to.
        numbers: what the pass takes besides.
    """
    start, kernels = _compiled()
    work = max(tensor.numel() for tensor in tensors) // _NUMBERS_PER_STEP
    flat = (tensor.detach().numpy().reshape(-1) for tensor in tensors)
    start(getattr(kernels, kernel), work, torch.get_num_threads(), *flat, *numbers)


def endless(first: float, step: float, count: int) -> tuple[Any, ...]:
    """Grid and number of splines that die out, as the compiled passes take them.

    Args:
        first: middle of the first spline.
        step: distance of the middles.
        count: number of the splines.
    """
    return grid_numbers(first, step, -math.inf, math.inf, 0.0), (0,) * count


@lru_cache(maxsize=256)
def grid_numbers(*numbers: float) -> tuple[Any, ...]:
    """Middle of the first spline, distance of knots, both ends and tail; see :mod:`qkan.kernels.spline_cpu`."""
    import numpy as np

    first, step, *rest = numbers
    return tuple(np.float32(number) for number in (first, 1 / step, *rest))
