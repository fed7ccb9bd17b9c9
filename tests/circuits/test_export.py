"""The five ansätze on PennyLane, Qiskit and Aer against the Bloch recursion."""

import numpy as np
import pennylane as qml
import pytest
import torch
from basis_contract import uniform
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator

from qkan.circuits import ANSATZE, daruan
from qkan.circuits.export import to_pennylane, to_qiskit
from qkan.kernels.reference import expectation_z

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
    template = to_qiskit(circuit)
    values = {}
    for parameter in template.parameters:
        source = {"theta": theta, "phi": phi}[parameter.vector.name]
        values[parameter] = source[parameter.index]
    return template.assign_parameters(values)


@pytest.mark.parametrize(("ansatz", "reps"), CASES)
def test_pennylane_agrees(ansatz, reps):
    circuit, theta, phi, expected = random_case(ansatz, reps)
    node = to_pennylane(circuit)
    found = [float(node(t, p)) for t, p in zip(theta, phi, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_pennylane_takes_batches(ansatz):
    circuit, theta, phi, expected = random_case(ansatz, 2)
    np.testing.assert_allclose(to_pennylane(circuit)(theta.T, phi.T), expected, atol=1e-10)


def test_pennylane_runs_on_a_device_of_ones_own():
    circuit, theta, phi, expected = random_case("pz", 2)
    device = qml.device("default.mixed", wires=1)
    node = to_pennylane(circuit, device)
    assert node.device is device or node.device.name == "default.mixed"
    assert float(node(theta[0], phi[0])) == pytest.approx(expected[0], abs=1e-10)


def test_pennylane_differentiates_through_torch():
    circuit, theta, phi, _ = random_case("mix", 2)
    leaves = [torch.tensor(theta[0], requires_grad=True), torch.tensor(phi[0], requires_grad=True)]
    found = torch.autograd.grad(to_pennylane(circuit)(*leaves), leaves)
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
    qc = to_qiskit(circuit)
    assert qc.num_qubits == 1
    assert qc.num_clbits == 0
    names = {parameter.name for parameter in qc.parameters}
    assert names == {f"theta[{j}]" for j in range(circuit.num_parameters)} | {f"phi[{j}]" for j in range(3)}
    assert qc.size() == 1 + len(circuit.gates)
