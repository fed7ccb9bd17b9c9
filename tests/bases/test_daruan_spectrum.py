"""DARUAN: what its spectrum allows, which tensors it makes, how it grows, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import Daruan
from qkan.kernels import spectral
from qkan.testing import basis_contract
from qkan.testing.basis_contract import uniform

BASES = {"unit": 1, "binary": 2, "ternary": 3}
FREQUENCIES = list(BASES)


def spectrum(basis: Daruan, points: int = 64) -> torch.Tensor:
    """Largest FFT amplitude over all edges at 0, 1, 2 … cycles per 2π."""
    x = 2 * math.pi * torch.arange(points, dtype=torch.float64).unsqueeze(-1) / points
    values = basis.edges(x.expand(-1, basis.in_features)).detach().flatten(1)
    return torch.fft.rfft(values, dim=0).abs().amax(1) / points


# -- spectrum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frequencies", "degree"), [("unit", 3), ("binary", 7), ("ternary", 13)])
@pytest.mark.parametrize("ansatz", ["pz", "rpz", "mix"])
def test_the_spectrum_ends_at_the_sum_of_the_weights(ansatz, frequencies, degree):
    basis = Daruan(3, 3, ansatz=ansatz, frequencies=frequencies, seed=0).double()
    amplitudes = spectrum(basis)
    assert basis.degree == degree
    assert basis.num_features == 2 * degree + 1
    assert float(amplitudes[degree + 1 :].max()) < 1e-14
    assert float(amplitudes[: degree + 1].min()) > 1e-3  # every allowed frequency is used


@pytest.mark.parametrize("encoding", ["shared", "edge"])
def test_the_spectrum_holds_sums_of_weights_only(encoding):
    basis = Daruan(2, 3, reps=2, encoding=encoding, seed=0).double()
    with torch.no_grad():
        basis.frequency.copy_(torch.tensor([1.0, 5.0]).expand_as(basis.frequency))
    amplitudes = spectrum(basis)
    allowed = {abs(one + 5 * five) for one in (-1, 0, 1) for five in (-1, 0, 1)}
    assert allowed == {0, 1, 4, 5, 6}
    for frequency, amplitude in enumerate(amplitudes.tolist()):
        assert (amplitude > 1e-3) == (frequency in allowed), frequency
        assert amplitude > 1e-3 or amplitude < 1e-14


def test_the_amplitude_readout_has_a_wider_spectrum():
    basis = Daruan(2, 2, readout="amplitude", seed=0).double()
    assert float(spectrum(basis)[4:].max()) > 1e-4


@settings(max_examples=50)
@given(
    x=st.floats(-1e3, 1e3),
    ansatz=st.sampled_from(["pz", "rpz", "px", "real", "mix"]),
    encoding=st.sampled_from(["fixed", "shared", "edge"]),
    readout=st.sampled_from(["z", "amplitude"]),
    seed=st.integers(0, 1000),
)
def test_edge_functions_lie_between_minus_one_and_one(x, ansatz, encoding, readout, seed):
    basis = Daruan(1, 4, ansatz=ansatz, encoding=encoding, readout=readout, reps=2, seed=seed).double()
    assert float(basis.edges(torch.tensor([x], dtype=torch.float64)).detach().abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("frequencies", FREQUENCIES)
def test_cardinal_functions_interpolate_the_node_values_exactly(frequencies):
    basis = Daruan(2, 3, frequencies=frequencies, seed=0).double()
    x = uniform((50, 2), -9, 9)
    interpolated = torch.einsum("...nk,mnk->...mn", spectral.dirichlet(x, basis.degree), basis.node_values())
    assert_close(basis.edges(x), interpolated, rtol=0, atol=1e-12)


def test_cardinal_functions_of_the_torus_interpolate_the_node_values_exactly():
    basis = Daruan(2, 3, encoding="shared", frequencies="binary", seed=0).double()
    with torch.no_grad():
        basis.frequency.copy_(uniform((2, 3), -2, 2))
    x = uniform((50, 2), -9, 9)
    cardinal = spectral.torus_dirichlet(basis.data_angles(x))
    interpolated = torch.einsum("...nk,mnk->...mn", cardinal, basis.node_values())
    assert_close(basis.edges(x), interpolated, rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(x=st.floats(-50, 50), frequencies=st.sampled_from(FREQUENCIES), seed=st.integers(0, 100))
def test_noise_in_node_values_is_not_amplified(x, frequencies, seed):
    """Independent unit noise at the nodes has unit variance at every x, as the squares of the weights sum to 1."""
    degree = Daruan(1, 1, frequencies=frequencies, seed=seed).degree
    weights = spectral.dirichlet(torch.tensor(x, dtype=torch.float64), degree)
    assert float(weights.square().sum()) == pytest.approx(1, abs=1e-12)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


# -- memory --------------------------------------------------------------------------------------------------------


def largest_tensors(**options: object) -> tuple[int, int]:
    """Elements of the largest tensor made and of the largest saved, in a forward and backward pass."""
    return basis_contract.largest_tensors(Daruan(17, 41, seed=0, **options), 64)


PER_EDGE = 64 * 17 * 41  # batch x n x m; with K = 27, features have 64·17·27 and node values 41·17·27 elements


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"frequencies": "ternary"}, {"encoding": "shared"}, {"encoding": "shared", "ansatz": "px"}],
    ids=lambda options: "-".join(options.values()) or "default",
)
def test_the_node_route_makes_nothing_of_size_batch_by_edges(options, groups, monkeypatch):
    made, saved = largest_tensors(groups=groups, **options)
    basis = Daruan(17, 41, **options)
    assert max(made, saved) <= 41 * 17 * max(basis.num_features, basis.circuit.num_parameters)
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    made, saved = largest_tensors(groups=groups, **options)
    assert 64 * 17 * basis.num_features <= made < PER_EDGE
    assert saved < PER_EDGE


@pytest.mark.parametrize(
    "options", [{"encoding": "edge"}, {"readout": "amplitude"}, {"encoding": "shared", "readout": "amplitude"}]
)
def test_the_per_edge_route_makes_nothing_larger_than_its_parameters(options, monkeypatch):
    made, saved = largest_tensors(**options)
    assert max(made, saved) <= Daruan(17, 41, **options).theta.numel()
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert largest_tensors(**options)[0] >= PER_EDGE
