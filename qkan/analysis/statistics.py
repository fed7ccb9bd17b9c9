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
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise ShapeError(f"{len(first)} and {len(second)} scores must be equally many, two or more.")
    if not 0 < test_share < 1:
        raise OptionError(f"test_share={test_share!r} must lie strictly between 0 and 1.")
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    count = len(differences)
    mean = float(differences.mean())
    error = math.sqrt(float(differences.var(ddof=1)) * (1 / count + test_share / (1 - test_share)))
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    if error == 0:
        return PairedTest(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    p = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
    return PairedTest(mean, mean - reach, mean + reach, p)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for their number by Holm's method, in the order given."""
    found: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p_values[name]))
        found[name] = largest
    return {name: found[name] for name in p_values}
