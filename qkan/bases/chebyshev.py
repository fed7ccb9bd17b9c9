"""Chebyshev polynomials of the first kind (cf. ChebyKAN).

ChebyKAN: Sidharth, Keerthana, Gokul and Anas (2024), arXiv 2405.07200.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import extended
from qkan.errors import OptionError, check_choice, check_positive

#: In float32 the recurrence errs by 8.5e-4 at this degree, and by more than 1e-3 from degree 435 on.
HIGHEST_DEGREE = 400


@register("chebyshev")
class Chebyshev(ClassicalBasis):
    """T_0 … T_D of a bounded argument z; K = degree + 1 features, by the recurrence T_{k+1} = 2 z T_k - T_{k-1}.

    The recurrence has finite gradients everywhere; the arccosine form has none at |z| = 1.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        degree: D, at most 400.
        extend: how an unbounded input becomes z: "tanh" (default, as published) z = tanh x; "clamp" z = x held to
            [-1, 1]; "linear" z = x, continued with the slope at ±1.
        seed: of a local generator; ``None`` draws fresh entropy.

    Coefficients start with relative size 1/k, so that the steep high degrees do not rule the gradients; the constant
    starts at 0, its part being the layer's bias.

    Shapes: x (..., n) -> (..., m); features (..., n, K).

    Raises:
        OptionError: an option is out of range.
    """

    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 7,
        extend: str = "tanh",
        seed: int | None = None,
    ):
        self.degree = check_positive("degree", degree)
        if self.degree > HIGHEST_DEGREE:
            raise OptionError(f"degree={degree} is too high for float32: choose at most {HIGHEST_DEGREE}.")
        check_choice("extend", extend, ("tanh", "clamp", "linear"))
        self.extend = extend
        super().__init__(in_features, out_features, self.degree + 1, seed)

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree, "extend": self.extend}

    def constants(self) -> dict[str, np.ndarray]:
        orders = np.arange(self.degree + 1)
        at_one = (orders**2).astype(float)
        return {"slopes": np.stack([at_one * (-1.0) ** (orders + 1), at_one])}

    def profile(self) -> Tensor:
        orders = torch.arange(1, self.num_features, dtype=torch.float64, device="cpu")
        return torch.cat([orders.new_zeros(1), 1 / orders])

    def evaluate(self, x: Tensor) -> Tensor:
        if self.extend == "tanh":
            return self._recurrence(torch.tanh(x))
        return extended(self._recurrence, x, -1.0, 1.0, self.extend, self.slopes)

    def _recurrence(self, z: Tensor) -> Tensor:
        terms = [torch.ones_like(z), z]
        for _ in range(2, self.degree + 1):
            terms.append(2 * z * terms[-1] - terms[-2])
        return torch.stack(terms, dim=-1)

    def refine(self, size: int) -> Chebyshev:
        """The same polynomials with degree ``size``: the new coefficients are zero."""
        return self.padded("degree", size, torch.arange(self.num_features, device="cpu"))
