"""Wavelets on every edge: their formulas, zero mean, moments and refinement."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import qkan
from qkan.bases import Wavelet
from qkan.bases._chunks import CHUNK
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import BFLOAT16_UNIT, largest_tensors, stratified_normal, uniform


def meyer_spectrum(omega: np.ndarray) -> np.ndarray:
    """|√2π ψ̂(ω)| of Meyer's wavelet with ν(a) = a (Daubechies, Ten Lectures on Wavelets, 1992, section 4.2.1)."""
    first = np.sin(np.pi / 2 * (3 * omega / (2 * np.pi) - 1))
    second = np.cos(np.pi / 2 * (3 * omega / (4 * np.pi) - 1))
    return np.where(omega < 4 * np.pi / 3, first, second)


def meyer_by_integral(u: np.ndarray) -> np.ndarray:
    """Its inverse Fourier transform about u = 0, by Gauss-Legendre quadrature on both pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    total = 0
    for low, high in ((2 * np.pi / 3, 4 * np.pi / 3), (4 * np.pi / 3, 8 * np.pi / 3)):
        omega = (low + high) / 2 + (high - low) / 2 * nodes
        values = np.cos(np.asarray(u)[..., None] * omega) * meyer_spectrum(omega - 1e-12 * (omega > 4))
        total = total + (high - low) / 2 * (values @ weights)
    return total / np.pi


#: ψ(u) in numpy; the Gaussian kinds as derivatives written out, Shannon's as sines over u.
PSI = {
    "mexican_hat": lambda u: 2 / np.sqrt(3 * np.sqrt(np.pi)) * (1 - u * u) * np.exp(-u * u / 2),
    "morlet": lambda u: np.cos(5 * u) * np.exp(-u * u / 2),
    "dog": lambda u: -u * np.exp(-u * u / 2),
    "meyer": lambda u: meyer_by_integral(u),
    "shannon": lambda u: (np.sin(2 * np.pi * u) - np.sin(np.pi * u)) / (np.pi * np.where(u == 0, 1, u)) + (u == 0),
}


def arguments(basis: Wavelet, x: torch.Tensor) -> np.ndarray:
    """(x - τ)/s, (..., m, n, grid)."""
    width = 0.01 + np.log1p(np.exp(basis.raw_width.detach().double().numpy()))
    return (x.numpy()[..., None, :, None] - basis.shift.detach().double().numpy()) / width


def dense_edges(basis: Wavelet, x: torch.Tensor) -> torch.Tensor:
    values = PSI[basis.kind](arguments(basis, x))
    return torch.as_tensor((values * basis.coef.detach().double().numpy()).sum(-1))


class WaveletContract(BasisContract):
    options: ClassVar[dict] = {}
    interior = (-2.0, 2.0)
    anchors = (-2.0, 0.0, 2.0)
    refine_size = 4
    per_edge = True

    def make_basis(self, in_features, out_features, **kw):
        return Wavelet(in_features, out_features, **self.options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    def bfloat16_bound(self, basis, x):
        """Terms are added in float32 and rounded once."""
        return 4 * BFLOAT16_UNIT * (basis.wavelets(x) * basis.coef).abs().sum(-1)

    @staticmethod
    def _sampled_moments(basis):
        """E[ψ_j²] and E[ψ_j'²], averaged over edges."""
        points = stratified_normal(4_000, seed=11)
        x = points.unsqueeze(-1).repeat(1, basis.in_features)
        found = torch.func.jvp(basis.wavelets, (x,), (torch.ones_like(x),))
        return tuple(sample.detach().square().mean((0, 1, 2)) for sample in found)


class TestMexicanHat(WaveletContract):
    layer_options: ClassVar = {"basis": "wavelet"}


class TestThreeMorlets(WaveletContract):
    options: ClassVar = {"grid": 3, "kind": "morlet"}
    layer_options: ClassVar = {"basis": "wavelet", **options}


class TestShannon(WaveletContract):
    options: ClassVar = {"kind": "shannon"}
    layer_options: ClassVar = {"basis": "wavelet", **options}


class TestMeyer(WaveletContract):
    options: ClassVar = {"kind": "meyer", "grid": 2}
    layer_options: ClassVar = {"basis": "wavelet", **options}


def mother(kind: str, u: np.ndarray) -> np.ndarray:
    """ψ(u) from a basis with shift 0, width 1 and coefficient 1."""
    basis = Wavelet(kind=kind, seed=0).double()
    with torch.no_grad():
        basis.coef.fill_(1.0)
        basis.shift.zero_()
        basis.raw_width.fill_(np.log(np.expm1(0.99)))
    return basis(torch.as_tensor(u).unsqueeze(-1)).detach().numpy()[:, 0]


@settings(max_examples=40)
@given(u=st.floats(-20, 20), kind=st.sampled_from(list(PSI)))
def test_values_are_those_of_the_formulas(u, kind):
    np.testing.assert_allclose(mother(kind, np.array([u])), PSI[kind](np.array([u])), atol=1e-12)


@pytest.mark.parametrize("kind", ["mexican_hat", "dog", "morlet", "shannon", "meyer"])
def test_wavelets_have_zero_mean(kind):
    u = np.linspace(-60, 60, 240_001)
    # Morlet's is only nearly zero, e^-12.5 √2π; the tails of Shannon's beyond the interval leave 1/(π² 60) at most, and
    # those of Meyer's less.
    atol = {"morlet": 1e-5, "shannon": 2e-3, "meyer": 2e-3}.get(kind, 1e-10)
    assert float(np.trapezoid(mother(kind, u), u)) == pytest.approx(0, abs=atol)


def test_the_mexican_hat_has_unit_energy_and_its_peak_upwards():
    u = np.linspace(-12, 12, 48_001)
    values = mother("mexican_hat", u)
    assert float(np.trapezoid(values**2, u)) == pytest.approx(1, abs=1e-9)
    assert float(values[24_000]) == pytest.approx(0.8673250705840776, abs=1e-12)


def test_meyers_wavelet_has_unit_energy_and_is_orthogonal_to_its_shifts():
    u = np.linspace(-100, 100, 400_001)
    values = mother("meyer", u)
    assert float(np.trapezoid(values**2, u)) == pytest.approx(1, abs=1e-5)
    for shift in (1, 2, 5):
        assert float(np.trapezoid(values * mother("meyer", u - shift), u)) == pytest.approx(0, abs=1e-5)


def test_meyers_wavelet_is_smooth_where_its_closed_form_divides_by_zero():
    u = np.array([0.0, 0.375, 0.75, -0.375, -0.75])
    for near in (0.0, 1e-9, 1e-6):
        np.testing.assert_allclose(mother("meyer", u + near), meyer_by_integral(u + near), atol=1e-12)
    single = Wavelet(kind="meyer", seed=0)
    with torch.no_grad():
        single.coef.fill_(1.0)
        single.shift.zero_()
        single.raw_width.fill_(float(np.log(np.expm1(0.99))))
    found = single(torch.as_tensor(u).float().unsqueeze(-1)).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, meyer_by_integral(u), atol=1e-6)


def test_no_tensor_has_a_number_for_every_row_and_edge():
    basis = Wavelet(17, 41, grid=2, seed=0)
    rows = 1000
    made, saved = largest_tensors(basis, rows)
    assert 17 * 41 * 2 * rows / 5 > CHUNK
    assert max(made, saved) <= max(CHUNK, rows * 41)


def test_chunks_change_neither_values_nor_gradients():
    basis = Wavelet(17, 41, grid=2, seed=0).double()
    weight = uniform((41, 17), -1, 1).requires_grad_()
    x = uniform((7, 60, 17), -2, 2).requires_grad_()
    assert x.shape[:2].numel() * basis.coef.numel() > 2 * CHUNK
    leaves = [x, weight, *basis.parameters()]
    results = []
    for value in (basis(x, weight), (basis.edges(x) * weight).sum(-1)):
        results.append([value, *torch.autograd.grad(value.sin().sum(), leaves)])
    for mine, plain in zip(*results, strict=True):
        assert_close(mine, plain, rtol=1e-9, atol=1e-11)
    frozen = basis.requires_grad_(False)
    assert_close(torch.autograd.grad(frozen(x).sum(), x)[0], torch.autograd.grad(frozen.edges(x).sum(), x)[0])
    with torch.no_grad():
        assert_close(frozen(x), frozen.edges(x).sum(-1))


def test_second_derivatives_go_through_chunks():
    basis = Wavelet(40, 40, seed=0).double()
    x = uniform((400, 40), -2, 2).requires_grad_()
    found = []
    for value in (basis(x), basis.edges(x).sum(-1)):
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert_close(*found, rtol=1e-9, atol=1e-11)


def test_widths_stay_positive_whatever_training_does():
    basis = Wavelet(2, 2, seed=0)
    with torch.no_grad():
        basis.raw_width.fill_(-1e4)
    x = torch.tensor([[1e4, -1e4], [0.3, 0.2]], requires_grad=True)
    y = basis(x)
    gradients = torch.autograd.grad(y.sum(), [x, *basis.parameters()])
    assert all(bool(g.isfinite().all()) for g in (y, *gradients))


def test_every_parameter_receives_a_gradient():
    basis = Wavelet(3, 2, grid=2, seed=0)
    basis(torch.linspace(-1, 1, 30).reshape(10, 3)).square().sum().backward()
    assert all(float(p.grad.abs().min()) > 0 for p in basis.parameters())


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(3, 2, "wavelet", seed=0)
    assert_close(layer.basis.raw_width, torch.full((2, 3, 1), float(np.log(np.expm1(0.99)))))


def test_refining_adds_silent_wavelets():
    basis = Wavelet(2, 3, grid=2, seed=0)
    finer = basis.refine(3)
    assert float(finer.coef[..., 2:].detach().abs().max()) == 0
    assert_close(finer.shift[..., :2], basis.shift)
    with pytest.raises(RefineError, match="grid=1 is below the present 2"):
        basis.refine(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"grid": 0}, "at least 1"), ({"kind": "haar"}, "'mexican_hat', 'morlet', 'dog', 'shannon', 'meyer'")],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        Wavelet(**options)
