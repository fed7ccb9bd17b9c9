"""DARUAN as a Circuit, and trainable templates against PennyLane's."""

import numpy as np
import pennylane as qml
import pytest
import torch

from qkan.circuits import ANSATZE, Circuit, ansatz, daruan, expectations, parameter
from qkan.errors import OptionError
from qkan.kernels.reference import expectation_z
from qkan.testing.basis_contract import uniform


def by_template(circuit: Circuit, build) -> tuple[np.ndarray, np.ndarray]:
    """⟨Z⟩ of every wire after an embedding, by us and by a PennyLane template applied by ``build(weights)``."""
    weights = uniform((circuit.num_parameters,), -3, 3, seed=1)
    x = uniform((circuit.wires,), -2, 2, seed=2)

    @qml.qnode(qml.device("default.qubit", wires=circuit.wires))
    def node():
        qml.AngleEmbedding(x.numpy(), wires=range(circuit.wires))
        build(weights.numpy())
        return [qml.expval(qml.Z(wire)) for wire in range(circuit.wires)]

    found = expectations(Circuit(circuit.wires).angle_embedding().then(circuit).measure(), x, weights)
    return found.numpy(), np.array(node(), dtype=float)


@pytest.mark.parametrize("reps", [1, 3])
@pytest.mark.parametrize("name", ANSATZE)
def test_daruan_as_a_circuit(name, reps):
    edge = daruan(reps, name)
    circuit = edge.circuit
    assert circuit.parameters == tuple(f"theta[{j}]" for j in range(edge.num_parameters))
    assert circuit.num_columns == reps
    theta, phi = uniform((5, edge.num_parameters), -6, 6, seed=3), uniform((5, reps), -6, 6, seed=4)
    found = expectations(circuit, phi, theta).squeeze(-1)
    torch.testing.assert_close(found, expectation_z(edge.gates, theta, phi), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ranges", [None, [2, 1, 3, 1, 2]])
@pytest.mark.parametrize("wires", [1, 2, 4])
def test_strongly_entangling(wires, ranges):
    ranges = None if wires < 4 else ranges
    circuit = ansatz.strongly_entangling(wires, 5, ranges=ranges)
    mine, its = by_template(
        circuit,
        lambda w: qml.StronglyEntanglingLayers(w.reshape(5, wires, 3), wires=range(wires), ranges=ranges),
    )
    np.testing.assert_allclose(mine, its, rtol=0, atol=1e-10)
    assert len(circuit.observables) == wires


@pytest.mark.parametrize("rotation", ["X", "Y", "Z"])
@pytest.mark.parametrize("wires", [1, 2, 3, 4])
def test_basic_entangler(wires, rotation):
    circuit = ansatz.basic_entangler(wires, 3, rotation=rotation)
    gate = getattr(qml, f"R{rotation}")
    mine, its = by_template(
        circuit, lambda w: qml.BasicEntanglerLayers(w.reshape(3, wires), wires=range(wires), rotation=gate)
    )
    np.testing.assert_allclose(mine, its, rtol=0, atol=1e-10)


def narrow(weights, wires):
    qml.CNOT(wires=[wires[0], wires[1]])
    qml.RY(weights[0], wires=wires[0])
    qml.RY(weights[1], wires=wires[1])


def wide(weights, wires):
    for place in range(4):
        qml.RX(weights[place], wires=wires[place])
    qml.CRZ(weights[4], wires=[wires[0], wires[3]])
    qml.CNOT(wires=[wires[2], wires[1]])


def wide_block() -> Circuit:
    block = Circuit(4)
    for place in range(4):
        block = block.rx(parameter(f"angle{place}"), place)
    return block.crz(parameter("last"), 0, 3).cnot(2, 1)


@pytest.mark.parametrize(
    ("name", "wires", "block"),
    [
        *((name, wires, None) for name in ("MPS", "TTN", "MERA") for wires in (2, 4, 8)),
        ("MPS", 5, None),
        ("MPS", 6, wide_block()),
        ("TTN", 8, wide_block()),
        ("MERA", 8, wide_block()),
    ],
)
def test_tensor_networks(name, wires, block):
    circuit = getattr(ansatz, name.lower())(wires, block)
    size, count, theirs = (2, 2, narrow) if block is None else (4, 5, wide)

    def build(weights):
        getattr(qml, name)(range(wires), size, theirs, count, weights.reshape(-1, count).tolist())

    mine, its = by_template(circuit, build)
    np.testing.assert_allclose(mine, its, rtol=0, atol=1e-10)
    assert circuit.parameters[:2] == ("weights[0,0]", "weights[0,1]")


def test_tensor_networks_measure_their_root():
    assert [str(getattr(ansatz, name)(4).observables[0]) for name in ("mps", "ttn", "mera")] == ["Z3", "Z3", "Z1"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: ansatz.strongly_entangling(3, 2, ranges=[1, 3]),
            r"ranges=\[1, 3\] must be 2 whole numbers from 1 to 2",
        ),
        (lambda: ansatz.strongly_entangling(3, 0), "layers=0 must be a whole number of at least 1"),
        (lambda: ansatz.basic_entangler(0), "wires=0 must be a whole number of at least 1"),
        (lambda: ansatz.basic_entangler(2, rotation="H"), "rotation='H' is not known"),
        (lambda: ansatz.ttn(6), "wires=6 must be 2, the width of a block, times a power of 2"),
        (lambda: ansatz.mera(3), "wires=3 must be 2, the width of a block, times a power of 2"),
        (lambda: ansatz.mps(5, wide_block()), "wires=5 must be a multiple of 2, half the width of a block"),
        (lambda: ansatz.mps(4, Circuit(3)), "block of 3 wires must have an even number of wires, at most 4"),
    ],
)
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(OptionError, match=message):
        build()
