"""Qiskit Aer with and without the noise of a device."""

import json
import sys

import numpy as np
import pytest
import torch
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from qkan.circuits import Circuit, X, Y, Z, backends, data, devices, parameter, statevector
from qkan.circuits.backends import _compile, _noise
from qkan.circuits.backends.aer import AerBackend
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import BackendUnavailable, JobError, OptionError
from qkan.testing import BackendContract, random_circuit, random_inputs
from qkan.testing.backend_contract import CIRCUIT


class TestAer(BackendContract):
    kind = AerBackend.capabilities
    tolerance = 1e-10

    def make(self, **options):
        return backends.get("aer", **options)


@pytest.fixture(scope="module")
def manila():
    return devices.fake("FakeManilaV2")


def rows(circuit, count, seed=0):
    x, theta = random_inputs(circuit, count, seed=seed)
    return x, theta


@pytest.mark.parametrize("method", ["statevector", "density_matrix", "matrix_product_state"])
def test_methods(method):
    """Every gate, amplitudes among them, with free angles: Aer 0.18 binds controlled rotations wrongly by itself."""
    for seed in range(12):
        circuit = random_circuit(seed, 1 + seed % 3, 8)
        x, theta = rows(circuit, 3, seed)
        found = AerBackend(method=method).expectations(circuit, x, theta).values
        expected = statevector.expectations(circuit, x, theta).expand(3, -1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        if seed < 3:
            shots = AerBackend(method=method, shots=500, seed=seed).expectations(circuit, x, theta)
            assert (np.abs(shots.values - expected.numpy()) <= 5 * np.sqrt(shots.variances) + 1e-9).all()


def test_shots_of_many_wires():
    """Where no table of all outcomes is possible: 40 wires apart, and 40 in one entangled state."""
    apart = Circuit(40).angle_embedding(rotation="Y").measure(*(Z(w) for w in range(40)), Z(3) @ X(20) @ Z(39))
    x = torch.linspace(-3, 3, 80, dtype=torch.float64).reshape(2, 40)
    found = AerBackend(shots=2000, seed=1).expectations(apart, x)
    expected = np.cos(x.numpy())
    extra = (expected[:, 3] * np.sin(x[:, 20].numpy()) * expected[:, 39])[:, None]
    expected = np.concatenate([expected, extra], axis=1)
    np.testing.assert_allclose(AerBackend().expectations(apart, x).values, expected, rtol=0, atol=1e-9)
    assert (np.abs(found.values - expected) <= 5 * np.sqrt(found.variances)).all()
    chain = Circuit(40).ry(data(0), 0)
    for wire in range(39):
        chain = chain.cnot(wire, wire + 1)
    chain = chain.measure(Z(0), Z(39), Z(0) @ Z(39))
    found = AerBackend(shots=500, seed=1).expectations(chain, x[:, :1])
    assert (
        np.abs(found.values - [[np.cos(a), np.cos(a), 1.0] for a in x[:, 0].numpy()]) <= 5 * np.sqrt(found.variances)
    ).all()


# -- noise -----------------------------------------------------------------------------------------------------------


def test_reduced_noise_is_the_devices_own(manila):
    """The model of three relabelled qubits gives what the whole device's gives, compiled circuit in full."""
    full = AerSimulator(method="density_matrix", noise_model=NoiseModel.from_backend(manila))
    for seed in range(3):
        circuit = random_circuit(seed, 3, 6, diagonal=True)
        x, theta = rows(circuit, 1, seed)
        backend = AerBackend(noise=manila, layout=[3, 2, 1])
        found = backend.expectations(circuit, x, theta).values[0]
        # What the backend compiles with free angles, with the numbers put in afterwards.
        task_circuit, task_rows = by_rows(circuit, x, theta)
        amplitudes = task_rows[0] if _compile.has_amplitudes(task_circuit) else None
        isa = _compile.onto_device(_compile.free(task_circuit, amplitudes), manila.target, [3, 2, 1], 1)
        isa = bound(isa, task_rows, 0)
        ends = _compile.places(isa, 3)
        isa.save_probabilities(ends, label="p")
        chances = full.run(isa, shots=1).result().data(0)["p"].reshape(2, 2, 2)  # wire 2 first
        for axis, qubit in zip((2, 1, 0), ends, strict=True):
            error = manila.target["measure"][(qubit,)].error
            chances = np.moveaxis(np.tensordot(chances, [[1 - error, error], [error, 1 - error]], (axis, 0)), -1, axis)
        signs = np.array([1, -1])
        expected = [np.einsum("cba,a", chances, signs).sum(), np.einsum("cba,b", chances, signs).sum()]
        np.testing.assert_allclose(found[:2], expected, rtol=0, atol=1e-10)


def by_rows(circuit, x, theta):
    return by_angle(circuit), rows_of(circuit, x, theta).numpy()


def bound(isa, task_rows, place):
    return isa.assign_parameters({one: value[place] for one, value in _compile.bindings(isa, task_rows).items()})


def test_exact_values_are_the_mean_of_measurements_of_the_device(manila):
    """Aer's own simulator of the device, circuit compiled and measured shot by shot, misread bits included."""
    backend = AerBackend(noise=manila)
    x, theta = torch.tensor([[0.4, -1.1], [2.0, 0.3]], dtype=torch.float64), torch.tensor([0.3, 1.0])
    circuit = CIRCUIT.measure(Z(0), Z(1), Z(0) @ Z(1))
    found = backend.expectations(circuit, x, theta)
    layout = found.metadata["layout"]
    task_circuit, task_rows = by_rows(circuit, x, theta.double())
    isa = _compile.onto_device(_compile.free(task_circuit), manila.target, layout, 1)
    ends = _compile.places(isa, 2)
    isa.measure_all()
    simulator = AerSimulator.from_backend(manila, method="density_matrix")
    result = simulator.run(
        [bound(isa, task_rows, k) for k in (0, 1)],
        shots=40000,
        seed_simulator=5,
    ).result()  # fmt: skip
    for k in (0, 1):
        words, counts = zip(*result.get_counts(k).items(), strict=True)
        signs = np.array([[1 - 2 * int(word[::-1][qubit]) for qubit in ends] for word in words])
        signs = np.column_stack([signs, signs.prod(1)])
        mean = np.array(counts) @ signs / 40000
        assert (np.abs(mean - found.values[k]) < 5 * np.sqrt((1 - mean**2) / 40000)).all()
    plain = statevector.expectations(circuit, x, theta.double()).numpy()
    assert (np.abs(found.values - plain) > 0.01).any()


def test_shots_agree_with_exact_values(manila):
    x, theta = torch.tensor([[0.4, -1.1], [2.0, 0.3]]), torch.tensor([0.3, 1.0])
    exact = AerBackend(noise=manila).expectations(CIRCUIT, x, theta)
    assert not exact.variances.any()
    for method in ("automatic", "matrix_product_state"):
        found = AerBackend(noise=manila, shots=1500, seed=3, method=method).expectations(CIRCUIT, x, theta)
        assert (np.abs(found.values - exact.values) < 5 * np.sqrt(found.variances)).all()
        again = AerBackend(noise=manila, shots=1500, seed=3, method=method).expectations(CIRCUIT, x, theta)
        np.testing.assert_array_equal(found.values, again.values)


def test_misread_bits_need_not_be_symmetric():
    class Readout(InstructionProperties):
        prob_meas1_prep0, prob_meas0_prep1 = 0.02, 0.1

    backend = GenericBackendV2(2, seed=1)
    for q in (0, 1):
        backend.target.update_instruction_properties("measure", (q,), Readout(error=0.06))
        for name in ("sx", "x"):
            backend.target.update_instruction_properties(name, (q,), InstructionProperties(error=0.0, duration=0.0))
    circuit = Circuit(2).x(0).ry(0.0, 1).measure(Z(0), Z(1), Z(0) @ Z(1))
    found = AerBackend(noise=backend).expectations(circuit).values[0]
    np.testing.assert_allclose(found, [-0.8, 0.96, -0.8 * 0.96], rtol=0, atol=1e-9)
    shots = AerBackend(noise=backend, method="matrix_product_state", shots=20000, seed=1).expectations(circuit)
    assert (np.abs(shots.values[0] - found) < 5 * np.sqrt(shots.variances[0])).all()


def test_numbers_enter_after_compiling(manila):
    """All rotations stay gates with their noise, and no gate is merged across a barrier."""
    target = manila.target
    layer = Circuit(1).ry(data(0), 0)
    folded = layer.barrier().ry(-data(0), 0).barrier().ry(data(0), 0)
    counts = [
        _compile.onto_device(_compile.free(by_rows(circuit, torch.tensor([0.3]), None)[0]), target, [0], 1).count_ops()
        for circuit in (layer, folded)
    ]
    assert counts[0]["sx"] > 0
    assert counts[1]["sx"] == 3 * counts[0]["sx"]
    x = torch.tensor([[0.3]], dtype=torch.float64)
    one, three = (AerBackend(noise=manila).expectations(circuit, x).values[0, 0] for circuit in (layer, folded))
    pulse = devices._errors(target, "sx")[devices.rank_qubits(target)[0]]
    assert 2 * pulse < one - three < 10 * pulse


def test_packed_circuits_are_the_separate_ones():
    """Forty one-wire circuits side by side, in one matrix product state and taken apart, against each by itself."""
    backend = AerBackend(noise="FakeSherbrooke")
    wires = 40
    packed = Circuit(wires)
    for wire in range(wires):
        packed = packed.ry(data(wire), wire).rz(0.4, wire).ry(0.7 * data(wire) + 0.2, wire)
    packed = packed.measure()
    x = torch.linspace(-2, 2, wires, dtype=torch.float64)[None]
    exact = backend.expectations(packed, x)
    layout = exact.metadata["layout"]
    assert layout == devices.rank_qubits(backend.noise.target)[:wires]
    single = Circuit(1).ry(data(0), 0).rz(0.4, 0).ry(0.7 * data(0) + 0.2, 0)
    for wire in (0, 1, 17, 39):
        alone = AerBackend(noise="FakeSherbrooke", layout=[layout[wire]]).expectations(single, x[:, wire : wire + 1])
        np.testing.assert_allclose(alone.values[0, 0], exact.values[0, wire], rtol=0, atol=1e-10)
    for method, shots in (("automatic", 1000), ("matrix_product_state", 150)):
        found = AerBackend(noise="FakeSherbrooke", shots=shots, seed=2, method=method).expectations(packed, x)
        z = (found.values - exact.values) / np.sqrt(found.variances)
        assert np.abs(z).max() < 5
        assert 0.7 < z.std() < 1.3


def test_amplitudes_with_noise(manila):
    circuit = Circuit(2).amplitude_embedding(columns=3).ry(parameter("a"), 0).measure(X(0), Z(1))
    x, theta = torch.tensor([[0.3, -1.0, 0.4], [2.0, 0.1, 0.0]]), torch.tensor([0.7])
    plain = statevector.expectations(circuit, x.double(), theta.double()).numpy()
    exact = AerBackend(noise=manila).expectations(circuit, x, theta)
    assert (np.abs(exact.values - plain) < 0.3).all()
    found = AerBackend(noise=manila, shots=3000, seed=1).expectations(circuit, x, theta)
    assert (np.abs(found.values - exact.values) < 5 * np.sqrt(found.variances)).all()
    assert len(set(found.metadata["layout"])) == 2


def test_layout_of_entangled_circuits_is_the_transpilers(manila):
    circuit = Circuit(3).ry(data(0), 0).cnot(0, 1).cnot(1, 2).cnot(0, 2).measure(Z(0) @ X(2), Y(1), X(1))
    x = torch.tensor([[0.4], [1.0]], dtype=torch.float64)
    found = AerBackend(noise=manila).expectations(circuit, x)
    assert len(set(found.metadata["layout"])) == 3
    assert np.abs(found.values - statevector.expectations(circuit, x).numpy()).max() < 0.25
    fixed = AerBackend(noise=manila, layout=[4, 3, 2]).expectations(circuit, x)
    assert fixed.metadata["layout"] == [4, 3, 2]


def test_wires_are_followed_through_swaps(manila):
    """A line of qubits: the gates of this layout need swaps, after which wires lie elsewhere."""
    circuit = Circuit(3).x(0).ry(data(0), 1).cnot(0, 2).cnot(1, 0).cnot(1, 2).measure()
    x = torch.tensor([[0.0], [np.pi]], dtype=torch.float64)
    plain = statevector.expectations(circuit, x).numpy()
    np.testing.assert_allclose(plain, [[-1, 1, -1], [1, -1, 1]], atol=1e-9)
    for layout in ([4, 0, 2], [0, 4, 1], [3, 1, 4]):
        compiled = _compile.onto_device(_compile.free(by_rows(circuit, x, None)[0]), manila.target, layout, 1)
        assert _compile.places(compiled, 3) != layout
        found = AerBackend(noise=manila, layout=layout).expectations(circuit, x).values
        assert np.abs(found - plain).max() < 0.5


def test_barriers_connect_nothing():
    circuit = Circuit(12).angle_embedding(rotation="Y").barrier().angle_embedding(rotation="X").measure()
    found = AerBackend(noise="FakeSherbrooke").expectations(circuit, torch.linspace(-1, 1, 12)[None])
    expected = statevector.expectations(circuit, torch.linspace(-1, 1, 12)[None]).numpy()
    assert np.abs(found.values - expected).max() < 0.1


def test_relabelled_noise_is_that_of_the_physical_qubits(manila):
    def errors(model):
        return {
            (one["type"], word, tuple(one["gate_qubits"][0])): one["probabilities"]
            for one in model.to_dict()["errors"]
            for word in one["operations"]
        }

    full, part = errors(NoiseModel.from_backend(manila)), errors(_noise.device(manila).noise((3, 1, 2)))
    back = {0: 3, 1: 1, 2: 2}
    inside = {key for key in full if set(key[2]) <= set(back.values())}
    assert {(kind, word, tuple(back[q] for q in qubits)) for kind, word, qubits in part} == inside
    for (kind, word, qubits), chances in part.items():
        np.testing.assert_allclose(chances, full[kind, word, tuple(back[q] for q in qubits)], rtol=1e-12)


# -- options ---------------------------------------------------------------------------------------------------------


def test_metadata_is_json(manila):
    found = AerBackend(noise=manila, shots=10, seed=1, layout=[2, 3]).expectations(Circuit(1).ry(0.3, 0))
    metadata = json.loads(json.dumps(found.metadata))
    assert metadata.pop("seconds") > 0
    assert metadata == {
        "backend": "aer", "method": "automatic", "device": "CPU", "noise": "fake_manila", "layout": [2], "shots": 10
    }  # fmt: skip
    assert AerBackend(noise=manila).capabilities.noise
    assert AerBackend(noise=manila).capabilities.wires == 5
    assert AerBackend(noise=manila, layout=[1, 2]).capabilities.wires == 2
    assert AerBackend(method="statevector", max_wires=30).capabilities.wires == 30
    assert backends.get("aer", noise="FakeSherbrooke", method="matrix_product_state").capabilities.wires == 127


def test_unknown_calibration_is_no_error():
    backend = GenericBackendV2(2, seed=1)
    backend.target.update_instruction_properties("measure", (0,), InstructionProperties(error=float("nan")))
    backend.target.update_instruction_properties("sx", (0,), None)
    found = AerBackend(noise=backend, layout=[0]).expectations(Circuit(1).ry(0.3, 0)).values
    assert abs(found[0, 0] - np.cos(0.3)) < 1e-2
    assert (_noise.device(backend).misread(0) == np.eye(2)).all()


def test_mistakes(manila, monkeypatch):
    with pytest.raises(OptionError, match="method='magic' is not known; choose one of 'automatic'"):
        AerBackend(method="magic")
    with pytest.raises(OptionError, match="device='TPU'"):
        AerBackend(device="TPU")
    if "GPU" not in AerSimulator().available_devices():
        with pytest.raises(BackendUnavailable, match="Aer finds no GPU here, only CPU"):
            AerBackend(device="GPU")
    with pytest.raises(OptionError, match="layout names physical qubits"):
        AerBackend(layout=[0])
    for layout in ([0, 0], [5], [-1], []):
        with pytest.raises(OptionError, match="layout="):
            AerBackend(noise=manila, layout=layout)
    with pytest.raises(OptionError, match="noise=7 must be the name of a bundled device, such as 'FakeSherbrooke'"):
        AerBackend(noise=7)
    with pytest.raises(OptionError, match="device 'FakeSherbroke' is not bundled"):
        AerBackend(noise="FakeSherbroke")
    wide = Circuit(12)
    for wire in range(11):
        wide = wide.cnot(wire, wire + 1)
    with pytest.raises(
        OptionError, match=r"for up to 10 connected wires .*, but the circuit connects 12; give shots=N"
    ):
        AerBackend(noise="FakeSherbrooke").expectations(wide)
    with pytest.raises(JobError, match=r"Aer's method 'stabilizer' failed on 1 qubits: .*\.$"):
        AerBackend(method="stabilizer").expectations(Circuit(1).ry(0.3, 0))
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    with pytest.raises(BackendUnavailable, match="pip install qiskit-aer"):
        AerBackend()
