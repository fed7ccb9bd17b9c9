"""Truncated powers (TruKAN): splines written as a polynomial and one term for each knot."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan.bases._base import ClassicalBasis, normal_nodes, register, slopes_of
from qkan.bases._chunks import by_chunks
from qkan.bases._extend import check_interval, extended
from qkan.bases._knots import Splines, spread
from qkan.bases._refit import refit
from qkan.bases.bspline import BSpline, check_degree
from qkan.errors import OptionError, RefineError, check_choice, check_positive
from qkan.kernels.reference import accumulation_dtype


@register("truncated_power")
class TruncatedPower(ClassicalBasis):
    """1, u, …, u^k and (u - t_j)_+^k for the grid - 1 inner knots t_j (TruKAN, arXiv 2602.03879); K = grid + k.

    u is the affine image of x that maps ``grid_range`` to [-1, 1]. The features span the same functions as B-splines of
    the same ``grid`` and ``k`` and are easier to read, but harder to fit: the condition number of the features on
    uniform inputs within the grid grows from 2e3 at K = 8 to 1e6 at K = 24, where B-splines stay near 40. Train in
    B-splines and translate with :meth:`from_bspline` where both are wanted.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of grid intervals.
        k: degree.
        grid_range: the interval the knots divide.
        knots: the grid - 1 inner knots, ascending, in units of x; ``None`` spaces them equally.
        trainable: train the knots, which stay in order and inside ``grid_range``: ``True`` trains knots shared by all
            edges, "edge" knots of every edge's own, starting from the same places. The layer is then no single matrix
            product: batch x m x n x grid numbers are computed, in chunks of rows, so that they are never all in memory.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the value.
        seed: of a local generator; ``None`` draws fresh entropy.

    Shapes: x (..., n) -> (..., m); features (..., n, K), none with every edge's own knots; inner knots in
    units of u, (grid - 1,), or (m, n, grid - 1).

    Raises:
        OptionError: an option is out of range.
    """

    knots: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 5,
        k: int = 3,
        grid_range: tuple[float, float] = (-1.0, 1.0),
        knots: Sequence[float] | None = None,
        trainable: bool | str = False,
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.k = check_degree(k, self.grid)
        self.grid_range = check_interval("grid_range", grid_range)
        self.given_knots = None if knots is None else _check_knots(knots, self.grid, self.grid_range)
        check_choice("trainable", trainable, (True, False, "edge"))
        check_choice("extend", extend, ("linear", "clamp"))
        self.trainable, self.extend = trainable, extend
        self.folds = trainable != "edge"
        super().__init__(in_features, out_features, self.grid + self.k, seed)

    def config(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "k": self.k,
            "grid_range": list(self.grid_range),
            "knots": self.given_knots,
            "trainable": self.trainable,
            "extend": self.extend,
        }

    def add_shape_parameters(self) -> None:
        if self.trainable:
            ends = np.concatenate([[-1.0], self._start(), [1.0]])
            gaps = _softplus_inverse(torch.as_tensor(np.diff(ends), device="cpu")).float()
            shape = (self.out_features, self.in_features, self.grid) if self.trainable == "edge" else (self.grid,)
            self.raw_gaps = nn.Parameter(gaps.expand(shape).clone())

    def state_of(self, outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        own = {"raw_gaps": self.raw_gaps[outputs, inputs].unsqueeze(0)} if self.trainable == "edge" else {}
        return super().state_of(outputs, inputs) | own

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.trainable else {"knots": self._start()}

    def _start(self) -> np.ndarray:
        """The inner knots in units of u."""
        if self.given_knots is None:
            return np.linspace(-1.0, 1.0, self.grid + 1)[1:-1]
        low, high = self.grid_range
        return (2 * np.array(self.given_knots) - low - high) / (high - low)

    def inner_knots(self) -> Tensor:
        """The inner knots in units of u, ascending: (grid - 1,), or (m, n, grid - 1) where edges have their own."""
        if not self.trainable:
            return self.knots
        gaps = functional.softplus(self.raw_gaps)
        return 2 * torch.cumsum(gaps, -1)[..., :-1] / gaps.sum(-1, keepdim=True) - 1

    # -- values ------------------------------------------------------------------------------------------

    def evaluate(self, x: Tensor) -> Tensor:
        if not self.folds:
            raise OptionError("truncated powers with knots on every edge have no features common to all edges.")
        u = self._argument(x)
        return torch.cat([self._powers(u), self._beyond(u, self.inner_knots().to(x.dtype))], -1)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        if self.folds:
            return super().forward(x, weight)
        u, knots, coef = self._edgewise(x, weight)
        powers = functional.linear(self._powers(u).flatten(-2), coef[..., : self.k + 1].flatten(-2))
        if self.grid == 1:
            return powers.to(x.dtype)
        beyond = coef[..., self.k + 1 :]
        return (powers + by_chunks(self._sums, beyond.numel(), u, knots, beyond)).to(x.dtype)

    def edges(self, x: Tensor) -> Tensor:
        if self.folds:
            return super().edges(x)
        u, knots, coef = self._edgewise(x)
        powers = torch.einsum("...nk,mnk->...mn", self._powers(u), coef[..., : self.k + 1])
        return (powers + (self._beyond(u.unsqueeze(-2), knots) * coef[..., self.k + 1 :]).sum(-1)).to(x.dtype)

    def matmul_flops(self, rows: int) -> int:
        shared = self.num_features if self.folds else self.k + 1
        return 2 * rows * self.in_features * shared * self.out_features

    def _edgewise(self, x: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """u, knots (m, n, grid - 1) and weighted coefficients, in the precision of the computation."""
        work = self.check_input(x).to(accumulation_dtype(x.dtype))
        coef = self.coef.to(work.dtype)
        if weight is not None:
            coef = coef * weight.to(work.dtype).unsqueeze(-1)
        return self._argument(work), self.inner_knots().to(work.dtype), coef

    def _sums(self, u: Tensor, knots: Tensor, coef: Tensor) -> Tensor:
        return (self._beyond(u.unsqueeze(-2), knots) * coef).sum((-1, -2))

    def _argument(self, x: Tensor) -> Tensor:
        low, high = self.grid_range
        return (x - (low + high) / 2) * (2 / (high - low))

    def _powers(self, u: Tensor) -> Tensor:
        """1, u, …, u^k: (...) -> (..., k + 1)."""

        def powers(held: Tensor) -> Tensor:
            terms = [torch.ones_like(held)]
            for _ in range(self.k):
                terms.append(terms[-1] * held)
            return torch.stack(terms, -1)

        orders = torch.arange(self.k + 1, dtype=u.dtype, device=u.device)
        signs = 1 - 2 * ((orders + 1) % 2)  # (-1)^(d-1)
        return extended(powers, u, -1.0, 1.0, self.extend, torch.stack([orders * signs, orders]))

    def _beyond(self, u: Tensor, knots: Tensor) -> Tensor:
        """(u - t_j)_+^k, u (...) and knots whose leading dimensions broadcast with it -> (..., grid - 1)."""

        def beyond(held: Tensor) -> Tensor:
            return torch.relu(held.unsqueeze(-1) - knots) ** self.k

        at_high = self.k * (1 - knots) ** (self.k - 1)
        return extended(beyond, u, -1.0, 1.0, self.extend, torch.stack([torch.zeros_like(knots), at_high]))

    def _compute_moments(self, nodes: int = 4000) -> tuple[Tensor, Tensor]:
        """Of knots of every edge's own the mean over edges (of 16 outputs and inputs at most)."""
        if self.folds:
            return super()._compute_moments(nodes)
        points, weights = normal_nodes(400)
        knots = self.inner_knots().detach()[:16, :16].double().cpu().flatten(0, 1)

        def features(x: Tensor) -> Tensor:
            u = self._argument(x)
            powers = self._powers(u).unsqueeze(1).expand(-1, len(knots), -1)
            return torch.cat([powers, self._beyond(u.unsqueeze(-1), knots)], -1)

        found = slopes_of(features, points)
        value, slope = (torch.einsum("p,pek->k", weights, v**2) / len(knots) for v in found)
        return value, slope

    # -- larger and other bases --------------------------------------------------------------------------

    def refine(self, size: int) -> TruncatedPower:
        """The same functions with more knots, whose coefficients are zero: always exact.

        Equally spaced fixed knots stay so when ``size`` is a multiple of ``grid``; otherwise the new knots halve the
        widest intervals.

        Raises:
            RefineError: ``size`` is below the present ``grid``.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        low, high = self.grid_range
        old, kept = self.inner_knots().detach().double().cpu(), self.coef.detach()
        nested = not self.trainable and self.given_knots is None and size % self.grid == 0
        options = {**self.config(), "grid": size}
        if nested:
            new = torch.linspace(-1.0, 1.0, size + 1, dtype=torch.float64, device="cpu")[1:-1]
            place = torch.arange(1, self.grid, device="cpu") * (size // self.grid) - 1
        else:
            new, place = _halved(old, size)
        if self.trainable:
            options["knots"] = None  # they are parameters
        elif not nested:
            options["knots"] = (low + (new + 1) * (high - low) / 2).tolist()
        finer = TruncatedPower(self.in_features, self.out_features, **options, seed=0).to(self.coef)
        place = (place + self.k + 1).expand(*kept.shape[:2], -1).to(kept.device)
        with torch.no_grad():
            if self.trainable:
                ends = functional.pad(functional.pad(new, (1, 0), value=-1.0), (0, 1), value=1.0)
                finer.raw_gaps.copy_(_softplus_inverse(ends.diff()))
            finer.coef.zero_()
            finer.coef[..., : self.k + 1] = kept[..., : self.k + 1]
            finer.coef.scatter_(-1, place, kept[..., self.k + 1 :])
        return finer

    def to_bspline(self) -> BSpline:
        """The same functions in B-splines, translated in float64.

        Knots that are trained or were given become grid points of the B-splines (see ``BSpline.set_grid``).

        Raises:
            OptionError: every edge has knots of its own, or knots have come too close for float32.
        """
        if not self.folds:
            raise OptionError("truncated powers with knots on every edge are not B-splines on grids shared by edges.")
        other = BSpline(self.in_features, self.out_features, **_common(self), seed=0)
        if not self.trainable and self.given_knots is None:
            return _translated(self, other, np.linalg.inv(_from_bspline_matrix(self.grid, self.k)))
        low, high = self.grid_range
        inner = low + (self.inner_knots().detach().double().cpu() + 1) * (high - low) / 2
        points = torch.cat([inner.new_tensor([low]), inner, inner.new_tensor([high])])
        other.to(self.coef).set_grid(points.repeat(self.in_features, 1))
        twin = copy.deepcopy(self).double().cpu()
        coef = twin.coef.detach().flatten(0, 1)
        with torch.no_grad():
            found = refit(twin.evaluate, Splines(points, self.k, self.extend), spread(points, self.k), coef)[0]
            other.coef.copy_(found.reshape(other.coef.shape))
        return other

    @classmethod
    def from_bspline(cls, basis: BSpline) -> TruncatedPower:
        """The functions of a B-spline basis in truncated powers, translated in float64.

        Raises:
            OptionError: ``basis`` is no B-spline basis, dies out outside its grid (``extend="zero"``), or its grid was
                moved to data and differs between inputs.
        """
        if not isinstance(basis, BSpline):
            raise OptionError(f"from_bspline needs a BSpline basis, not a {type(basis).__name__}.")
        if basis.extend == "zero":
            raise OptionError("a B-spline with extend='zero' dies out outside its grid, which truncated powers do not.")
        if basis.points is not None:
            raise OptionError(
                "B-splines whose grid was moved to data have other knots for every input; these share them."
            )
        other = cls(basis.in_features, basis.out_features, **_common(basis), seed=0)
        return _translated(basis, other, _from_bspline_matrix(basis.grid, basis.k))


def _common(basis: BSpline | TruncatedPower) -> dict[str, Any]:
    return {"grid": basis.grid, "k": basis.k, "grid_range": basis.grid_range, "extend": basis.extend}


def _translated(source: Any, target: Any, matrix: np.ndarray) -> Any:
    """``target`` with coefficients source.coef @ matrix, in the dtype and on the device of the source."""
    target.to(source.coef)
    with torch.no_grad():
        target.coef.copy_(source.coef.double() @ torch.as_tensor(matrix, device=source.coef.device))
    return target


def _from_bspline_matrix(grid: int, k: int) -> np.ndarray:
    """Row i: the B-spline B_i on [-1, 1] in truncated powers, (grid + k, grid + k).

    B_i(u) = 1/(k! δ^k) Σ_j (-1)^j C(k + 1, j) (u - τ_{i+j})_+^k with knots τ_p = -1 + (p - k) δ (de Boor, A Practical
    Guide to Splines, 2001, chapter IX). Within [-1, 1] a knot at or below -1 leaves a polynomial, one at or above 1
    nothing.
    """
    step = 2 / grid
    matrix = np.zeros((grid + k, grid + k))
    for i in range(grid + k):
        for j in range(k + 2):
            factor = (-1) ** j * math.comb(k + 1, j) / (math.factorial(k) * step**k)
            place = i + j - k
            if place <= 0:
                knot = -1 + place * step
                for d in range(k + 1):
                    matrix[i, d] += factor * math.comb(k, d) * (-knot) ** (k - d)
            elif place < grid:
                matrix[i, k + place] += factor
    return matrix


def _halved(knots: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """``size`` - 1 ascending knots, those given (..., G - 1) and middles of the widest intervals; then their places."""
    one = knots.new_ones(*knots.shape[:-1], 1)
    ends = torch.cat([-one, knots, one], -1)
    while ends.shape[-1] < size + 1:
        widest = ends.diff().argmax(-1, keepdim=True)
        middle = (ends.gather(-1, widest) + ends.gather(-1, widest + 1)) / 2
        ends = torch.cat([ends, middle], -1).sort(-1).values
    new = ends[..., 1:-1].contiguous()
    return new, torch.searchsorted(new, knots.contiguous())


def _softplus_inverse(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))


def _check_knots(knots: Sequence[float], grid: int, grid_range: tuple[float, float]) -> list[float]:
    """The knots as floats, or :class:`OptionError` unless they are grid - 1 ascending numbers inside the range."""
    try:
        found = [float(knot) for knot in knots]
    except (TypeError, ValueError):
        raise OptionError(f"knots={knots!r} must be a list of numbers.") from None
    if len(found) != grid - 1:
        raise OptionError(f"knots has {len(found)} numbers; grid={grid} needs {grid - 1} inner knots.")
    ends = [grid_range[0], *found, grid_range[1]]
    if not all(before < after for before, after in itertools.pairwise(ends)):
        raise OptionError(f"knots={found} must ascend strictly inside grid_range={grid_range}.")
    return found
