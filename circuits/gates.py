"""The gates a circuit is made of: how many wires and angles each takes, its matrix, and its parameter-shift rule.

R_P(φ) = exp(-iφP/2). On two wires the first is the control, and the more significant bit of the matrix index.

Parameter shifts: Mitarai et al., Phys. Rev. A 98, 032309 (2018); see :mod:`qkan.circuits.gradients`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qkan.circuits.angles import Angle

#: Pauli matrices, row by row.
PAULI = {
    "I": ((1, 0), (0, 1)),
    "X": ((0, 1), (1, 0)),
    "Y": ((0, -1j), (1j, 0)),
    "Z": ((1, 0), (0, -1)),
}


@dataclass(frozen=True)
class GateKind:
    """What all gates of one name have in common.

    Attributes:
        wires: how many it acts on; 0 for any number.
        angles: how many it takes.
        symbols: what a drawing shows on each of its wires.
        frequencies: positive differences of the generator's eigenvalues, (1,) for a two-term parameter-shift rule and
            (0.5, 1) for the four-term rule of controlled rotations; () where there is no angle.
    """

    wires: int
    angles: int
    symbols: tuple[str, ...]
    frequencies: tuple[float, ...] = ()


#: The gates, by name.
KINDS: dict[str, GateKind] = {
    **{name: GateKind(1, 0, (name,)) for name in ("H", "X", "Y", "Z", "S", "T")},
    **{name: GateKind(1, 1, (name,), (1.0,)) for name in ("RX", "RY", "RZ", "PhaseShift")},
    "Rot": GateKind(1, 3, ("Rot",), (1.0,)),
    "CNOT": GateKind(2, 0, ("●", "X")),
    "CZ": GateKind(2, 0, ("●", "Z")),
    "SWAP": GateKind(2, 0, ("×", "×")),
    **{f"CR{axis}": GateKind(2, 1, ("●", f"R{axis}"), (0.5, 1.0)) for axis in "XYZ"},
    **{f"Ising{pair}": GateKind(2, 1, (pair, pair), (1.0,)) for pair in ("XX", "YY", "ZZ")},
    "AmplitudeEmbedding": GateKind(0, 0, ("Amplitudes",)),
    "Barrier": GateKind(0, 0, ("│",)),
}


@dataclass(frozen=True)
class Gate:
    """A gate in its place.

    Attributes:
        name: a key of :data:`KINDS`.
        wires: on which it acts.
        angles: as many as its kind takes.
        columns: of the data, the amplitudes of an AmplitudeEmbedding.
    """

    name: str
    wires: tuple[int, ...]
    angles: tuple[Angle, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def kind(self) -> GateKind:
        """What its name stands for."""
        return KINDS[self.name]

    @property
    def depends_on_data(self) -> bool:
        """Whether it differs from row to row of the data."""
        return bool(self.columns) or any(angle.depends_on_data for angle in self.angles)


def pauli(letters: str, like: Tensor) -> Tensor:
    """The matrix (2^q, 2^q) of a Pauli string of q letters, first letter most significant, in the type of ``like``.

    Args:
        letters: such as "XZ".
        like: tensor of any shape, whose complex type and device are taken.
    """
    matrix = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    for letter in letters:
        matrix = torch.kron(matrix, torch.tensor(PAULI[letter], dtype=like.dtype, device=like.device))
    return matrix


def _constant(rows: tuple, like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def matrix(name: str, angles: Tensor, like: Tensor) -> Tensor:
    """The unitary of a gate.

    Args:
        name: a key of :data:`KINDS` other than AmplitudeEmbedding and Barrier.
        angles: (..., number of angles) in radians.
        like: a complex tensor that gives type and device.

    Returns:
        (..., 2, 2) or (..., 4, 4).
    """
    if name in FIXED:
        return _constant(FIXED[name], like).expand(*angles.shape[:-1], *(2 * [len(FIXED[name])]))
    if name == "Rot":
        first, second, third = (angles[..., k : k + 1] for k in range(3))
        return matrix("RZ", third, like) @ matrix("RY", second, like) @ matrix("RZ", first, like)
    angle = angles[..., 0, None, None]
    if name == "PhaseShift":
        phase = torch.exp(1j * angle.to(like.dtype))
        return _constant(((1, 0), (0, 0)), like) + phase * _constant(((0, 0), (0, 1)), like)
    if name.startswith("CR"):
        turned = _rotation(name[2], angle, like)
        return torch.kron(_constant(((1, 0), (0, 0)), like), pauli("I", like)) + _controlled(turned)
    return _rotation(name.removeprefix("Ising").removeprefix("R"), angle, like)


def _rotation(letters: str, angle: Tensor, like: Tensor) -> Tensor:
    """exp(-i angle P / 2) for a Pauli string P."""
    operator = pauli(letters, like)
    identity = torch.eye(len(operator), dtype=like.dtype, device=like.device)
    return torch.cos(angle / 2) * identity + torch.sin(angle / 2) * (-1j * operator)


def _controlled(block: Tensor) -> Tensor:
    """A 2x2 block in the lower right corner of a 4x4 matrix."""
    return torch.nn.functional.pad(block, (2, 0, 2, 0))


_HALF = 0.5**0.5
#: Matrices of the gates without angles, row by row.
FIXED: dict[str, tuple] = {
    "H": ((_HALF, _HALF), (_HALF, -_HALF)),
    "X": PAULI["X"],
    "Y": PAULI["Y"],
    "Z": PAULI["Z"],
    "S": ((1, 0), (0, 1j)),
    "T": ((1, 0), (0, complex(_HALF, _HALF))),
    "CNOT": ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)),
    "CZ": ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, -1)),
    "SWAP": ((1, 0, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1)),
}
