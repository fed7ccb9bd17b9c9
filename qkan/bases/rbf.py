"""Radial bases on a grid of centres: Gaussian (FastKAN), RSWAF (FasterKAN) and sech (SechKAN)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import RefineError, check_above, check_choice, check_positive


class Radial(ClassicalBasis):
    """ψ((x - g_j)/h) at ``grid`` equally spaced centres g_j; K = grid features. Subclasses say what ψ is.

    Args:
        in_features: n.
        out_features: m.
        grid: number of centres, at least 2.
        grid_range: first and last centre; (-2, 2) as in FastKAN, which suits inputs of unit variance.
        bandwidth: h in units of the distance between centres. Wider functions overlap more and are harder to tell
            apart: the condition number of the features grows quickly (the subclasses give figures).
        extend: outside ``grid_range``: "linear" (default) continues with the slope at the end; "clamp" holds the end
            value; "zero" lets the functions die out.
        seed: of a local generator; ``None`` draws fresh entropy.

    Raises:
        OptionError: an option is out of range.
    """

    plural: ClassVar[str] = "functions"
    centres: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        grid: int = 8,
        grid_range: tuple[float, float] = (-2.0, 2.0),
        bandwidth: float = 1.0,
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.grid = check_positive("grid", grid, 2)
        self.grid_range = check_interval("grid_range", grid_range)
        self.bandwidth = check_above("bandwidth", bandwidth, 0.0)
        check_choice("extend", extend, ("linear", "clamp", "zero"))
        self.extend = extend
        super().__init__(in_features, out_features, self.grid, seed)

    def config(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "grid_range": list(self.grid_range),
            "bandwidth": self.bandwidth,
            "extend": self.extend,
        }

    @property
    def spacing(self) -> float:
        """Distance between neighbouring centres."""
        low, high = self.grid_range
        return (high - low) / (self.grid - 1)

    @property
    def scale(self) -> float:
        """Bandwidth h in units of x."""
        return self.bandwidth * self.spacing

    def psi(self, u: Tensor) -> Tensor:
        """ψ(u), entry by entry."""
        raise TypeError(f"{type(self).__name__} must define psi().")

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        """ψ'(u), entry by entry."""
        raise TypeError(f"{type(self).__name__} must define psi_slope().")

    def constants(self) -> dict[str, np.ndarray]:
        centres = np.linspace(*self.grid_range, self.grid)
        offset = (np.array(self.grid_range)[:, None] - centres) / self.scale
        return {"centres": centres, "slopes": self.psi_slope(offset) / self.scale}

    def evaluate(self, x: Tensor) -> Tensor:
        def inside(held: Tensor) -> Tensor:
            return self.psi((held.unsqueeze(-1) - self.centres) / self.scale)

        return extended(inside, x, *self.grid_range, self.extend, self.slopes)

    def refine(self, size: int) -> Radial:
        """Not possible: functions of another width span another space.

        Raises:
            RefineError: always.
        """
        raise RefineError(
            f"a basis {self.name!r} cannot be refined to {size} centres: "
            f"narrower {self.plural} do not contain the wider ones."
        )


@register("rbf")
class RBF(Radial):
    """Gaussians exp(-((x - g_j)/h)²), as in FastKAN (Li, arXiv 2405.06721).

    The options are those of :class:`Radial`. Condition number of the 8 default features on uniform inputs within the
    grid: 2.5 at ``bandwidth=0.7``, 7.5 at 1, 1.2e3 at 2.
    """

    plural = "Gaussians"

    def psi(self, u: Tensor) -> Tensor:
        return torch.exp(-(u**2))

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        return -2 * u * np.exp(-(u**2))


@register("rswaf")
class RSWAF(Radial):
    """Reflectional switch activations 1 - tanh²((x - g_j)/h), as in FasterKAN (Delis, 2024).

    The options are those of :class:`Radial`. The public code multiplies the gradient by a factor that its forward pass
    leaves out; here both follow from one formula. Condition number of the 8 default features on uniform inputs within
    the grid: 3.3 at ``bandwidth=0.7``, 8.9 at 1, 310 at 2.
    """

    plural = "switch activations"

    def psi(self, u: Tensor) -> Tensor:
        return _sech(u) ** 2

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        held = np.clip(u, -_FAR, _FAR)
        return -2 * np.tanh(held) / np.cosh(held) ** 2


@register("sech")
class Sech(Radial):
    """Hyperbolic secants 1/cosh((x - g_j)/h), as in SechKAN (arXiv 2607.18290).

    The options are those of :class:`Radial`. The tails fall only as e^-|u|, so the features overlap more than
    Gaussians: the condition number of the 8 default features on uniform inputs within the grid is 9.9 at
    ``bandwidth=0.7``, 37 at 1, 2.0e3 at 2.
    """

    plural = "secants"

    def psi(self, u: Tensor) -> Tensor:
        return _sech(u)

    def psi_slope(self, u: np.ndarray) -> np.ndarray:
        held = np.clip(u, -_FAR, _FAR)
        return -np.tanh(held) / np.cosh(held)


#: Where a secant is below 1e-17; cosh overflows in float32 beyond 89.
_FAR = 40.0


def _sech(u: Tensor) -> Tensor:
    return 1 / torch.cosh(u.clamp(-_FAR, _FAR))
