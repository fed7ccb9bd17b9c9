"""Circuits of this package in PennyLane and Qiskit."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qkan.circuits import Circuit, PauliSum

_PENNYLANE = {"H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ"}
_QISKIT = {"PhaseShift": "p", "CNOT": "cx", "IsingXX": "rxx", "IsingYY": "ryy", "IsingZZ": "rzz"}


def _words(circuit: Circuit, observable: PauliSum) -> list[tuple[str, float]]:
    found = []
    for coefficient, string in observable.terms:
        letters = dict(string)
        found.append(("".join(letters.get(wire, "I") for wire in range(circuit.wires)), coefficient))
    return found


def by_pennylane(circuit: Circuit, x: torch.Tensor, theta: torch.Tensor) -> np.ndarray:
    """Expectations of one row on default.qubit."""
    angles = iter(circuit.angles(x, theta).tolist())

    @qml.qnode(qml.device("default.qubit", wires=circuit.wires))
    def node():
        for gate in circuit.gates:
            if gate.columns:
                values = x[list(gate.columns)].numpy()
                qml.AmplitudeEmbedding(values, wires=gate.wires, pad_with=0.0, normalize=True)
            else:
                operation = getattr(qml, _PENNYLANE.get(gate.name, gate.name))
                operation(*(next(angles) for _ in gate.angles), wires=list(gate.wires))
        found = []
        for observable in circuit.observables:
            words, coefficients = zip(*_words(circuit, observable), strict=True)
            order = range(circuit.wires)
            strings = [qml.pauli.string_to_pauli_word(word, wire_map={wire: wire for wire in order}) for word in words]
            found.append(qml.expval(qml.Hamiltonian(coefficients, strings)))
        return found

    return np.array(node(), dtype=float)


def by_qiskit(circuit: Circuit, x: torch.Tensor, theta: torch.Tensor) -> np.ndarray:
    """Expectations of one row by Qiskit's state vector; its first qubit is the least significant bit."""
    angles = iter(circuit.angles(x, theta).tolist())
    qc = QuantumCircuit(circuit.wires)
    for gate in circuit.gates:
        qubits = [circuit.wires - 1 - wire for wire in gate.wires]
        if gate.columns:
            values = np.zeros(2 ** len(qubits))
            values[: len(gate.columns)] = x[list(gate.columns)].numpy()
            qc.prepare_state(values / np.linalg.norm(values), qubits[::-1])
        elif gate.name == "Rot":
            for name in ("rz", "ry", "rz"):
                getattr(qc, name)(next(angles), *qubits)
        else:
            getattr(qc, _QISKIT.get(gate.name, gate.name.lower()))(*(next(angles) for _ in gate.angles), *qubits)
    state = Statevector(qc)
    found = [state.expectation_value(SparsePauliOp.from_list(_words(circuit, one))) for one in circuit.observables]
    return np.real(found)
