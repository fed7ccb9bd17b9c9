"""Tests between models."""

import numpy as np
import pytest
from scipy import stats

from qkan.analysis.statistics import (
    bonferroni,
    corrected_interval,
    corrected_paired_test,
    friedman,
    holm,
    mean_interval,
    paired_test,
    pairwise,
)
from qkan.errors import OptionError, ShapeError


def test_without_shared_data_it_is_the_plain_test():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 12))
    found = corrected_paired_test(a, b, 1e-12)
    plain = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(plain.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval(0.95)))


def test_independent_differences_have_the_plain_test_and_interval():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 12))
    found, plain = paired_test(a, b), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(plain.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval(0.95)), rel=1e-12)
    own = mean_interval(a)
    expected = stats.t.interval(0.95, 11, loc=a.mean(), scale=stats.sem(a))
    assert (own.mean, own.low, own.high) == pytest.approx((a.mean(), *expected), rel=1e-12)
    for wrong in (lambda: paired_test([1], [2]), lambda: paired_test([1, 2], [1]), lambda: mean_interval([1])):
        with pytest.raises(ShapeError):
            wrong()


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


def test_bonferroni():
    p = {"b": 0.02, "a": 0.01, "c": 0.4}
    assert bonferroni(p) == pytest.approx({"b": 0.06, "a": 0.03, "c": 1.0})
    assert all(own >= holm(p)[name] for name, own in bonferroni(p).items())


def test_interval_of_a_mean():
    """Without shared data it is the plain t-interval; with it, as wide as that of a difference from zero."""
    scores = [0.8, 0.85, 0.78, 0.9, 0.81]
    found = corrected_interval(scores, 1e-12)
    plain = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.mean == pytest.approx(np.mean(scores))
    shared, test = corrected_interval(scores, 0.2), corrected_paired_test(scores, [0] * 5, 0.2)
    assert (shared.mean, shared.low, shared.high) == pytest.approx((test.mean, test.low, test.high))
    constant = corrected_interval([0.1, 0.1, 0.1], 0.2)
    assert constant.low == constant.mean == constant.high == 0.1


def repeated_folds(seed, rows=60, folds=5, repeats=4):
    """Scores of two models over repeated folds, equally good on average.

    Each row has an advantage for either model, however it is predicted: folds of different repeats share the rows and
    with them the luck of the draw of the data.
    """
    random = np.random.default_rng(seed)
    advantage = random.normal(size=rows)
    scores = []
    for _ in range(repeats):
        parts = np.array_split(random.permutation(rows), folds)
        scores += [advantage[part].mean() for part in parts]
    return np.array(scores)


def test_false_positives_of_the_plain_and_the_corrected_test():
    """On 400 data sets without a difference the plain test finds many, the corrected one no more than 5 %."""
    nothing = np.zeros(20)
    drawn = [repeated_folds(seed) for seed in range(400)]
    plain = np.mean([stats.ttest_1samp(own, 0).pvalue < 0.05 for own in drawn])
    corrected = np.mean([corrected_paired_test(own, nothing, 0.2).p < 0.05 for own in drawn])
    assert plain > 0.2
    assert corrected < 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_pairwise():
    draw = np.random.default_rng(0)
    scores = {name: draw.normal(mean, 0.1, 10) for name, mean in (("a", 0.0), ("b", 0.0), ("c", 1.0))}
    found = pairwise(scores, 0.2)
    single = {
        f"{x}{y}": corrected_paired_test(scores[x], scores[y], 0.2).p for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
    }
    expected = holm(single)
    np.testing.assert_allclose(found, found.T)
    assert found[0, 1] == pytest.approx(expected["ab"])
    assert found[0, 2] == pytest.approx(expected["ac"])
    assert found[0, 2] < 0.001 < 0.05 < found[0, 1]
    assert (np.diag(found) == 1).all()


def test_ranks():
    scores = {"a": [0.9, 0.8, 0.7, 0.9], "b": [0.8, 0.8, 0.6, 0.8], "c": [0.1, 0.1, 0.2, 0.3]}
    found = friedman(scores)
    assert found.ranks == {"a": 1.125, "b": 1.875, "c": 3.0}
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.values()).pvalue)
    assert friedman(scores, larger=False).ranks == {"a": 2.875, "b": 2.125, "c": 1.0}
    same = friedman({name: [0.5, 0.6] for name in "abc"})
    assert same.p == 1
    assert set(same.ranks.values()) == {2.0}


@pytest.mark.parametrize(("models", "q"), [(3, 2.343), (4, 2.569), (10, 3.164)])
def test_critical_difference_of_the_printed_table(models, q):
    """Table 5(a) of Demšar (2006), at 30 folds."""
    draw = np.random.default_rng(1).normal(size=(models, 30))
    found = friedman({str(i): own for i, own in enumerate(draw)})
    assert found.critical_difference == pytest.approx(q * (models * (models + 1) / 180) ** 0.5, rel=3e-4)


def test_mistakes():
    with pytest.raises(ShapeError, match="1 and 2 scores must be equally many"):
        corrected_paired_test([1], [1, 2], 0.2)
    with pytest.raises(OptionError, match="test_share=1 must lie"):
        corrected_paired_test([1, 2], [1, 2], 1)
    with pytest.raises(ShapeError, match="2 models with"):
        friedman({"a": [1, 2], "b": [1, 2]})
    with pytest.raises(ShapeError, match="1 scores"):
        corrected_interval([1], 0.2)
