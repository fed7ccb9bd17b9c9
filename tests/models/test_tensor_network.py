"""Quantum networks of tensor-network form against PennyLane, and what they can learn."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch

import qkan
from qkan.errors import OptionError, ShapeError
from qkan.models import TensorNetworkQNN

TEMPLATES = {"mera": qml.MERA, "mps": qml.MPS, "ttn": qml.TTN}


def block(weights, wires):
    qml.CNOT(wires=wires)
    qml.RY(weights[0], wires=wires[0])
    qml.RY(weights[1], wires=wires[1])


@pytest.mark.parametrize("network", ["mera", "mps", "ttn"])
def test_expectations_are_pennylanes(network):
    model = TensorNetworkQNN(9, network=network, layers=2, seed=0).double()
    wires = range(model.wires)
    weights = model.circuit.theta.detach().numpy().reshape(2, -1, 2)

    @qml.qnode(qml.device("default.qubit", wires=model.wires))
    def circuit(row):
        inner = list(wires)[-model.used :]
        qml.AmplitudeEmbedding(row, inner, normalize=True, pad_with=0.0)
        for layer in range(2):
            TEMPLATES[network](wires, 2, block, 2, template_weights=weights[layer])
        return qml.probs(wires=wires)

    random = np.random.default_rng(0)
    x = random.normal(size=(3, 9))
    found = model.circuit(torch.nn.functional.pad(torch.cat([torch.as_tensor(x), torch.ones(3, 1)], 1), (0, 6)))
    sign = _sign_of(model)
    for row, value in zip(x, found[:, 0], strict=True):
        assert abs(float(circuit(np.append(row, 1.0)) @ sign) - float(value.detach())) < 1e-12


def _sign_of(model: TensorNetworkQNN) -> np.ndarray:
    """Diagonal of the measured Z."""
    from qkan.circuits.statevector import expectation

    basis = torch.eye(2**model.wires, dtype=torch.complex128)
    return expectation(basis, model.circuit.circuit.observables[0], model.wires).numpy()


@pytest.mark.parametrize(("features", "used", "mps", "tree"), [(1, 2, 2, 2), (3, 2, 2, 2), (4, 3, 3, 4), (31, 5, 5, 8)])
def test_wires(features, used, mps, tree):
    for network, wires in (("mps", mps), ("ttn", tree), ("mera", tree)):
        model = TensorNetworkQNN(features, network=network, seed=0)
        assert (model.used, model.wires) == (used, wires)
        assert model(torch.zeros(2, features)).shape == (2, 1)


def test_the_length_of_a_row_is_not_lost():
    model = TensorNetworkQNN(3, network="ttn", seed=0)
    x = torch.tensor([[0.3, -0.2, 0.5]])
    assert abs(model(x) - model(4 * x)).item() > 1e-3


def test_more_layers_learn_a_rule_better():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=random)
    y = (x[:, 0] > x[:, 2]).long()

    def accuracy(layers):
        model = TensorNetworkQNN(3, network="ttn", layers=layers, seed=0)
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        model.fit(
            (x, y), steps=150, lr=0.05, loss_fn=lambda out, labels: loss(out[:, 0], labels.float()), progress=False
        )
        return ((model.predict(x)[:, 0] > 0).long() == y).float().mean()

    assert accuracy(1) > 0.65
    assert accuracy(3) > accuracy(1) + 0.1


def test_layers_have_parameters_of_their_own_and_are_saved(tmp_path):
    model = TensorNetworkQNN(3, 3, network="mera", layers=2, seed=0)
    names = model.circuit.circuit.parameters
    assert names[0] == "weights[0,0,0]"
    assert names[-1].startswith("weights[1,")
    model.save(tmp_path / "m")
    x = torch.ones(2, 3)
    torch.testing.assert_close(qkan.load(tmp_path / "m")(x), model(x))


def test_mistakes():
    with pytest.raises(OptionError, match="network='peps'"):
        TensorNetworkQNN(3, network="peps")
    with pytest.raises(ShapeError, match="must have 3"):
        TensorNetworkQNN(3, seed=0)(torch.zeros(2, 4))
