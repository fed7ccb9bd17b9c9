"""ReLU-KAN: bumps from products of two ReLUs, and their higher powers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan.bases._base import ClassicalBasis, enlarged, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_choice, check_positive, check_sizes


@register("relu")
class ReLUKAN(ClassicalBasis):
    """[4 ReLU(e_i - x) ReLU(x - s_i) / (e_i - s_i)²]^power, a bump of height 1 on [s_i, e_i]; K = grid + k features.

    With power 2 these are the functions of ReLU-KAN (Qiu et al., arXiv 2406.02075), moved from [0, 1] to
    ``grid_range``; higher powers are those of HRKAN (So and Yung, arXiv 2409.14248). With G = ``grid`` intervals of
    length h, s_i = low + (i - k) h and e_i = s_i + (k + 1) h for i = 0 … G + k - 1. The functions are ``power`` - 1
    times continuously differentiable and do not sum to 1. Condition number of the 8 default features on uniform inputs
    within the grid: 45 at power 2, 32 at power 4.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of grid intervals G.
        k: each bump is k + 1 intervals wide.
        power: 2 or more; 3 or more for equations with second derivatives.
        grid_range: the interval the grid covers.
        coarser: grids, each of its own number of intervals, whose bumps are kept beside those of ``grid``: every one
            adds its intervals + k features. :meth:`refine` fills it in.
        trainable: train the K places and widths, shared by all edges. Widths stay positive (softplus).
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the end
            value; "zero" lets the bumps end, as in the public code, where inputs outside have no gradient.
        seed: of a local generator; ``None`` draws fresh entropy.

    Shapes: x (..., n) -> (..., m); features (..., n, K); places and widths (K,).

    Raises:
        OptionError: an option is out of range.
    """

    centres: Tensor
    radii: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 5,
        k: int = 3,
        power: int = 2,
        grid_range: tuple[float, float] = (-1.0, 1.0),
        coarser: Sequence[int] = (),
        trainable: bool = False,
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.k = check_positive("k", k)
        self.power = check_positive("power", power, 2)
        self.grid_range = check_interval("grid_range", grid_range)
        check_choice("trainable", trainable, (True, False))
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.trainable, self.extend = trainable, extend
        self.coarser = check_sizes("coarser", coarser)
        super().__init__(in_features, out_features, sum(size + self.k for size in (*self.coarser, self.grid)), seed)

    def config(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "k": self.k,
            "power": self.power,
            "grid_range": list(self.grid_range),
            "coarser": list(self.coarser),
            "trainable": self.trainable,
            "extend": self.extend,
        }

    def add_shape_parameters(self) -> None:
        if self.trainable:
            centres, radii = (torch.as_tensor(v, dtype=torch.float32, device="cpu") for v in self._uniform())
            self.centres = nn.Parameter(centres)
            self.raw_radii = nn.Parameter(radii + torch.log(-torch.expm1(-radii)))  # softplus gives the radii back

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.trainable else dict(zip(("centres", "radii"), self._uniform(), strict=True))

    def _uniform(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres and half-widths of the bumps on uniform grids, the coarser ones first, (K,) each."""
        low, high = self.grid_range
        found = []
        for grid in (*self.coarser, self.grid):
            step = (high - low) / grid
            radius = (self.k + 1) * step / 2
            found.append((low + step * np.arange(-self.k, grid) + radius, np.full(grid + self.k, radius)))
        centres, radii = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return centres, radii

    def evaluate(self, x: Tensor) -> Tensor:
        centres = self.centres.to(x.dtype)
        radii = functional.softplus(self.raw_radii.to(x.dtype)) if self.trainable else self.radii

        # With u = (x - centre)/radius, 4 (e - x)(x - s)/(e - s)² = 1 - u².
        def bumps(held: Tensor) -> Tensor:
            return torch.relu(1 - ((held.unsqueeze(-1) - centres) / radii) ** 2) ** self.power

        low, high = self.grid_range
        u = torch.stack([low - centres, high - centres]) / radii
        slopes = -2 * self.power * u / radii * torch.relu(1 - u**2) ** (self.power - 1)
        return extended(bumps, x, low, high, self.extend, slopes)

    def refine(self, size: int) -> ReLUKAN:
        """The same functions and, with coefficients of zero, the bumps of ``size`` intervals: exact.

        Narrower bumps do not contain the wider ones, so these are kept and the grid joins ``coarser``. The bumps of
        several grids together can be linearly dependent, as those of 5 and 10 intervals are: least squares on them
        needs a ridge.

        Raises:
            RefineError: ``size`` is below the present ``grid``.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        coarser = [*self.coarser, self.grid] if size > self.grid else self.coarser
        options = {**self.config(), "grid": size, "coarser": coarser}
        return enlarged(self, ReLUKAN(self.in_features, self.out_features, **options, seed=0))
