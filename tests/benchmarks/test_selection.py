"""The comparison of selectors measures and writes, and the committed table is that of its data."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import selection

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_and_writes_only_where_asked(tmp_path, capsys):
    names = ["KAN, coef_l2", "LASSO", "at random"]
    options = ["--data", "wine", "--folds", "2", "--seeds", "2", "--epochs", "1", "--selectors", *names]
    selection.main([*options, "--out", str(tmp_path)])
    (file,) = tmp_path.glob("*-selection.json")
    content = json.loads(file.read_text())
    rows = content["rows"]
    assert len(rows) == 4 * (1 + 3 * len(names))
    assert {row["selector"] for row in rows} == {*names, "all columns"}
    assert all(0.3 < row[name] <= 1 for row in rows for name in selection.CLASSIFIERS)
    assert {len(row["columns"]) for row in rows if "columns" in row} == {3, 5, 8}  # of 13
    assert all(one["low"] <= one["difference"] <= one["high"] for one in content["summary"])
    assert file.with_suffix(".md").read_text().endswith(capsys.readouterr().out)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_ranking_sees_the_training_part_only():
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(60, 4)), np.repeat([0, 1], 30)
    seen = []

    def score(X, y, seed):
        seen.append((X.copy(), y.copy()))
        return np.array([0.0, 3.0, 1.0, 2.0])

    found = list(selection._selected(score, rows[:40], labels[10:50], rows[40:], labels[:20], 0))
    assert len(seen) == 1  # one ranking for all retentions
    np.testing.assert_array_equal(seen[0][0], rows[:40])
    assert [one["columns"] for one in found] == [[1], [1, 3], [1, 3]]


def test_elimination_keeps_what_smaller_selections_keep():
    X, y = selection.data("made-up")
    scores = selection.elimination(X[:, :6], y, 0)
    assert sorted(scores.tolist()) == [-6, -5, -4, -3, -2, -1]


@pytest.mark.parametrize("name", ["wine", "breast cancer", "made-up"])
def test_data(name):
    columns, labels = selection.data(name)
    assert len(columns) == len(labels) > 100


def test_the_committed_table_is_that_of_its_data():
    files = sorted((ROOT / "benchmarks" / "results").glob("*-selection.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text())
        page = file.with_suffix(".md").read_text()
        folds = 1 + max(row["fold"] for row in content["rows"])
        found = selection.comparison(content["rows"], folds)
        for mine, its in zip(found, content["summary"], strict=True):
            assert mine == pytest.approx(its)
        assert page.endswith(selection.table(content["summary"]))
        assert selection.outcome(content["summary"]) in page
        assert re.search(r"commit [0-9a-f]{7}", page)
