"""Pairs of activations: formulas, normalisation per sample and mirror symmetry."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from qkan.bases import AF
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract

SIGMA = {
    "silu": lambda v: v / (1 + np.exp(-v)),
    "softplus": lambda v: np.log1p(np.exp(v)),
    "tanh": np.tanh,
}
COMBINE = {
    "quad1": lambda p, q: p * p * q * q,
    "quad2": lambda p, q: ((p + q) ** 2 + p * p + q * q) / 2,
    "sum": lambda p, q: p + q,
    "prod": lambda p, q: p * q,
    "sum_prod": lambda p, q: (1 + p) * (1 + q) - 1,
    "cubic1": lambda p, q: p**3 + p * p * q + p * q * q + q**3,
    "cubic2": lambda p, q: p**3 * q**3,
}


def dense_features(basis: AF, points: np.ndarray) -> np.ndarray:
    """All K functions inside the grid, (..., K), normalised."""
    low, high = basis.grid_range
    h = (high - low) / basis.grid
    columns = []
    for i in range(basis.grid + basis.k):
        s = low + (i - basis.k) * h
        e = s + (basis.k + 1) * h
        sigma = SIGMA[basis.activation]
        columns.append(COMBINE[basis.combine](sigma((points - s) / h), sigma((e - points) / h)))
    values = np.stack(columns, axis=-1)
    if basis.normalise == "layer":
        values = values - values.mean(-1, keepdims=True)
    if basis.normalise:
        values = values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-6)
    return values


def dense_edges(basis: AF, x: torch.Tensor) -> torch.Tensor:
    """Inside by the formula, outside by a Taylor step whose slope is a complex-step derivative."""
    points = x.numpy()[..., None, :]
    held = np.clip(points, *basis.grid_range)
    features = dense_features(basis, held)
    if basis.extend == "linear":
        slope = dense_features(basis, held + 1e-30j).imag / 1e-30
        features = features + slope * (points - held)[..., None]
    return torch.as_tensor((features * basis.coef.detach().double().numpy()).sum(-1))


class TestDefault(BasisContract):
    layer_options: ClassVar = {"basis": "af"}
    anchors = (-1.0, -0.2, 1.0)
    anchor_tolerance = 1e-11
    refine_size = 10

    def make_basis(self, in_features, out_features, **kw):
        return AF(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestClampedTanh(BasisContract):
    layer_options: ClassVar = {
        "basis": "af", "grid": 3, "k": 2, "activation": "tanh", "combine": "sum_prod", "normalise": None,
        "extend": "clamp",
    }  # fmt: skip
    anchors = (-1.0, 0.0, 1.0)
    refine_size = 5

    def make_basis(self, in_features, out_features, **kw):
        options = {name: value for name, value in self.layer_options.items() if name != "basis"}
        return AF(in_features, out_features, **options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


@settings(max_examples=60)
@given(
    x=st.floats(-1, 1),
    activation=st.sampled_from(list(SIGMA)),
    combine=st.sampled_from(list(COMBINE)),
    normalise=st.sampled_from(["l2", "layer", None]),
)
def test_values_are_those_of_the_formulas(x, activation, combine, normalise):
    basis = AF(activation=activation, combine=combine, normalise=normalise, seed=0).double()
    found = basis.features(torch.tensor([x], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(found, dense_features(basis, np.array(x)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("normalise", ["l2", "layer", None])
def test_the_functions_of_several_grids_are_those_of_each(normalise):
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    both = AF(coarser=[2], grid=5, normalise=normalise, seed=0).double().features(x)
    parts = [AF(grid=grid, normalise=normalise, seed=0).double().features(x) for grid in (2, 5)]
    assert_close(both, torch.cat(parts, -1), rtol=1e-12, atol=1e-12)


def test_refining_again_keeps_every_grid():
    basis = AF(2, 2, grid=3, seed=0).double()
    finer = basis.refine(6).refine(12)
    assert (finer.coarser, finer.num_features) == ([3, 6], 6 + 9 + 15)
    assert basis.refine(3).config() == basis.config()
    with pytest.raises(RefineError, match="grid=2 is below the present 3"):
        basis.refine(2)


@settings(max_examples=30)
@given(x=st.floats(-1, 1), combine=st.sampled_from(list(COMBINE)))
def test_features_mirror_about_the_middle_of_the_grid(x, combine):
    basis = AF(combine=combine, seed=0).double()
    left, right = basis.features(torch.tensor([x, -x], dtype=torch.float64))
    assert_close(left, right.flip(0), rtol=0, atol=1e-9)


def test_normalised_features_have_unit_mean_square_and_depend_on_their_own_number_only():
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)
    features = AF(seed=0).double().features(x)
    assert_close((features**2).mean(-1), torch.ones_like(x), rtol=0, atol=1e-5)
    assert_close(AF(seed=0).double().features(x[:1])[0], features[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 0}, "at least 1"),
        ({"k": "three"}, "k='three' must be a whole number"),
        ({"activation": "relu"}, "'silu', 'gelu', 'softplus', 'sigmoid', 'tanh'"),
        ({"combine": "max"}, "'quad1', 'quad2', 'sum'"),
        ({"normalise": "batch"}, "'l2', 'layer', None"),
        ({"extend": "zero"}, "'linear', 'clamp'"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        AF(**options)
