"""Node values, Fourier coefficients and cardinal functions on the circle and the torus."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.kernels import spectral
from qkan.testing.basis_contract import uniform

DEGREES = [1, 2, 3, 7, 13]
REPS = [1, 2, 3]


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float64)


# -- circle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", DEGREES)
def test_circle_nodes_are_equally_spaced(degree):
    nodes = spectral.circle_nodes(degree)
    assert nodes.shape == (2 * degree + 1,)
    assert nodes[0] == 0
    np.testing.assert_allclose(np.diff(nodes), 2 * np.pi / (2 * degree + 1), atol=1e-14)


@pytest.mark.parametrize("degree", DEGREES)
def test_circle_transform_inverts_the_harmonics_at_the_nodes(degree):
    features = spectral.harmonics(as_tensor(spectral.circle_nodes(degree)), degree)
    product = features.numpy() @ spectral.circle_transform(degree).T
    np.testing.assert_allclose(product, np.eye(2 * degree + 1), atol=1e-13)


def test_harmonics_are_one_then_cosines_then_sines():
    u = uniform((4, 5), -9, 9)
    found = spectral.harmonics(u, 3)
    expected = [torch.ones_like(u), *(torch.cos(j * u) for j in (1, 2, 3)), *(torch.sin(j * u) for j in (1, 2, 3))]
    assert_close(found, torch.stack(expected, dim=-1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("degree", DEGREES)
def test_the_transform_recovers_known_coefficients(degree):
    coefficients = uniform((2 * degree + 1,), -1, 1)
    u = as_tensor(spectral.circle_nodes(degree))
    values = coefficients[0].expand_as(u)
    for j in range(1, degree + 1):
        values = values + coefficients[j] * torch.cos(j * u) + coefficients[degree + j] * torch.sin(j * u)
    assert_close(values @ as_tensor(spectral.circle_transform(degree)), coefficients, rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", DEGREES)
def test_dirichlet_functions_are_cardinal_and_follow_the_closed_form(degree):
    nodes = as_tensor(spectral.circle_nodes(degree))
    assert_close(spectral.dirichlet(nodes, degree), torch.eye(2 * degree + 1).double(), rtol=0, atol=1e-13)
    # The closed form is 0/0 at the nodes, so the points keep a fifth of the spacing away from them.
    u = (torch.arange(-40, 40) + uniform((80,), 0.2, 0.8)) * 2 * torch.pi / (2 * degree + 1)
    half = (u.unsqueeze(-1) - nodes) / 2
    expected = torch.sin((2 * degree + 1) * half) / torch.sin(half) / (2 * degree + 1)
    assert_close(spectral.dirichlet(u, degree), expected, rtol=0, atol=1e-12)


@settings(max_examples=100)
@given(u=st.floats(-100, 100), degree=st.sampled_from(DEGREES))
def test_dirichlet_functions_and_their_squares_sum_to_one(u, degree):
    weights = spectral.dirichlet(torch.tensor(u, dtype=torch.float64), degree)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert float(weights.square().sum()) == pytest.approx(1, abs=1e-12)


# -- torus ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reps", REPS)
def test_torus_nodes_count_in_base_three(reps):
    nodes = spectral.torus_nodes(reps)
    assert nodes.shape == (3**reps, reps)
    digits = np.rint(nodes * 3 / (2 * np.pi)).astype(int)
    np.testing.assert_allclose(nodes, digits * 2 * np.pi / 3, atol=1e-15)
    np.testing.assert_array_equal(digits @ 3 ** np.arange(reps)[::-1], np.arange(3**reps))


@pytest.mark.parametrize("reps", REPS)
def test_torus_transform_inverts_the_harmonics_at_the_nodes(reps):
    features = spectral.torus_harmonics(as_tensor(spectral.torus_nodes(reps)))
    np.testing.assert_allclose(features.numpy() @ spectral.torus_transform(reps).T, np.eye(3**reps), atol=1e-13)


def test_torus_harmonics_are_products_of_single_harmonics():
    phi = uniform((4, 5, 2), -9, 9)
    single = spectral.harmonics(phi, 1)
    found = spectral.torus_harmonics(phi)
    assert found.shape == (4, 5, 9)
    for one in range(3):
        for two in range(3):
            expected = single[..., 0, one] * single[..., 1, two]
            assert_close(found[..., 3 * one + two], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("reps", REPS)
def test_torus_dirichlet_functions_are_cardinal_products(reps):
    nodes = as_tensor(spectral.torus_nodes(reps))
    assert_close(spectral.torus_dirichlet(nodes), torch.eye(3**reps).double(), rtol=0, atol=1e-13)
    phi = uniform((10, reps), -9, 9)
    expected = torch.ones(10, 3**reps, dtype=torch.float64)
    for rep in range(reps):
        difference = phi[:, None, rep] - nodes[:, rep]
        expected = expected * (1 + 2 * torch.cos(difference)) / 3
    assert_close(spectral.torus_dirichlet(phi), expected, rtol=0, atol=1e-13)


@settings(max_examples=60)
@given(phi=st.lists(st.floats(-100, 100), min_size=1, max_size=4))
def test_torus_dirichlet_functions_and_their_squares_sum_to_one(phi):
    weights = spectral.torus_dirichlet(torch.tensor(phi, dtype=torch.float64))
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    assert float(weights.square().sum()) == pytest.approx(1, abs=1e-12)


# -- noise and precision -------------------------------------------------------------------------------------------


def test_interpolated_variance_is_a_convex_combination_of_node_variances():
    variances = uniform((7,), 0.1, 2)
    weights = spectral.dirichlet(uniform((200,), -9, 9), 3).square()
    interpolated = weights @ variances
    assert float(interpolated.max()) <= float(variances.max()) + 1e-12
    assert float(interpolated.min()) >= float(variances.min()) - 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_angles_are_multiplied_in_float32(dtype):
    u = uniform((40,), -9, 9).to(dtype)
    assert torch.equal(spectral.harmonics(u, 13), spectral.harmonics(u.float(), 13).to(dtype))
    phi = uniform((40, 3), -9, 9).to(dtype)
    assert torch.equal(spectral.torus_harmonics(phi), spectral.torus_harmonics(phi.float()).to(dtype))


def test_harmonics_pass_gradcheck():
    u = uniform((4,), -3, 3).requires_grad_()
    phi = uniform((3, 2), -3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: spectral.harmonics(u, 3), u, atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradcheck(spectral.torus_harmonics, phi, atol=1e-7, rtol=1e-6)
