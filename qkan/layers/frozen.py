"""A layer whose coefficients no longer change."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan.bases import Basis
from qkan.bases._base import FeatureBasis
from qkan.circuits.measured import CircuitBlock


class FrozenKANLayer(nn.Module):
    """What :meth:`qkan.KANLayer.freeze` makes: features and one matrix product, without circuits or gradients.

    A basis that does not fold into coefficients (DARUAN with encoding "edge" or readout "amplitude") is kept as it is,
    without gradients.

    Args:
        basis: a copy that this layer may keep.
        weight: (m, n) edge weights or ``None``.
        activation: of the base branch, or ``None``.
        base_weight: (m, n), where there is an activation.
        bias: (m,) or ``None``.
        symbolic: edges that are functions of a formula, a copy that this layer may keep, or ``None``.

    Shapes: x (..., n) -> (..., m).
    """

    matrix: Tensor | None
    weight: Tensor | None
    base_weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        basis: Basis,
        weight: Tensor | None,
        activation: Callable[[Tensor], Tensor] | None,
        base_weight: Tensor | None,
        bias: Tensor | None,
        symbolic: nn.Module | None = None,
    ):
        super().__init__()
        self.symbolic = None if symbolic is None else symbolic.requires_grad_(False)
        self.basis = basis.requires_grad_(False)
        self.activation = activation
        matrix = None
        if isinstance(basis, FeatureBasis) and basis.folds:
            with torch.no_grad():
                edges = basis.coefficients()
                matrix = (edges if weight is None else edges * weight.unsqueeze(-1)).flatten(-2)
        for name, value in (("matrix", matrix), ("weight", weight), ("base_weight", base_weight), ("bias", bias)):
            self.register_buffer(name, None if value is None else value.clone())

    @property
    def computed_before(self) -> bool:
        """Whether values measured for the basis would come too late; see ``qkan.circuits.measured.CircuitBlock``."""
        return self.matrix is not None and isinstance(self.basis, CircuitBlock)

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None and isinstance(self.basis, FeatureBasis):
            y = functional.linear(self.basis.features(self.basis.check_input(x)).flatten(-2), self.matrix)
        else:
            y = self.basis(x, self.weight)
        if self.activation is not None and self.base_weight is not None:
            y = y + functional.linear(self.activation(x), self.base_weight)
        if self.symbolic is not None:
            y = y + self.symbolic(x)
        return y if self.bias is None else y + self.bias
