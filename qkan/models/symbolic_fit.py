"""Fit c · f(a·x + b) + d to one edge, for every function of a library.

Affine parameters by grid search and linear regression: Liu et al., arXiv 2404.19756, section 2.5.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qkan.errors import OptionError
from qkan.layers.functions import Function

#: Rows in the search over starting values; the refinement takes all.
SEARCH_ROWS = 300

#: Starting values that are refined, the best of each a.
REFINED = 3


@dataclass(frozen=True)
class Candidate:
    """One function fitted to an edge.

    Attributes:
        function: from the library.
        affine: (a, b, c, d).
        r2: fraction of the edge's variance explained, 1 for a perfect fit.
    """

    function: Function
    affine: tuple[float, float, float, float]
    r2: float

    def score(self, weight_simple: float) -> float:
        """The rank of pykan, smaller is better: w · complexity + (1 − w) · log2(1 + 1e-5 − R²)."""
        return weight_simple * self.function.complexity + (1 - weight_simple) * math.log2(1 + 1e-5 - min(self.r2, 1.0))


def fit_edge(x: Tensor, y: Tensor, functions: Sequence[Function], refine: bool = True) -> list[Candidate]:
    """The best a, b, c, d of every function, as far as its domain covers the data.

    a and b come from a search over a grid on the standardised range of x, refined by nonlinear least squares
    (``scipy.optimize.least_squares``), c and d by linear least squares at every step. Arguments never leave the
    function's domain on the data.

    Args:
        x: inputs of the edge (rows,), float64.
        y: its values (rows,), float64.
        functions: candidates.
        refine: whether to refine a and b; without, R² is a lower bound that costs a fraction of the time.

    Raises:
        OptionError: the edge is constant, or takes a single value of x.
    """
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    if is_constant(x, y):
        raise OptionError(f"the edge is constant on these rows ({float(y.mean()):.6g}), so no function can be fitted.")
    spread, half = float(y.std(correction=0)), float(x.max() - x.min()) / 2
    middle, level = float(x.min()) + half, float(y.mean())
    t, target = (x - middle) / half, (y - level) / spread
    found = []
    for function in functions:
        best = _best(function, t, target, refine)
        if best is not None:
            (a, b, c, d), r2 = best
            affine = (a / half, b - a * middle / half, c * spread, d * spread + level)
            found.append(Candidate(function, affine, r2))
    return found


def is_constant(x: Tensor, y: Tensor) -> bool:
    """Whether x (N,) takes one value only, or y (N,) does to rounding."""
    return not bool(x.max() > x.min()) or float(y.std(correction=0)) <= 1e-7 * float(y.abs().max())


def _best(
    function: Function, t: Tensor, y: Tensor, refine: bool
) -> tuple[tuple[float, float, float, float], float] | None:
    starts = _starts(function)
    some = slice(None, None, max(1, len(t) // SEARCH_ROWS))
    order = t.argsort()[some]
    arguments = starts[:, :1] * t[order] + starts[:, 1:]
    explained, _ = _linear(function(arguments), y[order])
    # The ends of the range decide whether all arguments are in the domain.
    ends = starts[:, :1] * torch.stack([t.min(), t.max()]) + starts[:, 1:]
    explained = explained.masked_fill(~function.allows(ends.T), -math.inf)
    best: tuple[tuple[float, float, float, float], float] | None = None
    for row in _different(starts, explained):
        for a, b in [starts[row].tolist()] + ([_refined(function, t, y, starts[row])] if refine else []):
            r2, (c, d) = _linear(function(a * t + b), y)
            if math.isfinite(float(r2)) and (best is None or float(r2) > best[1]):
                best = (a, b, float(c), float(d)), float(r2)
    return best


def _different(starts: Tensor, explained: Tensor) -> list[int]:
    """The best start of each a, the best few of those."""
    rows: dict[float, int] = {}
    for row in explained.argsort(descending=True).tolist():
        if math.isfinite(float(explained[row])):
            rows.setdefault(float(starts[row, 0]), row)
    return list(rows.values())[:REFINED]


def _linear(values: Tensor, y: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """R² and (c, d) of the least-squares line c · values + d; values (..., rows), y (rows,)."""
    mean = values.mean(-1, keepdim=True)
    away, target = values - mean, y - y.mean()
    power = (away**2).mean(-1)
    c = (away * target).mean(-1) / power
    d = y.mean() - c * mean.squeeze(-1)
    r2 = 1 - ((c.unsqueeze(-1) * away - target) ** 2).mean(-1) / (target**2).mean()
    return torch.where(power > 1e-24, r2, -math.inf), (c, d)


def _refined(function: Function, t: Tensor, y: Tensor, start: Tensor) -> tuple[float, float]:
    """The pair (a, b) after nonlinear least squares, moved back into the domain if they left it."""
    from scipy.optimize import least_squares

    def residuals(ab: np.ndarray) -> np.ndarray:
        a, b = _inside(function, t, *ab.tolist())
        values = function(a * t + b)
        r2, (c, d) = _linear(values, y)
        away = c * values + d - y if bool(torch.isfinite(r2)) else y
        # What lies outside the domain costs, or the search would stop on the plateau there.
        return np.append(away.numpy(), math.sqrt(len(t)) * (ab - [a, b]))

    found = least_squares(
        residuals,
        start.numpy(),
        x_scale=np.maximum(np.abs(start.numpy()), 0.1),
        max_nfev=60,
    )
    return _inside(function, t, *found.x.tolist())


def _inside(function: Function, t: Tensor, a: float, b: float) -> tuple[float, float]:
    """(a, b) with the arguments a·t + b in the domain: shrunk where they are too wide, then shifted."""
    # A hair inside, because the domain is checked again on the unscaled data.
    low, high = function.low + 1e-9, function.high - 1e-9
    lowest, highest = sorted((a * float(t.min()), a * float(t.max())))
    if highest - lowest > high - low:
        a *= (high - low) / (highest - lowest)
        lowest, highest = sorted((a * float(t.min()), a * float(t.max())))
    return a, max(low - lowest, min(b, high - highest))


def _starts(function: Function) -> Tensor:
    """Starting values (S, 2) of a and b for inputs in [-1, 1], by what the function's redundancy leaves open."""
    centres = torch.linspace(-1.5, 1.5, 25, dtype=torch.float64)
    sizes = torch.logspace(-1, 1.3, 24, dtype=torch.float64)
    kind = function.redundancy
    if kind == "log" or (kind == "power" and function.low > -math.inf):
        # Only the distance of the singularity from the data matters, and on which side it lies.
        return torch.cartesian_prod(_pair(1.0), 1 + torch.logspace(-3, 1.5, 40, dtype=torch.float64))
    if kind == "power":
        shifts = torch.linspace(-3, 3, 61, dtype=torch.float64)
        return torch.stack([torch.ones_like(shifts), shifts], 1)
    if kind == "exp":
        slopes = torch.cat([sizes, -sizes])
        return torch.stack([slopes, torch.zeros_like(slopes)], 1)
    if kind == "periodic":
        slopes = torch.linspace(0.25, 25, 100, dtype=torch.float64)
        return torch.cartesian_prod(slopes, torch.linspace(0, math.pi, 9, dtype=torch.float64)[:-1])
    grid = torch.cartesian_prod(sizes, centres)
    return torch.stack([grid[:, 0], -grid[:, 0] * grid[:, 1]], 1)


def _pair(size: float) -> Tensor:
    return torch.tensor([size, -size], dtype=torch.float64)
