"""Rational functions of groups on CUDA in Triton: values, and all gradients from one pass over memory.

A program takes a block of rows and columns of one group, as FlashKAT does (arXiv 2505.13813). It computes in float32
whatever the type of the numbers. No kernel adds to memory that another one writes: every program has its own sums of
the coefficients' gradients, which PyTorch adds up.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

#: Numbers in a block; columns of one at most.
BLOCK, _COLUMNS = 1024, 128


@triton.jit
def _places(rows, line, width, chunks, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Group of this program, offsets of its numbers, and which of them exist."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    group = tl.program_id(1) // chunks
    column = tl.program_id(1) % chunks * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    return group, row[:, None] * line + (group * width + column)[None, :], inside


@triton.jit
def _held(x, far):
    """The place within ±far next to x; NaN stays NaN."""
    return tl.where(x > far, far, tl.where(x < -far, -far, x))


@triton.jit
def _polynomial(v, coefficients, LAST: tl.constexpr):
    """Σ_k c_k v^k up to k = LAST, and its slope."""
    value, slope = tl.load(coefficients + LAST) + 0.0 * v, 0.0 * v
    for k in tl.static_range(LAST - 1, -1, -1):
        slope = slope * v + value
        value = value * v + tl.load(coefficients + k)
    return value, slope


@triton.jit
def rational_kernel(
    x_of,
    a,
    b,
    out_of,
    far,
    rows,
    line,
    width,
    chunks,
    P: tl.constexpr,
    Q: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Out = F(x), both (rows, line); program (block of rows, group and chunk of its columns)."""
    group, place, inside = _places(rows, line, width, chunks, ROWS, COLUMNS)
    v = _held(tl.load(x_of + place, inside, other=0.0).to(tl.float32), far)
    t = v
    if ABSOLUTE:
        t = tl.abs(v)
    above, _ = _polynomial(v, a + group * (P + 1), P)
    below, _ = _polynomial(t, b + group * Q, Q - 1)
    tl.store(out_of + place, above / (1.0 + tl.abs(below * t)), inside)


@triton.jit
def rational_backward_kernel(
    grad_of,
    x_of,
    a,
    b,
    out_of,
    sums,
    far,
    rows,
    line,
    width,
    chunks,
    P: tl.constexpr,
    Q: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Gradients by x, and this program's own sums of those by a and, as they enter the denominator, by b."""
    group, place, inside = _places(rows, line, width, chunks, ROWS, COLUMNS)
    x = tl.load(x_of + place, inside, other=0.0).to(tl.float32)
    grad = tl.load(grad_of + place, inside, other=0.0).to(tl.float32)
    v = _held(x, far)
    t = v
    if ABSOLUTE:
        t = tl.abs(v)
    above, rise = _polynomial(v, a + group * (P + 1), P)
    below, fall = _polynomial(t, b + group * Q, Q - 1)
    fall = fall * t + below
    below = below * t
    inverse = 1.0 / (1.0 + tl.abs(below))
    up = grad * inverse
    down = up * (above * inverse) * tl.where(below >= 0.0, -1.0, 1.0)
    if ABSOLUTE:
        fall = tl.where(v > 0.0, fall, tl.where(v < 0.0, -fall, 0.0 * fall))
    tl.store(out_of + place, tl.where(tl.abs(x) <= far, up * rise + down * fall, 0.0), inside)
    own = sums + (tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)) * (P + 1 + Q)
    for k in tl.static_range(P + 1):
        tl.store(own + k, tl.sum(up))
        up *= v
    for j in tl.static_range(Q):
        down *= t
        tl.store(own + P + 1 + j, tl.sum(down))


def _sizes(x: Tensor, groups: int) -> tuple[tuple[int, int], tuple[int, int, int, int], dict[str, int]]:
    """Grid, (rows, line, width, chunks), and the shape of a block, for x (..., n)."""
    line = x.shape[-1]
    width, rows = line // groups, x.shape[:-1].numel()
    columns = min(triton.next_power_of_2(width), _COLUMNS)
    chunks, tall = triton.cdiv(width, columns), BLOCK // columns
    grid = triton.cdiv(rows, tall), groups * chunks
    return grid, (rows, line, width, chunks), {"ROWS": tall, "COLUMNS": columns}


def rational(x: Tensor, a: Tensor, b: Tensor, far: float, absolute: bool) -> Tensor:
    """F(x) for contiguous x (..., n), a (G, p+1) and b (G, q) in float32; see :mod:`qkan.kernels.rational_ops`."""
    out = x.new_empty(x.shape)
    if x.numel() > 0:
        grid, sizes, block = _sizes(x, len(b))
        options = {"P": a.shape[1] - 1, "Q": b.shape[1], "ABSOLUTE": absolute, **block}
        rational_kernel[grid](x, a, b, out, far, *sizes, **options)
    return out


def rational_backward(
    grad: Tensor, x: Tensor, a: Tensor, b: Tensor, far: float, absolute: bool
) -> tuple[Tensor, Tensor]:
    """Gradients by x and, side by side as (G, p+1+q), by a and b."""
    groups, size = len(b), a.shape[1] + b.shape[1]
    out = x.new_empty(x.shape)
    if x.numel() == 0:
        return out, a.new_zeros(groups, size)
    grid, sizes, block = _sizes(x, groups)
    sums = a.new_empty(grid[0], groups, sizes[-1], size)
    options = {"P": a.shape[1] - 1, "Q": b.shape[1], "ABSOLUTE": absolute, **block}
    rational_backward_kernel[grid](grad, x, a, b, out, sums, far, *sizes, **options)
    return out, sums.sum((0, 2))
