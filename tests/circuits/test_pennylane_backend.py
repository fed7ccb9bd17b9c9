"""PennyLane's devices as backends."""

import warnings

import numpy as np
import pennylane as qml
import pytest
import torch

import qkan
from qkan.circuits import Circuit, PauliSum, X, Y, Z, data, deploy, gradients, parameter, statevector
from qkan.circuits.backends import get
from qkan.circuits.backends._base import LocalJob
from qkan.circuits.backends.pennylane import PennyLaneBackend
from qkan.circuits.export import to_pennylane
from qkan.errors import BackendUnavailable, DomainError, JobError, LedgerError, OptionError
from qkan.testing import BackendContract, random_circuit, random_inputs
from qkan.testing.backend_contract import CIRCUIT


class OnDevice(BackendContract):
    kind = PennyLaneBackend.capabilities
    tolerance = 1e-10
    device = ""

    def make(self, **options):
        return get(f"pennylane:{self.device}", **options)


class TestDefaultQubit(OnDevice):
    device = "default.qubit"


class TestLightning(OnDevice):
    device = "lightning.qubit"


class TestDefaultMixed(OnDevice):
    device = "default.mixed"


class TestReference(OnDevice):
    """A device that expands broadcast programs and has no means of its own."""

    device = "reference.qubit"
    seeds = range(3)
    shots = 500


DEVICES = ["default.qubit", "lightning.qubit", "default.mixed"]


def agrees(backend, circuit: Circuit, rows: int = 3) -> None:
    x, theta = random_inputs(circuit, rows, seed=1)
    expected = statevector.expectations(circuit, x, theta).expand(rows, -1)
    np.testing.assert_allclose(backend.expectations(circuit, x, theta).values, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_programs_that_devices_might_stumble_over(device):
    backend = get(f"pennylane:{device}")
    agrees(backend, Circuit(2).h(0).barrier().ry(data(0), 0).barrier().cnot(0, 1).measure(Z(1), X(0) @ Y(1)))
    late = Circuit(3).ry(data(0), 0).barrier().amplitude_embedding([2, 1], columns=3, start=1).cnot(0, 1).measure()
    agrees(backend, late)
    two = Circuit(4).amplitude_embedding([3, 1], columns=3).amplitude_embedding([0], start=3).cnot(0, 2).measure()
    agrees(backend, two)
    numbers = Circuit(2).ry(data(0), 0).measure(PauliSum(()), PauliSum.from_strings({"II": 0.5}), Z(1) - Z(1))
    agrees(backend, numbers)
    agrees(backend, Circuit(2).ry(0.3, 0).measure(Z(0), X(1)))
    agrees(backend, Circuit(1).ry(parameter("a"), 0), rows=1)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_chunked_and_repeated_without_a_trace(device, monkeypatch):
    circuit = random_circuit(4, 3, 10)
    x, theta = random_inputs(circuit, 5, seed=2)
    whole = get(f"pennylane:{device}").expectations(circuit, x, theta).values
    monkeypatch.setattr("qkan.circuits.backends.pennylane._CHUNK", 128)
    np.testing.assert_allclose(get(f"pennylane:{device}").expectations(circuit, x, theta).values, whole, atol=1e-12)
    constant = Circuit(2).ry(1.0, 0).measure(Z(0), X(0) @ Z(1))
    found = get(f"pennylane:{device}", shots=100, seed=1).expectations(constant, torch.zeros(5, 0))
    assert found.values.shape == (5, 2)
    assert len(set(found.values[:, 0])) > 1  # every row is measured by itself
    assert (np.abs(found.values - [np.cos(1.0), np.sin(1.0)]) < 5 * np.sqrt(found.variances)).all()


@pytest.mark.parametrize("device", [*DEVICES, "reference.qubit"])
def test_seeds_decide_and_nothing_global_moves(device):
    x, theta = torch.tensor([[0.4, -1.1], [0.2, 0.3]]), torch.tensor([0.3, 1.0])
    before = np.random.get_state()  # noqa: NPY002 - that it stays as it is, is what is tested
    found = [get(f"pennylane:{device}", shots=200, seed=seed).expectations(CIRCUIT, x, theta) for seed in (7, 7, 8)]
    after = np.random.get_state()  # noqa: NPY002
    assert after[2] == before[2]
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert (found[0].values != found[2].values).any()
    assert found[0].metadata == {"backend": f"pennylane:{device}", "shots": 200, "seed": found[1].metadata["seed"]}
    assert isinstance(found[0].metadata["seed"], int)


def test_a_device_without_a_seed_says_so():
    found = get("pennylane:null.qubit", shots=10, seed=3).expectations(Circuit(2).h(0).measure(Z(0) @ Z(1)))
    assert found.metadata == {"backend": "pennylane:null.qubit", "shots": 10, "seed": None}
    assert found.values.tolist() == [[1.0]]  # it computes nothing and answers with zeros, on which both signs are +1


@pytest.mark.parametrize(("device", "shots", "limit"), [("default.qubit", 4000, 0.25), ("lightning.qubit", None, 1e-8)])
def test_gradients_with_respect_to_batches_of_inputs(device, shots, limit):
    """PennyLane's own parameter-shift rule refuses broadcast inputs."""
    circuit = Circuit(2).angle_embedding().ry(parameter("a"), 0).crx(data(0), 0, 1).measure(Z(1))
    x = torch.tensor([[0.4, -1.1], [2.0, 0.3], [-0.6, 0.8]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    backend = get(f"pennylane:{device}", shots=shots, seed=0)
    found = torch.autograd.grad(gradients.expectations(backend, circuit, x, theta).sum(), (x, theta))
    exact = torch.autograd.grad(statevector.expectations(circuit, x, theta).sum(), (x, theta))
    for mine, its in zip(found, exact, strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=limit)
    node = to_pennylane(circuit, qml.device(device, wires=2), diff_method="parameter-shift")
    with pytest.raises(NotImplementedError, match="broadcast"):
        torch.autograd.grad(node(x, theta)[0].sum(), x)


def test_a_batch_of_inputs_is_trained():
    """Inputs and parameters follow the slope measured with shots."""
    circuit = Circuit(1).ry(data(0), 0).ry(parameter("a"), 0)
    x = torch.tensor([[0.3], [1.0], [-0.4]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    backend = get("pennylane:default.qubit", shots=500, seed=0)
    optimiser = torch.optim.SGD([x, theta], lr=0.3)
    for _ in range(30):
        optimiser.zero_grad()
        gradients.expectations(backend, circuit, x, theta).sum().backward()
        optimiser.step()
    assert statevector.expectations(circuit, x, theta).mean() < -0.95


def test_warnings_are_errors_here_and_none_comes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for device in DEVICES:
            get(f"pennylane:{device}", shots=10).expectations(Circuit(1).ry(data(0), 0), torch.zeros(2, 1))


def test_options_reach_the_device():
    backend = get("pennylane:default.qubit", wires=3, max_workers=None)
    assert backend.capabilities.wires == 3
    agrees(backend, Circuit(2).ry(data(0), 0).cnot(0, 1).measure())
    with pytest.raises(OptionError, match=r"the circuit has 4 wires, but backend 'pennylane:default.qubit' has 3"):
        backend.expectations(Circuit(4))
    assert get("pennylane", device="lightning.qubit").name == "pennylane:lightning.qubit"
    assert get("pennylane").capabilities.wires == 20
    assert [get(f"pennylane:{name}").capabilities.wires for name in DEVICES] == [20, 26, 10]


def test_a_plugin_may_cost_money(monkeypatch, tmp_path):
    """It is asked for with a ledger only, and a batch whose results were lost runs again in the same call."""
    monkeypatch.setattr("qkan.circuits.backends.pennylane._LOCAL", ("lightning.",))
    backend, model = get("pennylane:default.qubit", shots=50, wires=2), qkan.QKAN([1, 1], reps=1, seed=0)
    assert backend.capabilities.network
    assert not get("pennylane:lightning.qubit").capabilities.network
    with pytest.raises(OptionError, match="give ledger=PATH, so that none is paid for twice"):
        deploy(model, backend, progress=False)
    options = {"ledger": tmp_path / "run.sqlite", "progress": False, "seed": 0, "delay": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(LocalJob, "result", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deploy(model, backend, **options)
    assert deploy(model, backend, **options).report().blocks[0].rms < 0.5
    with pytest.raises(LedgerError, match=r"was started with options=\{'wires': '2'\}, not \{'wires': '3'\}"):
        deploy(model, get("pennylane:default.qubit", shots=50, wires=3), **options)


def test_mistakes_of_ones_own_are_one_sentence():
    with pytest.raises(BackendUnavailable, match=r"device 'braket.aws.qubit' is not installed: here are default.cliff"):
        get("pennylane:braket.aws.qubit", device_arn="x")
    with pytest.raises(BackendUnavailable, match=r"device 'default.qutip' is not installed.*pip install amazon-braket"):
        PennyLaneBackend.require("default.qutip")
    with pytest.raises(OptionError, match=r"'default.qubit' refuses its options: .*unexpected keyword.*'colour'"):
        get("pennylane:default.qubit", colour="red")
    with pytest.raises(OptionError, match="wires='two' must be a whole number"):
        get("pennylane:default.qubit", wires="two")
    with pytest.raises(DomainError, match="all zero"):
        get("pennylane").expectations(Circuit(1).amplitude_embedding(), torch.zeros(1, 2))


def test_devices_that_do_not_start_and_programs_that_do_not_run():
    with pytest.raises(BackendUnavailable, match=r"'default.clifford' cannot be started here: .* requires stim"):
        get("pennylane:default.clifford")
    with pytest.raises(JobError, match=r"'default.gaussian' failed: "):
        get("pennylane:default.gaussian").expectations(Circuit(1).h(0))
