"""Truncated powers: knots, exact translation to and from B-splines, and refinement."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import qkan
from qkan.bases import RBF, BSpline, TruncatedPower
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract


def knots_of(basis: TruncatedPower) -> np.ndarray:
    """Inner knots in units of u, from the options or the trained gaps."""
    low, high = basis.grid_range
    if basis.trainable:
        gaps = np.log1p(np.exp(basis.raw_gaps.detach().double().numpy()))
        return 2 * np.cumsum(gaps)[:-1] / gaps.sum() - 1
    if basis.given_knots is not None:
        return 2 * (np.array(basis.given_knots) - low) / (high - low) - 1
    return 2 * np.arange(1, basis.grid) / basis.grid - 1


def dense_edges(basis: TruncatedPower, x: torch.Tensor) -> torch.Tensor:
    """Polynomial and truncated powers in numpy, and the tangent at the nearer end outside."""
    low, high = basis.grid_range
    u = 2 * (x.numpy()[..., None, :] - low) / (high - low) - 1
    held, k = np.clip(u, -1, 1), basis.k
    values = [held**d for d in range(k + 1)] + [np.where(held > t, held - t, 0) ** k for t in knots_of(basis)]
    slopes = [d * held ** max(d - 1, 0) for d in range(k + 1)]
    slopes += [np.where(held > t, k * np.abs(held - t) ** (k - 1), 0) for t in knots_of(basis)]
    total, coef = 0, basis.coef.detach().double().numpy()
    for j, (value, slope) in enumerate(zip(values, slopes, strict=True)):
        outside = slope * (u - held) if basis.extend == "linear" else 0
        total = total + (value + outside) * coef[..., j]
    return torch.as_tensor(total)


class TestCubic(BasisContract):
    layer_options: ClassVar = {"basis": "truncated_power"}
    anchors = (-1.0, -0.2, 0.6, 1.0)
    refine_size = 10

    def make_basis(self, in_features, out_features, **kw):
        return TruncatedPower(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestTrainedKnots(BasisContract):
    options: ClassVar = {"grid": 3, "k": 2, "grid_range": (0, 3), "knots": [0.5, 2.0], "trainable": True}
    layer_options: ClassVar = {"basis": "truncated_power", **options, "extend": "clamp"}
    interior = (0.0, 3.0)
    anchors = (0.0, 1.0, 3.0)
    refine_size = 5

    def make_basis(self, in_features, out_features, **kw):
        return TruncatedPower(in_features, out_features, **self.options, extend="clamp", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


SPLINES = {
    "grid": st.integers(1, 8),
    "k": st.integers(1, 4),
    "low": st.floats(-5, 5),
    "length": st.floats(0.5, 10),
    "extend": st.sampled_from(["linear", "clamp"]),
}


def wide(low: float, length: float) -> torch.Tensor:
    return torch.linspace(low - length, low + 2 * length, 60, dtype=torch.float64).reshape(30, 2)


@settings(max_examples=30)
@given(**SPLINES)
def test_b_splines_become_truncated_powers_and_back(grid, k, low, length, extend):
    splines = BSpline(2, 3, grid=grid, k=k, grid_range=(low, low + length), extend=extend, seed=0).double()
    powers = TruncatedPower.from_bspline(splines)
    x = wide(low, length)
    scale = 1 + float(splines.edges(x).detach().abs().max())
    assert_close(powers.edges(x), splines.edges(x), rtol=0, atol=1e-8 * scale)
    back = powers.to_bspline()
    assert back.config() == splines.config()
    assert_close(back.coef, splines.coef, rtol=0, atol=1e-8)


@settings(max_examples=20)
@given(grid=st.integers(1, 6), more=st.integers(0, 7), k=st.integers(1, 3), trainable=st.booleans())
def test_refining_is_exact_for_every_size(grid, more, k, trainable):
    basis = TruncatedPower(2, 2, grid=grid, k=k, trainable=trainable, seed=0).double()
    x = wide(-1, 2)
    finer = basis.refine(grid + more)
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-9)
    assert bool((finer.inner_knots().diff() > 0).all())


@settings(max_examples=30)
@given(gaps=st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_trained_knots_stay_ordered_and_inside(gaps):
    basis = TruncatedPower(grid=len(gaps), trainable=True, seed=0).double()
    with torch.no_grad():
        basis.raw_gaps.copy_(torch.tensor(gaps))
    knots = basis.inner_knots().detach()
    assert bool((knots.diff() >= 0).all())
    assert bool((knots.abs() <= 1).all())


def test_refining_a_uniform_grid_by_a_multiple_keeps_it_uniform():
    finer = TruncatedPower(grid=3, seed=0).refine(9)
    assert finer.given_knots is None
    assert_close(finer.to_bspline().edges(torch.ones(1, 1)), finer.edges(torch.ones(1, 1)), rtol=1e-4, atol=1e-4)


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(3, 2, "truncated_power", trainable=True, seed=0)
    expected = torch.tensor([-0.6, -0.2, 0.2, 0.6])
    assert_close(layer.basis.inner_knots(), expected, rtol=0, atol=1e-6)


def test_a_translation_that_would_not_be_exact_is_refused():
    with pytest.raises(OptionError, match="equally spaced, fixed knots"):
        TruncatedPower(trainable=True).to_bspline()
    with pytest.raises(OptionError, match="equally spaced, fixed knots"):
        TruncatedPower(grid=2, knots=[0.5]).to_bspline()
    with pytest.raises(OptionError, match="dies out outside its grid"):
        TruncatedPower.from_bspline(BSpline(extend="zero"))
    with pytest.raises(OptionError, match="needs a BSpline basis, not a RBF"):
        TruncatedPower.from_bspline(RBF())
    with pytest.raises(RefineError, match="grid=4 is below the present 5"):
        TruncatedPower().refine(4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 0}, "at least 1"),
        ({"k": 0}, "at least 1"),
        ({"grid": 3, "knots": [0.5, 0.2]}, r"knots=\[0.5, 0.2\] must ascend strictly inside grid_range"),
        ({"grid": 3, "knots": [0.5, 1.2]}, "must ascend strictly"),
        ({"grid": 3, "knots": [0.5]}, "knots has 1 numbers; grid=3 needs 2 inner knots"),
        ({"grid": 3, "knots": ["a", 1]}, "must be a list of numbers"),
        ({"grid": 3, "knots": [0.1, float("nan")]}, "must ascend strictly"),
        ({"extend": "zero"}, "'linear', 'clamp'"),
        ({"trainable": "edge"}, "trainable='edge' is not known"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        TruncatedPower(**options)
