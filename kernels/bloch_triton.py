"""Per-edge circuits on CUDA in Triton: the sum over inputs, and its gradients, without a tensor of (batch, m, n).

Rows of the batch are the lanes of a block, contiguous in memory; a circuit is M_L R(φ_L) … M_1 R(φ_1) M_0 applied to
(1, 0, 0), its 3x3 matrices computed once by :mod:`qkan.kernels.segments`. A state stays in registers: the backward
pass undoes the rotations instead of storing what was before them. No kernel adds to memory that another one writes:
every block of rows has its own sums, which PyTorch adds up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from qkan.kernels import segments
from qkan.kernels.program import Program

#: Rows of one block; several for each thread of the backward pass, so that its sums over rows are worth a reduction.
FORWARD_ROWS, BACKWARD_ROWS = 256, 512
#: Programs that keep a large device busy; a launch has no more blocks of rows than that takes.
_PROGRAMS = 2048
_EPS = tl.constexpr(1.1920928955078125e-07)


@triton.jit
def _trig(slope, offset, x, ARCCOS: tl.constexpr):
    """Sine, cosine and derivative of the data angle slope x + offset, or of its arccos."""
    u = slope * x + offset
    if ARCCOS:
        free = tl.abs(u) < 1.0 - _EPS
        cosine = tl.where(free, u, tl.where(u > 0, 1.0 - _EPS, tl.where(u < 0, _EPS - 1.0, u)))
        sine = tl.sqrt(1.0 - cosine * cosine)
        derivative = tl.where(free, -1.0 / sine, 0.0)
    else:
        sine, cosine, derivative = tl.sin(u), tl.cos(u), 1.0 + 0.0 * x
    return sine, cosine, derivative


@triton.jit
def _turn(AXIS: tl.constexpr, x, y, z, sine, cosine):
    """Rotate (x, y, z) about one axis."""
    if AXIS == 0:
        a, b, c = x, y * cosine - z * sine, y * sine + z * cosine
    elif AXIS == 1:
        a, b, c = z * sine + x * cosine, y, z * cosine - x * sine
    else:
        a, b, c = x * cosine - y * sine, x * sine + y * cosine, z
    return a, b, c


@triton.jit
def _pick(AXIS: tl.constexpr, x, y, z):
    """The coordinate along one axis."""
    if AXIS == 0:
        found = x
    elif AXIS == 1:
        found = y
    else:
        found = z
    return found


@triton.jit
def _multiply(matrix, x, y, z, DOWN: tl.constexpr, RIGHT: tl.constexpr):
    """The 3x3 matrix at a pointer times (x, y, z); strides (3, 1) for the matrix itself, (1, 3) for its transpose."""
    a = tl.load(matrix) * x + tl.load(matrix + RIGHT) * y + tl.load(matrix + 2 * RIGHT) * z
    row = matrix + DOWN
    b = tl.load(row) * x + tl.load(row + RIGHT) * y + tl.load(row + 2 * RIGHT) * z
    row = matrix + 2 * DOWN
    c = tl.load(row) * x + tl.load(row + RIGHT) * y + tl.load(row + 2 * RIGHT) * z
    return a, b, c


@triton.jit
def _evolve(x, matrix, data, L: tl.constexpr, AXES: tl.constexpr, ARCCOS: tl.constexpr):
    """The Bloch vector of one edge's circuit at every row; data points to L slopes and then L offsets."""
    one = 1.0 + 0.0 * x  # a row that is not finite stays so
    a, b, c = tl.load(matrix) * one, tl.load(matrix + 3) * one, tl.load(matrix + 6) * one
    for step in tl.static_range(L):
        sine, cosine, _ = _trig(tl.load(data + step), tl.load(data + L + step), x, ARCCOS)
        a, b, c = _turn((AXES >> (2 * step)) & 3, a, b, c, sine, cosine)
        a, b, c = _multiply(matrix + 9 * (step + 1), a, b, c, 3, 1)
    return a, b, c


@triton.jit
def _read(x, y, z, AMPLITUDE: tl.constexpr):
    """Readout and its slope in z: ⟨Z⟩, or |α|-|β| = Z/√(1 + √(1-Z²)) with 1-Z² = x²+y²."""
    if AMPLITUDE:
        square = x * x + y * y
        root = tl.sqrt(tl.where(square < _EPS, _EPS, square))
        inverse = 1.0 / tl.sqrt(1.0 + root)
        bend = tl.where(square < _EPS, 0.0, 0.5 * z * z * inverse * inverse / root)
        value, slope = z * inverse, inverse * (1.0 + bend)
    else:
        value, slope = z, 1.0 + 0.0 * z
    return value, slope


@triton.jit
def edge_sum_kernel(
    x_of,
    matrices,
    data,
    weights,
    out_of,
    batch,
    n,
    L: tl.constexpr,
    AXES: tl.constexpr,
    AMPLITUDE: tl.constexpr,
    ARCCOS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Out (m, B) for x (n, B): program (block of rows, output)."""
    o = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = rows < batch
    total = tl.zeros([ROWS], tl.float32)
    line = x_of + rows
    for i in range(n):
        edge = o * n + i
        x = tl.load(line, inside, other=0.0)
        line += batch
        a, b, c = _evolve(x, matrices + edge * 9 * (L + 1), data + edge * 2 * L, L, AXES, ARCCOS)
        value, _ = _read(a, b, c, AMPLITUDE)
        total += tl.load(weights + edge) * value
    tl.store(out_of + o * batch + rows, total, inside)


@triton.jit
def edge_sum_backward_kernel(
    grad_of,
    x_of,
    matrices,
    data,
    weights,
    out_x,
    sums,
    batch,
    first,
    m,
    n,
    L: tl.constexpr,
    AXES: tl.constexpr,
    AMPLITUDE: tl.constexpr,
    ARCCOS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Program (block of rows from ``first``, input): gradient of x, and the block's own sums for every output.

    Sums of one edge: L+1 torques (three numbers each), L derivatives by slope, L by offset, one by weight.
    """
    size: tl.constexpr = 5 * L + 4
    part, i = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    rows = first + part * ROWS + tl.arange(0, ROWS)
    inside = rows < batch
    x = tl.load(x_of + i * batch + rows, inside, other=0.0)
    grad_x = tl.zeros([ROWS], tl.float32)
    line = grad_of + rows
    for o in range(m):
        edge = o * n + i
        matrix, angles, sum_of = matrices + edge * 9 * (L + 1), data + edge * 2 * L, sums + (part * m * n + edge) * size
        upstream = tl.load(line, inside, other=0.0)
        line += batch
        a, b, c = _evolve(x, matrix, angles, L, AXES, ARCCOS)
        value, slope = _read(a, b, c, AMPLITUDE)
        tl.store(sum_of + size - 1, tl.sum(upstream * value))
        p, q, r = 0.0 * x, 0.0 * x, upstream * tl.load(weights + edge) * slope
        for step in tl.static_range(L - 1, -1, -1):
            a, b, c = _multiply(matrix + 9 * (step + 1), a, b, c, 1, 3)
            p, q, r = _multiply(matrix + 9 * (step + 1), p, q, r, 1, 3)
            torque_x, torque_y, torque_z = b * r - c * q, c * p - a * r, a * q - b * p
            tl.store(sum_of + 3 * (step + 1), tl.sum(torque_x))
            tl.store(sum_of + 3 * (step + 1) + 1, tl.sum(torque_y))
            tl.store(sum_of + 3 * (step + 1) + 2, tl.sum(torque_z))
            frequency = tl.load(angles + step)
            sine, cosine, derivative = _trig(frequency, tl.load(angles + L + step), x, ARCCOS)
            by_angle = derivative * _pick((AXES >> (2 * step)) & 3, torque_x, torque_y, torque_z)
            tl.store(sum_of + 3 * (L + 1) + step, tl.sum(by_angle * x))
            tl.store(sum_of + 3 * (L + 1) + L + step, tl.sum(by_angle))
            grad_x += frequency * by_angle
            a, b, c = _turn((AXES >> (2 * step)) & 3, a, b, c, -sine, cosine)
            p, q, r = _turn((AXES >> (2 * step)) & 3, p, q, r, -sine, cosine)
        tl.store(sum_of, tl.sum(b * r - c * q))
        tl.store(sum_of + 1, tl.sum(c * p - a * r))
        tl.store(sum_of + 2, tl.sum(a * q - b * p))
    tl.store(out_x + i * batch + rows, grad_x, inside)


class _Prepared(NamedTuple):
    """What both kernels take of the circuits.

    Attributes:
        arrays: matrices (m, n, L+1, 3, 3); slopes and offsets (m, n, 2, L) by place in the circuit; weights (m, n).
        order: repetition whose data gate stands at each place.
        options: compile-time arguments.
    """

    arrays: tuple[Tensor, Tensor, Tensor]
    order: list[int]
    options: dict[str, Any]


def _prepare(tensors: tuple[Tensor, ...], program: Program, amplitude: bool, arccos: bool) -> _Prepared:
    _, theta, frequency, shift, weight = (tensor.detach() for tensor in tensors)
    matrices, angles = segments.matrices(program, theta)
    places = [g for g in range(len(program.axes)) if program.data[g] >= 0]
    order = [int(program.data[g]) for g in places]
    data = torch.stack([frequency[..., order], shift[..., order] + angles], -2)
    axes = sum(int(program.axes[g]) << (2 * place) for place, g in enumerate(places))
    options = {"L": len(order), "AXES": axes, "AMPLITUDE": amplitude, "ARCCOS": arccos}
    return _Prepared((matrices.contiguous(), data.contiguous(), weight.contiguous()), order, options)


def _by_features(rows: Tensor) -> Tensor:
    """(B, n) as (n, B): neighbouring threads read neighbouring numbers."""
    return rows.detach().t().contiguous()


def edge_sum(tensors: tuple[Tensor, ...], program: Program, amplitude: bool, arccos: bool) -> Tensor:
    """(B, m) of :func:`qkan.kernels.reference.edge_sum` for its five tensors in float32, theta (m, n, P)."""
    x, weight = tensors[0], tensors[4]
    (m, n), batch = weight.shape, x.shape[0]
    out = x.new_empty(m, batch)
    if batch > 0:
        found = _prepare(tensors, program, amplitude, arccos)
        grid = triton.cdiv(batch, FORWARD_ROWS), m
        edge_sum_kernel[grid](_by_features(x), *found.arrays, out, batch, n, **found.options, ROWS=FORWARD_ROWS)
    return out.t().contiguous()


def edge_sum_backward(
    grad: Tensor, tensors: tuple[Tensor, ...], program: Program, amplitude: bool, arccos: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x, theta, frequency, shift and weight for grad (B, m)."""
    x, theta, frequency, _, weight = tensors
    (m, n), batch = weight.shape, x.shape[0]
    found = _prepare(tensors, program, amplitude, arccos)
    reps = len(found.order)
    inputs = _by_features(grad), _by_features(x), *found.arrays
    out_x, total = x.new_empty(n, batch), x.new_zeros(m, n, 5 * reps + 4)
    parts = min(triton.cdiv(max(batch, 1), BACKWARD_ROWS), triton.cdiv(_PROGRAMS, n))
    sums = x.new_empty(parts, m, n, 5 * reps + 4)
    for first in range(0, batch, parts * BACKWARD_ROWS):
        used = min(parts, triton.cdiv(batch - first, BACKWARD_ROWS))
        sizes = batch, first, m, n
        edge_sum_backward_kernel[(used, n)](*inputs, out_x, sums, *sizes, **found.options, ROWS=BACKWARD_ROWS)
        total += sums[:used].sum(0)
    torques = total[..., : 3 * (reps + 1)].unflatten(-1, (reps + 1, 3))
    by_place = total[..., 3 * (reps + 1) : -1].unflatten(-1, (2, reps)).movedim(-2, 0)
    index = torch.tensor(found.order, device=total.device)
    by_data = total.new_zeros(2, *frequency.shape).index_add_(-1, index, by_place)
    by_theta = segments.angle_gradients(program, theta.detach(), torques)
    return out_x.t().contiguous(), by_theta, by_data[0].clone(), by_data[1].clone(), total[..., -1].clone()
