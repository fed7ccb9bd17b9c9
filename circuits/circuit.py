"""A quantum circuit as an immutable description, which every backend reads.

Angles are in radians.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from qkan.circuits.angles import Angle, as_angle, data
from qkan.circuits.gates import KINDS, Gate
from qkan.circuits.observables import PauliSum, Z
from qkan.errors import OptionError, ShapeError, check_choice, check_positive

_Self = TypeVar("_Self", bound="Circuit")


@dataclass(frozen=True)
class Circuit:
    """Gates on wires that start in |0⟩, and the observables whose expectations are taken at the end.

    Every method that adds something returns a new circuit; ``print`` draws it::

        circuit = Circuit(2).ry(data(0), 0).cnot(0, 1).rz(parameter("a"), 1).measure(Z(0) @ Z(1))

    Wire 0 is the most significant bit of a basis state's index.

    Attributes:
        wires: number of qubits.
        gates: first gate first.
        observables: what is measured, by default Z on wire 0.
    """

    wires: int
    gates: tuple[Gate, ...] = ()
    observables: tuple[PauliSum, ...] = (Z(0),)

    def __post_init__(self) -> None:
        check_positive("wires", self.wires)
        object.__setattr__(self, "gates", tuple(self.gates))
        object.__setattr__(self, "observables", tuple(self.observables))
        touched: set[int] = set()
        for gate in self.gates:
            self._check(gate, touched)
            if gate.name != "Barrier":
                touched.update(gate.wires)
        for observable in self.observables:
            if not isinstance(observable, PauliSum):
                raise OptionError(f"observable {observable!r} must be made of X(wire), Y(wire) and Z(wire).")
            if observable.wires and observable.wires[-1] >= self.wires:
                raise OptionError(f"observable {observable} acts on a wire beyond the last, {self.wires - 1}.")
        if not self.observables:
            raise OptionError("a circuit needs one observable or more to measure.")

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Hashing walks over every angle, and the simulator looks a circuit up in every call.
        return hash((self.wires, self.gates, self.observables))

    def __getstate__(self) -> dict[str, Any]:
        # What is cached stays behind: hashes of strings differ from process to process.
        return {"wires": self.wires, "gates": self.gates, "observables": self.observables}

    def _check(self, gate: Gate, touched: set[int]) -> None:
        check_choice("gate", gate.name, KINDS)
        wanted = gate.kind.wires or len(gate.wires)
        if len(gate.wires) != wanted or len(set(gate.wires)) != len(gate.wires):
            raise OptionError(f"{gate.name} needs {wanted} different wires, but got {gate.wires}.")
        if len(gate.angles) != gate.kind.angles:
            raise OptionError(f"{gate.name} needs {gate.kind.angles} angles, but got {len(gate.angles)}.")
        if any(not 0 <= wire < self.wires for wire in gate.wires):
            raise OptionError(f"{gate.name} on wires {gate.wires} needs wires from 0 to {self.wires - 1}.")
        if gate.name == "AmplitudeEmbedding":
            if touched & set(gate.wires):
                raise OptionError("AmplitudeEmbedding prepares its wires and must be the first gate on each of them.")
            if not 1 <= len(gate.columns) <= 2 ** len(gate.wires):
                raise OptionError(
                    f"AmplitudeEmbedding on {len(gate.wires)} wires takes 1 to {2 ** len(gate.wires)} columns, "
                    f"but got {len(gate.columns)}."
                )

    # -- building ------------------------------------------------------------------------------------------------

    def add(self: _Self, name: str, wires: Sequence[int], *angles: Angle | float) -> _Self:
        """The circuit with one more gate, by name (a key of ``qkan.circuits.gates.KINDS``).

        Raises:
            OptionError: unknown name, or wrong wires or number of angles.
        """
        gate = Gate(name, tuple(int(wire) for wire in wires), tuple(as_angle(angle) for angle in angles))
        return replace(self, gates=(*self.gates, gate))

    def h(self: _Self, wire: int) -> _Self:
        """Hadamard."""
        return self.add("H", [wire])

    def x(self: _Self, wire: int) -> _Self:
        """Pauli X."""
        return self.add("X", [wire])

    def y(self: _Self, wire: int) -> _Self:
        """Pauli Y."""
        return self.add("Y", [wire])

    def z(self: _Self, wire: int) -> _Self:
        """Pauli Z."""
        return self.add("Z", [wire])

    def s(self: _Self, wire: int) -> _Self:
        """Phase i on |1⟩."""
        return self.add("S", [wire])

    def t(self: _Self, wire: int) -> _Self:
        """Phase exp(iπ/4) on |1⟩."""
        return self.add("T", [wire])

    def rx(self: _Self, angle: Angle | float, wire: int) -> _Self:
        """exp(-i angle X / 2) on ``wire``."""
        return self.add("RX", [wire], angle)

    def ry(self: _Self, angle: Angle | float, wire: int) -> _Self:
        """exp(-i angle Y / 2) on ``wire``."""
        return self.add("RY", [wire], angle)

    def rz(self: _Self, angle: Angle | float, wire: int) -> _Self:
        """exp(-i angle Z / 2) on ``wire``."""
        return self.add("RZ", [wire], angle)

    def phase_shift(self: _Self, angle: Angle | float, wire: int) -> _Self:
        """Phase exp(i angle) on |1⟩ of ``wire``."""
        return self.add("PhaseShift", [wire], angle)

    def rot(self: _Self, phi: Angle | float, theta: Angle | float, omega: Angle | float, wire: int) -> _Self:
        """RZ(omega) RY(theta) RZ(phi) on ``wire``: phi acts first."""
        return self.add("Rot", [wire], phi, theta, omega)

    def cnot(self: _Self, control: int, target: int) -> _Self:
        """X on the wire ``target`` where ``control`` is |1⟩."""
        return self.add("CNOT", [control, target])

    def cz(self: _Self, control: int, target: int) -> _Self:
        """Z on the wire ``target`` where ``control`` is |1⟩; symmetric in the two."""
        return self.add("CZ", [control, target])

    def swap(self: _Self, first: int, second: int) -> _Self:
        """Exchange the wires ``first`` and ``second``."""
        return self.add("SWAP", [first, second])

    def crx(self: _Self, angle: Angle | float, control: int, target: int) -> _Self:
        """RX by ``angle`` on the target where the control is |1⟩."""
        return self.add("CRX", [control, target], angle)

    def cry(self: _Self, angle: Angle | float, control: int, target: int) -> _Self:
        """RY by ``angle`` on the target where the control is |1⟩."""
        return self.add("CRY", [control, target], angle)

    def crz(self: _Self, angle: Angle | float, control: int, target: int) -> _Self:
        """RZ by ``angle`` on the target where the control is |1⟩."""
        return self.add("CRZ", [control, target], angle)

    def ising_xx(self: _Self, angle: Angle | float, first: int, second: int) -> _Self:
        """exp(-i angle X⊗X / 2) on the wires ``first`` and ``second``."""
        return self.add("IsingXX", [first, second], angle)

    def ising_yy(self: _Self, angle: Angle | float, first: int, second: int) -> _Self:
        """exp(-i angle Y⊗Y / 2) on the wires ``first`` and ``second``."""
        return self.add("IsingYY", [first, second], angle)

    def ising_zz(self: _Self, angle: Angle | float, first: int, second: int) -> _Self:
        """exp(-i angle Z⊗Z / 2) on the wires ``first`` and ``second``."""
        return self.add("IsingZZ", [first, second], angle)

    def angle_embedding(self: _Self, wires: Iterable[int] | None = None, rotation: str = "X", start: int = 0) -> _Self:
        """A rotation on each wire by a data column of its own, from column ``start`` on; all wires by default.

        Raises:
            OptionError: ``rotation`` is not "X", "Y" or "Z".
        """
        check_choice("rotation", rotation, ("X", "Y", "Z"))
        circuit = self
        for place, wire in enumerate(range(self.wires) if wires is None else wires):
            circuit = circuit.add(f"R{rotation}", [wire], data(start + place))
        return circuit

    def amplitude_embedding(self: _Self, wires: Iterable[int] | None = None, columns: int = 0, start: int = 0) -> _Self:
        """Prepare Σ_k x_k |k⟩ / ‖x‖ from data columns, padded with zeros.

        Args:
            wires: first wire most significant; all by default.
            columns: how many, at most 2^wires, which is the default.
            start: first column.

        Raises:
            OptionError: a gate acted on one of the wires before, or there are too many columns.
        """
        wires = tuple(range(self.wires) if wires is None else wires)
        used = range(start, start + (columns or 2 ** len(wires)))
        return replace(self, gates=(*self.gates, Gate("AmplitudeEmbedding", wires, (), tuple(used))))

    def barrier(self: _Self) -> _Self:
        """A line across all wires: it does nothing, and no compiler may merge gates across it."""
        return self.add("Barrier", range(self.wires))

    def then(self: _Self, other: Circuit) -> _Self:
        """The gates of this circuit and then those of another, whose observables are kept.

        Raises:
            OptionError: the numbers of wires differ.
        """
        if other.wires != self.wires:
            raise OptionError(f"circuits of {self.wires} and {other.wires} wires cannot follow each other.")
        return replace(self, gates=self.gates + other.gates, observables=other.observables)

    def measure(self: _Self, *observables: PauliSum) -> _Self:
        """The circuit with these observables instead; without any, Z on every wire."""
        return replace(self, observables=observables or tuple(Z(wire) for wire in range(self.wires)))

    def inverse(self) -> Circuit:
        """The gates undone in reverse order.

        Raises:
            OptionError: the circuit holds an AmplitudeEmbedding, which is no unitary gate.
        """
        return Circuit(self.wires, tuple(_undone(gate) for gate in reversed(self.gates)), self.observables)

    # -- what it depends on --------------------------------------------------------------------------------------

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the trainable parameters, in order of first appearance."""
        names = (name for gate in self.gates for angle in gate.angles for name, _ in angle.parameters)
        return tuple(dict.fromkeys(names))

    @property
    def num_parameters(self) -> int:
        """P, the number of trainable parameters."""
        return len(self.parameters)

    @cached_property
    def num_columns(self) -> int:
        """D, the number of data columns that the circuit reads."""
        used = [column for gate in self.gates for angle in gate.angles for column, _ in angle.data]
        used += [column for gate in self.gates for column in gate.columns]
        return 1 + max(used, default=-1)

    @cached_property
    def num_angles(self) -> int:
        """S, the number of angles of all gates in order."""
        return sum(len(gate.angles) for gate in self.gates)

    @cached_property
    def angle_map(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Constants (S,), by parameter (S, P) and by data column (S, D): angles are their affine function."""
        constants = np.zeros(self.num_angles)
        by_parameter = np.zeros((self.num_angles, self.num_parameters))
        by_column = np.zeros((self.num_angles, self.num_columns))
        index = {name: place for place, name in enumerate(self.parameters)}
        for row, angle in enumerate(angle for gate in self.gates for angle in gate.angles):
            constants[row] = angle.constant
            for name, value in angle.parameters:
                by_parameter[row, index[name]] = value
            for column, value in angle.data:
                by_column[row, column] = value
        return constants, by_parameter, by_column

    def angles(self, data: Tensor | None = None, parameters: Tensor | None = None) -> Tensor:
        """All gate angles in radians, differentiable.

        Args:
            data: (..., D); may be left out where D is 0.
            parameters: (..., P) in the order of :attr:`parameters`; may be left out where P is 0.

        Returns:
            (..., S), leading shapes broadcast.

        Raises:
            ShapeError: a last dimension is not D or P.
        """
        data, parameters = self.check_inputs(data, parameters)
        maps = (torch.as_tensor(part, dtype=data.dtype, device=data.device) for part in self.angle_map)
        constants, by_parameter, by_column = maps
        return constants + parameters @ by_parameter.T + data @ by_column.T

    def check_inputs(self, data: Tensor | None, parameters: Tensor | None) -> tuple[Tensor, Tensor]:
        """Data and parameters as the wider of their types, at least float32; empty where the circuit has none.

        Args:
            data: (..., D), or ``None`` where the circuit has no data.
            parameters: (..., P), or ``None`` where it has no parameters.

        Raises:
            ShapeError: a last dimension is not D or P.
        """
        given = [value for value in (data, parameters) if value is not None]
        dtype = torch.float32 if given else torch.get_default_dtype()
        for value in given:
            dtype = torch.promote_types(dtype, value.dtype)
        empty = torch.zeros(0, dtype=dtype, device=given[0].device if given else None)
        data, parameters = (empty if value is None else value.to(dtype) for value in (data, parameters))
        for name, value, size in (("data", data, self.num_columns), ("parameters", parameters, self.num_parameters)):
            if value.dim() == 0 or value.shape[-1] != size:
                raise ShapeError(f"{name} of shape {tuple(value.shape)} must have {size} as the last dimension.")
        return data, parameters

    # -- pictures ------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        from qkan.circuits.drawing import text

        return text(self)

    def draw(self, style: str = "text") -> Any:
        """A drawing: "text" returns a string, "mpl" a matplotlib figure (drawn by PennyLane).

        Raises:
            OptionError: another style.
        """
        from qkan.circuits import drawing

        check_choice("style", style, ("text", "mpl"))
        return drawing.text(self) if style == "text" else drawing.figure(self)


def _undone(gate: Gate) -> Gate:
    if gate.name == "AmplitudeEmbedding":
        raise OptionError("a circuit with an AmplitudeEmbedding has no inverse; invert the part after it.")
    if gate.name in ("S", "T"):
        return Gate("PhaseShift", gate.wires, (Angle(-math.pi / (2 if gate.name == "S" else 4)),))
    return Gate(gate.name, gate.wires, tuple(-angle for angle in reversed(gate.angles)))
