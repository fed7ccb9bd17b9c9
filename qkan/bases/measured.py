"""DARUAN edges whose circuits were measured on a backend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkan.bases._base import Basis, register
from qkan.bases.daruan import Daruan
from qkan.circuits.measured import MeasuredRows, MeasuredValues
from qkan.errors import OptionError
from qkan.kernels import node_matrix, spectral
from qkan.kernels.reference import accumulation_dtype, amplitude_readout, expectation_z


class _Measured(Daruan):
    """The circuits of a trained basis, kept for their data angles and for comparison; they no longer run."""

    def _take(self, basis: Daruan) -> None:
        self.to(basis.theta)
        self.load_state_dict(basis.state_dict(), strict=False)

    def _reason_for_reference(self, *_: Any) -> str:
        return "its circuits were measured"


@register("daruan_measured", listed=False)
class MeasuredDaruan(_Measured, MeasuredValues):
    """DARUAN edges that are interpolated between what a backend measured at the nodes.

    Its options are those of :class:`Daruan`; without measured values, which deployment or a saved model brings, every
    edge is zero. Noise of the nodes is not amplified: the squares of the cardinal functions add up to 1 everywhere.

    Attributes:
        values: ⟨Z⟩ at the nodes, (m·n·K, 1) or (groups·K, 1).
        variances: of the values.
    """

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw fresh angles, and forget what was measured."""
        super().reset_parameters(seed)
        empty = torch.zeros(self.node_count(), 1)
        self.hold(empty, empty)

    @classmethod
    def of(cls, basis: Daruan, values: Tensor, variances: Tensor) -> MeasuredDaruan:
        """From a trained basis and its measured node values (runs, 1).

        Args:
            basis: the trained basis.
            values: (runs, 1), ⟨Z⟩ at the nodes.
            variances: (runs, 1), of these values.
        """
        made = cls(basis.in_features, basis.out_features, **basis.config(), seed=0)
        made._take(basis)
        made.hold(values.to(made.theta), variances.to(made.theta))
        return made

    def node_values(self) -> Tensor:
        """Measured ⟨Z⟩, (m, n, K)."""
        return self._per_edge(self.present.reshape(*self.theta.shape[:-1], -1))

    def coefficients(self) -> Tensor:
        """Fourier coefficients of the measured edges, (m, n, K)."""
        if self.encoding == "edge":
            transform = torch.as_tensor(spectral.torus_transform(self.reps)).to(self.theta)
        else:
            transform = self.transform.to(self.theta)
        return self.node_values() @ transform

    def matrix(
        self, weight: Tensor | None = None, base: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self._need_nodes()
        shape = self.out_features, self.in_features
        return node_matrix.from_coefficients(self.coefficients(), weight, base, bias, shape)

    def edges(self, x: Tensor) -> Tensor:
        if self.encoding != "edge":
            return super().edges(x)
        angles = self.data_angles(self.check_input(x).to(accumulation_dtype(x.dtype)))
        z = (spectral.torus_harmonics(angles) * self.coefficients()).sum(-1).to(x.dtype)
        return amplitude_readout(z) if self.readout == "amplitude" else z

    def refine(self, size: int) -> Daruan:
        raise OptionError("measured circuits cannot be extended; refine the trained model and deploy it again.")


class MeasuredDaruanRows(_Measured, MeasuredRows):
    """DARUAN edges that were measured for certain input rows, where that takes fewer circuits than the nodes do.

    While uncertainty is propagated, the inputs differ a little from those rows, and the exact difference is added.

    Args:
        basis: the trained edges.
        values: (runs, 1), measured.
        variances: of the values, the same shape.
        x: (rows, n) that were measured.
    """

    folds = False

    def __init__(self, basis: Daruan, values: Tensor, variances: Tensor, x: Tensor):
        super().__init__(basis.in_features, basis.out_features, **basis.config(), seed=0)
        self._take(basis)
        self.hold_rows(values.to(self.theta), variances.to(self.theta), x)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        return Basis.forward(self, x, weight)

    def edges(self, x: Tensor) -> Tensor:
        """Measured edges, (..., m, n) for the rows (..., n) that were measured.

        Raises:
            DomainError: other rows.
        """
        rows = self.check_input(x).reshape(-1, self.in_features)
        self.check_rows(rows)
        z = self._spread(self.present)
        if self.noise is not None:
            z = z + self._exact(rows) - self._exact(self.inputs)
        z = z.reshape(*x.shape[:-1], self.out_features, self.in_features)
        return amplitude_readout(z) if self.readout == "amplitude" else z

    def _spread(self, values: Tensor) -> Tensor:
        """Runs (runs, 1) to edges (rows, m, n)."""
        edges = values.reshape(len(self.inputs), -1, self.in_features)
        return edges.expand(-1, self.out_features, -1)

    def _exact(self, rows: Tensor) -> Tensor:
        """⟨Z⟩ of the trained circuits on every edge."""
        angles = self.data_angles(rows)
        angles = angles if self.encoding == "edge" else angles.unsqueeze(-3)
        return expectation_z(self.circuit.gates, self._per_edge(self.theta), angles)
