"""Safe Padé functions shared by groups of features: the definition in plain PyTorch.

The rational units of Molina et al., arXiv 1907.06732, in the groups of KAT (Yang and Wang, arXiv 2409.10594).
"""

from __future__ import annotations

import torch
from torch import Tensor

from qkan.kernels.reference import accumulation_dtype

#: Forms of the denominator; see :func:`group_rational`.
FORMS = ("A", "B")


def limit(numerator: Tensor, denominator: Tensor) -> float:
    """Inputs are held to this size, 1e6 or less, where the highest power is still far from overflow in float32.

    Args:
        numerator: coefficients (…, p + 1).
        denominator: coefficients (…, q).
    """
    return min(1e6, 10 ** (36 / max(numerator.shape[-1] - 1, denominator.shape[-1])))


def magnitude(v: Tensor) -> Tensor:
    """|v|, elementwise, whose derivative at 0 is 1, so that coefficients that start at 0 can move."""
    return torch.where(v >= 0, v, -v)


def group_rational(x: Tensor, numerator: Tensor, denominator: Tensor, form: str = "A") -> Tensor:
    """F_g(x) = (a_0 + … + a_p x^p)/Q_g(x), elementwise, with the coefficients of the group g that a feature is in.

    Args:
        x: (..., n), the features of a group beside each other.
        numerator: a, (G, p + 1), or (1, p + 1) where all groups share it.
        denominator: b_1 … b_q, (G, q); G divides n.
        form: "A": Q = 1 + Σ_j |b_j| |x|^j. "B": Q = 1 + |Σ_j b_j x^j|.

    Returns:
        (..., n) in the dtype of x. Half-precision input is computed in float32. Beyond ±:func:`limit` the value is
        held. |x| has the derivative 0 at 0, the other magnitudes have 1.
    """
    work = accumulation_dtype(x.dtype)
    far = limit(numerator, denominator)
    points = x.to(work).clamp(-far, far).unflatten(-1, (len(denominator), -1))
    a, b = numerator.to(work).unsqueeze(1), denominator.to(work).unsqueeze(1)
    above = a[..., -1] * torch.ones_like(points)
    for k in range(a.shape[-1] - 2, -1, -1):
        above = above * points + a[..., k]
    sizes, bases = (magnitude(b), points.abs()) if form == "A" else (b, points)
    below = sizes[..., -1] * torch.ones_like(points)
    for j in range(b.shape[-1] - 2, -1, -1):
        below = below * bases + sizes[..., j]
    below = below * bases
    return (above / (1 + (below if form == "A" else magnitude(below)))).flatten(-2).to(x.dtype)
