"""Safe Padé rational functions shared by groups of inputs (the group-rational KAN of KAT)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qkan.bases._base import ClassicalBasis, register
from qkan.errors import OptionError, RefineError, check_choice, check_positive
from qkan.kernels import dispatch
from qkan.kernels.rational import FORMS

#: Numerators a_0 … a_5 and denominators b_1 … b_4 that follow a function on [-3, 3]. Largest errors in form A: silu
#: 5.3e-7 (form B 3.1e-6), gelu 1.5e-3, tanh 1.7e-6, softplus 2.2e-6, relu 1.3e-2. All but silu have even denominators,
#: for which both forms are the same.
STARTS: dict[str, tuple[list[float], list[float]]] = {
    "identity": ([0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
    "silu": (
        [4.3188345e-07, 0.50000032, 0.24999687, 0.053247417, 0.0057942611, 0.00027402187],
        [1.6041152e-06, 0.10649347, 4.7629148e-07, 0.00054798445],
    ),
    "gelu": ([-0.0012588022, 0.5, 0.4080684, 0.10662719, 0.0085388469, 0.0], [0.0, 0.21325438, 0.0, 0.0]),
    "tanh": ([0.0, 0.99999262, 0.0, 0.10751464, 0.0, 0.00086252896], [0.0, 0.44081392, 0.0, 0.014512474]),
    "softplus": (
        [0.69314899, 0.5, 0.18104389, 0.040436985, 0.0053684248, 0.00032542252],
        [0.0, 0.080873971, 0.0, 0.00065084504],
    ),
    "relu": ([0.012752244, 0.5, 2.7926268, 4.545565, 2.5900751, 0.46389589], [0.0, 9.0911301, 0.0, 0.92779178]),
}


def coefficients_of(start: str, numerator: int, denominator: int) -> tuple[Tensor, Tensor]:
    """The row of :data:`STARTS`, (p + 1,) and (q,), with zeros for powers that it has not.

    Args:
        start: name of :data:`STARTS`.
        numerator: degree p.
        denominator: degree q.
    """
    a, b = (torch.tensor(values) for values in STARTS[start])
    return torch.cat([a, a.new_zeros(numerator - 5)]), torch.cat([b, b.new_zeros(denominator - 4)])


@register("rational")
class Rational(ClassicalBasis):
    """C_oi F_g(i)(x), F(x) = (a_0 + … + a_p x^p)/Q(x): one trained function for each group of inputs; K = 1.

    Form "A" has Q = 1 + Σ_j |b_j| |x|^j, which the kernels of KAT compute; form "B" has Q = 1 + |Σ_j b_j x^j|, which is
    the formula of its publication (Yang and Wang, arXiv 2409.10594; safe Padé units: Molina et al., arXiv 1907.06732).
    They differ where odd b_j do not vanish. Both denominators are at least 1. As in KAT the numerator is shared by all
    groups, and each group of neighbouring inputs has a denominator of its own. A layer is this function before a linear
    map, C; its own edge scale multiplies C and can be left out (``scale=False``).

    The polynomials are evaluated in float32 or better. Outside [-3, 3], where the start was fitted, F goes on as it is:
    from "silu" it reaches -0.16 at -10 and -2.2 at -20. Beyond ±1e6 (less for degrees above 6) the value is held.
    With the same functions, :class:`qkan.layers.GroupKANLayer` is a layer of few numbers for transformers.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        numerator: degree p, at least 5.
        denominator: degree of Q, at least 4.
        groups: number of groups; it must divide ``in_features``.
        form: "A" (default) or "B".
        start: the function F follows at the start: "silu" (default), "gelu", "tanh", "softplus", "relu" or "identity".
        seed: of a local generator; ``None`` draws fresh entropy.

    C starts with variance 1/(n E[F²]), the variance-preserving gain of KAT. At b_j = 0 the derivative of |b_j| is taken
    as 1, so that coefficients that start at 0 can move.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        numerator: int = 5,
        denominator: int = 4,
        groups: int = 1,
        form: str = "A",
        start: str = "silu",
        seed: int | None = None,
    ):
        self.numerator = check_positive("numerator", numerator, 5)
        self.denominator = check_positive("denominator", denominator, 4)
        self.groups = check_positive("groups", groups)
        if check_positive("in_features", in_features) % self.groups:
            raise OptionError(f"groups={groups} must divide in_features={in_features}.")
        check_choice("form", form, FORMS)
        check_choice("start", start, STARTS)
        self.form, self.start = form, start
        super().__init__(in_features, out_features, 1, seed)

    def config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("numerator", "denominator", "groups", "form", "start")}

    def add_shape_parameters(self) -> None:
        a, b = coefficients_of(self.start, self.numerator, self.denominator)
        self.a, self.b = nn.Parameter(a), nn.Parameter(b.repeat(self.groups, 1))

    def evaluate(self, x: Tensor) -> Tensor:
        if self.groups > 1:
            x = x.expand(*x.shape[:-1], self.in_features)
        a, b = self.a.to(x.dtype).unsqueeze(0), self.b.to(x.dtype)
        return dispatch.group_rational(x, a, b, self.form).unsqueeze(-1)

    def route(self, x: Tensor) -> tuple[str, str | None]:
        return "rational features times coefficients", dispatch.reason_for_plain_rational(x)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self._compute_moments(nodes=400)

    def options_of(self, edges: int) -> dict[str, Any]:
        return {"groups": edges if self.groups > 1 else 1}

    def state_of(self, outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        found = super().state_of(outputs, inputs)
        if self.groups > 1:
            found["b"] = self.b[torch.div(inputs, self.in_features // self.groups, rounding_mode="floor")]
        return found

    def refine(self, size: int) -> Rational:
        """The same function with a numerator of degree ``size`` and a denominator raised by as much: exact.

        The new coefficients are zero. Raising both keeps the growth of F for large inputs once they are trained.

        Raises:
            RefineError: ``size`` is below the present degree of the numerator.
        """
        if check_positive("numerator", size) < self.numerator:
            raise RefineError(f"numerator={size} is below the present {self.numerator}; refining only enlarges.")
        options = {**self.config(), "numerator": size, "denominator": self.denominator + size - self.numerator}
        larger = Rational(self.in_features, self.out_features, **options, seed=0).to(self.coef)
        with torch.no_grad():
            larger.coef.copy_(self.coef)
            for old, new in ((self.a, larger.a), (self.b, larger.b)):
                new.zero_()
                new[..., : old.shape[-1]] = old
        return larger
