"""Fourier series: the classical twin of a re-uploading circuit (cf. FourierKAN).

That a re-uploading circuit is a truncated Fourier series: Schuld, Sweke and Meyer, Phys. Rev. A 103, 032430 (2021).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.errors import OptionError, check_choice, check_positive
from qkan.kernels.dispatch import harmonics


@register("fourier")
class Fourier(ClassicalBasis):
    """cos(j ω x), sin(j ω x) for j = 1 … degree with ω = 2π / period; K = 2 · degree features.

    With the default period 2π the argument is x itself, as in a DARUAN circuit, so that a ``degree`` equal to the
    circuit's spectrum makes the two comparable frequency by frequency. A constant term is the layer's bias.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        degree: highest harmonic.
        period: length of one period in units of x; choose it at least as long as the data range.
        extend: "periodic" (default) repeats outside one period; "clamp" holds the value at ±period/2.
        seed: of a local generator; ``None`` draws fresh entropy.

    Coefficients of harmonic j start with relative size 1/j: every harmonic then has the same slope.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 4,
        period: float = 2 * math.pi,
        extend: str = "periodic",
        seed: int | None = None,
    ):
        self.degree = check_positive("degree", degree)
        if not (isinstance(period, (int, float)) and math.isfinite(period) and period > 0):
            raise OptionError(f"period={period!r} must be a positive number.")
        self.period = float(period)
        check_choice("extend", extend, ("periodic", "clamp"))
        self.extend = extend
        super().__init__(in_features, out_features, 2 * self.degree, seed)

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree, "period": self.period, "extend": self.extend}

    def profile(self) -> Tensor:
        orders = torch.arange(1, self.degree + 1, dtype=torch.float64, device="cpu")
        return torch.cat([1 / orders, 1 / orders])

    def evaluate(self, x: Tensor) -> Tensor:
        if self.extend == "clamp":
            x = x.clamp(-self.period / 2, self.period / 2)
        return harmonics(x * (2 * math.pi / self.period), self.degree)[..., 1:]

    def refine(self, size: int) -> Fourier:
        """The same series with ``size`` harmonics: the new coefficients are zero."""
        orders = torch.arange(self.degree, device="cpu")
        return self.padded("degree", size, torch.cat([orders, orders + size]))
