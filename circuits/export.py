"""DARUAN circuits as Qiskit and PennyLane objects, for hardware and for independent checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qkan.circuits.ansatz import DaruanCircuit


def to_qiskit(circuit: DaruanCircuit) -> Any:
    """A parameterised ``qiskit.QuantumCircuit`` with vectors ``theta`` (P) and ``phi`` (L), without measurement."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    theta = ParameterVector("theta", circuit.num_parameters)
    phi = ParameterVector("phi", circuit.reps)
    qc = QuantumCircuit(1)
    qc.h(0)
    for axis, source, value in circuit.gates:
        angle = {"theta": theta, "data": phi}[source][int(value)] if source != "const" else value
        getattr(qc, f"r{axis}")(angle, 0)
    return qc


def to_pennylane(circuit: DaruanCircuit, device: Any = None) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    """A PennyLane QNode ``f(theta, phi) -> ⟨Z⟩``; ``device`` defaults to ``default.qubit``.

    ``theta`` has P and ``phi`` has L entries, each a number or a batch of numbers (broadcasting).
    """
    import pennylane as qml

    rotation = {"x": qml.RX, "y": qml.RY, "z": qml.RZ}
    device = device if device is not None else qml.device("default.qubit", wires=1)

    @qml.qnode(device)
    def expectation(theta: Sequence[Any], phi: Sequence[Any]) -> Any:
        qml.Hadamard(0)
        for axis, source, value in circuit.gates:
            angle = {"theta": theta, "data": phi}[source][int(value)] if source != "const" else value
            rotation[axis](angle, wires=0)
        return qml.expval(qml.Z(0))

    return expectation
