"""ReLU-KAN against its definition by two ReLUs: height, support, smoothness and trained places."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import qkan
from qkan.bases import ReLUKAN
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract


def supports(basis: ReLUKAN) -> tuple[np.ndarray, np.ndarray]:
    """Starts s_i and ends e_i, from the trained numbers or from the definition."""
    if basis.trainable:
        centres = basis.centres.detach().double().numpy()
        radii = np.log1p(np.exp(basis.raw_radii.detach().double().numpy()))
        return centres - radii, centres + radii
    low, high = basis.grid_range
    step = (high - low) / basis.grid
    starts = low + (np.arange(basis.grid + basis.k) - basis.k) * step
    return starts, starts + (basis.k + 1) * step


def dense_edges(basis: ReLUKAN, x: torch.Tensor) -> torch.Tensor:
    """Σ_i C_i [4 ReLU(e - x) ReLU(x - s)/(e - s)²]^p in numpy, and the tangent at the nearer end outside."""
    low, high = basis.grid_range
    points, p = x.numpy()[..., None, :], basis.power
    held = points if basis.extend == "zero" else np.clip(points, low, high)
    total = 0
    for i, (s, e) in enumerate(zip(*supports(basis), strict=True)):
        before, after = np.maximum(e - held, 0), np.maximum(held - s, 0)
        value = (4 * before * after / (e - s) ** 2) ** p
        if basis.extend == "linear":
            slope = p * (4 / (e - s) ** 2) ** p * (before * after) ** (p - 1) * (before - after)
            value = value + slope * (points - held)
        total = total + value * basis.coef.detach().double().numpy()[..., i]
    return torch.as_tensor(total)


class TestLinear(BasisContract):
    layer_options: ClassVar = {"basis": "relu"}
    anchors = (-1.0, -0.2, 0.2, 1.0)
    refine_size = 10

    def make_basis(self, in_features, out_features, **kw):
        return ReLUKAN(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestTrainedFourthPower(BasisContract):
    layer_options: ClassVar = {"basis": "relu", "grid": 2, "k": 1, "power": 4, "trainable": True}
    anchors = (-1.0, 0.0, 1.0)
    refine_size = 3

    def make_basis(self, in_features, out_features, **kw):
        return ReLUKAN(in_features, out_features, grid=2, k=1, power=4, trainable=True, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


@settings(max_examples=40)
@given(x=st.floats(-3, 3), grid=st.integers(1, 9), k=st.integers(1, 4), power=st.integers(2, 5))
def test_bumps_have_height_one_and_end_where_they_say(x, grid, k, power):
    basis = ReLUKAN(grid=grid, k=k, power=power, grid_range=(-2, 2), extend="zero", seed=0).double()
    starts, ends = supports(basis)
    features = basis.features(torch.tensor([x], dtype=torch.float64))[0].numpy()
    assert ((features >= 0) & (features <= 1)).all()
    assert (features[(x < starts - 1e-9) | (x > ends + 1e-9)] == 0).all()
    peaks = basis.features(torch.as_tensor((starts + ends) / 2)).diagonal()
    assert_close(peaks, torch.ones_like(peaks), rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(power=st.integers(2, 5))
def test_higher_powers_are_powers_of_the_lower(power):
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    square, higher = (ReLUKAN(power=p, seed=0).double().features(x) for p in (2, power))
    assert_close(higher, square ** (power / 2), rtol=0, atol=1e-12)


def test_the_bumps_of_several_grids_are_those_of_each():
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    both = ReLUKAN(coarser=[2], grid=5, seed=0).double().features(x)
    parts = [ReLUKAN(grid=grid, seed=0).double().features(x) for grid in (2, 5)]
    assert_close(both, torch.cat(parts, -1), rtol=0, atol=1e-14)


def test_refining_keeps_trained_places():
    basis = ReLUKAN(2, 2, grid=3, trainable=True, seed=0).double()
    with torch.no_grad():
        basis.centres.add_(0.1)
        basis.raw_radii.mul_(1.1)
    finer = basis.refine(6).refine(7)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64).unsqueeze(-1).expand(-1, 2)
    assert (finer.coarser, finer.num_features) == ([3, 6], 6 + 9 + 10)
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-14)
    assert_close(finer.centres[:6], basis.centres, rtol=0, atol=0)
    assert basis.refine(3).config() == basis.config()


def test_a_smaller_grid_is_refused():
    with pytest.raises(RefineError, match="grid=4 is below the present 5"):
        ReLUKAN().refine(4)


def test_training_places_does_not_change_the_start():
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)
    fixed, trained = (ReLUKAN(grid=3, trainable=flag, seed=0).double().features(x) for flag in (False, True))
    assert_close(trained, fixed, rtol=0, atol=1e-6)  # the trained numbers start rounded to float32


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(3, 2, "relu", trainable=True, seed=0)
    assert_close(layer.basis.centres, ReLUKAN(trainable=True).centres, rtol=0, atol=0)
    assert_close(layer.basis.raw_radii, ReLUKAN(trainable=True).raw_radii, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 0}, "grid=0 must be a whole number of at least 1"),
        ({"k": 0}, "at least 1"),
        ({"coarser": [0]}, "coarser=0 must be a whole number of at least 1"),
        ({"power": 1}, "power=1 must be a whole number of at least 2"),
        ({"power": 2.5}, "power=2.5 must be a whole number"),
        ({"trainable": "yes"}, "trainable='yes' is not known"),
        ({"extend": "tanh"}, "'linear', 'clamp', 'zero'"),
        ({"grid_range": (2, 1)}, "low < high"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        ReLUKAN(**options)
