"""Orthogonal polynomials from one table of recurrences: Jacobi, Legendre, Gegenbauer, Chebyshev-2 and Hermite.

Monic orthogonal polynomials obey π_{k+1}(z) = (z - a_k) π_k(z) - b_k π_{k-1}(z); divided by their norm they obey
√b_{k+1} p_{k+1} = (z - a_k) p_k - √b_k p_{k-1} (Gautschi, Orthogonal Polynomials, 2004, section 1.3). A family is its
table (a, b); the evaluation is common.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import check_interval, extended
from qkan.errors import OptionError, check_above, check_choice, check_positive

#: Largest error of a float32 feature that is accepted, as a share of the feature's root mean square.
_ROUNDING = 1e-3


def orthonormal(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """p_0 … p_D at z (...), from a and b of shape (D,) and (D + 1,), b[0] unused: (..., D + 1)."""
    root = b.sqrt()
    terms = [torch.ones_like(z)]
    for k in range(a.shape[-1]):
        following = (z - a[..., k]) * terms[-1]
        if k:
            following = following - root[..., k] * terms[-2]
        terms.append(following / root[..., k + 1])
    return torch.stack(terms, dim=-1)


def slopes_at(z: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """p'_0 … p'_D at the points z (N,), from the differentiated recurrence: (N, D + 1).

    Args:
        z: points (N,).
        a: (D,) of the recurrence of the monic polynomials, p_{k+1} = (z - a_k) p_k - b_k p_{k-1}.
        b: (D + 1,) of that recurrence.
    """
    root = np.sqrt(b)
    values, slopes = [np.ones_like(z)], [np.zeros_like(z)]
    for k in range(len(a)):
        back = root[k] if k else 0.0
        before = (values[-2], slopes[-2]) if k else (0.0, 0.0)
        value = ((z - a[k]) * values[-1] - back * before[0]) / root[k + 1]
        slope = (values[-1] + (z - a[k]) * slopes[-1] - back * before[1]) / root[k + 1]
        values.append(value)
        slopes.append(slope)
    return np.stack(slopes, axis=-1)


def jacobi_table(alpha: float, beta: float, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Recurrence (a, b) of the monic Jacobi polynomials, weight (1-z)^α (1+z)^β (Gautschi 2004, table 1.1).

    Args:
        alpha: α > -1.
        beta: β > -1.
        degree: highest degree D.
    """
    k = np.arange(1, degree + 1, dtype=float)
    total = 2 * k + alpha + beta
    a = np.concatenate([[(beta - alpha) / (alpha + beta + 2)], (beta**2 - alpha**2) / (total * (total + 2))])
    first = 4 * (1 + alpha) * (1 + beta) / ((2 + alpha + beta) ** 2 * (3 + alpha + beta))
    k, total = k[1:], total[1:]  # the general form of b_1 is 0/0 at α + β = -1
    b = 4 * k * (k + alpha) * (k + beta) * (k + alpha + beta) / (total**2 * (total + 1) * (total - 1))
    return a[:degree], np.concatenate([[1.0, first], b])


class Orthogonal(ClassicalBasis):
    """p_0 … p_D of a bounded argument z; K = degree + 1 features. Subclasses say which polynomials.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        degree: D in the formulas.
        domain: the interval of x that is mapped to [-1, 1].
        extend: how x becomes z. With u the affine image of x, which maps ``domain`` to [-1, 1]: "tanh" (default, as in
            the public codes) z = tanh u; "clamp" z = u held to [-1, 1]; "linear" z = u, continued with the slope at ±1.
        normalised: divide every polynomial by its norm, so that the mean of p_k² under the family's weight is 1
            (default); ``False`` keeps the values of the handbooks and of ``scipy.special.eval_*``.
        seed: of a local generator; ``None`` draws fresh entropy.

    Coefficients start such that p_k of norm 1 has relative size 1/k: the steep high degrees then do not rule the
    gradients. The constant starts at 0, its part being the layer's bias.

    Shapes: x (..., n) -> (..., m); features (..., n, K).

    Raises:
        OptionError: an option is out of range, or the degree is so high that float32 features are wrong by more than
            1e-3 of their root mean square; the message says which degree is still good.
    """

    a: Tensor
    b: Tensor
    sizes: Tensor
    slopes: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 7,
        domain: tuple[float, float] = (-1.0, 1.0),
        extend: str = "tanh",
        normalised: bool = True,
        seed: int | None = None,
    ):
        self.degree = check_positive("degree", degree)
        self.domain = check_interval("domain", domain)
        check_choice("extend", extend, ("tanh", "clamp", "linear"))
        check_choice("normalised", normalised, (True, False))
        self.extend, self.normalised = extend, normalised
        self._check_float32()
        super().__init__(in_features, out_features, self.degree + 1, seed)

    def config(self) -> dict[str, Any]:
        return {
            "degree": self.degree,
            "domain": list(self.domain),
            "extend": self.extend,
            "normalised": self.normalised,
        }

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """The family's recurrence: a (D,) and b (D + 1,), b[0] unused, in float64."""
        raise TypeError(f"{type(self).__name__} must define table().")

    def norms(self) -> np.ndarray:
        """√ of the mean square of each handbook polynomial under the family's weight, (D + 1,)."""
        raise TypeError(f"{type(self).__name__} must define norms().")

    @property
    def limits(self) -> tuple[float, float]:
        """The interval to which z is held."""
        return -1.0, 1.0

    def constants(self) -> dict[str, np.ndarray]:
        a, b = self.table()
        sizes = np.ones(self.degree + 1) if self.normalised else self.norms()
        return {"a": a, "b": b, "sizes": sizes, "slopes": slopes_at(np.array(self.limits), a, b) * sizes}

    def profile(self) -> Tensor:
        orders = torch.arange(1, self.num_features, dtype=torch.float64, device="cpu")
        relative = torch.cat([orders.new_zeros(1), 1 / orders])
        return relative / torch.as_tensor(self.constants()["sizes"], device="cpu")

    def argument(self, x: Tensor) -> Tensor:
        """The affine image u of x (..., n), of the same shape."""
        low, high = self.domain
        return (x - (low + high) / 2) * (2 / (high - low))

    def bounded(self, u: Tensor) -> Tensor:
        """A smooth map of all numbers u (..., n) into ``limits``, elementwise."""
        return torch.tanh(u)

    def evaluate(self, x: Tensor) -> Tensor:
        u = self.argument(x)
        if self.extend == "tanh":
            return self._polynomials(self.bounded(u))
        return extended(self._polynomials, u, *self.limits, self.extend, self.slopes)

    def _polynomials(self, z: Tensor) -> Tensor:
        return orthonormal(z, self.a, self.b) * self.sizes

    def _check_float32(self) -> None:
        """Raise unless the features keep three digits when computed in float32."""
        a, b = self.table()
        sizes = np.ones(self.degree + 1) if self.normalised else self.norms()
        fitting = float32_degree(a, b, sizes, self.limits)
        if fitting < self.degree:
            raise OptionError(
                f"degree={self.degree} is too high for float32 with these options: "
                + (f"choose at most {fitting}." if fitting else "no degree is low enough.")
            )

    def refine(self, size: int) -> Orthogonal:
        """The same polynomials with degree ``size``: the new coefficients are zero."""
        return self.padded("degree", size, torch.arange(self.num_features, device="cpu"))


def float32_degree(a: np.ndarray, b: np.ndarray, sizes: np.ndarray, limits: tuple[float, float]) -> int:
    """The highest degree up to which float32 features agree with float64 to ``_ROUNDING`` of their norm.

    Args:
        a: (D,) of the recurrence of the monic polynomials, p_{k+1} = (z - a_k) p_k - b_k p_{k-1}.
        b: (D + 1,) of that recurrence.
        sizes: (D + 1,) norms by which the polynomials are divided.
        limits: ends of the interval in which the features are compared.
    """
    points = torch.linspace(*limits, 257, dtype=torch.float32, device="cpu")
    exact, rounded = (
        orthonormal(points.to(dtype), *(torch.as_tensor(v, device="cpu").to(dtype) for v in (a, b)))
        * torch.as_tensor(sizes, device="cpu").to(dtype)
        for dtype in (torch.float64, torch.float32)
    )
    error = ((rounded.double() - exact).abs().amax(0) / torch.as_tensor(sizes, device="cpu")).numpy()
    good = error <= _ROUNDING  # False for NaN
    return len(good) - 1 if good.all() else int(np.argmin(good)) - 1


@register("legendre")
class Legendre(Orthogonal):
    """Legendre polynomials, orthogonal under a uniform weight on [-1, 1].

    The options are those of :class:`Orthogonal`. Condition number of the 8 default features: 1.3 on standard-normal
    inputs; on uniform inputs in [-1, 1] 48, but 1.0 with ``extend="clamp"``, which therefore suits bounded inputs.
    """

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return jacobi_table(0.0, 0.0, self.degree)

    def norms(self) -> np.ndarray:
        return 1 / np.sqrt(2 * np.arange(self.degree + 1) + 1)


@register("chebyshev2")
class Chebyshev2(Orthogonal):
    """Chebyshev polynomials of the second kind, U_k(cos t) = sin((k + 1) t)/sin t; their weight is √(1-z²).

    The options are those of :class:`Orthogonal`; the handbook values already have norm 1. Condition number of the 8
    default features: 2.8 on standard-normal inputs, 27 on uniform inputs in [-1, 1] and 2.1 there with "clamp".
    """

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return jacobi_table(0.5, 0.5, self.degree)

    def norms(self) -> np.ndarray:
        return np.ones(self.degree + 1)


@register("jacobi")
class Jacobi(Orthogonal):
    """Jacobi polynomials P_k^(α,β), orthogonal under (1-z)^α (1+z)^β on [-1, 1].

    α = β = 1 by default, as in the public JacobiKAN. The other options are those of :class:`Orthogonal`. Large α or β
    make the polynomials steep at ±1, so that fewer degrees are good in float32. Condition number of the 8 default
    features: 5.1 on standard-normal inputs, 17 on uniform inputs in [-1, 1] and 4.0 there with ``extend="clamp"``.

    Raises:
        OptionError: also where ``alpha`` or ``beta`` is not above -1.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 7,
        alpha: float = 1.0,
        beta: float = 1.0,
        domain: tuple[float, float] = (-1.0, 1.0),
        extend: str = "tanh",
        normalised: bool = True,
        seed: int | None = None,
    ):
        self.alpha, self.beta = check_above("alpha", alpha, -1.0), check_above("beta", beta, -1.0)
        super().__init__(
            in_features, out_features, degree=degree, domain=domain, extend=extend, normalised=normalised, seed=seed
        )

    def config(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "beta": self.beta, **super().config()}

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return jacobi_table(self.alpha, self.beta, self.degree)

    def norms(self) -> np.ndarray:
        orders = np.arange(self.degree + 1)
        from scipy.special import binom

        return binom(orders + self.alpha, orders) / _at_one(*self.table())


@register("gegenbauer")
class Gegenbauer(Orthogonal):
    """Gegenbauer polynomials C_k^λ, orthogonal under (1-z²)^(λ-1/2) on [-1, 1].

    λ = 1/2 gives Legendre's and 1 Chebyshev's of the second kind; the default 3/2 is Jacobi's with α = β = 1 up to
    factors. The other options are those of :class:`Orthogonal`.

    Raises:
        OptionError: also where ``lam`` is not above 0 (the limit 0 is the basis "chebyshev").
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 7,
        lam: float = 1.5,
        domain: tuple[float, float] = (-1.0, 1.0),
        extend: str = "tanh",
        normalised: bool = True,
        seed: int | None = None,
    ):
        self.lam = check_above("lam", lam, 0.0)
        super().__init__(
            in_features, out_features, degree=degree, domain=domain, extend=extend, normalised=normalised, seed=seed
        )

    def config(self) -> dict[str, Any]:
        return {"lam": self.lam, **super().config()}

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return jacobi_table(self.lam - 0.5, self.lam - 0.5, self.degree)

    def norms(self) -> np.ndarray:
        orders = np.arange(self.degree + 1)
        from scipy.special import binom

        return binom(orders + 2 * self.lam - 1, orders) / _at_one(*self.table())


@register("hermite")
class Hermite(Orthogonal):
    """Probabilists' Hermite polynomials He_k, orthogonal under the standard normal density.

    For standard-normal inputs the normalised features are orthonormal as they are, up to what lies beyond ``limit``:
    condition number 1.1 at the default degree, 1.6 at degree 7. On uniform inputs in [-1, 1] it is 810.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        degree: D; 5 by default, since the polynomials grow as x^D.
        limit: half-width L of the interval on which the polynomials are used; 4 standard deviations by default.
        extend: beyond ±L: "linear" (default) continues with the slope at the end; "clamp" holds the end value; "tanh"
            evaluates at L tanh(x/L) everywhere.
        normalised: He_k/√k! (default) or He_k.
        seed: of a local generator; ``None`` draws fresh entropy.

    Raises:
        OptionError: as :class:`Orthogonal`.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 5,
        limit: float = 4.0,
        extend: str = "linear",
        normalised: bool = True,
        seed: int | None = None,
    ):
        self.limit = check_above("limit", limit, 0.0)
        super().__init__(in_features, out_features, degree=degree, extend=extend, normalised=normalised, seed=seed)

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree, "limit": self.limit, "extend": self.extend, "normalised": self.normalised}

    @property
    def limits(self) -> tuple[float, float]:
        return -self.limit, self.limit

    def argument(self, x: Tensor) -> Tensor:
        return x

    def bounded(self, u: Tensor) -> Tensor:
        return self.limit * torch.tanh(u / self.limit)

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(self.degree), np.maximum(np.arange(self.degree + 1.0), 1.0)

    def norms(self) -> np.ndarray:
        from scipy.special import gammaln

        return np.exp(gammaln(np.arange(self.degree + 1) + 1) / 2)


def _at_one(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """p_0(1) … p_D(1)."""
    one = torch.ones((), dtype=torch.float64, device="cpu")
    return orthonormal(one, torch.as_tensor(a, device="cpu"), torch.as_tensor(b, device="cpu")).numpy()
