"""Exact expectations against PennyLane, Qiskit and the gate-by-gate simulation, with their gradients."""

import itertools

import numpy as np
import pytest
import torch
from circuit_cases import by_pennylane, by_qiskit
from hypothesis import given, settings
from hypothesis import strategies as st

from qkan.circuits import Circuit, PauliSum, X, Y, Z, basic_entangler, data, parameter, strongly_entangling
from qkan.circuits.gates import KINDS
from qkan.circuits.simulate import expectations
from qkan.circuits.statevector import expectations as plain
from qkan.circuits.statevector import state
from qkan.errors import DomainError, OptionError, ShapeError
from qkan.testing import random_circuit, random_inputs
from qkan.testing.random_circuits import GATES


def check(circuit: Circuit, *lead: int, seed: int = 0, per_row: bool = False) -> None:
    """Outputs and gradients of the fast path against those gate by gate."""
    x, theta = random_inputs(circuit, *lead, seed=seed)
    if per_row:
        theta = theta + torch.rand(*lead, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    leaves = [x.requires_grad_(), theta.requires_grad_()]
    fast, slow = expectations(circuit, *leaves), plain(circuit, *leaves)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    weights = torch.linspace(0.5, 1.5, fast.numel(), dtype=torch.float64).view_as(fast)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]  # where nothing depends on the leaves
    found, expected = (
        torch.autograd.grad((out * weights).sum(), leaves, allow_unused=True, materialize_grads=True)
        if out.requires_grad
        else zeros
        for out in (fast, slow)
    )
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("source", ["constant", "parameter", "data"])
@pytest.mark.parametrize("name", GATES)
def test_every_gate_agrees_with_pennylane_and_qiskit(name, source):
    kind = KINDS[name]
    pick = {"constant": lambda k: 0.4 + k, "parameter": lambda k: parameter(f"a{k}"), "data": lambda k: 2 * data(k) - 1}
    circuit = Circuit(2).ry(0.3, 0).rx(1.1, 1).rz(0.2, 0).cnot(1, 0)
    circuit = circuit.add(name, [1, 0][: kind.wires], *(pick[source](k) for k in range(kind.angles))).ry(0.4, 0)
    circuit = circuit.measure(*(PauliSum.from_strings({a + b: 1.0}) for a, b in itertools.product("IXYZ", repeat=2)))
    x, theta = random_inputs(circuit)
    found = expectations(circuit, x, theta).numpy()
    np.testing.assert_allclose(found, by_pennylane(circuit, x, theta), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, by_qiskit(circuit, x, theta), rtol=0, atol=1e-10)
    check(circuit, 3)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 20))
def test_random_circuits_agree_with_pennylane_and_qiskit(seed, wires, length):
    circuit = random_circuit(seed, wires, length)
    x, theta = random_inputs(circuit, seed=seed)
    found = expectations(circuit, x, theta).numpy()
    np.testing.assert_allclose(found, by_pennylane(circuit, x, theta), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, by_qiskit(circuit, x, theta), rtol=0, atol=1e-10)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 25), st.booleans(), st.booleans())
def test_random_circuits_agree_gate_by_gate(seed, wires, length, diagonal, per_row):
    check(random_circuit(seed, wires, length, diagonal), 3, seed=seed, per_row=per_row)


@pytest.mark.parametrize("wires", [1, 2, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("embedding", ["angle", "amplitude", "two rotations"])
def test_layered_circuits_agree_gate_by_gate(embedding, wires):
    circuit = Circuit(wires)
    circuit = circuit.amplitude_embedding() if embedding == "amplitude" else circuit.angle_embedding()
    if embedding == "two rotations":  # at 5 and 6 wires too many products for one sum of sines
        circuit = circuit.angle_embedding(rotation="Z", start=wires)
    circuit = circuit.then(strongly_entangling(wires, 2))
    for per_row in (False, True):
        check(circuit, 2, per_row=per_row)
    check(circuit.measure(X(0), Y(wires - 1), 0.3 * Z(0) + 2 * X(wires - 1)), 2)


@pytest.mark.parametrize("rows", [3, 40])
def test_data_uploaded_again(rows):
    circuit = strongly_entangling(3, 2)
    for _ in range(2):
        again = basic_entangler(3, 2).gates
        circuit = circuit.then(Circuit(3, (*Circuit(3).angle_embedding(rotation="Y").gates, *again)).measure())
    check(circuit, rows)


def test_wide_circuits_agree_gate_by_gate():
    circuit = Circuit(12).angle_embedding().then(basic_entangler(12, 2)).crx(data(0), 3, 9).cz(1, 11).swap(0, 10)
    check(circuit.measure(Z(0), X(3) @ Y(11)), 2)
    check(Circuit(11).amplitude_embedding([10, 2], columns=3).cnot(2, 0).measure(), 2)


def test_two_embeddings_of_amplitudes():
    circuit = Circuit(4).amplitude_embedding([3, 1], columns=3).amplitude_embedding([0], start=3).ry(data(1), 1)
    check(circuit.cnot(0, 2).measure(), 4)


def test_amplitudes_on_a_wire_in_the_middle():
    """Their places in the state, 0 and 2, are not its first ones."""
    check(Circuit(3).amplitude_embedding([1]).y(1).t(2).measure(), 4)


@pytest.mark.parametrize("seed", range(6))
def test_barriers_do_nothing(seed):
    """Anywhere in a circuit, for values and gradients, also before and after embedded amplitudes."""
    circuit = random_circuit(seed, 1 + seed % 3, 8)
    gates = [gate for one in circuit.gates for gate in (*Circuit(circuit.wires).barrier().gates, one)]
    barred = Circuit(circuit.wires, tuple(gates), circuit.observables).barrier()
    check(barred, 3, seed=seed)
    x, theta = random_inputs(circuit, 3, seed=seed)
    torch.testing.assert_close(state(barred, x, theta), state(circuit, x, theta), rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(4))
def test_gradcheck(seed):
    circuit = random_circuit(seed, 3, 12)
    x, theta = random_inputs(circuit, 2, seed=seed)
    leaves = (x.requires_grad_(), theta.requires_grad_())
    assert torch.autograd.gradcheck(lambda *given: expectations(circuit, *given), leaves)


def test_second_derivatives():
    circuit = Circuit(2).angle_embedding().then(strongly_entangling(2, 1))
    x, theta = random_inputs(circuit, 2)
    leaves = (x.requires_grad_(), theta.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda *given: expectations(circuit, *given), leaves)


@pytest.mark.parametrize("embedding", ["angle", "amplitude"])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_leading_shapes(lead, embedding):
    circuit = Circuit(3).angle_embedding() if embedding == "angle" else Circuit(3).amplitude_embedding()
    circuit = circuit.then(strongly_entangling(3, 2))
    x, theta = random_inputs(circuit, *lead)
    found = expectations(circuit, x.requires_grad_(), theta.requires_grad_())
    assert found.shape == (*lead, 3)
    torch.testing.assert_close(found, plain(circuit, x, theta), rtol=0, atol=1e-12)
    by_x, by_theta = torch.autograd.grad(found.sum(), (x, theta))
    assert by_x.shape == x.shape
    assert bool(by_theta.any()) == (lead != (0,))


def test_data_and_parameters_broadcast():
    circuit = Circuit(2).angle_embedding().then(strongly_entangling(2, 1))
    x, theta = random_inputs(circuit, 3)
    many = theta + torch.arange(4, dtype=torch.float64)[:, None, None]  # (4, 1, P)
    found = expectations(circuit, x, many)
    assert found.shape == (4, 3, 2)
    torch.testing.assert_close(found[2], expectations(circuit, x, many[2, 0]), rtol=0, atol=1e-12)
    assert expectations(circuit, x[0], many[:, 0]).shape == (4, 2)


def test_circuits_without_data_or_parameters():
    assert expectations(Circuit(1).h(0).measure(X(0), Z(0))).tolist() == pytest.approx([1, 0], abs=1e-6)
    assert expectations(Circuit(2).x(1).measure(), torch.zeros(3, 0)).tolist() == [[1, -1]] * 3
    theta = torch.rand(4, 3, 6, generator=torch.Generator().manual_seed(0))
    assert expectations(strongly_entangling(2, 1), parameters=theta).shape == (4, 3, 2)
    assert expectations(Circuit(1).measure(Z(0) - Z(0))).tolist() == [0]


def test_types():
    circuit = Circuit(2).angle_embedding().then(strongly_entangling(2, 1))
    x, theta = random_inputs(circuit, 4)
    exact = expectations(circuit, x, theta)
    single = expectations(circuit, x.float(), theta.float())
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-6)
    assert expectations(circuit, x.float(), theta).dtype == torch.float64
    assert state(circuit, x.float(), theta.float()).dtype == torch.complex64


def test_constants_of_inference_serve_training_afterwards():
    circuit = Circuit(2).angle_embedding().then(strongly_entangling(2, 3))  # of no other test
    x, theta = random_inputs(circuit, 4)
    with torch.inference_mode():
        first = expectations(circuit, x, theta)
    second = expectations(circuit, x, theta.requires_grad_())
    second.sum().backward()
    torch.testing.assert_close(first.clone(), second.detach(), rtol=0, atol=0)
    assert theta.grad.abs().sum() > 0


def test_rows_are_independent():
    circuit = Circuit(3).amplitude_embedding().then(strongly_entangling(3, 2))
    x, theta = random_inputs(circuit, 40)
    torch.testing.assert_close(
        expectations(circuit, x, theta)[17], expectations(circuit, x[17], theta), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("simulator", [expectations, plain])
def test_more_than_twenty_wires_are_refused(simulator):
    with pytest.raises(
        OptionError, match="a state vector of 21 wires does not fit; exact simulation takes up to 20 wires"
    ):
        simulator(Circuit(21).h(0))


def test_twenty_wires_fit():
    circuit = Circuit(20).h(0).cnot(0, 19).ry(data(0), 7).measure(Z(0) @ Z(19), Z(7))
    found = expectations(circuit, torch.tensor([0.3], dtype=torch.float64))
    np.testing.assert_allclose(found, [1, np.cos(0.3)], atol=1e-12)


@pytest.mark.parametrize("simulator", [expectations, plain])
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_amplitudes_must_make_a_state(simulator, bad):
    x = torch.ones(3, 4)
    x[1] = bad
    with pytest.raises(DomainError, match="amplitudes of a row are all zero or not finite"):
        simulator(Circuit(2).amplitude_embedding(), x)


def test_data_of_another_width_are_refused():
    with pytest.raises(ShapeError, match=r"data of shape \(3,\) must have 2 as the last dimension"):
        expectations(Circuit(2).angle_embedding(), torch.zeros(3))
