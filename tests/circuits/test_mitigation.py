"""Packing and the two corrections for noise, on descriptions; test_aer shows them on a noisy device."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkan.circuits import Circuit, PauliSum, X, Z, data, mitigation, packing, parameter, simulate, statevector
from qkan.circuits.measurement import all_bits, estimate, groups
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import JobError, OptionError
from qkan.testing import random_circuit, random_inputs


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 7))
def test_packed_circuits_are_the_separate_ones(seed, wires, copies, count):
    circuit = random_circuit(seed, wires, 6)
    x, theta = random_inputs(circuit, count, seed=seed)
    rows = rows_of(circuit, x, theta).numpy().reshape(count, -1)
    packed = packing.pack(by_angle(circuit), copies)
    assert packed.wires == copies * wires
    values = simulate.expectations(packed, torch.from_numpy(packing.pack_rows(rows, copies)))
    values = values.expand(-(-count // copies), -1).numpy()
    expected = simulate.expectations(circuit, x, theta).expand(count, -1)
    np.testing.assert_allclose(packing.unpack(values, copies, count), expected, rtol=0, atol=1e-10)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([3, 5]))
def test_folded_circuits_do_the_same(seed, wires, factor):
    circuit = random_circuit(seed, wires, 5)
    x, theta = random_inputs(circuit, 2, seed=seed)
    folded = mitigation.fold(circuit, factor)
    count = sum(bool(gate.kind.wires) for gate in circuit.gates)
    assert sum(bool(gate.kind.wires) for gate in folded.gates) == factor * count
    for simulator in (simulate, statevector):
        np.testing.assert_allclose(
            simulator.expectations(folded, x, theta), simulator.expectations(circuit, x, theta), rtol=0, atol=1e-10
        )


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_readout_errors_are_undone_exactly(seed, wires):
    """Bits flipped by known chances in the exact distribution: the corrected observables have the true means."""
    circuit = random_circuit(seed, wires, 6)
    x, theta = random_inputs(circuit, seed=seed)
    draw = np.random.default_rng(seed)
    p10, p01 = draw.uniform(0, 0.3, (2, wires))
    flips = [np.array([[1 - a, b], [a, 1 - b]]) for a, b in zip(p10, p01, strict=True)]
    confusion = flips[0]
    for flip in flips[1:]:
        confusion = np.kron(confusion, flip)

    def means(one, *inputs):
        total = np.zeros(len(one.observables))
        for group in groups(one.observables):
            chances = statevector.state(group.rotated(one), *inputs).abs().square().numpy()
            total += confusion @ chances @ group.values(all_bits(wires), len(one.observables))
        return total

    zeros, ones = (means(one) for one in mitigation.calibration_circuits(wires))
    corrected = mitigation.readout_errors(zeros, ones).corrected(circuit)
    np.testing.assert_allclose(
        means(corrected, x, theta), statevector.expectations(circuit, x, theta), rtol=0, atol=1e-10
    )


@settings(max_examples=200)
@given(st.lists(st.dictionaries(st.text("IXYZ", min_size=3, max_size=3), st.floats(0.1, 1), max_size=4), max_size=4))
def test_corrected_and_packed_circuits_need_no_further_settings(strings):
    """What was planned is what is sent."""
    circuit = Circuit(3).h(0).measure(*(PauliSum.from_strings(one) for one in strings))
    errors = mitigation.ReadoutErrors(np.array([0.01, 0.02, 0.03]), np.array([0.05, 0.06, 0.07]))
    count = len(groups(circuit.observables))
    assert len(groups(errors.corrected(circuit).observables)) == count
    assert len(groups(packing.pack(circuit, 3).observables)) == count


def test_calibration_circuits():
    for circuit, sign in zip(mitigation.calibration_circuits(3), (1.0, -1.0), strict=True):
        np.testing.assert_allclose(simulate.expectations(circuit).reshape(-1), 3 * [sign], atol=1e-6)


def test_straight_line_to_zero_noise():
    values = 0.8 - 0.05 * np.array([1, 3, 5])
    assert mitigation.zero_noise_weights((1, 3, 5)) @ values == pytest.approx(0.8)
    np.testing.assert_allclose(mitigation.zero_noise_weights((1, 3)), [1.5, -0.5])


def test_mistakes_are_one_sentence():
    for factor in (0, 2, -1, 1.5):
        with pytest.raises(OptionError, match=r"must be an odd whole number, such as 1, 3 or 5"):
            mitigation.fold(Circuit(1).h(0), factor)
    with pytest.raises(OptionError, match=r"fold factors \(3, 3\) must hold two different ones"):
        mitigation.zero_noise_weights((3, 3))
    with pytest.raises(JobError, match=r"wire 1 is read wrong so often \(P\(1\|0\) = 0.50, P\(0\|1\) = 0.45\)"):
        mitigation.readout_errors(np.array([0.9, 0.0]), np.array([-0.9, -0.1]))


def test_settings_are_few():
    found = groups((Z(0) @ Z(1), Z(0) + 0.5 * Z(1), X(0) @ Z(1), X(0)))
    assert [group.basis for group in found] == [{0: "Z", 1: "Z"}, {0: "X", 1: "Z"}]


def test_agreeing_shots_are_not_certain():
    """Jeffreys' posterior of a chance after n of n: variance of 1 - 2p."""
    (group,) = groups((Z(0),))
    mean, variance = estimate(group, all_bits(1), np.array([[100, 0], [60, 40]]), 1)
    np.testing.assert_allclose(mean[:, 0], [1.0, 0.2])
    for found, ones in zip(variance[:, 0], (0, 40), strict=True):
        a, b = ones + 0.5, 100 - ones + 0.5
        assert found == pytest.approx(4 * a * b / ((a + b) ** 2 * (a + b + 1)))


def test_rows_put_amplitudes_last():
    circuit = Circuit(2).amplitude_embedding(columns=3).ry(data(0) + parameter("a"), 0).rz(0.4, 1)
    template = by_angle(circuit)
    assert template.num_columns == 4
    rows = rows_of(circuit, torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0.5]))
    assert rows.tolist() == [[1.5, 1.0, 2.0, 3.0]]
