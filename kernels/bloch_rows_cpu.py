"""Compiled CPU kernels for circuits that differ from row to row as well: every row brings its own trainable angles.

Fast-weight models compute the angles θ (B, m, n, P) from their input. The sum over inputs is taken on the way as in
:mod:`qkan.kernels.bloch_cpu`, and rows are the vector lanes, but here every gate has an angle of its own in every lane.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels.bloch_cpu import LANES, amplitude_block, data_trigs, lane_dot, lane_sum
from qkan.kernels.numba_cpu import block_shape, both, plane, sincos_block

f4 = np.float32
_ONE = f4(1)


@njit(cache=True, fastmath={"contract"})
def _turn_lanes(a, b, trig):
    """Rotate the plane (a, b) in every lane; with a and b exchanged, backwards."""
    sines, cosines = trig[0], trig[1]
    for j in range(a.size):
        turned = a[j] * cosines[j] - b[j] * sines[j]
        b[j] = a[j] * sines[j] + b[j] * cosines[j]
        a[j] = turned


@njit(cache=True, fastmath={"contract"})
def _gate_trigs(program, g, edge, start, count, x, angles, trig):
    """Sine, cosine and derivative of one rotation's angle in every lane."""
    _, theta_of, data_of, const = program
    theta, frequency, shift, arccos = edge
    rep, index = data_of[g], theta_of[g]
    angles[:] = const[g]
    if index >= 0:
        for j in range(count):
            angles[j] += theta[start + j, index]
    if rep < 0:
        sincos_block(_ONE, f4(0), angles, trig[0], trig[1], x.size)
    elif arccos:
        data_trigs(frequency[rep], shift[rep], x, True, trig)
    else:
        for j in range(x.size):
            angles[j] += frequency[rep] * x[j] + shift[rep]
        data_trigs(_ONE, f4(0), angles, False, trig)


@njit(cache=True, fastmath={"contract"})
def _evolve(program, edge, start, count, x, angles, v, trigs):
    """Bloch vectors (3, lanes) of one edge after all gates; trigs (G, 3, lanes) keeps what was met on the way."""
    v[:] = f4(0)
    v[0] = _ONE
    for g in range(program[0].size):
        _gate_trigs(program, g, edge, start, count, x, angles, trigs[g])
        p, q, _ = plane(program[0][g])
        _turn_lanes(v[p], v[q], trigs[g])


@njit(cache=True, fastmath={"contract"})
def _read(v, amplitude, values, slopes):
    values[:] = v[2]
    if not amplitude:
        slopes[:] = _ONE
        return
    x, y = v[0], v[1]
    for j in range(slopes.size):
        slopes[j] = x[j] * x[j] + y[j] * y[j]
    amplitude_block(values, slopes)


@njit(cache=True, fastmath={"contract"})
def _walk_back(program, edge, start, count, x, v, adjoint, trigs, slopes, grads):
    """Undo the gates, adding one block's derivatives of one edge; every row has its own grad_theta (B, P)."""
    axes, theta_of, data_of, _ = program
    grad_row, grad_theta, grad_frequency, grad_shift = grads
    for g in range(axes.size - 1, -1, -1):
        p, q, _ = plane(axes[g])
        v_p, v_q, l_p, l_q, derivative = v[p], v[q], adjoint[p], adjoint[q], trigs[g, 2]
        for j in range(slopes.size):
            slopes[j] = v_p[j] * l_q[j] - v_q[j] * l_p[j]
        if theta_of[g] >= 0:
            for j in range(count):
                grad_theta[start + j, theta_of[g]] += slopes[j]
        rep = data_of[g]
        if rep >= 0:
            for j in range(slopes.size):
                slopes[j] *= derivative[j]
                grad_row[j] += edge[1][rep] * slopes[j]
            grad_frequency[rep] += lane_dot(slopes, x)
            grad_shift[rep] += lane_sum(slopes)
        _turn_lanes(v_q, v_p, trigs[g])
        _turn_lanes(l_q, l_p, trigs[g])


def _row_sum(x, theta, frequency, shift, weight, program, amplitude, arccos, splits, out):
    """Takes x (n, B), theta (B, m, n, P), frequency and shift (m, n, L), weight (m, n), out (m, B)."""
    m, n = weight.shape
    batch, gates = x.shape[1], program[0].size
    blocks, lanes = block_shape(batch, LANES)
    per_part = (blocks + splits - 1) // splits
    for task in prange(m * splits):
        o, part = task // splits, task % splits
        lines = np.zeros((5, lanes), f4)
        row, values, slopes, angles, total = lines[0], lines[1], lines[2], lines[3], lines[4]
        v, trigs = np.empty((3, lanes), f4), np.empty((gates, 3, lanes), f4)
        for block in range(part * per_part, min((part + 1) * per_part, blocks)):
            start = block * lanes
            count = min(lanes, batch - start)
            total[:] = f4(0)
            for i in range(n):
                row[:count] = x[i, start : start + count]
                edge = (theta[:, o, i], frequency[o, i], shift[o, i], arccos)
                _evolve(program, edge, start, count, row, angles, v, trigs)
                _read(v, amplitude, values, slopes)
                for j in range(lanes):
                    total[j] += weight[o, i] * values[j]
            out[o, start : start + count] = total[:count]


def _row_sum_backward(
    grad, x, theta, frequency, shift, weight, program, amplitude, arccos, splits, out_x, out_theta, out_data, out_weight
):
    """Gradients for grad (m, B): out_x (n, B), out_theta (B, m, n, P), and per part of the batch out_data
    (2, splits, m, n, L) for frequency and shift, and out_weight (splits, m, n).
    """
    m, n = weight.shape
    batch, gates = x.shape[1], program[0].size
    blocks, lanes = block_shape(batch, LANES)
    per_part = (blocks + splits - 1) // splits
    for task in prange(n * splits):
        i, part = task // splits, task % splits
        lines = np.zeros((6, lanes), f4)
        row, values, slopes, angles, upstream, grad_row = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5]
        v, adjoint, trigs = np.empty((3, lanes), f4), np.empty((3, lanes), f4), np.empty((gates, 3, lanes), f4)
        out_data[:, part, :, i] = f4(0)
        out_weight[part, :, i] = f4(0)
        for block in range(part * per_part, min((part + 1) * per_part, blocks)):
            start = block * lanes
            count = min(lanes, batch - start)
            row[:count] = x[i, start : start + count]
            row[count:] = f4(0)
            upstream[count:] = f4(0)
            grad_row[:] = f4(0)
            for o in range(m):
                edge = (theta[:, o, i], frequency[o, i], shift[o, i], arccos)
                upstream[:count] = grad[o, start : start + count]
                out_theta[start : start + count, o, i] = f4(0)
                _evolve(program, edge, start, count, row, angles, v, trigs)
                _read(v, amplitude, values, slopes)
                out_weight[part, o, i] += lane_dot(upstream, values)
                adjoint[:2] = f4(0)
                for j in range(lanes):
                    adjoint[2, j] = upstream[j] * weight[o, i] * slopes[j]
                grads = grad_row, out_theta[:, o, i], out_data[0, part, o, i], out_data[1, part, o, i]
                _walk_back(program, edge, start, count, row, v, adjoint, trigs, slopes, grads)
            out_x[i, start : start + count] = grad_row[:count]


ROW_SUM = both(_row_sum)
ROW_SUM_BACKWARD = both(_row_sum_backward)
