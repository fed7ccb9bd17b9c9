"""Rational functions: both forms, the table of starts, groups and gradients at zero."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from torch.testing import assert_close

import qkan
from qkan.bases import Rational
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import stratified_normal, uniform


def dense_edges(basis: Rational, x: torch.Tensor) -> torch.Tensor:
    """Numerator and denominator by powers, input by input, in numpy."""
    a, b, coef = (v.detach().double().numpy() for v in (basis.a, basis.b, basis.coef))
    points = x.numpy()
    columns = []
    for i in range(basis.in_features):
        own, z = b[i * basis.groups // basis.in_features], points[..., i]
        above = sum(a[k] * z**k for k in range(len(a)))
        terms = [own[j] * z ** (j + 1) for j in range(len(own))]
        below = sum(np.abs(term) for term in terms) if basis.form == "A" else np.abs(sum(terms))
        columns.append(above / (1 + below))
    return torch.as_tensor(np.stack(columns, -1)[..., None, :] * coef[..., 0])


class RationalContract(BasisContract):
    """Refining adds to the function that all edges share, not features."""

    options: ClassVar[dict] = {}
    interior = (-3.0, 3.0)
    anchors = (-3.0, 0.0, 3.0)
    refine_size = 7

    def make_basis(self, in_features, out_features, **kw):
        return Rational(in_features, out_features, **self.options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    def test_refining_keeps_the_function_or_is_refused(self):
        basis = self.double(2, 3)
        x = self._wide_inputs()
        finer = basis.refine(self.refine_size)
        assert len(finer.a) == self.refine_size + 1 > len(basis.a)
        assert finer.numerator - finer.denominator == basis.numerator - basis.denominator
        assert all(p.requires_grad and p.dtype == torch.float64 for p in finer.parameters())
        assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-12)


class TestFormA(RationalContract):
    layer_options: ClassVar = {"basis": "rational"}


class TestFormB(RationalContract):
    options: ClassVar = {"form": "B", "start": "relu", "denominator": 5}
    layer_options: ClassVar = {"basis": "rational", **options}


TARGETS = {
    "identity": (lambda x: x, 1e-7),
    "silu": (lambda x: x * special.expit(x), 5.3e-7),
    "gelu": (lambda x: x * special.ndtr(x), 1.5e-3),
    "tanh": (np.tanh, 1.7e-6),
    "softplus": (lambda x: np.logaddexp(0, x), 2.2e-6),
    "relu": (lambda x: np.maximum(x, 0), 1.3e-2),
}


@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("start", list(TARGETS))
def test_the_start_follows_its_function_to_the_error_stated(start, form):
    target, bound = TARGETS[start]
    if (start, form) == ("silu", "B"):
        bound = 3.1e-6
    x = np.linspace(-3, 3, 4001)
    basis = Rational(start=start, form=form, seed=0).double()
    found = basis.features(torch.as_tensor(x))[..., 0].detach().numpy()
    assert np.abs(found - target(x)).max() <= bound + 3e-7  # the coefficients are float32


@settings(max_examples=40)
@given(
    x=st.floats(-(2.0**99), 2.0**99, width=32),
    seed=st.integers(0, 100),
    form=st.sampled_from(["A", "B"]),
    start=st.sampled_from(list(TARGETS)),
)
def test_values_and_gradients_are_finite_for_any_coefficients(x, seed, form, start):
    basis = Rational(form=form, start=start, seed=0)
    with torch.no_grad():
        basis.b.copy_(uniform((1, 4), -5, 5, seed))
    point = torch.tensor([[x]], dtype=torch.float32, requires_grad=True)
    value = basis(point)
    gradients = torch.autograd.grad(value.sum(), [point, *basis.parameters()])
    assert all(bool(v.isfinite().all()) for v in (value, *gradients))


@settings(max_examples=40)
@given(x=st.floats(-50, 50), seed=st.integers(0, 100))
def test_the_forms_agree_for_even_denominators_of_one_sign(x, seed):
    one, other = (Rational(form=form, start="tanh", seed=0).double() for form in "AB")
    even = uniform((1, 4), 0, 3, seed) * torch.tensor([0.0, 1.0, 0.0, 1.0])
    with torch.no_grad():
        one.b.copy_(even)
        other.b.copy_(-even)
    point = torch.tensor([[x]], dtype=torch.float64)
    assert_close(one(point), other(point), rtol=1e-12, atol=1e-12)


def test_groups_of_neighbouring_inputs_share_a_denominator():
    basis = Rational(6, 2, groups=3, seed=0).double()
    with torch.no_grad():
        basis.b.add_(uniform((3, 4), 0, 1))
    x = uniform((7, 6), -3, 3)
    assert_close(basis.edges(x), dense_edges(basis, x), rtol=0, atol=1e-12)
    same = basis.features(torch.ones(1, 6, dtype=torch.float64))[0, :, 0]
    assert same[0] == same[1] != same[2] == same[3] != same[4] == same[5]
    points = stratified_normal(4000, seed=3).unsqueeze(-1).expand(-1, 6)
    assert_close(basis.moments()[0], (basis.features(points) ** 2).mean((0, 1)).detach(), rtol=0.01, atol=0)


def test_coefficients_that_start_at_zero_can_move():
    basis = Rational(start="identity", seed=0)
    basis(torch.linspace(-2, 3, 10).unsqueeze(-1)).sum().backward()
    assert float(basis.b.grad.abs().min()) > 0


def test_the_initial_variance_is_the_gain_of_kat():
    basis = Rational(200, 200, start="silu", seed=0)
    assert float(basis.coef.detach().var()) * 200 == pytest.approx(2.8114, rel=0.03)  # E[x²]/E[SiLU(x)²]


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(4, 2, "rational", seed=0)
    assert_close(layer.basis.a, Rational(seed=0).a, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numerator": 4}, "numerator=4 must be a whole number of at least 5"),
        ({"denominator": 3}, "at least 4"),
        ({"in_features": 5, "groups": 2}, "groups=2 must divide in_features=5"),
        ({"form": "C"}, "'A', 'B'"),
        ({"start": "swish"}, "'identity', 'silu'"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        Rational(**options)


def test_a_smaller_degree_is_refused():
    with pytest.raises(RefineError, match="numerator=4 is below the present 5"):
        Rational(seed=0).refine(4)
