"""Tests between models."""

import numpy as np
import pytest
from scipy import stats

from qkan.analysis.statistics import corrected_paired_test, holm
from qkan.errors import OptionError, ShapeError


def test_without_shared_data_it_is_the_plain_test():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 12))
    found = corrected_paired_test(a, b, 1e-12)
    plain = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(plain.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval(0.95)))


def test_shared_data_widen_the_interval():
    a, b = np.array([1.0, 1.2, 0.9, 1.1]), np.array([0.8, 1.0, 0.9, 0.7])
    plain, corrected = corrected_paired_test(a, b, 1e-12), corrected_paired_test(a, b, 0.2)
    factor = ((1 / 4 + 0.25) / (1 / 4)) ** 0.5
    assert corrected.high - corrected.mean == pytest.approx(factor * (plain.high - plain.mean))
    assert corrected.p > plain.p


def test_equal_scores_and_constant_differences():
    assert corrected_paired_test([1, 2], [1, 2], 0.2).p == 1
    assert corrected_paired_test([1, 2], [0, 1], 0.2).p == 0


def test_holm():
    """The example of Holm's method: 3 · 0.01, 2 · 0.02, then at least as large as what came before."""
    assert holm({"b": 0.02, "a": 0.01, "c": 0.03}) == pytest.approx({"b": 0.04, "a": 0.03, "c": 0.04})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_mistakes():
    with pytest.raises(ShapeError, match="1 and 2 scores must be equally many"):
        corrected_paired_test([1], [1, 2], 0.2)
    with pytest.raises(OptionError, match="test_share=1 must lie"):
        corrected_paired_test([1, 2], [1, 2], 1)
