"""Polynomials that are orthonormal for the data themselves (arbitrary polynomial chaos)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.bases._base import ClassicalBasis, register
from qkan.bases._extend import extended
from qkan.bases.polynomials import orthonormal
from qkan.errors import NonFiniteError, OptionError, RefineError, check_choice, check_positive


@register("apc")
class PolynomialChaos(ClassicalBasis):
    """p_0 … p_D of every input, orthonormal under the distribution of a sample; K = degree + 1 features.

    :meth:`adapted` computes the recurrence of the polynomials of every input from a sample (discretised Stieltjes
    procedure; Gautschi, Orthogonal Polynomials, 2004, section 2.2; for chaos expansions Oladyshkin and Nowak, 2012).
    Before, they are the Hermite polynomials of a standard normal variable. On the sample the features of an input have
    mean square 1 and are uncorrelated, so that the condition number of the features is 1.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        degree: D in the formulas.
        extend: outside the range of the sample (±4 before one is given): "linear" (default) continues with the slope at
            the end; "clamp" holds the value.
        seed: of a local generator; ``None`` draws fresh entropy.

    Coefficients start with relative size 1/k and the constant at 0, as for the other polynomials. The recurrence is
    saved with the parameters, in their dtype, and is not trained.

    Shapes: x (..., n) -> (..., m); features (..., n, K); recurrence a (n, D), b (n, D + 1).

    Raises:
        OptionError: an option is out of range.
    """

    a: Tensor
    b: Tensor
    limits: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        degree: int = 5,
        extend: str = "linear",
        seed: int | None = None,
    ):
        self.degree = check_positive("degree", degree)
        check_choice("extend", extend, ("linear", "clamp"))
        self.extend = extend
        super().__init__(in_features, out_features, self.degree + 1, seed)

    def add_shape_parameters(self) -> None:
        hermite = torch.arange(self.degree + 1.0).clamp_min(1.0)
        self.register_buffer("a", torch.zeros(self.in_features, self.degree))
        self.register_buffer("b", hermite.repeat(self.in_features, 1))
        self.register_buffer("limits", torch.tensor([[-4.0], [4.0]]).repeat(1, self.in_features))

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree, "extend": self.extend}

    def profile(self) -> Tensor:
        orders = torch.arange(1, self.num_features, dtype=torch.float64, device="cpu")
        return torch.cat([orders.new_zeros(1), 1 / orders])

    def evaluate(self, x: Tensor) -> Tensor:
        a, b, limits = (buffer.to(x.dtype) for buffer in (self.a, self.b, self.limits))
        slopes = _slopes(limits, a, b)
        return extended(lambda held: orthonormal(held, a, b), x, limits[0], limits[1], self.extend, slopes)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self._compute_moments(nodes=400)  # not kept: they change with the recurrence

    def state_of(self, outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        own = {"a": self.a[inputs], "b": self.b[inputs], "limits": self.limits[:, inputs]}
        return super().state_of(outputs, inputs) | own

    def adapted(self, sample: Tensor | np.ndarray) -> PolynomialChaos:
        """The same functions, within the present limits, in polynomials orthonormal for ``sample``.

        Args:
            sample: (rows, n); every column needs more than ``degree`` different values.

        Raises:
            OptionError: the sample has another shape, or too few different values in a column.
            NonFiniteError: the sample has NaN or infinity.
        """
        rows = torch.as_tensor(sample).detach().double().cpu()
        if rows.ndim != 2 or rows.shape[1] != self.in_features:
            raise OptionError(f"the sample has shape {tuple(rows.shape)}; it must be (rows, {self.in_features}).")
        if not bool(rows.isfinite().all()):
            raise NonFiniteError("the sample holds NaN or infinite numbers; remove or fill them first.")
        for column in range(self.in_features):
            different = len(rows[:, column].unique())
            if different <= self.degree:
                raise OptionError(
                    f"input {column} has {different} different values in the sample; degree={self.degree} needs at "
                    f"least {self.degree + 1}."
                )
        a, b = recurrence(rows, self.degree)
        # Polynomials of degree D are combinations of the new ones, with the inner products on the sample as weights.
        old = orthonormal(rows, self.a.double().cpu(), self.b.double().cpu())
        change = torch.einsum("pnj,pnk->njk", old, orthonormal(rows, a, b)) / len(rows)
        other = PolynomialChaos(self.in_features, self.out_features, **self.config(), seed=0).to(self.coef)
        with torch.no_grad():
            other.a.copy_(a)
            other.b.copy_(b)
            other.limits.copy_(torch.stack([rows.amin(0), rows.amax(0)]))
            other.coef.copy_(torch.einsum("mnj,njk->mnk", self.coef.detach().double().cpu(), change))
        return other

    def refine(self, size: int) -> PolynomialChaos:
        """The same polynomials with degree ``size``: the new coefficients are zero.

        The new polynomials continue the recurrence as Hermite polynomials of the same width do; :meth:`adapted` makes
        them orthonormal for the data.

        Raises:
            RefineError: ``size`` is below the present degree.
        """
        if check_positive("degree", size) < self.degree:
            raise RefineError(f"degree={size} is below the present {self.degree}; refining only enlarges.")
        larger = PolynomialChaos(self.in_features, self.out_features, degree=size, extend=self.extend, seed=0)
        larger.to(self.coef)
        with torch.no_grad():
            larger.a.copy_(torch.cat([self.a, self.a[:, -1:].expand(-1, size - self.degree)], -1))
            larger.b[:, : self.degree + 1] = self.b
            larger.b[:, self.degree + 1 :] *= self.b[:, -1:] / self.degree
            larger.limits.copy_(self.limits)
            larger.coef.zero_()
            larger.coef[..., : self.num_features] = self.coef
        return larger


def recurrence(rows: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Recurrence a (n, D) and b (n, D + 1) of the polynomials orthonormal on each column of ``rows`` (N, n), float64.

    Raises:
        OptionError: the degree is too high for the sample: rounding spoils the orthonormality in float64, or features
            in float32 are wrong by more than 0.01.
    """
    found_a, found_b = [], [rows.new_ones(rows.shape[1])]
    before, present = torch.zeros_like(rows), torch.ones_like(rows)
    for _ in range(degree):
        found_a.append((rows * present**2).mean(0))
        following = (rows - found_a[-1]) * present - found_b[-1].sqrt() * before
        found_b.append((following**2).mean(0))
        before, present = present, following / found_b[-1].sqrt()
    a, b = torch.stack(found_a, -1), torch.stack(found_b, -1)
    values = orthonormal(rows, a, b)
    gram = torch.einsum("pnj,pnk->njk", values, values) / len(rows)
    error = (gram - torch.eye(degree + 1, dtype=rows.dtype, device=rows.device)).abs().amax()
    if not bool(error <= 1e-6):
        raise OptionError(f"degree={degree} is too high for this sample: rounding spoils orthogonality; lower it.")
    single = orthonormal(rows.float(), a.float(), b.float()).double()
    if not bool((single - values).abs().amax() <= 1e-2):
        raise OptionError(f"degree={degree} is too high for the sample in float32: lower it or standardise the inputs.")
    return a, b


def _slopes(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """p'_k at z, which broadcasts with the inputs: (..., n) -> (..., n, K), from the differentiated recurrence."""
    root = b.sqrt()
    values, slopes = [torch.ones_like(z)], [torch.zeros_like(z)]
    for k in range(a.shape[-1]):
        value = (z - a[..., k]) * values[-1]
        slope = values[-1] + (z - a[..., k]) * slopes[-1]
        if k:
            value, slope = value - root[..., k] * values[-2], slope - root[..., k] * slopes[-2]
        values.append(value / root[..., k + 1])
        slopes.append(slope / root[..., k + 1])
    return torch.stack(slopes, -1)
