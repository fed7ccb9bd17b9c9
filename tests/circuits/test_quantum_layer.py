"""Circuits as layers of a network."""

import copy

import pytest
import torch

from qkan.circuits import Circuit, QuantumLayer, backends, expectations, strongly_entangling
from qkan.errors import OptionError, ShapeError

CIRCUIT = Circuit(3).angle_embedding().then(strongly_entangling(3, 2))


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_forward(lead):
    layer = QuantumLayer(CIRCUIT, seed=0)
    x = torch.rand(*lead, 3, generator=torch.Generator().manual_seed(0))
    assert layer(x).shape == (*lead, 3)
    torch.testing.assert_close(layer(x), expectations(CIRCUIT, x, layer.theta), rtol=0, atol=0)


def test_seeds_are_local_and_reproducible():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second, other = QuantumLayer(CIRCUIT, seed=1), QuantumLayer(CIRCUIT, seed=1), QuantumLayer(CIRCUIT, seed=2)
    QuantumLayer(CIRCUIT)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.theta, second.theta)
    assert not torch.equal(first.theta, other.theta)
    assert first.theta.min() >= 0
    assert 3 < first.theta.max() < 6.3


def test_state_dict_and_deepcopy():
    layer, other = QuantumLayer(CIRCUIT, seed=1), QuantumLayer(CIRCUIT, seed=2)
    twin = copy.deepcopy(layer)
    assert list(layer.state_dict()) == ["theta"]
    other.load_state_dict(layer.state_dict())
    x = torch.ones(2, 3)
    for same in (twin, other):
        torch.testing.assert_close(same(x), layer(x), rtol=0, atol=0)
    with torch.no_grad():
        twin.theta.add_(1)
    assert not torch.allclose(twin(x), layer(x))


def test_it_trains_and_takes_double():
    layer = QuantumLayer(CIRCUIT, seed=0, dtype=torch.float64)
    x = torch.rand(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = QuantumLayer(CIRCUIT, seed=5, dtype=torch.float64)(x).detach()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert layer.double()(x).dtype == torch.float64


def test_it_trains_on_shots():
    """Measured gradients bring the exact loss down."""
    layer = QuantumLayer(CIRCUIT, backends.get("torch", shots=400, seed=0), seed=0)
    exact = QuantumLayer(CIRCUIT, seed=5)
    x = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    target = exact(x).detach()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
    start, found = QuantumLayer(CIRCUIT, seed=0), QuantumLayer(CIRCUIT)
    found.load_state_dict(layer.state_dict())
    losses = [(one(x) - target).square().mean().item() for one in (start, found)]
    assert losses[1] < 0.2 * losses[0]


def test_repr_says_what_it_is():
    assert "3 -> 3, wires=3, parameters=18, backend='torch'" in repr(QuantumLayer(CIRCUIT, seed=0))


def test_mistakes_are_one_sentence():
    with pytest.raises(OptionError, match="backend 'brisket' is not known; choose one of torch, pennylane"):
        QuantumLayer(CIRCUIT, "brisket")
    with pytest.raises(OptionError, match="has 21 wires, but backend 'torch' has 20"):
        QuantumLayer(Circuit(21))
    with pytest.raises(ShapeError, match=r"data of shape \(2, 4\) must have 3 as the last dimension"):
        QuantumLayer(CIRCUIT)(torch.zeros(2, 4))
