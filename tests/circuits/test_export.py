"""The five ansätze on PennyLane, Qiskit and Aer against the Bloch recursion."""

import numpy as np
import pennylane as qml
import pytest
import torch
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator

from qkan.circuits import ANSATZE, Circuit, X, Z, daruan, data, parameter, statevector
from qkan.circuits.export import (
    from_openqasm3,
    from_pennylane,
    from_qiskit,
    to_openqasm3,
    to_pennylane,
    to_qiskit,
)
from qkan.errors import OptionError, ShapeError
from qkan.kernels.reference import expectation_z
from qkan.testing import random_circuit, random_inputs
from qkan.testing.basis_contract import uniform

CASES = [(ansatz, reps) for ansatz in ANSATZE for reps in (1, 3)]
DRAWS = 5


def random_case(ansatz: str, reps: int) -> tuple[object, np.ndarray, np.ndarray, np.ndarray]:
    """A circuit, random theta (draws, P) and phi (draws, L), and ⟨Z⟩ (draws,) by the Bloch recursion."""
    circuit = daruan(reps, ansatz)
    theta = uniform((DRAWS, circuit.num_parameters), -6, 6, seed=reps)
    phi = uniform((DRAWS, reps), -6, 6, seed=10 + reps)
    expected = expectation_z(circuit.gates, theta, phi).numpy()
    assert np.ptp(expected) > 0.05  # otherwise agreement would mean little
    return circuit, theta.numpy(), phi.numpy(), expected


def bound(circuit, theta: np.ndarray, phi: np.ndarray):
    """The Qiskit circuit with numbers for its parameters."""
    return to_qiskit(circuit.circuit, phi, theta)


@pytest.mark.parametrize(("ansatz", "reps"), CASES)
def test_pennylane_agrees(ansatz, reps):
    circuit, theta, phi, expected = random_case(ansatz, reps)
    node = to_pennylane(circuit.circuit)
    found = [float(node(p, t)[0]) for t, p in zip(theta, phi, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_pennylane_takes_batches(ansatz):
    circuit, theta, phi, expected = random_case(ansatz, 2)
    np.testing.assert_allclose(to_pennylane(circuit.circuit)(phi, theta)[0], expected, atol=1e-10)


def test_pennylane_runs_on_a_device_of_ones_own():
    circuit, theta, phi, expected = random_case("pz", 2)
    device = qml.device("default.mixed", wires=1)
    node = to_pennylane(circuit.circuit, device)
    assert node.device is device or node.device.name == "default.mixed"
    assert float(node(phi[0], theta[0])[0]) == pytest.approx(expected[0], abs=1e-10)


def test_pennylane_differentiates_through_torch():
    circuit, theta, phi, _ = random_case("mix", 2)
    leaves = [torch.tensor(theta[0], requires_grad=True), torch.tensor(phi[0], requires_grad=True)]
    found = torch.autograd.grad(to_pennylane(circuit.circuit)(*reversed(leaves))[0], leaves)
    expected = torch.autograd.grad(expectation_z(circuit.gates, *leaves), leaves)
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("ansatz", "reps"), CASES)
def test_qiskit_statevectors_agree(ansatz, reps):
    circuit, theta, phi, expected = random_case(ansatz, reps)
    observable = SparsePauliOp("Z")
    found = [Statevector(bound(circuit, t, p)).expectation_value(observable) for t, p in zip(theta, phi, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize(("ansatz", "reps"), CASES)
def test_aer_expectations_agree(ansatz, reps):
    circuit, theta, phi, expected = random_case(ansatz, reps)
    circuits = [bound(circuit, t, p) for t, p in zip(theta, phi, strict=True)]
    for qc in circuits:
        qc.save_expectation_value(SparsePauliOp("Z"), [0])
    result = AerSimulator(method="statevector", precision="double").run(circuits).result()
    found = [result.data(place)["expectation_value"] for place in range(DRAWS)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_aer_statevectors_agree(ansatz):
    circuit, theta, phi, expected = random_case(ansatz, 2)
    qc = bound(circuit, theta[0], phi[0])
    qc.save_statevector()
    alpha, beta = np.asarray(AerSimulator(method="statevector").run(qc).result().get_statevector())
    assert abs(alpha) ** 2 - abs(beta) ** 2 == pytest.approx(expected[0], abs=1e-10)


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_qiskit_circuits_have_one_wire_and_named_parameters(ansatz):
    circuit = daruan(3, ansatz)
    qc = to_qiskit(circuit.circuit)
    assert qc.num_qubits == 1
    assert qc.num_clbits == 0
    names = {parameter.name for parameter in qc.parameters}
    assert names == {f"theta[{j}]" for j in range(circuit.num_parameters)} | {f"x[{j}]" for j in range(3)}
    assert qc.size() == 1 + len(circuit.gates)


# -- circuits of several wires ---------------------------------------------------------------------------------------

SEEDS = range(12)


def several(seed: int):
    """A random circuit, one row of data, parameters, and its expectations."""
    circuit = random_circuit(seed, 1 + seed % 4, 8)
    x, theta = random_inputs(circuit, seed=seed)
    return circuit, x.numpy(), theta.numpy(), statevector.expectations(circuit, x, theta).numpy()


def value_of(circuit, data=(), parameters=()) -> np.ndarray:
    tensors = (torch.as_tensor(part, dtype=torch.float64) for part in (data, parameters))
    return statevector.expectations(circuit, *tensors).numpy()


@pytest.mark.parametrize("seed", SEEDS)
def test_pennylane_runs_what_we_run(seed):
    circuit, x, theta, expected = several(seed)
    np.testing.assert_allclose(np.array(to_pennylane(circuit)(x, theta)), expected, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_qiskit_comes_back_with_data_and_parameters(seed):
    circuit, x, theta, expected = several(seed)
    if any(gate.columns for gate in circuit.gates):
        with pytest.raises(OptionError, match="give the data of one row"):
            to_qiskit(circuit)
        return
    back = from_qiskit(to_qiskit(circuit), circuit.observables)
    order = [circuit.parameters.index(name) for name in back.parameters]
    np.testing.assert_allclose(value_of(back, x[: back.num_columns], theta[order]), expected, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_openqasm_and_pennylane_come_back_in_numbers(seed):
    circuit, x, theta, expected = several(seed)
    if any(gate.columns for gate in circuit.gates):
        return
    back = from_openqasm3(to_openqasm3(circuit, x, theta), circuit.observables)
    np.testing.assert_allclose(value_of(back), expected, atol=1e-10)
    back = from_pennylane(to_pennylane(circuit), x, theta, wires=circuit.wires)
    np.testing.assert_allclose(value_of(back), expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_amplitudes_reach_qiskit_and_pennylane(seed):
    wires = [2, 0]
    circuit = Circuit(3).amplitude_embedding(wires, columns=3).cnot(0, 1).rx(parameter("a"), 2).measure()
    x, theta = uniform((3,), -1, 1, seed=seed), uniform((1,), -3, 3, seed=seed)
    expected = statevector.expectations(circuit, x, theta).numpy()
    np.testing.assert_allclose(np.array(to_pennylane(circuit)(x.numpy(), theta.numpy())), expected, atol=1e-10)
    state = Statevector(to_qiskit(circuit, x.numpy(), theta.numpy()))
    found = [state.expectation_value(SparsePauliOp.from_sparse_list([("Z", [w], 1)], 3)).real for w in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_pennylane_templates_become_circuits():
    weights = uniform((2, 3, 3), -3, 3, seed=0).numpy()

    @qml.qnode(qml.device("default.qubit", wires=3))
    def program(x):
        qml.AngleEmbedding(x, wires=range(3))
        qml.StronglyEntanglingLayers(weights, wires=range(3))
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.expval(0.5 * qml.Y(2) - 2 * qml.Z(1))

    x = uniform((3,), -3, 3, seed=1).numpy()
    np.testing.assert_allclose(value_of(from_pennylane(program, x)), np.array(program(x)), atol=1e-10)


def test_barriers_go_both_ways_and_change_nothing():
    plain = Circuit(3).ry(data(0), 0).crx(parameter("a"), 0, 2).h(1).measure(Z(2), X(1) @ Z(0))
    circuit = Circuit(3).ry(data(0), 0).barrier().crx(parameter("a"), 0, 2).barrier().h(1).measure(*plain.observables)
    names = [gate.name for gate in circuit.gates]
    x, theta = np.array([0.4]), np.array([1.2])
    expected = value_of(plain, x, theta)
    np.testing.assert_allclose(np.array(to_pennylane(circuit)(x, theta)), expected, atol=1e-10)
    in_qiskit = to_qiskit(circuit)
    assert in_qiskit.count_ops()["barrier"] == 2
    assert [len(one.qubits) for one in in_qiskit.data if one.operation.name == "barrier"] == [3, 3]
    state = Statevector(to_qiskit(circuit, x, theta))
    strings = [SparsePauliOp.from_sparse_list([string], 3) for string in (("Z", [2], 1), ("XZ", [1, 0], 1))]
    np.testing.assert_allclose([state.expectation_value(one).real for one in strings], expected, atol=1e-10)
    assert from_qiskit(in_qiskit, circuit.observables) == circuit
    for back in (
        from_openqasm3(to_openqasm3(circuit, x, theta), circuit.observables),
        from_pennylane(to_pennylane(circuit), x, theta, wires=3),
    ):
        assert [gate.name for gate in back.gates] == names
        np.testing.assert_allclose(value_of(back), expected, atol=1e-10)


def test_what_cannot_be_translated_is_one_sentence():
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    toffoli = QuantumCircuit(3)
    toffoli.ccx(0, 1, 2)
    with pytest.raises(OptionError, match="Qiskit's gate 'ccx' is not known here"):
        from_qiskit(toffoli)
    square = QuantumCircuit(1)
    square.rx(Parameter("a") ** 2, 0)
    with pytest.raises(OptionError, match="not an affine function"):
        from_qiskit(square)
    with pytest.raises(OptionError, match="no expectation of a sum of Pauli strings"):
        from_pennylane(lambda: qml.probs(wires=0))
    circuit = Circuit(1).rx(data(0), 0).measure(Z(0))
    with pytest.raises(ShapeError, match=r"data of shape \(2,\) must have 1"):
        to_qiskit(circuit, [0.1, 0.2])
    zero = Circuit(1).amplitude_embedding()
    with pytest.raises(OptionError, match="must be finite and not all zero"):
        to_qiskit(zero, [0.0, 0.0])
