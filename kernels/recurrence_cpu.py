"""The time loop of an LSTM or GRU whose gates are features times coefficients, forward and backward.

One compiled call takes all time steps; blocks of rows of the batch run one after the other, or on several threads,
each through its whole sequence. Gates and features are kept for the backward pass, which goes back through time once.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from qkan.kernels.numba_cpu import both, njit
from qkan.kernels.row_math_cpu import features, features_backward, multiply_add, sigmoid, tanh

f4 = np.float32
_ONE = f4(1)
LSTM, GRU = 0, 1


@njit(cache=True, fastmath={"contract"})
def _lstm_step(gates, cell, cell_out, hidden):
    """From pre-activations i, f, g, o (r, 4H), in place, and the cell before to the cell and hidden state after."""
    size = hidden.shape[1]
    for r in range(len(gates)):
        row, before, after, out = gates[r], cell[r], cell_out[r], hidden[r]
        sigmoid(row[: 2 * size])
        tanh(row[2 * size : 3 * size])
        sigmoid(row[3 * size :])
        for i in range(size):
            after[i] = row[size + i] * before[i] + row[i] * row[2 * size + i]
            out[i] = after[i]
        tanh(out)
        for i in range(size):
            out[i] *= row[3 * size + i]


@njit(cache=True, fastmath={"contract"})
def _lstm_step_backward(gates, before, after, grad_hidden, grad_cell, out):
    """To gradients by pre-activations, out (r, 4H), and by the cell before, which grad_cell becomes."""
    size = grad_hidden.shape[1]
    squashed = np.empty(size, f4)
    for r in range(len(gates)):
        row, upstream, line = gates[r], grad_hidden[r], out[r]
        squashed[:] = after[r]
        tanh(squashed)
        for i in range(size):
            a, f, g, o = row[i], row[size + i], row[2 * size + i], row[3 * size + i]
            by_cell = grad_cell[r, i] + upstream[i] * o * (_ONE - squashed[i] * squashed[i])
            line[i] = by_cell * g * a * (_ONE - a)
            line[size + i] = by_cell * before[r, i] * f * (_ONE - f)
            line[2 * size + i] = by_cell * a * (_ONE - g * g)
            line[3 * size + i] = upstream[i] * squashed[i] * o * (_ONE - o)
            grad_cell[r, i] = by_cell * f


@njit(cache=True, fastmath={"contract"})
def _gru_step(gates, before, hidden):
    """From pre-activations r, z, a, b in place to σ(r), σ(z), n = tanh(a + r b), b, and h = n + z (h - n)."""
    size = hidden.shape[1]
    for r in range(len(gates)):
        row = gates[r]
        sigmoid(row[: 2 * size])
        candidate = row[2 * size : 3 * size]
        for i in range(size):
            candidate[i] += row[i] * row[3 * size + i]
        tanh(candidate)
        for i in range(size):
            hidden[r, i] = candidate[i] + row[size + i] * (before[r, i] - candidate[i])


@njit(cache=True, fastmath={"contract"})
def _gru_step_backward(gates, before, grad_hidden, out):
    """To gradients by pre-activations, out (r, 4H); grad_hidden becomes its direct part by the state before."""
    size = grad_hidden.shape[1]
    for r in range(len(gates)):
        row, line = gates[r], out[r]
        for i in range(size):
            s, z, n, b, upstream = row[i], row[size + i], row[2 * size + i], row[3 * size + i], grad_hidden[r, i]
            by_sum = upstream * (_ONE - z) * (_ONE - n * n)
            line[i] = by_sum * b * s * (_ONE - s)
            line[size + i] = upstream * (before[r, i] - n) * z * (_ONE - z)
            line[2 * size + i] = by_sum
            line[3 * size + i] = by_sum * s
            grad_hidden[r, i] = upstream * z


@njit(cache=True, fastmath={"contract"})
def _fill_inputs(x, hidden, encode, out):
    """Inputs of the features: x beside the hidden state, or x + hidden @ encode where there is an encoder."""
    n = x.shape[1]
    out[:, :n] = x
    if encode.size > 0:
        multiply_add(hidden, encode, out)
    else:
        out[:, n:] = hidden


@njit(cache=True, fastmath={"contract"})
def _hold(lengths, start, t, before, after):
    """Rows whose sequence has ended keep their state."""
    for r in range(len(after)):
        if lengths.size > 0 and t >= lengths[start + r]:
            after[r] = before[r]


@njit(cache=True, fastmath={"contract"})
def _forward_rows(first, last, inputs, weights, lengths, kind, kept, out, out_cell):
    """All time steps of the rows from ``first`` to before ``last``."""
    x, h0, c0 = inputs
    matrix, bias, encode = weights
    cell_kind, degree, keep = kind
    found, slopes, gates, cells = kept
    rows = slice(first, last)
    count = last - first
    values = np.empty((count, matrix.shape[1]), f4)
    hidden, cell = h0[rows].copy(), c0[rows].copy()
    for t in range(len(x)):
        at = t if keep else 0
        _fill_inputs(x[t, rows], hidden, encode, values)
        block, row_gates = found[at], gates[at, rows]
        features(values, degree, first, block, slopes[at, rows])
        for r in range(count):
            row_gates[r] = bias
        for k in range(len(matrix)):
            multiply_add(block[k][rows], matrix[k], row_gates)
        if cell_kind == LSTM:
            after = cells[at, rows]
            _lstm_step(row_gates, cell, after, out[t, rows])
            _hold(lengths, first, t, cell, after)
            cell[:] = after
        else:
            _gru_step(row_gates, hidden, out[t, rows])
        _hold(lengths, first, t, hidden, out[t, rows])
        hidden[:] = out[t, rows]
    out_cell[rows] = cell


@njit(cache=True, fastmath={"contract"})
def _end_gradients(lengths, start, t, pre, grad_hidden, grad_cell, saved_hidden, saved_cell):
    """Rows that kept their state in step t pass its gradients on and have none by pre-activations."""
    for r in range(len(pre)):
        if lengths.size > 0 and t >= lengths[start + r]:
            pre[r] = f4(0)
            grad_hidden[r], grad_cell[r] = saved_hidden[r], saved_cell[r]


@njit(cache=True, fastmath={"contract"})
def _backward_rows(first, last, upstream, inputs, weights, lengths, kind, kept, out, results, sums):
    """All time steps of some rows, backwards; ``sums`` are those of this thread, added to."""
    grad_out, grad_h, grad_c = upstream
    x, h0, c0 = inputs
    matrix, transposed, encode, decode = weights
    cell_kind, degree = kind
    found, slopes, gates, cells = kept
    grad_x, grad_h0, grad_c0 = results
    grad_matrix, grad_bias, grad_encode = sums
    rows = slice(first, last)
    count, n = last - first, x.shape[2]
    pre, by_feature = np.empty((count, transposed.shape[0]), f4), np.empty((count, transposed.shape[1]), f4)
    by_value = np.empty((count, matrix.shape[1]), f4)
    hidden, cell = grad_h[rows].copy(), grad_c[rows].copy()
    for t in range(len(x) - 1, -1, -1):
        hidden += grad_out[t, rows]
        saved_hidden, saved_cell = hidden.copy(), cell.copy()
        before = out[t - 1, rows] if t > 0 else h0[rows]
        if cell_kind == LSTM:
            cell_before = cells[t - 1, rows] if t > 0 else c0[rows]
            _lstm_step_backward(gates[t, rows], cell_before, cells[t, rows], hidden, cell, pre)
            hidden[:] = f4(0)
        else:
            _gru_step_backward(gates[t, rows], before, hidden, pre)
        _end_gradients(lengths, first, t, pre, hidden, cell, saved_hidden, saved_cell)
        block = found[t]
        by_feature[:] = f4(0)
        multiply_add(pre, transposed, by_feature)
        features_backward(by_feature, block, first, slopes[t, rows], degree, by_value)
        for k in range(len(matrix)):
            multiply_add(block[k][rows].T, pre, grad_matrix[k])
        for r in range(count):
            grad_bias += pre[r]
        grad_x[t, rows] = by_value[:, :n]
        if encode.size > 0:
            multiply_add(by_value, decode, hidden)
            multiply_add(before.T, by_value, grad_encode)
        else:
            hidden += by_value[:, n:]
    grad_h0[rows], grad_c0[rows] = hidden, cell


def _forward(inputs, weights, lengths, kind, kept, out, out_cell, block, parts):
    """See :func:`qkan.kernels.recurrence_ops.recurrence`; the arrays of ``kept`` hold all steps or one.

    Blocks of ``block`` rows are shared out among ``parts`` threads.
    """
    batch = out.shape[1]
    blocks = (batch + block - 1) // block
    per_part = (blocks + parts - 1) // parts
    for part in prange(parts):
        for number in range(part * per_part, min((part + 1) * per_part, blocks)):
            last = min((number + 1) * block, batch)
            _forward_rows(number * block, last, inputs, weights, lengths, kind, kept, out, out_cell)


def _backward(upstream, inputs, weights, lengths, kind, kept, out, results, sums, block, parts):
    """Gradients of inputs, and for each thread its share of those of matrix, bias and encoder: sums (parts, ...)."""
    batch = out.shape[1]
    blocks = (batch + block - 1) // block
    per_part = (blocks + parts - 1) // parts
    for part in prange(parts):
        own = sums[0][part], sums[1][part], sums[2][part]
        for number in range(part * per_part, min((part + 1) * per_part, blocks)):
            last = min((number + 1) * block, batch)
            _backward_rows(number * block, last, upstream, inputs, weights, lengths, kind, kept, out, results, own)


FORWARD, BACKWARD = both(_forward), both(_backward)
