"""Expectations from measured bits: which strings are measured together, and what counts say with which variance.

Strings that commute wire by wire are measured together (Kandala et al., Nature 549, 242, 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliSum

#: A term of an observable: (index of the observable, coefficient, wires whose signs are multiplied).
_Term = tuple[int, float, tuple[int, ...]]


@dataclass(frozen=True)
class Group:
    """Pauli strings that one setting measures: each wire in one basis.

    Attributes:
        basis: "X", "Y" or "Z" by wire.
        terms: of the observables.
    """

    basis: dict[int, str]
    terms: tuple[_Term, ...]

    def rotated(self, circuit: Circuit) -> Circuit:
        """The circuit followed by the rotations that turn its basis to Z."""
        for wire, letter in sorted(self.basis.items()):
            if letter == "X":
                circuit = circuit.h(wire)
            elif letter == "Y":
                circuit = circuit.rx(np.pi / 2, wire)
        return circuit

    def values(self, bits: np.ndarray, observables: int) -> np.ndarray:
        """What each outcome (M, wires) of 0 and 1 contributes to each observable, (M, observables).

        Args:
            bits: (M, wires) of 0 and 1.
            observables: how many the circuit has.
        """
        found = np.zeros((len(bits), observables))
        signs = 1.0 - 2.0 * bits
        for place, coefficient, wires in self.terms:
            found[:, place] += coefficient * signs[:, list(wires)].prod(1)
        return found

    def bounds(self, observables: int) -> np.ndarray:
        """Σ|coefficient| of each observable's terms, (observables,)."""
        found = np.zeros(observables)
        for place, coefficient, wires in self.terms:
            found[place] += abs(coefficient) * bool(wires)
        return found


def groups(observables: Sequence[PauliSum]) -> list[Group]:
    """Settings that together measure all observables.

    Strings on more wires come first. Each joins the first setting that measures it already, else the first with which
    it agrees. Parts of a string, of which the correction of readout errors is made, thus need no further setting.
    Observables without any wire, which are numbers, join the first.
    """
    found: list[tuple[dict[int, str], list[_Term]]] = []
    everything = [(place, *term) for place, observable in enumerate(observables) for term in observable.terms]
    for place, coefficient, string in sorted(everything, key=lambda one: -len(one[2])):
        letters = set(string)
        covering = (one for one in found if letters <= one[0].items())
        agreeing = (one for one in found if all(one[0].get(wire, letter) == letter for wire, letter in string))
        chosen = next(covering, None) or next(agreeing, None)
        if chosen is None:
            chosen = ({}, [])
            found.append(chosen)
        basis, terms = chosen
        basis.update(string)
        terms.append((place, coefficient, tuple(wire for wire, _ in string)))
    return [Group(basis, tuple(terms)) for basis, terms in found] or [Group({}, ())]


def estimate(group: Group, bits: np.ndarray, counts: np.ndarray, observables: int) -> tuple[np.ndarray, np.ndarray]:
    """A setting's contribution to every observable, and the variance of that mean.

    With v = ±1 from n shots the variance is that of the posterior for Jeffreys' prior, which is not zero where all
    shots agree; sums of strings are treated alike, with Σ|coefficient| in the place of 1.

    Args:
        group: the setting.
        bits: (M, wires) outcomes.
        counts: (..., M), how often each was seen.
        observables: their number.

    Returns:
        (..., observables) twice.
    """
    values = group.values(bits, observables)
    shots = counts.sum(-1, keepdims=True)
    mean = counts @ values / shots
    second = (counts @ values**2 + group.bounds(observables) ** 2) / (shots + 1)
    spread = second - (mean * shots / (shots + 1)) ** 2
    return mean, np.where(group.bounds(observables) > 0, spread / (shots + 2), 0.0)


def all_bits(wires: int) -> np.ndarray:
    """Bits of all basis states in order, (2^wires, wires), wire 0 most significant."""
    index = np.arange(2**wires)[:, None]
    return (index >> np.arange(wires - 1, -1, -1)) & 1
