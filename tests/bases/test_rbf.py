"""Radial basis functions: peaks, width and the rules outside the centres."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import RBF, RSWAF, Sech
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract

#: ψ and ψ' of each basis, in numpy and in another form than the bases use.
PSI = {
    "rbf": (lambda u: np.exp(-(u**2)), lambda u: -2 * u * np.exp(-(u**2))),
    "rswaf": (lambda u: np.cosh(u) ** -2.0, lambda u: -2 * np.sinh(u) / np.cosh(u) ** 3),
    "sech": (lambda u: 2 / (np.exp(u) + np.exp(-u)), lambda u: -np.sinh(u) / np.cosh(u) ** 2),
}
KINDS = {"rbf": RBF, "rswaf": RSWAF, "sech": Sech}


def dense_edges(basis: RBF | RSWAF | Sech, x: torch.Tensor) -> torch.Tensor:
    """Σ_j C_j ψ((x - g_j)/h), and the tangent at the nearer end outside, in numpy."""
    psi, psi_slope = PSI[basis.name]
    low, high = basis.grid_range
    spacing = (high - low) / (basis.grid - 1)
    h = basis.bandwidth * spacing
    points, coefficients = x.numpy()[..., None, :], basis.coef.detach().double().numpy()
    held = points if basis.extend == "zero" else np.clip(points, low, high)
    total = 0
    for j in range(basis.grid):
        u = (held - (low + j * spacing)) / h
        value = psi(u)
        if basis.extend == "linear":
            value = value + psi_slope(u) / h * (points - held)
        total = total + value * coefficients[..., j]
    return torch.as_tensor(total)


class TestLinear(BasisContract):
    layer_options: ClassVar = {"basis": "rbf"}
    interior = (-2.0, 2.0)
    anchors = (-2.0, -10 / 7, -2 / 7, 2 / 7, 2.0)
    refine_size = 12

    def make_basis(self, in_features, out_features, **kw):
        return RBF(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestZeroTwoCentres(BasisContract):
    layer_options: ClassVar = {"basis": "rbf", "grid": 2, "grid_range": [-1, 2], "extend": "zero"}
    interior = (-1.0, 2.0)
    anchors = (-1.0, 2.0)
    refine_size = 3

    def make_basis(self, in_features, out_features, **kw):
        return RBF(in_features, out_features, grid=2, grid_range=(-1, 2), extend="zero", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestSwitch(BasisContract):
    layer_options: ClassVar = {"basis": "rswaf"}
    interior = (-2.0, 2.0)
    anchors = (-2.0, -2 / 7, 2.0)
    refine_size = 15

    def make_basis(self, in_features, out_features, **kw):
        return RSWAF(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestNarrowSecant(BasisContract):
    layer_options: ClassVar = {"basis": "sech", "bandwidth": 0.7, "extend": "clamp", "grid": 5}
    interior = (-2.0, 2.0)
    anchors = (-2.0, -1.0, 0.0, 2.0)
    refine_size = 10

    def make_basis(self, in_features, out_features, **kw):
        return Sech(in_features, out_features, bandwidth=0.7, extend="clamp", grid=5, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


@pytest.mark.parametrize("extend", ["linear", "clamp", "zero"])
def test_each_gaussian_peaks_at_one_on_its_centre(extend):
    basis = RBF(1, 1, grid=5, grid_range=(-1, 3), extend=extend, seed=0).double()
    centres = torch.arange(-1.0, 4.0, dtype=torch.float64).unsqueeze(-1)
    features = basis.features(centres)[:, 0]
    assert_close(features.diagonal(), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-15)
    neighbours = features.diagonal(1)
    assert_close(neighbours, torch.full_like(neighbours, np.exp(-1)), rtol=1e-14, atol=0)


@settings(max_examples=40)
@given(u=st.floats(-30, 30), width=st.floats(0.3, 3), kind=st.sampled_from(["rbf", "rswaf", "sech"]))
def test_features_are_even_about_their_centre_and_as_wide_as_said(u, width, kind):
    basis = KINDS[kind](1, 1, grid=2, grid_range=(0, 1), bandwidth=width, extend="zero", seed=0).double()
    around = torch.tensor([[u * width], [-u * width]], dtype=torch.float64)
    features = basis.features(around)[:, 0, 0]
    assert_close(features[0], features[1], rtol=0, atol=0)
    assert_close(float(features[0]), float(PSI[kind][0](u)), rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("kind", ["rbf", "rswaf", "sech"])
def test_second_derivatives_at_a_centre_are_those_of_the_formula(kind):
    basis = KINDS[kind](1, 1, grid=3, grid_range=(-1, 1), bandwidth=0.5, seed=0).double()
    second = torch.func.grad(torch.func.grad(lambda x: basis.features(x.reshape(1, 1))[0, 0, 1]))
    curvature = {"rbf": -2.0, "rswaf": -2.0, "sech": -1.0}[kind] / 0.5**2
    assert float(second(torch.tensor(0.0, dtype=torch.float64))) == pytest.approx(curvature, abs=1e-12)


@settings(max_examples=40)
@given(x=st.floats(-2, 2), grid=st.integers(2, 12))
def test_features_lie_between_zero_and_one_inside(x, grid):
    features = RBF(1, 1, grid=grid, seed=0).double().features(torch.tensor([x], dtype=torch.float64))
    assert float(features.min()) >= 0
    assert float(features.max()) <= 1
    assert float(features.max()) >= np.exp(-0.25) - 1e-12  # no point is further than h/2 from a centre


def test_linear_continuation_keeps_value_and_slope():
    basis = RBF(1, 3, seed=0).double()
    step = 1e-9
    x = torch.tensor([[-2 - step], [-2 + step], [2 - step], [2 + step]], dtype=torch.float64)
    values, slopes = torch.func.jvp(basis.edges, (x,), (torch.ones_like(x),))
    for inner, outer in ((1, 0), (2, 3)):
        assert_close(values[outer], values[inner], rtol=0, atol=1e-7)
        assert_close(slopes[outer], slopes[inner], rtol=0, atol=1e-6)


def test_clamp_is_flat_and_zero_dies_out():
    far = torch.tensor([[5.0], [50.0]], dtype=torch.float64)
    end = torch.tensor([[2.0]], dtype=torch.float64)
    clamped = RBF(1, 2, extend="clamp", seed=0).double()
    assert_close(clamped(far), clamped(end).expand(2, 2))
    fading = RBF(1, 2, extend="zero", seed=0).double()
    assert float(fading(far)[1].detach().abs().max()) == 0


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("extend", ["linear", "clamp", "zero"])
def test_the_functions_of_several_grids_are_those_of_each(kind, extend):
    make, x = KINDS[kind], torch.linspace(-5, 5, 41, dtype=torch.float64)
    both = make(coarser=[5], grid=9, extend=extend, seed=0).double()
    parts = [make(grid=grid, extend=extend, seed=0).double().features(x) for grid in (5, 9)]
    assert_close(both.features(x), torch.cat(parts, -1), rtol=0, atol=1e-14)


def test_refining_again_keeps_every_grid():
    basis = RBF(2, 3, grid=4, seed=0).double()
    finer = basis.refine(6).refine(12)
    assert (finer.coarser, finer.grid, finer.num_features) == ([4, 6], 12, 22)
    assert float(finer.coef[..., 4:].detach().abs().max()) == 0
    assert basis.refine(4).config() == basis.config()


def test_a_smaller_grid_is_refused():
    with pytest.raises(RefineError, match="grid=3 is below the present 8"):
        RBF(1, 1, seed=0).refine(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 1}, "at least 2"),
        ({"coarser": 4}, "coarser=4 must be a list of whole numbers of at least 2"),
        ({"coarser": [1]}, "coarser=1 must be a whole number of at least 2"),
        ({"extend": "tanh"}, "'linear', 'clamp', 'zero'"),
        ({"grid_range": (2, 2)}, "low < high"),
        ({"grid_range": (0, float("inf"))}, "must be finite"),
        ({"bandwidth": 0}, "bandwidth=0 must be a finite number above 0"),
        ({"bandwidth": "wide"}, "bandwidth='wide' must be a finite number above 0"),
        ({"bandwidth": float("nan")}, "bandwidth=nan must be"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        RBF(1, 1, **options)
