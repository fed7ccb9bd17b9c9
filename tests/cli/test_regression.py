"""The generated alloys from the command line: example, classification, regression, prediction with intervals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qkan.analysis.regression_metrics import errors
from qkan.cli import app
from qkan.data import alloys, load_csv
from qkan.errors import DataError, LeakageError, ModelFileError, OptionError
from qkan.tabular import TabularModel
from qkan.tabular_regression import TabularRegressor


def qkan(*arguments: object):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "alloys.csv"
    done = qkan("data", "example", "alloys", "--out", path, "--rows", 240, "--seed", 1)
    assert done.exit_code == 0, done.output
    assert "generated" in done.output
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "out"
    options = ["--data", table, "--target", "yield_strength", "--task", "regression", "--drop", "single_phase"]
    done = qkan("train", "--model", "kan", *options, "--epochs", 60, "--out", folder)
    assert done.exit_code == 0, done.output
    assert "RMSE" in done.output or "rmse" in done.output
    return folder


def test_the_example_is_a_table_and_a_page(table):
    frame = pd.read_csv(table)
    assert list(frame.columns) == list(alloys.COLUMNS)
    assert len(frame) == 240
    assert "do not exist" in table.with_name("alloys-about.md").read_text()
    again = qkan("data", "example", "alloys", "--out", table)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert qkan("data", "example", "alloys", "--out", table.with_suffix(".txt")).exit_code == 2
    assert "name='steels' is not known" in qkan("data", "example", "steels", "--out", "x.csv").stderr


def test_single_phase_classification(table, tmp_path):
    options = ["--data", table, "--target", "single_phase", "--drop", "yield_strength", "--epochs", 40, "--quiet"]
    done = qkan("train", "--model", "kaam", *options, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["data"]["features"] == len(alloys.COLUMNS) - 2
    assert record["metrics"]["KAAM"]["roc_auc"]["value"] > 0.7


def test_the_run_reports_errors_and_intervals(trained):
    record = json.loads((trained / "metrics.json").read_text())
    assert record["task"] == "regression"
    assert record["data"]["features"] == len(alloys.COLUMNS) - 2
    assert list(record["metrics"]) == ["KAN", "Ridge regression", "Random forest"]
    assert record["metrics"]["KAN"]["r2"]["value"] > 0.6
    levels = {one["level"]: one for one in record["intervals"]}
    assert list(levels) == [0.8, 0.9, 0.95]
    assert levels[0.8]["width"] < levels[0.9]["width"] < levels[0.95]["width"]
    assert levels[0.9]["coverage"] > 0.7
    rises = {one["column"]: one["rise"] for one in record["importance"]}
    assert list(rises.values()) == sorted(rises.values(), reverse=True)
    assert min(rises["cold_rolling"], rises["annealing_time"]) > 10  # MPa
    report = (trained / "report.html").read_text()
    assert all(word in report for word in ("Prediction intervals", "Edge functions", "Random forest"))
    assert (trained / "overview.png").stat().st_size > 10_000


def test_predictions_come_with_their_intervals(trained, table, tmp_path):
    done = qkan("predict", trained / "model", table, "--level", 0.8, "--out", tmp_path / "found.csv")
    assert done.exit_code == 0, done.output
    assert "prediction intervals" in done.output
    found, truth = pd.read_csv(tmp_path / "found.csv"), pd.read_csv(table)["yield_strength"]
    assert list(found.columns) == ["row", "prediction", "lower", "upper"]
    assert ((found["lower"] < found["prediction"]) & (found["prediction"] < found["upper"])).all()
    assert ((found["lower"] <= truth) & (truth <= found["upper"])).mean() > 0.7
    loaded = TabularRegressor.load(trained / "model")
    np.testing.assert_allclose(loaded.predict(pd.read_csv(table)), found["prediction"], rtol=1e-4)


def test_a_regressor_is_no_classifier(trained, table):
    with pytest.raises(ModelFileError, match="tabular-regressor"):
        TabularModel.load(trained / "model")
    assert "tabular-regressor" in qkan("explain", trained / "model", table).stderr
    loaded = TabularRegressor.load(trained / "model")
    for call in (lambda: loaded.classes, lambda: loaded.predict_proba(pd.read_csv(table)), loaded.explain):
        with pytest.raises(OptionError, match="regressor"):
            call()
    frame = pd.read_csv(table)
    with pytest.raises(LeakageError, match="were trained on"):
        loaded.calibrate(frame, frame["yield_strength"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "yield_strength"], "--task regression"),
        (["--target", "single_phase", "--task", "regression"], "must hold numbers for regression, but holds"),
        (["--target", "yield_strength", "--task", "ranking"], "task='ranking' is not known"),
        (["--target", "yield_strength", "--task", "regression", "--model", "kaam"], "does not fit regression"),
        (["--target", "yield_strength", "--task", "regression", "--group", "x_Al"], "does not fit regression"),
        (["--target", "yield_strength", "--task", "regression", "--drop", "x_al"], "did you mean 'x_Al'"),
        (["--target", "yield_strength", "--task", "regression", "--drop", "yield_strength"], "cannot be dropped"),
    ],
)
def test_bad_requests_are_one_sentence(options, message, table, tmp_path):
    done = qkan("train", "--data", table, *options, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_named_sets_are_for_classification(tmp_path):
    done = qkan("train", "--task", "regression", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "'breast_cancer' is for classification" in done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0] * 50, "is 1 in every row"), ([1.0, 2.0] * 10, "20 rows; at least 40"), ([None, 2.0] * 30, "is missing in")],
)
def test_tables_that_cannot_be_regressed(values, message, tmp_path):
    frame = pd.DataFrame({"x": np.arange(len(values)) / 7, "y": values})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=message):
        load_csv(tmp_path / "t.csv", "y", task="regression")


def test_errors_are_those_of_their_names():
    found = errors(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0]))
    assert found == pytest.approx({"rmse": np.sqrt(4 / 3), "mae": 2 / 3, "r2": 1 - 4 / 2})


def test_a_target_without_differences_is_refused(tmp_path):
    frame = pd.DataFrame({"a": range(60), "b": range(60, 0, -1), "t": [1.0, *[0.0] * 59]})
    frame.to_csv(tmp_path / "flat.csv", index=False)
    options = ["--data", tmp_path / "flat.csv", "--target", "t", "--task", "regression", "--out", tmp_path / "run"]
    done = qkan("train", *options)
    assert done.exit_code == 2
    assert "there is nothing to predict" in done.output


def test_predictions_are_written_in_full_and_foreign_options_refused(trained, table, tmp_path):
    done = qkan("predict", trained / "model", table, "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    model = TabularRegressor.load(trained / "model")
    written = pd.read_csv(tmp_path / "out.csv")["prediction"].to_numpy()
    np.testing.assert_allclose(written, model.predict(pd.read_csv(table)), rtol=1e-12)
    done = qkan("predict", trained / "model", table, "--method", "mondrian")
    assert done.exit_code == 2
    assert "--method mondrian is for classes" in done.output
    done = qkan("predict", trained / "model", table, "--level", 0.999)
    assert "too few calibration rows" in done.output
