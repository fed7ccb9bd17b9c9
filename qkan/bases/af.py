"""AF-KAN: pairs of activations of one argument from two sides, combined and normalised per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qkan.bases._base import ClassicalBasis, enlarged, register, slopes_of
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_choice, check_positive, check_sizes

#: σ by name. The pair of ReLUs is the basis "relu".
PAIR_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
#: How σ(x - s) and σ(e - x) become one number.
COMBINATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "quad1": lambda p, q: (p * q) ** 2,
    "quad2": lambda p, q: p * q + p**2 + q**2,
    "sum": lambda p, q: p + q,
    "prod": lambda p, q: p * q,
    "sum_prod": lambda p, q: p + q + p * q,
    "cubic1": lambda p, q: (p + q) * (p**2 + q**2),
    "cubic2": lambda p, q: (p * q) ** 3,
}


@register("af")
class AF(ClassicalBasis):
    """c(σ((x - s_i)/h), σ((e_i - x)/h)) on the intervals [s_i, e_i] of ReLU-KAN (AF-KAN, arXiv 2503.06112).

    K = grid + k features; h is the length of a grid interval. The publication reduces the K features of an input to one
    number before its linear map; here every feature keeps its own coefficient on every edge, as in the other bases.
    Condition number of the 8 default features on uniform inputs within the grid: 550; with ``combine="sum"`` 2.7e4 and
    with "quad2" 1.3e5, ten and more times that of "bspline" or "relu".

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of grid intervals.
        k: every function spans k + 1 intervals.
        activation: σ: "silu" (default), "gelu", "softplus", "sigmoid" or "tanh".
        combine: c(p, q): "quad1" (default) (pq)², "quad2" pq + p² + q², "sum" p + q, "prod" pq, "sum_prod" p + q + pq,
            "cubic1" (p + q)(p² + q²), "cubic2" (pq)³.
        normalise: over the features of one grid and one number: "l2" (default) divides by their root mean square;
            "layer" also subtracts their mean, so that they are linearly dependent; ``None`` leaves them. The public
            code normalises over the batch, so that one row's output depends on the others; never here.
        grid_range: the interval the grid covers.
        coarser: grids, each of its own number of intervals, whose functions are kept beside those of ``grid``: every
            one adds its intervals + k features. :meth:`refine` fills it in.
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the value.
        seed: of a local generator; ``None`` draws fresh entropy.

    Raises:
        OptionError: an option is out of range.
    """

    starts: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 5,
        k: int = 3,
        activation: str = "silu",
        combine: str = "quad1",
        normalise: str | None = "l2",
        grid_range: tuple[float, float] = (-1.0, 1.0),
        coarser: Sequence[int] = (),
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.k = check_positive("k", k)
        check_choice("activation", activation, PAIR_ACTIVATIONS)
        check_choice("combine", combine, COMBINATIONS)
        check_choice("normalise", normalise, ("l2", "layer", None))
        self.activation, self.combine, self.normalise = activation, combine, normalise
        self.grid_range = check_interval("grid_range", grid_range)
        check_choice("extend", extend, ("linear", "clamp"))
        self.extend = extend
        self.coarser = check_sizes("coarser", coarser)
        super().__init__(in_features, out_features, sum(size + self.k for size in self.grids), seed)

    def config(self) -> dict[str, Any]:
        names = ("grid", "k", "activation", "combine", "normalise", "extend")
        lists = {"grid_range": list(self.grid_range), "coarser": list(self.coarser)}
        return {**{name: getattr(self, name) for name in names}, **lists}

    @property
    def grids(self) -> tuple[int, ...]:
        """Numbers of intervals of all grids, ``grid`` last."""
        return (*self.coarser, self.grid)

    def constants(self) -> dict[str, np.ndarray]:
        low, high = self.grid_range
        starts = np.concatenate([low + (high - low) / grid * np.arange(-self.k, grid) for grid in self.grids])
        ends = torch.tensor(self.grid_range, dtype=torch.float64, device="cpu")
        _, slopes = slopes_of(lambda x: self._functions(x, torch.as_tensor(starts, device="cpu")), ends)
        return {"starts": starts, "slopes": slopes.numpy()}

    def evaluate(self, x: Tensor) -> Tensor:
        def inside(held: Tensor) -> Tensor:
            return self._functions(held, self.starts)

        return extended(inside, x, *self.grid_range, self.extend, self.slopes)

    def _functions(self, x: Tensor, starts: Tensor) -> Tensor:
        """(...) -> (..., K)."""
        parts = starts.split([grid + self.k for grid in self.grids])
        return torch.cat([self._of_grid(x, grid, part) for grid, part in zip(self.grids, parts, strict=True)], -1)

    def _of_grid(self, x: Tensor, grid: int, starts: Tensor) -> Tensor:
        """The functions of one grid, (...) -> (..., grid + k)."""
        low, high = self.grid_range
        u = (x.unsqueeze(-1) - starts) / ((high - low) / grid)
        sigma = PAIR_ACTIVATIONS[self.activation]
        values = COMBINATIONS[self.combine](sigma(u), sigma(self.k + 1 - u))
        if self.normalise is None:
            return values
        if self.normalise == "layer":
            values = values - values.mean(-1, keepdim=True)
        return values * torch.rsqrt((values**2).mean(-1, keepdim=True) + 1e-6)

    def refine(self, size: int) -> AF:
        """The same functions and, with coefficients of zero, those of a grid of ``size`` intervals: exact.

        Narrower pairs do not contain the wider ones, so these are kept and the grid joins ``coarser``; features of
        several grids are harder to tell apart: the condition number on uniform inputs grows from 550 to 1.9e5 for grids
        of 5 and 10.

        Raises:
            RefineError: ``size`` is below the present ``grid``.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        coarser = [*self.coarser, self.grid] if size > self.grid else self.coarser
        options = {**self.config(), "grid": size, "coarser": coarser}
        return enlarged(self, AF(self.in_features, self.out_features, **options, seed=0))
