"""A service far away that executes circuits, counts them, and survives its clients: one SQLite file."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import numpy as np

from qkan.circuits.backends import Backend, Capabilities, Job, Result, Task, get
from qkan.errors import JobError, TransientError

_SCHEMA = """CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY, tag TEXT, circuits INTEGER, shots INTEGER, expectations BLOB, variances BLOB)"""


class Service(Backend):
    """Its jobs are computed by the exact simulator's shots when they are accepted.

    Args:
        path: of the service's file.
        pause: seconds that a submission and a result take.
        faults: exceptions to raise in coming submissions, by (before or after acceptance, exception).
    """

    name = "service"
    capabilities = Capabilities(exact=True, shots=True, wires=20, network=True)

    def __init__(self, path: Path, pause: float = 0.0, shots: int | None = None, seed: int | None = 0):
        super().__init__(shots, seed)
        self.path, self.pause = path, pause
        self.faults: list[tuple[str, Exception]] = []
        with self._connect() as connection:
            connection.execute(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def submit(self, task: Task) -> Job:
        when, fault = self.faults.pop(0) if self.faults else ("never", JobError(""))
        if when == "before":
            raise fault
        time.sleep(self.pause)
        result = get("torch").execute(task)
        row = task.tag, len(task.rows), task.shots, result.values.tobytes(), result.variances.tobytes()
        connection = self._connect()
        with connection:
            cursor = connection.execute(
                "INSERT INTO job (tag, circuits, shots, expectations, variances) VALUES (?, ?, ?, ?, ?)", row
            )
        connection.close()
        time.sleep(self.pause)
        if when == "after":
            raise fault
        return ServiceJob(self, str(cursor.lastrowid), task)

    def attach(self, identifier: str, task: Task) -> Job:
        return ServiceJob(self, identifier, task)

    def find(self, task: Task) -> Job | None:
        found = self.jobs("tag = ?", task.tag)
        return ServiceJob(self, str(found[0][0]), task) if found else None

    def jobs(self, where: str = "1", *values: object) -> list[tuple]:
        """(id, tag, circuits, shots) of accepted jobs."""
        connection = self._connect()
        found = connection.execute(f"SELECT id, tag, circuits, shots FROM job WHERE {where}", values).fetchall()
        connection.close()
        return found


class ServiceJob(Job):
    def __init__(self, service: Service, identifier: str, task: Task):
        self.service, self.id, self.task = service, identifier, task

    def result(self) -> Result:
        time.sleep(self.service.pause)
        connection = self.service._connect()
        row = connection.execute("SELECT expectations, variances FROM job WHERE id = ?", (self.id,)).fetchone()
        connection.close()
        if row is None:
            raise JobError(f"the service knows no job {self.id}.")
        shape = len(self.task.rows), len(self.task.circuit.observables)
        return Result(*(np.frombuffer(part).reshape(shape).copy() for part in row), {"job": self.id})


__all__ = ["Service", "TransientError"]
