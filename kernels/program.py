"""A one-qubit circuit as text and as number tables, the forms in which operators and kernels receive it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qkan.kernels.reference import Gate

_AXES = {"x": 0, "y": 1, "z": 2}
_SOURCES = ("theta", "data", "const")


def encode(gates: tuple[Gate, ...]) -> str:
    """A circuit as text, the form in which it travels through an operator: "z theta 0;y const 3.14…"."""
    return ";".join(f"{axis} {source} {value!r}" for axis, source, value in gates)


def decode(text: str) -> tuple[Gate, ...]:
    """The circuit that :func:`encode` wrote."""
    parts = (gate.split(" ") for gate in text.split(";"))
    return tuple((axis, source, float(value) if source == "const" else int(value)) for axis, source, value in parts)


class Program(NamedTuple):
    """Rotations in order; the angle of rotation g is the sum of up to one source of each kind.

    Attributes:
        axes: (G,) int64; 0, 1, 2 for x, y, z.
        theta: (G,) int64; index of the trainable angle, -1 for none.
        data: (G,) int64; index of the repetition whose data angle is added, -1 for none.
        const: (G,) float32; constant part of the angle in radians.
    """

    axes: np.ndarray
    theta: np.ndarray
    data: np.ndarray
    const: np.ndarray


@lru_cache(maxsize=256)
def program(text: str) -> Program:
    """The tables of an encoded circuit, neighbouring rotations about one axis merged into one."""
    rows: list[list[float]] = []
    for axis, source, value in decode(text):
        kind = _SOURCES.index(source) + 1
        row = [_AXES[axis], -1, -1, 0.0]
        row[kind] = value
        if rows and rows[-1][0] == row[0] and (kind == 3 or rows[-1][kind] < 0):
            rows[-1][kind] = rows[-1][3] + value if kind == 3 else value
        else:
            rows.append(row)
    table = np.array(rows)
    axes, theta, data = (np.ascontiguousarray(table[:, j], dtype=np.int64) for j in range(3))
    return Program(axes, theta, data, table[:, 3].astype(np.float32))


@lru_cache(maxsize=256)
def table(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Gate by gate, unmerged: (gates (G, 3) of axis, source, index) and the constants that "const" gates index."""
    rows, constants = [], [0.0]
    for axis, source, value in decode(text):
        index = int(value)
        if source == "const":
            constants.append(float(value))
            index = len(constants) - 1
        rows.append((_AXES[axis], _SOURCES.index(source), index))
    return np.array(rows, dtype=np.int64), np.array(constants)
