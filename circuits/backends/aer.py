"""Qiskit Aer, without noise or with that of a device."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from qkan.circuits import measurement
from qkan.circuits.backends import _compile
from qkan.circuits.backends._base import Backend, Capabilities, Result, Task
from qkan.circuits.backends._noise import device as noisy_device
from qkan.circuits.circuit import Circuit
from qkan.circuits.measurement import Group
from qkan.errors import BackendUnavailable, JobError, OptionError, check_choice, check_positive

#: Simulation methods of Aer that this backend takes.
METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state", "stabilizer", "extended_stabilizer")
#: Qubits of a part up to which all its outcomes' chances are computed, and shots drawn from them.
_FEW = 10
#: Qubits from which "automatic" takes matrix product states without noise.
_WIDE = 24
#: Methods that take amplitudes as they are.
_SETS = ("automatic", "statevector", "matrix_product_state")
_MOST = {"statevector": 28, "density_matrix": 14}
_MOST_MPS = 500


@dataclass(frozen=True)
class _Part:
    """Qubits that no gate connects with others.

    Attributes:
        circuit: on these qubits, not measured.
        wires: those measured on them.
        qubits: of the circuit, one for each of the wires.
        physical: of the device, one for each qubit of the circuit; empty without a device.
    """

    circuit: Any
    wires: tuple[int, ...]
    qubits: tuple[int, ...]
    physical: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Setting:
    """A group of strings and the compiled circuit that measures it."""

    group: Group
    parts: tuple[_Part, ...]


class AerBackend(Backend):
    """Qiskit Aer's simulators.

    Args:
        shots: ``None`` for exact values. With noise these hold all errors of the device, misread bits included.
        seed: of the shots.
        method: of Aer. "automatic" takes circuits apart where no gate connects the wires. With noise it takes density
            matrices for parts of up to 10 qubits and matrix product states for more, without noise state vectors up to
            24.
        device: "CPU" or "GPU".
        noise: name of a bundled device, such as "FakeSherbrooke", or any Qiskit backend with a target. The circuit is
            compiled to that device's gates and qubits before numbers are put in, so that every rotation stays a gate
            with its noise, and no gate is merged with another across a barrier.
        layout: physical qubits, one per wire. By default the best of the device where all gates act on one wire
            (:func:`qkan.circuits.devices.rank_qubits`), else the transpiler's choice.
        max_wires: of the widest circuit, where this machine holds more or less than is assumed.

    Shots of parts of up to 10 qubits are drawn from the exact chances of all outcomes, which is the same as measuring
    the simulated state and several times faster; matrix product states are measured shot by shot.

    Raises:
        OptionError: a value is out of range, or ``layout`` is given without noise.
        BackendUnavailable: the package is missing, or Aer finds no such hardware.
    """

    name = "aer"
    capabilities = Capabilities(exact=True, shots=True, wires=_MOST_MPS)

    def __init__(
        self,
        shots: int | None = None,
        seed: int | None = None,
        method: str = "automatic",
        device: str = "CPU",
        noise: Any = None,
        layout: Iterable[int] | None = None,
        max_wires: int | None = None,
    ):
        super().__init__(shots, seed)
        check_choice("method", method, METHODS)
        check_choice("device", device, ("CPU", "GPU"))
        self.require(device)
        self.method, self.device, self.noise = method, device, noisy_device(noise)
        if layout is not None and self.noise is None:
            raise OptionError("layout names physical qubits of a device; give noise='FakeSherbrooke' or another.")
        self.layout = None if layout is None or self.noise is None else _compile.check_layout(layout, self.noise.qubits)
        most = _MOST.get(method, _MOST_MPS)
        if self.noise is not None:
            most = min(most, len(self.layout) if self.layout else self.noise.qubits)
        wires = most if max_wires is None else check_positive("max_wires", max_wires)
        self.capabilities = replace(type(self).capabilities, wires=wires, noise=self.noise is not None)
        self.settings = {
            "method": method,
            "noise": self.noise.name if self.noise else None,
            "layout": None if self.layout is None else list(self.layout),
        }
        self._place = None if self.noise is None else _compile.Placement(self.noise.target, 1, self.layout)
        self._compiled = lru_cache(maxsize=64)(self._settings)

    @classmethod
    def require(cls, device: str = "") -> None:
        try:
            from qiskit_aer import AerSimulator
        except ImportError as error:
            raise BackendUnavailable("backend 'aer' needs the package qiskit-aer: pip install qiskit-aer.") from error
        found = AerSimulator().available_devices()
        if device and device not in found:
            raise BackendUnavailable(
                f"Aer finds no {device} here, only {', '.join(found)}; it needs an NVIDIA GPU and the package "
                "qiskit-aer-gpu in the place of qiskit-aer."
            )

    def execute(self, task: Task) -> Result:
        began = time.perf_counter()
        draw = np.random.default_rng(task.seed)
        if _compile.has_amplitudes(task.circuit):
            found = [self._values(task, task.rows[k : k + 1], draw, task.rows[k]) for k in range(len(task.rows))]
            values, variances = (np.concatenate(part) for part in zip(*found, strict=True))
        else:
            values, variances = self._values(task, task.rows, draw)
        metadata = {
            "backend": self.name,
            "method": self.method,
            "device": self.device,
            "noise": self.noise.name if self.noise else None,
            "layout": None if self._place is None else list(self._place.of(task.circuit, task.placed_like)),
            "shots": task.shots,
            "seconds": time.perf_counter() - began,
        }
        return Result(values, variances, metadata)

    # -- compiling -----------------------------------------------------------------------------------------------

    def _settings(self, circuit: Circuit, like: Circuit | None, row: tuple[float, ...] | None) -> list[_Setting]:
        numbers = None if row is None else np.array(row)
        layout = None if self._place is None else self._place.of(circuit, like)
        found = []
        for group in measurement.groups(circuit.observables):
            compiled = _compile.free(group.rotated(circuit), numbers)
            if self.noise is None:
                compiled = native(compiled, self.method)
            else:
                compiled = _compile.onto_device(compiled, self.noise.target, layout, 1)
            found.append(_Setting(group, tuple(self._parts(compiled, circuit.wires, sorted(group.basis)))))
        return found

    def _parts(self, compiled: Any, wires: int, measured: list[int]) -> Iterator[_Part]:
        ends = _compile.places(compiled, wires)
        qubits = _compile.parts(compiled, [ends[wire] for wire in measured])
        if self.method != "automatic" or any(len(part) > _FEW for part in qubits):
            qubits = [tuple(sorted(qubit for part in qubits for qubit in part))]
        for part in qubits:
            here = tuple(wire for wire in measured if ends[wire] in part)
            if here:
                spots = tuple(part.index(ends[wire]) for wire in here)
                yield _Part(_compile.only(compiled, part), here, spots, part if self.noise else ())

    # -- running -------------------------------------------------------------------------------------------------

    def _values(
        self, task: Task, rows: np.ndarray, draw: np.random.Generator, row: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and variances of rows that share their gates."""
        if task.shots is None and self.noise is None:
            values = self._ideal(task.circuit, rows, row)
            return values, np.zeros_like(values)
        count = len(task.circuit.observables)
        values, variances = np.zeros((len(rows), count)), np.zeros((len(rows), count))
        key = None if row is None else tuple(row.tolist())
        for setting in self._compiled(task.circuit, task.placed_like, key):
            if task.shots is None:
                values += self._noisy(setting, rows, count, task.circuit.wires)
                continue
            for where, bits, counts in self._outcomes(setting, rows, task, draw):
                mean, variance = measurement.estimate(setting.group, bits, counts, count)
                values[where] += mean
                variances[where] += variance
        return values, variances

    def _ideal(self, circuit: Circuit, rows: np.ndarray, row: np.ndarray | None) -> np.ndarray:
        """Exact values without noise, each observable saved by the simulator."""
        from qiskit.quantum_info import SparsePauliOp

        compiled = native(_compile.free(circuit, row), self.method)
        values = np.zeros((len(rows), len(circuit.observables)))
        for place, observable in enumerate(circuit.observables):
            wires = observable.wires
            values[:, place] += sum(coefficient for coefficient, string in observable.terms if not string)
            terms = [
                ("".join(letter for _, letter in string), [wires.index(wire) for wire, _ in string], coefficient)
                for coefficient, string in observable.terms
                if string
            ]
            if terms:
                operator = SparsePauliOp.from_sparse_list(terms, num_qubits=len(wires))
                compiled.save_expectation_value(operator, list(wires), label=f"value{place}")
        if any(observable.wires for observable in circuit.observables):
            found = self._run(_Part(compiled, (), ()), rows, shots=1)
            for place, observable in enumerate(circuit.observables):
                if observable.wires:
                    values[:, place] += [getattr(one.data, f"value{place}") for one in found]
        return values

    def _noisy(self, setting: _Setting, rows: np.ndarray, count: int, wires: int) -> np.ndarray:
        """Exact values with noise: products over the parts of the expectations of their signs."""
        tables = [(part, self._chances(part, rows)) for part in setting.parts]
        values = np.zeros((len(rows), count))
        for place, coefficient, measured in setting.group.terms:
            product = np.full(len(rows), coefficient)
            for part, chances in tables:
                spots = [spot for spot, wire in enumerate(part.wires) if wire in measured]
                if spots:
                    signs = 1.0 - 2.0 * _compile.bits_of(range(chances.shape[1]), len(part.wires))[:, spots]
                    product = product * (chances @ signs.prod(1))
            values[:, place] += product
        return values

    def _outcomes(
        self, setting: _Setting, rows: np.ndarray, task: Task, draw: np.random.Generator
    ) -> Iterator[tuple[int | slice, np.ndarray, np.ndarray]]:
        """For a row or many: which, distinct (M, wires) bits, and how often (M,) or (rows, M) they were measured.

        Bits that are not measured are zero.
        """
        shots, wires = task.shots or 0, task.circuit.wires
        drawn = all(self._is_drawn(part) for part in setting.parts)
        if not setting.parts:
            yield slice(None), np.zeros((1, wires)), np.full((len(rows), 1), shots)
        elif drawn and len(setting.parts) == 1:
            (part,) = setting.parts
            chances = self._chances(part, rows)
            bits = np.zeros((chances.shape[1], wires))
            bits[:, part.wires] = _compile.bits_of(range(len(bits)), len(part.wires))
            yield slice(None), bits, draw.multinomial(shots, _normal(chances), size=len(rows))
        elif drawn:
            tables = [(part, self._chances(part, rows)) for part in setting.parts]
            for place in range(len(rows)):
                yield place, _joined(tables, place, wires, shots, draw), np.ones(shots, dtype=int)
        else:
            (part,) = setting.parts
            for place, one in enumerate(self._run(replace(part, circuit=_measured(part)), rows, shots, draw)):
                counts = one.data.counts
                bits = np.zeros((len(counts), wires))
                bits[:, part.wires] = _compile.bits_of((int(key, 16) for key in counts), len(part.wires))
                yield place, bits, np.array(list(counts.values()))

    def _chances(self, part: _Part, rows: np.ndarray) -> np.ndarray:
        """(N, 2^k) chances of what is read on the k measured wires of a part, wire j in bit j."""
        if not self._is_drawn(part):
            raise OptionError(
                f"exact values with noise are computed for up to {_FEW} connected wires by the methods 'automatic' and "
                f"'density_matrix', but the circuit connects {part.circuit.num_qubits}; give shots=N."
            )
        saved = part.circuit.copy()
        saved.save_probabilities(list(part.qubits), label="chances")
        found = np.stack([one.data.chances for one in self._run(part, rows, shots=1, circuit=saved)])
        if self.noise is None:
            return found
        for spot, qubit in enumerate(part.qubits):
            table = self.noise.misread(part.physical[qubit])
            split = found.reshape(len(found), -1, 2, 2**spot)
            found = np.einsum("nabc,bd->nadc", split, table).reshape(len(found), -1)
        return found

    def _is_drawn(self, part: _Part) -> bool:
        """Whether the chances of a part's outcomes are at hand: it is small, and no trajectories are averaged."""
        exact = ("density_matrix",) if self.noise else ("statevector", "density_matrix")
        return part.circuit.num_qubits <= _FEW and self._method(part.circuit) in exact

    def _method(self, circuit: Any) -> str:
        if self.method != "automatic":
            return self.method
        if self.noise is not None:
            return "density_matrix" if circuit.num_qubits <= _FEW else "matrix_product_state"
        return "statevector" if circuit.num_qubits <= _WIDE else "matrix_product_state"

    def _run(
        self,
        part: _Part,
        rows: np.ndarray,
        shots: int,
        draw: np.random.Generator | None = None,
        circuit: Any = None,
    ) -> list[Any]:
        """Aer's result for every row, all in one submission."""
        from qiskit_aer import AerSimulator

        circuit = part.circuit if circuit is None else circuit
        options: dict[str, Any] = {"method": self._method(circuit), "device": self.device}
        if self.noise is not None:
            options["noise_model"] = self.noise.noise(part.physical)
        if draw is not None:
            options["seed_simulator"] = int(draw.integers(2**31))
        free = bool(circuit.parameters)
        copies = 1 if free or draw is None else len(rows)  # without a free angle exact values are those of one row
        result = (
            AerSimulator(**options)
            .run(
                [circuit] * copies,
                parameter_binds=[_compile.bindings(circuit, rows)] if free else None,
                shots=shots,
                runtime_parameter_bind_enable=free,
            )
            .result()
        )
        if not result.success:
            raise JobError(f"Aer's method {options['method']!r} failed on {circuit.num_qubits} qubits: {_why(result)}.")
        found = list(result.results)
        return found if len(found) == len(rows) else found * len(rows)


def _joined(
    tables: list[tuple[_Part, np.ndarray]], place: int, wires: int, shots: int, draw: np.random.Generator
) -> np.ndarray:
    """(shots, wires) bits of one row, drawn from the chances of its parts."""
    bits = np.zeros((shots, wires))
    for part, chances in tables:
        outcomes = np.searchsorted(np.cumsum(_normal(chances[place])), draw.random(shots), side="right")
        outcomes = outcomes.clip(max=chances.shape[1] - 1)  # the sum may end a rounding error below 1
        bits[:, part.wires] = (outcomes[:, None] >> np.arange(len(part.wires))) & 1
    return bits


def _measured(part: _Part) -> Any:
    from qiskit import ClassicalRegister

    found = part.circuit.copy()
    found.add_register(ClassicalRegister(len(part.qubits)))
    found.measure(part.qubits, range(len(part.qubits)))
    return found


def _normal(chances: np.ndarray) -> np.ndarray:
    positive = chances.clip(min=0.0)
    return positive / positive.sum(-1, keepdims=True)


def _why(result: Any) -> str:
    words = [str(one.status) for one in result.results if not one.success] or [str(result.status)]
    return re.split(r"\.(?=[A-Z\s]|$)", " ".join(words[0].split()).removeprefix("ERROR: "))[0]


def native(circuit: Any, method: str) -> Any:
    """The circuit in gates that a method of Aer takes with free angles.

    Aer 0.18 puts numbers into a statevector's controlled rotations wrongly, without a word, and its other methods lack
    them. Amplitudes are set by its own instruction, without gates, where the method has it.
    """
    from qiskit import QuantumCircuit, transpile

    found = QuantumCircuit(circuit.num_qubits)
    for instruction in circuit.data:
        qubits = [circuit.find_bit(bit).index for bit in instruction.qubits]
        name, angles = instruction.operation.name, instruction.operation.params
        if name == "state_preparation" and method in _SETS:
            found.initialize(angles, qubits)
        elif name == "state_preparation":
            prepared = QuantumCircuit(len(qubits))
            prepared.append(instruction.operation, range(len(qubits)))
            found.compose(transpile(prepared, basis_gates=["u", "cx"], optimization_level=0), qubits, inplace=True)
        elif name in ("crx", "cry", "crz"):
            turn, flip = getattr(found, name[1:]), found.cz if name == "crx" else found.cx
            for sign in (-1, 1):  # where the control is 1 the flips make both turns go one way, else they cancel
                flip(*qubits)
                turn(sign * angles[0] / 2, qubits[1])
        elif name != "barrier":
            found.append(instruction.operation, qubits)
    return found
