"""Coefficients refitted in float64 where functions move to other features, and what that changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qkan.errors import NonFiniteError, OptionError, ShapeError

#: Ridge relative to the largest singular value squared: what data leave open stays at the start, and what they fix is
#: changed by less than 1e-8 up to a condition number of 1000.
RIDGE = 1e-14


@dataclass(frozen=True)
class GridUpdate:
    """What a grid update did to one layer.

    Attributes:
        residual: ‖new - old‖/‖old‖ over all edge functions on the samples (0 where the old functions vanish there).
        ranks: rank of the new features on the samples, one number per input. Below ``features`` the samples leave
            coefficients open, as for a constant or binary input; these follow the old function between the samples.
        features: number K of coefficients on every edge.
    """

    residual: float
    ranks: list[int]
    features: int

    def __str__(self) -> str:
        open_inputs = sum(rank < self.features for rank in self.ranks)
        return (
            f"relative residual {self.residual:.2e}; the samples fix all {self.features} coefficients of "
            f"{len(self.ranks) - open_inputs} of {len(self.ranks)} inputs"
        )


def ridge(features: Tensor, values: Tensor, start: Tensor) -> tuple[Tensor, int]:
    """Coefficients that fit best, and of equally good ones those next to ``start``.

    The minimum of ‖features · c - values‖² + RIDGE s² ‖c - start‖², s the largest singular value of the features, by
    their singular value decomposition.

    Args:
        features: (N, K), float64.
        values: (N, m).
        start: (K, m).

    Returns:
        (K, m) and the rank of the features.
    """
    left, sizes, right = torch.linalg.svd(features, full_matrices=False)
    largest = sizes.amax().clamp_min(1e-300)
    change = sizes / (sizes**2 + RIDGE * largest**2)
    found = start + right.T @ (change.unsqueeze(-1) * (left.T @ (values - features @ start)))
    limit = largest * max(features.shape) * torch.finfo(features.dtype).eps
    return found, int((sizes > limit).sum())


def refit(
    old: Callable[[Tensor], Tensor],
    new: Callable[[Tensor], Tensor],
    sites: Tensor,
    coef: Tensor,
    start: Tensor | None = None,
) -> tuple[Tensor, float, float, int]:
    """Move functions of one input from old features to new ones.

    Args:
        old: features that ``coef`` belongs to, sites (N,) -> (N, K_old).
        new: features to move to, sites (N,) -> (N, K).
        sites: where they should agree, float64.
        coef: (m, K_old) of the old features.
        start: (m, K), see :func:`ridge`; 0 by default.

    Returns:
        Coefficients (m, K), the squared norms of difference and of old values on the sites, and the rank.
    """
    values, features = old(sites) @ coef.T, new(sites)
    found, rank = ridge(features, values, coef.new_zeros(features.shape[1], len(coef)) if start is None else start.T)
    changed = float((features @ found - values).square().sum())
    return found.T, changed, float(values.square().sum()), rank


def relative(changed: float, size: float) -> float:
    """‖new - old‖/‖old‖ from squared norms; 0 where both vanish."""
    return (changed / max(size, 1e-300)) ** 0.5


def check_samples(x: Tensor | np.ndarray, in_features: int, coefficients: int) -> Tensor:
    """Samples (..., n) as rows (N, n) in float64 on the CPU.

    Raises:
        ShapeError: the last dimension is not n.
        NonFiniteError: NaN or infinity among them.
        OptionError: fewer samples than coefficients.
    """
    rows = torch.as_tensor(x).detach().double().cpu()
    if rows.ndim < 2 or rows.shape[-1] != in_features:
        raise ShapeError(f"samples of shape {tuple(rows.shape)} must be (rows, {in_features}).")
    rows = rows.reshape(-1, in_features)
    if not bool(rows.isfinite().all()):
        raise NonFiniteError("the samples of a grid update hold NaN or infinity; impute or remove those rows first.")
    if len(rows) < coefficients:
        raise OptionError(
            f"{len(rows)} samples cannot fix the {coefficients} coefficients of an edge; update the grid with at least "
            f"{coefficients} rows."
        )
    return rows
