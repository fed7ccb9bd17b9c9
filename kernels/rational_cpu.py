"""Rational functions of groups in one pass over memory, and all their gradients in another; float32.

The numbers of one group, row after row, are cut into blocks, and these into tiles, whose numbers are gathered beside
each other whatever the width of the group, so that polynomials are computed in vectors. Every block has sums of its
own, added up in an order that does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from qkan.kernels import workspace  # noqa: F401  keeps freed memory
from qkan.kernels.numba_cpu import both

f4, f8 = np.float32, np.float64
_ONE = f4(1)
#: Numbers of a tile and of a block. Loops over a tile have a constant length: only then can the compiler tell that the
#: rows of a workspace do not overlap, and use vectors.
LANES = 256
BLOCK = 32 * LANES


@njit(cache=True)
def _gather(source, group, sizes, place, work, slot):
    """Copy a tile of a group, from its number ``place`` on, to a row of the workspace; lanes left over are 0."""
    rows, groups, width = sizes
    row, column, filled = place // width, place % width, 0
    target = work[slot * LANES : (slot + 1) * LANES]
    while filled < LANES and row < rows:
        count, start = min(width - column, LANES - filled), (row * groups + group) * width + column
        lanes, part = target[filled : filled + count], source[start : start + count]
        for i in range(count):
            lanes[i] = part[i]
        row, column, filled = row + 1, 0, filled + count
    target[filled:] = f4(0)


@njit(cache=True)
def _scatter(work, slot, target, group, sizes, place):
    """The reverse."""
    rows, groups, width = sizes
    row, column, filled = place // width, place % width, 0
    source = work[slot * LANES : (slot + 1) * LANES]
    while filled < LANES and row < rows:
        count, start = min(width - column, LANES - filled), (row * groups + group) * width + column
        lanes, part = source[filled : filled + count], target[start : start + count]
        for i in range(count):
            part[i] = lanes[i]
        row, column, filled = row + 1, 0, filled + count


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _values(work, a, b, far, absolute, top, bottom):
    """Replace numbers by F of them."""
    for i in range(LANES):
        v = work[i]
        if v > far:
            v = far
        if v < -far:
            v = -far
        t = abs(v) if len(absolute) == 1 else v
        above, below = a[len(top) - 1], b[len(bottom) - 1]
        for k in range(len(top) - 1):
            above = above * v + a[len(top) - 2 - k]
        for j in range(len(bottom) - 1):
            below = below * t + b[len(bottom) - 2 - j]
        work[i] = above / (_ONE + abs(below * t))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _slopes(work, a, b, far, absolute, top, bottom):
    """Row 0: numbers. Row 1: gradients by F, replaced by those by the numbers. Other rows: sums by coefficients."""
    for i in range(LANES):
        x = work[i]
        v = x
        if v > far:
            v = far
        if v < -far:
            v = -far
        t = abs(v) if len(absolute) == 1 else v
        above, rise = a[len(top) - 1], f4(0)
        for k in range(len(top) - 1):
            rise = rise * v + above
            above = above * v + a[len(top) - 2 - k]
        below, fall = b[len(bottom) - 1], f4(0)
        for j in range(len(bottom) - 1):
            fall = fall * t + below
            below = below * t + b[len(bottom) - 2 - j]
        fall = fall * t + below
        below *= t
        sign = _ONE if below >= f4(0) else -_ONE
        inverse = _ONE / (_ONE + abs(below))
        up = work[LANES + i] * inverse
        down = -up * (above * inverse) * sign
        if len(absolute) == 1:
            fall = fall if v > f4(0) else -fall
            fall = fall if v != f4(0) else f4(0)
        slope = up * rise + down * fall
        work[LANES + i] = slope if abs(x) <= far else f4(0)
        for k in range(len(top)):
            work[(2 + k) * LANES + i] += up
            up *= v
        for j in range(len(bottom)):
            down *= t
            work[(2 + len(top) + j) * LANES + i] += down


def _rational(x, a, b, out, sizes, far, absolute, top, bottom):
    """Out = F(x), both (rows · groups · width); a (groups, p+1) and b (groups, q).

    ``sizes`` is (rows, groups, width). The compiler knows the lengths of tuples: those of ``top`` and ``bottom`` are
    the numbers of coefficients, that of ``absolute`` is 1 where the denominator is a polynomial in |x|, else 0.
    """
    rows, groups, width = sizes
    total = rows * width
    for unit in prange((total + BLOCK - 1) // BLOCK * groups):
        first, group = unit // groups * BLOCK, unit % groups
        work = np.empty(LANES, f4)
        for place in range(first, min(total, first + BLOCK), LANES):
            _gather(x, group, sizes, place, work, 0)
            _values(work, a[group], b[group], far, absolute, top, bottom)
            _scatter(work, 0, out, group, sizes, place)


def _rational_backward(grad, x, a, b, out, sums, sizes, far, absolute, top, bottom):
    """Gradients by x, and sums (blocks, groups, p+1+q) in float64 of those by a and, as they enter Q, by b."""
    rows, groups, width = sizes
    total = rows * width
    for unit in prange((total + BLOCK - 1) // BLOCK * groups):
        block, group = unit // groups, unit % groups
        first = block * BLOCK
        work = np.zeros((2 + len(top) + len(bottom)) * LANES, f4)
        for place in range(first, min(total, first + BLOCK), LANES):
            _gather(x, group, sizes, place, work, 0)
            _gather(grad, group, sizes, place, work, 1)
            _slopes(work, a[group], b[group], far, absolute, top, bottom)
            _scatter(work, 1, out, group, sizes, place)
        for k in range(len(top) + len(bottom)):
            found = f8(0)
            for i in range(LANES):
                found += work[(2 + k) * LANES + i]
            sums[block, group, k] = found


RATIONAL = both(_rational)
RATIONAL_BACKWARD = both(_rational_backward)
