"""Circuits in parallel are the same function as that many layers, on every backend."""

from __future__ import annotations

import copy

import pytest
import torch

from qkan.circuits import (
    Circuit,
    ParallelCircuits,
    QuantumLayer,
    Z,
    data,
    deploy,
    parameter,
    simulate,
    statevector,
    strongly_entangling,
)
from qkan.errors import DomainError, OptionError, ShapeError


def circuits() -> dict[str, Circuit]:
    entangling = strongly_entangling(4, 1)
    again = Circuit(4).angle_embedding(rotation="Y").then(strongly_entangling(4, 2))
    mixed = Circuit(2).ry(data(0) + parameter("a"), 0).ry(data(1), 1).cnot(0, 1).rx(parameter("b"), 1).measure()
    return {
        "amplitude": Circuit(4).amplitude_embedding().then(entangling),
        "amplitude, 2 layers": Circuit(4).amplitude_embedding().then(strongly_entangling(4, 2)),
        "padded": Circuit(3).amplitude_embedding(columns=5).then(strongly_entangling(3, 2)),
        "angle": Circuit(4).angle_embedding().then(entangling),
        "upload": Circuit(4).angle_embedding().then(entangling).then(again),
        "mixed": mixed,
        "pairs": Circuit(2).angle_embedding().ising_xx(parameter("a"), 0, 1).measure(Z(0) @ Z(1)),
        "seven wires": Circuit(7).angle_embedding().then(strongly_entangling(7, 1)),
        "one wire": Circuit(1).ry(data(0), 0).rx(parameter("a"), 0),
    }


@pytest.mark.parametrize("name", circuits())
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)], ids=str)
def test_equals_separate_layers(name, lead):
    circuit = circuits()[name]
    together = ParallelCircuits(circuit, 3, seed=0, dtype=torch.float64)
    apart = [QuantumLayer(circuit, seed=0, dtype=torch.float64) for _ in range(3)]
    for layer, theta in zip(apart, together.theta.detach(), strict=True):
        layer.theta.data.copy_(theta)
    x = torch.randn(*lead, together.in_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x.requires_grad_()
    parts = x.unflatten(-1, (3, -1)).unbind(-2)
    found = together(x)
    wanted = torch.cat([layer(part) for layer, part in zip(apart, parts, strict=True)], -1)
    assert found.shape == (*lead, together.out_features)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mine = torch.autograd.grad((found * weight).sum(), (x, together.theta))
    its = torch.autograd.grad((wanted * weight).sum(), (x, *(layer.theta for layer in apart)))
    torch.testing.assert_close(mine[0], its[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(mine[1], torch.stack(its[1:]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", circuits())
def test_equals_the_gate_by_gate_definition(name):
    circuit = circuits()[name]
    drawn = torch.Generator().manual_seed(3)
    x = torch.randn(4, 3, circuit.num_columns, dtype=torch.float64, generator=drawn)
    theta = torch.randn(3, circuit.num_parameters, dtype=torch.float64, generator=drawn)
    wanted = statevector.expectations(circuit, x, theta)
    torch.testing.assert_close(simulate.parallel(circuit, x, theta), wanted, rtol=0, atol=1e-12)


def test_the_circuits_of_the_publication_are_folded():
    for name in ("amplitude", "amplitude, 2 layers", "padded", "angle"):
        circuit = circuits()[name]
        assert simulate._prepared(circuit, torch.float32, torch.device("cpu")).folds_parallel, name


@pytest.mark.parametrize("name", ["amplitude", "angle"])
def test_other_backends(name):
    circuit = circuits()[name]
    exact = ParallelCircuits(circuit, 2, seed=0)
    device = ParallelCircuits(circuit, 2, "pennylane:default.qubit", seed=0)
    x = torch.randn(3, exact.in_features, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(device(x), exact(x), rtol=0, atol=1e-5)
    if name == "angle":
        x.requires_grad_()
        pairs = [torch.autograd.grad(layer(x).square().sum(), (x, layer.theta)) for layer in (device, exact)]
        for mine, wanted in zip(*pairs, strict=True):
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["amplitude", "angle"])
def test_deployment(name):
    layer = ParallelCircuits(circuits()[name], 3, seed=0, dtype=torch.float64)
    x = torch.randn(4, layer.in_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    run = deploy(layer, "torch", rows=x, progress=False)
    torch.testing.assert_close(run.model(x), layer(x), rtol=0, atol=1e-12)
    assert run.plan().circuits == 12
    with pytest.raises(DomainError, match="measured for 4 certain input rows"):
        run.model(x + 1)
    shots = deploy(layer, "torch", rows=x, shots=4000, seed=0, progress=False)
    mean, error = shots.model(x, return_std=True)
    assert ((mean - layer(x)).abs() < 5 * error.clamp_min(1e-3)).all()
    with pytest.raises(OptionError, match="give the input rows"):
        deploy(layer, "torch", progress=False)


def test_seeds_copies_and_mistakes():
    circuit = circuits()["amplitude"]
    state = torch.get_rng_state()
    layer = ParallelCircuits(circuit, 3, seed=4)
    assert torch.equal(layer.theta, ParallelCircuits(circuit, 3, seed=4).theta)
    assert layer.theta.unique().numel() == 36
    assert torch.equal(state, torch.get_rng_state())
    x = torch.randn(2, 48, generator=torch.Generator().manual_seed(1))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    with pytest.raises(ShapeError, match="must have 48"):
        layer(x[:, :16])
    with pytest.raises(OptionError, match="count=0"):
        ParallelCircuits(circuit, 0)
    with pytest.raises(DomainError, match="all zero"):
        layer(torch.zeros(1, 48))
    assert "48 -> 12, 3 circuits, wires=4, parameters=36" in repr(layer)
