"""Radial bases on a grid of centres: Gaussian (FastKAN), RSWAF (FasterKAN) and sech (SechKAN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, enlarged, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_above, check_choice, check_positive, check_sizes


class Radial(ClassicalBasis):
    """ψ((x - g_j)/h) at ``grid`` equally spaced centres g_j; K = grid features. Subclasses say what ψ is.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of centres, at least 2.
        grid_range: first and last centre; (-2, 2) as in FastKAN, which suits inputs of unit variance.
        bandwidth: h in units of the distance between centres. Wider functions overlap more and are harder to tell
            apart: the condition number of the features grows quickly (the subclasses give figures).
        coarser: further numbers of centres, each at its own distance and with its own width, whose functions are kept
            beside those of ``grid``: every one adds as many features. :meth:`refine` fills it in.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the end
            value; "zero" lets the functions die out.
        seed: of a local generator; ``None`` draws fresh entropy.

    Shapes: x (..., n) -> (..., m); features (..., n, K); centres and scales (K,).

    Raises:
        OptionError: an option is out of range.
    """

    centres: Tensor
    scales: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 8,
        grid_range: tuple[float, float] = (-2.0, 2.0),
        bandwidth: float = 1.0,
        coarser: Sequence[int] = (),
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid, 2)
        self.grid_range = check_interval("grid_range", grid_range)
        self.bandwidth = check_above("bandwidth", bandwidth, 0.0)
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.extend = extend
        self.coarser = check_sizes("coarser", coarser, 2)
        super().__init__(in_features, out_features, sum((*self.coarser, self.grid)), seed)

    def config(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "grid_range": list(self.grid_range),
            "bandwidth": self.bandwidth,
            "coarser": list(self.coarser),
            "extend": self.extend,
        }

    def psi(self, u: Tensor) -> Tensor:
        """ψ(u), elementwise."""
        raise TypeError(f"{type(self).__name__} must define psi().")

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        """ψ'(u), elementwise."""
        raise TypeError(f"{type(self).__name__} must define psi_slope().")

    def constants(self) -> dict[str, np.ndarray]:
        low, high = self.grid_range
        grids = (*self.coarser, self.grid)
        centres = np.concatenate([np.linspace(low, high, grid) for grid in grids])
        scales = np.concatenate([np.full(grid, self.bandwidth * (high - low) / (grid - 1)) for grid in grids])
        offset = (np.array(self.grid_range)[:, None] - centres) / scales
        return {"centres": centres, "scales": scales, "slopes": self.psi_slope(offset) / scales}

    def evaluate(self, x: Tensor) -> Tensor:
        def inside(held: Tensor) -> Tensor:
            return self.psi((held.unsqueeze(-1) - self.centres) / self.scales)

        return extended(inside, x, *self.grid_range, self.extend, self.slopes)

    def refine(self, size: int) -> Radial:
        """The same functions and, with coefficients of zero, those at ``size`` centres: exact.

        Narrower functions do not contain the wider ones (fitted to them, twice as many Gaussians change the functions
        by about 1 % within the grid and by half outside), so these are kept and the grid joins ``coarser``. Features
        of several grids are harder to tell apart: the condition number of 8 and 16 Gaussians together is 1.8e4.

        Raises:
            RefineError: ``size`` is below the present ``grid``.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        coarser = [*self.coarser, self.grid] if size > self.grid else self.coarser
        options = {**self.config(), "grid": size, "coarser": coarser}
        return enlarged(self, type(self)(self.in_features, self.out_features, **options, seed=0))


@register("rbf")
class RBF(Radial):
    """Gaussians exp(-((x - g_j)/h)²), as in FastKAN (Li, arXiv 2405.06721).

    The options are those of :class:`Radial`. Condition number of the 8 default features on uniform inputs within the
    grid: 2.5 at ``bandwidth=0.7``, 7.5 at 1, 1.2e3 at 2.
    """

    def psi(self, u: Tensor) -> Tensor:
        return torch.exp(-(u**2))

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        return -2 * u * np.exp(-(u**2))


@register("rswaf")
class RSWAF(Radial):
    """Reflectional switch activations 1 - tanh²((x - g_j)/h), as in FasterKAN (Delis, 2024).

    The options are those of :class:`Radial`. The public code multiplies the gradient by a factor that its forward pass
    leaves out; here both follow from one formula. Condition number of the 8 default features on uniform inputs within
    the grid: 3.3 at ``bandwidth=0.7``, 8.9 at 1, 310 at 2.
    """

    def psi(self, u: Tensor) -> Tensor:
        return _sech(u) ** 2

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        held = np.clip(u, -_FAR, _FAR)
        return -2 * np.tanh(held) / np.cosh(held) ** 2


@register("sech")
class Sech(Radial):
    """Hyperbolic secants 1/cosh((x - g_j)/h), as in SechKAN (arXiv 2607.18290).

    The options are those of :class:`Radial`. The tails fall only as e^-|u|, so the features overlap more than
    Gaussians: the condition number of the 8 default features on uniform inputs within the grid is 9.9 at
    ``bandwidth=0.7``, 37 at 1, 2.0e3 at 2.
    """

    def psi(self, u: Tensor) -> Tensor:
        return _sech(u)

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        held = np.clip(u, -_FAR, _FAR)
        return -np.tanh(held) / np.cosh(held)


#: Where a secant is below 1e-17; cosh overflows in float32 beyond 89.
_FAR = 40.0


def _sech(u: Tensor) -> Tensor:
    return 1 / torch.cosh(u.clamp(-_FAR, _FAR))
