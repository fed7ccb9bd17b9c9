"""Deployment on a noisy device: what its corrections are worth, packed circuits, and jobs of a service."""

import numpy as np
import pytest
import torch

import qkan
from qkan.circuits import Circuit, QuantumLayer, backends, data, deploy, devices, parameter, strongly_entangling
from qkan.circuits.backends._compile import Placement
from qkan.circuits.backends.aer import AerBackend
from qkan.circuits.mitigation import calibration_circuits, fold
from qkan.circuits.rows import by_angle

MODEL = qkan.QKAN([4, 3], reps=3, seed=0)  # 84 circuits


def rms(run) -> float:
    """Of measured minus exact expectations, over all blocks."""
    return float(np.sqrt(np.mean([block.rms**2 for block in run.report().blocks])))


def noisy(model=MODEL, **options):
    defaults = {"shots": 20_000, "seed": 0, "progress": False}
    return deploy(model, backends.get("aer", noise="FakeSherbrooke"), **{**defaults, **options})


def test_readout_mitigation_helps():
    """Misread bits are the larger part of the noise of one-qubit circuits."""
    plain, corrected = noisy(shots=200_000), noisy(shots=200_000, readout_mitigation=True)
    assert rms(corrected) < 0.6 * rms(plain)


def test_extrapolation_to_zero_noise_helps():
    """Without shots, so that only the gates' noise is left beside the readout errors, which are corrected."""
    plain, folded = (
        deploy(
            MODEL,
            backends.get("aer", noise="FakeSherbrooke"),
            readout_mitigation=True,
            fold_factors=factors,
            progress=False,
        )
        for factors in ((1,), (1, 3))
    )
    assert rms(folded) < 0.3 * rms(plain)


def test_both_help_with_shots():
    """The gates' noise on a bad qubit is seen over that of many shots."""
    target = devices.fake("FakeSherbrooke").target
    worst = max(devices.rank_qubits(target)[:100], key=lambda qubit: target["sx"][(qubit,)].error)
    found = []
    for factors, readout in (((1,), False), ((1,), True), ((1, 3), True)):
        backend = backends.get("aer", noise="FakeSherbrooke", layout=[worst])
        run = deploy(
            MODEL,
            backend,
            shots=1_000_000,
            fold_factors=factors,
            readout_mitigation=readout,
            seed=0,
            progress=False,
        )
        found.append(rms(run))
    assert found[1] < 0.8 * found[0]
    assert found[2] < 0.8 * found[1]


def test_extrapolation_states_its_larger_variance():
    plain, folded = noisy(shots=500), noisy(shots=500, fold_factors=(1, 3))
    ratio = folded.report().blocks[0].noise ** 2 / plain.report().blocks[0].noise ** 2
    assert ratio == pytest.approx(1.5**2 + 0.5**2, rel=0.1)


def test_mitigation_of_entangled_circuits():
    """Calibration and folded circuits run on the qubits of the circuit they belong to."""
    circuit = Circuit(3).angle_embedding().then(strongly_entangling(3, 1)).measure()
    layer = QuantumLayer(circuit, seed=0)
    x = 2 * torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    found = [
        rms(
            deploy(
                layer,
                backends.get("aer", noise="FakeManilaV2"),
                rows=x,
                readout_mitigation=readout,
                fold_factors=factors,
                progress=False,
            )
        )
        for readout, factors in ((False, (1,)), (True, (1,)), (True, (1, 3)))
    ]
    assert found[1] < 0.5 * found[0]
    assert found[2] < 0.5 * found[1]


def test_placement_of_what_belongs_to_another_circuit():
    target = devices.fake("FakeManilaV2").target  # a line of five qubits
    ring = by_angle(Circuit(3).angle_embedding().cnot(0, 1).cnot(1, 2).cnot(2, 0).ry(parameter("a"), 0))
    placement = Placement(target, 1, [0, 2, 4])
    start = placement.of(ring)
    assert start == (0, 2, 4)
    assert placement.of(fold(ring, 3), ring) == start
    end = placement.of(calibration_circuits(3)[1], ring)
    assert end != start  # swaps have moved the wires to where they are read
    assert set(end) < set(range(5))
    single = by_angle(Circuit(2).ry(data(0), 0).ry(data(1), 1))
    free = Placement(target, 1, None)
    assert free.of(calibration_circuits(2)[0], single) == free.of(single) == tuple(devices.rank_qubits(target)[:2])


def test_packed_circuits_by_matrix_product_states():
    """84 circuits on 40 qubits side by side, simulated jointly, agree with the separate circuits on those qubits."""
    shots = 300
    packed = deploy(
        MODEL,
        backends.get("aer", noise="FakeSherbrooke", method="matrix_product_state"),
        shots=shots,
        pack=40,
        seed=0,
        progress=False,
    )
    assert packed.plan().executions == 3
    layout = devices.rank_qubits(devices.fake("FakeSherbrooke").target)[:40]
    (found,) = [result for result, _ in packed._results.values()]
    rows = MODEL.layers[0].basis.node_rows().numpy()
    circuit = MODEL.layers[0].basis.block_circuit()
    for place in range(0, 84, 7):
        alone = AerBackend(noise="FakeSherbrooke", layout=[layout[place % 40]]).run(circuit, rows[place : place + 1])
        error = np.sqrt(found.variances[place, 0])
        assert abs(found.values[place, 0] - alone.values[0, 0]) < 5 * error


def test_amplitude_readout_on_a_device():
    """g acts on the interpolated, not on the measured values."""
    model = qkan.QKAN([3, 2], reps=2, readout="amplitude", seed=0)
    x = torch.linspace(-2, 2, 21)[:, None].repeat(1, 3)
    run = noisy(model, readout_mitigation=True, shots=200_000)
    basis, plain = run.model.network.layers[0].basis, model.layers[0].basis
    z = torch.einsum("bnk,mnk->bmn", basis.features(x), basis.coefficients())
    expected = torch.sign(z) * torch.sqrt(1 - torch.sqrt(1 - z.clamp(-1, 1) ** 2))
    torch.testing.assert_close(basis.edges(x), expected, rtol=0, atol=2e-3)
    assert (basis.edges(x) - plain.edges(x)).abs().mean() < 0.02


def test_ibm_in_local_testing_mode():
    model, x = qkan.QKAN([2, 2], reps=1, seed=0), torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    run = deploy(model, backends.get("ibm", backend="FakeManilaV2"), shots=4000, pack=3, seed=0, progress=False)
    assert run.plan().executions == 4
    assert run.report(x).blocks[0].rms < 0.06
    _, error = run.model(x, return_std=True)
    assert 0 < error.max() < 0.1


def test_training_on_shots_through_a_noisy_device():
    backend = backends.get("aer", noise="FakeManilaV2", shots=300, seed=0)
    layer = qkan.KANLayer(1, 1, reps=1, base=None, seed=0, backend=backend)
    x = torch.linspace(-2, 2, 20)[:, None]
    target = 0.8 * torch.cos(x - 0.5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.1 * losses[0]
