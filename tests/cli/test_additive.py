"""``qkan train --model kaam`` and ``--model logistic-kan``, and the formula of a model."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qkan.cli import app
from qkan.models import KAAM, LogisticKAN
from qkan.tabular import TabularModel


def qkan(*arguments: object):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV file: two numeric columns, one of letters, one with gaps; the label follows the first and the letters."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.normal(55, 9, 240).round(1),
            "pulse": random.normal(120, 20, 240).round(1),
            "kind": random.choice(["a", "b"], 240),
        }
    )
    logit = (frame["age"] - 55) / 3 + 2 * (frame["kind"] == "a") - 1
    frame["ill"] = np.where(random.uniform(size=240) < 1 / (1 + np.exp(-logit)), "yes", "no")
    frame.loc[::10, "pulse"] = np.nan
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module", params=["kaam", "logistic-kan"])
def trained(request, table, tmp_path_factory):
    """(name of the model, folder of a run)."""
    folder = tmp_path_factory.mktemp("runs") / "out"
    options = ["--data", table, "--target", "ill", "--epochs", 30, "--out", folder, "--quiet"]
    done = qkan("train", "--model", request.param, *options)
    assert done.exit_code == 0, done.output
    return request.param, folder


def test_the_run_has_scores_and_shape_curves(trained):
    model, folder = trained
    record = json.loads((folder / "metrics.json").read_text())
    assert next(iter(record["metrics"])) == model.upper()
    assert record["metrics"][model.upper()]["roc_auc"]["value"] > 0.7
    report = (folder / "report.html").read_text()
    assert ("Shape curves" in report) is (model == "kaam")
    assert ("log-odds of yes" in report) is (model == "kaam")
    assert record["shap"]["method"] == ("additive" if model == "kaam" else "exact")


def test_the_model_is_loaded_and_predicts(trained, table, tmp_path):
    model, folder = trained
    loaded = TabularModel.load(folder / "model")
    assert type(loaded.pipeline[-1].network_) is {"kaam": KAAM, "logistic-kan": LogisticKAN}[model]
    done = qkan("predict", folder / "model", table, "--top", 2, "--explain", 3, "--out", tmp_path / "found.csv")
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "found.csv")
    assert set(found["prediction"]) == {"yes", "no"}
    assert float((found["prediction"] == pd.read_csv(table)["ill"]).mean()) > 0.7


def test_patient_tools_work_on_a_loaded_model(trained, table):
    model, folder = trained
    if model != "kaam":
        pytest.skip("only the additive model has them")
    loaded = TabularModel.load(folder / "model")
    classifier = loaded.pipeline[-1]
    rows = loaded.inputs(loaded.conform(pd.read_csv(table)))
    found = classifier.contributions(rows)
    p = classifier.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(found[:, 0].sum(1), np.log(p / (1 - p)), rtol=1e-5, atol=1e-7)
    assert classifier.nearest(rows[:2])[0].shape == (2, 5)
    (name, ages, curve), *_ = loaded.shape_curves(["age"])
    assert name == "age"
    assert curve[-1, 0] - curve[0, 0] > 1
    assert ages[0] > 20


def test_the_formula_is_written_with_column_names(trained, table, tmp_path):
    model, folder = trained
    if model != "kaam":
        pytest.skip("dozens of edges take a minute")
    done = qkan("formula", folder / "model", "--rows", table, "--threshold", 0.0, "--out", tmp_path / "formula.txt")
    assert done.exit_code == 0, done.output
    assert "log-odds of yes = " in done.output
    assert "age" in done.output
    assert (tmp_path / "formula.txt").read_text() == done.output
    done = qkan("formula", folder / "model", "--threshold", 1.0)
    assert done.exit_code == 2
    assert "edges fit no function of the library with R² of 1" in done.stderr


def test_hidden_widths_do_not_fit_an_additive_model(tmp_path):
    done = qkan("train", "--model", "kaam", "--hidden", "4", "--out", tmp_path / "other")
    assert done.exit_code == 2
    assert "hidden=(4,) does not fit model='kaam', which is a sum over the features" in done.stderr
    assert not (tmp_path / "other").exists()
