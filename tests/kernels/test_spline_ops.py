"""Compiled passes of spline layers against plain PyTorch."""

from __future__ import annotations

import pytest
import torch

from qkan.kernels import dispatch, spline_ops


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 7), (300, 140)], ids=str)
def test_cubic_splines(shape, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    wide = x.detach().double().requires_grad_()
    found, wanted = spline_ops.cubic(x, -1.5, 0.4, 8), spline_ops.cubic_reference(wide, -1.5, 0.4, 8)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (mine,) = torch.autograd.grad(found, x, weight)
    (its,) = torch.autograd.grad(wanted, wide, weight.double())
    torch.testing.assert_close(mine.double(), its, rtol=1e-5, atol=1e-5)
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (200, 250, 9)], ids=str)
def test_scaled_coefficients(shape):
    drawn = torch.Generator().manual_seed(0)
    coefficients = torch.randn(shape, generator=drawn, requires_grad=True)
    weight = torch.randn(shape[:2], generator=drawn, requires_grad=True)
    found, wanted = spline_ops.scaled(coefficients, weight), coefficients * weight.unsqueeze(-1)
    assert torch.equal(found, wanted)
    grad = torch.randn(shape, generator=drawn)
    for mine, its in zip(
        torch.autograd.grad(found, (coefficients, weight), grad, retain_graph=True),
        torch.autograd.grad(wanted, (coefficients, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients():
    x = torch.linspace(-2, 2, 5000, requires_grad=True)
    coefficients = torch.randn(30, 100, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(30, 100, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = []
    for cubic in (spline_ops.cubic, spline_ops.cubic_reference):
        (slope,) = torch.autograd.grad(cubic(x, -1.5, 0.4, 8).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-3)
    found = []
    for scaled in (spline_ops.scaled, lambda c, w: c * w.unsqueeze(-1)):
        (slope,) = torch.autograd.grad(scaled(coefficients, weight).pow(3).sum(), weight, create_graph=True)
        found.append(torch.autograd.grad(slope.sum(), coefficients)[0])
    torch.testing.assert_close(found[0], found[1])


def test_nan_and_infinity():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30])
    found = spline_ops.cubic(x, -1.0, 0.5, 4)
    assert found[0].isnan().all()
    assert not found[1:].any()


def test_what_is_compiled():
    x, odd = torch.zeros(200, 100), torch.zeros(200, 100, dtype=torch.float64)
    assert dispatch.cubic(x.requires_grad_(), 0.0, 1.0, 4).grad_fn.name() != "AddBackward0"
    assert dispatch.cubic(odd.requires_grad_(), 0.0, 1.0, 4).grad_fn.name() == "AddBackward0"
    torch.func.jvp(lambda v: dispatch.cubic(v, 0.0, 1.0, 4), (x.detach(),), (torch.ones(200, 100),))
