"""Observables: sums of Pauli strings with real coefficients.

Expectation of an observable: Nielsen and Chuang (2010), section 2.2.5; here a sum over Pauli strings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from qkan.errors import OptionError, check_positive

#: A Pauli string: (wire, "X" | "Y" | "Z") pairs by increasing wire; empty for the identity.
PauliString = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class PauliSum:
    """Σ coefficient · Pauli string, Hermitian because the coefficients are real.

    Sums, multiples and products of observables on different wires are observables: ``0.5 * Z(0) @ Z(1) + X(2)``.

    Attributes:
        terms: (coefficient, string) pairs, every string once.
    """

    terms: tuple[tuple[float, PauliString], ...]

    @staticmethod
    def from_strings(strings: dict[str, float]) -> PauliSum:
        """From strings with one letter per wire, wire 0 first: ``{"ZIX": 0.5, "IIZ": 1.0}``.

        Raises:
            OptionError: a letter other than I, X, Y, Z.
        """
        total = PauliSum(())
        for string, coefficient in strings.items():
            if set(string) - set("IXYZ"):
                raise OptionError(f"Pauli string {string!r} may hold only the letters I, X, Y and Z.")
            factors = tuple((wire, letter) for wire, letter in enumerate(string) if letter != "I")
            total = total + coefficient * PauliSum(((1.0, factors),))
        return total

    def __add__(self, other: PauliSum) -> PauliSum:
        found: dict[PauliString, float] = {}
        for coefficient, string in (*self.terms, *other.terms):
            found[string] = found.get(string, 0.0) + coefficient
        return PauliSum(tuple((coefficient, string) for string, coefficient in found.items()))

    def __sub__(self, other: PauliSum) -> PauliSum:
        return self + -1.0 * other

    def __neg__(self) -> PauliSum:
        return -1.0 * self

    def __mul__(self, factor: float) -> PauliSum:
        if not isinstance(factor, Real) or not math.isfinite(factor):
            raise OptionError(
                f"an observable is multiplied by a finite real number, not by {factor!s}; products are @."
            )
        return PauliSum(tuple((float(factor) * coefficient, string) for coefficient, string in self.terms))

    __rmul__ = __mul__

    def __matmul__(self, other: PauliSum) -> PauliSum:
        total = PauliSum(())
        for first, left in self.terms:
            for second, right in other.terms:
                if {wire for wire, _ in left} & {wire for wire, _ in right}:
                    raise OptionError("a product of observables needs different wires in its factors.")
                total = total + PauliSum(((first * second, tuple(sorted(left + right))),))
        return total

    @property
    def wires(self) -> tuple[int, ...]:
        """Wires on which it acts, increasing."""
        return tuple(sorted({wire for _, string in self.terms for wire, _ in string}))

    @property
    def is_diagonal(self) -> bool:
        """Whether it holds Z only, so that measured bits decide its value."""
        return all(letter == "Z" for _, string in self.terms for _, letter in string)

    def __str__(self) -> str:
        words = []
        for coefficient, string in self.terms:
            name = "⊗".join(f"{letter}{wire}" for wire, letter in string) or "1"
            words.append({1.0: "", -1.0: "-"}.get(coefficient, f"{coefficient:.4g}·") + name)
        return " + ".join(words).replace("+ -", "- ") or "0"


def X(wire: int) -> PauliSum:
    """Pauli X on a wire."""
    return PauliSum(((1.0, ((check_positive("wire", wire, 0), "X"),)),))


def Y(wire: int) -> PauliSum:
    """Pauli Y on a wire."""
    return PauliSum(((1.0, ((check_positive("wire", wire, 0), "Y"),)),))


def Z(wire: int) -> PauliSum:
    """Pauli Z on a wire."""
    return PauliSum(((1.0, ((check_positive("wire", wire, 0), "Z"),)),))
