"""Circuits whose every free angle is a data column: the form in which backends take them.

Many circuits of one shape, such as all edges of a DARUAN layer, are then one circuit and a table with one row each, and
the parameter-shift rule adds rows to that table.

Angles are in radians.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from qkan.circuits.angles import Angle, data
from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import Gate


@lru_cache(maxsize=64)
def by_angle(circuit: Circuit) -> Circuit:
    """The same gates with angles that are constants or data columns, every column used once and in order.

    Amplitudes come after the angles.
    """
    gates: list[Gate] = []
    column = 0
    for gate in circuit.gates:
        angles: list[Angle] = []
        for angle in gate.angles:
            angles.append(data(column) if is_free(angle) else angle)
            column += is_free(angle)
        gates.append(replace(gate, angles=tuple(angles)))
    for place, gate in enumerate(gates):
        if gate.columns:
            gates[place] = replace(gate, columns=tuple(range(column, column + len(gate.columns))))
            column += len(gate.columns)
    return Circuit(circuit.wires, tuple(gates), circuit.observables)


def is_free(angle: Angle) -> bool:
    """Whether it is no constant."""
    return bool(angle.parameters or angle.data)


def rows_of(circuit: Circuit, data: Tensor | None = None, parameters: Tensor | None = None) -> Tensor:
    """What :func:`by_angle` of the circuit takes as data, differentiable: (..., D) and (..., P) to (..., R).

    Args:
        circuit: the circuit.
        data: (..., D), or ``None`` where it has none.
        parameters: (..., P), or ``None`` where it has none.

    Raises:
        ShapeError: a last dimension is not D or P.
    """
    data, parameters = circuit.check_inputs(data, parameters)
    lead = torch.broadcast_shapes(data.shape[:-1], parameters.shape[:-1])
    angles = circuit.angles(data, parameters).expand(*lead, -1)
    parts = [angles[..., [slot for slot, angle in enumerate(_angles(circuit)) if is_free(angle)]]]
    for gate in circuit.gates:
        if gate.columns:
            parts.append(data[..., list(gate.columns)].expand(*lead, -1))
    return torch.cat(parts, dim=-1)


def free_kinds(circuit: Circuit) -> list[tuple[float, ...]]:
    """Frequencies (see :class:`~qkan.circuits.gates.GateKind`) of the free angles in order."""
    return [gate.kind.frequencies for gate in circuit.gates for angle in gate.angles if is_free(angle)]


def _angles(circuit: Circuit) -> list[Angle]:
    return [angle for gate in circuit.gates for angle in gate.angles]
