"""The parameter-shift rule."""

import pytest
import torch

from qkan.circuits import Circuit, PauliSum, backends, data, gradients, parameter, simulate
from qkan.circuits.gates import KINDS
from qkan.errors import OptionError
from qkan.testing import random_circuit, random_inputs
from qkan.testing.random_circuits import GATES


class Exact(backends.Backend):
    """The simulator without its own gradients, which counts what it is asked."""

    name = "counting"
    capabilities = backends.Capabilities(exact=True, shots=True, wires=20)

    def __init__(self, **options):
        super().__init__(**options)
        self.sizes = []

    def execute(self, task):
        self.sizes.append(len(task.rows))
        return backends.get("torch").execute(task)


@pytest.mark.parametrize("name", [name for name in GATES if KINDS[name].angles])
def test_every_gate_by_its_own_rule(name):
    kind = KINDS[name]
    angles = [parameter(f"a{k}") for k in range(kind.angles)]
    circuit = Circuit(2).ry(0.4, 0).rx(1.2, 1).cnot(0, 1).add(name, range(kind.wires), *angles).ry(0.7, 0).rx(0.2, 1)
    circuit = circuit.measure(PauliSum.from_strings({"ZX": 1.0}), PauliSum.from_strings({"YZ": 0.4, "XI": 1.0}))
    theta = torch.tensor([0.9, -0.4, 2.2][: kind.angles], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.functional.jacobian(lambda t: gradients.expectations(Exact(), circuit, None, t), theta)
    plain = torch.autograd.functional.jacobian(lambda t: simulate.expectations(circuit, None, t), theta)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits(seed):
    circuit = random_circuit(seed, 1 + seed % 3, 10)
    amplitudes = any(gate.columns for gate in circuit.gates)
    x, theta = random_inputs(circuit, 4, seed=seed)
    x.requires_grad_(not amplitudes)
    theta.requires_grad_()
    inputs = [value for value in (x, theta) if value.requires_grad and value.numel()]
    if not inputs:
        return
    backend = Exact()
    found = torch.autograd.grad(
        gradients.expectations(backend, circuit, x, theta).square().sum(), inputs, materialize_grads=True
    )
    plain = torch.autograd.grad(simulate.expectations(circuit, x, theta).square().sum(), inputs, materialize_grads=True)
    for mine, its in zip(found, plain, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-10)


def test_one_submission_each_way():
    circuit = Circuit(2).angle_embedding().crz(parameter("a"), 0, 1).ry(2 * data(0) + parameter("a"), 0)
    x = torch.zeros(5, 2, requires_grad=True)
    backend = Exact()
    gradients.expectations(backend, circuit, x, torch.ones(1, requires_grad=True)).sum().backward()
    assert backend.sizes == [5, 5 * (2 + 2 + 4 + 2)]


def test_broadcast_inputs_get_their_own_gradient():
    """A column in several gates of a whole batch: simulators that broadcast over inputs refuse this derivative."""
    circuit = Circuit(2).rx(data(0), 0).ry(3 * data(0) + parameter("a"), 1).cnot(0, 1).rz(data(0), 1).ry(data(0), 1)
    circuit = circuit.measure(PauliSum.from_strings({"ZX": 1.0}))
    x = torch.linspace(-2, 2, 16, dtype=torch.float64)[:, None].requires_grad_()
    theta = torch.tensor([0.4], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: gradients.expectations(Exact(), circuit, x, theta), x)
    shared = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    expanded = shared.expand(7, 1)  # one number broadcast to all rows adds up
    gradients.expectations(Exact(), circuit, expanded, theta).sum().backward()
    one = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    gradients.expectations(Exact(), circuit, one, theta).sum().backward()
    torch.testing.assert_close(shared.grad, 7 * one.grad[0])


def test_no_rows_and_no_angles():
    circuit = Circuit(2).angle_embedding().ry(parameter("a"), 0).measure()
    x, theta = torch.zeros(0, 2, requires_grad=True), torch.ones(1, requires_grad=True)
    gradients.expectations(Exact(), circuit, x, theta).sum().backward()
    assert x.grad.shape == (0, 2)
    assert theta.grad.tolist() == [0.0]
    none = torch.zeros(3, 0, requires_grad=True)
    found = gradients.expectations(Exact(), Circuit(1).ry(0.3, 0), none)
    found.sum().backward()
    assert none.grad.shape == (3, 0)


def test_amplitudes_are_refused_in_one_sentence():
    circuit = Circuit(1).amplitude_embedding().ry(parameter("a"), 0)
    x = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(OptionError, match="amplitudes have no parameter-shift rule; use backend='torch'"):
        gradients.expectations(Exact(), circuit, x, torch.zeros(1))
    gradients.expectations(backends.get("torch"), circuit, x, torch.zeros(1)).sum().backward()
    assert x.grad is not None
