"""Any PennyLane device, with or without shots: ``get("pennylane:lightning.qubit", shots=4096)``."""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from qkan.circuits import measurement, pennylane_bridge, statevector
from qkan.circuits.angles import Angle
from qkan.circuits.backends._base import Backend, Capabilities, Job, LocalJob, Result, Task
from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliString, PauliSum
from qkan.errors import BackendUnavailable, JobError, OptionError, check_positive

#: Widest circuits, by what a state takes: 16 bytes · 2^wires, for density matrices 16 bytes · 4^wires.
_WIRES = {
    "default.qubit": statevector.MOST_WIRES,
    "default.mixed": 10,
    "reference.qubit": 12,
    "lightning.qubit": 26,
    "lightning.kokkos": 26,
    "lightning.gpu": 28,
}
#: Of a device that is not listed: it refuses by itself what it cannot run.
_UNKNOWN_WIRES = 1000
#: Devices that hold the states of all rows at once, with the exponent of two that a wire adds to a row's numbers.
_ROWS_AT_ONCE = {"default.qubit": 1, "default.mixed": 2}
#: How the names of devices begin that compute in this process; others may send jobs elsewhere and cost money.
_LOCAL = ("default.", "lightning.", "reference.", "null.", "braket.local.")
#: Numbers that states, or outcomes, of one chunk of rows may take: 64 MiB of complex128.
_CHUNK = 2**22


class PennyLaneBackend(Backend):
    """A device of PennyLane or of one of its plugins.

    Args:
        device: as ``qml.device`` calls it, such as "default.qubit", "lightning.qubit" or a plugin's "braket.aws.qubit".
        shots: for each circuit and setting, or ``None`` for exact values, which hardware does not have.
        seed: of the shots, where the device takes one; where it does not, ``metadata["seed"]`` is ``None``.
        **options: further ones of ``qml.device``. ``wires=N`` fixes the number of wires; otherwise a device is made
            for each width of circuit.

    The rows of a task are one broadcast program. default.qubit and default.mixed run it at once; for other devices
    PennyLane expands it, which on lightning.qubit (200 rows of 4 wires and 20 gates: 60 ms) is faster than one program
    per row (160 ms) and than ``qml.transforms.broadcast_expand`` before execution (100 ms).

    A plugin's device counts as one that runs jobs elsewhere. It does so inside :meth:`execute`: its jobs are not found
    again after a crash, and a batch whose results were not written down yet runs once more.

    Raises:
        OptionError: an option the device does not have, or ``wires`` that is no number.
        BackendUnavailable: the device is not installed or cannot be started here.
    """

    name = "pennylane:default.qubit"
    capabilities = Capabilities(exact=True, shots=True, wires=_WIRES["default.qubit"])

    def __init__(
        self, device: str = "default.qubit", shots: int | None = None, seed: int | None = None, **options: Any
    ):
        self.require(device)
        self.name, self.device, self.options = f"pennylane:{device}", device, options
        fixed = options.get("wires")
        wires = _WIRES.get(device, _UNKNOWN_WIRES) if fixed is None else check_positive("wires", fixed)
        self.capabilities = Capabilities(exact=True, shots=True, wires=wires, network=not device.startswith(_LOCAL))
        self.settings = {"options": {option: str(value) for option, value in sorted(options.items())}}
        super().__init__(shots, seed)
        self._made: dict[int, Any] = {}
        self._takes_seed = "seed" in inspect.signature(self._kind()).parameters
        self._device(1)  # what cannot be started is found out now

    @classmethod
    def require(cls, device: str = "") -> None:
        """Raise :class:`~qkan.errors.BackendUnavailable` unless PennyLane and the device are installed; starts none.

        Raises:
            BackendUnavailable: PennyLane or the device's package is missing.
        """
        if find_spec("pennylane") is None:
            raise BackendUnavailable("PennyLane is not installed; get it with: pip install pennylane.")
        installed = sorted({point.name for point in entry_points(group="pennylane.plugins")})
        if (device or "default.qubit") not in installed:
            raise BackendUnavailable(
                f"PennyLane device {device!r} is not installed: here are {', '.join(installed)}; plugins bring more, "
                "as pip install amazon-braket-pennylane-plugin does for 'braket.aws.qubit'."
            )

    def attach(self, identifier: str, task: Task) -> Job:
        return LocalJob(self, task)

    def execute(self, task: Task) -> Result:
        rows = _normalised(task.circuit, task.rows)
        seeded = task.shots is not None and self._takes_seed
        device = self._device(task.circuit.wires, task.seed if seeded else None)
        chunk = self._rows_in_a_chunk(task)
        parts = [rows[first : first + chunk] for first in range(0, len(rows), chunk)]
        if task.shots is None:
            values = np.concatenate([self._exact(device, task.circuit, part) for part in parts])
            variances = np.zeros_like(values)
        else:
            sampled = [self._sampled(device, task.circuit, part, task.shots) for part in parts]
            values, variances = (np.concatenate(found) for found in zip(*sampled, strict=True))
        return Result(
            values,
            variances,
            {"backend": self.name, "shots": task.shots, "seed": task.seed if seeded else None},
        )

    # -- devices -------------------------------------------------------------------------------------------------

    def _device(self, wires: int, seed: int | None = None) -> Any:
        """The device for circuits of so many wires; with a seed a new one, because devices take it when made."""
        if seed is not None:
            return self._start(wires, seed)
        if wires not in self._made:
            self._made[wires] = self._start(wires, 0)
        return self._made[wires]

    def _start(self, wires: int, seed: int) -> Any:
        import pennylane as qml

        options = {"wires": wires, **self.options}
        if self._takes_seed:
            options["seed"] = seed  # also where nothing is sampled: without one, devices draw from NumPy's global state
        try:
            return qml.device(self.device, **options)
        except TypeError as error:
            raise OptionError(f"PennyLane device {self.device!r} refuses its options: {_sentence(error)}.") from error
        except Exception as error:
            raise self._not_startable(error) from error

    def _kind(self) -> Any:
        """The device's class."""
        (point, *_) = entry_points(group="pennylane.plugins", name=self.device)
        try:
            return point.load()
        except Exception as error:
            raise self._not_startable(error) from error

    def _not_startable(self, error: Exception) -> BackendUnavailable:
        return BackendUnavailable(f"PennyLane device {self.device!r} cannot be started here: {_sentence(error)}.")

    def _rows_in_a_chunk(self, task: Task) -> int:
        """So many that neither states nor outcomes of a chunk fill the memory."""
        numbers = 1
        if self.device in _ROWS_AT_ONCE:
            numbers = 2 ** (_ROWS_AT_ONCE[self.device] * task.circuit.wires)
        if task.shots is not None:
            numbers = max(numbers, task.shots * task.circuit.wires)
        return max(1, _CHUNK // numbers)

    # -- programs ------------------------------------------------------------------------------------------------

    def _exact(self, device: Any, circuit: Circuit, rows: np.ndarray) -> np.ndarray:
        """(N, observables) from the expectation of every Pauli string, each asked for once."""
        import pennylane as qml

        strings = sorted({string for one in circuit.observables for _, string in one.terms if string})
        found: dict[PauliString, np.ndarray] = {(): np.ones(len(rows))}
        if strings:
            words = [pennylane_bridge.operator(PauliSum(((1.0, string),))) for string in strings]
            program = _program(circuit, rows, lambda: [qml.expval(word) for word in words])
            (results,) = self._run([program], device)
            per_string = results if len(strings) > 1 else (results,)
            for string, result in zip(strings, per_string, strict=True):
                # A circuit without columns has one result for all rows.
                found[string] = np.broadcast_to(np.reshape(result, -1), (len(rows),))
        values = np.zeros((len(rows), len(circuit.observables)))
        for place, observable in enumerate(circuit.observables):
            for coefficient, string in observable.terms:
                values[:, place] += coefficient * found[string]
        return values

    def _sampled(self, device: Any, circuit: Circuit, rows: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, observables) of means and of their variances."""
        import pennylane as qml

        groups = measurement.groups(circuit.observables)
        count, wires = len(circuit.observables), range(circuit.wires)
        # Without columns a program is not broadcast, so it runs once for every row.
        repeats = 1 if rows.shape[1] else len(rows)
        programs = [
            _program(group.rotated(circuit), rows, lambda: qml.sample(wires=wires), shots)
            for group in groups
            for _ in range(repeats)
        ]
        outcomes = np.reshape(self._run(programs, device), (len(groups), len(rows), shots, circuit.wires))
        values, variances = np.zeros((len(rows), count)), np.zeros((len(rows), count))
        once = np.ones(shots)
        for group, by_row in zip(groups, outcomes, strict=True):
            for row, bits in enumerate(by_row):
                mean, variance = measurement.estimate(group, bits, once, count)
                values[row] += mean
                variances[row] += variance
        return values, variances

    def _run(self, programs: list[Any], device: Any) -> Any:
        import pennylane as qml

        try:
            # Repeated programs with shots must run again, so nothing is cached.
            return qml.execute(programs, device, diff_method=None, cache=False)
        except Exception as error:
            raise JobError(f"PennyLane device {self.device!r} failed: {_sentence(error)}.") from error


def _program(circuit: Circuit, rows: np.ndarray, measured: Any, shots: int | None = None) -> Any:
    """PennyLane's description of the circuit, broadcast over rows, and of what is measured."""
    import pennylane as qml

    with qml.queuing.AnnotatedQueue() as recorded:
        pennylane_bridge.queue(circuit, lambda angle: _value(angle, rows), rows)
        measured()
    return qml.tape.QuantumScript.from_queue(recorded, shots=shots)


def _value(angle: Angle, rows: np.ndarray) -> Any:
    """One number for every row, or one for all."""
    return angle.constant + sum(factor * rows[:, column] for column, factor in angle.data)


def _normalised(circuit: Circuit, rows: np.ndarray) -> np.ndarray:
    """Rows whose amplitudes have norm 1; :class:`~qkan.errors.DomainError` where they are all zero."""
    rows = np.array(rows, dtype=np.float64)
    for gate in circuit.gates:
        if gate.columns:
            columns = list(gate.columns)
            rows[:, columns] = statevector.normalised(torch.from_numpy(rows[:, columns])).numpy()
    return rows


def _sentence(error: Exception) -> str:
    """The first line of an error's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
