"""Sines of trained frequency: values, moments in closed form, refinement."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import qkan
from qkan.bases import Sine
from qkan.errors import OptionError, RefineError
from qkan.testing import BasisContract


def dense_edges(basis: Sine, x: torch.Tensor) -> torch.Tensor:
    """Σ_k C_k (sin ωx cos φ + cos ωx sin φ) in numpy."""
    points = x.numpy()[..., None, :]
    if basis.extend == "clamp":
        points = np.clip(points, -basis.period / 2, basis.period / 2)
    total = 0
    for k in range(basis.grid):
        start = 2 * np.pi * (k + 1) / basis.period
        omega = float(basis.frequencies.detach()[k]) if basis.trainable else start
        phase = (k + 1) * np.pi * (3 - np.sqrt(5))
        value = np.sin(omega * points) * np.cos(phase) + np.cos(omega * points) * np.sin(phase)
        total = total + value * basis.coef.detach().double().numpy()[..., k]
    return torch.as_tensor(total)


class TestTrained(BasisContract):
    layer_options: ClassVar = {"basis": "sine"}
    interior = (-math.pi, math.pi)
    anchors = (-math.pi, 0.0, math.pi)
    refine_size = 11

    def make_basis(self, in_features, out_features, **kw):
        return Sine(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


class TestFixedAndClamped(BasisContract):
    layer_options: ClassVar = {"basis": "sine", "grid": 3, "period": 4.0, "trainable": False, "extend": "clamp"}
    interior = (-2.0, 2.0)
    anchors = (-2.0, 0.0, 2.0)
    refine_size = 4

    def make_basis(self, in_features, out_features, **kw):
        return Sine(in_features, out_features, grid=3, period=4.0, trainable=False, extend="clamp", **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)


@settings(max_examples=25)
@given(grid=st.integers(1, 10), period=st.floats(2, 50))
def test_moments_are_those_of_the_closed_form(grid, period):
    basis = Sine(grid=grid, period=period, trainable=False, seed=0)
    omega = 2 * np.pi * np.arange(1, grid + 1) / period
    phase = np.arange(1, grid + 1) * np.pi * (3 - np.sqrt(5))
    expected = (1 - np.exp(-2 * omega**2) * np.cos(2 * phase)) / 2  # E sin²(ωx + φ) for standard-normal x
    np.testing.assert_allclose(basis.moments()[0].numpy(), expected, atol=1e-6)


def test_moments_follow_trained_frequencies():
    basis = Sine(grid=2, seed=0)
    with torch.no_grad():
        basis.frequencies.copy_(torch.tensor([0.01, 0.02]))
    expected = torch.sin(torch.arange(1, 3) * math.pi * (3 - math.sqrt(5))).double() ** 2
    assert_close(basis.moments()[0], expected, rtol=0, atol=0.01)


def test_the_layer_scales_amplitudes_only():
    layer = qkan.KANLayer(3, 2, "sine", seed=0)
    assert_close(layer.basis.frequencies, torch.arange(1.0, 9.0))


def test_refining_keeps_trained_frequencies_and_adds_silent_sines():
    basis = Sine(grid=2, seed=0)
    with torch.no_grad():
        basis.frequencies.mul_(1.5)
    finer = basis.refine(4)
    assert finer.frequencies.tolist() == pytest.approx([1.5, 3.0, 3.0, 4.0])
    assert float(finer.coef[..., 2:].detach().abs().max()) == 0
    with pytest.raises(RefineError, match="grid=1 is below the present 2"):
        basis.refine(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 0}, "at least 1"),
        ({"period": 0}, "period=0 must be a finite number above 0"),
        ({"trainable": 2}, "trainable=2 is not known"),
        ({"extend": "linear"}, "'periodic', 'clamp'"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(OptionError, match=message):
        Sine(**options)
