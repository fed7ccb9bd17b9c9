"""Circuits as text and as pictures."""

from __future__ import annotations

from typing import Any

from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import Gate

#: Longer labels are broken into lines in pictures, whose boxes all have one size.
_LONG = 12


def _labels(gate: Gate) -> dict[int, str]:
    """What stands on each wire of a gate."""
    symbols = gate.kind.symbols if gate.kind.wires else gate.kind.symbols * len(gate.wires)
    angles = ", ".join(str(angle) for angle in gate.angles)
    if gate.columns:
        angles = f"x[{gate.columns[0]}…{gate.columns[-1]}]" if len(gate.columns) > 1 else f"x[{gate.columns[0]}]"
    return {
        wire: f"{symbol}({angles})" if angles and symbol != "●" else symbol
        for wire, symbol in zip(gate.wires, symbols, strict=True)
    }


def text(circuit: Circuit) -> str:
    """One line per wire, gates as far left as they go; what is measured stands below the wires."""
    columns: list[dict[int, str]] = []
    spans: list[list[tuple[int, int]]] = []
    free = [0] * circuit.wires
    for gate in circuit.gates:
        low, high = min(gate.wires), max(gate.wires)
        place = max(free[low : high + 1])
        if place == len(columns):
            columns.append({})
            spans.append([])
        columns[place].update(_labels(gate))
        spans[place].append((low, high))
        for wire in range(low, high + 1):
            free[wire] = place + 1
    width = len(str(circuit.wires - 1))
    lines = [f"{wire:>{width}}: |0⟩" for wire in range(circuit.wires)]
    for column, inside in zip(columns, spans, strict=True):
        size = max(len(label) for label in column.values())
        for wire in range(circuit.wires):
            crossed = any(low < wire < high for low, high in inside)
            lines[wire] += "──" + column.get(wire, "│" if crossed else "").center(size, "─")
    measured = ", ".join(f"⟨{observable}⟩" for observable in circuit.observables)
    if circuit.wires == 1:
        return f"{lines[0]}──{measured}"
    return "\n".join([*(f"{line}──" for line in lines), f"measured: {measured}"])


def figure(circuit: Circuit) -> Any:
    """A matplotlib figure; angles that are not numbers are shown as formulas."""
    import pennylane as qml

    def sequence() -> None:
        for gate in circuit.gates:
            _queue(gate)

    drawn, _ = qml.draw_mpl(sequence, wire_order=range(circuit.wires), decimals=None, style="black_white")()
    return drawn


def _queue(gate: Gate) -> None:
    """A gate as PennyLane draws it: its label holds the formulas of its angles."""
    import pennylane as qml

    label = next(text for text in reversed(list(_labels(gate).values())))
    if len(label) > _LONG:
        label = label.replace("(", "(\n", 1).replace(", ", ",\n").replace(" + ", "\n+ ")

    class Drawn(qml.operation.Operator):
        """A gate that is drawn and never run."""

        num_wires = None

        def label(self, *_: Any, **__: Any) -> str:
            return label

    if gate.name in ("H", "X", "Y", "Z", "S", "T", "CNOT", "CZ", "SWAP", "Barrier"):
        names = {"H": "Hadamard", "X": "PauliX", "Y": "PauliY", "Z": "PauliZ"}
        getattr(qml, names.get(gate.name, gate.name))(wires=gate.wires)
    elif gate.name.startswith("CR"):
        qml.ctrl(Drawn(wires=gate.wires[1:]), control=gate.wires[:1])
    else:
        Drawn(wires=gate.wires)
