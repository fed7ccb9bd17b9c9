"""The reference kernels against complex 2×2 matrices, finite differences and closed forms."""

import math

import numpy as np
import pytest
import scipy.interpolate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.kernels.reference import accumulation_dtype, amplitude_readout, cox_de_boor, expectation_z, rotate
from qkan.testing.basis_contract import uniform

PAULI = {
    "x": np.array([[0, 1], [1, 0]], dtype=complex),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]], dtype=complex),
}
ANGLE = st.floats(-10, 10)
GATE = st.one_of(
    st.tuples(st.sampled_from("xyz"), st.just("theta"), st.integers(0, 3)),
    st.tuples(st.sampled_from("xyz"), st.just("data"), st.integers(0, 2)),
    st.tuples(st.sampled_from("xyz"), st.just("const"), ANGLE),
)


def unitary(axis: str, angle: float) -> np.ndarray:
    """exp(-i angle σ/2)."""
    return math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * PAULI[axis]


def dense_expectation(gates, theta, angles) -> float:
    state = np.array([1, 1]) / math.sqrt(2)
    for axis, source, value in gates:
        state = unitary(axis, {"theta": theta, "data": angles}[source][value] if source != "const" else value) @ state
    return float(abs(state[0]) ** 2 - abs(state[1]) ** 2)


# -- Bloch recursion -----------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(axis=st.sampled_from("xyz"), angle=ANGLE, polar=st.floats(0, math.pi), azimuth=st.floats(0, 2 * math.pi))
def test_a_rotation_of_the_bloch_vector_is_the_conjugation_of_the_density_matrix(axis, angle, polar, azimuth):
    before = (math.sin(polar) * math.cos(azimuth), math.sin(polar) * math.sin(azimuth), math.cos(polar))
    density = (np.eye(2) + sum(v * PAULI[a] for v, a in zip(before, "xyz", strict=True))) / 2
    after = unitary(axis, angle) @ density @ unitary(axis, angle).conj().T
    expected = [np.trace(after @ PAULI[a]).real for a in "xyz"]
    vector = tuple(torch.tensor(v, dtype=torch.float64) for v in before)
    found = rotate(vector, axis, torch.tensor(angle, dtype=torch.float64))
    np.testing.assert_allclose([float(v) for v in found], expected, atol=1e-14)


@settings(max_examples=120)
@given(
    gates=st.lists(GATE, max_size=12),
    theta=st.lists(ANGLE, min_size=4, max_size=4),
    angles=st.lists(ANGLE, min_size=3, max_size=3),
)
def test_expectations_agree_with_complex_matrices(gates, theta, angles):
    found = expectation_z(gates, *(torch.tensor(values, dtype=torch.float64) for values in (theta, angles)))
    assert float(found) == pytest.approx(dense_expectation(gates, theta, angles), abs=1e-13)


GATES = [
    ("z", "theta", 0),
    ("x", "const", 0.7),
    ("y", "data", 1),
    ("x", "theta", 1),
    ("z", "data", 0),
    ("y", "theta", 2),
]


def test_leading_shapes_broadcast():
    theta, angles = uniform((4, 1, 5, 3), -3, 3), uniform((6, 5, 2), -3, 3, seed=1)
    found = expectation_z(GATES, theta, angles)
    assert found.shape == (4, 6, 5)
    for place in ((0, 0, 0), (3, 5, 4), (2, 1, 3)):
        expected = dense_expectation(GATES, theta[place[0], 0, place[2]].tolist(), angles[place[1:]].tolist())
        assert float(found[place]) == pytest.approx(expected, abs=1e-13)


def test_an_unused_batch_dimension_is_kept():
    found = expectation_z([("y", "const", -math.pi / 2)], torch.zeros(3, 1), torch.zeros(2, 1, 1))
    assert_close(found, torch.ones(2, 3))
    assert expectation_z(GATES, torch.zeros(0, 3), torch.zeros(2)).shape == (0,)


def test_expectation_passes_gradcheck():
    theta, angles = uniform((2, 1, 3), -3, 3).requires_grad_(), uniform((3, 2), -3, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t, a: expectation_z(GATES, t, a), (theta, angles), atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradgradcheck(lambda t, a: expectation_z(GATES, t, a), (theta, angles), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    assert accumulation_dtype(dtype) == torch.float32
    theta, angles = uniform((50, 3), -50, 50).to(dtype), uniform((50, 2), -50, 50, seed=1).to(dtype)
    found = expectation_z(GATES, theta, angles)
    assert found.dtype == dtype
    # One rounding at the end: bit for bit what rounding the float32 result gives.
    assert torch.equal(found, expectation_z(GATES, theta.float(), angles.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_full_precisions_are_kept(dtype):
    assert accumulation_dtype(dtype) == dtype
    assert expectation_z(GATES, torch.zeros(3, dtype=dtype), torch.zeros(2, dtype=dtype)).dtype == dtype
    mixed = expectation_z(GATES, torch.zeros(3, dtype=torch.bfloat16), torch.zeros(2, dtype=dtype))
    assert mixed.dtype == dtype


# -- readout -------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(z=st.floats(-1, 1))
def test_amplitude_readout_is_the_difference_of_magnitudes(z):
    found = float(amplitude_readout(torch.tensor(z, dtype=torch.float64)))
    expected = math.sqrt((1 + z) / 2) - math.sqrt((1 - z) / 2)
    assert found == pytest.approx(expected, abs=2e-8)  # the cap at |Z| = 1 is √eps
    assert found == pytest.approx(-float(amplitude_readout(torch.tensor(-z, dtype=torch.float64))), abs=0)


def test_amplitude_readout_keeps_its_relative_precision_near_zero():
    z = torch.tensor([1e-12, -1e-9, 1e-6], dtype=torch.float64)
    assert_close(amplitude_readout(z), z / math.sqrt(2), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_amplitude_readout_has_finite_gradients_everywhere(dtype):
    z = torch.tensor([-1.0, -0.999, -1e-3, 0.0, 1e-3, 0.999, 1.0], dtype=dtype, requires_grad=True)
    value = amplitude_readout(z)
    value.sum().backward()
    assert value.dtype == dtype
    assert bool(z.grad.isfinite().all())
    assert bool((z.grad > 0).all())


def test_amplitude_readout_passes_gradcheck():
    z = torch.linspace(-0.98, 0.98, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(amplitude_readout, z, atol=1e-7, rtol=1e-6)


def test_amplitude_readout_passes_nan_on():
    assert bool(amplitude_readout(torch.tensor(float("nan"))).isnan())


# -- B-splines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_b_splines_on_unequal_knots_agree_with_scipy(k):
    knots = np.cumsum([0.0, 0.3, 0.5, 0.1, 0.9, 0.4, 0.2, 0.7, 0.6, 0.3, 0.8])
    x = uniform((7, 11), -0.5, knots[-1] + 0.5)
    found = cox_de_boor(x, torch.as_tensor(knots), k)
    count = len(knots) - k - 1
    assert found.shape == (7, 11, count)
    for index in range(count):
        element = scipy.interpolate.BSpline.basis_element(knots[index : index + k + 2], extrapolate=False)
        np.testing.assert_allclose(found[..., index].numpy(), np.nan_to_num(element(x.numpy())), atol=1e-14)
