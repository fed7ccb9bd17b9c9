"""A circuit as a layer of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.circuits import backends, gradients
from qkan.circuits.backends import Backend
from qkan.circuits.circuit import Circuit
from qkan.circuits.measured import MeasuredRows
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import OptionError


class QuantumLayer(nn.Module):
    """Expectations of a circuit whose data columns are the inputs and whose parameters are trained::

        circuit = Circuit(4).angle_embedding().then(ansatz.strongly_entangling(4, 2))
        layer = QuantumLayer(circuit, seed=0)  # (..., 4) -> (..., 4)

    Args:
        circuit: of as many wires as the backend has.
        backend: where it runs, a name or a backend of :mod:`qkan.circuits.backends`. "torch" (default) is the exact
            simulator; others train by the parameter-shift rule, with shots too, at two or four circuits per angle
            and row. It is not part of the state dict.
        seed: of the initial parameters, uniform in [0, 2π); ``None`` draws fresh ones.
        dtype: of the parameters, by default PyTorch's.

    Attributes:
        theta: (P,) in radians, in the order of ``circuit.parameters``.

    Raises:
        OptionError: unknown backend, or more wires than it has.
        BackendUnavailable: its package, device or account is missing.
    """

    def __init__(
        self,
        circuit: Circuit,
        backend: str | Backend = "torch",
        *,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.circuit = circuit
        self.backend = backends.get(backend)
        self.backend.check_wires(circuit)
        self.theta = nn.Parameter(torch.empty(circuit.num_parameters, dtype=dtype))
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw the parameters anew."""
        with torch.no_grad():
            # Drawn on the CPU in float64, so that a seed means the same on every device and in every type.
            drawn = torch.rand(self.theta.shape, generator=generator(seed), dtype=torch.float64)
            self.theta.copy_(2 * math.pi * drawn)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., number of observables).

        Raises:
            ShapeError: the last dimension is not D.
            OptionError: a gradient with respect to amplitudes is asked of a backend other than "torch".
        """
        return gradients.expectations(self.backend, self.circuit, x, self.theta)

    # -- deployment: see qkan.circuits.measured.CircuitBlock -----------------------------------------------------

    def block_circuit(self) -> Circuit:
        return by_angle(self.circuit)

    def node_count(self) -> None:
        """No finite number of runs fixes the layer for every input."""
        return

    def node_rows(self) -> Tensor:
        raise OptionError("a QuantumLayer has no nodes: it is measured for the input rows asked for.")

    def row_count(self, rows: int) -> int:
        return rows

    def input_rows(self, x: Tensor) -> Tensor:
        return rows_of(self.circuit, x, self.theta)

    def measured(self, values: Tensor, variances: Tensor, x: Tensor | None = None) -> MeasuredQuantumLayer:
        if x is None:
            raise OptionError("a QuantumLayer is measured for the input rows asked for: give x.")
        return MeasuredQuantumLayer(self, values, variances, x)

    def extra_repr(self) -> str:
        size = f"{self.circuit.num_columns} -> {len(self.circuit.observables)}"
        about = f"wires={self.circuit.wires}, parameters={self.circuit.num_parameters}"
        return f"{size}, {about}, backend={self.backend.name!r}"


class MeasuredQuantumLayer(QuantumLayer, MeasuredRows):
    """A :class:`QuantumLayer` that knows what a backend measured for certain rows.

    For the rows it was measured for it returns the measured values. While uncertainty is propagated, its inputs differ
    a little from them, and the exact difference is added.

    Args:
        layer: the trained layer.
        values: (runs, observables), measured.
        variances: of the values, the same shape.
        x: (rows, D) that were measured.
    """

    def __init__(self, layer: QuantumLayer, values: Tensor, variances: Tensor, x: Tensor):
        super().__init__(layer.circuit, dtype=layer.theta.dtype, seed=0)
        self.theta = nn.Parameter(layer.theta.detach().clone())
        self.hold_rows(values.to(self.theta), variances.to(self.theta), x)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, D) -> (rows, number of observables), in any leading shape.

        Raises:
            DomainError: other rows than those that were measured.
        """
        rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])
        self.check_rows(rows)
        found = self.present
        if self.noise is not None:
            exact = super().forward
            found = found + exact(rows) - exact(self.inputs)
        return found.reshape(*x.shape[:-1], -1)
