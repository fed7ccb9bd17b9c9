"""What the fold-by-fold scores of the heart-disease experiment say about differences between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qkan.analysis.bayesian import Posterior, correlated_t_test, signed_rank_test
from qkan.analysis.metrics import METRICS
from qkan.analysis.statistics import (
    Interval,
    PairedTest,
    bonferroni,
    corrected_interval,
    corrected_paired_test,
    holm,
)
from qkan.experiments.kacq_heart_results import Entry, Table

#: The classical model that every other is compared with, named before anything was run.
BASELINE = "logistic_regression"
#: The network whose parts the ablations take away and the controls replace.
WHOLE = "kacq-1"
#: Accuracies that differ by no more count as practically the same.
ROPE = 0.01
#: Draws of the signed-rank test; the error of a probability is at most 0.005.
DRAWS = 10_000


@dataclass(frozen=True)
class Comparison:
    """One model beside another on the same folds; differences are the model's score minus the other's.

    Attributes:
        entry: the model.
        test: of accuracies, corrected for shared data only.
        holm: p-value of ``test`` corrected for the number of comparisons by Holm's method.
        bonferroni: the same by Bonferroni's.
        correlated: Bayesian correlated t-test of accuracies.
        signed_rank: Bayesian signed-rank test of accuracies, which takes the folds as independent.
        auc: as ``test``, of ROC-AUC.
        auc_holm: as ``holm``, of ROC-AUC.
    """

    entry: Entry
    test: PairedTest
    holm: float
    bonferroni: float
    correlated: Posterior
    signed_rank: Posterior
    auc: PairedTest
    auc_holm: float


def compare(table: Table, other: Entry, entries: Sequence[Entry]) -> list[Comparison]:
    """Every entry beside ``other``, which is left out; p-values are corrected for their number.

    Args:
        table: the scores.
        other: the entry to compare with.
        entries: those to compare.
    """
    share = table.test_share
    entries = [entry for entry in entries if entry.model != other.model]
    accuracy = {entry.model: difference(table, entry, other, "accuracy") for entry in entries}
    auc = {entry.model: difference(table, entry, other, "roc_auc") for entry in entries}
    p = {model: test.p for model, test in accuracy.items()}
    by_holm, by_bonferroni = holm(p), bonferroni(p)
    auc_holm = holm({model: test.p for model, test in auc.items()})
    own = other.values("accuracy")
    return [
        Comparison(
            entry,
            accuracy[entry.model],
            by_holm[entry.model],
            by_bonferroni[entry.model],
            correlated_t_test(entry.values("accuracy"), own, share, ROPE),
            signed_rank_test(entry.values("accuracy"), own, ROPE, DRAWS),
            auc[entry.model],
            auc_holm[entry.model],
        )
        for entry in entries
    ]


def difference(table: Table, entry: Entry, other: Entry, key: str) -> PairedTest:
    """The corrected test of one metric, ``entry`` minus ``other``.

    Args:
        table: the scores.
        entry: the first model.
        other: the second.
        key: name of the metric.
    """
    return corrected_paired_test(entry.values(key), other.values(key), table.test_share)


def interval(table: Table, entry: Entry, key: str) -> Interval:
    """Mean of a metric over folds with its corrected 95 % interval.

    Args:
        table: the scores.
        entry: the model.
        key: name of the metric.
    """
    return corrected_interval(entry.values(key), table.test_share)


def best(table: Table, group: str, key: str = "accuracy") -> Entry | None:
    """The entry of a group with the best mean, the first of equals; None if the group was not run.

    Args:
        table: the scores.
        group: such as "classical".
        key: name of the metric.
    """
    entries = [entry for entry in table.entries if entry.group == group]
    sign = 1 if METRICS[key][1] else -1
    return max(entries, key=lambda entry: sign * entry.mean(key), default=None)


def by_fold(entry: Entry, key: str) -> dict[str, float]:
    """Fold -> mean of a metric over the runs that tested on it, in the order of the runs.

    Args:
        entry: the model.
        key: name of the metric.
    """
    folds = dict.fromkeys(run["fold"] for run in entry.runs)
    return {fold: Entry("", "", [run for run in entry.runs if run["fold"] == fold]).mean(key) for fold in folds}


def reading(test: PairedTest) -> str:
    """What the 95 % interval of a difference says, for metrics of which more is better."""
    if test.low > 0:
        return "better"
    return "worse" if test.high < 0 else "not told apart"
