"""Truncated powers (TruKAN): splines written as a polynomial and one term for each knot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.bases.bspline import BSpline
from qkan.errors import OptionError, RefineError, check_choice, check_positive


@register("truncated_power")
class TruncatedPower(ClassicalBasis):
    """1, u, …, u^k and (u - t_j)_+^k for the grid - 1 inner knots t_j (TruKAN, arXiv 2602.03879); K = grid + k.

    u is the affine image of x that maps ``grid_range`` to [-1, 1]. The features span the same functions as B-splines of
    the same ``grid`` and ``k`` and are easier to read, but harder to fit: the condition number of the features on
    uniform inputs within the grid grows from 2e3 at K = 8 to 1e6 at K = 24, where B-splines stay near 40. Train in
    B-splines and translate with :meth:`from_bspline` where both are wanted.

    Args:
        in_features: n.
        out_features: m.
        grid: number of grid intervals.
        k: degree.
        grid_range: the interval the knots divide.
        knots: the grid - 1 inner knots, ascending, in units of x; ``None`` spaces them equally.
        trainable: train the knots, shared by all edges. They stay in order and inside ``grid_range``.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the value.
        seed: of a local generator; ``None`` draws fresh entropy.

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
        trainable: bool = False,
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.k = check_positive("k", k)
        self.grid_range = check_interval("grid_range", grid_range)
        self.given_knots = None if knots is None else _check_knots(knots, self.grid, self.grid_range)
        check_choice("trainable", trainable, (True, False))
        check_choice("extend", extend, ("linear", "clamp"))
        self.trainable, self.extend = trainable, extend
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
            self.raw_gaps = nn.Parameter(_softplus_inverse(torch.as_tensor(np.diff(ends), device="cpu")).float())

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.trainable else {"knots": self._start()}

    def _start(self) -> np.ndarray:
        """The inner knots in units of u."""
        if self.given_knots is None:
            return np.linspace(-1.0, 1.0, self.grid + 1)[1:-1]
        low, high = self.grid_range
        return (2 * np.array(self.given_knots) - low - high) / (high - low)

    def inner_knots(self) -> Tensor:
        """The inner knots in units of u, ascending, (grid - 1,)."""
        if not self.trainable:
            return self.knots
        gaps = functional.softplus(self.raw_gaps)
        return 2 * torch.cumsum(gaps, -1)[:-1] / gaps.sum() - 1

    def evaluate(self, x: Tensor) -> Tensor:
        low, high = self.grid_range
        knots = self.inner_knots().to(x.dtype)

        def powers(u: Tensor) -> Tensor:
            terms = [torch.ones_like(u)]
            for _ in range(self.k):
                terms.append(terms[-1] * u)
            return torch.cat([torch.stack(terms, -1), torch.relu(u.unsqueeze(-1) - knots) ** self.k], -1)

        orders = torch.arange(self.k + 1, dtype=x.dtype, device=x.device)
        signs = 1 - 2 * ((orders + 1) % 2)  # (-1)^(d-1)
        at_low = torch.cat([orders * signs, torch.zeros_like(knots)])
        at_high = torch.cat([orders, self.k * (1 - knots) ** (self.k - 1)])
        u = (x - (low + high) / 2) * (2 / (high - low))
        return extended(powers, u, -1.0, 1.0, self.extend, torch.stack([at_low, at_high]))

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
        old = self.inner_knots().detach().double().cpu().numpy()
        nested = not self.trainable and self.given_knots is None and size % self.grid == 0
        if nested:
            new, kept = np.linspace(-1.0, 1.0, size + 1)[1:-1], np.arange(1, self.grid) * (size // self.grid) - 1
        else:
            new, kept = _halved(old, size)
        options = {**self.config(), "grid": size}
        if not nested:
            options["knots"] = (low + (new + 1) * (high - low) / 2).tolist()
        finer = TruncatedPower(self.in_features, self.out_features, **options, seed=0).to(self.coef)
        place = torch.as_tensor(kept + self.k + 1, device=self.coef.device)
        with torch.no_grad():
            if self.trainable:
                gaps = torch.as_tensor(np.diff(np.concatenate([[-1.0], new, [1.0]])), device="cpu")
                finer.raw_gaps.copy_(_softplus_inverse(gaps))
            finer.coef.zero_()
            finer.coef[..., : self.k + 1] = self.coef[..., : self.k + 1]
            finer.coef[..., place] = self.coef[..., self.k + 1 :]
        return finer

    def to_bspline(self) -> BSpline:
        """The same functions in B-splines, translated in float64.

        Raises:
            OptionError: the knots are trained or were given, so that they need not be those of a uniform B-spline.
        """
        if self.trainable or self.given_knots is not None:
            raise OptionError("only truncated powers with equally spaced, fixed knots are B-splines on a uniform grid.")
        other = BSpline(self.in_features, self.out_features, **_common(self), seed=0)
        return _translated(self, other, np.linalg.inv(_from_bspline_matrix(self.grid, self.k)))

    @classmethod
    def from_bspline(cls, basis: BSpline) -> TruncatedPower:
        """The functions of a B-spline basis in truncated powers, translated in float64.

        Raises:
            OptionError: ``basis`` is no B-spline basis, or dies out outside its grid (``extend="zero"``).
        """
        if not isinstance(basis, BSpline):
            raise OptionError(f"from_bspline needs a BSpline basis, not a {type(basis).__name__}.")
        if basis.extend == "zero":
            raise OptionError("a B-spline with extend='zero' dies out outside its grid, which truncated powers do not.")
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


def _halved(knots: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """``size`` - 1 ascending knots, those given and the middles of the widest intervals; the places of those given."""
    ends, is_old = np.concatenate([[-1.0], knots, [1.0]]), np.ones(len(knots) + 2, dtype=bool)
    while len(ends) < size + 1:
        widest = int(np.diff(ends).argmax())
        ends = np.insert(ends, widest + 1, (ends[widest] + ends[widest + 1]) / 2)
        is_old = np.insert(is_old, widest + 1, False)
    return ends[1:-1], np.flatnonzero(is_old[1:-1])


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
