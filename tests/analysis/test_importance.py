"""Global importance, shuffled columns, agreement of measures, stability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from qkan.analysis.explain import Explanation, shap_values
from qkan.analysis.importance import agreement, global_importance, permutation_importance
from qkan.analysis.stability import refitted_importance, resampled_importance, stability
from qkan.errors import OptionError, ShapeError


def explanation(values: np.ndarray) -> Explanation:
    rows = pd.DataFrame(np.zeros(values.shape[:2]), columns=[f"x{i}" for i in range(values.shape[1])])
    return Explanation(values, np.zeros(values.shape[2]), rows, "exact", 0.0)


def test_standard_errors_are_those_of_a_mean():
    values = np.random.default_rng(0).normal([1, 3, 0.1], 0.5, size=(400, 3))[..., None] * [1, -1]
    table = global_importance(explanation(values))
    assert table["feature"].tolist() == ["x1", "x0", "x2"]
    sizes = np.abs(values[:, 1, 0])
    line = table.iloc[0]
    assert line["importance"] == pytest.approx(sizes.mean())
    assert line["standard_error"] == pytest.approx(sizes.std(ddof=1) / 20)
    assert line["low"] == pytest.approx(sizes.mean() - 1.96 * line["standard_error"], abs=0.01)
    assert line["high"] == pytest.approx(sizes.mean() + 1.96 * line["standard_error"], abs=0.01)


def test_one_row_has_no_error():
    table = global_importance(explanation(np.ones((1, 2, 2))))
    assert table[["standard_error", "low", "high"]].isna().all(axis=None)
    assert table["importance"].tolist() == [1.0, 1.0]
    with pytest.raises(OptionError, match=r"level=1\.5"):
        global_importance(explanation(np.ones((3, 2, 2))), level=1.5)


@pytest.fixture(scope="module")
def fitted() -> tuple[LogisticRegression, pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(800, 3)), columns=["strong", "weak", "none"])
    y = np.where(3 * X["strong"] + 0.7 * X["weak"] + random.logistic(size=800) > 0, "ill", "well")
    return LogisticRegression().fit(X[:400], y[:400]), X[400:], y[400:]


def test_permutation_importance(fitted):
    model, X, y = fitted
    table = permutation_importance(model, X, y, seed=0)
    assert table["feature"].tolist() == ["strong", "weak", "none"]
    strong, weak, none = table["importance"]
    assert strong > 5 * weak > 0
    assert abs(none) < 4 * table["standard_error"].iloc[2] + 0.005
    pd.testing.assert_frame_equal(table, permutation_importance(model, X, y, seed=0))


def test_permutation_importance_and_its_error_by_hand(fitted):
    """Shuffled many times, a column's rise of the loss is the mean over all pairs of rows."""
    model, X, y = fitted
    X, y = X[:60], y[:60]
    place = np.searchsorted(model.classes_, y)

    def losses(frame: pd.DataFrame) -> np.ndarray:
        return -np.log(model.predict_proba(frame)[np.arange(len(frame)), place])

    rises = np.mean([losses(X.assign(strong=value)) for value in X["strong"]], axis=0) - losses(X)
    line = permutation_importance(model, X, y, repeats=200).set_index("feature").loc["strong"]
    assert line["importance"] == pytest.approx(rises.mean(), rel=0.03)
    assert line["standard_error"] == pytest.approx(rises.std(ddof=1) / np.sqrt(60), rel=0.1)


def test_permutation_importance_mistakes(fitted):
    model, X, y = fitted
    with pytest.raises(OptionError, match="'dead' is not one of"):
        permutation_importance(model, X[:3], ["ill", "well", "dead"])
    with pytest.raises(ShapeError, match="two rows or more"):
        permutation_importance(model, X[:1], y[:1])


def test_agreement():
    found = agreement(
        ["a", "b", "c", "d"],
        {"SHAP": [1, 4, 3, 2], "same order": [10, 400, 30, 20], "reversed": [4, 1, 2, 3], "partly": [1, np.nan, 3, 2]},
        {"LIME": "not asked for"},
    )
    assert found.measures.index.tolist() == ["b", "c", "d", "a"]
    assert found.ranks["SHAP"].tolist() == [1, 2, 3, 4]
    assert found.spearman.loc["SHAP"].tolist() == pytest.approx([1, 1, -1, 1])
    assert found.kendall.loc["same order", "reversed"] == pytest.approx(-1)
    assert found.left_out == {"LIME": "not asked for"}
    with pytest.raises(ShapeError, match="4 values, one per feature; short"):
        agreement(["a", "b", "c", "d"], {"short": [1, 2]})


def test_a_measure_that_is_the_same_everywhere_has_no_correlation():
    found = agreement(["a", "b"], {"one": [1, 2], "flat": [0, 0]})
    assert np.isnan(found.spearman.loc["one", "flat"])
    assert found.ranks["flat"].tolist() == [1.5, 1.5]


def test_stability_by_hand():
    found = stability(["a", "b", "c"], np.array([[3, 2, 1], [3, 1, 2], [1, 3, 2]]), top=2)
    assert found.overlap == pytest.approx(1 / 3)  # {a, b}, {a, c}, {b, c}: each pair shares one of three
    assert found.table["feature"].tolist() == ["a", "b", "c"]
    assert found.table["rank"].tolist() == pytest.approx([5 / 3, 2, 7 / 3])
    assert found.table["rank_sd"].iloc[0] == pytest.approx(np.std([1, 1, 3], ddof=1))
    with pytest.raises(ShapeError, match="2 or more draws"):
        stability(["a"], np.ones((1, 1)))


def test_resampled_importance_spreads_as_theory_says():
    """For a linear model, |SHAP| far from the background moves by weight · sd of the background's mean."""
    random = np.random.default_rng(0)
    background = pd.DataFrame(random.normal(size=(50, 2)), columns=["a", "b"])
    rows = pd.DataFrame({"a": np.full(5, 10.0), "b": np.full(5, 10.0)})  # equal rows: the background alone varies

    def explain(seen: pd.DataFrame, own: pd.DataFrame) -> Explanation:
        return shap_values(lambda frame: frame.to_numpy() @ np.array([[1.0, 1.0], [3.0, 3.0]]), seen, own)

    done: list[int] = []
    drawn = resampled_importance(explain, background, rows, draws=200, progress=done.append)
    assert drawn.shape == (200, 2)
    assert sum(done) == 200
    expected = background.std(ddof=0).to_numpy() / np.sqrt(50) * [1, 3]
    np.testing.assert_allclose(drawn.std(0), expected, rtol=0.2)
    assert stability(["a", "b"], drawn, top=1).overlap == 1.0


def test_refitted_importance():
    X = np.random.default_rng(1).normal(size=(120, 2))
    y = (X[:, 0] + 0.1 * X[:, 1] > 0).astype(int)
    drawn = refitted_importance(lambda rows: np.abs(LogisticRegression().fit(X[rows], y[rows]).coef_[0]), 120, draws=6)
    assert drawn.shape == (6, 2)
    assert (drawn[:, 0] > drawn[:, 1]).all()
    assert len(np.unique(drawn[:, 0])) == 6
