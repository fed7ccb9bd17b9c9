"""Markdown sections of the heart-disease report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qkan.analysis.bayesian import Posterior, correlated_t_test, signed_rank_test
from qkan.analysis.metrics import METRICS
from qkan.analysis.statistics import Interval, PairedTest
from qkan.experiments.kacq_heart_comparison import (
    BASELINE,
    DRAWS,
    ROPE,
    WHOLE,
    Comparison,
    best,
    by_fold,
    compare,
    difference,
    interval,
    reading,
)
from qkan.experiments.kacq_heart_published import BARS, PUBLISHED, accuracy_interval
from qkan.experiments.kacq_heart_results import Entry, Outcome, Table
from qkan.experiments.written import markdown_table, p_value

#: Metrics of the first table; the second has the rest.
LEADING = ("accuracy", "roc_auc", "log_loss", "ece")
#: What each ablation and control changes in the whole network.
CHANGES = {
    "kacq-no-quantum": "no quantum channel",
    "kacq-angle": "angle instead of amplitude embedding",
    "kacq-lstm": "LSTM instead of BiLSTM",
    "kacq-other-depth": "one BiLSTM more (compact) or fewer (published size)",
    "kacq-no-bilstm": "no BiLSTM",
    "kacq-mlp-classical": "MLP layers in the classical channel",
    "kacq-mlp-quantum": "MLP layers in the quantum channel",
    "kacq-mlp": "MLP layers in both channels",
    "kacq-no-dropout": "no dropout",
    "kacq-identity": "identity instead of the circuits",
    "kacq-mlp-core": "small MLP instead of the circuits",
    "kacq-random": "random circuits that are not trained",
}

#: How intervals and tests are computed, as the report says it.
METHODS = (
    "Brackets are 95 % intervals. Folds share training rows, so intervals and p-values of means over folds allow "
    'for it by the corrected resampled t-test (Nadeau and Bengio 2003). "p" is that of the difference; "Holm" and '
    '"Bonferroni" are p corrected for the number of models in the table. Three numbers between slashes are the '
    f"probabilities that a model is worse by more than {ROPE:g}, within {ROPE:g}, or better by more than {ROPE:g} of"
    ' accuracy (in the table of scores to reach, of the metric of the row): "correlated t" by the Bayesian '
    'correlated t-test (Corani and Benavoli 2015), "signed rank" by the Bayesian signed-rank test (Benavoli et al. '
    "2014). The latter takes folds as independent, so on folds of one data set it is too sure; it is meant for "
    "several data sets and is shown beside the other for that reason. Intervals are not corrected for the number of"
    " models or metrics, and like all t-intervals may pass the end of a metric's range. Precision, recall and F1 "
    "are macro averages; a lower log loss, Brier score or ECE is better, and ECE is above 0 even for perfect "
    "calibration. Seconds are the median of training one fold on one core, with other work beside it. The sizes of "
    "the compact networks were chosen among six on 60 % of the rows of the four sites and of breast cancer "
    "(`benchmarks/kacq_sizes.py`); folds test on those rows too, which may favour these networks a little."
)


def span(found: Interval | PairedTest, sign: str = "") -> str:
    """Mean with its interval; ``sign`` is "+" for differences.

    Args:
        found: an interval, or a test with one.
        sign: "+" writes the sign of positive numbers, as for differences.
    """
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def bars(outcome: Outcome) -> str:
    """The scores to reach, and how far from each are the KACQ model named beforehand and the best one."""
    rows = []
    for name, baselines in BARS.items():
        table = outcome.find(name)
        named, best_one = (None, None) if table is None else (table.find(WHOLE), best(table, "KACQ"))
        entries = {entry.model: entry for entry in (named, best_one) if entry is not None}
        for key in ("accuracy", "roc_auc"):
            rival = max(baselines, key=lambda model: baselines[model][key])
            rows += [_bar(table, own, key, rival, baselines[rival][key]) for own in entries.values() if table]
    header = ["data", "metric", "bar", "model", "score", "reached", "minus the same baseline on the same folds"]
    return markdown_table([*header, "reading", "correlated t"], rows) if rows else ""


def _bar(table: Table, own: Entry, key: str, rival: str, bar: float) -> list[str]:
    reached = "yes" if own.mean(key) >= bar else "no"
    start = [table.title, METRICS[key][0], f"{bar:.3f} ({rival})", own.model, span(interval(table, own, key)), reached]
    other = table.find(rival)
    if other is None:
        return [*start, "", "", ""]
    test = difference(table, own, other, key)
    found = correlated_t_test(own.values(key), other.values(key), table.test_share, ROPE)
    return [*start, span(test, "+"), reading(test), _posterior(found)]


def groups(table: Table) -> str:
    """The best model of each group beside the baseline."""
    baseline, rows = table.find(BASELINE), []
    for group in dict.fromkeys(entry.group for entry in table.entries):
        own = [entry for entry in table.entries if entry.group == group]
        entry = max(own, key=lambda entry: entry.mean("accuracy"))
        cells = [group, str(len(own)), entry.model]
        cells += [span(interval(table, entry, key)) for key in ("accuracy", "roc_auc")]
        if baseline is None or entry is baseline:
            rows.append([*cells, ""])
        else:
            rows.append([*cells, span(difference(table, entry, baseline, "accuracy"), "+")])
    header = ["group", "models", "best by accuracy", "accuracy", "ROC-AUC", f"accuracy minus {BASELINE}"]
    return markdown_table(header, rows)


def scores(table: Table) -> tuple[str, str]:
    """Two tables of all models by accuracy: parameters, time and the leading metrics; the other metrics."""
    entries = sorted(table.entries, key=lambda entry: entry.mean("accuracy"), reverse=True)
    rest = [key for key in METRICS if key not in LEADING]
    first, second = [], []
    for entry in entries:
        costs = [_count(entry, "parameters"), _count(entry, "epochs"), f"{np.median(entry.values('seconds')):.2f}"]
        first.append([entry.model, entry.group, *costs, *(span(interval(table, entry, key)) for key in LEADING)])
        second.append([entry.model, *(span(interval(table, entry, key)) for key in rest)])
    header = ["model", "group", "parameters", "epochs", "seconds", *(METRICS[key][0] for key in LEADING)]
    return markdown_table(header, first), markdown_table(["model", *(METRICS[key][0] for key in rest)], second)


def _count(entry: Entry, key: str) -> str:
    """Median over folds of a count that only some models have; levels met in training can change it."""
    known = [value for value in entry.values(key) if value is not None]
    return f"{round(float(np.median(known))):,}" if known else ""


def comparisons(found: Sequence[Comparison]) -> str:
    """Models beside another, best first."""
    rows = []
    for one in sorted(found, key=lambda one: one.test.mean, reverse=True):
        p = [p_value(value) for value in (one.test.p, one.holm, one.bonferroni)]
        bayes = [_posterior(one.correlated), _posterior(one.signed_rank)]
        rows.append([one.entry.model, span(one.test, "+"), *p, *bayes, span(one.auc, "+"), p_value(one.auc_holm)])
    tests = ["accuracy difference", "p", "Holm", "Bonferroni", "correlated t", "signed rank"]
    return markdown_table(["model", *tests, "ROC-AUC difference", "Holm (ROC-AUC)"], rows)


def ablations(table: Table) -> str:
    """Does each part help: every ablation and control beside the whole network, and a sentence that sums up."""
    whole = table.find(WHOLE)
    changed = [entry for entry in table.entries if entry.group in ("ablation", "control")]
    if whole is None or not changed:
        return ""
    found, rows = compare(table, whole, changed), []
    for one in sorted(found, key=lambda one: one.test.mean):
        cells = [one.entry.model, one.entry.group, CHANGES.get(one.entry.model, ""), _count(one.entry, "parameters")]
        tests = [span(one.test, "+"), p_value(one.test.p), p_value(one.holm), _posterior(one.correlated)]
        rows.append([*cells, *tests, span(one.auc, "+"), p_value(one.auc_holm)])
    tests = ["accuracy difference", "p", "Holm", "correlated t", "ROC-AUC difference", "Holm (ROC-AUC)"]
    return f"{verdict(found)}\n\n" + markdown_table(["model", "group", "change", "parameters", *tests], rows)


def verdict(found: Sequence[Comparison]) -> str:
    """Which changes make a difference of accuracy or ROC-AUC after Holm's correction."""
    parts = []
    for what, worse in (("lower", True), ("higher", False)):
        names = [
            one.entry.model
            for one in found
            if (one.holm < 0.05 and (one.test.mean < 0) == worse)
            or (one.auc_holm < 0.05 and (one.auc.mean < 0) == worse)
        ]
        parts.append(f"{what} for {', '.join(names)}" if names else f"{what} for none")
    return (
        f"A negative difference means that the change costs accuracy. Of {len(found)} changes to {WHOLE}, accuracy or "
        f"ROC-AUC (each after Holm's correction, at 0.05) is {' and '.join(parts)}; the others cannot be told from "
        f"{WHOLE} on these folds, which does not show that they are equal."
    )


def sites(table: Table) -> str:
    """Leave one site out: accuracy and ROC-AUC on each held-out site, the means, and beside the baseline."""
    baseline = table.find(BASELINE)
    names = list(by_fold(table.entries[0], "accuracy"))
    rows = []
    for entry in sorted(table.entries, key=lambda entry: np.mean(list(by_fold(entry, "accuracy").values())))[::-1]:
        accuracy, auc = by_fold(entry, "accuracy"), by_fold(entry, "roc_auc")
        cells = [f"{_exact(entry, site, accuracy[site])} / {auc[site]:.3f}" for site in names]
        means = [f"{np.mean(list(values.values())):.3f}" for values in (accuracy, auc)]
        rows.append([entry.model, entry.group, *cells, *means, *_over_sites(entry, baseline)])
    tests = [f"minus {BASELINE}", "signed rank"]
    return markdown_table(["model", "group", *names, "mean accuracy", "mean ROC-AUC", *tests], rows)


def _exact(entry: Entry, fold: str, accuracy: float) -> str:
    """Accuracy on a fold with its exact interval."""
    rows = next(run["test_rows"] for run in entry.runs if run["fold"] == fold)
    low, high = accuracy_interval(accuracy, rows)
    return f"{accuracy:.3f} [{low:.3f}, {high:.3f}]"


def _over_sites(entry: Entry, baseline: Entry | None) -> tuple[str, str]:
    if baseline is None or entry.model == baseline.model:
        return "", ""
    own, other = (list(by_fold(one, "accuracy").values()) for one in (entry, baseline))
    return f"{np.mean(own) - np.mean(other):+.3f}", _posterior(signed_rank_test(own, other, ROPE, DRAWS))


def published(table: Table) -> str:
    """One split of the file that reveals its label, beside the figures of the notebooks."""
    rows = []
    for entry in sorted(table.entries, key=lambda entry: entry.mean("accuracy"), reverse=True):
        fold = entry.runs[0]["fold"]
        cells = [entry.model, entry.group, str(entry.runs[0]["test_rows"])]
        cells.append(_exact(entry, fold, by_fold(entry, "accuracy")[fold]))
        cells += [f"{entry.mean(key):.3f}" for key in METRICS if key != "accuracy"]
        rows.append(cells + _notebook(entry.model))
    header = [
        "model",
        "group",
        "test rows",
        *(label for label, _ in METRICS.values()),
        "notebook accuracy",
        "notebook ROC-AUC",
    ]
    return markdown_table([*header, "notebook test rows"], rows)


def _notebook(model: str) -> list[str]:
    known = PUBLISHED.get(model)
    if known is None:
        return ["", "", ""]
    low, high = known.interval
    auc = "" if known.roc_auc is None else f"{known.roc_auc:.3f}"
    return [f"{known.accuracy:.3f} [{low:.3f}, {high:.3f}]", auc, str(known.test_rows)]


def _posterior(found: Posterior) -> str:
    return f"{found.worse:.2f} / {found.equal:.2f} / {found.better:.2f}"
