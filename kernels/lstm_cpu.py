"""One time step of an LSTM with dense gates, after and before its matrix product, for both directions at once."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels import workspace  # noqa: F401  keeps freed memory
from qkan.kernels.numba_cpu import both
from qkan.kernels.row_math_cpu import sigmoid, tanh

f4 = np.float32
_ONE = f4(1)


@njit(cache=True, fastmath={"contract"}, inline="always")
def _activate(row, relu):
    """The cells' activation in place."""
    if relu:
        for i in range(row.size):
            row[i] = f4(0) if row[i] < f4(0) else row[i]
    else:
        tanh(row)


@njit(cache=True, fastmath={"contract"}, inline="always")
def _slope(value, relu):
    """Its derivative, by its value."""
    if relu:
        return _ONE if value > f4(0) else f4(0)
    return _ONE - value * value


def _step(gates, cells, hidden, step, relu):
    """From pre-activations i, f, g, o to the gates, in place, and the cell and hidden state of the same time.

    gates (d, T, N, 4H), cells (d, T, N, H), hidden (T, N, d H). The second direction is at time T - 1 - step.
    """
    directions, steps, rows, size = cells.shape
    for item in prange(directions * rows):
        way, r = item // rows, item % rows
        t = steps - 1 - step if way else step
        row, cell, out = gates[way, t, r], cells[way, t, r], hidden[t, r, way * size : (way + 1) * size]
        sigmoid(row[: 2 * size])
        _activate(row[2 * size : 3 * size], relu)
        sigmoid(row[3 * size :])
        for i in range(size):
            cell[i] = row[i] * row[2 * size + i]
        if step > 0:
            before = cells[way, t + 1 if way else t - 1, r]
            for i in range(size):
                cell[i] += row[size + i] * before[i]
        out[:] = cell
        _activate(out, relu)
        for i in range(size):
            out[i] *= row[3 * size + i]


def _step_backward(upstream, by_hidden, by_cell, gates, cells, out, step, relu):
    """From gradients by the hidden states, (T, N, d H) and what comes from the step after, to those by pre-activations.

    by_hidden and by_cell (d, N, H) are from the step after; by_cell becomes that of this one. out (d, T, N, 4H).
    """
    directions, steps, rows, size = cells.shape
    for item in prange(directions * rows):
        way, r = item // rows, item % rows
        t = steps - 1 - step if way else step
        row, line, after = gates[way, t, r], out[way, t, r], by_cell[way, r]
        before = cells[way, (t + 1 if way else t - 1) if step > 0 else t, r]
        above = upstream[t, r, way * size : (way + 1) * size]
        squashed = cells[way, t, r].copy()
        _activate(squashed, relu)
        for i in range(size):
            a, f, g, o = row[i], row[size + i], row[2 * size + i], row[3 * size + i]
            slope = above[i] + by_hidden[way, r, i]
            total = after[i] + slope * o * _slope(squashed[i], relu)
            line[i] = total * g * a * (_ONE - a)
            line[size + i] = total * before[i] * f * (_ONE - f)
            line[2 * size + i] = total * a * _slope(g, relu)
            line[3 * size + i] = slope * squashed[i] * o * (_ONE - o)
            after[i] = total * f
        if step == 0:
            line[size : 2 * size] = f4(0)


STEP, STEP_BACKWARD = both(_step), both(_step_backward)
