"""Gaussian radial basis functions (cf. FastKAN, arXiv 2405.06721)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_choice, check_positive


@register("rbf")
class RBF(ClassicalBasis):
    """exp(-((x - g_j)/h)²) at ``grid`` equally spaced centres g_j of spacing h; K = grid features.

    Args:
        in_features: n.
        out_features: m.
        grid: number of centres, at least 2.
        grid_range: first and last centre; (-2, 2) as in FastKAN, which suits inputs of unit variance.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the end
            value; "zero" lets the Gaussians die out.
        seed: of a local generator; ``None`` draws fresh entropy.

    Raises:
        OptionError: an option is out of range.
    """

    centres: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 8,
        grid_range: tuple[float, float] = (-2.0, 2.0),
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid, 2)
        self.grid_range = check_interval("grid_range", grid_range)
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.extend = extend
        super().__init__(in_features, out_features, self.grid, seed)

    def config(self) -> dict[str, Any]:
        return {"grid": self.grid, "grid_range": list(self.grid_range), "extend": self.extend}

    @property
    def spacing(self) -> float:
        """Distance h between neighbouring centres."""
        low, high = self.grid_range
        return (high - low) / (self.grid - 1)

    def constants(self) -> dict[str, np.ndarray]:
        centres = np.linspace(*self.grid_range, self.grid)
        offset = (np.array(self.grid_range)[:, None] - centres) / self.spacing
        return {"centres": centres, "slopes": -2 * offset / self.spacing * np.exp(-(offset**2))}

    def evaluate(self, x: Tensor) -> Tensor:
        def gaussians(inside: Tensor) -> Tensor:
            return torch.exp(-(((inside.unsqueeze(-1) - self.centres) / self.spacing) ** 2))

        return extended(gaussians, x, *self.grid_range, self.extend, self.slopes)

    def refine(self, size: int) -> RBF:
        """Not possible: Gaussians of another width span another space.

        Raises:
            RefineError: always.
        """
        raise RefineError(
            f"an RBF basis cannot be refined to {size} centres: narrower Gaussians do not contain the wider ones."
        )
