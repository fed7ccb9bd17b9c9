"""``qkan explain``: the page, its numbers, and every mistake."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qkan.cli import app
from qkan.errors import OptionError
from qkan.experiments.explain import Settings, nearest
from qkan.experiments.explain_page import parse_rows
from qkan.sklearn import KANClassifier
from qkan.tabular import TabularModel


def table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    X = pd.DataFrame({"age": random.normal(50, 9, rows), "<b>dose</b>": random.normal(size=rows)})
    X["site"] = pd.Series(random.choice(["u", "v & w"], rows), dtype=object)
    score = (X["age"] - 50) / 9 + np.where(X["site"] == "u", 1.0, -1.0) + 0.5 * random.normal(size=rows)
    X["state"] = np.where(score > 0, "ill", "well")
    X.loc[::11, "<b>dose</b>"] = np.nan
    return X


def fit(seed: int = 0, **options: object) -> TabularModel:
    train, rest = table(120, seed), table(120, seed + 1)
    own = TabularModel(KANClassifier(standardize=False, random_state=0, **{"epochs": 25, **options}), "state")
    own.fit(train.drop(columns="state"), train["state"], rest[:40], rest["state"][:40], ["site"])
    return own.calibrate(rest[40:], rest["state"][40:])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explain") / "model"
    fit().save(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    table(30, 7).to_csv(path, index=False)
    return path


def explain(*arguments: object):
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["explain", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def out(model, rows, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "deep" / "page"
    done = explain(model, rows, "--rows", "12,2-3", "--lime", "--level", 0.8, "--out", folder)
    assert done.exit_code == 0, done.stderr
    assert "3 explained by exact SHAP values" in done.stdout
    assert str(folder / "explain.html") in done.stdout
    return folder


@pytest.fixture(scope="module")
def record(out) -> dict:
    return json.loads((out / "explain.json").read_text())


def test_files(out):
    assert sorted(path.name for path in out.iterdir()) == ["explain.html", "explain.json"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["page"]


def test_numbers_are_those_of_the_model(model, rows, record):
    loaded, frame = TabularModel.load(model), pd.read_csv(rows)
    probabilities = loaded.predict_proba(frame.iloc[[11, 1, 2]])
    sets = loaded.predict_set(probabilities, 0.8)
    assert [patient["row"] for patient in record["patients"]] == [12, 2, 3]
    for patient, own, inside in zip(record["patients"], probabilities, sets, strict=True):
        assert patient["probabilities"] == pytest.approx(own)
        assert patient["set"] == loaded.classes[inside].tolist()
        assert patient["prediction"] == loaded.classes[own.argmax()]
        assert patient["label"] == frame["state"][patient["row"] - 1]
        total = sum(one["shap"] for one in patient["contributions"])
        assert patient["base"] + total == pytest.approx(own.max(), abs=1e-6)
    assert record["shap"]["method"] == "exact"
    assert record["shap"]["additivity_gap"] < 1e-9
    assert record["all"]["rows"] == 30


def test_lime_and_all_measures_are_there(record):
    (first, *_), found = record["patients"], record["all"]["agreement"]
    assert {one["feature"] for one in first["contributions"]} == {"age", "<b>dose</b>", "site"}
    assert all(one["lime_sd"] > 0 for one in record["patients"][1]["contributions"])
    assert first["contributions"][-1]["value"] == "missing"  # row 12 has no dose
    assert [one["lime"] for one in first["contributions"] if one["value"] == "missing"] == [None]
    assert list(found["spearman"]) == ["SHAP", "LIME", "permutation importance", "edge functions"]
    assert found["left_out"] == {}
    assert found["ranks"][-1]["feature"] == "<b>dose</b>"
    assert record["all"]["stability"]["draws"] == 20
    assert record["all"]["importance"][0]["standard_error"] > 0


class Page(HTMLParser):
    """Collects tags, sources and text."""

    def __init__(self, text: str):
        super().__init__()
        self.sources, self.tags, self.text = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_page_is_self_contained_and_escaped(out, record):
    text = (out / "explain.html").read_text()
    page = Page(text)
    assert len(page.sources) == 4 + 3
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not page.tags & {"script", "link", "iframe"}
    assert "<b>dose" not in text
    assert "&lt;b&gt;dose" in text
    for patient in record["patients"]:
        assert f"Row {patient['row']}: {patient['prediction']}" in page.text
    for words in ("prediction set at 80.0 %", "split conformal (LAC)", "Nearest training rows", "How to repeat this"):
        assert words in page.text


def test_nearest_rows_by_hand():
    own = fit()
    frame = own.conform(table(30, 7).drop(columns="state"))
    (found,) = nearest(own, frame.iloc[1:2], 3)
    encoded = own.pipeline[0].transform(own.background)
    distances = np.linalg.norm(encoded - own.pipeline[0].transform(frame.iloc[1:2]), axis=1)
    assert [one["background_row"] - 1 for one in found] == np.argsort(distances)[:3].tolist()
    assert [one["distance"] for one in found] == pytest.approx(np.sort(distances)[:3])
    for one in found:
        place = one["background_row"] - 1
        assert one["label"] == own.background_labels[place]
        assert one["probabilities"] == pytest.approx(own.predict_proba(own.background.iloc[[place]])[0])
    (itself,) = nearest(own, own.background.iloc[[4]], 1)
    assert (itself[0]["background_row"], itself[0]["distance"]) == (5, 0.0)


def test_background_labels_are_the_true_ones_and_older_folders_have_none(model, rows, tmp_path):
    loaded, train = TabularModel.load(model), table(120, 0)
    merged = loaded.background.merge(train, on=["age", "site"])
    assert len(merged) == 50
    assert merged["state"].tolist() == loaded.background_labels.tolist()
    loaded.background_labels = None
    loaded.save(tmp_path / "old")
    assert TabularModel.load(tmp_path / "old").background_labels is None
    done = explain(tmp_path / "old", rows, "--rows", 1, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    patient = json.loads((tmp_path / "out" / "explain.json").read_text())["patients"][0]
    assert {one["label"] for one in patient["neighbours"]} == {None}


def test_few_rows_without_labels(model, rows, tmp_path):
    """The part about all rows falls back on the background; what is left out has a reason."""
    few = tmp_path / "few.csv"
    pd.read_csv(rows).drop(columns="state")[:6].to_csv(few, index=False)
    done = explain(model, few, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    record = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert [patient["row"] for patient in record["patients"]] == [1, 2, 3, 4, 5]
    assert record["patients"][0]["label"] is None
    assert (record["all"]["rows"], record["all"]["from"]) == (50, "the model's background")
    left_out = record["all"]["agreement"]["left_out"]
    assert left_out["permutation importance"] == "the file has no column 'state'"
    assert "--lime" in left_out["LIME"]
    assert "the file has no column" in (out_text := (tmp_path / "out" / "explain.html").read_text())
    assert "LIME over seeds" not in out_text


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda f: f.assign(state=["dead", *f["state"][1:]]), "holds 'dead', which is not a class"),
        (lambda f: f.assign(state=[*f["state"][:2], None, *f["state"][3:]]), "has gaps, the first in row 3"),
        (lambda f: table(120, 0), "0 labelled rows were not trained on; at least 20 are needed"),
        (lambda f: f[:19], "19 labelled rows were not trained on"),
    ],
    ids=["unknown", "gap", "trained", "few"],
)
def test_labels_that_cannot_be_used(edit, reason, model, rows, tmp_path):
    path = tmp_path / "rows.csv"
    edit(pd.read_csv(rows)).to_csv(path, index=False)
    done = explain(model, path, "--rows", 1, "--method", "expected_gradients", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert reason in record["all"]["agreement"]["left_out"]["permutation importance"]
    assert record["shap"]["method"] == "expected_gradients"
    assert record["shap"]["gap_error"] > 0


def test_additive_model_is_explained_in_log_odds(rows, tmp_path):
    own = fit(hidden=())
    own.save(tmp_path / "model")
    done = explain(tmp_path / "model", rows, "--rows", "4", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert record["shap"]["unit"] == "log-odds"
    (patient,) = record["patients"]
    p = max(patient["probabilities"])
    assert patient["output"] == pytest.approx(np.log(p / (1 - p)))
    assert "log-odds" in (tmp_path / "out" / "explain.html").read_text()


def test_own_page_is_replaced_and_nothing_else(out, model, rows, tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(out, copy)
    assert explain(model, rows, "--rows", 1, "--out", copy).exit_code == 0
    assert len(json.loads((copy / "explain.json").read_text())["patients"]) == 1
    (copy / "thesis.tex").write_text("precious")
    done = explain(model, rows, "--rows", 1, "--out", copy)
    assert done.exit_code == 2
    assert "not of an earlier run" in done.stderr
    assert (copy / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("edit", "options", "message"),
    [
        (None, ["--rows", "31"], "rows='31' asks for row 31; the file has rows 1 to 30"),
        (None, ["--rows", "0"], "asks for row 0"),
        (None, ["--rows", "5-2"], "asks for row 5-2"),
        (None, ["--rows", "one"], "rows='one' must list row numbers such as 1,5,8-10"),
        (None, ["--method", "deep"], "method='deep' is not known"),
        (None, ["--method", "additive"], "without a hidden layer"),
        (None, ["--level", "90"], "level=90"),
        (None, ["--sets", "aps"], "sets='aps' is not known; choose one of 'lac', 'mondrian'"),
        (None, ["--seed", "-1"], "seed=-1"),
        (lambda f: f.drop(columns="age"), [], "lack the column 'age'"),
        (lambda f: f[f.columns[::-1]], [], "--reorder"),
        (lambda f: f.assign(age="old"), [], "'age' must be numeric, but row 1 holds 'old'"),
        (lambda f: f.assign(site="moon"), [], "'moon' in row 1, which was not seen in training"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(edit, options, message, model, rows, tmp_path):
    path = tmp_path / "rows.csv"
    frame = pd.read_csv(rows)
    (frame if edit is None else edit(frame)).to_csv(path, index=False)
    done = explain(model, path, "--quiet", "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.csv"]


def test_missing_files_and_columns_in_another_order(model, rows, tmp_path):
    assert "holds no saved model" in explain(tmp_path, rows, "--out", tmp_path / "out").stderr
    assert "does not exist" in explain(model, tmp_path / "none.csv", "--out", tmp_path / "out").stderr
    path = tmp_path / "reversed.csv"
    frame = pd.read_csv(rows)
    frame[frame.columns[::-1]].to_csv(path, index=False)
    done = explain(model, path, "--rows", 2, "--reorder", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr


def test_a_missing_lime_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lime.lime_tabular", None)
    done = explain(tmp_path / "no model", tmp_path / "no rows", "--lime", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "pip install 'qkan-toolkit[lime]'" in done.stderr


def test_kinds_of_sets():
    """Of any number of classes: the page has words for these two only."""
    Settings(sets="mondrian").check()
    with pytest.raises(OptionError, match="sets='raps' is not known; choose one of 'lac', 'mondrian'"):
        Settings(sets="raps").check()


def test_row_numbers():
    assert parse_rows("1, 5,8-10,9", 10) == [0, 4, 7, 8, 9]
    assert parse_rows(None, 3) == [0, 1, 2]
    with pytest.raises(OptionError, match="rows=''"):
        parse_rows("", 3)


def test_help_names_it():
    done = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["--help"])
    assert re.search(r"explain\s+Write a page about chosen rows", done.stdout)
