"""Convolutions with KAN kernels: the layer on every window, with the sizes of PyTorch's convolutions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qkan.errors import OptionError, ShapeError
from qkan.layers.conv import KANConv1d, KANConv2d


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_one_dimension_is_the_layer_on_every_window():
    conv = KANConv1d(2, 5, 3, 2, basis="bspline", seed=0)
    x = drawn(4, 2, 9)
    found = conv(x)
    assert found.shape == (4, 5, 4)
    for place in range(4):
        window = x[:, :, 2 * place : 2 * place + 3].flatten(1)  # channel by channel
        torch.testing.assert_close(found[:, :, place], conv.layer(window))


@pytest.mark.parametrize("basis", ["bspline", "fourier", "daruan"])
def test_two_dimensions_are_the_layer_on_every_window(basis):
    conv = KANConv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), basis=basis, seed=0)
    x = drawn(2, 2, 6, 7)
    found = conv(x)
    padded = nn.functional.pad(x, (0, 0, 1, 1))
    for row in range(found.shape[2]):
        for column in range(found.shape[3]):
            window = padded[:, :, 2 * row : 2 * row + 3, [column, column + 2]].flatten(1)
            torch.testing.assert_close(found[:, :, row, column], conv.layer(window))


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
)
@settings(max_examples=40)
def test_sizes_and_padding_are_pytorchs(kernel, stride, padding, dilation, mode):
    """With linear edge functions, splines of degree 1 on one cell, it is a linear convolution."""
    x = drawn(2, 2, 7, 8).tanh() * 0.9
    plain = nn.Conv2d(2, 3, kernel, stride, padding, dilation, padding_mode=mode)
    options = {"basis": "bspline", "grid": 1, "k": 1, "base": None}
    conv = KANConv2d(2, 3, kernel, stride, padding, dilation, padding_mode=mode, seed=0, **options)
    own = conv(x)
    assert own.shape == plain(x).shape
    zero = torch.zeros(1, conv.layer.in_features)
    offset = conv.layer(zero)[0]
    weight = (
        torch.stack([conv.layer(0.5 * row[None])[0] - offset for row in torch.eye(conv.layer.in_features)], 1) / 0.5
    )
    with torch.no_grad():
        plain.weight.copy_(weight.view_as(plain.weight))
        plain.bias.copy_(offset)
    torch.testing.assert_close(own, plain(x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("conv", [KANConv1d(1, 2, 2, basis="fourier", seed=0), KANConv2d(1, 2, 2, basis="rbf", seed=0)])
def test_gradients(conv):
    conv = conv.double()
    x = drawn(2, 1, 4).double() if isinstance(conv, KANConv1d) else drawn(2, 1, 3, 3).double()
    assert torch.autograd.gradcheck(conv, (x.requires_grad_(),))


def test_shapes_that_do_not_fit():
    for shape in ((4, 9), (4, 3, 9), (4, 2, 2)):
        with pytest.raises(ShapeError, match=r"must be \(N, 2, length\)"):
            KANConv1d(2, 5, 3, seed=0)(torch.zeros(shape))
    conv = KANConv2d(2, 5, 3, seed=0)
    for shape in ((4, 2, 9), (4, 3, 9, 9)):
        with pytest.raises(ShapeError, match=r"must be \(N, 2, height, width\)"):
            conv(torch.zeros(shape))
    with pytest.raises(ShapeError, match="2 by 9 pixels are smaller than a window"):
        conv(torch.zeros(4, 2, 2, 9))


def test_mistakes():
    for options, words in (
        ({"kernel_size": (1, 2, 3)}, r"kernel_size=\(1, 2, 3\) must be one whole number, or two"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"kernel_size": 3, "padding": -1}, "padding=-1"),
        ({"kernel_size": 3, "padding_mode": "same"}, "padding_mode='same'"),
    ):
        with pytest.raises(OptionError, match=words):
            KANConv2d(1, 1, **options)
