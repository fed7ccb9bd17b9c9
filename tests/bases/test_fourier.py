"""Fourier series: orthogonality, slopes, period and the rule outside one period."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import Fourier
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import uniform


def dense_edges(basis: Fourier, x: torch.Tensor) -> torch.Tensor:
    """The series summed harmonic by harmonic in numpy."""
    points, coefficients = x.numpy(), basis.coef.detach().double().numpy()
    if basis.extend == "clamp":
        points = np.clip(points, -basis.period / 2, basis.period / 2)
    total = np.zeros((*points.shape[:-1], basis.out_features, basis.in_features))
    for j in range(1, basis.degree + 1):
        angle = 2 * np.pi * j * points[..., None, :] / basis.period
        total = total + np.cos(angle) * coefficients[..., j - 1]
        total = total + np.sin(angle) * coefficients[..., basis.degree + j - 1]
    return torch.as_tensor(total)


class TestPeriodic(BasisContract):
    layer_options: ClassVar = {"basis": "fourier"}
    interior = (-math.pi, math.pi)
    anchors = (-math.pi, 0.0, math.pi)
    refine_size = 7

    def make_basis(self, in_features, out_features, **kw):
        return Fourier(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestClampedShortPeriod(BasisContract):
    layer_options: ClassVar = {"basis": "fourier", "degree": 2, "period": 3.0, "extend": "clamp"}
    interior = (-1.5, 1.5)
    anchors = (-1.5, 0.0, 1.5)
    refine_size = 3

    def make_basis(self, in_features, out_features, **kw):
        return Fourier(in_features, out_features, degree=2, period=3.0, extend="clamp", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


@pytest.mark.parametrize("period", [2 * math.pi, 0.5])
@pytest.mark.parametrize("degree", [1, 4])
def test_features_are_orthogonal_over_one_period(degree, period):
    basis = Fourier(1, 1, degree=degree, period=period, seed=0).double()
    count = 4 * degree + 4  # equally spaced points integrate products of harmonics exactly
    x = period * torch.arange(count, dtype=torch.float64).unsqueeze(-1) / count + 0.1
    features = basis.features(x)[:, 0]
    gram = features.T @ features / count
    assert_close(gram, torch.eye(2 * degree, dtype=torch.float64) / 2, rtol=0, atol=1e-13)


def test_slopes_agree_with_the_analytic_derivative():
    basis = Fourier(1, 1, degree=3, period=2.5, seed=0).double()
    x = uniform((20, 1), -4, 4)
    _, slopes = torch.func.jvp(basis.features, (x,), (torch.ones_like(x),))
    omega = 2 * math.pi / 2.5 * torch.arange(1, 4, dtype=torch.float64)
    expected = torch.cat([-omega * torch.sin(omega * x), omega * torch.cos(omega * x)], dim=-1)
    assert_close(slopes[:, 0], expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(x=st.floats(-20, 20), period=st.floats(0.1, 20), turns=st.integers(-3, 3))
def test_a_period_later_the_value_is_the_same(x, period, turns):
    basis = Fourier(1, 2, degree=3, period=period, seed=0).double()
    here = torch.tensor([x], dtype=torch.float64)
    # The argument 2πj x/period, at most 2π·3·260, is rounded to 1e-12 of a turn.
    assert_close(basis(here + turns * period), basis(here), rtol=0, atol=1e-9)


def test_clamp_is_flat_outside_one_period():
    basis = Fourier(1, 2, period=2.0, extend="clamp", seed=0).double()
    x = torch.tensor([[1.0], [1.7], [-1.0], [-9.0]], dtype=torch.float64, requires_grad=True)
    y = basis(x)
    assert_close(y[1], y[0])
    assert_close(y[3], y[2])
    y.sum().backward()
    assert x.grad[1] == 0
    assert x.grad[3] == 0


def test_initial_harmonics_have_equal_slopes():
    basis = Fourier(40, 40, degree=4, seed=0)
    std = basis.coef.detach().flatten(0, 1).std(0)
    orders = torch.arange(1.0, 5.0)
    slope = std * torch.cat([orders, orders])
    assert float(slope.max() / slope.min()) < 1.15  # 1,600 draws each: one standard error is 1.8 %


def test_refining_appends_silent_harmonics():
    basis = Fourier(2, 2, degree=2, seed=0)
    finer = basis.refine(5)
    assert torch.equal(finer.coef[..., [0, 1, 5, 6]], basis.coef)
    assert float(finer.coef[..., [2, 3, 4, 7, 8, 9]].detach().abs().max()) == 0


def test_a_smaller_degree_is_refused():
    with pytest.raises(RefineError, match="degree=2 is below the present 4"):
        Fourier(1, 1, seed=0).refine(2)


@pytest.mark.parametrize("period", [0, -1.0, float("inf"), float("nan"), "long"])
def test_a_bad_period_is_refused(period):
    with pytest.raises(OptionError, match=r"period=.* must be a positive number"):
        Fourier(1, 1, period=period)


def test_an_unknown_extension_lists_the_known_ones():
    with pytest.raises(OptionError, match="'periodic', 'clamp'"):
        Fourier(1, 1, extend="linear")
