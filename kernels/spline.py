"""Closed forms of uniform B-splines; the reference is :func:`qkan.kernels.reference.cox_de_boor`.

Schoenberg, Quarterly of Applied Mathematics 4 (1946).
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniform_cubic(x: Tensor, centres: Tensor, step: float) -> Tensor:
    """Cubic B-splines on equally spaced knots: with u = |x - c|/h, ((2-u)₊³ - 4(1-u)₊³)/6.

    Args:
        x: positions, any shape.
        centres: middle knot c of each basis function, shape (K,).
        step: distance h between knots.

    Returns:
        ``(*x.shape, K)``.
    """
    # Everything is scaled by 6^(-1/3), so that the cubes need no division: few passes over an array K times the input.
    root = 6 ** (-1 / 3)
    distance = (x.unsqueeze(-1) * (root / step) - centres * (root / step)).abs()
    outer, inner = (2 * root - distance).clamp_min(0), (root - distance).clamp_min(0)
    return torch.add(outer.pow(3), inner.pow(3), alpha=-4)
