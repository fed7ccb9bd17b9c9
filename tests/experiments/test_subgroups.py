"""The report's sets by group, and what it says of answering selectively."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qkan.cli import app
from qkan.data import Table, load
from qkan.errors import DataError, OptionError
from qkan.experiments.subgroups import groups_of

RUNNER = CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})


def qkan(*arguments, code=0):
    done = RUNNER.invoke(app, [str(word) for word in arguments])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def table(tmp_path):
    """Two wards, one of them much noisier; blood type of a few patients is missing."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 600)
    ward = np.resize(["east", "west", "west"], 600)
    x = 2.0 * y - 1 + random.normal(size=600) * np.where(ward == "east", 3, 0.5)
    blood = np.where(random.random(600) < 0.1, None, np.resize(list("abo"), 600))
    frame = pd.DataFrame({"x": x, "ward": ward, "blood": blood, "sick": np.where(y == 1, "yes", "no")})
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_the_report_shows_what_the_average_hides(table, tmp_path):
    out = tmp_path / "run"
    qkan("train", "--data", table, "--target", "sick", "--group", "ward", "--epochs", 15, "--out", out, "--quiet")
    record = json.loads((out / "metrics.json").read_text())
    found = record["coverage_by_group"]
    assert (found["column"], found["level"]) == ("ward", 0.9)
    split = {one["group"]: one for one in found["split"]}
    own = {one["group"]: one for one in found["by_group"]}
    assert sum(one["rows"] for one in split.values()) == record["split"]["test"]
    lac = next(one for one in record["prediction_sets"] if (one["method"], one["level"]) == ("lac", 0.9))
    hits = sum(one["coverage"] * one["rows"] for one in split.values())
    assert hits / record["split"]["test"] == pytest.approx(lac["coverage"])
    assert split["east"]["coverage"] < own["east"]["coverage"]
    assert own["east"]["mean_size"] > own["west"]["mean_size"]
    page = (out / "report.html").read_text()
    assert "By ward, at 90.0 %" in page
    assert "conditional on ward" in page
    answers = record["selective"]["by_set"]
    assert [one["level"] for one in answers] == [0.8, 0.9, 0.95]
    for one in answers:
        sets = next(s for s in record["prediction_sets"] if (s["method"], s["level"]) == ("lac", one["level"]))
        assert one["answered"] == pytest.approx(1 - sets["empty"] - sets["double"])
        assert one["interval"][0] <= one["error"] <= one["interval"][1]


def test_groups_are_a_column_or_the_tables_own(table):
    loaded = load(str(table), "sick")
    assert groups_of(loaded, None) is None
    name, values = groups_of(loaded, "blood")
    assert (name, sorted(set(values))) == ("blood", ["a", "b", "missing", "o"])
    floor = Table("t", loaded.features.assign(floor=np.resize([1.0, 2.5, np.nan], 600)), loaded.target, (), "", "")
    assert sorted(set(groups_of(floor, "floor")[1])) == ["1", "2.5", "missing"]
    with pytest.raises(OptionError, match=r"group='age' is no column of .*; choose one of x, ward, blood"):
        groups_of(loaded, "age")
    with pytest.raises(DataError, match="column 'x' has 600 different values; groups need 2 to 20"):
        groups_of(loaded, "x")


def test_a_wrong_group_costs_no_training(table, tmp_path):
    told = qkan("train", "--data", table, "--target", "sick", "--group", "wards", "--out", tmp_path / "run", code=2)
    assert "group='wards' is no column" in told
    assert not (tmp_path / "run").exists()
