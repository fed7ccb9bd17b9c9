"""Sums of per-edge circuits by interpolation: few Chebyshev nodes instead of every row of a large batch.

⟨Z⟩ of a circuit with data angles w_l x + b_l is bounded by 1 and has no frequency above Ω = Σ|w_l|. On an interval of
half-width R its Chebyshev coefficients are therefore bounded by |c_k| <= 2 exp(√(k²-z²) - k arccosh(k/z)), z = ΩR, for
k > z (Bernstein's inequality on the best ellipse; Trefethen, Approximation Theory and Approximation Practice, ch. 8).
Beyond the degree at which this falls below float32 rounding nothing is left, and the layer is features T_k(x) times
coefficients. The interval is that of the batch, input by input.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from qkan.kernels import bloch_cpu, numba_cpu
from qkan.kernels.numba_cpu import block_shape, both
from qkan.kernels.workspace import chunks, room

f4 = np.float32
_ONE = f4(1)
#: Bound on the first coefficient left out.
_LEFT_OUT = 1e-8
#: With more nodes than this the product costs as much as the circuits.
MAX_NODES = 128
#: Rows per node from which interpolation is faster than every row.
_ROWS_PER_NODE = 8
#: Half-widths are at least this: slopes in the scaled input are divided by them.
_NARROWEST = 1e-3


class Interval(NamedTuple):
    """Where every input lies, and how finely it is sampled: center and half-width (n,), number of nodes."""

    center: Tensor
    half_width: Tensor
    nodes: int


def count_nodes(bandwidth: float) -> int:
    """Nodes, at least 3, for a function bounded by 1 with z = ``bandwidth``; over MAX_NODES if that is large or NaN."""
    if not bandwidth < MAX_NODES:
        return MAX_NODES + 1
    z, k = max(bandwidth, 1e-6), max(3, math.ceil(bandwidth) + 1)
    while 2 * math.exp(math.sqrt(k * k - z * z) - k * math.acosh(k / z)) > _LEFT_OUT:
        k += 1
    return k


def interval(x: Tensor, frequency: Tensor) -> Interval | None:
    """Interval and nodes for a batch, or ``None`` where evaluating every row is no dearer or a number is not finite."""
    if x.shape[0] == 0 or frequency.numel() == 0:
        return None
    low, high = torch.aminmax(x, dim=0)
    half_width = ((high - low) / 2).clamp_min(_NARROWEST)
    bandwidth = float((frequency.abs().sum(-1) * half_width).max())
    nodes = count_nodes(bandwidth)
    if nodes > MAX_NODES or _ROWS_PER_NODE * nodes > x.shape[0]:
        return None
    return Interval((low + high) / 2, half_width, nodes)


@lru_cache(maxsize=MAX_NODES)
def _node_tables(nodes: int) -> tuple[np.ndarray, Tensor]:
    """Chebyshev points of the first kind (N,), and the (N, N) matrix from values there to coefficients."""
    angles = math.pi * (np.arange(nodes) + 0.5) / nodes
    transform = 2 / nodes * np.cos(np.arange(nodes)[:, None] * angles)
    transform[0] /= 2
    return np.cos(angles).astype(f4), torch.from_numpy(transform.astype(f4))


# -- circuits at the nodes -----------------------------------------------------------------------------------------


@njit(cache=True)
def _scratch(nodes, lanes, reps):
    """What a thread needs to run circuits at the nodes: inputs, slopes, states, trigs, adjoints, matrices, torques."""
    row = np.zeros(lanes, f4)
    row[: nodes.size] = nodes
    states = np.zeros((reps + 1, 3, lanes), f4)
    states[0, 0] = _ONE
    trigs, adjoints = np.empty((reps, 3, lanes), f4), np.zeros((reps + 1, 3, lanes), f4)
    matrices, torques = np.empty((reps + 1, 3, 3), f4), np.zeros((reps + 1, 3), f4)
    return row, np.zeros(lanes, f4), states, trigs, adjoints, matrices, torques


def _values(nodes, theta, frequency, shift, program, out, out_slopes):
    """⟨Z⟩ of E circuits at N nodes t that they share, and its slope in t, unless ``out_slopes`` has no rows.

    theta (E, P), frequency and shift (E, L), out (E, N), out_slopes (E, N) or (0, N).
    """
    count, reps = nodes.size, frequency.shape[1]
    lanes = block_shape(count, MAX_NODES)[1]
    for task in prange((theta.shape[0] + 63) // 64):
        row, slope, states, trigs, adjoints, matrices, torques = _scratch(nodes, lanes, reps)
        sums = np.empty((2, reps), f4)
        for e in range(task * 64, min(task * 64 + 64, theta.shape[0])):
            bloch_cpu.matrices_between(program, theta[e], matrices)
            edge = (theta[e], frequency[e], shift[e], matrices, False)
            bloch_cpu.evolve(program, edge, row, states, trigs)
            bloch_cpu.read(matrices[reps], states[reps], False, adjoints[reps, 0], adjoints[reps, 1])
            out[e] = adjoints[reps, 0, :count]
            if out_slopes.shape[0] > 0:
                slope[:] = f4(0)
                adjoints[reps, :2] = f4(0)
                adjoints[reps, 2] = _ONE
                bloch_cpu.walk_back(program, edge, row, states, trigs, adjoints, slope, sums[0], sums[1], torques)
                out_slopes[e] = slope[:count]


def _values_backward(grad, nodes, theta, frequency, shift, program, out_theta, out_frequency, out_shift):
    """Gradients of Σ grad·values for grad (E, N)."""
    count, reps = nodes.size, frequency.shape[1]
    lanes = block_shape(count, MAX_NODES)[1]
    for task in prange((theta.shape[0] + 63) // 64):
        row, unused, states, trigs, adjoints, matrices, torques = _scratch(nodes, lanes, reps)
        upstream = np.zeros(lanes, f4)
        for e in range(task * 64, min(task * 64 + 64, theta.shape[0])):
            bloch_cpu.matrices_between(program, theta[e], matrices)
            edge = (theta[e], frequency[e], shift[e], matrices, False)
            bloch_cpu.evolve(program, edge, row, states, trigs)
            upstream[:count] = grad[e]
            adjoints[reps, :2] = f4(0)
            adjoints[reps, 2] = upstream
            torques[:] = f4(0)
            out_frequency[e] = f4(0)
            out_shift[e] = f4(0)
            grads = unused, out_frequency[e], out_shift[e], torques
            bloch_cpu.walk_back(program, edge, row, states, trigs, adjoints, *grads)
            bloch_cpu.angle_gradients(program, theta[e], torques, out_theta[e])


# -- features ------------------------------------------------------------------------------------------------------


def _features(t, out):
    """out[b, k-1] = T_k(t[b]) for k = 1 … N-1, N >= 3: t (B, n), out (B, N-1, n)."""
    for b in prange(t.shape[0]):
        row, rows = t[b], out[b]
        rows[0] = row
        for i in range(row.size):
            rows[1, i] = f4(2) * row[i] * row[i] - _ONE
        for k in range(2, rows.shape[0]):
            for i in range(row.size):
                rows[k, i] = f4(2) * row[i] * rows[k - 1, i] - rows[k - 2, i]


def _paired(grad, features, out):
    """out[b, i] = Σ_k grad[b, k, i] features[b, k, i]."""
    for b in prange(out.shape[0]):
        line, rows, others = out[b], grad[b], features[b]
        line[:] = f4(0)
        for k in range(rows.shape[0]):
            for i in range(line.size):
                line[i] += rows[k, i] * others[k, i]


VALUES, VALUES_BACKWARD = both(_values), both(_values_backward)
FEATURES, PAIRED = both(_features), both(_paired)


# -- the layer -----------------------------------------------------------------------------------------------------


class _Sampled(NamedTuple):
    """A layer at the nodes of an interval.

    Attributes:
        t: inputs scaled to [-1, 1], (B, n).
        circuit: nodes (N,), theta (m·n, P), frequency and shift (m·n, L) with respect to t.
        values: ⟨Z⟩ of every circuit at the nodes, (m, n, N).
        bias: what T_0 contributes, (m, 1).
        matrix: the other coefficients times weights, (m, (N-1)·n).
        slopes: the same two of dφ/dt; interpolating them keeps the accuracy that differentiating T_k would lose.
    """

    t: Tensor
    circuit: tuple[np.ndarray, ...]
    values: Tensor
    bias: Tensor
    matrix: Tensor
    slopes: tuple[Tensor, Tensor]


def _run(forms: tuple[Any, Any], work: int, *arguments: Any) -> None:
    numba_cpu.run(forms, work, torch.get_num_threads(), *arguments)


def _sample(where: Interval, tensors: tuple[Tensor, ...], tables: Any, slopes: bool) -> _Sampled:
    x, theta, frequency, shift, weight = (tensor.detach() for tensor in tensors)
    (m, n), edges = weight.shape, weight.numel()
    nodes, transform = _node_tables(where.nodes)
    data = frequency * where.half_width[:, None], shift + frequency * where.center[:, None]
    circuit = (nodes, *(tensor.reshape(edges, -1).contiguous().numpy() for tensor in (theta, *data)))
    sampled = x.new_empty(m, n, where.nodes), x.new_empty(m if slopes else 0, n, where.nodes)
    work = (6 if slopes else 1) * edges * where.nodes * len(tables.axes)
    _run(VALUES, work, *circuit, tables, *(part.view(-1, where.nodes).numpy() for part in sampled))
    products = (torch.matmul(transform, (part * weight[: len(part), :, None]).transpose(1, 2)) for part in sampled)
    values, by_t = ((part[:, :1], part[:, 1:].flatten(1)) for part in products)
    t = ((x - where.center) / where.half_width).contiguous()
    return _Sampled(t, circuit, sampled[0], values[0].sum(-1), values[1], by_t)


def _chunk_features(t: Tensor, nodes: int) -> Tensor:
    out = room("features", t.shape[0], nodes - 1, t.shape[1])
    _run(FEATURES, out.numel(), t.numpy(), out.numpy())
    return out.flatten(1)


def forward(where: Interval, tensors: tuple[Tensor, ...], tables: Any) -> Tensor:
    """(B, m) of :func:`qkan.kernels.reference.edge_sum` for its five tensors in float32; ``tables`` is the program."""
    found = _sample(where, tensors, tables, slopes=False)
    out = found.t.new_empty(found.t.shape[0], found.matrix.shape[0])
    for rows in chunks(len(out), found.matrix.shape[1]):
        torch.addmm(found.bias[:, 0], _chunk_features(found.t[rows], where.nodes), found.matrix.t(), out=out[rows])
    return out


def backward(
    grad: Tensor, where: Interval, tensors: tuple[Tensor, ...], tables: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x, theta, frequency, shift and weight for grad (B, m)."""
    found = _sample(where, tensors, tables, slopes=True)
    weight, theta, frequency = tensors[4].detach(), tensors[1], tensors[2]
    (m, n), grad = weight.shape, grad.contiguous()
    constant, slopes = found.slopes
    grad_x, grad_matrix = torch.empty_like(found.t), torch.zeros_like(found.matrix)
    for rows in chunks(len(grad), found.matrix.shape[1]):
        features = _chunk_features(found.t[rows], where.nodes)
        grad_matrix.addmm_(grad[rows].t(), features)
        back = torch.mm(grad[rows], slopes, out=room("gradient", *features.shape))
        pair = (part.view(-1, where.nodes - 1, n).numpy() for part in (back, features))
        _run(PAIRED, back.numel(), *pair, grad_x[rows].numpy())
    grad_x.addmm_(grad, constant[:, 0]).div_(where.half_width)
    by_constant = grad.sum(0)[:, None, None].expand(m, 1, n)
    by_coefficient = torch.cat([by_constant, grad_matrix.view(m, -1, n)], 1).transpose(1, 2)
    grad_values = torch.matmul(by_coefficient, _node_tables(where.nodes)[1])
    grad_weight = (grad_values * found.values).sum(-1)
    grad_values = (grad_values * weight.unsqueeze(-1)).contiguous()
    out = grad.new_empty(theta.shape), grad.new_empty(frequency.shape), grad.new_empty(frequency.shape)
    flat = (tensor.numpy().reshape(m * n, -1) for tensor in out)
    work = 3 * grad_values.numel() * len(tables.axes)
    _run(VALUES_BACKWARD, work, grad_values.numpy().reshape(m * n, -1), *found.circuit, tables, *flat)
    by_frequency = out[1] * where.half_width[:, None] + out[2] * where.center[:, None]
    return grad_x, out[0], by_frequency, out[2], grad_weight
