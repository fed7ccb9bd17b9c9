"""IBM's devices through Qiskit's primitives, and the same code against simulated devices."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from qkan.circuits import devices, measurement
from qkan.circuits.backends import _compile, _ibm_service
from qkan.circuits.backends._base import Backend, Capabilities, Job, LocalJob, Result, Task
from qkan.circuits.circuit import Circuit
from qkan.errors import JobError, OptionError, QKANError, TransientError, check_choice

#: Qubits in use beyond which simulated devices need matrix product states: all else would run out of memory.
_FEW = 10


class IBMBackend(Backend):
    """IBM's devices, or simulations of them, through the primitives SamplerV2 and EstimatorV2.

    Args:
        backend: "ibm_torino" or another device of the account; or, without any account, "aer" (no noise), a bundled
            device such as "FakeSherbrooke", or a Qiskit backend. Simulated devices run when a result is asked for.
        shots: for each circuit and each group of strings measured together. The estimator takes as many as
            a precision of 1/√shots needs.
        seed: of simulated devices.
        primitive: "sampler" counts bits here; "estimator" leaves the expectations to the service, with its mitigation.
        mode: "batch" or "session" opened at the first job, or "job" for single ones.
        resilience_level: of the estimator.
        layout: physical qubits, one per wire; by default the best where all gates act on one wire
            (:func:`qkan.circuits.devices.rank_qubits`), else the transpiler's choice.
        channel: of the account, such as "ibm_quantum_platform".
        instance: of the account.
        service: a ``QiskitRuntimeService`` that is already connected.
        optimization_level: of the transpiler, 0 to 3. Circuits are compiled before numbers are put in.

    Raises:
        OptionError: a value is out of range.
        BackendUnavailable: the package, the account or the device is missing.
        TransientError: the service cannot be reached.
    """

    name = "ibm"
    extra = "ibm"
    capabilities = Capabilities(exact=False, shots=True, wires=127, noise=True, network=True)

    def __init__(
        self,
        backend: Any = None,
        shots: int | None = 4096,
        seed: int | None = None,
        primitive: str = "sampler",
        mode: str = "batch",
        resilience_level: int | None = None,
        layout: Iterable[int] | None = None,
        channel: str | None = None,
        instance: str | None = None,
        service: Any = None,
        optimization_level: int = 1,
    ):
        super().__init__(shots, seed)
        check_choice("primitive", primitive, ("sampler", "estimator"))
        check_choice("mode", mode, ("batch", "session", "job"))
        check_choice("optimization_level", optimization_level, (0, 1, 2, 3))
        if resilience_level is not None and primitive != "estimator":
            raise OptionError("resilience_level is an option of the estimator; give primitive='estimator'.")
        self.require()
        self.primitive, self.mode, self.resilience_level = primitive, mode, resilience_level
        self.level = optimization_level
        self.service = service
        self.device = self._find(backend, channel, instance)
        self.local = self.service is None
        qubits = int(self.device.num_qubits)
        self.layout = None if layout is None else _compile.check_layout(layout, qubits)
        self.capabilities = replace(
            type(self).capabilities,
            wires=len(self.layout) if self.layout else qubits,
            noise=not _is_ideal(self.device),
            network=not self.local,
        )
        self.settings = {
            "device": str(self.device.name),
            "primitive": primitive,
            "resilience_level": resilience_level,
            "layout": None if self.layout is None else list(self.layout),
        }
        if not self.local:  # simulations of packed circuits only take longer
            self.packing = len(self.layout) if self.layout else devices.good_qubits(self.device.target)
        self._place = _compile.Placement(self.device.target, self.level, self.layout)
        self._compiled = lru_cache(maxsize=64)(self._compile)
        self._simulator = lru_cache(maxsize=2)(self._simulated)
        self._open: dict[str, Any] = {}  # by mode; shared with the copies that ``with_shots`` makes

    @classmethod
    def require(cls, device: str = "") -> None:
        _ibm_service.require_package()

    def _find(self, backend: Any, channel: str | None, instance: str | None) -> Any:
        """The Qiskit backend; the service is set where it is a real one."""
        from qiskit_aer import AerSimulator
        from qiskit_ibm_runtime import IBMBackend as RealDevice

        if isinstance(backend, str) and self.service is None:
            if backend == "aer":
                return AerSimulator()
            if backend.startswith("Fake"):
                return devices.fake(backend)
        if isinstance(backend, str):
            if self.service is None:
                self.service = _ibm_service.connect(channel, instance)
            return _ibm_service.find_device(self.service, backend, instance)
        if getattr(backend, "num_qubits", None) is None:
            raise OptionError(
                f"backend={backend!r} must be a device such as 'ibm_torino', or, simulated, 'FakeSherbrooke' or 'aer'."
            )
        if isinstance(backend, RealDevice) and self.service is None:
            self.service = backend.service
        return backend

    # -- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, task: Task) -> Job:
        if self.local or not _measured(task.circuit):
            return LocalJob(self, task)
        try:
            return self._submitted(task)
        except JobError as error:
            if self.mode not in self._open or "session" not in str(error).lower():
                raise
            del self._open[self.mode]  # it has reached its longest time, and takes no more jobs
            return self._submitted(task)

    def _submitted(self, task: Task) -> Job:
        with _ibm_service.translated(f"the job with tag {task.tag}"):
            return IBMJob(self, task, self._start(task, self._mode(), [task.tag]), self._layout(task))

    def attach(self, identifier: str, task: Task) -> Job:
        if self.local:
            return super().attach(identifier, task)
        if not _measured(task.circuit):
            return LocalJob(self, task)
        with _ibm_service.translated(f"job {identifier}", accepted=True):
            return IBMJob(self, task, self.service.job(identifier))

    def find(self, task: Task) -> Job | None:
        if self.local:
            return None
        with _ibm_service.translated(f"the search for tag {task.tag}"):
            found = self.service.jobs(job_tags=[task.tag], limit=1)
            return IBMJob(self, task, found[0]) if found else None

    def execute(self, task: Task) -> Result:
        if not _measured(task.circuit):
            values = np.array([[_constant(one) for one in task.circuit.observables]] * len(task.rows))
            return Result(values, np.zeros_like(values), self._metadata(task))
        began = time.perf_counter()
        try:
            job = self._start(task, None, None)
            found = self.read(task, job.result())
            found.metadata["layout"] = self._layout(task)
        except QKANError:
            raise
        except Exception as error:
            raise JobError(f"the simulation of {self.device.name} failed: {_ibm_service.words(error)}.") from error
        found.metadata["seconds"] = time.perf_counter() - began
        return found

    def close(self) -> None:
        """Close the batch or session, if one is open; its jobs go on."""
        for mode in list(self._open):
            with _ibm_service.translated(f"the {mode} on {self.device.name}"):
                self._open.pop(mode).close()

    def _mode(self) -> Any:
        from qiskit_ibm_runtime import Batch, Session

        if self.mode == "job":
            return self.device
        if self.mode not in self._open:
            self._open[self.mode] = (Batch if self.mode == "batch" else Session)(backend=self.device)
        return self._open[self.mode]

    def _start(self, task: Task, mode: Any, tags: list[str] | None) -> Any:
        """Hand the PUBs over; without a mode to a simulation of the device."""
        from qiskit_ibm_runtime import EstimatorV2, SamplerV2

        pubs = list(self._pubs(task))
        if mode is None:
            mode = self._simulator(max(_used(pub[0]) for pub in pubs) > _FEW)
        primitive = (SamplerV2 if self.primitive == "sampler" else EstimatorV2)(mode=mode)
        options = primitive.options
        if self.resilience_level is not None:
            options.resilience_level = self.resilience_level
        if tags is not None:
            options.environment.job_tags = tags
        elif task.seed is not None:
            options.simulator.seed_simulator = 1 + task.seed % (2**31 - 1)  # the local mode reads 0 as no seed
        if self.primitive == "sampler":
            return primitive.run(pubs, shots=task.shots)
        return primitive.run(pubs, precision=1 / math.sqrt(task.shots or 1))

    def _simulated(self, wide: bool) -> Any:
        """A simulator of the device, whose noise model is made once: the device's own would make one in every run."""
        from qiskit_aer import AerSimulator

        if isinstance(self.device, AerSimulator):
            return self.device
        return AerSimulator.from_backend(self.device, method="matrix_product_state" if wide else "density_matrix")

    # -- circuits ------------------------------------------------------------------------------------------------

    def _compile(self, circuit: Circuit, like: Circuit | None, row: tuple[float, ...] | None = None) -> list[Any]:
        """Circuits with angles free in the device's gates: one for each setting, or one for the estimator."""
        from qiskit import ClassicalRegister

        numbers = None if row is None else np.array(row)
        layout = self._place.of(circuit, like)
        if self.primitive == "estimator":
            return [_compile.onto_device(_compile.free(circuit, numbers), self.device.target, layout, self.level)]
        found = []
        for group in _settings(circuit):
            measured = _compile.free(group.rotated(circuit), numbers)
            wires = sorted(group.basis)
            measured.add_register(ClassicalRegister(len(wires), "bits"))
            measured.measure(wires, range(len(wires)))
            found.append(_compile.onto_device(measured, self.device.target, layout, self.level))
        return found

    def _pubs(self, task: Task) -> Iterator[tuple]:
        """For each setting one PUB with all rows, or one per row where rows have gates of their own, or no angle."""
        if not _compile.has_amplitudes(task.circuit):
            by_row = [self._compiled(task.circuit, task.placed_like)] * len(task.rows)
        else:
            by_row = [self._compiled(task.circuit, task.placed_like, tuple(row.tolist())) for row in task.rows]
        for place, first in enumerate(by_row[0]):
            together = bool(first.parameters) and not _compile.has_amplitudes(task.circuit)
            for index in [0] if together else range(len(task.rows)):
                compiled = by_row[index][place]
                rows = task.rows if together else task.rows[index : index + 1]
                values = np.array(list(_compile.bindings(compiled, rows).values())).T.reshape(len(rows), -1)
                yield (compiled, *self._operators(task.circuit, compiled), values)

    def _operators(self, circuit: Circuit, compiled: Any) -> tuple:
        """For the estimator the observables on the qubits to which the wires went, in a column beside the rows."""
        if self.primitive == "sampler":
            return ()
        from qiskit.quantum_info import SparsePauliOp

        found = []
        for place in _measured(circuit):
            terms = [
                ("".join(letter for _, letter in string), [wire for wire, _ in string], coefficient)
                for coefficient, string in circuit.observables[place].terms
                if string
            ]
            operator = SparsePauliOp.from_sparse_list(terms, num_qubits=circuit.wires)
            found.append([operator if compiled.layout is None else operator.apply_layout(compiled.layout)])
        return (found,)

    # -- results -------------------------------------------------------------------------------------------------

    def read(self, task: Task, results: Any) -> Result:
        """Expectations from a primitive's results; the task alone says what they mean."""
        pubs = iter(results)
        rows, count = len(task.rows), len(task.circuit.observables)
        values, variances = np.zeros((rows, count)), np.zeros((rows, count))
        if self.primitive == "estimator":
            where = _measured(task.circuit)
            data = [next(pubs).data]
            while sum(one.evs.size for one in data) < rows * len(where):
                data.append(next(pubs).data)
            values[:, where] = np.concatenate([one.evs.reshape(len(where), -1) for one in data], axis=1).T
            variances[:, where] = np.concatenate([one.stds.reshape(len(where), -1) for one in data], axis=1).T ** 2
            values += [_constant(one) for one in task.circuit.observables]
            return Result(values, variances, self._metadata(task))
        for group in measurement.groups(task.circuit.observables):
            if not group.basis:
                values += group.values(np.zeros((1, task.circuit.wires)), count)
                continue
            wires, place = sorted(group.basis), 0
            while place < rows:
                read = next(pubs).data.bits.to_bool_array("little")
                for shots in read.reshape(-1, *read.shape[-2:]):
                    seen, counts = _compile.tally(shots)
                    bits = np.zeros((len(seen), task.circuit.wires))
                    bits[:, wires] = seen
                    mean, variance = measurement.estimate(group, bits, counts, count)
                    values[place] += mean
                    variances[place] += variance
                    place += 1
        return Result(values, variances, self._metadata(task))

    def _metadata(self, task: Task) -> dict[str, Any]:
        layout = None if self.layout is None else [int(qubit) for qubit in self.layout[: task.circuit.wires]]
        return {
            "backend": self.name,
            "device": str(self.device.name),
            "primitive": self.primitive,
            "layout": layout,
            "shots": task.shots,
        }

    def _layout(self, task: Task) -> list[int]:
        """Physical qubits by wire, as this process chose them."""
        return [int(qubit) for qubit in self._place.of(task.circuit, task.placed_like)]


class IBMJob(Job):
    """A job of the service; ``id`` is the service's.

    Args:
        backend: whose job it is.
        task: what it measures.
        job: the runtime's.
        layout: physical qubits by wire where they are known: calibration, and with it the choice, may have changed
            since another process submitted the job.
    """

    def __init__(self, backend: IBMBackend, task: Task, job: Any, layout: list[int] | None = None):
        self.backend, self.task, self.job, self.id = backend, task, job, str(job.job_id())
        self.layout = layout

    def result(self) -> Result:
        with _ibm_service.translated(f"job {self.id}", accepted=True):
            results = self.job.result()
        if results is None:
            raise TransientError(f"job {self.id} has ended, but its results are not there yet.")
        found = self.backend.read(self.task, results)
        found.metadata["job"] = self.id
        if self.layout is not None:
            found.metadata["layout"] = self.layout
        return found


def _settings(circuit: Circuit) -> list[measurement.Group]:
    return [group for group in measurement.groups(circuit.observables) if group.basis]


def _measured(circuit: Circuit) -> list[int]:
    """Places of the observables that are no mere numbers."""
    return [place for place, observable in enumerate(circuit.observables) if observable.wires]


def _constant(observable: Any) -> float:
    return float(sum(coefficient for coefficient, string in observable.terms if not string))


def _used(compiled: Any) -> int:
    gates = (instruction for instruction in compiled.data if instruction.operation.name != "barrier")
    return len({bit for instruction in gates for bit in instruction.qubits})


def _is_ideal(device: Any) -> bool:
    from qiskit_aer import AerSimulator

    return isinstance(device, AerSimulator) and device.options.noise_model is None
