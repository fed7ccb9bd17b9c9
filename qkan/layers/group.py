"""Group-rational layers (GR-KAN) of the Kolmogorov-Arnold transformer: one function per group, then a linear map."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.bases._base import normal_nodes
from qkan.bases.rational import STARTS, coefficients_of
from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.kernels import dispatch
from qkan.kernels.rational import FORMS, group_rational
from qkan.layers.linear import linear


class GroupRational(nn.Module):
    """x_i -> F_g(i)(x_i): an activation whose functions are trained, one for each group of neighbouring features.

    F_g is a safe Padé function of degrees p and q, see :func:`qkan.kernels.rational.group_rational` and, for how it
    goes on outside [-3, 3], :class:`qkan.bases.Rational`.

    Args:
        features: number n of inputs.
        groups: G, which must divide n. Each group has a denominator of its own.
        start: the function that all groups follow at the start: "silu", "gelu", "tanh", "softplus", "relu", "identity".
        form: "A", Q = 1 + Σ_j |b_j| |x|^j, which the public kernels of KAT compute; or "B", Q = 1 + |Σ_j b_j x^j|, the
            formula of its publication.
        numerator: degree p, at least 5.
        denominator: degree q, at least 4.
        share_numerator: one numerator for all groups, as in the public code of KAT; otherwise one for each.

    Shapes: x (..., n), kept.

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input's last dimension is not n.
    """

    def __init__(
        self,
        features: int,
        groups: int = 8,
        start: str = "silu",
        *,
        form: str = "A",
        numerator: int = 5,
        denominator: int = 4,
        share_numerator: bool = True,
    ):
        super().__init__()
        self.features, self.groups = check_positive("features", features), check_positive("groups", groups)
        if self.features % self.groups:
            raise OptionError(f"groups={groups} must divide the number of features, {features}.")
        check_choice("start", start, STARTS)
        check_choice("form", form, FORMS)
        check_choice("share_numerator", share_numerator, (True, False))
        degrees = check_positive("numerator", numerator, 5), check_positive("denominator", denominator, 4)
        a, b = coefficients_of(start, *degrees)
        self.start, self.form = start, form
        self.numerator = nn.Parameter(a.repeat(1 if share_numerator else self.groups, 1))
        self.denominator = nn.Parameter(b.repeat(self.groups, 1))

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise OptionError(f"input of dtype {x.dtype} must be floating point, such as torch.float32.")
        if x.ndim == 0 or x.shape[-1] != self.features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have {self.features} as its last dimension.")
        return dispatch.group_rational(x, self.numerator, self.denominator, self.form)

    def power(self) -> float:
        """E[F(x)²] for standard-normal x, the mean over groups, by numerical integration in float64."""
        points, weights = normal_nodes()
        a, b = (table.detach().to("cpu", torch.float64) for table in (self.numerator, self.denominator))
        values = group_rational(points.unsqueeze(-1).expand(-1, self.groups), a, b, self.form)
        return float((weights @ values.square()).mean())

    def route(self, x: Tensor) -> tuple[str, str | None]:
        """See :func:`qkan.kernels.explain`."""
        return "rational functions of groups", dispatch.reason_for_plain_rational(x)

    def extra_repr(self) -> str:
        degrees = self.numerator.shape[1] - 1, self.denominator.shape[1]
        shared = "" if len(self.numerator) == 1 else ", share_numerator=False"
        return f"{self.features}, groups={self.groups}, start={self.start!r}, form={self.form!r}, {degrees=}{shared}"


class GroupKANLayer(nn.Module):
    """y = W F_g(x) + b: a trained function for each group of inputs, *before* the linear map (GR-KAN).

    Yang and Wang, Kolmogorov-Arnold Transformer, arXiv 2409.10594. Costs hardly more than a linear layer: n·m + m
    numbers, and 6 + 4 G for the functions (38 with 8 groups).

    W is drawn from a normal distribution of variance α/n, α = E[x²]/E[F(x)²] for standard-normal x, integrated
    numerically for the functions as they are: outputs then have a standard deviation of about 1 at every width. Biases
    start at 0.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        groups: G, which must divide n.
        start: function at the start, see :class:`GroupRational`; KAT begins a block with "identity" and goes on with
            "silu".
        bias: trainable output bias.
        seed: of a local generator; ``None`` draws fresh entropy.
        form, numerator, denominator, share_numerator: see :class:`GroupRational`.

    Shapes: x (..., n) -> (..., m).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input's last dimension is not n.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int = 8,
        start: str = "silu",
        *,
        bias: bool = True,
        seed: int | None = None,
        form: str = "A",
        numerator: int = 5,
        denominator: int = 4,
        share_numerator: bool = True,
    ):
        super().__init__()
        check_positive("in_features", in_features)
        degrees = {"numerator": numerator, "denominator": denominator}
        self.activation = GroupRational(
            in_features, groups, start, form=form, **degrees, share_numerator=share_numerator
        )
        self.linear = linear(in_features, out_features, bias, seed=0)
        self.in_features, self.out_features = self.linear.in_features, self.linear.out_features
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw W afresh for the functions as they are now, and set biases to 0."""
        weight = self.linear.weight
        noise = torch.randn(weight.shape, generator=generator(seed), device="cpu")
        with torch.no_grad():
            weight.copy_(noise / math.sqrt(self.in_features * self.activation.power()))
            if self.linear.bias is not None:
                self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.activation(x))
