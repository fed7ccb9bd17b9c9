"""Data-driven polynomials: orthonormality on the sample, known distributions, functions kept."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from torch.testing import assert_close

import qkan
from qkan.bases import PolynomialChaos
from qkan.errors import NonFiniteError, OptionError, RefineError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import stratified_normal, uniform


def dense_edges(basis: PolynomialChaos, x: torch.Tensor) -> torch.Tensor:
    """Every polynomial from its coefficients in powers of x, by numpy; the tangent outside the limits."""
    a, b, limits, coef = (v.detach().double().numpy() for v in (basis.a, basis.b, basis.limits, basis.coef))
    points = x.numpy()
    total = np.zeros((*points.shape[:-1], basis.out_features, basis.in_features))
    for i in range(basis.in_features):
        held = np.clip(points[..., i], *limits[:, i])
        last, present = np.poly1d([0.0]), np.poly1d([1.0])
        for k in range(basis.degree + 1):
            value = present(held)
            if basis.extend == "linear":
                value = value + present.deriv()(held) * (points[..., i] - held)
            total[..., i] += value[..., None] * coef[:, i, k]
            if k < basis.degree:
                following = np.poly1d([1.0, -a[i, k]]) * present - (np.sqrt(b[i, k]) * last if k else 0)
                last, present = present, following / np.sqrt(b[i, k + 1])
    return torch.as_tensor(total)


class TestBeforeData(BasisContract):
    layer_options: ClassVar = {"basis": "apc", "degree": 3}
    interior = (-4.0, 4.0)
    anchors = (-4.0, 0.0, 4.0)
    anchor_tolerance = 1e-11
    refine_size = 7

    def make_basis(self, in_features, out_features, **kw):
        return PolynomialChaos(in_features, out_features, degree=3, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    @staticmethod
    def _sampled_moments(basis):
        x = stratified_normal(40_000, seed=11).unsqueeze(-1).repeat(1, basis.in_features)
        found = torch.func.jvp(basis.features, (x,), (torch.ones_like(x),))
        return tuple(sample.detach().square().mean((0, 1)) for sample in found)


def sample(rows: int = 400, seed: int = 0) -> torch.Tensor:
    """Three inputs of different distributions and places: uniform, squared normal, and five levels."""
    flat = uniform((rows, 3), 0, 1, seed)
    return torch.stack([3 + 4 * flat[:, 0], torch.special.ndtri(flat[:, 1]) ** 2, (flat[:, 2] * 5).floor()], -1)


@settings(max_examples=20)
@given(degree=st.integers(1, 4), seed=st.integers(0, 1000), rows=st.integers(60, 300))
def test_features_are_orthonormal_on_the_sample(degree, seed, rows):
    x = sample(rows, seed)
    features = PolynomialChaos(3, 2, degree=degree, seed=0).double().adapted(x).features(x)
    gram = torch.einsum("pnj,pnk->njk", features, features) / rows
    assert_close(gram, torch.eye(degree + 1, dtype=torch.float64).expand(3, -1, -1), rtol=0, atol=1e-8)


def test_a_uniform_sample_gives_legendre_polynomials():
    nodes = np.linspace(-1, 1, 20_001)
    basis = PolynomialChaos(1, 1, degree=4, seed=0).double().adapted(nodes[:, None])
    x = np.linspace(-1, 1, 17)
    expected = np.stack([special.eval_legendre(k, x) * np.sqrt(2 * k + 1) for k in range(5)], -1)
    np.testing.assert_allclose(basis.features(torch.as_tensor(x[:, None]))[:, 0].numpy(), expected, atol=2e-3)


@settings(max_examples=20)
@given(degree=st.integers(1, 4), seed=st.integers(0, 1000))
def test_adapting_keeps_the_functions_where_both_are_polynomials(degree, seed):
    basis = PolynomialChaos(2, 3, degree=degree, seed=seed).double()
    ends = torch.tensor([[-3.0, -3.0], [2.0, 2.0]], dtype=torch.float64)
    adapted = basis.adapted(torch.cat([ends, uniform((80, 2), -3, 2, seed)]))
    x = uniform((50, 2), -2.8, 1.8, seed + 1)
    assert_close(adapted.edges(x), basis.edges(x), rtol=0, atol=1e-8)
    again = adapted.adapted(sample(100, seed)[:, :2] / 4)
    inside = uniform((50, 2), 0.8, 1.2, seed + 2)
    assert_close(again.edges(inside), basis.edges(inside), rtol=0, atol=1e-7)


def test_a_network_with_adapted_inputs_is_saved_and_loaded(tmp_path):
    model = qkan.KAN([3, 2, 1], "apc", degree=3, seed=0)
    x = sample().float()
    model.layers[0].basis = model.layers[0].basis.adapted(x)
    model.save(tmp_path / "model")
    loaded = qkan.KAN.load(tmp_path / "model")
    assert torch.equal(loaded(x), model(x))


def test_refining_after_adapting_keeps_the_functions():
    x = sample()
    basis = PolynomialChaos(3, 2, degree=3, seed=0).double().adapted(x)
    assert_close(basis.refine(4).edges(x), basis.edges(x), rtol=0, atol=1e-9)
    with pytest.raises(RefineError, match="degree=2 is below the present 3"):
        basis.refine(2)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (torch.zeros(5), OptionError, r"shape \(5,\); it must be \(rows, 2\)"),
        (torch.zeros(5, 3), OptionError, r"shape \(5, 3\)"),
        (torch.tensor([[0.0, 1.0], [1.0, float("nan")]]), NonFiniteError, "NaN or infinite"),
        (torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3, 1]]), OptionError, "input 1 has 1 different values"),
        (1e7 + uniform((50, 2), 0, 1), OptionError, "standardise the inputs"),
    ],
)
def test_bad_samples_are_explained(rows, error, message):
    with pytest.raises(error, match=message):
        PolynomialChaos(2, 1, degree=3, seed=0).adapted(rows)


def test_bad_options_are_explained():
    with pytest.raises(OptionError, match="degree=0 must be a whole number of at least 1"):
        PolynomialChaos(degree=0)
    with pytest.raises(OptionError, match="'linear', 'clamp'"):
        PolynomialChaos(extend="tanh")
