"""Circuits as Qiskit's simulators and devices run them: angles free, gates native, wires on physical qubits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from qkan.circuits.angles import Angle
from qkan.circuits.circuit import Circuit
from qkan.circuits.devices import rank_qubits
from qkan.circuits.qiskit_bridge import to_qiskit
from qkan.circuits.rows import is_free
from qkan.errors import OptionError, check_positive

#: Of all compilation: what a circuit compiles to then depends on the circuit alone, and is the same in every process.
_SEED = 0


def has_amplitudes(circuit: Circuit) -> bool:
    """Whether its gates differ from row to row, not only their angles."""
    return any(gate.columns for gate in circuit.gates)


def free(circuit: Circuit, row: np.ndarray | None = None) -> Any:
    """A ``qiskit.QuantumCircuit`` whose angles are parameters ``x[j]`` and whose amplitudes are those of the row.

    Angles stay free until the circuit is compiled: with numbers in them a compiler merges the rotations of a wire into
    one, and a device's noise would act on fewer gates.
    """
    gates = []
    for gate in circuit.gates:
        angles = (_named(angle) if is_free(angle) else angle for angle in gate.angles)
        gates.append(replace(gate, angles=tuple(angles)))
    named = Circuit(circuit.wires, tuple(gates), circuit.observables)
    return to_qiskit(named, None if row is None else row[: named.num_columns])


def _named(angle: Angle) -> Angle:
    return Angle(angle.constant, tuple((f"x[{column}]", factor) for column, factor in angle.data))


def bindings(circuit: Any, rows: np.ndarray) -> dict[Any, list[float]]:
    """Qiskit's parameters of a circuit to the numbers of all rows."""
    return {one: rows[:, int(one.name[2:-1])].tolist() for one in circuit.parameters}


def check_layout(layout: Iterable[int], qubits: int) -> tuple[int, ...]:
    """Physical qubits, one per wire.

    Raises:
        OptionError: a qubit is repeated or does not exist.
    """
    found = tuple(check_positive("layout", qubit, 0) for qubit in layout)
    if len(set(found)) != len(found) or not found or max(found) >= qubits:
        raise OptionError(f"layout={list(found)} must hold different qubits from 0 to {qubits - 1}.")
    return found


class Placement:
    """Where the wires of circuits lie on a device: in the layout given, else on the best qubits, else as transpiled.

    Args:
        target: of the device.
        level: of the transpiler's optimization.
        layout: physical qubits for the first wires, or ``None``.
    """

    def __init__(self, target: Any, level: int, layout: Sequence[int] | None):
        self.target, self.level, self.layout = target, level, layout
        self.of = lru_cache(maxsize=64)(self._of)

    def _of(self, circuit: Circuit, like: Circuit | None = None) -> tuple[int, ...]:
        """Physical qubits by wire, as its gates begin.

        With ``like`` they are those of that circuit: where it ends, if the present circuit has no gate on two wires, as
        for calibrations of the readout, else where it begins.
        """
        if like is not None:
            start = self.of(like)
            if not _separate(circuit) or _separate(like):
                return start
            compiled = onto_device(free(like, _nominal_row(like)), self.target, start, self.level)
            return tuple(places(compiled, circuit.wires))
        if self.layout is not None:
            return tuple(self.layout[: circuit.wires])
        if _separate(circuit):
            return tuple(rank_qubits(self.target)[: circuit.wires])
        measured = free(circuit, _nominal_row(circuit))
        measured.measure_all()  # the choice heeds readout errors where something is measured
        chosen = onto_device(measured, self.target, None, self.level).layout
        return tuple(range(circuit.wires)) if chosen is None else tuple(chosen.initial_index_layout(True))


def _separate(circuit: Circuit) -> bool:
    """Whether no gate connects wires."""
    return all(len(gate.wires) == 1 or gate.name == "Barrier" for gate in circuit.gates)


def _nominal_row(circuit: Circuit) -> np.ndarray | None:
    """Amplitudes of no special kind, so that all rows of a circuit with amplitudes lie on the same qubits."""
    return 1 + np.arange(circuit.num_columns) / 7 if has_amplitudes(circuit) else None


def onto_device(circuit: Any, target: Any, layout: Sequence[int] | None, level: int) -> Any:
    """The circuit in the device's own gates, on its qubits."""
    from qiskit import transpile

    placed = None if layout is None else list(layout)
    return transpile(circuit, target=target, initial_layout=placed, optimization_level=level, seed_transpiler=_SEED)


def places(compiled: Any, wires: int) -> list[int]:
    """On which qubit of the compiled circuit each wire ends."""
    return list(range(wires)) if compiled.layout is None else list(compiled.layout.final_index_layout())


def parts(compiled: Any, wanted: Iterable[int]) -> list[tuple[int, ...]]:
    """Qubits in use, or wanted, in groups that no gate connects; groups are ordered by their first qubit."""
    root: dict[int, int] = {qubit: qubit for qubit in wanted}

    def find(qubit: int) -> int:
        while root.setdefault(qubit, qubit) != qubit:
            qubit = root[qubit]
        return qubit

    for instruction in compiled.data:
        if instruction.operation.name != "barrier":
            first, *others = (find(compiled.find_bit(bit).index) for bit in instruction.qubits)
            for other in others:
                root[find(other)] = find(first)
    found: dict[int, list[int]] = {}
    for qubit in sorted(root):
        found.setdefault(find(qubit), []).append(qubit)
    return sorted(tuple(group) for group in found.values())


def only(compiled: Any, qubits: Sequence[int]) -> Any:
    """The gates on some qubits of a compiled circuit, qubit k of the result being the k-th of them; no barriers."""
    from qiskit import QuantumCircuit

    place = {qubit: index for index, qubit in enumerate(qubits)}
    found = QuantumCircuit(len(qubits))
    for instruction in compiled.data:
        used = [place.get(compiled.find_bit(bit).index) for bit in instruction.qubits]
        if None not in used and instruction.operation.name != "barrier":
            found.append(instruction.operation, used)
    return found


def bits_of(outcomes: Iterable[int], count: int) -> np.ndarray:
    """Outcomes as whole numbers, qubit k in bit k, to (M, count) bits of 0 and 1; any number of qubits."""
    size = (count + 7) // 8
    packed = b"".join(outcome.to_bytes(size, "little") for outcome in outcomes)
    table = np.frombuffer(packed, dtype=np.uint8).reshape(-1, size)
    return np.unpackbits(table, axis=1, bitorder="little")[:, :count]


def tally(shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of (shots, count) bits, and how often each was seen."""
    count = shots.shape[1]
    if count > 32:
        return np.unique(shots, axis=0, return_counts=True)
    seen, often = np.unique(shots @ (1 << np.arange(count)), return_counts=True)
    return bits_of(seen.tolist(), count), often
