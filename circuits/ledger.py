"""A record on disk of every batch of circuits that was paid for.

One SQLite file in write-ahead mode. A batch is written down before it is submitted, its job's id as soon as there is
one, and its results in one transaction, so that a process killed at any instant leaves a ledger from which the next one
goes on.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from qkan.circuits.backends import Result
from qkan.errors import LedgerError

#: Marks the file as a ledger ("qkan" in ASCII), in SQLite's header.
_APPLICATION = 0x716B616E
_VERSION = 1
_SCHEMA = """
CREATE TABLE run (model TEXT NOT NULL, settings TEXT NOT NULL, seed INTEGER NOT NULL, started REAL NOT NULL);
CREATE TABLE batch (
    key TEXT PRIMARY KEY,
    tag TEXT NOT NULL UNIQUE,
    circuits INTEGER NOT NULL,
    shots INTEGER,
    content TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('planned', 'submitting', 'submitted', 'done', 'failed')),
    job TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    expectations BLOB,
    variances BLOB,
    width INTEGER,
    metadata TEXT,
    changed REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Record:
    """What a ledger says of a batch.

    Attributes:
        key: names it within the run.
        tag: travels with its job.
        circuits: in the batch.
        shots: of each, or ``None`` where values are exact.
        status: "planned", "submitting" (it may or may not have arrived), "submitted", "done" or "failed".
        job: the backend's id, once there is one.
        attempts: submissions that were begun.
        error: of the last attempt.
        changed: time of the last change, in seconds since 1970.
    """

    key: str
    tag: str
    circuits: int
    shots: int | None
    status: str
    job: str | None
    attempts: int
    error: str | None
    changed: float


_FIELDS = "key, tag, circuits, shots, status, job, attempts, error, changed"


class Ledger:
    """The ledger of one run, open for writing by one process at a time.

    Args:
        path: of the file, made if it does not exist; ``None`` keeps it in memory.
        model: fingerprint of what is deployed.
        settings: of the run, in JSON types; a run goes on only with the same ones.
        seed: of a new run.

    Attributes:
        seed: of this run, as its first process set it.

    Raises:
        LedgerError: in use by another process, no ledger, damaged, or of another model or other settings.
    """

    def __init__(self, path: str | Path | None, model: str, settings: dict[str, Any], seed: int):
        self.path = None if path is None else Path(path)
        self._lock = None if self.path is None else _locked(self.path)
        try:
            self._connection = _connect(self.path)
            self.seed = self._start(model, json.dumps(settings, sort_keys=True), seed)
        except BaseException:
            self.close()
            raise

    def _start(self, model: str, settings: str, seed: int) -> int:
        try:
            with _transaction(self._connection) as connection:
                if _kind(connection) == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
                    connection.execute("INSERT INTO run VALUES (?, ?, ?, ?)", (model, settings, seed, time.time()))
                _check_kind(connection, self.path)
                run = connection.execute("SELECT model, settings, seed FROM run").fetchone()
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path} is no ledger, or is damaged ({error}).") from None
        if run[0] != model:
            raise LedgerError(f"{self.path} belongs to another model or other rows; give this one a ledger of its own.")
        if run[1] != settings:
            old, new = json.loads(run[1]), json.loads(settings)
            name = next(key for key in sorted(old | new) if old.get(key) != new.get(key))
            raise LedgerError(
                f"{self.path} was started with {name}={old.get(name)!r}, not {new.get(name)!r}; use the same, or a new "
                "ledger."
            )
        return run[2]

    def close(self) -> None:
        """Close the file, so that another process may go on."""
        if hasattr(self, "_connection"):
            self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- batches -------------------------------------------------------------------------------------------------

    def plan(self, key: str, circuits: int, shots: int | None, content: str) -> Record:
        """Write a batch down, unless it is; ``content`` is a fingerprint of its circuits.

        Args:
            key: of the batch.
            circuits: how many it holds.
            shots: per circuit; ``None`` where values are exact.
            content: fingerprint of its circuits.

        Raises:
            LedgerError: it is there with other content.
        """
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO batch (key, tag, circuits, shots, content, status, changed) "
                "VALUES (?, ?, ?, ?, ?, 'planned', ?)",
                (key, _new_tag(), circuits, shots, content, time.time()),
            )
            (known,) = connection.execute("SELECT content FROM batch WHERE key = ?", (key,)).fetchone()
        if known != content:
            raise LedgerError(f"batch {key} in {self.path} holds other circuits; give this run a ledger of its own.")
        return self.record(key)

    def record(self, key: str) -> Record:
        """What is known of a batch."""
        row = self._connection.execute(f"SELECT {_FIELDS} FROM batch WHERE key = ?", (key,)).fetchone()
        return Record(*row)

    def submitting(self, key: str) -> Record:
        """A submission begins. One whose job failed for good gets a new tag, so that the old job is not found."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE batch SET tag = CASE WHEN status = 'failed' AND job IS NOT NULL THEN ? ELSE tag END, "
                "status = 'submitting', job = NULL, error = NULL, attempts = attempts + 1, changed = ? WHERE key = ?",
                (_new_tag(), time.time(), key),
            )
        return self.record(key)

    def submitted(self, key: str, job: str) -> None:
        """The backend accepted it as a job.

        Args:
            key: of the batch.
            job: the backend's id.
        """
        self._set(key, status="submitted", job=job)

    def failed(self, key: str, error: str) -> None:
        """It failed for good.

        Args:
            key: of the batch.
            error: what the backend said.
        """
        self._set(key, status="failed", error=error)

    def done(self, key: str, result: Result) -> None:
        """Its results, in one transaction.

        Args:
            key: of the batch.
            result: values and variances.
        """
        blobs = [np.ascontiguousarray(part, dtype="<f8").tobytes() for part in (result.values, result.variances)]
        self._set(
            key,
            status="done",
            expectations=blobs[0],
            variances=blobs[1],
            width=result.values.shape[1],
            metadata=json.dumps(result.metadata),
        )

    def result(self, key: str) -> Result:
        """The results of a batch that is done."""
        row = self._connection.execute(
            "SELECT expectations, variances, width, metadata FROM batch WHERE key = ? AND status = 'done'", (key,)
        ).fetchone()
        values, variances = (np.frombuffer(part, dtype="<f8").reshape(-1, row[2]).copy() for part in row[:2])
        return Result(values, variances, json.loads(row[3]))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with _transaction(self._connection) as connection:
                yield connection
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self.path or 'the ledger'} cannot be written ({error}); jobs that were submitted are found again by "
                "the same call, once it can."
            ) from error

    def _set(self, key: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self._writing() as connection:
            connection.execute(
                f"UPDATE batch SET {names}, changed = ? WHERE key = ?", (*columns.values(), time.time(), key)
            )


def read(path: str | Path) -> tuple[dict[str, Any], list[Record]]:
    """Settings and batches of a ledger, also while another process writes it.

    Raises:
        LedgerError: there is no ledger, or it is damaged.
    """
    if not Path(path).is_file():
        raise LedgerError(f"there is no ledger at {path}.")
    try:
        try:
            return _read(Path(path), "mode=ro")
        except sqlite3.OperationalError:  # in a folder that takes no files, SQLite reads only what nobody writes
            return _read(Path(path), "immutable=1")
    except (sqlite3.DatabaseError, TypeError) as error:
        raise LedgerError(f"{path} is no ledger, or is damaged ({error}).") from None


def _read(path: Path, how: str) -> tuple[dict[str, Any], list[Record]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)) as connection:
        _check_kind(connection, path)
        (settings,) = connection.execute("SELECT settings FROM run").fetchone()
        batches = connection.execute(f"SELECT {_FIELDS} FROM batch ORDER BY rowid")
        return json.loads(settings), [Record(*row) for row in batches]


def _new_tag() -> str:
    return f"qkan-{uuid.uuid4().hex}"


def _locked(path: Path) -> FileLock:
    """A lock beside the ledger, which the operating system takes away when the process ends, however it ends."""
    if path.is_dir() or not path.parent.is_dir():
        raise LedgerError(f"{path} is not a file in an existing folder.")
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise LedgerError(f"{path} is in use by another process; wait for it, or use another ledger.") from None
    except OSError as error:
        raise LedgerError(f"{path} cannot be written ({error.strerror}).") from None
    return lock


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LedgerError(f"{path} is no ledger, or is damaged ({error}).") from None
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise


def _kind(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA application_id").fetchone()[0]


def _check_kind(connection: sqlite3.Connection, path: Path | None) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if _kind(connection) != _APPLICATION:
        raise LedgerError(f"{path} is a database, but no ledger.")
    if version != _VERSION:
        raise LedgerError(f"{path} has ledger version {version}; this release reads {_VERSION}.")
