"""Compiled CPU kernels for circuits that differ from edge to edge: the sum over inputs, and its gradients, in one pass.

Rows of the batch are the vector lanes. What lies between two data gates of an edge is the same for all rows, so it is
one 3x3 rotation matrix, and a circuit is M_L R(φ_L) … M_1 R(φ_1) M_0 applied to (1, 0, 0). A block of lanes walks
through it without leaving the first-level cache: nothing of shape (batch, m, n) ever exists.

The gradient walks back with the adjoint λ. An angle about axis a receives a·(v × λ), and v × λ turns along with v and
λ; hence the trainable angles inside M_l need only the sum of v × λ over the rows, once per edge.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from qkan.kernels.numba_cpu import block_shape, both, plane, sincos_block

f4 = np.float32
#: At most so many rows in a block: what a circuit needs of them stays in the first-level cache.
LANES = 128
_ONE, _HALF, _EPS = f4(1), f4(0.5), f4(np.finfo(np.float32).eps)
_INSIDE = f4(_ONE - _EPS)


# Sums over lanes may be taken in any order; the flag "reassoc" stays on the additions of the functions that carry it.
@njit(cache=True, fastmath={"contract", "reassoc"})
def lane_sum(a):
    """Σ over the lanes."""
    total = f4(0)
    for j in range(a.size):
        total += a[j]
    return total


@njit(cache=True, fastmath={"contract", "reassoc"})
def lane_dot(a, b):
    """Σ a·b over the lanes."""
    total = f4(0)
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@njit(cache=True, fastmath={"contract"})
def _turn(a, b, angle):
    """Rotate the plane (a, b), two vectors of three, by one angle."""
    sine, cosine = f4(math.sin(angle)), f4(math.cos(angle))
    for j in range(a.size):
        turned = a[j] * cosine - b[j] * sine
        b[j] = a[j] * sine + b[j] * cosine
        a[j] = turned


@njit(cache=True, fastmath={"contract"})
def _fixed_angle(program, g, theta):
    """The part of a rotation's angle that does not depend on the data."""
    index = program[1][g]
    return program[3][g] + (theta[index] if index >= 0 else f4(0))


@njit(cache=True, fastmath={"contract"})
def matrices_between(program, theta, out):
    """The rotations (L+1, 3, 3) before, between and after the data gates of one edge; theta (P,)."""
    out[:] = f4(0)
    for c in range(3):
        out[:, c, c] = _ONE
    row = 0
    for g in range(program[0].size):
        if program[2][g] >= 0:
            row += 1
        else:
            p, q, _ = plane(program[0][g])
            _turn(out[row, p], out[row, q], _fixed_angle(program, g, theta))


@njit(cache=True, fastmath={"contract"})
def data_trigs(slope, offset, x, arccos, trig):
    """Sine, cosine and derivative (3, lanes) of a data angle slope x + offset, or of its arccos."""
    sines, cosines, derivative = trig[0], trig[1], trig[2]
    if not arccos:
        derivative[:] = _ONE
        sincos_block(slope, offset, x, sines, cosines, x.size)
        return
    for j in range(x.size):
        u = slope * x[j] + offset
        free = abs(u) < _INSIDE
        u = _INSIDE if u > _INSIDE else (-_INSIDE if u < -_INSIDE else u)
        cosines[j] = u
        sines[j] = math.sqrt(_ONE - u * u)
        derivative[j] = -_ONE / sines[j] if free else f4(0)


@njit(cache=True, fastmath={"contract"})
def _step(axis, matrix, before, after, trig):
    """Write R_axis(data angle) · matrix · before into ``after``, in every lane; both (3, lanes)."""
    p, q, r = plane(axis)
    x, y, z = before[0], before[1], before[2]
    out_p, out_q, out_r = after[p], after[q], after[r]
    sines, cosines = trig[0], trig[1]
    p0, p1, p2 = matrix[p, 0], matrix[p, 1], matrix[p, 2]
    q0, q1, q2 = matrix[q, 0], matrix[q, 1], matrix[q, 2]
    r0, r1, r2 = matrix[r, 0], matrix[r, 1], matrix[r, 2]
    for j in range(sines.size):
        v_p = p0 * x[j] + p1 * y[j] + p2 * z[j]
        v_q = q0 * x[j] + q1 * y[j] + q2 * z[j]
        out_r[j] = r0 * x[j] + r1 * y[j] + r2 * z[j]
        out_p[j] = v_p * cosines[j] - v_q * sines[j]
        out_q[j] = v_p * sines[j] + v_q * cosines[j]


@njit(cache=True, fastmath={"contract"})
def evolve(program, edge, x, states, trigs):
    """Bloch vectors after every data gate: states (L+1, 3, lanes), the first of them |+⟩; trigs (L, 3, lanes)."""
    theta, frequency, shift, matrices, arccos = edge
    row = 0
    for g in range(program[0].size):
        rep = program[2][g]
        if rep >= 0:
            offset = shift[rep] + _fixed_angle(program, g, theta)
            data_trigs(frequency[rep], offset, x, arccos, trigs[row])
            _step(program[0][g], matrices[row], states[row], states[row + 1], trigs[row])
            row += 1


@njit(cache=True, fastmath={"contract"})
def read(matrix, state, amplitude, values, slopes):
    """Readout of matrix · state and its slope in z.

    ⟨Z⟩ itself, or |α|-|β| = Z/√(1 + √(1-Z²)) with 1-Z² = x²+y², which is free of cancellation.
    """
    x, y, z = state[0], state[1], state[2]
    z0, z1, z2 = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    for j in range(values.size):
        values[j] = z0 * x[j] + z1 * y[j] + z2 * z[j]
    if not amplitude:
        slopes[:] = _ONE
        return
    x0, x1, x2, y0, y1, y2 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[1, 0], matrix[1, 1], matrix[1, 2]
    for j in range(values.size):
        v_x, v_y = x0 * x[j] + x1 * y[j] + x2 * z[j], y0 * x[j] + y1 * y[j] + y2 * z[j]
        slopes[j] = v_x * v_x + v_y * v_y
    amplitude_block(values, slopes)


@njit(cache=True, fastmath={"contract"})
def amplitude_block(values, slopes):
    """Amplitude readout in place: values hold Z and slopes 1-Z² on entry, readout and slope on return."""
    for j in range(values.size):
        z, square = values[j], slopes[j]
        root = math.sqrt(_EPS if square < _EPS else square)
        inverse = _ONE / math.sqrt(_ONE + root)
        bend = f4(0) if square < _EPS else _HALF * z * z * inverse * inverse / root
        values[j] = z * inverse
        slopes[j] = inverse * (_ONE + bend)


@njit(cache=True, fastmath={"contract", "reassoc"})
def _step_back(axis, matrix, state, adjoint, before, trig, frequency, x, grad_row):
    """Undo matrix and then the data gate before it: adjoint -> before, both (3, lanes).

    Adds to ``grad_row`` and returns the sums over rows of v × λ and of the derivatives with respect to frequency and
    shift.
    """
    p, q, r = plane(axis)
    a, b, c = adjoint[0], adjoint[1], adjoint[2]
    v_p, v_q, v_r = state[p], state[q], state[r]
    out_p, out_q, out_r = before[p], before[q], before[r]
    sines, cosines, derivative = trig[0], trig[1], trig[2]
    p0, p1, p2 = matrix[0, p], matrix[1, p], matrix[2, p]
    q0, q1, q2 = matrix[0, q], matrix[1, q], matrix[2, q]
    r0, r1, r2 = matrix[0, r], matrix[1, r], matrix[2, r]
    sum_p, sum_q, sum_r, sum_frequency, sum_shift = f4(0), f4(0), f4(0), f4(0), f4(0)
    for j in range(x.size):
        l_p = p0 * a[j] + p1 * b[j] + p2 * c[j]
        l_q = q0 * a[j] + q1 * b[j] + q2 * c[j]
        l_r = r0 * a[j] + r1 * b[j] + r2 * c[j]
        slope = v_p[j] * l_q - v_q[j] * l_p
        sum_p += v_q[j] * l_r - v_r[j] * l_q
        sum_q += v_r[j] * l_p - v_p[j] * l_r
        sum_r += slope
        slope *= derivative[j]
        sum_shift += slope
        sum_frequency += slope * x[j]
        grad_row[j] += frequency * slope
        out_p[j] = l_p * cosines[j] + l_q * sines[j]
        out_q[j] = l_q * cosines[j] - l_p * sines[j]
        out_r[j] = l_r
    return sum_p, sum_q, sum_r, sum_frequency, sum_shift


@njit(cache=True, fastmath={"contract"})
def walk_back(program, edge, x, states, trigs, adjoints, grad_row, grad_frequency, grad_shift, torques):
    """Walk from ``adjoints[L]`` back to the start, adding one block's derivatives of one edge; torques (L+1, 3)."""
    _, frequency, _, matrices, _ = edge
    row = trigs.shape[0]
    for g in range(program[0].size - 1, -1, -1):
        rep = program[2][g]
        if rep >= 0:
            p, q, r = plane(program[0][g])
            lanes = states[row], adjoints[row], adjoints[row - 1], trigs[row - 1]
            sums = _step_back(program[0][g], matrices[row], *lanes, frequency[rep], x, grad_row)
            torques[row, p] += sums[0]
            torques[row, q] += sums[1]
            torques[row, r] += sums[2]
            grad_frequency[rep] += sums[3]
            grad_shift[rep] += sums[4]
            row -= 1
    # Before the first data gate v is the first column of M_0 in every row: only the sum of λ matters.
    v = matrices[0, :, 0]
    a, b, c = lane_sum(adjoints[0, 0]), lane_sum(adjoints[0, 1]), lane_sum(adjoints[0, 2])
    torques[0, 0] += v[1] * c - v[2] * b
    torques[0, 1] += v[2] * a - v[0] * c
    torques[0, 2] += v[0] * b - v[1] * a


@njit(cache=True, fastmath={"contract"})
def angle_gradients(program, theta, torques, out):
    """From the torques of one edge to its trainable angles, (P,).

    The torque before the first data gate is known after M_0 and is turned back; the others are known before their
    matrix and are turned forth.
    """
    axes, theta_of, data_of = program[0], program[1], program[2]
    out[:] = f4(0)
    row, lead = 0, 0
    while lead < axes.size and data_of[lead] < 0:
        lead += 1
    for g in range(lead - 1, -1, -1):
        if theta_of[g] >= 0:
            out[theta_of[g]] += torques[0, axes[g]]
        p, q, _ = plane(axes[g])
        _turn(torques[0, q : q + 1], torques[0, p : p + 1], _fixed_angle(program, g, theta))
    for g in range(lead, axes.size):
        if data_of[g] >= 0:
            row += 1
        else:
            p, q, _ = plane(axes[g])
            _turn(torques[row, p : p + 1], torques[row, q : q + 1], _fixed_angle(program, g, theta))
        if theta_of[g] >= 0:
            out[theta_of[g]] += torques[row, axes[g]]


def _edge_sum(x, theta, frequency, shift, weight, program, amplitude, arccos, splits, out):
    """Takes x (n, B), theta (m, n, P), frequency and shift (m, n, L), weight (m, n), out (m, B)."""
    m, n = weight.shape
    batch, reps = x.shape[1], frequency.shape[2]
    matrices = np.empty((m, n, reps + 1, 3, 3), f4)
    for o in prange(m):
        for i in range(n):
            matrices_between(program, theta[o, i], matrices[o, i])
    blocks, lanes = block_shape(batch, LANES)
    per_part = (blocks + splits - 1) // splits
    for task in prange(m * splits):
        o, part = task // splits, task % splits
        lines = np.zeros((4, lanes), f4)
        row, values, slopes, total = lines[0], lines[1], lines[2], lines[3]
        states, trigs = np.zeros((reps + 1, 3, lanes), f4), np.empty((reps, 3, lanes), f4)
        states[0, 0] = _ONE
        for block in range(part * per_part, min((part + 1) * per_part, blocks)):
            start = block * lanes
            count = min(lanes, batch - start)
            total[:] = f4(0)
            for i in range(n):
                row[:count] = x[i, start : start + count]
                edge = (theta[o, i], frequency[o, i], shift[o, i], matrices[o, i], arccos)
                evolve(program, edge, row, states, trigs)
                read(matrices[o, i, reps], states[reps], amplitude, values, slopes)
                for j in range(lanes):
                    total[j] += weight[o, i] * values[j]
            out[o, start : start + count] = total[:count]


def _edge_sum_backward(
    grad, x, theta, frequency, shift, weight, program, amplitude, arccos, splits, out_x, out_theta, out_data, out_weight
):
    """Gradients for grad (m, B); every part of the batch has its own sums over rows.

    out_x (n, B), out_theta (splits, m, n, P), out_data (2, splits, m, n, L) for frequency and shift, out_weight
    (splits, m, n).
    """
    m, n = weight.shape
    batch, reps = x.shape[1], frequency.shape[2]
    matrices = np.empty((m, n, reps + 1, 3, 3), f4)
    for o in prange(m):
        for i in range(n):
            matrices_between(program, theta[o, i], matrices[o, i])
    blocks, lanes = block_shape(batch, LANES)
    per_part = (blocks + splits - 1) // splits
    for task in prange(n * splits):
        i, part = task // splits, task % splits
        lines = np.zeros((5, lanes), f4)
        row, values, slopes, upstream, grad_row = lines[0], lines[1], lines[2], lines[3], lines[4]
        states, trigs = np.zeros((reps + 1, 3, lanes), f4), np.empty((reps, 3, lanes), f4)
        states[0, 0] = _ONE
        adjoints = np.zeros((reps + 1, 3, lanes), f4)
        torques = np.zeros((m, reps + 1, 3), f4)
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
                edge = (theta[o, i], frequency[o, i], shift[o, i], matrices[o, i], arccos)
                upstream[:count] = grad[o, start : start + count]
                evolve(program, edge, row, states, trigs)
                read(matrices[o, i, reps], states[reps], amplitude, values, slopes)
                out_weight[part, o, i] += lane_dot(upstream, values)
                adjoints[reps, :2] = f4(0)
                for j in range(lanes):
                    adjoints[reps, 2, j] = upstream[j] * weight[o, i] * slopes[j]
                grads = grad_row, out_data[0, part, o, i], out_data[1, part, o, i], torques[o]
                walk_back(program, edge, row, states, trigs, adjoints, *grads)
            out_x[i, start : start + count] = grad_row[:count]
        for o in range(m):
            angle_gradients(program, theta[o, i], torques[o], out_theta[part, o, i])


EDGE_SUM = both(_edge_sum)
EDGE_SUM_BACKWARD = both(_edge_sum_backward)
