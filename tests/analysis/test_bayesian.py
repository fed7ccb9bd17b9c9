"""Bayesian tests against closed forms, and what must hold for any scores."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qkan.analysis.bayesian import PRIOR_STRENGTH, correlated_t_test, signed_rank_test
from qkan.analysis.statistics import corrected_paired_test
from qkan.errors import OptionError, ShapeError

SCORES = st.lists(st.tuples(st.integers(60, 100), st.integers(60, 100)), min_size=2, max_size=12)


def test_without_rope_it_mirrors_the_p_value():
    """With a flat prior P(worse) is half the two-sided p-value of a better model."""
    a, b = np.random.default_rng(0).normal([[0.5], [0.0]], 1.0, (2, 20))
    found, test = correlated_t_test(a, b, 0.2, rope=0), corrected_paired_test(a, b, 0.2)
    assert test.mean > 0
    assert found.worse == pytest.approx(test.p / 2)
    assert found.equal == pytest.approx(0, abs=1e-12)


def test_with_rope_it_is_the_student_distribution():
    differences = np.array([0.02, -0.01, 0.03, 0.015])
    found = correlated_t_test(differences, np.zeros(4), 0.25, rope=0.01)
    scale = np.sqrt(differences.var(ddof=1) * (1 / 4 + 1 / 3))
    posterior = stats.t(3, differences.mean(), scale)
    assert found.equal == pytest.approx(posterior.cdf(0.01) - posterior.cdf(-0.01))
    assert found.better == pytest.approx(posterior.sf(0.01))


@pytest.mark.parametrize(("shift", "expected"), [(0.02, (0, 0, 1)), (0.005, (0, 1, 0)), (-0.02, (1, 0, 0))])
def test_constant_differences_are_certain(shift, expected):
    assert astuple(correlated_t_test([0.5 + shift] * 5, [0.5] * 5, 0.2)) == expected


def test_signed_rank_of_two_differences_by_hand():
    """With one difference repeated, the mass w at 0 is Beta(s, n) and pairs with 0 lie in the region.

    The differences are 1.5 ropes, so a pair of two of them is outside (3 > 2) and a pair with 0 inside (1.5 < 2):
    the first model wins where (1 - w)² > 1/2.
    """
    found = signed_rank_test([0.015, 0.015], [0, 0], rope=0.01, samples=40_000)
    expected = stats.beta(PRIOR_STRENGTH, 2).cdf(1 - np.sqrt(0.5))
    assert found.better == pytest.approx(expected, abs=5 * 0.5 / 200)
    assert found.worse == 0


def test_signed_rank_agrees_with_wilcoxon_on_many_data_sets():
    """Without rope and for many independent differences P(worse) nears the one-sided p-value."""
    draw = np.random.default_rng(3).normal(0.3, 1.0, 40)
    found = signed_rank_test(draw, np.zeros(40), rope=0)
    assert found.worse == pytest.approx(stats.wilcoxon(draw, alternative="greater").pvalue, abs=0.02)


def test_folds_taken_as_independent_are_too_sure():
    """On repeated folds the signed-rank test claims more than the test that knows of shared rows."""
    draw = np.random.default_rng(5).normal(0.02, 0.03, 50)
    sure, careful = signed_rank_test(draw, np.zeros(50)), correlated_t_test(draw, np.zeros(50), 0.2)
    assert sure.better > careful.better


@settings(max_examples=25, deadline=None)
@given(SCORES, st.sampled_from([0.0, 0.01, 0.05]))
def test_probabilities_whatever_the_scores(pairs, rope):
    first, second = (np.array(own) / 100 for own in zip(*pairs, strict=True))
    for test in (lambda a, b: correlated_t_test(a, b, 0.2, rope), lambda a, b: signed_rank_test(a, b, rope, 500)):
        there, back = test(first, second), test(second, first)
        assert sum(astuple(there)) == pytest.approx(1)
        assert min(astuple(there)) >= 0
        assert astuple(there) == pytest.approx(astuple(back)[::-1], abs=1e-9)


def test_signed_rank_is_seeded():
    draw = np.random.default_rng(0).normal(0.01, 0.05, 10)
    first = signed_rank_test(draw, np.zeros(10), samples=500, seed=1)
    assert first == signed_rank_test(draw, np.zeros(10), samples=500, seed=1)
    assert first != signed_rank_test(draw, np.zeros(10), samples=500, seed=2)


def test_mistakes():
    with pytest.raises(ShapeError, match="2 and 3 scores"):
        correlated_t_test([1, 2], [1, 2, 3], 0.2)
    with pytest.raises(OptionError, match="rope=-1"):
        signed_rank_test([1, 2], [1, 2], rope=-1)
    with pytest.raises(OptionError, match="samples=0"):
        signed_rank_test([1, 2], [1, 2], samples=0)
    with pytest.raises(OptionError, match="test_share=0"):
        correlated_t_test([1, 2], [1, 3], 0)
