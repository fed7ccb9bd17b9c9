"""Closed forms of uniform B-splines; the reference is :func:`qkan.kernels.reference.cox_de_boor`."""

from __future__ import annotations

from torch import Tensor


def uniform_cubic(x: Tensor, centres: Tensor, step: float) -> Tensor:
    """Cubic B-splines on equally spaced knots: with u = |x - c|/h, ((2-u)₊³ - 4(1-u)₊³)/6.

    Args:
        x: positions, any shape.
        centres: middle knot c of each basis function, shape (K,).
        step: distance h between knots.

    Returns:
        (*x.shape, K).
    """
    distance = (x.unsqueeze(-1) - centres).abs() / step
    outer, inner = (2 - distance).clamp_min(0), (1 - distance).clamp_min(0)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6
