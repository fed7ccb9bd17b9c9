"""AF-KAN: pairs of activations of one argument from two sides, combined and normalised per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qkan.bases._base import ClassicalBasis, register, slopes_of
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_choice, check_positive

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
        in_features: n.
        out_features: m.
        grid: number of grid intervals.
        k: every function spans k + 1 intervals.
        activation: σ: "silu" (default), "gelu", "softplus", "sigmoid" or "tanh".
        combine: c(p, q): "quad1" (default) (pq)², "quad2" pq + p² + q², "sum" p + q, "prod" pq, "sum_prod" p + q + pq,
            "cubic1" (p + q)(p² + q²), "cubic2" (pq)³.
        normalise: over the K features of one number: "l2" (default) divides by their root mean square; "layer" also
            subtracts their mean, so that they are linearly dependent; ``None`` leaves them. The public code normalises
            over the batch, so that one row's output depends on the others; this never happens here.
        grid_range: the interval the grid covers.
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
        super().__init__(in_features, out_features, self.grid + self.k, seed)

    def config(self) -> dict[str, Any]:
        names = ("grid", "k", "activation", "combine", "normalise", "extend")
        return {**{name: getattr(self, name) for name in names}, "grid_range": list(self.grid_range)}

    @property
    def spacing(self) -> float:
        """Length h of a grid interval."""
        return (self.grid_range[1] - self.grid_range[0]) / self.grid

    def constants(self) -> dict[str, np.ndarray]:
        starts = (np.arange(self.num_features) - self.k) * self.spacing + self.grid_range[0]
        ends = torch.tensor(self.grid_range, dtype=torch.float64, device="cpu")
        _, slopes = slopes_of(lambda x: self._functions(x, torch.as_tensor(starts, device="cpu")), ends)
        return {"starts": starts, "slopes": slopes.numpy()}

    def evaluate(self, x: Tensor) -> Tensor:
        def inside(held: Tensor) -> Tensor:
            return self._functions(held, self.starts)

        return extended(inside, x, *self.grid_range, self.extend, self.slopes)

    def _functions(self, x: Tensor, starts: Tensor) -> Tensor:
        """(...) -> (..., K)."""
        u = (x.unsqueeze(-1) - starts) / self.spacing
        sigma = PAIR_ACTIVATIONS[self.activation]
        values = COMBINATIONS[self.combine](sigma(u), sigma(self.k + 1 - u))
        if self.normalise is None:
            return values
        if self.normalise == "layer":
            values = values - values.mean(-1, keepdim=True)
        return values * torch.rsqrt((values**2).mean(-1, keepdim=True) + 1e-6)

    def refine(self, size: int) -> AF:
        """Not possible: the functions of a finer grid do not contain the wider ones.

        Raises:
            RefineError: always.
        """
        raise RefineError(
            f"a basis 'af' cannot be refined to grid={size}: narrower pairs do not contain the wider ones."
        )
