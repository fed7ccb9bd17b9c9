"""Convolutions whose kernels are Kolmogorov-Arnold layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from qkan.errors import ShapeError, check_positive
from qkan.layers.kan_layer import KANLayer


class KANConv1d(nn.Module):
    """One KAN layer on every window of a sequence, the counterpart of a 1-d convolution.

    Args:
        in_channels: c.
        out_channels: d.
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
