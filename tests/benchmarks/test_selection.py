"""The comparison of selectors measures and writes, at sizes that say nothing about the selectors."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import selection


def test_it_measures_and_writes_only_where_asked(tmp_path, capsys):
    names = ["KAN, coef_l2", "SVM-RFE", "all columns"]
    options = ["--data", "wine", "--folds", "2", "--epochs", "1", "--selectors", *names]
    selection.main([*options, "--out", str(tmp_path)])
    (file,) = tmp_path.glob("*-selection.json")
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == len(names) * 2 * 3
    assert {row["selector"] for row in rows} == set(names)
    assert all(0.3 < row["random forest"] <= 1 for row in rows)
    untouched = {(row["fold"], row["logistic regression"]) for row in rows if row["selector"] == "all columns"}
    assert len(untouched) == 2  # retention says nothing where nothing is selected
    assert file.with_suffix(".md").read_text().endswith(capsys.readouterr().out)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["wine", "breast cancer", "made-up"])
def test_data(name):
    columns, labels = selection.data(name)
    assert len(columns) == len(labels) > 100
