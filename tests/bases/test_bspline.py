"""B-splines against scipy's, which evaluates by de Boor's algorithm, and the rules outside the grid."""

import warnings
from typing import ClassVar

import numpy as np
import pytest
import scipy.interpolate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import BSpline
from qkan.errors import OptionError, RefineError, RefineWarning
from qkan.testing import BasisContract
from qkan.testing.basis_contract import uniform


def scipy_spline(basis: BSpline, source: int) -> scipy.interpolate.BSpline:
    """The edge functions of one input, (…, m).

    Evaluated at the upper end, scipy uses the last piece inside the grid, also for the slope. For extend="zero",
    k zero coefficients on either side make scipy's base interval as wide as the support of the splines.
    """
    points, k = basis.grid_points()[source].numpy(), basis.k
    pad = k if basis.extend == "zero" else 0
    outside = (points[-1] - points[0]) / basis.grid * np.arange(1, k + pad + 1)
    knots = np.concatenate([points[0] - outside[::-1], points, points[-1] + outside])
    coefficients = basis.coef.detach().double().numpy()[:, source].T
    return scipy.interpolate.BSpline(knots, np.pad(coefficients, ((pad, pad), (0, 0))), k, extrapolate=pad == 0)


def dense_edges(basis: BSpline, x: torch.Tensor) -> torch.Tensor:
    """Every edge function at its own input, with the rule outside the grid applied to scipy's spline."""
    columns = []
    for source, points in enumerate(np.moveaxis(x.numpy(), -1, 0)):
        spline, ends = scipy_spline(basis, source), basis.grid_points()[source, [0, -1]].numpy()
        inside = points if basis.extend == "zero" else np.clip(points, *ends)
        values = np.nan_to_num(spline(inside))
        if basis.extend == "linear":
            values = values + spline(inside, nu=1) * (points - inside)[..., None]
        columns.append(values)
    return torch.as_tensor(np.stack(columns, -1))


DEGREES = [1, 2, 3, 5]


class TestCubicLinear(BasisContract):
    layer_options: ClassVar = {"basis": "bspline"}
    anchors = (-1.4, -1.0, -0.6, -0.2, 0.2, 0.6, 1.0, 1.4)
    refine_size = 15

    def make_basis(self, in_features, out_features, **kw):
        return BSpline(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestPiecewiseLinearClamp(BasisContract):
    layer_options: ClassVar = {"basis": "bspline", "grid": 1, "k": 1, "grid_range": [-2, 1], "extend": "clamp"}
    interior = (-2.0, 1.0)
    anchors = (-2.0, 1.0)
    refine_size = 3

    def make_basis(self, in_features, out_features, **kw):
        return BSpline(in_features, out_features, grid=1, k=1, grid_range=(-2, 1), extend="clamp", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestQuadraticZero(BasisContract):
    layer_options: ClassVar = {"basis": "bspline", "grid": 4, "k": 2, "extend": "zero"}
    anchors = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    refine_size = None
    refine_approximately = 8

    def make_basis(self, in_features, out_features, **kw):
        return BSpline(in_features, out_features, grid=4, k=2, extend="zero", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "grid"), [(1, 1), (1, 2), (2, 2), (3, 3), (1, 7), (2, 7), (3, 7), (5, 7)])
@pytest.mark.parametrize("extend", ["linear", "clamp", "zero"])
def test_every_degree_and_grid_agrees_with_scipy(k, grid, extend):
    basis = BSpline(2, 3, grid=grid, k=k, grid_range=(-0.7, 2.1), extend=extend, seed=0).double()
    x = uniform((300, 2), -4, 5)
    assert basis.num_features == grid + k
    expected = dense_edges(basis, x)
    assert_close(basis.edges(x), expected, rtol=1e-11, atol=1e-11)


@settings(max_examples=60)
@given(
    more=st.integers(0, 8), k=st.integers(1, 5), x=st.floats(-1, 1), extend=st.sampled_from(["linear", "clamp", "zero"])
)
def test_features_are_a_partition_of_unity_inside(more, k, x, extend):
    grid = k + more
    basis = BSpline(1, 1, grid=grid, k=k, extend=extend, seed=0).double()
    features = basis.features(torch.tensor([x], dtype=torch.float64))
    assert float(features.sum()) == pytest.approx(1, abs=1e-12)
    assert float(features.min()) >= -1e-15
    assert int((features > 0).sum()) <= k + 1


@settings(max_examples=40)
@given(x=st.floats(-50, 50), extend=st.sampled_from(["linear", "clamp"]))
def test_continued_features_sum_to_one_everywhere(x, extend):
    basis = BSpline(1, 1, extend=extend, seed=0).double()
    assert float(basis.features(torch.tensor([x], dtype=torch.float64)).sum()) == pytest.approx(1, abs=1e-10)


# -- outside the grid ----------------------------------------------------------------------------------------------


def value_and_slope(basis: BSpline, points: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(points, dtype=torch.float64).unsqueeze(-1)
    values, slopes = torch.func.jvp(basis.edges, (x,), (torch.ones_like(x),))
    return values.flatten(1).detach(), slopes.flatten(1).detach()


@pytest.mark.parametrize("k", DEGREES)
def test_linear_continuation_keeps_value_and_slope_at_the_ends(k):
    basis = BSpline(1, 3, k=k, seed=0).double()
    for end, outwards in ((-1.0, -1e-9), (1.0, 1e-9)):
        values, slopes = value_and_slope(basis, [end - outwards, end, end + outwards])
        assert_close(values[0], values[2], rtol=0, atol=1e-7)
        assert_close(slopes[0], slopes[2], rtol=0, atol=1e-6)
        if k > 1:  # the slope of straight pieces jumps at a knot
            assert_close(slopes[1], slopes[2], rtol=0, atol=1e-6)


def test_linear_continuation_is_a_straight_line_of_nonzero_slope():
    basis = BSpline(1, 3, seed=0).double()
    values, slopes = value_and_slope(basis, [1.0, 2.0, 3.0, -1.0, -2.0, -3.0])
    for first in (0, 3):
        one, two, three = values[first : first + 3]
        assert_close(two - one, three - two, rtol=1e-12, atol=1e-12)
        assert float(slopes[first + 1].abs().min()) > 1e-3


def test_clamp_holds_the_end_value_and_has_no_slope():
    basis = BSpline(1, 3, extend="clamp", seed=0).double()
    values, slopes = value_and_slope(basis, [1.0, 1.5, 40.0, -1.0, -1.5, -40.0])
    assert_close(values[1:3], values[[0, 0]])
    assert_close(values[4:6], values[[3, 3]])
    assert float(slopes[[1, 2, 4, 5]].abs().max()) == 0


def test_zero_dies_out_k_steps_outside():
    basis = BSpline(1, 3, grid=4, k=3, extend="zero", seed=0).double()
    values, _ = value_and_slope(basis, [-2.4, 2.4, -2.5, 2.5, 30.0])
    assert float(values[:2].abs().min()) > 0
    assert float(values[2:].abs().max()) == 0


# -- refinement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "grid", "size"), [(1, 1, 4), (2, 3, 6), (3, 3, 6), (3, 5, 15), (5, 5, 15)])
def test_nested_grids_are_refined_without_a_warning(k, grid, size):
    basis = BSpline(2, 2, grid=grid, k=k, seed=0).double()
    x = uniform((200, 2), -2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finer = basis.refine(size)
    assert finer.grid == size
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-6)


def test_grids_that_are_not_nested_warn_with_the_residual():
    basis = BSpline(2, 2, grid=5, seed=0).double()
    with pytest.warns(RefineWarning, match=r"grid 5 to 7 is not nested: the relative change is \d\.\de-\d\d") as caught:
        finer = basis.refine(7)
    stated = float(str(caught[0].message).rstrip(".").split()[-1])
    x = torch.linspace(-1, 1, 501, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)
    before, after = basis.edges(x).detach(), finer.edges(x).detach()
    assert float((after - before).norm() / before.norm()) == pytest.approx(stated, rel=0.1)


def test_splines_that_die_out_are_refined_within_the_grid_and_warn():
    basis = BSpline(2, 3, grid=4, extend="zero", seed=0).double()
    with pytest.warns(RefineWarning, match="die out sooner outside the grid; within, nothing changes"):
        finer = basis.refine(8)
    x = uniform((100, 2), -1, 1)
    assert finer.refine_residual < 1e-10
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-10)
    assert float((finer.edges(x + 2.2) - basis.edges(x + 2.2)).detach().abs().max()) > 1e-3


def test_a_smaller_grid_is_refused():
    with pytest.raises(RefineError, match="grid=3"):
        BSpline(1, 1, grid=5, seed=0).refine(3)


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extend": "periodic"}, "'linear', 'clamp', 'zero'"),
        ({"grid": 0}, "grid=0 must be a whole number of at least 1"),
        ({"k": 4, "grid": 3}, "k=4 is above grid=3: splines of degree k need a grid of at least k intervals"),
        ({"k": 0}, "k=0 must be a whole number of at least 1"),
        ({"k": 1.5}, r"k=1\.5 must be a whole number"),
        ({"grid_range": (1, -1)}, "low < high"),
        ({"grid_range": (1, float("nan"))}, "low < high"),
        ({"grid_range": 3}, r"two numbers \(low, high\)"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        BSpline(2, 2, **options)
