"""LIME: declared categories, gaps, repeatable seeds and their spread."""

from __future__ import annotations

import builtins

import numpy as np
import pandas as pd
import pytest

from qkan.analysis.lime import lime_values
from qkan.errors import OptionError, ShapeError

LEVELS = {"sex": ["f", "m"], "site": ["n", "s", "w"]}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(50, 10, 60), "sex": random.choice(["f", "m"], 60)}).astype(
        {"sex": object}
    )
    frame["site"], frame["noise"] = pd.Series(random.choice(["n", "s", "w"], 60), dtype=object), random.normal(size=60)
    frame.loc[4, "age"] = np.nan
    frame.loc[5, "site"] = np.nan
    return frame


def predict(frame: pd.DataFrame) -> np.ndarray:
    """Age, sex and a missing site count; noise does not. A text that is no level would be noticed."""
    assert frame["sex"].dropna().isin(LEVELS["sex"]).all()
    assert frame["site"].dropna().isin(LEVELS["site"]).all()
    old = (frame["age"].fillna(50).to_numpy() > 50).astype(float)
    score = old + 2 * (frame["sex"] == "m").to_numpy() + 1.5 * frame["site"].isna().to_numpy() - 1.5
    p = 1 / (1 + np.exp(-score))
    return np.stack([1 - p, p], axis=1)


@pytest.fixture(scope="module")
def found(table):
    return lime_values(predict, table, table.iloc[3:7], [1, 1, 1, 0], LEVELS, seeds=5, samples=500)


def test_weights_follow_the_model(table, found):
    assert found.values.shape == found.spread.shape == (4, 4)
    assert found.features == ["age", "sex", "site", "noise"]
    rows = table.iloc[3:7]
    for place, (sex, label) in enumerate(zip(rows["sex"], [1, 1, 1, 0], strict=True)):
        assert (found.values[place, 1] > 0.1) == ((sex == "m") == (label == 1))
    assert found.values[2, 2] > 0.1  # this row's site is missing, which the model holds to be a sign of illness
    assert np.abs(found.values[:, 3]).max() < 0.05
    assert found.importance[1] == np.abs(found.values[:, 1]).mean() == found.importance.max()
    assert ((found.fit > 0.3) & (found.fit <= 1)).all()


def test_weak_features_are_unstable(found):
    assert found.instability[3] > 3 * found.instability[1] > 0


def test_a_missing_number_is_kept_missing(table, found):
    assert np.isnan(found.values[1, 0])
    assert not np.isnan(np.delete(found.values, 1, axis=0)).any()
    assert found.importance[0] == pytest.approx(np.abs(found.values[[0, 2, 3], 0]).mean())
    seen = []

    def watched(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame["age"])
        return predict(frame)

    lime_values(watched, table, table.iloc[4:5], [1], LEVELS, seeds=2, samples=50)
    assert pd.concat(seen).isna().all()


def test_same_seed_same_weights_whatever_ran_before(table, found):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = lime_values(predict, table, table.iloc[5:7], [1, 0], LEVELS, seeds=5, samples=500)
    np.testing.assert_array_equal(again.values, found.values[2:])
    other = lime_values(predict, table, table.iloc[5:7], [1, 0], LEVELS, seeds=5, samples=500, seed=50)
    assert not np.array_equal(other.values, again.values)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_mistakes(table, monkeypatch):
    with pytest.raises(ShapeError, match="every row a label"):
        lime_values(predict, table, table.iloc[:2], [1], LEVELS)
    with pytest.raises(OptionError, match="seeds=1"):
        lime_values(predict, table, table.iloc[:1], [1], LEVELS, seeds=1)
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("lime"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match=r"pip install 'qkan-toolkit\[lime\]'"):
        lime_values(predict, table, table.iloc[:1], [1], LEVELS)
