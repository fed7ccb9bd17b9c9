"""Orthogonal polynomials against scipy, their orthogonality by quadrature, and the bounds of float32."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from torch.testing import assert_close

from qkan.bases import Chebyshev2, Gegenbauer, Hermite, Jacobi, Legendre
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract

#: The handbook polynomial of order k (scipy), its derivative, and the k-th mean square under the weight.
HANDBOOK = {
    "legendre": lambda basis: special.legendre,
    "chebyshev2": lambda basis: special.chebyu,
    "jacobi": lambda basis: lambda k: special.jacobi(k, basis.alpha, basis.beta),
    "gegenbauer": lambda basis: lambda k: special.gegenbauer(k, basis.lam),
    "hermite": lambda basis: special.hermitenorm,
}
EVALUATE = {
    "legendre": lambda basis, k, z: special.eval_legendre(k, z),
    "chebyshev2": lambda basis, k, z: special.eval_chebyu(k, z),
    "jacobi": lambda basis, k, z: special.eval_jacobi(k, basis.alpha, basis.beta, z),
    "gegenbauer": lambda basis, k, z: special.eval_gegenbauer(k, basis.lam, z),
    "hermite": lambda basis, k, z: special.eval_hermitenorm(k, z),
}


def quadrature(basis, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes and weights of the family, the weights summing to 1."""
    nodes, weights = {
        "legendre": lambda: special.roots_legendre(count),
        "chebyshev2": lambda: special.roots_chebyu(count),
        "jacobi": lambda: special.roots_jacobi(count, basis.alpha, basis.beta),
        "gegenbauer": lambda: special.roots_gegenbauer(count, basis.lam),
        "hermite": lambda: special.roots_hermitenorm(count),
    }[basis.name]()
    return nodes, weights / weights.sum()


def dense_edges(basis, x: torch.Tensor) -> torch.Tensor:
    """Σ_k C_k P_k(z) in numpy from scipy's polynomials, each divided by its root mean square where normalised."""
    if basis.name == "hermite":
        points, limit = x.numpy()[..., None, :], basis.limit
        squash = limit * np.tanh(points / limit)
    else:
        low, high = basis.domain
        points, limit = (2 * x.numpy()[..., None, :] - low - high) / (high - low), 1.0
        squash = np.tanh(points)
    held = squash if basis.extend == "tanh" else np.clip(points, -limit, limit)
    nodes, weights = quadrature(basis)
    total = 0
    for k in range(basis.degree + 1):
        value = EVALUATE[basis.name](basis, k, held)
        if basis.extend == "linear":
            value = value + HANDBOOK[basis.name](basis)(k).deriv()(held) * (points - held)
        if basis.normalised:
            value = value / np.sqrt(weights @ EVALUATE[basis.name](basis, k, nodes) ** 2)
        total = total + value * basis.coef.detach().double().numpy()[..., k]
    return torch.as_tensor(total)


class PolynomialContract(BasisContract):
    kind: ClassVar[type] = Legendre
    options: ClassVar[dict] = {}
    anchors = (-1.0, 0.0, 1.0)
    anchor_tolerance = 1e-11
    refine_size = 9

    def make_basis(self, in_features, out_features, **kw):
        return self.kind(in_features, out_features, **self.options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestLegendre(PolynomialContract):
    layer_options: ClassVar = {"basis": "legendre"}
    interior = (-2.0, 2.0)
    anchors = (-20.0, -1.0, 0.0, 1.0, 20.0)


class TestJacobiLinearOnAnotherDomain(PolynomialContract):
    kind = Jacobi
    options: ClassVar = {"degree": 4, "alpha": 0.5, "beta": -0.3, "domain": (0, 3), "extend": "linear"}
    layer_options: ClassVar = {"basis": "jacobi", **options}
    interior = (0.0, 3.0)
    anchors = (0.0, 1.5, 3.0)


class TestHermiteOfTheHandbook(PolynomialContract):
    kind = Hermite
    options: ClassVar = {"degree": 4, "limit": 2.5, "normalised": False}
    layer_options: ClassVar = {"basis": "hermite", **options}
    interior = (-2.5, 2.5)
    anchors = (-2.5, 0.0, 2.5)


FAMILIES = st.one_of(
    st.builds(lambda d: Legendre(degree=d, extend="clamp", seed=0), st.integers(1, 20)),
    st.builds(lambda d: Chebyshev2(degree=d, extend="clamp", seed=0), st.integers(1, 20)),
    st.builds(
        lambda d, a, b: Jacobi(degree=d, alpha=a, beta=b, extend="clamp", seed=0),
        st.integers(1, 12),
        st.floats(-0.9, 3),
        st.floats(-0.9, 3),
    ),
    st.builds(lambda d, g: Gegenbauer(degree=d, lam=g, extend="clamp", seed=0), st.integers(1, 12), st.floats(0.05, 3)),
    st.builds(lambda d: Hermite(degree=d, limit=9, seed=0), st.integers(1, 4)),
)


def features(basis, z: np.ndarray) -> np.ndarray:
    return basis.double().features(torch.as_tensor(z)).numpy()


@settings(max_examples=40)
@given(basis=FAMILIES)
def test_features_are_orthonormal_under_their_weight(basis):
    nodes, weights = quadrature(basis, count=22)
    values = features(basis, nodes)
    gram = values.T @ (weights[:, None] * values)
    np.testing.assert_allclose(gram, np.eye(basis.degree + 1), atol=1e-9)


@settings(max_examples=60)
@given(basis=FAMILIES, z=st.floats(-1, 1))
def test_handbook_values_are_those_of_scipy(basis, z):
    config = {**basis.config(), "normalised": False}
    found = features(type(basis)(**config, seed=0), np.array([z]))[0]
    expected = np.array([EVALUATE[basis.name](basis, k, z) for k in range(basis.degree + 1)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


@settings(max_examples=30)
@given(x=st.floats(-1e30, 1e30), basis=FAMILIES)
def test_large_inputs_give_finite_features_and_gradients_in_float32(x, basis):
    for extend in ("tanh", "clamp", "linear"):
        same = type(basis)(**{**basis.config(), "extend": extend}, seed=0)
        point = torch.tensor([x], dtype=torch.float32, requires_grad=True)
        values = same.features(point)
        (gradient,) = torch.autograd.grad(values.sum(), point)
        assert bool(gradient.isfinite().all())
        assert bool(values.isfinite().all())


def test_equal_families_have_equal_features():
    z = np.linspace(-1, 1, 33)
    legendre = features(Legendre(degree=6, extend="clamp"), z)
    for other in (Jacobi(degree=6, alpha=0, beta=0, extend="clamp"), Gegenbauer(degree=6, lam=0.5, extend="clamp")):
        np.testing.assert_allclose(features(other, z), legendre, atol=1e-12)
    second = features(Chebyshev2(degree=6, extend="clamp"), z)
    np.testing.assert_allclose(features(Gegenbauer(degree=6, lam=1, extend="clamp"), z), second, atol=1e-12)


def test_normalisation_does_not_change_the_functions_drawn():
    one, other = (Gegenbauer(2, 3, normalised=flag, seed=4).double() for flag in (True, False))
    x = torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(5, 2)
    assert_close(one(x), other(x), rtol=1e-5, atol=1e-5)  # coefficients were rounded to float32


@settings(max_examples=30)
@given(basis=FAMILIES, x=st.floats(-1, 1, width=32))
def test_features_of_every_accepted_degree_are_right_in_float32(basis, x):
    point = torch.tensor([x], dtype=torch.float32)
    single = basis.features(point)
    assert_close(single.double(), basis.double().features(point.double()), rtol=0, atol=1e-3)


@pytest.mark.parametrize("make", [Legendre, Jacobi, Gegenbauer])
def test_the_degree_named_in_the_error_is_good_and_the_next_is_not(make):
    with pytest.raises(OptionError, match=r"too high for float32 with these options: choose at most \d+\.$") as caught:
        make(degree=400)
    highest = int(str(caught.value).rstrip(".").rsplit(" ", 1)[1])
    assert make(degree=highest, seed=0).degree == highest > 10
    with pytest.raises(OptionError, match="too high for float32"):
        make(degree=highest + 1)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Legendre, {"degree": 0}, "at least 1"),
        (Legendre, {"extend": "zero"}, "'tanh', 'clamp', 'linear'"),
        (Legendre, {"domain": (1, 1)}, "low < high"),
        (Legendre, {"normalised": "yes"}, "normalised='yes' is not known"),
        (Jacobi, {"alpha": -1}, "alpha=-1 must be a finite number above -1"),
        (Jacobi, {"beta": "one"}, "beta='one' must be a finite number above -1"),
        (Gegenbauer, {"lam": 0}, "lam=0 must be a finite number above 0"),
        (Hermite, {"limit": -1}, "limit=-1 must be a finite number above 0"),
        (Jacobi, {"alpha": 500.0}, "too high for float32"),
    ],
)
def test_bad_options_are_explained(make, options, message):
    with pytest.raises(OptionError, match=message):
        make(**options)


def test_a_smaller_degree_is_refused():
    with pytest.raises(RefineError, match="degree=3 is below the present 7"):
        Legendre(seed=0).refine(3)


def test_numpy_numbers_are_accepted_and_saved_as_plain_ones():
    config = Hermite(degree=np.int64(3), limit=np.float32(3), seed=0).config()
    assert config == {"degree": 3, "limit": 3.0, "extend": "linear", "normalised": True}
    assert type(config["limit"]) is float
