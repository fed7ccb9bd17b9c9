"""Ansätze: the gate sequences of DARUAN, and templates of several wires from :mod:`qkan.circuits.templates`.

DARUAN's gates are listed here, in one place for simulation, drawing and export. Gate orders follow the published code
of arXiv 2509.14026 (``pz``, ``rpz``, ``px``, ``real``, ``mix``). Each circuit starts with a Hadamard gate, so the state
before the first listed gate is |+⟩, and ⟨Z⟩ is measured. X and Z gates are written as rotations by π, which differ from
them by a global phase only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from qkan.circuits.angles import data, parameters
from qkan.circuits.circuit import Circuit
from qkan.circuits.templates import basic_entangler, mera, mps, strongly_entangling, ttn
from qkan.errors import check_choice, check_positive
from qkan.kernels.reference import Gate

__all__ = ["ANSATZE", "DaruanCircuit", "basic_entangler", "daruan", "mera", "mps", "strongly_entangling", "ttn"]


@dataclass(frozen=True)
class _Recipe:
    """Gates of one repetition and of the closing rotation; "t0", "t1" are trainable angles, "d" the data angle."""

    block: tuple[str, ...]
    closing: tuple[str, ...] = ()

    @staticmethod
    def count(gates: tuple[str, ...]) -> int:
        return sum(gate[1] == "t" for gate in gates)


#: In ``rpz`` the trainable preactivation bias is the RZ before the data gate. In ``px`` a closing RZ would commute
#: with the measurement, so it is left out.
ANSATZE: dict[str, _Recipe] = {
    "pz": _Recipe(("zt0", "yt1", "zd"), ("zt0", "yt1")),
    "rpz": _Recipe(("yt0", "zt1", "zd"), ("yt0",)),
    "px": _Recipe(("zt0", "xd")),
    "real": _Recipe(("xπ", "yt0", "zπ", "yd")),
    "mix": _Recipe(("zt0", "xt1", "yd"), ("zt0", "xt1")),
}


@dataclass(frozen=True)
class DaruanCircuit:
    """A one-qubit data re-uploading circuit. ``print`` draws it.

    Attributes:
        reps: number of repetitions L, each with one data gate.
        ansatz: name of the gate order.
        gates: the gates after the opening Hadamard, first gate first (see :data:`qkan.kernels.reference.Gate`).
        block_size: trainable angles in one repetition.
        closing_size: trainable angles in the closing rotation.
    """

    reps: int
    ansatz: str
    gates: tuple[Gate, ...]
    block_size: int
    closing_size: int

    @property
    def num_parameters(self) -> int:
        """Trainable angles P = reps · block_size + closing_size."""
        return self.reps * self.block_size + self.closing_size

    @cached_property
    def circuit(self) -> Circuit:
        """The same gates as a :class:`Circuit`: parameters theta[0] … theta[P-1], data angle φ_l in column l, ⟨Z⟩."""
        theta = parameters("theta", self.num_parameters)
        found = Circuit(1).h(0)
        for axis, source, value in self.gates:
            angle = value if source == "const" else theta[int(value)] if source == "theta" else data(int(value))
            found = found.add(f"R{axis.upper()}", [0], angle)
        return found

    def __str__(self) -> str:
        labels = ["H"]
        for axis, source, value in self.gates:
            if source == "theta":
                labels.append(f"R{axis.upper()}(θ{int(value)})")
            elif source == "data":
                labels.append(f"R{axis.upper()}(φ{int(value)})")
            else:
                labels.append(axis.upper())
        return "|0⟩──" + "──".join(labels) + "──⟨Z⟩"


def daruan(reps: int = 3, ansatz: str = "pz") -> DaruanCircuit:
    """The DARUAN circuit with ``reps`` repetitions of the named gate order.

    Raises:
        OptionError: unknown ``ansatz``, or ``reps`` below 1.
    """
    check_choice("ansatz", ansatz, ANSATZE)
    check_positive("reps", reps)
    recipe = ANSATZE[ansatz]
    block_size, closing_size = recipe.count(recipe.block), recipe.count(recipe.closing)
    gates: list[Gate] = []
    for rep in range(reps):
        gates += [_gate(code, rep, rep * block_size) for code in recipe.block]
    gates += [_gate(code, reps, reps * block_size) for code in recipe.closing]
    return DaruanCircuit(reps, ansatz, tuple(gates), block_size, closing_size)


def _gate(code: str, rep: int, offset: int) -> Gate:
    axis, kind = code[0], code[1]
    if kind == "t":
        return axis, "theta", offset + int(code[2])
    if kind == "d":
        return axis, "data", rep
    return axis, "const", math.pi
