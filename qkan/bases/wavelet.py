"""Wavelets with a shift and a width of their own on every edge (Wav-KAN)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan._random import generator, spawn
from qkan.bases._base import Basis, normal_nodes, register, slopes_of
from qkan.bases._chunks import by_chunks
from qkan.errors import RefineError, check_choice, check_positive
from qkan.kernels.reference import accumulation_dtype


def _mexican_hat(u: Tensor) -> Tensor:
    return 2 / (math.sqrt(3) * math.pi**0.25) * (1 - u**2) * torch.exp(-(u**2) / 2)


def _morlet(u: Tensor) -> Tensor:
    return torch.cos(5 * u) * torch.exp(-(u**2) / 2)


def _dog(u: Tensor) -> Tensor:
    return -u * torch.exp(-(u**2) / 2)


def _shannon(u: Tensor) -> Tensor:
    return 2 * torch.sinc(2 * u) - torch.sinc(u)


def _meyer(u: Tensor) -> Tensor:
    """1/π ∫ cos(ω u) s(ω) dω, every piece of which is a sinc: no 0/0 at the zeros of the closed form's denominators.

    s(ω) = sin(3ω/4 - π/2) on [2π/3, 4π/3] and cos(3ω/8 - π/2) on [4π/3, 8π/3].
    """
    low, high = (torch.cos(math.pi * v) * torch.sinc(v / 3) for v in (u + 0.75, u - 0.75))
    rise, fall = (torch.sin(2 * math.pi * v) * torch.sinc(2 * v / 3) for v in (0.375 + u, 0.375 - u))
    return (2 * (rise + fall) - low - high) / 3


#: Mother wavelets ψ(u) by name.
WAVELETS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": _mexican_hat,
    "morlet": _morlet,
    "dog": _dog,
    "shannon": _shannon,
    "meyer": _meyer,
}
#: Widths stay above this, so that (x - shift)/width cannot overflow in training.
_NARROWEST = 0.01


@register("wavelet")
class Wavelet(Basis):
    """Σ_j C_oij ψ((x - τ_oij)/s_oij), j = 1 … grid, every number trained (Wav-KAN, arXiv 2405.12832, has grid = 1).

    ``kind`` names ψ: "mexican_hat" 2/(√3 π^¼) (1 - u²) e^{-u²/2} (default), "morlet" cos(5u) e^{-u²/2}, "dog" (first
    derivative of a Gaussian) -u e^{-u²/2}, "shannon" 2 sinc(2u) - sinc(u) with sinc(u) = sin(πu)/(πu), the real Shannon
    wavelet, which decays only as 1/u, "meyer" Meyer's wavelet about 0 with the auxiliary function ν(a) = a, in closed
    form (Valenzuela and de Oliveira, arXiv 1502.00161), of unit energy, which decays as 1/u².

    Differences from the publication's code: the Mexican hat has its usual sign; there is no batch normalisation, so
    that a row's output does not depend on other rows; there is no weight without effect; widths stay positive
    (softplus, above 0.01); shifts start spread as standard-normal numbers instead of all at 0.

    Every edge has its own nonlinear functions, so that a forward pass computes batch x m x n x grid numbers: the other
    classical bases, whose features all edges share, are faster. Large batches go through in chunks of rows, computed
    again in the backward pass, so that memory grows with batch x (m + n) only.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        grid: wavelets per edge.
        kind: the mother wavelet.
        seed: of a local generator; ``None`` draws fresh entropy.

    Far outside the data the functions die out; the layer's base branch remains.

    Raises:
        OptionError: an option is out of range.
    """

    free_amplitude = True

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 1,
        kind: str = "mexican_hat",
        seed: int | None = None,
    ):
        super().__init__(in_features, out_features)
        self.grid = self.num_features = check_positive("grid", grid)
        check_choice("kind", kind, WAVELETS)
        self.kind = kind
        shape = (self.out_features, self.in_features, self.grid)
        self.coef, self.shift, self.raw_width = (nn.Parameter(torch.empty(shape)) for _ in range(3))
        self.reset_parameters(seed)

    def config(self) -> dict[str, Any]:
        return {"grid": self.grid, "kind": self.kind}

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw shifts from a standard normal distribution, then coefficients such that E[φ²] = 1/n; widths are 1."""
        shift_seed, coef_seed = spawn(seed, 2)
        with torch.no_grad():
            self.shift.copy_(torch.randn(self.shift.shape, generator=generator(shift_seed), device="cpu"))
            self.raw_width.fill_(math.log(math.expm1(1 - _NARROWEST)))
            std = (self.in_features * self.moments()[0].sum()).rsqrt()
            noise = torch.randn(self.coef.shape, generator=generator(coef_seed), device="cpu")
            self.coef.copy_(noise * std.to(noise.dtype))

    def amplitudes(self) -> list[nn.Parameter]:
        return [self.coef]

    def wavelets(self, x: Tensor) -> Tensor:
        """ψ((x_i - τ_oij)/s_oij) in the precision of x: (..., n) -> (..., m, n, grid)."""
        return self._at(x, self.shift, self.raw_width)

    def _at(self, x: Tensor, shift: Tensor, raw_width: Tensor) -> Tensor:
        width = _NARROWEST + functional.softplus(raw_width.to(x.dtype))
        return WAVELETS[self.kind]((x[..., None, :, None] - shift.to(x.dtype)) / width)

    def _sums(self, x: Tensor, coef: Tensor, shift: Tensor, raw_width: Tensor) -> Tensor:
        return (self._at(x, shift, raw_width) * coef).sum((-1, -2))

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        work = self.check_input(x).to(accumulation_dtype(x.dtype))
        coef = self.coef.to(work.dtype)
        if weight is not None:
            coef = coef * weight.to(work.dtype).unsqueeze(-1)
        return by_chunks(self._sums, coef.numel(), work, coef, self.shift, self.raw_width).to(x.dtype)

    def edges(self, x: Tensor) -> Tensor:
        work = self.check_input(x).to(accumulation_dtype(x.dtype))
        return (self.wavelets(work) * self.coef.to(work.dtype)).sum(-1).to(x.dtype)

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[ψ_j²] and E[ψ_j'²], (K,) each, for a standard normal input, over edges of up to 16 outputs and inputs."""
        points, weights = normal_nodes(400)
        part = [p.detach()[:16, :16].double().cpu().flatten(0, 1) for p in (self.shift, self.raw_width)]
        shift, width = part[0], _NARROWEST + functional.softplus(part[1])

        def values(x: Tensor) -> Tensor:
            return WAVELETS[self.kind]((x[:, None, None] - shift) / width)

        found = slopes_of(values, points)
        value, slope = (torch.einsum("p,pej->j", weights, v**2) / len(shift) for v in found)
        return value, slope

    def take(self, outputs: Tensor, inputs: Tensor) -> Wavelet:
        taken = Wavelet(len(inputs), 1, **self.config(), seed=0).to(self.coef)
        with torch.no_grad():
            for mine, its in zip(self.parameters(), taken.parameters(), strict=True):
                its.copy_(mine[outputs, inputs].unsqueeze(0))
        return taken

    def refine(self, size: int) -> Wavelet:
        """The same functions with ``size`` wavelets per edge; the added ones have coefficient zero.

        Raises:
            RefineError: ``size`` is below the present ``grid``.
        """
        if check_positive("grid", size) < self.grid:
            raise RefineError(f"grid={size} is below the present {self.grid}; refining only enlarges.")
        larger = Wavelet(self.in_features, self.out_features, grid=size, kind=self.kind, seed=0).to(self.coef)
        with torch.no_grad():
            larger.coef.zero_()
            for mine, its in zip(self.parameters(), larger.parameters(), strict=True):
                its[..., : self.grid] = mine
        return larger
