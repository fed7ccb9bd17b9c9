"""Random circuits, and the same circuits in PennyLane and Qiskit."""

from __future__ import annotations

import random

import numpy as np
import pennylane as qml
import torch
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qkan.circuits import Circuit, PauliSum, data, parameter
from qkan.circuits.gates import KINDS

GATES = [name for name, kind in KINDS.items() if kind.wires]
_PENNYLANE = {"H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ"}
_QISKIT = {"PhaseShift": "p", "CNOT": "cx", "IsingXX": "rxx", "IsingYY": "ryy", "IsingZZ": "rzz"}


def random_angle(draw: random.Random):
    """A constant, a parameter, a column, or a sum of all."""
    terms = [draw.uniform(-3, 3), parameter(f"p{draw.randrange(4)}"), draw.choice([1, -0.7]) * data(draw.randrange(3))]
    return draw.choice([*terms, sum(terms)])


def random_observable(draw: random.Random, wires: int) -> PauliSum:
    """One to three Pauli strings."""
    strings = {
        "".join(draw.choice("IXYZ") for _ in range(wires)): draw.uniform(-2, 2) for _ in range(draw.randint(1, 3))
    }
    return PauliSum.from_strings(strings)


def random_circuit(seed: int, wires: int, length: int, diagonal: bool = False) -> Circuit:
    """Gates of all kinds, sometimes after an embedding of amplitudes."""
    draw = random.Random(seed)
    circuit = Circuit(wires)
    if draw.random() < 0.3:
        chosen = draw.sample(range(wires), draw.randint(1, wires))
        circuit = circuit.amplitude_embedding(chosen, columns=draw.randint(1, 2 ** len(chosen)))
    elif draw.random() < 0.5:
        circuit = circuit.angle_embedding(rotation=draw.choice("XYZ"))
    for _ in range(length):
        name = draw.choice([name for name in GATES if KINDS[name].wires <= wires])
        chosen = draw.sample(range(wires), KINDS[name].wires)
        circuit = circuit.add(name, chosen, *(random_angle(draw) for _ in range(KINDS[name].angles)))
    if diagonal:
        return circuit.measure()
    return circuit.measure(*(random_observable(draw, wires) for _ in range(draw.randint(1, 3))))


def random_inputs(circuit: Circuit, *lead: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Data (*lead, D) and parameters (P,), float64."""
    local = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(*lead, circuit.num_columns, generator=local, dtype=torch.float64) - 2
    return x, 6 * torch.rand(circuit.num_parameters, generator=local, dtype=torch.float64) - 3


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
