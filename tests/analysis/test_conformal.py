"""Prediction sets: MAPIE's LAC, own Mondrian sets, coverage over many splits, and the guard against trained rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from qkan.analysis.conformal import (
    ConformalSets,
    evaluate_sets,
    expected_coverage,
    refuse_trained_rows,
    row_hashes,
)
from qkan.errors import LeakageError, OptionError, ShapeError


def draw(rows: int, seed: int, classes: int = 2, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities and labels of an imbalanced problem."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.3).astype(int) if classes == 2 else random.integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    logits = random.normal(size=(rows, classes)) * 2
    logits[np.arange(rows), labels] += shift
    weights = np.exp(2 * logits)
    return weights / weights.sum(1, keepdims=True), labels


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("classes", [2, 4])
def test_lac_is_the_textbook_quantile(level, classes):
    probabilities, labels = draw(137, 0, classes)
    test, _ = draw(200, 1, classes)
    scores = np.sort(1 - probabilities[np.arange(137), labels])
    threshold = scores[int(np.ceil(138 * level)) - 1]
    sets = ConformalSets(probabilities, labels).predict_set(test, level, "lac")
    np.testing.assert_array_equal(sets, 1 - test <= threshold)


@pytest.mark.parametrize("level", [1e-9, 0.05, 0.8, 0.9, 0.95, 0.99])
def test_lac_at_every_number_of_calibration_rows(level):
    """Also at the edges that MAPIE refuses, such as 19 rows at 95 %."""
    for rows in (*range(2, 42), 99, 100, 101):
        probabilities, labels = draw(rows, rows)
        scores = np.sort(1 - probabilities[np.arange(rows), labels])
        rank = max(1, int(np.ceil(round((rows + 1) * level, 9))))
        threshold = scores[rank - 1] if rank <= rows else np.inf
        sets = ConformalSets(probabilities, labels).predict_set(probabilities, level, "lac")
        textbook = 1 - probabilities <= threshold
        assert (sets >= textbook).all()
        if level >= 0.8:  # below, MAPIE may round the rank up by one, on the safe side
            np.testing.assert_array_equal(sets, textbook, err_msg=f"{rows} rows")


@pytest.mark.parametrize("method", ["lac", "mondrian"])
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_coverage_over_200_splits(method, level):
    """Mean coverage, overall and within each class, lies in its theoretical band [level, level + 1/(n+1)].

    Tolerance: four standard errors of the mean over splits.
    """
    overall, by_class = [], []
    for seed in range(200):
        probabilities, labels = draw(600, seed)
        test, truth = probabilities[200:], labels[200:]
        fitted = ConformalSets(probabilities[:200], labels[:200])
        sets = fitted.predict_set(test, level, method)
        report = evaluate_sets(sets, truth, method, level)
        overall.append(report.coverage)
        by_class.append(report.class_coverage)
    _assert_in_band(overall, level, 200)
    if method == "mondrian":
        for share, column in zip((0.7, 0.3), np.array(by_class).T, strict=True):
            _assert_in_band(column, level, int(200 * share * 0.8))


def _assert_in_band(values: list[float] | np.ndarray, level: float, calibration_rows: int) -> None:
    error = 4 * np.std(values) / np.sqrt(len(values))
    assert level - error < np.mean(values) < level + 1 / (calibration_rows + 1) + error


def test_trained_calibration_rows_would_undercover():
    """The reason for the guard: scores that look better than those of new rows give too low a coverage."""
    coverages = []
    for seed in range(30):
        calibration, labels = draw(200, seed, shift=3.0)
        test, truth = draw(400, 1000 + seed, shift=1.0)
        sets = ConformalSets(calibration, labels).predict_set(test, 0.9, "mondrian")
        coverages.append(evaluate_sets(sets, truth, "mondrian", 0.9).coverage)
    assert np.mean(coverages) < 0.8


@pytest.mark.parametrize("method", ["lac", "mondrian"])
def test_too_few_calibration_rows_give_full_sets(method):
    probabilities, labels = draw(12, 0)
    assert ConformalSets(probabilities, labels).predict_set(probabilities, 0.95, method).all()


@given(seed=st.integers(0, 10**6), low=st.floats(0.05, 0.9), step=st.floats(0.001, 0.09))
@settings(max_examples=40)
def test_sets_grow_with_the_level(seed, low, step):
    probabilities, labels = draw(60, seed)
    fitted = ConformalSets(probabilities, labels)
    smaller = fitted.predict_set(probabilities, low, "mondrian")
    larger = fitted.predict_set(probabilities, low + step, "mondrian")
    assert (smaller <= larger).all()


def test_report_counts_by_hand():
    sets = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0]], dtype=bool)
    labels = np.array([0, 0, 1, 0, 0])
    report = evaluate_sets(sets, labels, "lac", 0.9)
    assert report.coverage == pytest.approx(3 / 5)
    assert report.mean_size == pytest.approx(1.0)
    assert (report.empty, report.double) == (0.2, 0.2)
    assert report.class_coverage == (0.5, 1.0)
    assert report.class_rows == (4, 1)
    interval = binomtest(3, 5).proportion_ci(method="exact")
    assert report.coverage_interval == pytest.approx((interval.low, interval.high))


def test_expected_coverage_matches_simulation():
    low, high = expected_coverage(114, 114, 0.9)
    random = np.random.default_rng(0)
    rank = int(np.ceil(115 * 0.9))
    share = random.beta(rank, 115 - rank, 200_000)
    simulated = np.percentile(random.binomial(114, share) / 114, (2.5, 97.5))
    np.testing.assert_allclose((low, high), simulated, atol=1.01 / 114)


def test_trained_rows_are_refused():
    frame = pd.DataFrame({"age": [40.0, 51.0, np.nan], "sex": ["f", "m", None]})
    trained = row_hashes(frame.iloc[:2])
    refuse_trained_rows(trained, frame.iloc[2:])
    with pytest.raises(LeakageError, match=r"1 of 2 calibration rows were trained on \(first: row 1\)"):
        refuse_trained_rows(trained, frame.iloc[1:])


def test_hashes_see_values_only():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 0.25]})
    assert row_hashes(frame) == row_hashes(frame.astype(float).set_index(pd.Index([7, 8])))
    assert row_hashes(frame) == row_hashes(frame.to_numpy())
    assert len(set(row_hashes(frame))) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"level": 1.0}, OptionError, "level=1.0"),
        ({"method": "top"}, OptionError, "method='top' is not known; choose one of 'lac', 'mondrian'"),
        ({"method": "aps"}, OptionError, "method='aps' needs three classes or more"),
    ],
)
def test_bad_arguments(arguments, error, message):
    probabilities, labels = draw(30, 0)
    with pytest.raises(error, match=message):
        ConformalSets(probabilities, labels).predict_set(probabilities, **arguments)


def test_bad_calibration_rows():
    probabilities, labels = draw(30, 0)
    with pytest.raises(ShapeError, match="do not fit"):
        ConformalSets(probabilities, labels[:-1])
    with pytest.raises(ShapeError, match=r"counts per class are \[30, 0\]"):
        ConformalSets(probabilities, np.zeros(30, dtype=int))
