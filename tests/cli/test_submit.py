"""``qkan submit`` and ``qkan jobs``."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from circuit_service import Service
from sklearn.datasets import load_breast_cancer, load_iris
from typer.testing import CliRunner

import qkan
from qkan.circuits import backends
from qkan.cli import app
from qkan.models.forecaster import Forecaster

RUNNER = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "net"
    qkan.QKAN([3, 2, 2], reps=2, seed=0).save(path)
    return path


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    values = np.random.default_rng(0).normal(size=(20, 3))
    pd.DataFrame(values, columns=["a", "b", "c"]).to_csv(path, index=False)
    return path


def submit(*arguments, code=0, **options):
    done = RUNNER.invoke(app, ["submit", *map(str, arguments), "--quiet"], **options)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_cost_then_deviation_then_the_ledger(folder, rows, tmp_path):
    ledger = tmp_path / "run.sqlite"
    arguments = (folder, "--shots", 500, "--ledger", ledger, "--rows", rows, "--seed", 1, "--batch-size", 20)
    text = submit(*arguments, "--out", tmp_path / "deployed", "--plot", tmp_path / "deployed.png")
    assert (tmp_path / "deployed.png").read_bytes().startswith(b"\x89PNG")
    assert "torch: 50 circuits in 50 executions, 25,000 shots, about 3 jobs" in text
    assert "row by row, 20 rows would take 200 circuits" in text
    assert re.search(r"predictions changed: \d of 20", text)
    again = submit(*arguments)
    assert re.search(r"outputs over.*", again)[0] == re.search(r"outputs over.*", text)[0]
    done = RUNNER.invoke(app, ["jobs", str(ledger)])
    assert done.exit_code == 0
    assert done.output.count(" done ") == 4  # one in the summary
    assert "done 3 batches, 50 circuits, 25,000 shots; pending 0 batches" in done.output
    trained, measured = qkan.load(folder), qkan.load(tmp_path / "deployed")
    x = torch.as_tensor(pd.read_csv(rows).to_numpy(), dtype=torch.float32)
    assert 1e-4 < (trained(x) - measured(x)).abs().max() < 0.5


def test_a_tabular_model_on_a_noisy_device(tmp_path):
    """Trained, submitted and used for predictions, all from the command line."""
    trained, deployed, ledger = tmp_path / "run", tmp_path / "deployed", tmp_path / "run.sqlite"
    done = RUNNER.invoke(app, ["train", "--epochs", "5", "--hidden", "", "--out", str(trained), "--quiet"])
    assert done.exit_code == 0, done.output
    noise = ("--backend", "aer", "--noise", "FakeSherbrooke", "--shots", 4096, "--ledger", ledger)
    text = submit(trained / "model", *noise, "--readout-mitigation", "--fold", "1,3", "--out", deployed)
    assert "aer: 420 circuits in 842 executions" in text  # 30 inputs, 2 outputs, 7 nodes
    assert re.search(r"predictions changed: \d of 50", text)
    table = tmp_path / "rows.csv"
    load_breast_cancer(as_frame=True).data.iloc[:5].to_csv(table, index=False)
    for folder in (trained / "model", deployed):
        done = RUNNER.invoke(app, ["predict", str(folder), str(table), "--top", "0"])
        assert done.exit_code == 0, done.output
        assert done.output.count("malignant") >= 5
    assert "has no option 'noise'" in submit(trained / "model", "--noise", "FakeSherbrooke", code=2)


def test_a_dual_channel_model_is_measured_for_the_rows_given(tmp_path):
    """Its circuits read amplitudes and have no nodes; every other block takes the cheaper route."""
    trained, table, ledger = tmp_path / "run", tmp_path / "rows.csv", tmp_path / "run.sqlite"
    data = load_iris(as_frame=True).frame
    data.to_csv(tmp_path / "iris.csv", index=False)
    options = ["--data", str(tmp_path / "iris.csv"), "--target", "target", "--out", str(trained), "--quiet"]
    done = RUNNER.invoke(app, ["train", "--model", "kacq", "--epochs", "5", *options])
    assert done.exit_code == 0, done.output
    assert "quantum.7.1' has no nodes: give the input rows" in submit(trained / "model", "--dry-run", code=2)
    assert "--rows FILE" in submit(trained / "model", "--dry-run", code=2)
    data.iloc[[0, 140], :4].to_csv(table, index=False)
    arguments = (trained / "model", "--rows", table, "--backend", "aer", "--shots", 2000, "--seed", 0)
    text = submit(*arguments, "--ledger", ledger)
    assert re.search(r"quantum\.7\.1 +rows +6 +6 .* it has no nodes", text)  # three circuits for two rows
    assert "predictions changed: 0 of 2" in text
    error = float(re.search(r"outputs over 2 rows differ by (\S+) rms", text)[1])
    assert 1e-4 < error < 0.3
    assert "would be measured only for the rows given" in submit(*arguments, "--out", tmp_path / "m", code=2)


def test_a_series_model(rows, tmp_path):
    folder = tmp_path / "forecaster"
    Forecaster("qkan-lstm", 2, seed=0).save(folder)
    text = submit(folder, "--shots", 100, "--seed", 0)
    assert "72 circuits" in text  # 8 gates, 3 inputs, 3 nodes
    assert "takes no rows of a table" in submit(folder, "--rows", rows, code=2)


def test_a_dry_run_writes_nothing(folder, tmp_path):
    ledger = tmp_path / "run.sqlite"
    text = submit(folder, "--shots", 500, "--ledger", ledger, "--dry-run")
    assert "50 circuits" in text
    assert "rms" not in text
    assert not list(tmp_path.iterdir())


def test_it_asks_before_it_spends(folder, tmp_path, monkeypatch):
    service = Service(tmp_path / "service.sqlite", shots=100)
    monkeypatch.setattr(backends, "get", lambda name, **_: service)
    ledger = tmp_path / "run.sqlite"
    text = submit(folder, "--ledger", ledger, input="n\n", code=1)
    assert "This runs on a real device and may cost money. Go on?" in text
    assert service.jobs() == []
    assert not ledger.exists()
    submit(folder, "--ledger", ledger, input="y\n")
    assert len(service.jobs()) == 2
    submit(folder, "--ledger", tmp_path / "other.sqlite", "--yes")
    assert len(service.jobs()) == 4
    text = submit(folder, "--yes", code=2)
    assert "give ledger=PATH, so that none is paid for twice" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--backend", "brisket"], "backend 'brisket' is not known; choose one of torch"),
        (["--shots", "0"], "shots=0 must be a whole number of at least 1"),
        (["--option", "method"], "option 'method' must be name=value"),
        (["--option", "color=3"], "backend 'torch' has no option 'color'"),
        (["--fold", "a"], "fold='a' must list odd whole numbers"),
        (["--fold", "1,2"], "fold factor 2 must be an odd whole number"),
        (["--noise", "FakeSherbrooke"], "backend 'torch' has no option 'noise'"),
        (["--rows", "missing.csv"], "missing.csv"),
        (["--shots", "10", "--ledger", "none/run.sqlite"], "is not a file in an existing folder"),
    ],
)
def test_mistakes_are_one_sentence(folder, arguments, sentence):
    text = submit(folder, *arguments, code=2)
    assert sentence in " ".join(text.split())
    assert text.strip().splitlines()[-1].endswith(".")


def test_files_that_do_not_fit(folder, rows, tmp_path):
    assert "no saved model" in submit(tmp_path, code=2)
    narrow = tmp_path / "narrow.csv"
    pd.read_csv(rows)[["a", "b"]].to_csv(narrow, index=False)
    assert "must have 3 columns of finite numbers" in submit(folder, "--rows", narrow, code=2)
    other = tmp_path / "other"
    qkan.QKAN([3, 2, 2], reps=2, seed=1).save(other)
    ledger = tmp_path / "run.sqlite"
    submit(folder, "--shots", 10, "--ledger", ledger)
    assert "belongs to another model or other rows" in submit(other, "--shots", 10, "--ledger", ledger, code=2)
    done = RUNNER.invoke(app, ["jobs", str(tmp_path / "missing.sqlite")])
    assert done.exit_code == 2
    assert "there is no ledger at" in done.output


def test_what_cannot_be_written_is_refused_before_anything_runs(folder, rows, tmp_path):
    few, ledger = tmp_path / "few.csv", tmp_path / "run.sqlite"
    pd.read_csv(rows).iloc[:2].to_csv(few, index=False)
    common = (folder, "--shots", 10, "--ledger", ledger)
    text = submit(*common, "--rows", few, "--out", tmp_path / "deployed", code=2)
    assert "block 'layers.0.basis' would be measured only for the rows given; leave out --out or --rows." in text
    assert f"--out {few} is a file; a model is saved as a folder." in submit(*common, "--out", few, code=2)
    text = submit(*common, "--plot", tmp_path / "none" / "a.png", code=2)
    assert "is not a file in an existing folder" in text
    assert not ledger.exists()


def test_interrupted_runs_say_what_is_kept(tmp_path):
    """Ctrl-C in the middle, then the same command again."""
    model = tmp_path / "wide"
    qkan.QKAN([12, 12], reps=3, seed=0).save(model)
    ledger = tmp_path / "run.sqlite"
    command = [sys.executable, "-c", "from qkan.cli import main; main()", "submit", str(model), "--quiet"]
    command += ["--shots", "100000", "--ledger", str(ledger), "--batch-size", "1", "--seed", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(qkan.__file__).parents[1])}
    # A suite that a shell runs in the background ignores SIGINT, and would hand that down.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while _done(ledger) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(
        r"interrupted; \d+ of \d+ batches planned so far are finished and kept in .*the same command", said
    )
    kept = _done(ledger)
    assert kept < 1008
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert _done(ledger) == 1008


def _done(ledger: Path) -> int:
    try:
        connection = sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)
        return connection.execute("SELECT COUNT(*) FROM batch WHERE status = 'done'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
