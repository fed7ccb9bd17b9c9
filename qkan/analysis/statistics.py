"""Tests between models that were trained and tested on the same data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qkan.errors import OptionError, ShapeError


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test of differences.

    Attributes:
        mean: of the differences, first minus second.
        low: lower end of the 95 % interval of the mean.
        high: its upper end.
        p: two-sided p-value.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def corrected_paired_test(first: Sequence[float], second: Sequence[float], test_share: float) -> PairedTest:
    """Paired t-test whose variance allows for data that the repetitions share.

    Repetitions that train on overlapping data are not independent, so the plain test finds differences where there are
    none. Nadeau and Bengio (Machine Learning 52, 239 (2003)) replace the factor 1/n of the variance by
    1/n + n_test/n_train.

    Args:
        first: n scores of one model.
        second: scores of the other, repetition by repetition.
        test_share: share of test rows among test and training rows, in (0, 1).

    Raises:
        ShapeError: the lengths differ, or there are fewer than two.
        OptionError: ``test_share`` is out of range.
    """
    if not 0 < test_share < 1:
        raise OptionError(f"test_share={test_share!r} must lie strictly between 0 and 1.")
    return _paired_test(first, second, test_share)


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Paired t-test of scores whose differences are independent, as on data that repetitions do not share.

    Args:
        first: n scores of one model.
        second: scores of the other, repetition by repetition.

    Raises:
        ShapeError: the lengths differ, or there are fewer than two.
    """
    return _paired_test(first, second, 0.0)


def _paired_test(first: Sequence[float], second: Sequence[float], test_share: float) -> PairedTest:
    from scipy import stats

    if len(first) != len(second):
        raise ShapeError(f"{len(first)} and {len(second)} scores must be equally many, two or more.")
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    mean, error = _error(differences, test_share)
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    if error == 0:
        return PairedTest(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    p = 2 * float(stats.t.sf(abs(mean) / error, len(differences) - 1))
    return PairedTest(mean, mean - reach, mean + reach, p)


def corrected_interval(scores: Sequence[float], test_share: float) -> Interval:
    """Mean of one model's scores over folds, with a 95 % interval that allows for data that the folds share.

    The variance is that of :func:`corrected_paired_test`, which takes ``test_share`` as the correlation between folds.
    Like every t-interval it is symmetric, and may pass the end of a metric's range where scores are close to it.

    Args:
        scores: n scores of a model.
        test_share: share of test rows among test and training rows, in (0, 1).

    Raises:
        ShapeError: there are fewer than two scores.
        OptionError: ``test_share`` is out of range.
    """
    return _interval(*corrected_error(scores, test_share), len(scores))


def mean_interval(scores: Sequence[float]) -> Interval:
    """Mean of independent scores with its 95 % t-interval.

    Raises:
        ShapeError: there are fewer than two scores.
    """
    return _interval(*_error(scores, 0.0), len(scores))


def _interval(mean: float, error: float, count: int) -> Interval:
    from scipy import stats

    reach = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def corrected_error(values: Sequence[float] | np.ndarray, test_share: float) -> tuple[float, float]:
    """Mean of n values and its standard error after Nadeau and Bengio, as :func:`corrected_paired_test` uses it.

    Raises:
        ShapeError: there are fewer than two values.
        OptionError: ``test_share`` is out of range.
    """
    if not 0 < test_share < 1:
        raise OptionError(f"test_share={test_share!r} must lie strictly between 0 and 1.")
    return _error(values, test_share)


def _error(values: Sequence[float] | np.ndarray, test_share: float) -> tuple[float, float]:
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ShapeError(f"{len(values)} scores must be equally many, two or more.")
    if np.ptp(values) == 0:  # rounding in the mean would leave a tiny variance
        return float(values[0]), 0.0
    share = 1 / len(values) + test_share / (1 - test_share)
    return float(values.mean()), math.sqrt(float(values.var(ddof=1)) * share)


def bonferroni(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values times their number, at most 1: never smaller than those of :func:`holm`."""
    return {name: min(1.0, len(p_values) * p) for name, p in p_values.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for their number by Holm's method, in the order given."""
    found: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p_values[name]))
        found[name] = largest
    return {name: found[name] for name in p_values}


def pairwise(scores: Mapping[str, Sequence[float]], test_share: float) -> np.ndarray:
    """P-values between all pairs by :func:`corrected_paired_test`, then by Holm's method over the pairs.

    Args:
        scores: model -> n scores, fold by fold.
        test_share: share of test rows among test and training rows, in (0, 1).

    Returns:
        (models, models), symmetric, 1 on the diagonal, in the order of ``scores``.
    """
    values, count = list(scores.values()), len(scores)
    pairs = {f"{i} {j}": (i, j) for i in range(count) for j in range(i)}
    tests = {key: corrected_paired_test(values[i], values[j], test_share).p for key, (i, j) in pairs.items()}
    found = np.ones((count, count))
    for key, p in holm(tests).items():
        i, j = pairs[key]
        found[i, j] = found[j, i] = p
    return found


@dataclass(frozen=True)
class Ranking:
    """Average ranks of models over folds or data sets.

    Attributes:
        ranks: model -> average rank, 1 the best; models that tie share their ranks.
        p: of Friedman's test that all models rank alike.
        critical_difference: of two average ranks by Nemenyi's test at 5 %.
    """

    ranks: dict[str, float]
    p: float
    critical_difference: float


def friedman(scores: Mapping[str, Sequence[float]], larger: bool = True) -> Ranking:
    """Average ranks with Friedman's test and Nemenyi's critical difference (Demšar, JMLR 7, 1 (2006)).

    Both take folds as independent. Folds of one data set are not, so there the test is too sure; it is meant for
    several data sets.

    Args:
        scores: model -> n scores, fold by fold.
        larger: whether larger scores are better.

    Raises:
        ShapeError: fewer than three models or two folds, or the numbers of scores differ.
    """
    from scipy import stats

    counts = {len(own) for own in scores.values()}
    if len(scores) < 3 or len(counts) != 1 or max(counts) < 2:
        raise ShapeError(f"{len(scores)} models with {sorted(counts)} scores: need three models, equally many scores.")
    values = np.array([list(own) for own in scores.values()], dtype=float)
    models, folds = values.shape
    ranks = stats.rankdata(-values if larger else values, axis=0).mean(1)
    # Where all models tie in every fold the statistic is 0 / 0: nothing tells them apart.
    p = 1.0 if np.ptp(values, axis=0).max() == 0 else float(stats.friedmanchisquare(*values).pvalue)
    critical = stats.studentized_range.ppf(0.95, models, np.inf) / math.sqrt(2)
    critical *= math.sqrt(models * (models + 1) / (6 * folds))
    return Ranking(dict(zip(scores, ranks.tolist(), strict=True)), p, float(critical))
