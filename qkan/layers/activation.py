"""Activations of a perceptron's units: a fixed one, and one that is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan.bases import BSpline
from qkan.bases._base import normal_nodes
from qkan.errors import check_choice
from qkan.layers.kan_layer import ACTIVATIONS


class Activation(nn.Module):
    """The named activation of ``units`` numbers, (..., n) -> (..., n).

    Raises:
        OptionError: an unknown name.
    """

    def __init__(self, units: int, name: str = "silu"):
        super().__init__()
        check_choice("activation", name, ACTIVATIONS)
        self.units, self.name = units, name

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.name](x)

    def extra_repr(self) -> str:
        return f"{self.units}, {self.name!r}"


class SplineActivation(nn.Module):
    """y_i = Σ_k c_ik B_k(x_i): between linear maps, the B-spline MLP that Yu et al. set beside KANs (arXiv 2407.16674).

    It tells apart what splines do in a KAN from what a spline on every *edge* does.

    Args:
        units: n in the formulas.
        grid: intervals of the grid.
        k: degree.
        grid_range: interval of the grid; (-2, 2) holds most of a standard normal input. Outside it a spline
            goes on with its slope.

    Every spline starts as the best fit to SiLU under a standard normal input, so that an untrained network is nearly
    the MLP with SiLU. Shapes: (..., n) -> (..., n).

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, units: int, grid: int = 5, k: int = 3, grid_range: tuple[float, float] = (-2.0, 2.0)):
        super().__init__()
        self.basis = BSpline(units, 1, grid=grid, k=k, grid_range=grid_range, seed=0)
        points, weights = normal_nodes()
        features = self.basis.features(points.unsqueeze(-1).to(self.basis.coef)).squeeze(-2).double().detach().cpu()
        root = weights.sqrt().unsqueeze(-1)
        target = root * functional.silu(points).unsqueeze(-1)
        start = torch.linalg.lstsq(root * features, target, driver="gelsd").solution
        with torch.no_grad():
            self.basis.coef.copy_(start.squeeze(-1).expand_as(self.basis.coef))

    @property
    def units(self) -> int:
        """Numbers in, and out."""
        return self.basis.in_features

    def forward(self, x: Tensor) -> Tensor:
        return self.basis.edges(x).squeeze(-2)

    def matmul_flops(self, rows: int) -> int:
        """Floating-point operations in products of features and coefficients for ``rows`` rows."""
        return self.basis.matmul_flops(rows)

    def extra_repr(self) -> str:
        return f"{self.units} units"
