"""The multilayer perceptron that KANs are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from qkan._random import spawn
from qkan.errors import check_choice
from qkan.layers import Activation, SplineActivation
from qkan.layers.kan_layer import ACTIVATIONS
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind
from qkan.models.kan import check_width


@saved_as_own_kind
class MLP(Network):
    """Linear maps with an activation between them, with the training and saving of :class:`~qkan.KAN`.

    Args:
        width: nodes per layer, inputs first, for example [2, 16, 16, 1].
        activation: "silu", "gelu", "relu", "tanh", "identity", or "bspline": a learned spline for every hidden unit
            (:class:`~qkan.layers.SplineActivation`).
        grid, k, grid_range: of these splines.
        seed: of local generators; ``None`` draws fresh entropy.

    Weights start as those of ``torch.nn.Linear``. Shapes: x (..., width[0]) -> (..., width[-1]).

    Raises:
        OptionError: ``width`` or an option is not valid.
    """

    def __init__(
        self,
        width: Sequence[int],
        activation: str = "silu",
        *,
        grid: int = 5,
        k: int = 3,
        grid_range: Sequence[float] = (-2.0, 2.0),
        seed: int | None = None,
    ):
        super().__init__()
        self.width = check_width(width)
        check_choice("activation", activation, (*ACTIVATIONS, "bspline"))
        self.activation = activation
        self.splines: dict[str, Any] = {"grid": grid, "k": k, "grid_range": list(grid_range)}
        seeds = spawn(seed, len(self.width) - 1)
        pairs = zip(self.width, self.width[1:], seeds, strict=False)
        self.linears = nn.ModuleList(linear(n, m, seed=own) for n, m, own in pairs)
        self.activations = nn.ModuleList(
            SplineActivation(units, **self.splines) if activation == "bspline" else Activation(units, activation)
            for units in self.width[1:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.linears, self.activations, strict=False):
            x = activation(layer(x))
        return self.linears[-1](x)

    def config(self) -> dict[str, Any]:
        return {"width": list(self.width), "activation": self.activation, **self.splines}
