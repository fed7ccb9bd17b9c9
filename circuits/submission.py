"""Batches of circuits through a backend and a ledger: every batch is paid for once, whatever happens in between."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from qkan.circuits.backends import Backend, Job, Result, Task
from qkan.circuits.circuit import Circuit
from qkan.circuits.ledger import Ledger, Record
from qkan.errors import JobError, TransientError


@dataclass(frozen=True)
class Batch:
    """What is submitted as one job.

    Attributes:
        key: names it within the run, and in messages.
        circuit: without named parameters.
        rows: (N, R), one circuit each.
        shots: of each, or ``None``.
        placed_like: the circuit on whose qubits it runs, where that is another.
    """

    key: str
    circuit: Circuit
    rows: np.ndarray
    shots: int | None
    placed_like: Circuit | None = None

    @property
    def content(self) -> str:
        """Fingerprint of the circuits. Observables are left out: results are read with those of the day."""
        text = repr((self.circuit.wires, self.circuit.gates, self.rows.shape, self.shots, self.placed_like))
        digest = hashlib.sha256(text.encode())
        digest.update(np.ascontiguousarray(self.rows, dtype="<f8").tobytes())
        return digest.hexdigest()


class _NoAnswer(JobError):
    """Patience ended; whether the job runs is not known."""


@dataclass
class Submission:
    """Runs batches, and goes on where an earlier process ended.

    A batch counts as failed only where the backend refused it or its job ended badly. Where nothing was heard of it, it
    stays open in the ledger: the next run looks for its job before it pays for another.

    Attributes:
        backend: where they run.
        ledger: what is known of them.
        attempts: tries of a call that fails in a way that may pass.
        delay: seconds before the second try; it doubles with every further one.
        looks: for a job that may or may not have arrived, ``delay`` apart.
        ahead: jobs that wait on the backend at a time.
        advance: called with the number of circuits and the key of every batch that is done.
    """

    backend: Backend
    ledger: Ledger
    attempts: int = 6
    delay: float = 1.0
    looks: int = 3
    ahead: int = 8
    advance: Callable[[int, str], None] = field(default=lambda circuits, key: None)

    def run(self, batches: Iterable[Batch]) -> dict[str, Result]:
        """The results by key.

        Raises:
            JobError: batches failed for good; the others are done and kept.
        """
        batches = list(batches)
        failed: dict[str, str] = {}
        waiting: list[tuple[Batch, Job]] = []
        for batch in batches:  # before anything is sent
            self.backend.check(batch.circuit, batch.rows)
        records = [self.ledger.plan(one.key, len(one.rows), one.shots, one.content) for one in batches]
        for batch, record in zip(batches, records, strict=True):
            if record.status == "done":
                self.advance(len(batch.rows), batch.key)
                continue
            try:
                waiting.append((batch, self._job(batch, record)))
            except JobError as error:
                self._note(batch, error, failed)
            if len(waiting) >= self.ahead:
                self._collect(*waiting.pop(0), failed)
        for batch, job in waiting:
            self._collect(batch, job, failed)
        if failed:
            key = next(iter(failed))
            others = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
            kept = f"the other {len(batches) - len(failed)} of {len(batches)} are kept"
            raise JobError(f"batch {key} failed: {failed[key].rstrip('.')}{others}; {kept}, run again to try it anew.")
        return {batch.key: self.ledger.result(batch.key) for batch in batches}

    def _note(self, batch: Batch, error: Exception, failed: dict[str, str]) -> None:
        if not isinstance(error, _NoAnswer):
            self.ledger.failed(batch.key, str(error))
        failed[batch.key] = str(error)

    def _collect(self, batch: Batch, job: Job, failed: dict[str, str]) -> None:
        try:
            result = self._patiently(job.result)
        except JobError as error:
            self._note(batch, error, failed)
        else:
            self.ledger.done(batch.key, result)
            self.advance(len(batch.rows), batch.key)

    # -- jobs ----------------------------------------------------------------------------------------------------

    def _job(self, batch: Batch, record: Record) -> Job:
        """The batch's job: attached where it was submitted before, else a new one."""
        if self.backend.capabilities.network:
            task = self._task(batch, record)
            if record.status == "submitted":
                return self._patiently(lambda: self.backend.attach(str(record.job), task))
            refused = record.status == "failed" and record.job is None
            if record.status == "submitting" or refused:  # the job may have arrived all the same
                job = self._patiently(lambda: self._found(task))
                if job is not None:
                    self.ledger.submitted(batch.key, job.id)
                    return job
        task = self._task(batch, self.ledger.submitting(batch.key))
        job = self._submit(task)
        self.ledger.submitted(batch.key, job.id)
        return job

    def _found(self, task: Task) -> Job | None:
        """The job with the task's tag, looked for more than once: a service may list a new job a little later."""
        for look in range(self.looks):
            if look:
                time.sleep(self.delay)
            job = self.backend.find(task)
            if job is not None:
                return job
        return None

    def _task(self, batch: Batch, record: Record) -> Task:
        # The seed follows from the key, so that a batch gives the same numbers in whichever process it runs.
        digest = hashlib.sha256(f"{self.ledger.seed} {batch.key}".encode()).digest()
        seed = int.from_bytes(digest[:4], "little") >> 1
        return Task(batch.circuit, batch.rows, batch.shots, seed, record.tag, batch.placed_like)

    def _submit(self, task: Task) -> Job:
        """Submit once: after an error that leaves it open whether the job arrived, it is looked for by its tag."""
        unsure = False

        def attempt() -> Job:
            nonlocal unsure
            found = self._found(task) if unsure else None
            unsure = True
            return found or self.backend.submit(task)

        return self._patiently(attempt)

    def _patiently(self, call: Callable):  # type: ignore[no-untyped-def]
        """The call's result, tried again with growing pauses while it fails in a way that may pass."""
        for attempt in range(self.attempts):
            try:
                return call()
            except TransientError as error:
                if attempt + 1 == self.attempts:
                    raise _NoAnswer(f"{str(error).rstrip('.')} ({self.attempts} attempts).") from None
                time.sleep(min(self.delay * 2**attempt, 60.0))
        raise AssertionError("unreachable")
