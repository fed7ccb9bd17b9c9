"""Angles of gates: numbers, named parameters and affine functions of data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

from qkan.errors import OptionError, check_positive


@dataclass(frozen=True)
class Angle:
    """constant + Σ coefficient · parameter + Σ coefficient · data column, in radians.

    Angles are added to each other and to numbers, and multiplied by numbers: ``2 * data(0) + parameter("b")``.

    Attributes:
        constant: in radians.
        parameters: (name, coefficient) pairs, every name once.
        data: (column, coefficient) pairs, every column once.
    """

    constant: float = 0.0
    parameters: tuple[tuple[str, float], ...] = ()
    data: tuple[tuple[int, float], ...] = ()

    def __add__(self, other: Angle | float) -> Angle:
        other = as_angle(other)
        parameters = _merged((*self.parameters, *other.parameters))
        return Angle(self.constant + other.constant, parameters, _merged((*self.data, *other.data)))

    __radd__ = __add__

    def __mul__(self, factor: float) -> Angle:
        if isinstance(factor, Angle):
            raise OptionError("the product of two angles is not affine; multiply an angle by a number.")
        factor = as_angle(factor).constant
        parameters = _merged((name, factor * value) for name, value in self.parameters)
        return Angle(
            factor * self.constant, parameters, _merged((column, factor * value) for column, value in self.data)
        )

    __rmul__ = __mul__

    def __neg__(self) -> Angle:
        return -1.0 * self

    def __sub__(self, other: Angle | float) -> Angle:
        return self + -1.0 * as_angle(other)

    def __rsub__(self, other: float) -> Angle:
        return as_angle(other) - self

    @property
    def depends_on_data(self) -> bool:
        """Whether a data column takes part."""
        return bool(self.data)

    def __str__(self) -> str:
        terms = [(value, name) for name, value in self.parameters] + [(value, f"x[{j}]") for j, value in self.data]
        words = [{1.0: "", -1.0: "-"}.get(value, f"{value:.4g}·") + name for value, name in terms]
        if self.constant or not terms:
            words.append(f"{self.constant:.4g}")
        return " + ".join(words).replace("+ -", "- ")


def _merged(pairs: Iterable[tuple]) -> tuple:
    """Pairs with equal keys added up, in order of first appearance; what cancels is left out."""
    found: dict = {}
    for key, value in pairs:
        found[key] = found.get(key, 0.0) + value
    return tuple((key, value) for key, value in found.items() if value)


def as_angle(value: Angle | float) -> Angle:
    """A number as a constant angle; an angle as it is.

    Raises:
        OptionError: neither, or not finite.
    """
    if isinstance(value, Angle):
        return value
    if not isinstance(value, Real) or not math.isfinite(value):
        raise OptionError(
            f"angle {value!r} must be a finite number, a parameter(name), a data(column) or a sum of these."
        )
    return Angle(float(value))


def parameter(name: str) -> Angle:
    """A trainable angle with a name."""
    return Angle(parameters=((name, 1.0),))


def parameters(name: str, count: int) -> list[Angle]:
    """Trainable angles, as many as ``count``, named ``name`` with 0, 1, … in brackets."""
    return [parameter(f"{name}[{index}]") for index in range(count)]


def data(column: int) -> Angle:
    """A column of the data as an angle in radians.

    What is computed from it stays affine: ``0.5 * data(3) + 0.1``.

    Raises:
        OptionError: ``column`` is not a whole number of at least 0.
    """
    return Angle(data=((check_positive("column", column, 0), 1.0),))
