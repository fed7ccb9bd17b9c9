"""What every backend is: a thing that takes a table of circuits of one shape and returns expectations."""

from __future__ import annotations

import abc
import copy
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.circuits.circuit import Circuit
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import JobError, NonFiniteError, OptionError, ShapeError, check_positive


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do.

    Attributes:
        exact: whether it computes expectations without sampling, when ``shots`` is ``None``.
        shots: whether it samples.
        wires: of the widest circuit it takes.
        noise: whether its results carry the errors of a device.
        network: whether its jobs run elsewhere and may cost money or waiting; deployment then needs a ledger.
        gradients: "autograd" where gradients come from the simulation itself, else "parameter-shift".
    """

    exact: bool
    shots: bool
    wires: int
    noise: bool = False
    network: bool = False
    gradients: tuple[str, ...] = ("parameter-shift",)


@dataclass(frozen=True)
class Task:
    """One submission: many circuits of one shape.

    Attributes:
        circuit: without named parameters, as :func:`qkan.circuits.rows.by_angle` makes it; folded ones use a column
            more than once, and with a sign.
        rows: (N, R) float64 data columns, one circuit per row.
        shots: for each circuit (and each group of strings measured together), or ``None`` for exact values.
        seed: of everything random in it.
        tag: unique; it travels with the job, so that the job is found again.
        placed_like: a circuit of as many wires on whose qubits of the device this one runs, as calibration and folded
            circuits must; ``None`` leaves the placement to the backend.
    """

    circuit: Circuit
    rows: np.ndarray
    shots: int | None = None
    seed: int | None = None
    tag: str = field(default_factory=lambda: f"qkan-{uuid.uuid4().hex}")
    placed_like: Circuit | None = None


@dataclass(frozen=True)
class Result:
    """Expectations of a task.

    Attributes:
        values: (N, number of observables), float64.
        variances: of the values, as estimated from the shots; zero where they are exact.
        metadata: what the backend says of the run, in JSON types.
    """

    values: np.ndarray
    variances: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)


class Job(abc.ABC):
    """A submitted task.

    Attributes:
        id: by which the backend knows it.
    """

    id: str

    @abc.abstractmethod
    def result(self) -> Result:
        """Wait for the end, and return the expectations.

        Raises:
            TransientError: waiting again may help.
            JobError: the job failed for good.
        """


class LocalJob(Job):
    """A task that this process computes when its result is asked for; it leaves no trace elsewhere."""

    def __init__(self, backend: Backend, task: Task):
        self.backend, self.task, self.id = backend, task, task.tag

    def result(self) -> Result:
        return self.backend.execute(self.task)


class Backend(abc.ABC):
    """Base of all backends; ``qkan.circuits.backends.get(name, **options)`` makes one.

    Args:
        shots: for each circuit, or ``None`` for exact values where the backend has them.
        seed: of the shots, new ones in every call; ``None`` draws fresh ones.

    Attributes:
        name: as given to ``get``.
        settings: what else decides its results, in JSON types, such as the noise model; a ledger remembers them.
        packing: how many qubits side by side are worth using at once, 1 where packing gains nothing.
        extra: of the distribution that brings the package, or "".
        capabilities: see :class:`Capabilities`.

    A local backend implements :meth:`execute`. One whose jobs run elsewhere overrides :meth:`submit`,
    :meth:`attach` and :meth:`find` instead, and may then lose its process at any instant without losing a job.

    Raises:
        OptionError: ``shots`` is not a whole number of at least 1, or is ``None`` where only shots exist.
    """

    name: str = "backend"
    extra: str = ""
    capabilities: Capabilities
    settings: Mapping[str, Any] = MappingProxyType({})
    packing: int = 1

    def __init__(self, shots: int | None = None, seed: int | None = None):
        self.shots = self.check_shots(shots)
        self.seed = seed
        self._seeds = np.random.default_rng(None if seed is None else check_positive("seed", seed, 0))

    def __deepcopy__(self, memo: dict) -> Backend:
        # Models that hold a backend are copied; connections and compiled circuits are shared between the copies.
        return self

    def __repr__(self) -> str:
        return f"<backend {self.name}, {self.shots or 'no'} shots>"

    @classmethod
    def require(cls, device: str = "") -> None:
        """Raise :class:`~qkan.errors.BackendUnavailable` unless its package, and hardware if any, is here."""
        return

    # -- asking for expectations ---------------------------------------------------------------------------------

    def expectations(self, circuit: Circuit, data: Any = None, parameters: Any = None) -> Result:
        """Expectations of the circuit's observables, all rows in one submission.

        Args:
            circuit: of at most ``capabilities.wires`` wires.
            data: (N, D), or (D,) for one row; may be left out where the circuit reads none.
            parameters: (N, P) or (P,), likewise.

        Returns:
            Values of shape (N, number of observables), their variances, and metadata.

        Raises:
            OptionError: the circuit is too wide.
            ShapeError: a last dimension is not D or P, or there is more than one leading dimension.
            NonFiniteError: a number is NaN or infinite.
            JobError: the job failed.
        """
        given = [None if value is None else _numbers(value) for value in (data, parameters)]
        rows = rows_of(circuit, *given).detach()
        if rows.dim() > 2:
            raise ShapeError(f"rows of leading shape {tuple(rows.shape[:-1])} must have one leading dimension.")
        return self.run(by_angle(circuit), rows.reshape(rows.shape[:-1].numel(), rows.shape[-1]).numpy())

    def run(self, circuit: Circuit, rows: np.ndarray, shots: int | None = None) -> Result:
        """Expectations for a circuit without named parameters, one row of data columns each; see :class:`Task`."""
        task = Task(circuit, rows, shots or self.shots, int(self._seeds.integers(2**31)))
        self.check(circuit, rows)
        if len(rows) == 0:
            empty = np.zeros((0, len(circuit.observables)))
            return Result(empty, empty)
        return self.submit(task).result()

    # -- jobs ----------------------------------------------------------------------------------------------------

    def execute(self, task: Task) -> Result:
        """Compute a checked, non-empty task here and now."""
        raise JobError(f"backend {self.name!r} runs no job in this process.")

    def submit(self, task: Task) -> Job:
        """Hand a checked task over.

        Raises:
            TransientError: it may or may not have arrived; :meth:`find` tells.
            JobError: it was refused.
        """
        return LocalJob(self, task)

    def attach(self, identifier: str, task: Task) -> Job:
        """The job of an earlier process by its id, whose task is repeated to make sense of its results."""
        raise JobError(f"job {identifier} ended with its process: backend {self.name!r} keeps no jobs.")

    def find(self, task: Task) -> Job | None:
        """The job with the task's tag, if one was ever accepted."""
        return None

    def close(self) -> None:
        """Let go of what is held open elsewhere, such as a session; jobs go on, and new ones open it anew."""
        return

    # -- checks --------------------------------------------------------------------------------------------------

    def check(self, circuit: Circuit, rows: np.ndarray) -> None:
        """Raise unless the backend can run these circuits."""
        self.check_wires(circuit)
        if rows.ndim != 2 or rows.shape[1] != circuit.num_columns:
            raise ShapeError(f"rows of shape {rows.shape} must be (circuits, {circuit.num_columns}).")
        if not np.isfinite(rows).all():
            place = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise NonFiniteError(f"circuit {place} has an angle that is NaN or infinite.")

    def check_wires(self, circuit: Circuit) -> None:
        """Raise :class:`~qkan.errors.OptionError` for a circuit wider than the backend."""
        if circuit.wires > self.capabilities.wires:
            raise OptionError(
                f"the circuit has {circuit.wires} wires, but backend {self.name!r} has {self.capabilities.wires}."
            )

    def check_shots(self, shots: int | None) -> int | None:
        """``shots`` if the backend takes so many, else raise."""
        if shots is None:
            if not self.capabilities.exact:
                raise OptionError(f"backend {self.name!r} measures: give shots=N, such as shots=4096.")
            return None
        if not self.capabilities.shots:
            raise OptionError(f"backend {self.name!r} takes no shots, but got shots={shots!r}.")
        return check_positive("shots", shots)

    def with_shots(self, shots: int | None) -> Backend:
        """The same backend with another number of shots."""
        other = copy.copy(self)
        other.shots = self.check_shots(shots)
        return other


def _numbers(value: Any) -> Tensor:
    tensor = torch.as_tensor(value).detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise NonFiniteError("data or parameters hold NaN or infinity, which are no angles.")
    return tensor
