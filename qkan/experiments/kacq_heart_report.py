"""What the heart-disease experiment found: tables, pictures, and the sentences of the README."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkan.analysis import comparison_plots
from qkan.analysis.metrics import METRICS
from qkan.analysis.statistics import pairwise
from qkan.experiments import kacq_heart_tables as tables
from qkan.experiments.environment import versions
from qkan.experiments.kacq_heart_comparison import (
    BASELINE,
    ROPE,
    WHOLE,
    Comparison,
    best,
    compare,
    difference,
    interval,
    reading,
)
from qkan.experiments.kacq_heart_results import Entry, Outcome, Table
from qkan.experiments.written import json_by_entry
from qkan.saving import write_atomic

#: Tables whose folds are not those of cross-validation within one data set.
SITES, LEAKING = "heart-sites", "published"
#: Kinds of pictures that a main table may have, in the order of the report.
PICTURES = ("ranking", "posterior", "ranks")
#: Packages that only this experiment needs; XGBoost comes as either of two.
BOOSTING = ("catboost", "lightgbm", "xgboost", "xgboost-cpu")
DIGITS = 5
"""Significant digits that are kept of every score: everything shown is worked out from the rounded scores."""


def save(outcome: Outcome, folder: Path, command: str, name: str = "kacq-heart") -> list[Path]:
    """Write ``name``.md, ``name``.json and the pictures into ``folder``; return their paths, the two texts first.

    Args:
        outcome: what was run.
        folder: where to write.
        command: the command line, for the text.
        name: of the files.
    """
    from qkan.report import png

    outcome = from_json(to_json(outcome, command))
    found = {table.name: _beside_baseline(table) for table in main_tables(outcome)}
    pictures = figures(outcome, found)
    files = {key: f"{name}-{key}.png" for key in pictures}
    content = {
        f"{name}.md": markdown(outcome, found, command, files).encode(),
        f"{name}.json": json_by_entry(to_json(outcome, command)).encode(),
        **{files[key]: png(figure) for key, figure in pictures.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, written in content.items():
        write_atomic(folder / file, written)
    return [folder / file for file in content]


def main_tables(outcome: Outcome) -> list[Table]:
    """Those of repeated cross-validation."""
    return [table for table in outcome.tables if table.name not in (SITES, LEAKING)]


def to_json(outcome: Outcome, command: str) -> dict[str, Any]:
    """Settings, environment and all scores fold by fold, in JSON types; an entry's runs are columns by key.

    Args:
        outcome: what was run.
        command: the command line.
    """
    return {
        "command": command,
        "versions": versions(*BOOSTING),
        "settings": outcome.settings,
        "tables": [
            {"name": one.name, "title": one.title, "test_share": one.test_share, "rows": one.rows}
            for one in outcome.tables
        ],
        "entries": [
            {
                "table": table.name,
                "model": entry.model,
                "group": entry.group,
                "runs": {key: [_rounded(run[key]) for run in entry.runs] for key in entry.runs[0]},
            }
            for table in outcome.tables
            for entry in table.entries
        ],
    }


def from_json(content: Mapping[str, Any]) -> Outcome:
    """The outcome that :func:`to_json` was given, with rounded scores."""
    entries: dict[str, list[Entry]] = {}
    for one in content["entries"]:
        columns = one["runs"]
        runs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        entries.setdefault(one["table"], []).append(Entry(one["model"], one["group"], runs))
    return Outcome([Table(**one, entries=entries[one["name"]]) for one in content["tables"]], content["settings"])


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def sentences(outcome: Outcome) -> str:
    """The README's sentences, one for the four sites and one for Cleveland, for those that were run."""
    found = []
    for name, place in (("heart", "On the four heart-disease sites"), ("cleveland", "On Cleveland alone")):
        table = outcome.find(name)
        own, rival = (None, None) if table is None else (best(table, "KACQ"), best(table, "classical"))
        if table is not None and own is not None and rival is not None:
            found.append(_sentence(table, place, own, rival))
    return " ".join(found)


def _sentence(table: Table, place: str, own: Entry, rival: Entry) -> str:
    accuracy, auc = (difference(table, own, rival, key) for key in ("accuracy", "roc_auc"))
    read = {
        "better": "is more accurate than",
        "worse": "is less accurate than",
        "not told apart": "cannot be told apart in accuracy from",
    }[reading(accuracy)]
    counts = {group: sum(entry.group == group for entry in table.entries) for group in ("KACQ", "classical")}
    return (
        f"{place} the best of {counts['KACQ']} KACQ models, `{own.model}` (accuracy "
        f"{tables.span(interval(table, own, 'accuracy'))}, ROC-AUC {tables.span(interval(table, own, 'roc_auc'))}), "
        f"{read} the best of {counts['classical']} classical models, `{rival.model}` "
        f"({tables.span(interval(table, rival, 'accuracy'))}, {tables.span(interval(table, rival, 'roc_auc'))}): the "
        f"differences, with 95 % intervals, are {tables.span(accuracy, '+')} and {tables.span(auc, '+')}."
    )


def summary(outcome: Outcome) -> str:
    """What was found, in Markdown, short enough for a screen; empty without a table of cross-validation."""
    parts = []
    if said := sentences(outcome):
        parts = [
            said,
            "Both models of each sentence are the best of their kind by accuracy, chosen after the fact, which favours "
            f"both; the tables also compare every model with {BASELINE}, named beforehand.",
        ]
    if bars := tables.bars(outcome):
        parts += [
            "The scores to reach are those of logistic regression and random forest over 5 × 10 folds of "
            'their own. "Reached" is about the mean alone; the last columns compare with the '
            f"same baseline on the folds of this experiment. {WHOLE} was named beforehand, the other model is the "
            "most accurate of KACQ after the fact.",
            bars,
        ]
    for table in main_tables(outcome):
        parts += [f"**{table.title}**, the best of each group:", tables.groups(table)]
    return "\n\n".join(parts)


def markdown(outcome: Outcome, found: Mapping[str, list[Comparison]], command: str, pictures: Mapping[str, str]) -> str:
    """The whole text; ``pictures`` are file names by the keys of :func:`figures`.

    Args:
        outcome: what was run.
        found: comparisons by table.
        command: the command line.
        pictures: file names by the keys of :func:`figures`.
    """
    parts = ["# Heart disease: KACQ-DCNN beside classical, quantum and hybrid classifiers", f"Made by `{command}`."]
    if found_short := summary(outcome):
        parts += ["## What was found", found_short, "## How to read the tables", tables.METHODS]
    for table in main_tables(outcome):
        own = {kind: pictures[key] for kind in PICTURES if (key := f"{table.name}-{kind}") in pictures}
        parts += [f"## {table.title}", *_section(table, found[table.name], own)]
    for table in outcome.tables:
        if table.name == SITES:
            parts += [f"## {table.title}", _SITES_TEXT, tables.sites(table)]
        elif table.name == LEAKING:
            parts += [f"## {table.title}", _LEAKING_TEXT, tables.published(table)]
    parts += ["## Protocol", f"```json\n{json.dumps(outcome.settings, indent=1)}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


_SITES_TEXT = (
    "Trained on three hospitals, tested on the fourth. Cells are accuracy, with its exact binomial interval, / "
    "ROC-AUC. Four hospitals are too few for an interval of the means, so no claim is made from them; the last "
    f"column is P(worse / equal / better) by more than {ROPE:g} of accuracy beside {BASELINE}, by the Bayesian "
    "signed-rank test over the hospitals. Switzerland has 8 healthy rows of 123: ROC-AUC is coarse there, and "
    "always saying ill is right in 93.5 %."
)
_LEAKING_TEXT = (
    "**This file reveals its label, so none of these scores says how well a model recognises disease.** Values "
    "missing at the hospitals were filled in by a rule that knew the diagnosis: in the 307 of 918 rows (33 %) where"
    " ST_Slope was missing, it is Up for every healthy row and Flat for every other, and FastingBS, ExerciseAngina "
    "and Oldpeak were filled in likewise. The published rules are kept to show what they give: one split, with "
    "other test rows for each group of models, and networks stopped by the test rows, which favours them. So models"
    " are not compared, metrics other than accuracy have no interval, and brackets are exact binomial intervals of "
    "the accuracy on the test rows, which do not allow for the selection. The last columns are figures of the "
    "published notebooks; there the hybrid networks were also tuned on the test rows, and the quantum networks "
    "(MERA, MPS, TTN) learned labels in another order than their rows, so that their figures mean nothing. Not the "
    "publication's are the recipe of training (batches of 64), 500 trees and a little shrinkage of QDA, the quantum "
    "networks' 11 coded columns instead of 18, and scales learnt from the training rows alone."
)


def _section(table: Table, found: list[Comparison], pictures: Mapping[str, str]) -> list[str]:
    first, second = tables.scores(table)
    parts = [f"{table.rows:,} rows. {len(table.entries)} models on {len(table.entries[0].runs)} common folds."]
    if "ranking" in pictures:
        parts.append(f"![accuracy of every model]({pictures['ranking']})")
    parts += ["### Scores", first, second]
    if found:
        parts += [f"### Beside {BASELINE}, named beforehand", tables.comparisons(found)]
        if "posterior" in pictures:
            parts.append(f"![probabilities beside {BASELINE}]({pictures['posterior']})")
    rival = best(table, "classical")
    if rival is not None and rival.model != BASELINE:
        text = "It was chosen by its mean on these folds, which favours it."
        beside = tables.comparisons(compare(table, rival, table.entries))
        parts += [f"### Beside {rival.model}, the best classical model after the fact", text, beside]
    elif rival is not None:
        parts.append(f"{BASELINE} is also the most accurate classical model on these folds.")
    if text := tables.ablations(table):
        parts += [f"### Does each part of {WHOLE} help?", text]
    if "ranks" in pictures:
        text = "Bars join neighbours in rank, no two of which differ by the corrected test after Holm over all pairs."
        parts += ["### Ranks over folds", text, f"![average ranks]({pictures['ranks']})"]
    return parts


def _beside_baseline(table: Table) -> list[Comparison]:
    baseline = table.find(BASELINE)
    return [] if baseline is None else compare(table, baseline, table.entries)


def figures(outcome: Outcome, found: Mapping[str, list[Comparison]]) -> dict[str, Any]:
    """Matplotlib figures by name: ranking, average ranks and posterior bars of every main table.

    Args:
        outcome: what was run.
        found: comparisons by table.
    """
    drawn = {}
    for table in main_tables(outcome):
        groups = {entry.model: entry.group for entry in table.entries}
        scores = {entry.model: entry.values("accuracy") for entry in table.entries}
        intervals = {entry.model: interval(table, entry, "accuracy") for entry in table.entries}
        rival = best(table, "classical")
        drawn[f"{table.name}-ranking"] = comparison_plots.ranking(
            intervals,
            groups,
            f"{METRICS['accuracy'][0]}, mean and 95 % interval",
            baseline=None if rival is None else rival.model,
            title=table.title,
        )
        if len(scores) > 2:
            p = pairwise(scores, table.test_share)
            title = f"{table.title}: ranks by accuracy"
            drawn[f"{table.name}-ranks"] = comparison_plots.critical_difference(scores, groups, p_values=p, title=title)
        if found[table.name]:
            beside = {one.entry.model: one.correlated for one in found[table.name]}
            title = f"{table.title}: accuracy"
            drawn[f"{table.name}-posterior"] = comparison_plots.posteriors(beside, BASELINE, ROPE, title)
    return drawn
