"""How likely one model is better than another, worse, or practically the same.

Scores are larger for better models: give losses with their sign changed. Two models count as practically the same
where their scores differ by at most ``rope``, the region of practical equivalence (Benavoli, Corani, Demšar and
Zaffalon, JMLR 18(77) (2017)); 0.01 of accuracy is their choice and the default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkan.analysis.statistics import corrected_error
from qkan.errors import OptionError, ShapeError, check_positive

#: Of the pseudo-difference of 0 that the signed-rank test adds, against 1 for each observed difference.
PRIOR_STRENGTH = 0.5


@dataclass(frozen=True)
class Posterior:
    """Probabilities that sum to 1.

    Attributes:
        worse: that the first model is worse by more than ``rope``.
        equal: that the two differ by at most ``rope``.
        better: that the first is better by more than ``rope``.
    """

    worse: float
    equal: float
    better: float


def correlated_t_test(
    first: Sequence[float], second: Sequence[float], test_share: float, rope: float = 0.01
) -> Posterior:
    """Bayesian correlated t-test, for the folds of repeated cross-validation on one data set.

    With a flat prior the posterior of the mean difference is a Student t distribution with the mean, standard error
    and n - 1 degrees of freedom of :func:`qkan.analysis.statistics.corrected_paired_test` (Corani and Benavoli,
    Machine Learning 100, 285 (2015)). It assumes normal differences whose correlation between folds is ``test_share``.

    Args:
        first: n scores of one model.
        second: scores of the other, fold by fold.
        test_share: share of test rows among test and training rows, in (0, 1).
        rope: half-width of the region of practical equivalence, in units of the score.

    Raises:
        ShapeError: the lengths differ, or there are fewer than two.
        OptionError: ``test_share`` or ``rope`` is out of range.
    """
    from scipy import stats

    differences = _differences(first, second, rope)
    mean, error = corrected_error(differences, test_share)
    if error == 0:
        return Posterior(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    worse = float(stats.t.cdf((-rope - mean) / error, len(differences) - 1))
    better = float(stats.t.sf((rope - mean) / error, len(differences) - 1))
    return Posterior(worse, max(0.0, 1 - worse - better), better)


def signed_rank_test(
    first: Sequence[float],
    second: Sequence[float],
    rope: float = 0.01,
    samples: int = 20_000,
    seed: int | None = 0,
) -> Posterior:
    """Bayesian signed-rank test, for one difference from each of several data sets.

    The Bayesian counterpart of Wilcoxon's test (Benavoli, Mangili, Corani, Zaffalon and Ruggeri, ICML 2014): a
    Dirichlet process over the differences, with a pseudo-difference of 0 of strength 0.5 as prior. For every draw of
    weights the three regions compete by the weight of the pairs whose mean difference lies in each; a probability is
    the share of draws that a region wins. It assumes no distribution, but takes the differences as independent and
    symmetric about their middle. Folds of one data set share training rows and are not independent: on them it is too
    sure, and no more than a description.

    Args:
        first: scores of one model, one per data set.
        second: scores of the other.
        rope: half-width of the region of practical equivalence, in units of the score.
        samples: draws of weights; the error of a probability is at most 0.5 / √samples.
        seed: of the draws.

    Raises:
        ShapeError: the lengths differ, or there are fewer than two.
        OptionError: ``rope`` or ``samples`` is out of range.
    """
    samples = check_positive("samples", samples)
    differences = np.concatenate([[0.0], _differences(first, second, rope)])
    sums = differences[:, None] + differences
    # A hair of tolerance: a pair exactly at the border must not fall by rounding.
    edge = 2 * rope + 1e-12
    regions = np.stack([sums < -edge, np.abs(sums) <= edge, sums > edge]).astype(float)
    strengths = np.concatenate([[PRIOR_STRENGTH], np.ones(len(differences) - 1)])
    weights = np.random.default_rng(seed).dirichlet(strengths, samples)
    shares = np.stack([((weights @ region) * weights).sum(1) for region in regions], axis=1)
    won = shares >= shares.max(1, keepdims=True)
    worse, equal, better = (won / won.sum(1, keepdims=True)).mean(0).tolist()
    return Posterior(worse, equal, better)


def _differences(first: Sequence[float], second: Sequence[float], rope: float) -> np.ndarray:
    if len(first) != len(second) or len(first) < 2:
        raise ShapeError(f"{len(first)} and {len(second)} scores must be equally many, two or more.")
    if not (math.isfinite(rope) and rope >= 0):
        raise OptionError(f"rope={rope!r} must be a finite number, 0 or larger.")
    return np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
