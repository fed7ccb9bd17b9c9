"""Many small circuits side by side on a wide device: one shot then measures all of them.

The copies share no gate, so their expectations are those of the separate circuits; on a real device they may disturb
each other (crosstalk), which the bundled noise models do not contain.

Several programs on one device: Das et al., A Case for Multi-Programming Quantum Computers (MICRO 2019).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from qkan.circuits.angles import Angle
from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliSum
from qkan.errors import check_positive


@lru_cache(maxsize=64)
def pack(circuit: Circuit, copies: int) -> Circuit:
    """``copies`` of a circuit without named parameters on wires of their own.

    Copy k acts on wires kW … kW+W-1, reads columns kR … kR+R-1, and its observables follow those of copy k-1.
    """
    check_positive("copies", copies)
    if copies == 1:
        return circuit
    columns = circuit.num_columns
    gates, observables = [], []
    for gate in circuit.gates:  # gate by gate, so that drawings and compilers see layers
        for copy in range(copies):
            gates.append(
                replace(
                    gate,
                    wires=tuple(wire + copy * circuit.wires for wire in gate.wires),
                    angles=tuple(_moved(angle, copy * columns) for angle in gate.angles),
                    columns=tuple(column + copy * columns for column in gate.columns),
                )
            )
    for copy in range(copies):
        observables += [_on(observable, copy * circuit.wires) for observable in circuit.observables]
    return Circuit(copies * circuit.wires, tuple(gates), tuple(observables))


def _moved(angle: Angle, by: int) -> Angle:
    return replace(angle, data=tuple((column + by, factor) for column, factor in angle.data))


def _on(observable: PauliSum, by: int) -> PauliSum:
    return PauliSum(
        tuple((factor, tuple((wire + by, letter) for wire, letter in string)) for factor, string in observable.terms)
    )


def pack_rows(rows: np.ndarray, copies: int) -> np.ndarray:
    """Rows (N, R) for the packed circuit: (⌈N / copies⌉, copies · R). The last row fills what is left over.

    Args:
        rows: (N, R).
        copies: circuits side by side.
    """
    missing = -len(rows) % copies
    filled = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
    return filled.reshape(len(filled) // copies, copies * rows.shape[1])


def unpack(values: np.ndarray, copies: int, count: int) -> np.ndarray:
    """What :func:`pack_rows` joined, apart again: (M, copies · observables) to (count, observables).

    Args:
        values: (M, copies · observables).
        copies: circuits side by side.
        count: rows before packing.
    """
    return values.reshape(len(values) * copies, -1)[:count]
