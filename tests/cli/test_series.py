"""``qkan train`` on series, and ``qkan reproduce``."""

import json
import re

import pytest
from typer.testing import CliRunner

import qkan
from qkan.cli import app

RUNNER = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})


def invoke(*arguments, code=0):
    done = RUNNER.invoke(app, [str(word) for word in arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("model", ["qkan-lstm", "hqkan-lstm", "gru"])
def test_train_on_a_series(model, tmp_path):
    folder = tmp_path / "run"
    text = invoke("train", "--data", "damped_pendulum", "--model", model, "--hidden", 2, "--epochs", 2, "--out", folder)
    assert "240 points; 136 train, 40 validation, 40 test windows of 8" in text
    assert {entry.name for entry in folder.iterdir()} == {"report.html", "metrics.json", "overview.png", "model"}
    record = json.loads((folder / "metrics.json").read_text())
    assert list(record["scores"]) == [model, "persistence", "AR(8)"]
    assert [one["method"] for one in record["intervals"]] == ["split conformal", "ACI", "EnbPI"]
    page = (folder / "report.html").read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]{1000,}" alt="([^"]+)"', page)
    gates = ["Edge functions of the gates"] if model != "gru" else []
    assert pictures == [
        "Forecast intervals and their coverage over time",
        "Residuals over time and their autocorrelation",
        "Forecast by feedback",
        *gates,
        "Training and validation loss",
    ]
    assert f"<b>{record['model']['trainable']}</b>" in page
    loaded = qkan.load(folder / "model")
    assert sum(part.numel() for part in loaded.parameters()) == record["model"]["trainable"]
    invoke("train", "--data", "damped_pendulum", "--model", model, "--epochs", 1, "--hidden", 1, "--out", folder)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--window", "100"], "A window of 100 and a horizon of 1 need 101 points, but the validation part"),
        (["--hidden", "0"], "hidden=0 must be a whole number of at least 1"),
        (["--hidden", "4,4"], "hidden='4,4' must be one width for a series"),
        (["--group", "sex"], "group='sex' is for tables only: damped_pendulum is a series."),
        (["--task", "regression"], "task='regression' is for tables only"),
        (["--drop", "a", "--drop", "b"], "drop='a, b' is for tables only"),
        (["--target", "y"], "target='y' is for tables only"),
        (["--device", "cpu"], "device='cpu' is for tables only"),
        (["--data-dir", "here"], "data-dir='here' is for tables only"),
        (["--data", "breast_cancer", "--window", "9"], "window='9' is for series only: breast_cancer is a table."),
        (["--data", "breast_cancer", "--option", "points=9"], "option='points=9' is for series only"),
        (["--model", "kan"], "model='kan' is not known; choose one of 'lstm', 'gru'"),
        (["--option", "points"], "option 'points' must be name=value"),
        (["--option", "color=2"], "color=2 is not an option of 'damped_pendulum'"),
        (["--data", "milan"], "needs 'path', 'square'"),
        (["--data", "pendulum"], "The data set 'pendulum' is not known"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path):
    text = invoke("train", "--data", "damped_pendulum", "--out", tmp_path / "run", *arguments, code=2)
    assert sentence in text
    assert not (tmp_path / "run").exists()


def test_reproduce(tmp_path, monkeypatch):
    from dataclasses import replace

    from qkan.experiments import qkan_lstm
    from qkan.experiments.forecasting import Protocol

    small = replace(qkan_lstm.FAST, protocol=Protocol(epochs=1, patience=1), series=("damped_pendulum",))
    monkeypatch.setattr(qkan_lstm, "FAST", small)
    text = invoke("reproduce", "qkan-lstm", "--fast", "--out", tmp_path, "--quiet")
    assert "What 79 % fewer parameters can mean" in text
    folder = tmp_path / "qkan-lstm-fast"
    assert {entry.name for entry in folder.iterdir()} == {"runs", "qkan-lstm.md", "qkan-lstm.json", "qkan-lstm.png"}
    assert "name='qkan' is not known; choose one of 'qkan-lstm'" in invoke("reproduce", "qkan", code=2)
    assert "jobs=0" in invoke("reproduce", "qkan-lstm", "--fast", "--jobs", 0, "--out", tmp_path, code=2)
