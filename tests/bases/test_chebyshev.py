"""Chebyshev polynomials against T_k(cos t) = cos k t, and their gradients where the arccosine has none."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import Chebyshev
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract


def dense_edges(basis: Chebyshev, x: torch.Tensor) -> torch.Tensor:
    """Σ_k C_k cos k t with cos t = z; for z = tanh x that is t = 2 arctan e^-x, exact also near ±1."""
    points = x.numpy()[..., None, :, None]
    orders = np.arange(basis.degree + 1)
    if basis.extend == "tanh":
        features = np.cos(orders * 2 * np.arctan(np.exp(-points)))
    else:
        held = np.clip(points, -1, 1)
        features = np.cos(orders * np.arccos(held))
        if basis.extend == "linear":
            features = features + orders**2 * np.sign(held) ** (orders + 1) * (points - held)
    return torch.as_tensor((features * basis.coef.detach().double().numpy()).sum(-1))


class TestTanh(BasisContract):
    layer_options: ClassVar = {"basis": "chebyshev"}
    interior = (-2.0, 2.0)
    anchors = (-20.0, -9.1, -1.0, 0.0, 1.0, 9.1, 20.0)
    refine_size = 10

    def make_basis(self, in_features, out_features, **kw):
        return Chebyshev(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestClamp(BasisContract):
    layer_options: ClassVar = {"basis": "chebyshev", "degree": 4, "extend": "clamp"}
    anchors = (-1.0, 0.0, 1.0)
    refine_size = 6

    def make_basis(self, in_features, out_features, **kw):
        return Chebyshev(in_features, out_features, degree=4, extend="clamp", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestLinearDegreeOne(BasisContract):
    layer_options: ClassVar = {"basis": "chebyshev", "degree": 1, "extend": "linear"}
    anchors = (-1.0, 0.0, 1.0)
    refine_size = 4

    def make_basis(self, in_features, out_features, **kw):
        return Chebyshev(in_features, out_features, degree=1, extend="linear", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


def features(x: torch.Tensor, **options: object) -> torch.Tensor:
    """Features (N, K) of points (N,) in their own precision."""
    return Chebyshev(1, 1, seed=0, **options).to(x.dtype).features(x.unsqueeze(-1))[:, 0]


def features_and_slopes(x: torch.Tensor, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    basis = Chebyshev(1, 1, seed=0, **options).to(x.dtype)
    return torch.func.jvp(basis.features, (x,), (torch.ones_like(x),))


@pytest.mark.parametrize("extend", ["clamp", "linear"])
def test_features_are_cosines_of_multiples(extend):
    z = torch.linspace(-1, 1, 201, dtype=torch.float64)
    expected = torch.cos(torch.arange(13) * torch.acos(z).unsqueeze(-1))
    assert_close(features(z, degree=12, extend=extend), expected, rtol=0, atol=1e-12)


@settings(max_examples=50)
@given(x=st.floats(-1e6, 1e6), degree=st.integers(1, 20))
def test_bounded_arguments_give_bounded_features(x, degree):
    for extend in ("tanh", "clamp"):
        values = features(torch.tensor([x], dtype=torch.float64), degree=degree, extend=extend)
        assert float(values.abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("extend", ["tanh", "clamp", "linear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_finite_everywhere(dtype, extend):
    special = torch.tensor([-1e4, -20, -9.1, -1, 0, 1, 9.1, 20, 1e4], dtype=dtype)
    x = torch.cat([torch.linspace(-12, 12, 481, dtype=dtype), special]).requires_grad_()
    (gradient,) = torch.autograd.grad(features(x, extend=extend).sum(), x)
    assert bool(gradient.isfinite().all())


def test_degrees_too_high_for_float32_are_refused():
    z = torch.cos(torch.rand(2000, generator=torch.Generator().manual_seed(0)) * np.pi)
    exact = features(z.double(), degree=400, extend="clamp")
    assert float((features(z, degree=400, extend="clamp").double() - exact).abs().max()) < 1.5e-3
    with pytest.raises(OptionError, match="degree=401 is too high for float32: choose at most 400"):
        Chebyshev(degree=401)


def test_slope_at_one_is_the_square_of_the_degree():
    z = torch.tensor([1.0], dtype=torch.float64)
    _, slopes = features_and_slopes(z, extend="linear")
    assert_close(slopes[0], torch.arange(8, dtype=torch.float64) ** 2)


def test_linear_continuation_keeps_value_and_slope():
    step = 1e-7
    z = torch.tensor([-1 - step, -1 + step, 1 - step, 1 + step], dtype=torch.float64)
    values, slopes = features_and_slopes(z, degree=5, extend="linear")
    for inner, outer in ((1, 0), (2, 3)):
        assert_close(values[outer], values[inner], rtol=0, atol=1e-5)
        assert_close(slopes[outer], slopes[inner], rtol=0, atol=1e-3)


def test_initial_coefficients_fall_with_the_degree_and_the_constant_is_silent():
    basis = Chebyshev(40, 40, degree=4, seed=0)
    std = basis.coef.detach().flatten(0, 1).std(0)
    assert std[0] == 0
    scaled = std[1:] * torch.arange(1.0, 5.0)
    assert float(scaled.max() / scaled.min()) < 1.15  # 1,600 draws each: one standard error is 1.8 %


def test_a_smaller_degree_is_refused():
    with pytest.raises(RefineError, match="degree=3 is below the present 7"):
        Chebyshev(1, 1, seed=0).refine(3)


def test_an_unknown_extension_lists_the_known_ones():
    with pytest.raises(OptionError, match="'tanh', 'clamp', 'linear'"):
        Chebyshev(1, 1, extend="zero")
