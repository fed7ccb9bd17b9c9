"""Circuits to and from Qiskit and OpenQASM 3. Wire w is qubit w."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from qkan.circuits.angles import Angle
from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import Gate
from qkan.circuits.observables import PauliSum, Z
from qkan.errors import OptionError

#: Names of gates here and of Qiskit's methods that append them.
_METHODS = {
    **{
        name: name.lower()
        for name in ("H", "X", "Y", "Z", "S", "T", "RX", "RY", "RZ", "CZ", "CRX", "CRY", "CRZ", "SWAP")
    },
    "PhaseShift": "p",
    "CNOT": "cx",
    "IsingXX": "rxx",
    "IsingYY": "ryy",
    "IsingZZ": "rzz",
    "Barrier": "barrier",
}
_NAMES = {method: name for name, method in _METHODS.items()}
_COLUMN = re.compile(r"x\[(\d+)\]")


def to_qiskit(circuit: Circuit, data: ArrayLike | None = None, parameters: ArrayLike | None = None) -> Any:
    """The gates as a ``qiskit.QuantumCircuit`` without measurement.

    Args:
        circuit: any circuit, DARUAN's included.
        data: (D,) numbers to bind, or ``None`` to leave data columns free as parameters ``x[0]``, ``x[1]``, …
        parameters: (P,) numbers to bind, or ``None`` to leave the trainable parameters free, under their names.

    Raises:
        OptionError: an AmplitudeEmbedding, whose gates depend on its amplitudes, without ``data``.
    """
    from qiskit import QuantumCircuit

    values = _Values(circuit, data, parameters)
    found = QuantumCircuit(circuit.wires)
    for gate in circuit.gates:
        if gate.name == "AmplitudeEmbedding":
            found.prepare_state(values.amplitudes(gate), list(reversed(gate.wires)))
        elif gate.name == "Barrier":
            found.barrier(*gate.wires)
        elif gate.name == "Rot":
            for name, angle in zip(("rz", "ry", "rz"), gate.angles, strict=True):
                getattr(found, name)(values.angle(angle), gate.wires[0])
        else:
            getattr(found, _METHODS[gate.name])(*(values.angle(angle) for angle in gate.angles), *gate.wires)
    return found


class _Values:
    """Angles of a circuit in numbers, or as expressions of Qiskit parameters where numbers are not given."""

    def __init__(self, circuit: Circuit, data: ArrayLike | None, parameters: ArrayLike | None):
        from qiskit.circuit import Parameter

        self.data = None if data is None else np.asarray(data, dtype=float)
        given = None if parameters is None else np.asarray(parameters, dtype=float)
        circuit.check_inputs(
            torch.zeros(circuit.num_columns) if self.data is None else torch.from_numpy(self.data),
            torch.zeros(circuit.num_parameters) if given is None else torch.from_numpy(given),
        )
        columns = range(circuit.num_columns)
        self.columns: list[Any] = [Parameter(f"x[{j}]") for j in columns] if self.data is None else list(self.data)
        named: list[Any] = [Parameter(name) for name in circuit.parameters] if given is None else list(given)
        self.parameters = dict(zip(circuit.parameters, named, strict=True))

    def angle(self, angle: Angle) -> Any:
        total: Any = angle.constant
        for name, factor in angle.parameters:
            total = total + factor * self.parameters[name]
        for column, factor in angle.data:
            total = total + factor * self.columns[column]
        return total

    def amplitudes(self, gate: Gate) -> np.ndarray:
        if self.data is None:
            raise OptionError("the gates of an AmplitudeEmbedding depend on its amplitudes; give the data of one row.")
        found = np.zeros(2 ** len(gate.wires))
        found[: len(gate.columns)] = self.data[list(gate.columns)]
        norm = np.linalg.norm(found)
        if not (np.isfinite(norm) and norm > 0):
            raise OptionError("the amplitudes of an AmplitudeEmbedding must be finite and not all zero.")
        return found / norm


def from_qiskit(circuit: Any, observables: tuple[PauliSum, ...] = (Z(0),)) -> Circuit:
    """A ``qiskit.QuantumCircuit`` of gates that :data:`~qkan.circuits.gates.KINDS` knows.

    Free parameters must enter affinely; those named ``x[0]``, ``x[1]``, … become data columns. Measurements
    are left out.

    Args:
        circuit: to translate.
        observables: that the new circuit has.

    Raises:
        OptionError: a gate that is not known (transpile to known ones first), or an angle that is not affine.
    """
    gates = []
    for instruction in circuit.data:
        name = instruction.operation.name
        if name == "measure":
            continue
        if name not in _NAMES:
            known = ", ".join(sorted(_NAMES))
            raise OptionError(f"Qiskit's gate {name!r} is not known here; transpile the circuit to {known}.")
        wires = tuple(circuit.find_bit(bit).index for bit in instruction.qubits)
        gates.append(Gate(_NAMES[name], wires, tuple(_affine(value) for value in instruction.operation.params)))
    return Circuit(circuit.num_qubits, tuple(gates), observables)


def _affine(value: Any) -> Angle:
    if not hasattr(value, "parameters") or not value.parameters:
        return Angle(float(value))
    zero = value.bind(dict.fromkeys(value.parameters, 0.0))
    total = Angle(float(zero))
    for parameter in sorted(value.parameters, key=lambda part: part.name):
        slope = value.gradient(parameter)
        if not isinstance(slope, (int, float)):
            raise OptionError(f"angle {value} is not an affine function of its parameters.")
        column = _COLUMN.fullmatch(parameter.name)
        term = Angle(data=((int(column[1]), 1.0),)) if column else Angle(parameters=((parameter.name, 1.0),))
        total = total + float(slope) * term
    return total


def to_openqasm3(circuit: Circuit, data: ArrayLike | None = None, parameters: ArrayLike | None = None) -> str:
    """OpenQASM 3 text; what is not bound becomes an ``input`` of the program. See :func:`to_qiskit`.

    Args:
        circuit: to write.
        data: (D,) values of its data columns.
        parameters: (P,) values of its parameters.
    """
    from qiskit import qasm3

    return str(qasm3.dumps(to_qiskit(circuit, data, parameters)))


def from_openqasm3(text: str, observables: tuple[PauliSum, ...] = (Z(0),)) -> Circuit:
    """The circuit of an OpenQASM 3 program of known gates. See :func:`from_qiskit`.

    Args:
        text: a program.
        observables: that the circuit has.
    """
    from qiskit import qasm3

    return from_qiskit(qasm3.loads(text), observables)
