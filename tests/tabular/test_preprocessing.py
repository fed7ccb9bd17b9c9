"""Preprocessing learns from training rows only and comes back from JSON bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from qkan.data.table import load_csv, read_rows
from qkan.errors import DataError
from qkan.preprocessing import MISSING, conform, from_state, known_levels, make_preprocessor, output_columns, to_state

LEVELS = {"sex": ["f", "m"], "grade": ["1", "2", "3"]}


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": random.normal(50, 9, 40),
            "sex": random.choice(["f", "m"], 40),
            "dose": random.random(40) ** 3,
            "grade": random.choice(["1", "2", "3"], 40),
        }
    )
    table.loc[[3, 7], "dose"] = np.nan
    table.loc[5, "sex"] = np.nan
    return table


def conformed(frame: pd.DataFrame) -> pd.DataFrame:
    return conform(frame, ["age", "dose"], LEVELS)


def test_columns_by_hand(frame):
    rows = conformed(frame)
    out = make_preprocessor(["age", "dose"], LEVELS).fit(rows).transform(rows)
    assert out.shape == (40, 2 + 1 + 3 + 4)
    np.testing.assert_allclose(out[:, 0], (frame["age"] - frame["age"].mean()) / frame["age"].std(ddof=0))
    filled = frame["dose"].fillna(frame["dose"].median())
    np.testing.assert_allclose(out[:, 1], (filled - filled.mean()) / filled.std(ddof=0))
    np.testing.assert_array_equal(out[:, 2], frame["dose"].isna())
    np.testing.assert_array_equal(out[:, 3:6].argmax(1), np.where(frame["sex"].isna(), 2, frame["sex"] == "m"))
    np.testing.assert_array_equal(out[:, 6:].sum(1), np.ones(40))


def test_text_is_read_as_it_is_when_a_table_is_loaded(tmp_path):
    """To the last digit, whatever the version of pandas: rows are compared with those trained on by their numbers."""
    values = np.random.default_rng(0).random(200)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{value!r},{place % 2}\n" for place, value in enumerate(values.tolist())))
    rows = conform(read_rows(path), ["x"], {})
    np.testing.assert_array_equal(rows["x"], values)
    np.testing.assert_array_equal(rows["x"], load_csv(path, "y").features["x"])
    with pytest.raises(DataError, match="row 1 holds '1_000'"):  # a number to Python, but not in a file
        conform(pd.DataFrame({"x": ["1_000"]}), ["x"], {})


def test_only_fitted_rows_are_learnt_from(frame):
    rows = conformed(frame)
    fitted = make_preprocessor(["age", "dose"], LEVELS).fit(rows.iloc[:20])
    mean = fitted.named_transformers_["numeric"]["scale"].mean_[0]
    assert mean == pytest.approx(frame["age"].iloc[:20].mean())
    assert mean != pytest.approx(frame["age"].mean())


@pytest.mark.parametrize("columns", [("age", "dose", "sex", "grade"), ("age", "dose"), ("sex", "grade"), ("age",)])
def test_state_round_trip_is_exact(frame, columns):
    levels = {name: known for name, known in LEVELS.items() if name in columns}
    numeric = [name for name in ("age", "dose") if name in columns]
    rows = conform(frame, numeric, levels)
    fitted = make_preprocessor(numeric, levels).fit(rows)
    state = json.loads(json.dumps(to_state(fitted)))
    restored = from_state(state)
    np.testing.assert_array_equal(restored.transform(rows), fitted.transform(rows))
    assert restored.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()
    unseen = rows.iloc[:3].copy()
    unseen[numeric] = unseen[numeric].mask(unseen[numeric] > -np.inf)  # all numeric values missing
    np.testing.assert_array_equal(restored.transform(unseen), fitted.transform(unseen))
    assert to_state(restored) == state


def test_missing_category_is_a_level_even_if_never_seen(frame):
    rows = conformed(frame.dropna())
    fitted = make_preprocessor(["age", "dose"], LEVELS).fit(rows)
    row = rows.iloc[:1].copy()
    row["grade"] = pd.Series([np.nan], dtype=object, index=row.index)
    out = pd.DataFrame(fitted.transform(row), columns=fitted.get_feature_names_out())
    assert out[f"categorical__grade_{MISSING}"].item() == 1


def test_names_that_would_collide():
    frame = pd.DataFrame({"x": ["b", "c"] * 4, "x_b": range(8), "missingindicator_x_b": [1.0, np.nan] * 4})
    rows = conform(frame, ["x_b", "missingindicator_x_b"], {"x": ["b", "c"]})
    fitted = make_preprocessor(["x_b", "missingindicator_x_b"], {"x": ["b", "c"]}).fit(rows)
    names = fitted.get_feature_names_out().tolist()
    assert len(set(names)) == len(names) == fitted.transform(rows).shape[1]


def test_unseen_levels_can_count_as_missing(frame):
    table = frame.assign(sex="unknown")
    rows = conform(table, ["age", "dose"], LEVELS, unseen="missing")
    assert rows["sex"].isna().all()


def test_known_levels_are_text_and_sorted():
    frame = pd.DataFrame({"a": ["y", None, "x"]})
    assert known_levels(frame, ["a"]) == {"a": ["x", "y"]}


def test_whole_numbers_are_the_same_level_with_missing_neighbours(frame):
    """pandas turns 1, 2, missing into 1.0, 2.0, NaN."""
    table = frame.assign(grade=pd.Series([1.0, 2.0, np.nan] + [3.0] * 37))
    assert conformed(table)["grade"].tolist()[:2] == ["1", "2"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", "old", "column 'age' must be numeric, but row 3 holds 'old'"),
        ("age", np.inf, "column 'age' holds an infinite value in row 3"),
        ("sex", "x", "column 'sex' holds 'x' in row 3, which was not seen in training; known are 'f', 'm'"),
    ],
)
def test_bad_values(frame, column, value, message):
    table = frame.astype(object)
    table.loc[2, column] = value
    with pytest.raises(DataError, match=message):
        conformed(table)


def test_every_output_depends_on_its_own_column_only(frame):
    rows = conformed(frame)
    fitted = make_preprocessor(["age", "dose"], LEVELS).fit(rows)
    owners, before = output_columns(fitted), fitted.transform(rows)
    assert len(owners) == before.shape[1]
    for name in rows.columns:
        moved = fitted.transform(rows.assign(**{name: rows[name].to_numpy()[::-1]}))
        changed = np.flatnonzero((moved != before).any(0))
        assert {owners[place] for place in changed} == {name}
    assert output_columns(from_state(to_state(fitted))) == owners
