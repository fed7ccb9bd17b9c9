"""``qkan reproduce kacq-heart``; of qkan-lstm see test_series.py."""

import json
import os
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from qkan.cli import app
from qkan.data import _files
from qkan.experiments import functions, grid, kacq_heart

RUNNER = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})
MODELS = "logistic_regression,mps-1,kacq-1"


def invoke(*arguments, code=0):
    done = RUNNER.invoke(app, [str(word) for word in ("reproduce", *arguments)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


@pytest.fixture
def heart_files():
    if _files.find("heart.csv", None) is None or _files.find("processed.va.data", None) is None:
        pytest.skip("QKAN_DATA_DIR names no folder with the heart files")


def test_a_fast_run_writes_text_numbers_and_pictures_and_is_not_computed_twice(heart_files, tmp_path, monkeypatch):
    arguments = ("kacq-heart", "--fast", "--models", MODELS, "--protocol", "all", "--quiet", "--out", tmp_path)
    text = invoke(*arguments)
    assert "On the four heart-disease sites the best of 1 KACQ models, `kacq-1`" in text
    place = tmp_path / "kacq-heart-fast"
    names = {file.name for file in place.iterdir()}
    assert {"kacq-heart.md", "kacq-heart.json", "kacq-heart-heart-ranking.png", "runs"} <= names
    page = (place / "kacq-heart.md").read_text()
    assert f"Made by `qkan reproduce kacq-heart --fast --protocol all --models {MODELS}`." in page
    assert "This file reveals its label" in page
    record = json.loads((place / "kacq-heart.json").read_text())
    assert [table["name"] for table in record["tables"]] == [
        *kacq_heart.PROTOCOLS["honest"],
        *kacq_heart.PROTOCOLS["published"],
    ]
    monkeypatch.setattr(grid, "_call", None)  # whoever computes anything fails
    assert invoke(*arguments) == text


def test_functions(tmp_path, monkeypatch):
    small = replace(functions.FAST, protocol=functions.Protocol(40, 10, 20, steps=1), functions=("I.6.2", "jv"))
    monkeypatch.setattr(functions, "FAST", small)
    text = invoke("functions", "--fast", "--models", "mlp,fourier", "--seeds", "1", "--out", tmp_path, "--quiet")
    assert "Over 2 functions at equal parameters" in text
    place = tmp_path / "functions-fast"
    assert {file.name for file in place.iterdir()} == {"runs", "functions.md", "functions.json", "functions.png"}
    page = (place / "functions.md").read_text()
    assert "Made by `qkan reproduce functions --fast --models mlp,fourier --seeds 1`." in page


def test_an_interruption_says_what_is_kept(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kacq_heart, "run", interrupted)
    told = invoke("kacq-heart", "--fast", "--out", tmp_path, code=130)
    assert f"finished runs are kept in {tmp_path}/kacq-heart-fast, the same command goes on" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["heart"], "name='heart' is not known; choose one of 'qkan-lstm', 'kacq-heart', 'heart-shift', 'functions'."),
        (
            ["kacq-heart", "--protocol", "best"],
            "protocol='best' is not known; choose one of 'honest', 'published', 'all'.",
        ),
        (["kacq-heart", "--models", "kacq-9"], "model='kacq-9' is not known"),
        (["kacq-heart", "--backend", "slurm"], "backend='slurm' is not known"),
        (["kacq-heart", "--seeds", "0"], "seeds=0"),
        (["kacq-heart", "--jobs", "0"], "jobs=0"),
        (
            ["qkan-lstm", "--models", "lstm"],
            "models is an option of kacq-heart, heart-shift and functions, not of qkan-lstm.",
        ),
        (["functions", "--models", "mlp"], "one model, 'mlp', has nothing to be compared with; name two or more."),
        (["functions", "--models", "mlp,cnn"], "model='cnn' is not known"),
        (["heart-shift", "--protocol", "all"], "protocol is an option of kacq-heart, not of heart-shift."),
    ],
)
def test_mistakes_get_one_sentence(arguments, sentence, tmp_path):
    assert sentence in invoke(*arguments, "--out", tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_the_data_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("QKAN_DATA_DIR", "elsewhere")
    kacq_heart.data_of.cache_clear()
    arguments = ("kacq-heart", "--fast", "--protocol", "published", "--data-dir", tmp_path, "--quiet")
    assert "needs heart.csv" in invoke(*arguments, "--out", tmp_path / "out", code=2)
    assert os.environ["QKAN_DATA_DIR"] == str(tmp_path)


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "find", lambda *_: None)
    kacq_heart.data_of.cache_clear()
    told = invoke("kacq-heart", "--fast", "--protocol", "published", "--quiet", "--out", tmp_path, code=2)
    assert "needs heart.csv; name its folder with --data-dir or QKAN_DATA_DIR" in told
