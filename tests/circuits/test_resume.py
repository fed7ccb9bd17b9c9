"""Deployments that end early and go on: nothing is lost, and nothing is paid for twice."""

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from circuit_service import Service, ServiceJob

import qkan
from qkan.circuits import deploy, ledger, submission
from qkan.circuits.ledger import Ledger
from qkan.errors import JobError, LedgerError, OptionError, TransientError

HERE = Path(__file__).parent
MODEL = qkan.QKAN([3, 2, 1], reps=2, seed=0)


@pytest.fixture
def service(tmp_path):
    return Service(tmp_path / "service.sqlite")


def measured(service, tmp_path, **options):
    """A deployment in 20 batches: 40 circuits of 8 edges at 5 nodes, two in a batch."""
    defaults = {"shots": 100, "batch_size": 2, "seed": 3, "progress": False, "delay": 0.001}
    return deploy(MODEL, service, **{**defaults, "ledger": tmp_path / "run.sqlite", **options})


def values(run):
    return [result.values for result, _ in run._results.values()]


def test_killed_at_random_instants(tmp_path):
    """At least 30 SIGKILLs: every circuit is executed once, and the results are those of an undisturbed run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])}
    command = [sys.executable, str(HERE / "killed_deployments.py"), str(tmp_path), "0", "40"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 40
    for number, one in enumerate(found["rounds"]):
        assert one["jobs"] == one["tags"] == one["planned_jobs"]
        assert one["circuits"] == one["planned_circuits"] == 40 + 4
        model = qkan.QKAN([3, 2, 1], reps=2, seed=number)
        undisturbed = deploy(
            model, "torch", shots=100, batch_size=2, seed=number, readout_mitigation=True, progress=False
        )
        for mine, its in zip(one["values"], values(undisturbed), strict=True):
            np.testing.assert_array_equal(np.array(mine), its)


class Crash(BaseException):
    """Stands for the end of the process."""


def crash(*_):
    raise Crash


def statuses(tmp_path):
    _, records = ledger.read(tmp_path / "run.sqlite")
    return [record.status for record in records]


@pytest.mark.parametrize("method", ["plan", "submitting", "submitted", "done"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [0, 5])
def test_crash_beside_every_entry_of_the_ledger(service, tmp_path, monkeypatch, method, after, call):
    calls = 0
    original = getattr(Ledger, method)

    def crashing(self, *arguments):
        nonlocal calls
        calls += 1
        if calls == call + 1 and not after:
            raise Crash
        found = original(self, *arguments)
        if calls == call + 1:
            raise Crash
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, method, crashing)
        with pytest.raises(Crash):
            measured(service, tmp_path)
    run = measured(service, tmp_path)
    assert sum(circuits for _, _, circuits, _ in service.jobs()) == run.plan().executions == 40
    assert len(service.jobs()) == len({tag for _, tag, _, _ in service.jobs()}) == 20
    undisturbed = deploy(MODEL, "torch", shots=100, batch_size=2, seed=3, progress=False)
    for mine, its in zip(values(run), values(undisturbed), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_device_that_is_calibrated_anew(service, tmp_path):
    """Packing follows the calibration, but a run that goes on must ask for the circuits it has paid for."""
    service.packing, service.faults = 4, [("before", JobError("not today."))]
    with pytest.raises(JobError):
        measured(service, tmp_path)
    service.packing = 3
    run = measured(service, tmp_path)
    assert run.plan().blocks[0].copies == 4
    assert len(service.jobs()) == run.plan().jobs == 6
    assert measured(service, tmp_path, ledger=tmp_path / "new.sqlite", dry_run=True).plan().blocks[0].copies == 3


def test_a_full_disk_loses_nothing(service, tmp_path, monkeypatch):
    """The results of a job are there, but cannot be written down."""
    limit = "PRAGMA max_page_count = 1"

    def full(self, *arguments):
        self._connection.execute(limit)
        return done(self, *arguments)

    done, large = Ledger.done, {"text": "x" * 10**5}
    result = ServiceJob.result
    with monkeypatch.context() as patch:
        patch.setattr(ServiceJob, "result", lambda self: dataclasses.replace(result(self), metadata=large))
        patch.setattr(Ledger, "done", full)
        with pytest.raises(LedgerError, match=r"run.sqlite cannot be written \(database or disk is full\); jobs that"):
            measured(service, tmp_path)
    paid = len(service.jobs())
    assert 0 < paid < 20
    measured(service, tmp_path)
    assert len(service.jobs()) == 20


def test_all_that_is_planned_is_pending(service, tmp_path, monkeypatch):
    monkeypatch.setattr(Service, "submit", crash)
    with pytest.raises(Crash):
        measured(service, tmp_path)
    assert statuses(tmp_path) == ["submitting", *["planned"] * 19]


def test_finished_runs_cost_nothing(service, tmp_path):
    first = measured(service, tmp_path)
    again = measured(service, tmp_path, seed=99)  # the ledger goes on with its own seed
    assert len(service.jobs()) == 20
    for mine, its in zip(values(first), values(again), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_errors_that_may_pass_are_tried_again(service, tmp_path):
    lost = TransientError("the connection was lost.")
    service.faults = [("before", lost), ("before", lost), ("after", lost), ("before", lost)]
    measured(service, tmp_path)
    assert len(service.jobs()) == 20  # the job that was accepted although its answer was lost was found by its tag


@pytest.mark.parametrize("error", [TransientError("the answer was lost."), JobError("the answer is no JSON.")])
def test_a_job_whose_acceptance_was_not_heard_of_is_not_paid_again(service, tmp_path, error):
    service.faults = [("never", JobError("")), ("after", error)]
    with pytest.raises(JobError, match=r"batch layers.0.basis:0001 failed: the answer .*; the other 19 of 20 are kept"):
        measured(service, tmp_path, attempts=1)
    assert len(service.jobs()) == 20
    measured(service, tmp_path)
    assert len(service.jobs()) == 20
    assert statuses(tmp_path) == ["done"] * 20


@pytest.mark.parametrize("method", ["result", "attach"])
def test_a_job_that_cannot_be_reached_is_not_paid_again(service, tmp_path, monkeypatch, method):
    """The connection is gone for longer than patience lasts, while the job waits or runs."""

    def lost(*_):
        raise TransientError("no connection.")

    with monkeypatch.context() as patch:
        patch.setattr(ServiceJob, "result", lost)
        with pytest.raises(JobError, match=r"no connection \(2 attempts\) \(19 more failed\); the other 0 of 20"):
            measured(service, tmp_path, attempts=2)
    assert len(service.jobs()) == 20
    assert statuses(tmp_path) == ["submitted"] * 20
    with monkeypatch.context() as patch:
        patch.setattr(ServiceJob if method == "result" else Service, method, lost)
        with pytest.raises(JobError, match="no connection"):
            measured(service, tmp_path, attempts=2)
    measured(service, tmp_path)
    assert len(service.jobs()) == 20


def test_a_service_that_lists_jobs_late(service, tmp_path, monkeypatch):
    service.faults = [("after", TransientError("the answer was lost."))]
    find, late = Service.find, [None, None]
    monkeypatch.setattr(Service, "find", lambda self, task: late.pop() if late else find(self, task))
    measured(service, tmp_path)
    assert len(service.jobs()) == 20


def test_pauses_between_tries_grow(service, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(submission.time, "sleep", pauses.append)
    monkeypatch.setattr(Service, "find", lambda self, task: None)
    service.faults = [("before", TransientError("busy."))] * 4
    measured(service, tmp_path, delay=1.0)
    growing = [pause for pause in pauses if pause > 1]
    assert growing == [2.0, 4.0, 8.0]


def test_a_job_that_failed_is_not_found_again(service, tmp_path, monkeypatch):
    """It is paid anew under a new tag, or the failed job would be attached for ever."""

    def ended(*_):
        raise JobError("qubits on fire.")

    with monkeypatch.context() as patch:
        patch.setattr(ServiceJob, "result", ended)
        with pytest.raises(JobError, match="qubits on fire"):
            measured(service, tmp_path)
    measured(service, tmp_path)
    assert len(service.jobs()) == len({tag for _, tag, _, _ in service.jobs()}) == 40


def test_an_error_that_does_not_pass_names_the_batch_and_keeps_the_rest(service, tmp_path):
    service.faults = [("never", JobError("")), ("before", JobError("the device refuses it."))]
    with pytest.raises(JobError) as caught:
        measured(service, tmp_path)
    assert str(caught.value) == (
        "batch layers.0.basis:0001 failed: the device refuses it; the other 19 of 20 are kept, "
        "run again to try it anew."
    )
    assert len(service.jobs()) == 19
    _, records = ledger.read(tmp_path / "run.sqlite")
    assert [record.status for record in records].count("done") == 19
    (failed,) = [record for record in records if record.status == "failed"]
    assert failed.error == "the device refuses it."
    measured(service, tmp_path)
    assert len(service.jobs()) == 20


def test_patience_ends(service, tmp_path):
    service.faults = [("before", TransientError("no answer."))] * 3
    with pytest.raises(JobError, match=r"batch layers.0.basis:0000 failed: no answer \(3 attempts\); the other 19"):
        measured(service, tmp_path, attempts=3)


def test_nodes_that_were_paid_serve_any_rows(service, tmp_path):
    measured(service, tmp_path)
    rows = np.random.default_rng(0).normal(size=(30, 3))
    assert measured(service, tmp_path, rows=rows).report().rows == 30
    assert len(service.jobs()) == 20
    with pytest.raises(LedgerError, match="belongs to another model or other rows"):
        measured(service, tmp_path, rows=rows[:1])  # these are cheaper to measure themselves
    assert len(service.jobs()) == 20


def test_ledgers_of_others(service, tmp_path):
    measured(service, tmp_path)
    path = tmp_path / "run.sqlite"
    with pytest.raises(LedgerError, match=r"run.sqlite was started with shots=100, not 200; use the same, or a new"):
        measured(service, tmp_path, shots=200)
    with pytest.raises(LedgerError, match=r"run.sqlite belongs to another model or other rows"):
        deploy(qkan.QKAN([3, 2, 1], reps=2, seed=1), service, shots=100, ledger=path, batch_size=2, progress=False)
    (tmp_path / "text.sqlite").write_text("a,b\n1,2\n" * 200)
    with pytest.raises(LedgerError, match=r"text.sqlite is no ledger, or is damaged"):
        measured(service, tmp_path, ledger=tmp_path / "text.sqlite")
    with pytest.raises(LedgerError, match=r"service.sqlite is a database, but no ledger"):
        measured(service, tmp_path, ledger=service.path)
    with pytest.raises(LedgerError, match="is not a file in an existing folder"):
        measured(service, tmp_path, ledger=tmp_path / "none" / "run.sqlite")
    with pytest.raises(LedgerError, match=r"there is no ledger at .*missing.sqlite"):
        ledger.read(tmp_path / "missing.sqlite")
    with pytest.raises(OptionError, match="runs jobs elsewhere: give ledger=PATH"):
        measured(service, tmp_path, ledger=None)
    assert len(service.jobs()) == 20


def test_a_ledger_in_a_folder_that_takes_no_files(service, tmp_path, monkeypatch):
    """SQLite cannot put its own files beside it, and refuses; the ledger is shown all the same."""
    measured(service, tmp_path)
    connect = sqlite3.connect

    def refusing(path, **options):
        if "immutable" not in path:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(path, **options)

    monkeypatch.setattr(ledger.sqlite3, "connect", refusing)
    assert statuses(tmp_path) == ["done"] * 20


def test_one_process_at_a_time(service, tmp_path):
    run = measured(service, tmp_path, dry_run=True)
    with (
        Ledger(tmp_path / "run.sqlite", run._fingerprint(), run.options.settings(), 0),
        pytest.raises(LedgerError, match=r"run.sqlite is in use by another process"),
    ):
        run.measure()
    run.measure()


def test_a_dry_run_writes_and_sends_nothing(service, tmp_path):
    run = measured(service, tmp_path, dry_run=True)
    assert run.plan().jobs == 20
    assert {entry.name for entry in tmp_path.iterdir()} == {"service.sqlite"}
    assert service.jobs() == []
    with pytest.raises(OptionError, match="nothing was measured yet"):
        _ = run.model
