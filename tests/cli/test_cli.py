"""The command line as a person uses it: one real run, its files, predictions from it, and every mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from typer.testing import CliRunner

from qkan.analysis.metrics import METRICS
from qkan.cli import app
from qkan.data import load
from qkan.experiments.split import split_rows
from qkan.tabular import TabularModel

COMMAND = [sys.executable, "-c", "from qkan.cli import main; main()"]
WIDE = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "OMP_NUM_THREADS": "1"}


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def qkan(*arguments: object) -> Done:
    """Run the command in this process; nothing but a planned exit may come out of it."""
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def qkan_process(*arguments: object) -> Done:
    """Run the command in a process of its own; no traceback may ever be shown."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=WIDE)
    assert "Traceback" not in done.stderr + done.stdout
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "deep" / "report"
    start = time.perf_counter()
    done = qkan_process("train", "--out", out, "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 90
    assert "Test scores with 95 % intervals" in done.stdout
    return out


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    load_breast_cancer(as_frame=True).data.iloc[:4].to_csv(path, index=False)
    return path


def test_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "model", "overview.png", "report.html"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["report"]


def test_metrics_file(folder):
    record = json.loads((folder / "metrics.json").read_text())
    assert set(record["metrics"]) == {"QKAN", "Logistic regression", "Random forest"}
    for values in record["metrics"].values():
        assert set(values) == set(METRICS)
        for name, estimate in values.items():
            assert estimate["low"] <= estimate["high"], name
    assert record["metrics"]["QKAN"]["roc_auc"]["value"] > 0.95
    assert sum(record["split"].values()) == 569
    assert {(s["method"], s["level"]) for s in record["prediction_sets"]} == {
        (method, level) for method in ("lac", "mondrian") for level in (0.8, 0.9, 0.95)
    }
    assert record["shap"]["additivity_gap"] < 1e-6
    errors = record["shap"]["standard_error"]
    assert errors.keys() == record["shap"]["mean_abs"].keys()
    assert all(0 < error < 0.1 for error in errors.values())
    assert record["settings"]["seed"] == 1
    assert len(record["data"]["sha256"]) == 64
    assert record["versions"]["torch"].startswith("2.")
    assert "--seed 1" in record["command"]


class Page(HTMLParser):
    """Collects tags, image sources and text."""

    def __init__(self, text: str):
        super().__init__()
        self.sources, self.headings, self.tags, self._last = [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._last = tag
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self._last == "h2" and data.strip():
            self.headings.append(data.strip())


def test_report_is_one_self_contained_page(folder):
    page = Page((folder / "report.html").read_text())
    assert len(page.sources) == 7
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not page.tags & {"script", "link", "iframe"}
    for heading in ("Scores beside standard methods", "Prediction sets", "Edge functions", "How to repeat this"):
        assert heading in page.headings


def test_saved_model_predicts_what_the_run_reported(folder):
    """The model on disk, fed the run's own test rows, gives the accuracy in metrics.json."""
    table = load("breast_cancer")
    split = split_rows(table.features, table.target, seed=1)
    model = TabularModel.load(folder / "model")
    probabilities = model.predict_proba(table.features.iloc[split.test])
    accuracy = (model.classes[probabilities.argmax(1)] == table.target.iloc[split.test]).mean()
    record = json.loads((folder / "metrics.json").read_text())
    assert accuracy == pytest.approx(record["metrics"]["QKAN"]["accuracy"]["value"])
    sets = model.predict_set(probabilities, 0.9, "lac")
    labels = np.searchsorted(model.classes, table.target.iloc[split.test])
    reported = next(s for s in record["prediction_sets"] if (s["method"], s["level"]) == ("lac", 0.9))
    assert sets[np.arange(len(labels)), labels].mean() == pytest.approx(reported["coverage"])


def test_same_seed_same_numbers(folder, tmp_path):
    table = load("breast_cancer")
    from qkan.experiments.tabular import Settings, measure, train

    settings = Settings(seed=1)
    split = split_rows(table.features, table.target, 1)
    again = measure(table, split, settings, train(table, split, settings, verbose=False))
    record = json.loads((folder / "metrics.json").read_text())
    assert again.metrics["QKAN"]["log_loss"].value == record["metrics"]["QKAN"]["log_loss"]["value"]


def test_predict(folder, rows, tmp_path):
    saved = tmp_path / "predictions.csv"
    done = qkan("predict", folder / "model", rows, "--level", 0.95, "--out", saved)
    assert done.returncode == 0, done.stderr
    assert "prediction sets at 95 %" in done.stdout
    table = pd.read_csv(saved)
    assert list(table.columns) == ["row", "prediction", "probability", "prediction set", "top contributions"]
    assert table["prediction"].tolist() == ["malignant"] * 4
    assert table["probability"].between(0.5, 1).all()
    assert table["top contributions"].str.count(",").tolist() == [2] * 4


def test_predict_without_contributions_is_quick(folder, rows):
    done = qkan("predict", folder / "model", rows, "--top", 0)
    assert done.returncode == 0
    assert "contributions" not in done.stdout


def change(rows: Path, tmp_path: Path, edit) -> Path:
    frame = edit(pd.read_csv(rows))
    path = tmp_path / "changed.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.drop(columns="mean radius"), "lack the column 'mean radius'"),
        (lambda f: f[f.columns[::-1]], "another order than in training (column 1 is 'worst fractal dimension'"),
        (lambda f: f.assign(**{"mean area": "big"}), "'mean area' must be numeric, but row 1 holds 'big'"),
        (lambda f: f.assign(**{"mean area": np.inf}), "'mean area' holds an infinite value in row 1"),
    ],
    ids=["missing", "order", "text", "infinite"],
)
def test_predict_mistakes(edit, message, folder, rows, tmp_path):
    done = qkan("predict", folder / "model", change(rows, tmp_path, edit), "--top", 0)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_predict_reorders_on_request_and_imputes(folder, rows, tmp_path):
    def reverse_with_a_hole(frame):
        frame.loc[0, "mean area"] = np.nan
        return frame[frame.columns[::-1]]

    done = qkan("predict", folder / "model", change(rows, tmp_path, reverse_with_a_hole), "--reorder", "--top", 0)
    assert done.returncode == 0, done.stderr


def test_truncated_model(folder, rows, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder / "model", copy)
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    done = qkan("predict", copy, rows)
    assert done.returncode == 2
    assert "damaged" in done.stderr


# -- training mistakes -----------------------------------------------------------------------------------


def write(path: Path, **columns) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def good(rows: int = 60) -> dict:
    random = np.random.default_rng(0)
    a = random.normal(size=rows)
    return {"a": a, "b": random.normal(size=rows), "y": np.where(a + 0.3 * random.normal(size=rows) > 0, "yes", "no")}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (None, [], "does not exist"),
        ({}, ["--target", "z"], "no column 'z'"),
        ({}, [], "needs a target"),
        ({"y": "yes"}, ["--target", "y"], "'yes' in every row"),
        ({"a": np.inf}, ["--target", "y"], "inf"),
        ({"y": np.arange(60) / 7}, ["--target", "y"], "regression"),
        ({"y": ["no"] * 57 + ["yes"] * 3}, ["--target", "y"], "3 rows"),
        ({"a": ["1.5"] * 59 + ["tall"]}, ["--target", "y"], "'tall'"),
        ({}, ["--target", "y", "--model", "mlp"], "model='mlp' is not known"),
        ({}, ["--target", "y", "--epochs", "0"], "epochs=0"),
        ({}, ["--target", "y", "--hidden", "four"], "hidden='four'"),
        ({}, ["--target", "y", "--device", "cuda:7"], "device='cuda:7' is not available"),
        ({}, ["--target", "y", "--seed", "-1"], "seed=-1"),
    ],
)
def test_train_mistakes(columns, options, message, tmp_path):
    path = tmp_path / "table.csv"
    if columns is not None:
        write(path, **{**good(), **columns})
    done = qkan("train", "--data", path, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    left = {entry.name for entry in tmp_path.iterdir()} - {"table.csv"}
    assert left == set()


def test_fewer_rows_than_features(tmp_path):
    wide = {f"x{i}": np.random.default_rng(i).normal(size=30) for i in range(40)}
    path = write(tmp_path / "wide.csv", **wide, y=["a", "b"] * 15)
    done = qkan("train", "--data", path, "--target", "y", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "fewer rows (30) than features (40)" in done.stderr


def test_awkward_but_valid_tables(tmp_path):
    """A rare level, names that collide, dollar signs, a cell "(missing)", and 19 calibration rows."""
    random = np.random.default_rng(3)
    rows = 94
    a = random.normal(size=rows)
    level = random.choice(["b", "c", "(missing)"], rows).astype(object)
    level[0] = "rare"
    path = tmp_path / "da$a_{$ta.csv"
    frame = pd.DataFrame({"x": level, "x_b": a, "$\\foo$": random.normal(size=rows), "US$": random.normal(size=rows)})
    frame["row"] = np.where(a + 0.2 * random.normal(size=rows) > 0, "$\\foo$", "no")
    frame.to_csv(path, index=False)
    for seed in (0, 1):
        done = qkan(
            "train", "--data", path, "--target", "row", "--out", tmp_path / "out", "--epochs", 3, "--seed", seed
        )
        assert done.returncode == 0, done.stderr
    saved = tmp_path / "p.csv"
    done = qkan("predict", tmp_path / "out" / "model", path, "--top", 0, "--reorder", "--out", saved, "--level", 0.8)
    known = done.returncode == 0
    assert known or "'rare' in row 1, which was not seen in training" in done.stderr
    if known:
        assert list(pd.read_csv(saved).columns[:2]) == ["row", "prediction"]


def test_unforeseen_errors_are_one_sentence(monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("qkan.data.describe", broken)
    done = qkan("data", "list")
    assert done.returncode == 70
    assert "ZeroDivisionError: oh" in done.stderr


def test_predict_checks_where_to_write_first(folder, rows, tmp_path):
    for place in (tmp_path / "absent" / "y.csv", tmp_path):
        done = qkan("predict", folder / "model", rows, "--out", place)
        assert done.returncode == 2
        assert str(place) in done.stderr
        assert done.stdout == ""


def test_too_few_distinct_rows(tmp_path):
    path = write(tmp_path / "coarse.csv", a=[0, 1] * 40, b=[0, 0, 1, 1] * 20, y=["a", "b", "b", "a"] * 20)
    done = qkan("train", "--data", path, "--target", "y", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "too few distinct rows" in done.stderr


def test_out_must_not_hold_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    done = qkan("train", "--out", tmp_path)
    assert done.returncode == 2
    assert "not of an earlier run" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_unknown_option_and_unknown_data():
    assert qkan_process("train", "--epoch", "3").returncode == 2
    done = qkan_process("train", "--data", "hart")
    assert done.returncode == 2
    assert "'hart' is not known" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing(tmp_path, how):
    command = [*COMMAND, "train", "--out", str(tmp_path / "out"), "--epochs", "100000"]
    # A suite that a shell runs in the background ignores SIGINT, and would hand that down.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": WIDE}
    process = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was written" in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_names_from_data_are_escaped_and_categories_checked(tmp_path):
    """A CSV with markup in its names, a categorical column, missing cells and three classes; then an unknown level."""
    X, y = load_iris(return_X_y=True)
    frame = pd.DataFrame(X, columns=["<b>a</b>", "x & y", "c[red]", "d"])
    frame["colour"] = np.where(frame["d"] > 1, "<i>red</i>", "blue")
    frame.loc[::9, "d"] = np.nan
    frame["<script>alert(1)</script>"] = np.array(["u<v", "w", "z"])[y]
    path = tmp_path / "markup.csv"
    frame.to_csv(path, index=False)
    target = "<script>alert(1)</script>"
    done = qkan(
        "train",
        "--data",
        path,
        "--target",
        target,
        "--model",
        "kan",
        "--out",
        tmp_path / "out",
        "--quiet",
        "--epochs",
        40,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in text
    assert "<i>red" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    frame.loc[2, "colour"] = "green"
    frame.to_csv(path, index=False)
    done = qkan("predict", tmp_path / "out" / "model", path, "--top", 0)
    assert done.returncode == 2
    assert "holds 'green' in row 3, which was not seen in training; known are '<i>red</i>', 'blue'" in done.stderr


# -- the smaller commands --------------------------------------------------------------------------------


def test_info():
    done = qkan("info")
    assert done.returncode == 0
    for word in ("torch", "daruan", "bspline", "pennylane", "qiskit-aer", "reference", "cpu"):
        assert word in done.stdout


def test_data_list():
    done = qkan("data", "list")
    assert done.returncode == 0
    assert re.search(r"breast_cancer.*569.*30", done.stdout)
    assert re.search(r"heart.*920.*13", done.stdout)
    assert re.search(r"delayed_quantum_control.*2200", done.stdout)
    assert re.search(r"milan\b", done.stdout)


def test_data_check_reports_a_missing_file(tmp_path):
    done = qkan("data", "check", tmp_path / "none.csv")
    assert done.returncode == 2
    assert "does not exist" in done.stdout


def test_data_check_finds_cells_filled_in_from_the_label(tmp_path):
    rows = ["a,flag,part,y"]
    for row in range(300):
        label = (row * 7) % 5 < 2  # filled in: rows 100 to 179; elsewhere the flag has nothing to do with the label
        flag = label if 100 <= row < 180 else (row * row) % 7 < 3
        rows.append(f"{(row * 31) % 97},{int(flag)},{'train' if row < 200 else 'test'},{'yes' if label else 'no'}")
    (tmp_path / "t.csv").write_text("\n".join([*rows, "1,1,train,no", "1,1,test,no"]))
    done = qkan("data", "check", tmp_path / "t.csv", "--target", "y", "--split", "part")
    assert done.returncode == 0, done.stdout
    assert "flag looks filled in from the label" in done.stdout
    assert "stand in more than one part" in done.stdout


HEART = os.environ.get("QKAN_DATA_DIR", "")


@pytest.mark.skipif(not HEART, reason="QKAN_DATA_DIR does not name a folder with the heart-disease files")
def test_train_on_heart_and_check_the_files(tmp_path):
    done = qkan("data", "check", "heart")
    assert done.returncode == 0, done.stdout
    done = qkan("train", "--data", "heart", "--out", tmp_path / "heart", "--epochs", 60)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "heart" / "metrics.json").read_text())
    assert 0.7 < record["metrics"]["QKAN"]["accuracy"]["value"] < 0.95
    assert record["data"]["rows"] == 920


@pytest.mark.skipif(not HEART, reason="QKAN_DATA_DIR does not name a folder with the heart-disease files")
def test_leaking_file_is_reported():
    file = next(Path(HEART).rglob("heart.csv"))
    done = qkan("data", "check", file)
    assert "ST_Slope" in done.stdout
    assert "307" in done.stdout
