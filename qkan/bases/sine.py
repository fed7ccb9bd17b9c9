"""Sines of trainable frequency and fixed phase (SineKAN)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan.bases._base import ClassicalBasis, register
from qkan.errors import check_above, check_choice, check_positive

#: Phases k times the golden angle differ from each other for every number of sines.
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@register("sine")
class Sine(ClassicalBasis):
    """sin(ω_k x + φ_k), k = 1 … grid, with frequencies shared by all edges (SineKAN, arXiv 2407.04149); K = grid.

    Differences from the publication: the frequencies start at 2πk/``period`` instead of k/(grid + 1), where the sines
    would be nearly the same function on standardised inputs; the phases φ_k, multiples of the golden angle, do not
    depend on the place of an input, so that the order of inputs does not matter, nor on ``grid``, so that the basis can
    be refined; amplitudes start at a size that gives outputs of unit variance at every width. Condition number of the 8
    default features: 3.0 on standard-normal inputs, 1.0 on uniform inputs in one period.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: number of sines.
        period: of the slowest sine at the start, in units of x.
        trainable: train the frequencies, as published.
        extend: outside ±period/2: "periodic" (default): the sines go on; "clamp" holds the value there.
        seed: of a local generator; ``None`` draws fresh entropy.

    Coefficients of sine k start with relative size 1/k: every sine then has the same slope.

    Shapes: x (..., n) -> (..., m); features (..., n, K); frequencies in radians per unit of x and phases in
    radians, (K,).

    Raises:
        OptionError: an option is out of range.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 8,
        period: float = 2 * math.pi,
        trainable: bool = True,
        extend: str = "periodic",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid)
        self.period = check_above("period", period, 0.0)
        check_choice("trainable", trainable, (True, False))
        check_choice("extend", extend, ("periodic", "clamp"))
        self.trainable, self.extend = trainable, extend
        super().__init__(in_features, out_features, self.grid, seed)

    def config(self) -> dict[str, Any]:
        return {"grid": self.grid, "period": self.period, "trainable": self.trainable, "extend": self.extend}

    def add_shape_parameters(self) -> None:
        if self.trainable:
            start = torch.as_tensor(self._start(), dtype=torch.float32, device="cpu")
            self.frequencies = nn.Parameter(start)

    def _start(self) -> np.ndarray:
        return 2 * np.pi / self.period * np.arange(1, self.grid + 1)

    def constants(self) -> dict[str, np.ndarray]:
        phases = {"phases": np.arange(1, self.grid + 1) * _GOLDEN_ANGLE % (2 * np.pi)}
        return phases if self.trainable else {"frequencies": self._start(), **phases}

    def profile(self) -> Tensor:
        return 1 / torch.arange(1, self.num_features + 1, dtype=torch.float64, device="cpu")

    def evaluate(self, x: Tensor) -> Tensor:
        if self.extend == "clamp":
            x = x.clamp(-self.period / 2, self.period / 2)
        return torch.sin(x.unsqueeze(-1) * self.frequencies.to(x.dtype) + self.phases)

    def refine(self, size: int) -> Sine:
        """The same sines and, up to ``size``, faster ones whose coefficients are zero: exact."""
        return self.padded("grid", size, torch.arange(self.grid, device="cpu"))
