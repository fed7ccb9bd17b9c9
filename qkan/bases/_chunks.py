"""Sums over edges with functions of their own, a few rows at a time, so that memory does not grow with the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Numbers in the largest tensor of a chunk: 1 MiB in float32, which stays in a core's cache.
CHUNK = 2**18


def by_chunks(function: Callable[..., Tensor], per_row: int, x: Tensor, *parameters: Tensor) -> Tensor:
    """function(x, *parameters) for x (..., n) -> (..., m), over chunks of rows; the backward pass computes them again.

    Args:
        function: treats the rows of x (B, n) independently and makes tensors of ``per_row`` numbers for each.
        per_row: see ``function``.
        x: inputs.
        *parameters: tensors that ``function`` takes and gradients go to.

    Where something traces or transforms the function, and where all rows fit into one chunk, it runs as it is.
    """
    rows = x.reshape(-1, x.shape[-1])
    step = max(1, CHUNK // per_row)
    whole = len(rows) <= step or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    found = function(rows, *parameters) if whole else _Chunks.apply(function, step, rows, *parameters)
    return found.reshape(*x.shape[:-1], found.shape[-1])


class _Chunks(torch.autograd.Function):
    """Gradients of gradients go through the whole function at once."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], step: int, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.function, ctx.step = function, step
        ctx.save_for_backward(x, *parameters)
        return torch.cat([function(part, *parameters) for part in x.split(step)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, *parameters = ctx.saved_tensors
        need = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            tensors = [x, *parameters]
            wanted = [tensor for tensor, needed in zip(tensors, need, strict=True) if needed]
            slopes = iter(torch.autograd.grad(ctx.function(*tensors), wanted, grad, create_graph=True))
            return None, None, *(next(slopes) if needed else None for needed in need)
        leaves = [p.detach().requires_grad_(needed) for p, needed in zip(parameters, need[1:], strict=True)]
        sums = [torch.zeros_like(leaf) if leaf.requires_grad else None for leaf in leaves]
        by_x = torch.empty_like(x) if need[0] else None
        for place in range(0, len(x), ctx.step):
            part = x[place : place + ctx.step].detach().requires_grad_(need[0])
            wanted = [tensor for tensor in (part, *leaves) if tensor.requires_grad]
            with torch.enable_grad():
                value = ctx.function(part, *leaves)
            slopes = iter(torch.autograd.grad(value, wanted, grad[place : place + ctx.step]))
            if by_x is not None:
                by_x[place : place + ctx.step] = next(slopes)
            for total in sums:
                if total is not None:
                    total += next(slopes)
        return None, None, by_x, *sums
