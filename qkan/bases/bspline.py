"""B-splines: the basis of the original KAN (Liu et al., arXiv 2404.19756), on equal intervals or adapted to data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.bases._knots import Splines, end_slopes, extended_knots, finer_points, greville, moved_points, spread
from qkan.bases._refit import GridUpdate, check_samples, refit, relative
from qkan.errors import OptionError, RefineError, RefineWarning, check_choice, check_positive
from qkan.kernels import dispatch, spline_layer
from qkan.kernels.reference import accumulation_dtype

#: Least distance of two grid points, relative to their size: 32 units in the last place of float32.
_SMALLEST = 2.0**-18


@register("bspline")
class BSpline(ClassicalBasis):
    """B-splines of degree ``k`` on ``grid`` intervals; K = grid + k features.

    The intervals divide ``grid_range`` equally until :meth:`update_grid` moves them to data; every input then has grid
    points of its own, which are saved with the parameters.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of grid intervals G.
        k: degree, at most ``grid``; 3 (cubic, twice continuously differentiable) as in pykan.
        grid_range: the interval the grid covers; (-1, 1) as in pykan.
        extend: outside the grid: "linear" (default) continues with the slope at the end, so that no input is
            without gradient; "clamp" holds the end value; "zero" lets the splines die out as the public codes do.
        seed: of a local generator; ``None`` draws fresh entropy.

    A layer initialises this basis by the power law of Rigas et al., arXiv 2509.03417 (std (n(G+k+1))^-1 for
    coefficients, (n(G+k+1))^-1/4 for the base branch) where there is a base branch, because calibrated variance
    trains worse for splines in that study; ``init="variance"`` asks for an output standard deviation of 1 instead.

    Attributes:
        points: grid points (n, G + 1) after :meth:`update_grid`; ``None`` on equal intervals.

    Raises:
        OptionError: an option is out of range.
    """

    default_init = "power"
    adapts_grid = True

    knots: Tensor
    slopes: Tensor
    points: Tensor | None

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
        self.k = check_degree(k, self.grid)
        self.grid_range = check_interval("grid_range", grid_range)
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.extend = extend
        super().__init__(in_features, out_features, self.grid + self.k, seed)

    def config(self) -> dict[str, Any]:
        return {"grid": self.grid, "k": self.k, "grid_range": list(self.grid_range), "extend": self.extend}

    # -- grid --------------------------------------------------------------------------------------------

    def add_shape_parameters(self) -> None:
        self.register_buffer("points", None)

    def grid_points(self) -> Tensor:
        """The ends of the grid intervals of every input, ascending, float64 (n, G + 1)."""
        if self.points is not None:
            return self.points.double().cpu()
        equal = torch.linspace(*self.grid_range, self.grid + 1, dtype=torch.float64, device="cpu")
        return equal.repeat(self.in_features, 1)

    def set_grid(self, points: Tensor | np.ndarray) -> None:
        """Put the grid points where ``points`` (n, G + 1) are, in place; the coefficients stay, so functions change.

        Raises:
            OptionError: another shape, or not finite and ascending with distances that float32 resolves.
        """
        found = torch.as_tensor(points).detach().double().cpu()
        shape = (self.in_features, self.grid + 1)
        if tuple(found.shape) != shape:
            raise OptionError(f"grid points of shape {tuple(found.shape)} must be {shape}, one row for each input.")
        for place, row in enumerate(found):
            least = 0.5 * _SMALLEST * float(row.abs().amax())
            if not bool(row.isfinite().all()) or not bool((row.diff() > least).all()):
                raise OptionError(f"the grid points of input {place} must be finite, different and ascending.")
        self.points = found.to(self.coef.device, accumulation_dtype(self.coef.dtype))
        self.build_constants()

    def update_grid(self, x: Tensor | np.ndarray, grid_eps: float = 0.02) -> GridUpdate:
        """Move the grid points of every input to samples and keep the edge functions there, in place.

        Points lie between quantiles and equal spacing (:func:`~qkan.bases._knots.moved_points`), from the least sample
        to the largest. The coefficients are refitted in float64 by least squares with a small ridge that, where samples
        leave them open, keeps them at the old function's values at the places of the new splines. Outside of the new
        grid ``extend`` continues the functions anew.

        A constant or binary input keeps different points: see :func:`~qkan.bases._knots.moved_points`. Optimisers that
        remember the old coefficients must be made anew; ``fit(update_grid=True)`` does so.

        Args:
            x: samples (..., n), at least grid + k rows.
            grid_eps: share of equal spacing, as in pykan: 1 spaces the points equally, 0 follows the quantiles alone.

        Raises:
            OptionError: too few samples, or ``grid_eps`` outside [0, 1].
            NonFiniteError: NaN or infinity among the samples.
            ShapeError: the last dimension is not n.
        """
        if not (isinstance(grid_eps, (int, float)) and 0 <= grid_eps <= 1):
            raise OptionError(f"grid_eps={grid_eps!r} must be a number from 0 to 1.")
        rows = check_samples(x, self.in_features, self.num_features)
        old = self.grid_points()
        new = torch.stack([moved_points(rows[:, i], old[i], grid_eps, _SMALLEST) for i in range(self.in_features)])
        new = new.to(accumulation_dtype(self.coef.dtype)).double()  # as they will be stored
        coef = self.coef.detach().double().cpu()
        found, changed, size, ranks = torch.empty_like(coef), 0.0, 0.0, []
        for i in range(self.in_features):
            before, after = (Splines(points[i], self.k, self.extend) for points in (old, new))
            start = coef[:, i] @ before(greville(after.knots, self.k)).T
            found[:, i], difference, square, rank = refit(before, after, rows[:, i], coef[:, i], start)
            changed, size = changed + difference, size + square
            ranks.append(rank)
        self.set_grid(new)
        with torch.no_grad():
            self.coef.copy_(found)
        return GridUpdate(relative(changed, size), ranks, self.num_features)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state dict brings its grid along, whether this basis had that or another."""
        if f"{prefix}coef" in state_dict:
            given = state_dict.get(f"{prefix}points")
            dtype = accumulation_dtype(self.coef.dtype)
            self.points = None if given is None else torch.empty_like(given, dtype=dtype, device=self.coef.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.build_constants()

    def _apply(self, fn: Any, recurse: bool = True) -> BSpline:
        points, self.points = self.points, None  # half precision would let points coincide
        super()._apply(fn, recurse)
        if points is not None:
            self.points = points.to(self.coef.device, accumulation_dtype(self.coef.dtype))
            self.build_constants()
        return self

    def constants(self) -> dict[str, np.ndarray]:
        points = self.grid_points()
        knots = extended_knots(points if self.points is not None else points[0], self.k)
        return {"knots": knots.numpy(), "slopes": end_slopes(knots, self.k).numpy()}

    def state_of(self, outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        own = {} if self.points is None else {"points": self.points[inputs]}
        return super().state_of(outputs, inputs) | own

    def moments(self) -> tuple[Tensor, Tensor]:
        return super().moments() if self.points is None else self._compute_moments()

    # -- values ------------------------------------------------------------------------------------------

    def with_silu(self, x: Tensor, weight: Tensor, base: Tensor | None, bias: Tensor | None) -> Tensor | None:
        if self.k != 3 or self.points is not None:
            return None
        low, high = self.grid_range
        step = (high - low) / self.grid
        ends = () if self.extend == "zero" else (low, high, float(self.extend == "linear"))
        grid = spline_layer.Grid(low - step, step, self.num_features, *ends)
        return dispatch.spline_sum(self.check_input(x), self.coef, weight, base, bias, grid)

    def route(self, x: Tensor) -> tuple[str, str | None]:
        uniform = self.points is None
        reason = dispatch.spline_reason(x, self.k, uniform, self.num_features)
        if not uniform:
            return "B-splines on grid points of every input", reason
        if self.k == 3 and reason is not None and dispatch.spline_sum_applies(x, self.coef):
            return "B-splines on equal intervals, in one pass with a SiLU branch", None
        return "B-splines on equal intervals", reason

    def evaluate(self, x: Tensor) -> Tensor:
        spacing: tuple[float, float] | None = None
        low: float | Tensor
        high: float | Tensor
        if self.points is None:
            low, high = self.grid_range[0], self.grid_range[1]
            step = (high - low) / self.grid
            spacing = low - step, step
        else:
            low, high = self.knots[..., self.k], self.knots[..., -self.k - 1]

        def splines(inside: Tensor) -> Tensor:
            return dispatch.splines(inside, self.knots, self.k, spacing)

        return extended(splines, x, low, high, self.extend, self.slopes)

    # -- refinement --------------------------------------------------------------------------------------

    def refine(self, size: int) -> BSpline:
        """The same splines on ``size`` grid intervals, by least squares in float64.

        Exact within the grid when ``size`` is a multiple of ``grid`` (nested grids), and for every size after
        :meth:`update_grid`, where intervals are halved. Otherwise, or with ``extend="zero"``, where finer splines die
        out sooner outside, a :class:`RefineWarning` says what changes; the relative change within the grid is the
        attribute ``refine_residual`` of the result.

        Raises:
            RefineError: ``size`` is below the present grid.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        finer = BSpline(self.in_features, self.out_features, **{**self.config(), "grid": size}, seed=0)
        finer.to(self.coef)
        old = self.grid_points()
        if self.points is not None:
            finer.set_grid(torch.stack([finer_points(row, size) for row in old]))
        new, coef = finer.grid_points(), self.coef.detach().double().cpu()
        changed, total = 0.0, 0.0
        for i in range(self.in_features):
            before, after = Splines(old[i], self.k, self.extend), Splines(new[i], self.k, self.extend)
            start = coef[:, i] @ before(greville(after.knots, self.k)).T
            sites = spread(new[i], self.k)
            found, difference, square, _ = refit(before, after, sites, coef[:, i], start)
            changed, total = changed + difference, total + square
            with torch.no_grad():
                finer.coef[:, i] = found.to(finer.coef)
        finer.refine_residual = relative(changed, total)
        self._warn_of_change(size, finer.refine_residual)
        return finer

    def _warn_of_change(self, size: int, residual: float) -> None:
        if residual > 1e-6:
            message = f"refining grid {self.grid} to {size} is not nested: the relative change is {residual:.1e}."
        elif self.extend == "zero" and size > self.grid:
            message = "with extend='zero' finer B-splines die out sooner outside the grid; within, nothing changes."
        else:
            return
        warnings.warn(message, RefineWarning, stacklevel=3)


def check_degree(k: int, grid: int) -> int:
    """Return the degree of splines, or raise :class:`OptionError` unless 1 <= k <= grid."""
    if check_positive("k", k) > grid:
        raise OptionError(f"k={k} is above grid={grid}: splines of degree k need a grid of at least k intervals.")
    return int(k)
