"""B-splines whose grid has moved to data: values, what an update keeps, and what it refuses."""

import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import qkan
from qkan.bases import BSpline
from qkan.errors import NonFiniteError, OptionError, RefineWarning, ShapeError
from qkan.kernels import explain
from qkan.testing import BasisContract
from qkan.testing.basis_contract import stratified_normal, uniform


def spline_value(x: float, knots: list[float], m: int, k: int, last: float) -> float:
    """B_{m,k}(x) by the Cox-de Boor recursion as written in books; ``last`` belongs to the interval that ends there."""
    if k == 0:
        return float(knots[m + 1] == last if x == last else knots[m] <= x < knots[m + 1])
    left = (x - knots[m]) / (knots[m + k] - knots[m]) * spline_value(x, knots, m, k - 1, last)
    right = (knots[m + k + 1] - x) / (knots[m + k + 1] - knots[m + 1]) * spline_value(x, knots, m + 1, k - 1, last)
    return left + right


def spline_slope(x: float, knots: list[float], m: int, k: int, last: float) -> float:
    left = spline_value(x, knots, m, k - 1, last) / (knots[m + k] - knots[m])
    return k * (left - spline_value(x, knots, m + 1, k - 1, last) / (knots[m + k + 1] - knots[m + 1]))


def dense_edges(basis: BSpline, x: torch.Tensor) -> torch.Tensor:
    """Edge by edge from the grid points, with the rule outside of them."""
    k, coef = basis.k, basis.coef.detach().double().numpy()
    rows = x.double().reshape(-1, basis.in_features).numpy()
    found = np.zeros((len(rows), basis.out_features, basis.in_features))
    for i, points in enumerate(basis.grid_points().numpy()):
        low, high = points[0], points[-1]
        step = (high - low) / basis.grid
        knots = [*(low - step * np.arange(k, 0, -1)), *points, *(high + step * np.arange(1, k + 1))]
        for row in range(len(rows)):
            place = rows[row, i] if basis.extend == "zero" else min(max(rows[row, i], low), high)
            values = np.array([spline_value(place, knots, m, k, high) for m in range(basis.num_features)])
            if basis.extend == "linear" and place != rows[row, i]:
                slopes = [spline_slope(place, knots, m, k, high) for m in range(basis.num_features)]
                values = values + np.array(slopes) * (rows[row, i] - place)
            found[row, :, i] = coef[:, i] @ values
    return torch.as_tensor(found).reshape(*x.shape[:-1], basis.out_features, basis.in_features)


def points_for(in_features: int, grid: int) -> torch.Tensor:
    """Uneven grid points on about [-1, 1], others for every input."""
    gaps = 0.2 + uniform((in_features, grid), 0.0, 1.0, seed=7)
    ends = torch.cat([torch.zeros(in_features, 1, dtype=torch.float64), gaps.cumsum(-1)], -1)
    shift = 0.05 * torch.arange(in_features, dtype=torch.float64).unsqueeze(-1)
    return 2 * ends / ends[:, -1:] - 1 - shift


class MovedGrid(BasisContract):
    options: ClassVar[dict] = {}
    anchors = (-1.3, -1.0, 0.0, 1.0, 1.2)

    def make_basis(self, in_features, out_features, **kw):
        basis = BSpline(in_features, out_features, **self.options, **kw)
        basis.set_grid(points_for(in_features, basis.grid))
        return basis

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    @staticmethod
    def _sampled_moments(basis):
        """E[B²] and E[B'²], averaged over the inputs."""
        points = stratified_normal(20_000, seed=11).unsqueeze(-1).repeat(1, basis.in_features)
        found = torch.func.jvp(basis.features, (points,), (torch.ones_like(points),))
        return tuple(sample.square().mean((0, 1)) for sample in found)


class TestMovedCubic(MovedGrid):
    layer_options: ClassVar = {"basis": "bspline"}
    refine_size = 7  # halves the widest intervals


class TestMovedQuadraticClamp(MovedGrid):
    options: ClassVar = {"grid": 3, "k": 2, "extend": "clamp"}
    layer_options: ClassVar = {"basis": "bspline", **options}
    refine_size = 6


class TestMovedLinear(MovedGrid):
    options: ClassVar = {"grid": 4, "k": 1}
    layer_options: ClassVar = {"basis": "bspline", **options}
    refine_size = 8


# -- what an update keeps ------------------------------------------------------------------------------------------


def relative_change(basis: BSpline, before: torch.Tensor, x: torch.Tensor) -> float:
    return float((basis.edges(x).detach() - before).norm() / before.norm())


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    grid=st.integers(3, 8),
    k=st.integers(1, 3),
    grid_eps=st.floats(0, 1),
    extend=st.sampled_from(["linear", "clamp"]),
)
def test_straight_lines_survive_every_update(seed, grid, k, grid_eps, extend):
    basis = BSpline(2, 3, grid=grid, k=k, extend=extend, seed=seed).double()
    with torch.no_grad():  # Σ_m ξ_m B_m(x) = x, where ξ_m is the mean of the inner knots of B_m
        places = basis.knots[1:-1].unfold(-1, k, 1).mean(-1)
        basis.coef.copy_(places * basis.coef[..., :1] + basis.coef[..., 1:2])
    x = uniform((200, 2), -1, 1, seed=seed)
    before = basis.edges(x).detach()
    report = basis.update_grid(x, grid_eps)
    assert report.residual < 1e-9
    assert relative_change(basis, before, x) < 1e-9


def test_the_residual_is_the_change_on_the_samples():
    basis = BSpline(3, 4, seed=0).double()
    x = 0.8 * torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = basis.edges(x).detach()
    report = basis.update_grid(x)
    assert report.residual == pytest.approx(relative_change(basis, before, x), rel=1e-6)
    assert report.residual > 1e-6  # other knots: it is not exact
    assert report.ranks == [8, 8, 8]
    assert "fix all 8 coefficients of 3 of 3 inputs" in str(report)


def test_a_fine_grid_keeps_a_smooth_function_closely():
    basis = BSpline(1, 1, grid=20, seed=0).double()
    places = basis.knots[1:-1].unfold(-1, 3, 1).mean(-1)
    with torch.no_grad():
        basis.coef.copy_(torch.sin(2 * places))
    x = uniform((2000, 1), -1, 1)
    assert basis.update_grid(x).residual < 1e-4


def test_equal_spacing_on_the_old_range_changes_nothing():
    basis = BSpline(2, 2, seed=0).double()
    x = torch.cat([uniform((100, 2), -1, 1), torch.ones(1, 2), -torch.ones(1, 2)])
    before, coef = basis.edges(x).detach(), basis.coef.detach().clone()
    assert basis.update_grid(x, grid_eps=1.0).residual < 1e-12
    assert_close(basis.coef, coef, rtol=0, atol=1e-10)
    assert relative_change(basis, before, x) < 1e-12


def test_points_are_quantiles_mixed_with_equal_spacing():
    basis = BSpline(1, 1, grid=4, k=2, seed=0).double()
    x = torch.tensor([[0.0], [1], [2], [3], [4], [5], [6], [20]], dtype=torch.float64)
    basis.update_grid(x, grid_eps=0.25)
    quantiles, equal = np.array([0.0, 2, 4, 6, 20]), np.array([0.0, 5, 10, 15, 20])
    np.testing.assert_allclose(basis.grid_points()[0].numpy(), 0.25 * equal + 0.75 * quantiles, atol=1e-12)


def test_data_outside_of_the_first_grid_are_covered():
    """Outside its grid a spline that dies out leaves only the base branch; after an update it can learn there."""
    basis = BSpline(1, 1, extend="zero", seed=0)
    x = torch.linspace(4, 8, 100).unsqueeze(-1)
    assert float(basis.features(x).abs().max()) == 0
    basis.update_grid(x)
    assert_close(basis.features(x).sum(-1), torch.ones(100, 1))
    basis(x).square().sum().backward()
    basis(x + 0.1).sum().backward()
    assert float(basis.coef.grad.abs().min()) > 0


def test_an_update_in_float32_resolves_unscaled_inputs():
    basis = BSpline(1, 2, seed=0)
    x = 1000 + torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    report = basis.update_grid(x)
    assert report.residual < 1e-2
    assert bool((basis.knots.diff() > 0).all())
    assert_close(basis.edges(x).double(), basis.double().edges(x.double()), rtol=1e-3, atol=1e-3)


# -- degenerate inputs ---------------------------------------------------------------------------------------------

COLUMNS = {
    "constant": lambda x: torch.full_like(x, 0.3),
    "constant outside": lambda x: torch.full_like(x, 7.0),
    "binary": lambda x: (x > 0).double(),
    "one outlier": lambda x: torch.where(x == x.max(), 50.0, 0.0).double(),
    "duplicated": lambda x: (x * 2).round() / 2,
}


@pytest.mark.parametrize("grid_eps", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_degenerate_inputs_keep_different_knots(column, grid_eps, dtype):
    x = uniform((60, 1), -1, 1)
    x = torch.cat([x, COLUMNS[column](x)], -1)
    basis = BSpline(2, 3, seed=0).to(dtype)
    before = basis.edges(x.to(dtype)).detach()
    report = basis.update_grid(x, grid_eps)
    assert bool((basis.knots.diff() > 0).all())
    assert report.ranks[1] < 8 or column == "duplicated"
    assert report.residual < 0.1
    after = basis.edges(x.to(dtype))
    tolerance = {torch.bfloat16: 0.05}.get(dtype, 1e-3)
    assert_close(after[..., 1], before[..., 1], rtol=tolerance, atol=tolerance)
    gradients = torch.autograd.grad(after.sum(), list(basis.parameters()))
    assert all(bool(g.isfinite().all()) for g in (after, *gradients))


def test_between_two_values_the_old_function_is_kept():
    basis = BSpline(1, 2, seed=0).double()
    with torch.no_grad():
        basis.coef.copy_(basis.knots[1:-1].unfold(-1, 3, 1).mean(-1) ** 2)
    basis.update_grid(torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(20).unsqueeze(-1))
    between = basis.edges(torch.tensor([[0.3], [0.6]], dtype=torch.float64))[..., 0].detach()
    assert_close(between[:, 0], torch.tensor([0.09, 0.36], dtype=torch.float64), rtol=0, atol=0.2)


# -- copies, files and kernels -------------------------------------------------------------------------------------


def test_a_state_dict_brings_its_grid_or_equal_intervals():
    plain, moved = BSpline(2, 3, seed=0), BSpline(2, 3, seed=1)
    x = uniform((40, 2), -2, 2).float()
    moved.update_grid(x)
    other = BSpline(2, 3, seed=2)
    for source in (moved, plain, moved):
        other.load_state_dict(source.state_dict())
        assert torch.equal(other(x), source(x))
        assert (other.points is None) == (source.points is None)
    with pytest.raises(RuntimeError, match="size mismatch"):
        BSpline(2, 3, grid=6).load_state_dict(moved.state_dict())


def test_half_precision_keeps_the_points():
    basis = BSpline(1, 1, seed=0)
    basis.update_grid(1 + 1e-3 * torch.rand(50, 1, generator=torch.Generator().manual_seed(0)))
    points = basis.grid_points()
    assert torch.equal(basis.bfloat16().grid_points(), points)


def layer_values(layer: qkan.KANLayer, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("rows", [7, 2000])
def test_every_path_of_a_layer_agrees_with_float64(moved, rows):
    """Uniform grids take the compiled passes, grids of their own must not: their values would be those of others."""
    layer = qkan.KANLayer(9, 11, "bspline", seed=0)
    x = torch.randn(rows, 9, generator=torch.Generator().manual_seed(1))
    if moved:
        layer.update_grid(torch.randn(300, 9, generator=torch.Generator().manual_seed(2)) ** 3)
    found = layer_values(layer, x)
    for mine, exact in zip(found, layer_values(layer.double(), x.double()), strict=True):
        assert float((mine.double() - exact).norm() / exact.norm()) < 1e-5


def test_the_path_is_reported(monkeypatch):
    layer = qkan.KANLayer(9, 11, "bspline", seed=0)
    x = torch.randn(2000, 9, generator=torch.Generator().manual_seed(1))
    assert "equal intervals; computed by a compiled kernel" in explain(layer, x)
    assert "there is too little to compute" in explain(layer, x[:2])
    layer.update_grid(x)
    assert "grid points of every input; computed by plain PyTorch" in explain(layer, x)
    assert "take equally spaced knots" in explain(layer, x)
    assert "degree 3, not 2" in explain(qkan.KANLayer(9, 11, "bspline", k=2, seed=0), x)
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert "QKAN_KERNELS=reference" in explain(qkan.KANLayer(9, 11, "bspline", seed=0), x)


def test_refining_a_moved_grid_is_exact_for_every_size_and_says_nothing():
    basis = BSpline(2, 3, seed=0).double()
    x = uniform((100, 2), -3, 3)
    basis.update_grid(x)
    for size in (6, 9, 10, 11):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RefineWarning)
            finer = basis.refine(size)
        assert finer.refine_residual < 1e-10
        assert_close(finer.edges(2 * x), basis.edges(2 * x), rtol=0, atol=1e-9)


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "grid_eps", "error", "message"),
    [
        (torch.zeros(7, 2), 0.02, OptionError, "7 samples cannot fix the 8 coefficients of an edge"),
        (torch.full((9, 2), torch.nan), 0.02, NonFiniteError, "hold NaN or infinity"),
        (torch.zeros(9, 3), 0.02, ShapeError, r"samples of shape \(9, 3\) must be \(rows, 2\)"),
        (torch.zeros(2), 0.02, ShapeError, r"must be \(rows, 2\)"),
        (torch.zeros(9, 2), 1.5, OptionError, "grid_eps=1.5 must be a number from 0 to 1"),
        (torch.zeros(9, 2), torch.nan, OptionError, "grid_eps=nan must be"),
    ],
)
def test_bad_samples_are_explained_and_change_nothing(x, grid_eps, error, message):
    basis = BSpline(2, 2, seed=0)
    before = basis.coef.detach().clone()
    with pytest.raises(error, match=message):
        basis.update_grid(x, grid_eps)
    assert basis.points is None
    assert torch.equal(basis.coef, before)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0, 2.0, 1.0]], "grid points of input 0 must be finite, different and ascending"),
        ([[0.0, 1.0, 1.0]], "must be finite, different and ascending"),
        ([[0.0, float("nan"), 1.0]], "must be finite"),
        ([[0.0, 1.0]], r"shape \(1, 2\) must be \(1, 3\)"),
    ],
)
def test_bad_grid_points_are_explained(points, message):
    with pytest.raises(OptionError, match=message):
        BSpline(1, 1, grid=2, k=2).set_grid(torch.tensor(points))


def test_other_bases_say_that_they_have_no_grid_to_update():
    with pytest.raises(
        OptionError, match="the basis 'fourier' has no grid to update; a basis that has one is 'bspline'"
    ):
        qkan.KANLayer(2, 2, "fourier", seed=0).update_grid(torch.zeros(9, 2))
