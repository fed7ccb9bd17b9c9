"""Circuits of one shape side by side as a layer of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.circuits import backends, gradients, simulate
from qkan.circuits.backends import Backend
from qkan.circuits.circuit import Circuit
from qkan.circuits.measured import MeasuredRows
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import OptionError, ShapeError, check_positive


class ParallelCircuits(nn.Module):
    """The inputs in equal parts, each read by a circuit with parameters of its own; outputs side by side.

    The same function as that many :class:`~qkan.circuits.QuantumLayer` of the circuit, evaluated as one: on the exact
    simulator by :func:`qkan.circuits.simulate.parallel`, on other backends in one submission.

    Args:
        circuit: of D data columns and P parameters, as many wires as the backend has.
        count: number of circuits c.
        backend: a name or a backend of :mod:`qkan.circuits.backends`; see :class:`~qkan.circuits.QuantumLayer`.
        seed: of the initial parameters, uniform in [0, 2π); ``None`` draws fresh ones.
        dtype: of the parameters, by default PyTorch's.

    Attributes:
        theta: (c, P) in radians, in the order of ``circuit.parameters``.

    Shapes: x (..., c · D) -> (..., c · number of observables).

    Raises:
        OptionError: unknown backend, ``count`` below 1, or more wires than the backend has.
        BackendUnavailable: its package, device or account is missing.
    """

    def __init__(
        self,
        circuit: Circuit,
        count: int,
        backend: str | Backend = "torch",
        *,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.circuit, self.count = circuit, check_positive("count", count)
        self.backend = backends.get(backend)
        self.backend.check_wires(circuit)
        self.theta = nn.Parameter(torch.empty(count, circuit.num_parameters, dtype=dtype))
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw the parameters anew."""
        with torch.no_grad():
            drawn = torch.rand(self.theta.shape, generator=generator(seed), dtype=torch.float64, device="cpu")
            self.theta.copy_(2 * math.pi * drawn)

    @property
    def in_features(self) -> int:
        """C · D."""
        return self.count * self.circuit.num_columns

    @property
    def out_features(self) -> int:
        """C times the number of observables."""
        return self.count * len(self.circuit.observables)

    def forward(self, x: Tensor) -> Tensor:
        """(..., c · D) -> (..., c · number of observables).

        Raises:
            ShapeError: the last dimension is not c · D.
            OptionError: a gradient with respect to amplitudes is asked of a backend other than "torch".
            DomainError: amplitudes of a circuit are all zero or not finite.
        """
        parts = self._parts(x)
        if "autograd" in self.backend.capabilities.gradients and self.backend.shots is None:
            return simulate.parallel(self.circuit, parts, self.theta).flatten(-2)
        return gradients.expectations(self.backend, self.circuit, parts, self.theta).flatten(-2)

    def _parts(self, x: Tensor) -> Tensor:
        """(..., c · D) -> (..., c, D)."""
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have {self.in_features} as its last dimension.")
        return x.unflatten(-1, (self.count, self.circuit.num_columns))

    # -- deployment: see qkan.circuits.measured.CircuitBlock -----------------------------------------------------

    def block_circuit(self) -> Circuit:
        return by_angle(self.circuit)

    def node_count(self) -> None:
        """No finite number of runs fixes the layer for every input."""
        return

    def node_rows(self) -> Tensor:
        raise OptionError("circuits in parallel have no nodes: they are measured for the input rows asked for.")

    def row_count(self, rows: int) -> int:
        return rows * self.count

    def input_rows(self, x: Tensor) -> Tensor:
        return rows_of(self.circuit, self._parts(x), self.theta).flatten(0, -2)

    def measured(self, values: Tensor, variances: Tensor, x: Tensor | None = None) -> MeasuredParallelCircuits:
        if x is None:
            raise OptionError("circuits in parallel are measured for the input rows asked for: give x.")
        return MeasuredParallelCircuits(self, values, variances, x)

    def extra_repr(self) -> str:
        about = f"{self.count} circuits, wires={self.circuit.wires}, parameters={self.theta.numel()}"
        return f"{self.in_features} -> {self.out_features}, {about}, backend={self.backend.name!r}"


class MeasuredParallelCircuits(ParallelCircuits, MeasuredRows):
    """:class:`ParallelCircuits` that know what a backend measured for certain rows.

    For those rows they return the measured values. While uncertainty is propagated, the inputs differ a little from
    them, and the exact difference is added.

    Args:
        layer: the trained circuits.
        values: (runs, observables), measured.
        variances: of the values, the same shape.
        x: (rows, c · D) that were measured.
    """

    def __init__(self, layer: ParallelCircuits, values: Tensor, variances: Tensor, x: Tensor):
        super().__init__(layer.circuit, layer.count, dtype=layer.theta.dtype, seed=0)
        self.theta = nn.Parameter(layer.theta.detach().clone())
        self.hold_rows(values.to(self.theta), variances.to(self.theta), x)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, c · D) -> (rows, c · number of observables), in any leading shape.

        Raises:
            DomainError: other rows than those that were measured.
        """
        rows = x.reshape(-1, x.shape[-1])
        self.check_rows(rows)
        found = self.present.reshape(len(rows), -1)
        if self.noise is not None:
            exact = super().forward
            found = found + exact(rows) - exact(self.inputs)
        return found.reshape(*x.shape[:-1], -1)
