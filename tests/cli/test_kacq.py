"""``qkan train --model kacq``."""

from __future__ import annotations

import json

from sklearn.datasets import load_iris
from typer.testing import CliRunner

from qkan.cli import app


def qkan(*arguments: object):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])


def test_train_and_predict(tmp_path):
    table, rows = tmp_path / "table.csv", tmp_path / "rows.csv"
    frame = load_iris(as_frame=True).frame
    frame.to_csv(table, index=False)
    frame.iloc[:4, :4].to_csv(rows, index=False)
    options = ["--data", table, "--target", "target", "--epochs", 2, "--out", tmp_path / "out", "--quiet"]
    done = qkan("train", "--model", "kacq", *options)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert next(iter(record["metrics"])) == "KACQ"
    assert record["settings"]["hidden"] is None
    assert (tmp_path / "out" / "overview.png").stat().st_size > 10_000
    done = qkan("predict", tmp_path / "out" / "model", rows, "--top", 0)
    assert done.exit_code == 0, done.output
    assert "prediction" in done.output


def test_hidden_widths_do_not_fit(tmp_path):
    done = qkan("train", "--model", "kacq", "--hidden", "4", "--out", tmp_path / "other")
    assert done.exit_code == 2
    assert "hidden=(4,) does not fit model='kacq'" in done.stderr
    assert not (tmp_path / "other").exists()
