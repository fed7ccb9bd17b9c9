"""Circuits to and from PennyLane. Wires keep their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qkan.circuits.angles import Angle
from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import KINDS, Gate
from qkan.circuits.observables import PauliSum, Z
from qkan.errors import OptionError

#: Names of gates here that PennyLane calls otherwise.
_OPERATIONS = {"H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ"}
_NAMES = {operation: name for name, operation in _OPERATIONS.items()}


def to_pennylane(circuit: Circuit, device: Any = None, **options: Any) -> Callable[..., Any]:
    """A PennyLane QNode ``f(data, parameters)`` that returns one expectation per observable.

    Args:
        circuit: any circuit, DARUAN's included.
        device: a PennyLane device; ``default.qubit`` if ``None``.
        **options: of ``qml.QNode``, such as ``diff_method`` or ``interface``.

    The QNode takes data (..., D) and parameters (..., P) with at most one leading dimension (PennyLane's broadcasting)
    and returns a list of expectations in the order of the observables. Empty tuples stand for no data or parameters.
    """
    import pennylane as qml

    device = device if device is not None else qml.device("default.qubit", wires=circuit.wires)

    def program(data: Any, parameters: Any) -> Any:
        queue(circuit, lambda angle: _value(circuit, angle, data, parameters), data)
        return [qml.expval(operator(observable)) for observable in circuit.observables]

    return qml.QNode(program, device, **options)


def _value(circuit: Circuit, angle: Angle, data: Any, parameters: Any) -> Any:
    total: Any = angle.constant
    for name, factor in angle.parameters:
        total = total + factor * parameters[..., circuit.parameters.index(name)]
    for column, factor in angle.data:
        total = total + factor * data[..., column]
    return total


def queue(circuit: Circuit, value: Callable[[Angle], Any], data: Any) -> None:
    """Apply the gates inside a PennyLane program; ``value`` turns an angle into numbers.

    Args:
        circuit: whose gates are applied.
        value: from an angle to a number, or to an array over rows.
        data: (..., D) for embeddings of amplitudes.
    """
    import pennylane as qml

    for gate in circuit.gates:
        if gate.name == "AmplitudeEmbedding":
            amplitudes = data[..., list(gate.columns)]
            qml.AmplitudeEmbedding(amplitudes, wires=gate.wires, pad_with=0.0, normalize=True)
        else:
            operation = getattr(qml, _OPERATIONS.get(gate.name, gate.name))
            operation(*(value(angle) for angle in gate.angles), wires=gate.wires)


def operator(observable: PauliSum) -> Any:
    """An observable as PennyLane's operator."""
    import pennylane as qml

    terms = []
    for coefficient, string in observable.terms:
        factors = [getattr(qml, letter)(wire) for wire, letter in string] or [qml.Identity(0)]
        terms.append(coefficient * qml.prod(*factors) if len(factors) > 1 else coefficient * factors[0])
    return qml.sum(*terms) if len(terms) > 1 else terms[0]


def from_pennylane(program: Callable[..., Any], *arguments: Any, wires: int | None = None) -> Circuit:
    """The gates and expectations that a PennyLane program or QNode makes for given arguments, angles as numbers.

    Templates are decomposed until every gate is known here.

    Args:
        program: a QNode, or a function that queues operations.
        *arguments: with which it is called.
        wires: how many; as many as are used if ``None``.

    Raises:
        OptionError: a gate or a measurement that cannot be represented.
    """
    import pennylane as qml

    with qml.queuing.AnnotatedQueue() as recorded:
        getattr(program, "func", program)(*arguments)
    tape = qml.tape.QuantumScript.from_queue(recorded)
    known = {_OPERATIONS.get(name, name) for name in KINDS if name != "AmplitudeEmbedding"}
    (tape,), _ = qml.transforms.decompose(tape, gate_set=known)
    gates = []
    for operation in tape.operations:
        name = _NAMES.get(operation.name, operation.name)
        if name not in KINDS or name == "AmplitudeEmbedding":
            raise OptionError(f"PennyLane's gate {operation.name!r} is not known here; choose from {', '.join(KINDS)}.")
        angles = tuple(Angle(float(value)) for value in operation.parameters)
        gates.append(Gate(name, tuple(int(wire) for wire in operation.wires), angles))
    observables = tuple(_observable(measured) for measured in tape.measurements)
    used = [wire for gate in gates for wire in gate.wires] + [wire for seen in observables for wire in seen.wires]
    return Circuit(wires or max(used, default=0) + 1, tuple(gates), observables or (Z(0),))


def _observable(measured: Any) -> PauliSum:
    sentence = getattr(measured.obs, "pauli_rep", None)
    if type(measured).__name__ != "ExpectationMP" or sentence is None:
        raise OptionError(f"{measured} is no expectation of a sum of Pauli strings.")
    total = PauliSum(())
    for word, coefficient in sentence.items():
        if abs(np.imag(coefficient)) > 1e-12:
            raise OptionError(f"{measured} has a coefficient that is not real.")
        string = tuple(sorted((int(wire), letter) for wire, letter in word.items()))
        total = total + PauliSum(((float(np.real(coefficient)), string),))
    return total
