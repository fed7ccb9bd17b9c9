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
from qkan.bases._chunks import CHUNK
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import BFLOAT16_UNIT, largest_tensors, stratified_normal, uniform


def knots_of(basis: TruncatedPower) -> np.ndarray:
    """Inner knots in units of u, from the options or the trained gaps: (grid - 1,), of every edge (grid - 1, m, n)."""
    low, high = basis.grid_range
    if basis.trainable:
        gaps = np.log1p(np.exp(basis.raw_gaps.detach().double().numpy()))
        return 2 * np.moveaxis(np.cumsum(gaps, -1)[..., :-1] / gaps.sum(-1, keepdims=True), -1, 0) - 1
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


class EdgeKnots(BasisContract):
    """Knots of every edge's own."""

    options: ClassVar[dict] = {}
    per_edge = True

    def make_basis(self, in_features, out_features, **kw):
        return TruncatedPower(in_features, out_features, trainable="edge", **self.options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    def bfloat16_bound(self, basis, x):
        """Terms are added in float32 and rounded once, but powers of u may cancel."""
        u = basis._argument(x)
        powers = (basis._powers(u).unsqueeze(-3) * basis.coef[..., : basis.k + 1]).abs().sum(-1)
        return (
            4
            * BFLOAT16_UNIT
            * (
                powers
                + (basis._beyond(u.unsqueeze(-2), basis.inner_knots()) * basis.coef[..., basis.k + 1 :]).abs().sum(-1)
            )
        )

    @staticmethod
    def _sampled_moments(basis):
        """E[B²] and E[B'²] of every feature, averaged over edges: one edge at a time as a basis with shared knots."""
        points, sums = stratified_normal(10_000, seed=11), []
        for gaps in basis.raw_gaps.detach().flatten(0, 1):
            config = {**basis.config(), "trainable": True}
            one = TruncatedPower(1, 1, **config, seed=0).double()
            with torch.no_grad():
                one.raw_gaps.copy_(gaps)
            samples = torch.func.jvp(one.features, (points,), (torch.ones_like(points),))
            sums.append([sample.detach().square().mean(0) for sample in samples])
        return tuple(torch.stack(part).mean(0) for part in zip(*sums, strict=True))


class TestEdgeCubic(EdgeKnots):
    layer_options: ClassVar = {"basis": "truncated_power", "trainable": "edge"}
    anchors = (-1.0, 0.1, 1.0)
    refine_size = 8


class TestEdgeLinearClamp(EdgeKnots):
    options: ClassVar = {"grid": 3, "k": 2, "grid_range": (0, 3), "knots": [0.5, 2.0], "extend": "clamp"}
    layer_options: ClassVar = {"basis": "truncated_power", "trainable": "edge", **options}
    interior = (0.0, 3.0)
    anchors = (0.0, 1.0, 3.0)
    refine_size = 4


SPLINES = {
    "k": st.integers(1, 4),
    "more": st.integers(0, 6),
    "low": st.floats(-5, 5),
    "length": st.floats(0.5, 10),
    "extend": st.sampled_from(["linear", "clamp"]),
}


def wide(low: float, length: float) -> torch.Tensor:
    return torch.linspace(low - length, low + 2 * length, 60, dtype=torch.float64).reshape(30, 2)


@settings(max_examples=30)
@given(**SPLINES)
def test_b_splines_become_truncated_powers_and_back(k, more, low, length, extend):
    splines = BSpline(2, 3, grid=k + more, k=k, grid_range=(low, low + length), extend=extend, seed=0).double()
    powers = TruncatedPower.from_bspline(splines)
    x = wide(low, length)
    scale = 1 + float(splines.edges(x).detach().abs().max())
    assert_close(powers.edges(x), splines.edges(x), rtol=0, atol=1e-8 * scale)
    back = powers.to_bspline()
    assert back.config() == splines.config()
    assert_close(back.coef, splines.coef, rtol=0, atol=1e-8)


@settings(max_examples=20)
@given(
    inner=st.integers(0, 5),
    more=st.integers(0, 7),
    k=st.integers(1, 3),
    trainable=st.sampled_from([True, False, "edge"]),
)
def test_refining_is_exact_for_every_size(inner, more, k, trainable):
    grid = k + inner
    basis = TruncatedPower(2, 2, grid=grid, k=k, trainable=trainable, seed=0).double()
    x = wide(-1, 2)
    finer = basis.refine(grid + more)
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-9)
    assert bool((finer.inner_knots().diff() > 0).all())


@settings(max_examples=30)
@given(gaps=st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_trained_knots_stay_ordered_and_inside(gaps):
    basis = TruncatedPower(grid=len(gaps), k=2, trainable=True, seed=0).double()
    with torch.no_grad():
        basis.raw_gaps.copy_(torch.tensor(gaps))
    knots = basis.inner_knots().detach()
    assert bool((knots.diff() >= 0).all())
    assert bool((knots.abs() <= 1).all())


@settings(max_examples=20)
@given(seed=st.integers(0, 100), grid=st.integers(3, 7), extend=st.sampled_from(["linear", "clamp"]))
def test_shared_knots_wherever_they_are_become_grid_points(seed, grid, extend):
    basis = TruncatedPower(2, 3, grid=grid, trainable=True, grid_range=(-2, 1), extend=extend, seed=seed).double()
    with torch.no_grad():
        basis.raw_gaps.add_(uniform((grid,), -0.3, 0.3, seed=seed))
    splines = basis.to_bspline()
    x = wide(-2, 3)
    assert_close(splines.edges(x), basis.edges(x), rtol=0, atol=1e-7)
    inner = splines.grid_points()[:, 1:-1]
    assert_close(inner, (-2 + 1.5 * (basis.inner_knots().detach() + 1)).expand(2, -1), rtol=0, atol=1e-9)


def test_edges_train_knots_of_their_own():
    basis = TruncatedPower(1, 2, grid=4, k=1, trainable="edge", seed=0).double()
    x = torch.linspace(-1, 1, 101, dtype=torch.float64).unsqueeze(-1)
    places = torch.tensor([-0.6, 0.55], dtype=torch.float64)
    y = torch.relu(x - places)
    optimiser = torch.optim.LBFGS(basis.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (basis(x) - y).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    knots = basis.inner_knots().detach()[:, 0]
    assert float((basis(x) - y).detach().square().mean()) < 1e-6
    assert float((knots - places.unsqueeze(-1)).abs().amin(-1).max()) < 0.02
    assert bool((knots.diff() > 0).all())


def test_no_tensor_has_a_number_for_every_row_and_edge():
    basis = TruncatedPower(17, 41, trainable="edge", seed=0)
    made, saved = largest_tensors(basis, 1000)
    assert CHUNK < 17 * 41 * 4 * 1000 / 5
    assert max(made, saved) <= max(CHUNK, 1000 * 41, 1000 * 17 * 4)


def test_chunks_change_neither_values_nor_gradients():
    basis = TruncatedPower(17, 41, trainable="edge", seed=0).double()
    x, weight = uniform((300, 17), -2, 2).requires_grad_(), uniform((41, 17), -1, 1).requires_grad_()
    assert len(x) * 17 * 41 * 4 > 2 * CHUNK
    leaves, results = [x, weight, *basis.parameters()], []
    for value in (basis(x, weight), (basis.edges(x) * weight).sum(-1)):
        results.append([value, *torch.autograd.grad(value.sin().sum(), leaves)])
    for mine, plain in zip(*results, strict=True):
        assert_close(mine, plain, rtol=1e-9, atol=1e-11)


def test_a_layer_with_knots_of_every_edge_is_no_matrix_product():
    layer = qkan.KANLayer(3, 2, "truncated_power", trainable="edge", seed=0)
    with pytest.raises(OptionError, match="not features times coefficients"):
        layer.features(torch.zeros(4, 3))
    with pytest.raises(OptionError, match="no features common to all edges"):
        layer.basis.features(torch.zeros(4, 3))
    x = uniform((20, 3), -2, 2).float()
    assert_close(layer.freeze()(x), layer(x).detach())


def test_refining_a_uniform_grid_by_a_multiple_keeps_it_uniform():
    finer = TruncatedPower(grid=3, seed=0).refine(9)
    assert finer.given_knots is None
    assert_close(finer.to_bspline().edges(torch.ones(1, 1)), finer.edges(torch.ones(1, 1)), rtol=1e-4, atol=1e-4)


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(3, 2, "truncated_power", trainable=True, seed=0)
    expected = torch.tensor([-0.6, -0.2, 0.2, 0.6])
    assert_close(layer.basis.inner_knots(), expected, rtol=0, atol=1e-6)


def test_a_translation_that_would_not_be_exact_is_refused():
    with pytest.raises(OptionError, match="knots on every edge are not B-splines"):
        TruncatedPower(trainable="edge").to_bspline()
    moved = BSpline(2, 1, seed=0)
    moved.update_grid(uniform((20, 2), -1, 1))
    with pytest.raises(OptionError, match="moved to data have other knots for every input"):
        TruncatedPower.from_bspline(moved)
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
        ({"trainable": "all"}, "trainable='all' is not known; choose one of True, False, 'edge'"),
        ({"grid": 2, "k": 3}, "k=3 is above grid=2"),
        ({"grid": 3, "knots": [0.5, 0.5]}, "must ascend strictly"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        TruncatedPower(**options)
