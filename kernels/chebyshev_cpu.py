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

from qkan.kernels import numba_cpu
from qkan.kernels.numba_cpu import (
    DATA,
    THETA,
    angle_trigs,
    block_shape,
    both,
    columns,
    plane,
    rotate_block,
    sincos_block,
    trig_row,
)
from qkan.kernels.program import table
from qkan.kernels.workspace import by_rows, chunks, product, room

f4 = np.float32
_ONE = f4(1)
#: Bound on the first coefficient left out.
_LEFT_OUT = 1e-8
#: With more nodes than this the product costs as much as the circuits.
MAX_NODES = 128
#: Interpolation is faster than every row from so many rows per node on, and rows times edges.
_ROWS_PER_NODE, _LEAST_WORK = 2, 2**15
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
    """Interval and nodes for a batch, or ``None`` where evaluating every row is no dearer or a number is not finite.

    Args:
        x: (N, n).
        frequency: of every edge and repetition, (m, n, reps), in radians per unit of x.
    """
    if x.shape[0] * frequency.shape[0] * frequency.shape[1] < _LEAST_WORK:
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


#: Circuits side by side times nodes: what a block of circuits needs stays in the second-level cache.
_BLOCK = 2048


@njit(cache=True)
def _blocks(circuits, nodes):
    """Blocks of circuits, and how many each holds: the circuits are the vector lanes."""
    return block_shape(circuits, max(16, _BLOCK // nodes // 16 * 16))


@njit(cache=True, fastmath={"contract"})
def _data_trigs(nodes, slopes, offsets, angles, trigs):
    """Sines and cosines of slope t + offset: slopes and offsets (L, lanes), trigs (L, 2, N, lanes)."""
    for rep in range(trigs.shape[0]):
        slope, offset = slopes[rep], offsets[rep]
        for k in range(nodes.size):
            t, line = nodes[k], angles[k]
            for i in range(line.size):
                line[i] = slope[i] * t + offset[i]
        sines, cosines = trigs[rep, 0].reshape(-1), trigs[rep, 1].reshape(-1)
        sincos_block(_ONE, f4(0), angles.reshape(-1), sines, cosines, sines.size)


@njit(cache=True, fastmath={"contract"})
def _rotate_data(vectors, axis, trig, sign):
    """Rotate (3, N, lanes) Bloch vectors; the angle differs from node to node and from circuit to circuit."""
    first, second, _ = plane(axis)
    a, b = vectors[first].reshape(-1), vectors[second].reshape(-1)
    sines, cosines = trig[0].reshape(-1), trig[1].reshape(-1)
    for i in range(a.size):
        turned = a[i] * cosines[i] - b[i] * (sign * sines[i])
        b[i] = a[i] * (sign * sines[i]) + b[i] * cosines[i]
        a[i] = turned


@njit(cache=True, fastmath={"contract"})
def _evolve(gates, size, angle_trig, data_trigs, vectors):
    """Run a block of circuits of ``size`` trainable angles at all nodes, from |+⟩ to the end."""
    vectors[:] = f4(0)
    vectors[0] = _ONE
    for g in range(len(gates)):
        if gates[g, 1] == DATA:
            _rotate_data(vectors, gates[g, 0], data_trigs[gates[g, 2]], _ONE)
        else:
            row = trig_row(gates[g], size)
            rotate_block(vectors, gates[g, 0], angle_trig[0, row], angle_trig[1, row], _ONE)


def _values(nodes, theta, frequency, shift, gates, constants, out):
    """⟨Z⟩ of E circuits at N nodes t that they share: theta (E, P), frequency and shift (E, L), out (E, N)."""
    count_nodes, reps = nodes.size, frequency.shape[1]
    blocks, lanes = _blocks(theta.shape[0], count_nodes)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, theta.shape[0] - start)
        data, angles = np.empty((2, reps, lanes), f4), np.empty((count_nodes, lanes), f4)
        data_trigs, vectors = np.empty((reps, 2, count_nodes, lanes), f4), np.empty((3, count_nodes, lanes), f4)
        columns(frequency, start, count, data[0])
        columns(shift, start, count, data[1])
        _data_trigs(nodes, data[0], data[1], angles, data_trigs)
        angle_trig = angle_trigs(theta, start, count, constants, lanes)
        _evolve(gates, theta.shape[1], angle_trig, data_trigs, vectors)
        for i in range(count):
            for k in range(count_nodes):
                out[start + i, k] = vectors[2, k, i]


@njit(cache=True, fastmath={"contract"})
def _torque(axis, vectors, adjoints, out):
    """λ·(n × v) for the axis n of a rotation, in every lane; out (N, lanes)."""
    first, second, _ = plane(axis)
    v_a, v_b = vectors[first].reshape(-1), vectors[second].reshape(-1)
    l_a, l_b, flat = adjoints[first].reshape(-1), adjoints[second].reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        flat[i] = v_a[i] * l_b[i] - v_b[i] * l_a[i]


@njit(cache=True, fastmath={"contract"})
def _collect(torque, factors, nodes, slope, out_slopes, sums):
    """Add what the torque at a data gate of frequency ``slope`` means: for t, and summed over the nodes for w and b."""
    for k in range(nodes.size):
        line, factor, by_t, t = torque[k], factors[k], out_slopes[k], nodes[k]
        for i in range(line.size):
            by_t[i] += slope[i] * line[i]
            weighted = factor[i] * line[i]
            sums[0, i] += weighted * t
            sums[1, i] += weighted


@njit(cache=True, fastmath={"contract"})
def _sum_nodes(torque, factors, out):
    """Out = Σ over the nodes of torque times factor, (lanes,)."""
    out[:] = f4(0)
    for k in range(len(torque)):
        for i in range(out.size):
            out[i] += factors[k, i] * torque[k, i]


@njit(cache=True, fastmath={"contract"})
def _walk_back(gates, nodes, slopes, trigs, vectors, adjoints, factors, torque, start, count, outputs):
    """Undo the gates, collecting derivatives of a block; adjoints start as that of ⟨Z⟩ itself."""
    (data_trigs, angle_trig), (by_t, out_theta, out_frequency, out_shift) = trigs, outputs
    line, sums = np.empty(torque.shape[1], f4), np.empty((2, torque.shape[1]), f4)
    for g in range(len(gates) - 1, -1, -1):
        axis, source, index = gates[g, 0], gates[g, 1], gates[g, 2]
        if source == DATA:
            _torque(axis, vectors, adjoints, torque)
            sums[:] = f4(0)
            _collect(torque, factors, nodes, slopes[index], by_t, sums)
            for i in range(count):
                out_frequency[start + i, index] += sums[0, i]
                out_shift[start + i, index] += sums[1, i]
            _rotate_data(vectors, axis, data_trigs[index], -_ONE)
            _rotate_data(adjoints, axis, data_trigs[index], -_ONE)
            continue
        if source == THETA:
            _torque(axis, vectors, adjoints, torque)
            _sum_nodes(torque, factors, line)
            for i in range(count):
                out_theta[start + i, index] += line[i]
        row = trig_row(gates[g], out_theta.shape[1])
        rotate_block(vectors, axis, angle_trig[0, row], angle_trig[1, row], -_ONE)
        rotate_block(adjoints, axis, angle_trig[0, row], angle_trig[1, row], -_ONE)


def _values_backward(
    grad, nodes, theta, frequency, shift, gates, constants, out_values, out_slopes, out_theta, out_frequency, out_shift
):
    """⟨Z⟩ at the nodes and its slopes in t, both (E, N), and the gradients of Σ grad·values for grad (E, N).

    The adjoint is that of ⟨Z⟩ itself; ``grad`` weights the nodes in the sums. So one walk serves all.
    """
    count_nodes, reps = nodes.size, frequency.shape[1]
    blocks, lanes = _blocks(theta.shape[0], count_nodes)
    for block in prange(blocks):
        start = block * lanes
        count = min(lanes, theta.shape[0] - start)
        data, planes = np.empty((2, reps, lanes), f4), np.zeros((3, count_nodes, lanes), f4)
        data_trigs = np.empty((reps, 2, count_nodes, lanes), f4)
        vectors, adjoints = np.empty((3, count_nodes, lanes), f4), np.zeros((3, count_nodes, lanes), f4)
        torque, factors, by_t = planes[0], planes[1], planes[2]
        columns(frequency, start, count, data[0])
        columns(shift, start, count, data[1])
        columns(grad, start, count, factors)
        _data_trigs(nodes, data[0], data[1], torque, data_trigs)
        angle_trig = angle_trigs(theta, start, count, constants, lanes)
        _evolve(gates, theta.shape[1], angle_trig, data_trigs, vectors)
        for i in range(count):
            for k in range(count_nodes):
                out_values[start + i, k] = vectors[2, k, i]
        adjoints[2] = _ONE
        out_theta[start : start + count] = f4(0)
        out_frequency[start : start + count] = f4(0)
        out_shift[start : start + count] = f4(0)
        outputs = by_t, out_theta, out_frequency, out_shift
        trigs = data_trigs, angle_trig
        _walk_back(gates, nodes, data[0], trigs, vectors, adjoints, factors, torque, start, count, outputs)
        for i in range(count):
            for k in range(count_nodes):
                out_slopes[start + i, k] = by_t[k, i]


# -- features ------------------------------------------------------------------------------------------------------


def _features(t, out):
    """out[i, k-1] = T_k(t[i]) for k = 1 … N-1, N >= 3, by the recursion in float64: t (n, B), out (n, N-1, B)."""
    for i in prange(len(t)):
        row, rows = t[i], out[i]
        lines = np.empty((2, row.size), np.float64)
        last, present = lines[0], lines[1]
        last[:] = 1.0
        present[:] = row
        rows[0] = row
        for k in range(1, rows.shape[0]):
            line = rows[k]
            for b in range(row.size):
                following = 2.0 * row[b] * present[b] - last[b]
                last[b] = present[b]
                present[b] = following
                line[b] = f4(following)


def _paired(grad, features, out):
    """out[i, b] = Σ_k grad[i, k, b] features[i, k, b]."""
    for i in prange(len(out)):
        line, rows, others = out[i], grad[i], features[i]
        line[:] = f4(0)
        for k in range(rows.shape[0]):
            for b in range(line.size):
                line[b] += rows[k, b] * others[k, b]


VALUES, VALUES_BACKWARD = both(_values), both(_values_backward)
FEATURES, PAIRED = both(_features), both(_paired)


# -- the layer -----------------------------------------------------------------------------------------------------


def _run(forms: tuple[Any, Any], work: int, *arguments: Any) -> None:
    numba_cpu.run(forms, work, torch.get_num_threads(), *arguments)


def _circuits(where: Interval, tensors: tuple[Tensor, ...], gates: str) -> tuple[Any, ...]:
    """Nodes (N,), theta (m·n, P), frequency and shift (m·n, L) with respect to the scaled input, and the gates."""
    _, theta, frequency, shift, weight = tensors
    data = frequency * where.half_width[:, None], shift + frequency * where.center[:, None]
    flat = (tensor.reshape(weight.numel(), -1).contiguous().numpy() for tensor in (theta, *data))
    return _node_tables(where.nodes)[0], *flat, *table(gates)


def _coefficients(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """From values at the nodes (m, n, N): what T_0 contributes, (m, n), and the (m, n(N-1)) matrix of the others."""
    found = torch.matmul(values * weight.unsqueeze(-1), _node_tables(values.shape[-1])[1].t())
    return found[..., 0], found[..., 1:].flatten(1)


def _scaled(where: Interval, x: Tensor) -> Tensor:
    """Inputs t in [-1, 1]."""
    return (x - where.center) / where.half_width


def _chunk_features(t: Tensor, nodes: int) -> Tensor:
    """(n(N-1), b) for one chunk t (b, n), valid until the next."""
    out = room("features", t.shape[1], nodes - 1, t.shape[0])
    _run(FEATURES, out.numel(), t.t().contiguous().numpy(), out.numpy())
    return out.flatten(0, 1)


def forward(where: Interval, tensors: tuple[Tensor, ...], gates: str) -> Tensor:
    """(B, m) of :func:`qkan.kernels.reference.edge_sum` for its five tensors in float32; ``gates`` is the circuit."""
    tensors = tuple(tensor.detach() for tensor in tensors)
    x, weight = tensors[0], tensors[4]
    values = x.new_empty(*weight.shape, where.nodes)
    work = values.numel() * len(table(gates)[0])
    _run(VALUES, work, *_circuits(where, tensors, gates), values.view(-1, where.nodes).numpy())
    constant, matrix = _coefficients(values, weight)
    t, out, bias = _scaled(where, x), x.new_empty(x.shape[0], len(weight)), constant.sum(-1)
    for rows in chunks(len(out), matrix.shape[1]):
        product(bias, _chunk_features(t[rows], where.nodes), matrix, out[rows])
    return out


def backward(
    grad: Tensor, where: Interval, tensors: tuple[Tensor, ...], gates: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x, theta, frequency, shift and weight for grad (B, m)."""
    tensors = tuple(tensor.detach() for tensor in tensors)
    x, theta, frequency, _, weight = tensors
    t, grad = _scaled(where, x), grad.contiguous()
    grad_values = _by_value(grad, t, where.nodes)
    values, slopes = torch.empty_like(grad_values), torch.empty_like(grad_values)
    by_theta, by_slope, by_shift = (
        torch.empty_like(theta),
        grad.new_empty(frequency.shape),
        grad.new_empty(frequency.shape),
    )
    results = (out.view(weight.numel(), -1).numpy() for out in (values, slopes, by_theta, by_slope, by_shift))
    upstream = (grad_values * weight.unsqueeze(-1)).view(-1, where.nodes).numpy()
    _run(
        VALUES_BACKWARD,
        3 * values.numel() * len(table(gates)[0]),
        upstream,
        *_circuits(where, tensors, gates),
        *results,
    )
    grad_x = _by_input(grad, t, *_coefficients(slopes, weight)).div_(where.half_width)
    by_frequency = by_slope * where.half_width[:, None] + by_shift * where.center[:, None]
    return grad_x, by_theta, by_frequency, by_shift, (grad_values * values).sum(-1)


def _by_value(grad: Tensor, t: Tensor, nodes: int) -> Tensor:
    """Gradients with respect to the values at the nodes, (m, n, N), weights left out."""
    (m, n), constant = (grad.shape[1], t.shape[1]), grad.sum(0)
    columns = grad.new_zeros((nodes - 1) * n, m)
    for rows in chunks(len(grad), len(columns)):
        columns += by_rows(_chunk_features(t[rows], nodes), grad[rows].t().contiguous())
    by_coefficient = torch.cat([constant[:, None, None].expand(m, n, 1), columns.t().view(m, n, -1)], -1)
    return torch.matmul(by_coefficient, _node_tables(nodes)[1])


def _by_input(grad: Tensor, t: Tensor, constant: Tensor, matrix: Tensor) -> Tensor:
    """Gradients with respect to t from the coefficients of dφ/dt.

    Interpolating the slopes keeps the accuracy that differentiating T_k would lose.
    """
    columns, out = matrix.t().contiguous(), torch.empty_like(t)
    nodes = len(columns) // t.shape[1] + 1
    for rows in chunks(len(grad), len(columns)):
        features = _chunk_features(t[rows], nodes)
        back = by_rows(columns, grad[rows])
        pair = (part.view(-1, nodes - 1, part.shape[1]).numpy() for part in (back, features))
        line = room("line", t.shape[1], features.shape[1])
        _run(PAIRED, back.numel(), *pair, line.numpy())
        out[rows] = line.t()
    return out.addmm_(grad, constant)
