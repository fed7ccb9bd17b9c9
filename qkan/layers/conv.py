"""Convolutions whose kernels are Kolmogorov-Arnold layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.layers.kan_layer import KANLayer

#: How images are continued beyond their edges: PyTorch's names, and what ``torch.nn.functional.pad`` calls them.
PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class KANConv1d(nn.Module):
    """One KAN layer on every window of a sequence, the counterpart of a 1-d convolution.

    Args:
        in_channels: number c of channels.
        out_channels: number d of channels.
        kernel_size: k, width of the window.
        stride: steps between windows.
        **edges: options of the :class:`~qkan.KANLayer` that maps the c · k numbers of a window to d; also ``seed``.

    Shapes: x (N, c, length) -> (N, d, (length - k) // stride + 1).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input is no batch of sequences of c channels, or shorter than a window.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **edges: Any):
        super().__init__()
        self.in_channels = check_positive("in_channels", in_channels)
        self.out_channels = check_positive("out_channels", out_channels)
        self.kernel_size = check_positive("kernel_size", kernel_size)
        self.stride = check_positive("stride", stride)
        self.layer = KANLayer(in_channels * kernel_size, out_channels, **edges)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != self.in_channels or x.shape[2] < self.kernel_size:
            raise ShapeError(
                f"input of shape {tuple(x.shape)} must be (N, {self.in_channels}, length) with a length of "
                f"{self.kernel_size} or more."
            )
        windows = x.unfold(2, self.kernel_size, self.stride)  # (N, c, places, k)
        return self.layer(windows.transpose(1, 2).flatten(2)).transpose(1, 2)

    def extra_repr(self) -> str:
        size = f"{self.in_channels} -> {self.out_channels}"
        return f"{size}, kernel_size={self.kernel_size}, stride={self.stride}"


class KANConv2d(nn.Module):
    """One KAN layer on every window of an image, the counterpart of :class:`torch.nn.Conv2d`::

        KANConv2d(3, 8, 3, padding=1, basis="bspline", grid=5)

    Every pixel of a window has an edge function to every output channel (Bodner et al., arXiv 2406.13155). The windows
    are laid out before the layer, so memory grows with kernel_size² as it does for every unfolded convolution.

    Args:
        in_channels: number c of channels.
        out_channels: number d of channels.
        kernel_size: k, or (height, width).
        stride: steps between windows, likewise.
        padding: pixels added on every side, likewise. The edge functions act on added pixels too: a padded zero
            contributes φ(0), unlike in a linear convolution.
        dilation: distance of the pixels of a window, likewise.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        **edges: options of the :class:`~qkan.KANLayer` that maps the c · k · k numbers of a window to d; also ``seed``.

    Shapes: x (N, c, H, W) -> (N, d, H', W') with the sizes of ``torch.nn.Conv2d``.

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input is no batch of images of c channels, or smaller than a window.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        *,
        padding_mode: str = "zeros",
        **edges: Any,
    ):
        super().__init__()
        self.in_channels = check_positive("in_channels", in_channels)
        self.out_channels = check_positive("out_channels", out_channels)
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.stride = _pair("stride", stride)
        self.padding = _pair("padding", padding, least=0)
        self.dilation = _pair("dilation", dilation)
        check_choice("padding_mode", padding_mode, PADDING)
        self.padding_mode = padding_mode
        self.layer = KANLayer(in_channels * self.kernel_size[0] * self.kernel_size[1], out_channels, **edges)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ShapeError(f"input of shape {tuple(x.shape)} must be (N, {self.in_channels}, height, width).")
        height, width = self.padding
        padded = functional.pad(x, (width, width, height, height), PADDING[self.padding_mode])
        sizes = [
            (size - gap * (kernel - 1) - 1) // step + 1
            for size, kernel, step, gap in zip(
                padded.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True
            )
        ]
        if min(sizes) < 1:
            raise ShapeError(f"images of {x.shape[2]} by {x.shape[3]} pixels are smaller than a window.")
        windows = functional.unfold(padded, self.kernel_size, self.dilation, stride=self.stride)
        return self.layer(windows.transpose(1, 2)).transpose(1, 2).unflatten(2, sizes)

    def extra_repr(self) -> str:
        size = f"{self.in_channels} -> {self.out_channels}"
        about = ", ".join(f"{name}={getattr(self, name)}" for name in ("kernel_size", "stride", "padding", "dilation"))
        return f"{size}, {about}, padding_mode={self.padding_mode!r}"


def _pair(name: str, value: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2:
        raise OptionError(f"{name}={value!r} must be one whole number, or two.")
    return check_positive(name, values[0], least), check_positive(name, values[1], least)
