"""B-splines on a uniform grid: the basis of the original KAN (Liu et al., arXiv 2404.19756)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, RefineWarning, check_choice, check_positive
from qkan.kernels import dispatch, spline_layer
from qkan.kernels.reference import cox_de_boor


@register("bspline")
class BSpline(ClassicalBasis):
    """B-splines of degree ``k`` on ``grid`` equal intervals of ``grid_range``; K = grid + k features.

    Args:
        in_features: n.
        out_features: m.
        grid: number of grid intervals G.
        k: degree; 3 (cubic, twice continuously differentiable) as in pykan.
        grid_range: the interval the grid covers; (-1, 1) as in pykan.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end, so that no input is
            without gradient; "clamp" holds the end value; "zero" lets the splines die out as the public codes do.
        seed: of a local generator; ``None`` draws fresh entropy.

    A layer initialises this basis by the power law of Rigas et al., arXiv 2509.03417 (std (n(G+k+1))^-1 for
    coefficients, (n(G+k+1))^-1/4 for the base branch) where there is a base branch, because calibrated variance
    trains worse for splines in that study; ``init="variance"`` asks for an output standard deviation of 1 instead.

    Raises:
        OptionError: an option is out of range.
    """

    default_init = "power"

    knots: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 5,
        k: int = 3,
        grid_range: tuple[float, float] = (-1.0, 1.0),
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.k = check_positive("k", k)
        self.grid_range = check_interval("grid_range", grid_range)
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.extend = extend
        super().__init__(in_features, out_features, self.grid + self.k, seed)

    def config(self) -> dict[str, Any]:
        return {"grid": self.grid, "k": self.k, "grid_range": list(self.grid_range), "extend": self.extend}

    def constants(self) -> dict[str, np.ndarray]:
        low, high = self.grid_range
        step = (high - low) / self.grid
        knots = low + step * np.arange(-self.k, self.grid + self.k + 1)
        # Degree 0 is constant on each interval and jumps at the ends: look half a step inside.
        inset = step / 2 if self.k == 1 else 0.0
        ends = torch.tensor([low + inset, high - inset], dtype=torch.float64, device="cpu")
        lower_degree = cox_de_boor(ends, torch.as_tensor(knots, device="cpu"), self.k - 1).numpy()
        return {"knots": knots, "slopes": (lower_degree[:, :-1] - lower_degree[:, 1:]) / step}

    def with_silu(self, x: Tensor, weight: Tensor, base: Tensor | None, bias: Tensor | None) -> Tensor | None:
        if self.k != 3:
            return None
        low, high = self.grid_range
        step = (high - low) / self.grid
        ends = () if self.extend == "zero" else (low, high, float(self.extend == "linear"))
        grid = spline_layer.Grid(low - step, step, self.num_features, *ends)
        return dispatch.spline_sum(self.check_input(x), self.coef, weight, base, bias, grid)

    def evaluate(self, x: Tensor) -> Tensor:
        def splines(inside: Tensor) -> Tensor:
            if self.k == 3:
                step = (self.grid_range[1] - self.grid_range[0]) / self.grid
                return dispatch.cubic(inside, self.grid_range[0] - step, step, self.num_features)
            return cox_de_boor(inside, self.knots, self.k)

        return extended(splines, x, *self.grid_range, self.extend, self.slopes)

    def refine(self, size: int) -> BSpline:
        """The same splines on ``size`` grid intervals, by least squares in float64.

        Exact when ``size`` is a multiple of ``grid`` (nested grids); otherwise a :class:`RefineWarning` states the
        relative residual.

        Raises:
            RefineError: ``size`` is below the present grid, or ``extend="zero"``, since finer splines die out sooner.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        if self.extend == "zero":
            raise RefineError("B-splines with extend='zero' cannot be refined: finer splines die out sooner outside.")
        finer = BSpline(self.in_features, self.out_features, **{**self.config(), "grid": size}, seed=0)
        finer.to(self.coef)
        samples = torch.linspace(*self.grid_range, 8 * (size + self.k) + 1, dtype=torch.float64, device="cpu")
        old = _in_float64(self, samples)
        new = _in_float64(finer, samples)
        target = old @ self.coef.detach().double().cpu().flatten(0, 1).T
        solution = torch.linalg.lstsq(new, target, driver="gelsd").solution
        residual = float((new @ solution - target).norm() / target.norm().clamp_min(1e-300))
        if residual > 1e-6:
            warnings.warn(
                f"refining grid {self.grid} to {size} is not nested: the relative change is {residual:.1e}.",
                RefineWarning,
                stacklevel=2,
            )
        with torch.no_grad():
            finer.coef.copy_(solution.T.reshape(finer.coef.shape))
        return finer


def _in_float64(basis: BSpline, x: Tensor) -> Tensor:
    return cox_de_boor(x, torch.as_tensor(basis.constants()["knots"], device="cpu"), basis.k)
