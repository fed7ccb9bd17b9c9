"""Formulas to be fitted: ten of the Feynman lectures, and eight special functions.

The Feynman formulas and the ranges of their variables are those of the published table of AI Feynman (Udrescu and
Tegmark, Science Advances 6, eaay2631 (2020)), with its equation numbers; variables keep their units. The special
functions are those of KANbeFair (Yu, Yu and Wang, arXiv 2407.16674). It takes all on the unit square, and of the Bessel
functions the derivatives, two of which are unbounded there; here Bessel functions themselves are taken where they are
finite, and of the spherical harmonics one that depends on both angles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.data.functions import create_dataset
from qkan.errors import check_choice, check_positive

#: Lowest and highest value of a variable.
Range = tuple[float, float]


@dataclass(frozen=True)
class Formula:
    """A function of several variables with their ranges.

    Attributes:
        name: equation number, or name of the special function.
        suite: "feynman" or "special".
        text: the formula.
        variables: name -> range, in the order of the columns.
        compute: columns, each a float64 array (rows,), -> labels (rows,).
    """

    name: str
    suite: str
    text: str
    variables: dict[str, Range]
    compute: Callable[..., np.ndarray]


def _gauss(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.exp(-((x / sigma) ** 2) / 2) / (np.sqrt(2 * np.pi) * sigma)


def _scipy(name: str, *arguments: Any) -> np.ndarray:
    from scipy import special  # here, because importing the package must stay light

    return getattr(special, name)(*arguments)


_TO_FIVE, _TO_THREE, _UNIT = (1.0, 5.0), (1.0, 3.0), (0.0, 1.0)
_FEYNMAN = (
    Formula(
        "I.6.2",
        "feynman",
        "exp(-(θ/σ)²/2) / (√(2π) σ)",
        dict.fromkeys(("sigma", "theta"), _TO_THREE),
        lambda sigma, theta: _gauss(theta, sigma),
    ),
    Formula(
        "I.6.2b",
        "feynman",
        "exp(-((θ-θ₁)/σ)²/2) / (√(2π) σ)",
        dict.fromkeys(("sigma", "theta", "theta1"), _TO_THREE),
        lambda sigma, theta, theta1: _gauss(theta - theta1, sigma),
    ),
    Formula(
        "I.8.14",
        "feynman",
        "√((x₂-x₁)² + (y₂-y₁)²)",
        dict.fromkeys(("x1", "x2", "y1", "y2"), _TO_FIVE),
        lambda x1, x2, y1, y2: np.hypot(x2 - x1, y2 - y1),
    ),
    Formula(
        "I.12.11",
        "feynman",
        "q (E + B v sin θ)",
        dict.fromkeys(("q", "Ef", "B", "v", "theta"), _TO_FIVE),
        lambda q, field, b, v, theta: q * (field + b * v * np.sin(theta)),
    ),
    Formula(
        "I.16.6",
        "feynman",
        "(u + v) / (1 + u v / c²)",
        dict.fromkeys(("c", "v", "u"), _TO_FIVE),
        lambda c, v, u: (u + v) / (1 + u * v / c**2),
    ),
    Formula(
        "I.26.2",
        "feynman",
        "arcsin(n sin θ₂)",
        {"n": (0.0, 1.0), "theta2": _TO_FIVE},
        lambda n, theta2: np.arcsin(n * np.sin(theta2)),
    ),
    Formula(
        "I.29.16",
        "feynman",
        "√(x₁² + x₂² - 2 x₁ x₂ cos(θ₁-θ₂))",
        dict.fromkeys(("x1", "x2", "theta1", "theta2"), _TO_FIVE),
        lambda x1, x2, a, b: np.sqrt(np.maximum(x1**2 + x2**2 - 2 * x1 * x2 * np.cos(a - b), 0)),
    ),
    Formula(
        "I.37.4",
        "feynman",
        "I₁ + I₂ + 2 √(I₁ I₂) cos δ",
        dict.fromkeys(("I1", "I2", "delta"), _TO_FIVE),
        lambda first, second, delta: first + second + 2 * np.sqrt(first * second) * np.cos(delta),
    ),
    Formula(
        "I.40.1",
        "feynman",
        "n₀ exp(-m g x / (k T))",
        dict.fromkeys(("n_0", "m", "x", "T", "g", "kb"), _TO_FIVE),
        lambda n0, m, x, temperature, g, kb: n0 * np.exp(-m * g * x / (kb * temperature)),
    ),
    Formula(
        "I.50.26",
        "feynman",
        "x₁ (cos ωt + α cos² ωt)",
        dict.fromkeys(("x1", "omega", "t", "alpha"), _TO_THREE),
        lambda x1, omega, t, alpha: x1 * (np.cos(omega * t) + alpha * np.cos(omega * t) ** 2),
    ),
)
_SPECIAL = (
    Formula("ellipkinc", "special", "F(φ | m)", {"phi": _UNIT, "m": _UNIT}, lambda phi, m: _scipy("ellipkinc", phi, m)),
    Formula("ellipeinc", "special", "E(φ | m)", {"phi": _UNIT, "m": _UNIT}, lambda phi, m: _scipy("ellipeinc", phi, m)),
    Formula("lpmv", "special", "P¹_ν(x)", {"nu": _UNIT, "x": _UNIT}, lambda nu, x: _scipy("lpmv", 1, nu, x)),
    Formula(
        "sph_harm",
        "special",
        "Re Y¹₂(θ, φ)",
        {"theta": (0.0, np.pi), "phi": (0.0, 2 * np.pi)},
        lambda theta, phi: _scipy("sph_harm_y", 2, 1, theta, phi).real,
    ),
    Formula("jv", "special", "J_ν(x)", {"nu": (0.0, 2.0), "x": (0.0, 10.0)}, lambda nu, x: _scipy("jv", nu, x)),
    Formula("yv", "special", "Y_ν(x)", {"nu": _UNIT, "x": (0.5, 10.0)}, lambda nu, x: _scipy("yv", nu, x)),
    Formula("iv", "special", "I_ν(x)", {"nu": (0.0, 2.0), "x": (0.0, 3.0)}, lambda nu, x: _scipy("iv", nu, x)),
    Formula("kv", "special", "K_ν(x)", {"nu": _UNIT, "x": (0.5, 3.0)}, lambda nu, x: _scipy("kv", nu, x)),
)
#: All formulas by name.
FORMULAS: dict[str, Formula] = {formula.name: formula for formula in (*_FEYNMAN, *_SPECIAL)}
#: Names of the suites.
SUITES = ("feynman", "special")


def function_dataset(
    name: str, train: int = 800, validation: int = 200, test: int = 1000, seed: int | None = None
) -> dict[str, Tensor]:
    """Rows of a formula, uniform in its ranges, for :func:`qkan.fit`.

    Inputs are scaled to [-1, 1] by the formula's ranges, which are known before any data; labels by the mean and
    standard deviation of the training rows, so that an error is in units of the function's own spread.

    Args:
        name: of :data:`FORMULAS`.
        train: training rows.
        validation: validation rows.
        test: test rows.
        seed: of a local generator; ``None`` draws fresh rows.

    Returns:
        float32 tensors ``train_input`` (train, n), ``train_label`` (train, 1), and the same for ``val`` and ``test``.

    Raises:
        OptionError: an unknown name, or a count below 2 for training rows or below 1.
    """
    check_choice("name", name, FORMULAS)
    formula = FORMULAS[name]
    check_positive("train", train, 2)
    check_positive("validation", validation)

    def labels(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(formula.compute(*x.double().numpy().T), dtype=np.float64))

    ranges = list(formula.variables.values())
    drawn = create_dataset(labels, len(ranges), ranges, train + validation, test, seed=seed)
    low, high = torch.tensor(ranges, dtype=torch.float32, device="cpu").T
    mean, spread = drawn["train_label"][:train].mean(), drawn["train_label"][:train].std()
    inputs = {part: 2 * (drawn[f"{part}_input"] - low) / (high - low) - 1 for part in ("train", "test")}
    outputs = {part: (drawn[f"{part}_label"] - mean) / spread for part in ("train", "test")}
    return {
        "train_input": inputs["train"][:train],
        "train_label": outputs["train"][:train],
        "val_input": inputs["train"][train:],
        "val_label": outputs["train"][train:],
        "test_input": inputs["test"],
        "test_label": outputs["test"],
    }
