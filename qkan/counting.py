"""How large and how expensive a model is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from qkan.bases import RBF, BSpline, Daruan, Fourier
from qkan.errors import OptionError, check_choice, check_positive
from qkan.layers import Activation, KANLayer, SplineActivation

#: Operations of an activation on one number (KANbeFair, arXiv 2407.16674): exponentials count as one.
ACTIVATION_FLOPS = {"identity": 0, "relu": 1, "sigmoid": 4, "silu": 5, "tanh": 6, "gelu": 14}


@dataclass(frozen=True)
class Count:
    """Size and cost of a model.

    Attributes:
        trainable: parameters with gradients.
        frozen: parameters without.
        flops: floating-point operations in the matrix products of one forward pass (a multiply-add counts as two),
            the convention of ``torch.utils.flop_counter``; elementwise work such as sines is not in it, for which see
            :func:`row_flops`.
        rows: rows in that pass.
    """

    trainable: int
    frozen: int
    flops: int
    rows: int

    def __str__(self) -> str:
        parameters = f"{self.trainable:,} trainable and {self.frozen:,} frozen parameters"
        return f"{parameters}, {self.flops:,} FLOPs for {self.rows} rows"


def count(model: nn.Module, rows: int = 1) -> Count:
    """Parameters of any module, and FLOPs of its KAN layers, linear layers and learned activations for ``rows`` rows.

    Each layer is taken to run once; checked against ``torch.utils.flop_counter``.

    Args:
        model: any module.
        rows: rows in the pass whose FLOPs are counted.
    """
    check_positive("rows", rows, 0)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    flops = 0
    for module in model.modules():
        if isinstance(module, (KANLayer, SplineActivation)):
            flops += module.matmul_flops(rows)
        elif isinstance(module, nn.Linear):
            flops += 2 * rows * module.in_features * module.out_features
    trainable = sum(size for size, needs_grad in sizes if needs_grad)
    return Count(trainable, sum(size for size, _ in sizes) - trainable, flops, rows)


# -- all arithmetic of one row -------------------------------------------------------------------------------


def row_flops(model: nn.Module) -> int:
    """Arithmetic of one row in a forward pass, elementwise work included, as this package computes it.

    Additions, multiplications, comparisons and absolute values count one each, and so do exponentials, sines and
    cosines, as in :data:`ACTIVATION_FLOPS`. Features are computed once per input and multiplied by the coefficients of
    all edges. What does not depend on the row, such as coefficients times edge scales and a circuit's Fourier
    coefficients, is left out: it is done once per batch, or once and for all after training.

    Known are linear layers, :class:`~qkan.models.MLP`, and KAN layers of the bases ``bspline`` (cubic, on
    equal intervals), ``rbf``, ``fourier`` and ``daruan`` (with readout "z"; in encoding "edge" every circuit runs on
    every row, a rotation being six operations).

    Raises:
        OptionError: a layer has another basis or another option.
    """
    total = 0
    for module in model.modules():
        if isinstance(module, KANLayer):
            total += _layer_flops(module)
        elif isinstance(module, SplineActivation):
            total += module.units * (_spline_flops(module.basis) + 2 * module.basis.num_features)
        elif isinstance(module, Activation):
            total += module.units * ACTIVATION_FLOPS[module.name]
        elif isinstance(module, nn.Linear):
            total += 2 * module.in_features * module.out_features
    return total


def _layer_flops(layer: KANLayer) -> int:
    n, edges = layer.in_features, layer.in_features * layer.out_features
    basis: Any = layer.basis
    base = n * ACTIVATION_FLOPS[layer.base] + 2 * edges if layer.base else 0
    if isinstance(basis, Daruan) and basis.readout == "z" and basis.encoding == "edge":
        turns = 6 * len(basis.circuit.gates) + basis.reps * (3 if basis.shift is None else 4)
        return base + edges * (turns + 2)
    features = _FEATURES.get(type(basis))
    if features is not None and basis.folds:
        constant = int(isinstance(basis, Daruan))  # a circuit's mean is part of the bias
        return base + n * features(basis) + 2 * edges * (basis.num_features - constant)
    raise OptionError(f"the operations of the basis {basis.name!r} with these options are not known.")


def _spline_flops(basis: BSpline) -> int:
    """Cubics in closed form, their slopes too, with which they go on outside the grid."""
    if basis.k != 3:
        raise OptionError(f"operations are known of cubic B-splines only, not of degree k={basis.k}.")
    if basis.points is not None:
        raise OptionError("operations are known of B-splines on equal intervals only, not on a grid moved to data.")
    _check_linear(basis)
    return 6 + 19 * basis.num_features


def _check_linear(basis: BSpline | RBF) -> None:
    if basis.extend != "linear":
        raise OptionError(f"operations are known of extend='linear' only, not of extend={basis.extend!r}.")


def _radial_flops(basis: RBF) -> int:
    _check_linear(basis)
    return 3 + 7 * basis.num_features


def _harmonic_flops(degree: int) -> int:
    """A sine and a cosine, then one rotation for every further harmonic."""
    return 2 + 6 * (degree - 1)


def _circuit_flops(basis: Daruan) -> int:
    if basis.encoding == "fixed":
        return _harmonic_flops(basis.degree)
    angles = basis.reps * (3 if basis.shift is None else 4)
    return angles + 3**basis.reps - 1 - 2 * basis.reps  # every product of two or more needs one multiplication


_FEATURES: dict[type, Callable[[Any], int]] = {
    BSpline: _spline_flops,
    RBF: _radial_flops,
    Fourier: lambda basis: 1 + _harmonic_flops(basis.degree),
    Daruan: _circuit_flops,
}


# -- published rules -----------------------------------------------------------------------------------------


def kan_parameters(n: int, m: int, grid: int, k: int, shortcut: bool = False) -> int:
    """Parameters of a layer of B-spline edges by the rule of KANbeFair (arXiv 2407.16674): nm (G + k + 2) + m.

    Two numbers per edge are the weights of spline and base branch.

    Args:
        n: inputs.
        m: outputs.
        grid: intervals G.
        k: degree.
        shortcut: add nm, as the published rule does for a base branch although it has counted one. Without it the
            rule is what :class:`~qkan.KANLayer` has.
    """
    return n * m * (grid + k + 2 + int(shortcut)) + m


def kan_flops(n: int, m: int, grid: int, k: int, activation: str | None = "silu") -> float:
    """Operations of a layer of B-spline edges on one row, by the rule of KANbeFair.

    nm (9k (G + 1.5k) + 2G - 2.5k + 1), and for the base branch FLOPs(σ) n + 2nm: the recursion of Cox and de Boor, run
    on every edge as pykan does. :func:`row_flops` counts the far cheaper way in which it is done here.

    Args:
        n: inputs.
        m: outputs.
        grid: intervals G.
        k: degree.
        activation: σ of the base branch, a name of :data:`ACTIVATION_FLOPS`; ``None`` without one.

    Raises:
        OptionError: an unknown activation.
    """
    base = 0 if activation is None else _activation_flops(activation) * n + 2 * n * m
    return n * m * (_recursion_flops(grid, k) + 2) + base


def mlp_parameters(n: int, m: int) -> int:
    """Parameters of a linear map with bias from n inputs to m outputs: nm + m."""
    return n * m + m


def mlp_flops(n: int, m: int, activation: str = "silu") -> int:
    """Operations of a linear map and an activation on one row, by the rule of KANbeFair: 2nm + FLOPs(σ) m.

    Args:
        n: inputs.
        m: outputs.
        activation: σ, a name of :data:`ACTIVATION_FLOPS`.

    Raises:
        OptionError: an unknown activation.
    """
    return 2 * n * m + _activation_flops(activation) * m


def bspline_mlp_parameters(n: int, m: int, grid: int, k: int) -> int:
    """Parameters of a linear map with bias and a learned spline on every output: m (n + 1) + m (G + k).

    Args:
        n: inputs.
        m: outputs.
        grid: intervals G.
        k: degree.
    """
    return m * (n + 1) + m * (grid + k)


def bspline_mlp_flops(n: int, m: int, grid: int, k: int) -> float:
    """Operations of a linear map and a learned spline on every output, on one row, by the rule of KANbeFair.

    2nm + m (9k (G + 1.5k) + 2G - 2.5k - 1).

    Args:
        n: inputs.
        m: outputs.
        grid: intervals G.
        k: degree.
    """
    return 2 * n * m + m * _recursion_flops(grid, k)


def _recursion_flops(grid: int, k: int) -> float:
    """One spline by the recursion, as KANbeFair counts it: 9k (G + 1.5k) + 2G - 2.5k - 1."""
    return 9 * k * (grid + 1.5 * k) + 2 * grid - 2.5 * k - 1


def _activation_flops(name: str) -> int:
    check_choice("activation", name, ACTIVATION_FLOPS)
    return ACTIVATION_FLOPS[name]
