"""The leak audit: the 918-row file without its name, planted leaks of known size, and silence on clean tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from qkan.data import check
from qkan.data._heart_facts import COLUMNS
from qkan.data.audit import audit, leaking_stretches, stand_ins
from qkan.errors import DataError, OptionError, ShapeError

LEAKING = {"ST_Slope", "FastingBS", "ExerciseAngina", "Oldpeak"}


def warnings(findings) -> str:
    return "\n".join(finding.message for finding in findings if finding.level == "warning")


def clean(rows: int, seed: int, *, sites: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns of several kinds that depend on the label, and on each other within sites if there are several."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.4).astype(int)
    site = np.arange(rows) * sites // rows
    shift = random.normal(size=(sites, 4))[site] if sites > 1 else np.zeros((rows, 4))
    frame = pd.DataFrame(
        {
            "a": np.round(random.normal(0.8 * y + shift[:, 0]), 1),
            "pressure": 5.0 * np.round((130 + 8 * y + 15 * random.normal(size=rows)) / 5),
            "flag": (random.random(rows) < 1 / (1 + np.exp(-(1.5 * y - 1 + shift[:, 1])))).astype(float),
            "kind": np.array(["x", "y", "z"], dtype=object)[random.integers(0, 3, rows)],
        }
    )
    odd = random.random(rows) < 0.15
    frame.loc[odd, "pressure"] += random.integers(1, 5, odd.sum())
    return frame, y


# The 918-row heart file.


@pytest.mark.parametrize("seed", [0, 1])
def test_the_leaks_of_the_heart_file_are_found_without_knowing_it(heart_csv, seed):
    frame = pd.read_csv(heart_csv)
    stretches = leaking_stretches(frame.drop(columns="HeartDisease"), frame["HeartDisease"], seed=seed)
    assert {one.rule.column for one in stretches} == LEAKING
    assert max(one.p_value for one in stretches) < 0.006  # Oldpeak; 0.0038 for seed 0
    by_column = {one.rule.column: one for one in stretches}
    slope = by_column["ST_Slope"]  # rows of Hungary, most of whose slopes are missing at UCI
    assert (slope.pattern, len(slope.rows), slope.exceptions) == ("ExerciseAngina is 'N'", 146, 3)
    assert len(by_column["FastingBS"].rows) == 51  # rows 294-343 are one run of cells missing at UCI
    assert len(by_column["Oldpeak"].rows) == len(by_column["ExerciseAngina"].rows) == 45


def test_a_renamed_column_hides_nothing_from_the_command(heart_csv, tmp_path):
    frame = pd.read_csv(heart_csv).rename(columns={"HeartDisease": "y", "ST_Slope": "slope"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = warnings(check(tmp_path / "t.csv", "y"))
    assert "918-row heart file" not in found
    assert (
        "slope looks filled in from the label: in 146 rows (between rows 51 and 269, where ExerciseAngina is 'N') it "
        "is 'Up' exactly where y is 0, with 3 exceptions, while 22% of the other rows break this rule (p = 5e-06)."
        in found
    )
    for column in ("FastingBS", "ExerciseAngina", "Oldpeak"):
        assert f"{column} looks filled in from the label" in found
    assert (
        "Cholesterol is 0 in 172 rows, far from every other value like a stand-in for a missing one, and that "
        "depends on the label: y is 0 in 12% of them and in 52% of the others." in found
    )


def test_shuffling_the_rows_hides_the_stretches_but_not_the_stand_ins(heart_csv):
    """A limit, measured: the filled-in rows of this file are marked by where they stand, and shuffling erases that."""
    frame = pd.read_csv(heart_csv).sample(frac=1, random_state=0).reset_index(drop=True)
    findings = audit(frame.drop(columns="HeartDisease"), frame["HeartDisease"])
    assert "filled in" not in warnings(findings)
    assert "Cholesterol is 0 in 172 rows" in warnings(findings)


# Planted leaks.


def test_a_planted_leak_marked_by_another_column_survives_a_shuffle():
    frame, y = clean(600, 3)
    marked = np.random.default_rng(1).random(600) < 0.15
    frame["lab"] = np.where(marked, np.nan, np.random.default_rng(2).normal(size=600))
    frame.loc[marked, "flag"] = y[marked]
    [one] = leaking_stretches(frame, y)
    assert (one.rule.column, one.pattern, len(one.rows)) == ("flag", "lab is missing", int(marked.sum()))


@pytest.mark.parametrize(("rows", "found"), [(60, 10), (40, 8), (20, 0)])
def test_power_by_the_number_of_filled_in_rows(rows, found):
    """Of 10 tables of 500 rows with a binary column filled in from the label in one run of rows."""
    hits = 0
    for seed in range(10):
        frame, y = clean(500, seed)
        frame.loc[100 : 100 + rows - 1, "flag"] = y[100 : 100 + rows]
        hits += "flag" in {one.rule.column for one in leaking_stretches(frame, y)}
    assert hits == found


# Silence.


def clean_sets(heart_dir):
    for load in (load_breast_cancer, load_wine, load_iris):
        data = load(as_frame=True)
        yield load.__name__, data.data, data.target
    for site in ("cleveland", "hungarian", "va"):
        path = heart_dir / f"processed.{site}.data"
        table = pd.read_csv(path, header=None, names=list(COLUMNS), na_values="?")
        yield site, table.drop(columns="num"), (table["num"] > 0).astype(int)


def test_clean_sets_have_no_leak(heart_dir):
    for name, features, target in clean_sets(heart_dir):
        assert leaking_stretches(features, target) == [], name
    for name, features, target in [*clean_sets(heart_dir)][:4]:
        assert [finding.level for finding in audit(features, target)] == ["ok"], name


@pytest.mark.parametrize(("sites", "alarms"), [(1, 0), (4, 2)])
def test_false_alarms(sites, alarms):
    """Of 40 clean tables at alpha = 0.05; with four sites that shift the columns the null hypothesis is not true."""
    found = sum(bool(leaking_stretches(*clean(300, seed, sites=sites), alpha=0.05)) for seed in range(10, 50))
    assert found <= alarms + 1


@given(seed=st.integers(0, 10**6), rows=st.integers(30, 250), classes=st.integers(2, 4), columns=st.integers(1, 5))
@settings(max_examples=40)
def test_random_tables_are_quiet(seed, rows, classes, columns):
    random = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), random.integers(0, classes, rows - classes)])
    frame = pd.DataFrame(
        {f"c{i}": random.integers(0, random.integers(2, 40), rows) for i in range(columns)}, dtype=float
    )
    frame = frame.mask(random.random(frame.shape) < 0.1)
    assert warnings(audit(frame, y, alpha=1e-6)) == ""


def test_a_table_too_varied_for_any_rule_is_quiet():
    frame = pd.DataFrame({"a": [float(i % 11) for i in range(30)]})
    assert leaking_stretches(frame, np.arange(30) % 4) == []


def test_a_file_sorted_by_label_is_no_leak():
    frame, y = clean(400, 7)
    order = np.argsort(y, kind="stable")
    assert leaking_stretches(frame.iloc[order].reset_index(drop=True), y[order]) == []


# The other questions.


def test_a_column_that_determines_the_label():
    frame, y = clean(200, 0)
    frame["copy"] = np.where(y == 1, "sick", "well")
    frame["later"] = y * 10 + np.random.default_rng(0).random(200)
    found = warnings(audit(frame, pd.Series(y, name="outcome")))
    assert "copy alone determines outcome in every row" in found
    assert "later alone determines outcome" in found
    assert "flag" not in found


def test_missingness_that_depends_on_the_label():
    frame, y = clean(400, 1)
    random = np.random.default_rng(0)
    frame.loc[random.random(400) < np.where(y == 1, 0.5, 0.1), "a"] = np.nan
    frame.loc[random.random(400) < 0.2, "pressure"] = np.nan
    found = warnings(audit(frame, y))
    assert found.startswith("a is missing in ")
    assert "the label is" in found
    assert "pressure is missing" not in found


def test_stand_ins():
    frame, _ = clean(300, 0)
    frame["chol"] = np.random.default_rng(0).normal(200, 30, 300)
    frame.loc[:20, "chol"] = 0.0
    assert stand_ins(frame) == {"chol": 0.0}


def test_rows_on_both_sides_of_a_split(tmp_path):
    frame, y = clean(100, 0)
    frame["y"], frame["part"] = y, np.where(np.arange(100) < 70, "train", "test")
    frame["id"] = np.random.default_rng(0).normal(size=100)
    for row in (90, 91):
        frame.loc[row, frame.columns.drop("part")] = frame.loc[3, frame.columns.drop("part")]
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = warnings(check(tmp_path / "t.csv", "y", split="part"))
    assert "3 rows, in 1 group of equal features, stand in more than one part." in found
    apart = audit(frame.iloc[:80].drop(columns=["part", "y"]), y[:80], frame["part"][:80])
    assert "No row stands in more than one part of the split." in [one.message for one in apart]
    frame[["y", "part"]].to_csv(tmp_path / "bare.csv", index=False)
    told = [one.message for one in check(tmp_path / "bare.csv", "y", split="part")]
    assert not [message for message in told if "stand" in message]  # there is nothing that could be equal


def test_bad_arguments():
    frame, y = clean(50, 0)
    with pytest.raises(ShapeError, match="50 rows"):
        audit(frame, y[:-1])
    with pytest.raises(ShapeError, match="split"):
        audit(frame, y, y[:-1])
    with pytest.raises(OptionError, match="alpha=2"):
        audit(frame, y, alpha=2)
    with pytest.raises(DataError, match="has 1 class; the audit needs 2 to 20"):
        audit(frame, np.zeros(50))
    with pytest.raises(DataError, match="missing in 1 row"):
        audit(frame, np.where(np.arange(50) == 3, np.nan, y))
    with pytest.raises(OptionError, match="applies to CSV files only"):
        check("breast_cancer", split="part")
