"""Rational functions of groups as a PyTorch operator: Numba on the CPU, Triton on CUDA.

Coefficients are in float32; x may be in half precision, and is computed in float32. Gradients of gradients go through
:func:`qkan.kernels.rational.group_rational`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkan.kernels.rational import group_rational, limit, magnitude


def _tables(numerator: Tensor, denominator: Tensor, form: str) -> tuple[Tensor, Tensor, float, bool]:
    """Both sets of coefficients for every group, contiguous, the denominator's as they enter it; limit and form."""
    a = numerator.detach().expand(len(denominator), -1).contiguous()
    b = denominator.detach().contiguous()
    return a, magnitude(b) if form == "A" else b, limit(numerator, denominator), form == "A"


def _by_coefficients(sums: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Gradients by both sets of coefficients from sums (G, p+1+q) over the numbers of every group."""
    by_numerator, by_denominator = sums.split([numerator.shape[1], denominator.shape[1]], 1)
    if len(numerator) < len(denominator):
        by_numerator = by_numerator.sum(0, keepdim=True)
    if form == "A":
        by_denominator = torch.where(denominator >= 0, by_denominator, -by_denominator)
    return by_numerator.to(numerator.dtype).clone(), by_denominator.to(denominator.dtype).clone()


def _options(x: Tensor, tables: tuple[Tensor, Tensor, float, bool]) -> tuple[Any, ...]:
    """What the compiled passes on the CPU take after the arrays."""
    import numpy as np

    a, b, far, absolute = tables
    rows, groups, width = x.shape[:-1].numel(), len(b), x.shape[-1] // len(b)
    sizes = (rows, groups, width) if groups > 1 else (1, 1, rows * width)
    return sizes, np.float32(far), (0,) * absolute, (0,) * a.shape[1], (0,) * b.shape[1]


def _flat(tensor: Tensor) -> Any:
    return tensor.detach().to(torch.float32).contiguous().numpy().reshape(-1)


@torch.library.custom_op("qkan::rational", mutates_args=(), device_types="cpu")
def rational(x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> Tensor:
    """See :func:`qkan.kernels.rational.group_rational`."""
    from qkan.kernels import numba_cpu, rational_cpu

    a, b, *_ = tables = _tables(numerator, denominator, form)
    out = x.new_empty(x.shape, dtype=torch.float32)
    arguments = _flat(x), a.numpy(), b.numpy(), out.numpy().reshape(-1), *_options(x, tables)
    numba_cpu.run(rational_cpu.RATIONAL, x.numel(), torch.get_num_threads(), *arguments)
    return out.to(x.dtype)


@rational.register_fake
def _(x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("qkan::rational_backward", mutates_args=(), device_types="cpu")
def rational_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x and by both sets of coefficients.

    Args:
        grad: (..., n).
        x: (..., n).
        numerator: a, (G, p + 1) or (1, p + 1).
        denominator: b, (G, q).
        form: "A" or "B".
    """
    from qkan.kernels import numba_cpu, rational_cpu

    a, b, *_ = tables = _tables(numerator, denominator, form)
    options = _options(x, tables)
    out = x.new_empty(x.shape, dtype=torch.float32)
    blocks = -(-x.numel() // len(b) // rational_cpu.BLOCK)
    sums = x.new_empty(blocks, len(b), a.shape[1] + b.shape[1], dtype=torch.float64)
    arrays = _flat(grad), _flat(x), a.numpy(), b.numpy(), out.numpy().reshape(-1), sums.numpy()
    numba_cpu.run(rational_cpu.RATIONAL_BACKWARD, 3 * x.numel(), torch.get_num_threads(), *arrays, *options)
    return out.to(x.dtype), *_by_coefficients(sums.sum(0), numerator, denominator, form)


@rational_backward.register_fake
def _(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), numerator.new_empty(numerator.shape), denominator.new_empty(denominator.shape)


@rational.register_kernel("cuda")
def _(x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> Tensor:
    from qkan.kernels import rational_triton

    return rational_triton.rational(x.contiguous(), *_tables(numerator, denominator, form))


@rational_backward.register_kernel("cuda")
def _(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    from qkan.kernels import rational_triton

    tables = _tables(numerator, denominator, form)
    out, sums = rational_triton.rational_backward(grad.contiguous(), x.contiguous(), *tables)
    return out, *_by_coefficients(sums, numerator, denominator, form)


def _save(ctx: Any, inputs: Any, output: Tensor) -> None:
    *tensors, ctx.form = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (x, numerator, denominator), need = ctx.saved_tensors, ctx.needs_input_grad[:3]
    if torch.is_grad_enabled():
        wanted = [tensor for tensor, needed in zip(ctx.saved_tensors, need, strict=True) if needed]
        y = group_rational(x, numerator, denominator, ctx.form)
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return *(next(found) if needed else None for needed in need), None
    return *rational_backward(grad, x, numerator, denominator, ctx.form), None


rational.register_autograd(_differentiate, setup_context=_save)
