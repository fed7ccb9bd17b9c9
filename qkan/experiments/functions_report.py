"""What the function-fitting experiment found: tables, a picture, and the sentences of the README."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from qkan.analysis.statistics import Interval, mean_interval
from qkan.data.function_suites import FORMULAS, SUITES
from qkan.experiments.environment import versions
from qkan.experiments.functions import (
    BASELINE,
    KINDS,
    NODES,
    REFERENCE,
    SETTINGS,
    Comparison,
    Entry,
    Outcome,
    Plan,
    Protocol,
    compare,
    power,
)
from qkan.experiments.written import json_by_entry, markdown_table, p_value
from qkan.saving import write_atomic

#: Differences with a corrected p-value below it are called differences.
LEVEL = 0.05
#: Of the picture.
TICKS = (0.1, 0.2, 0.5, 1, 2, 5)
#: Names of the suites, as they are written in the report.
SUITE_TITLES = {"feynman": "Feynman formulas", "special": "special functions"}


def save(outcome: Outcome, folder: Path, command: str, name: str = "functions") -> list[Path]:
    """Write what an outcome shows as ``name``.md, .json and .png into ``folder``; return their paths.

    Args:
        outcome: what was run.
        folder: where to write.
        command: the command line that makes the same.
        name: of the files.
    """
    from qkan.report import png

    found = {setting: compare(outcome, setting) for setting in SETTINGS}
    content = {
        f"{name}.md": markdown(outcome, found, command, f"{name}.png").encode(),
        f"{name}.json": json_by_entry(to_json(outcome, command)).encode(),
        f"{name}.png": png(figure(outcome)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, written in content.items():
        write_atomic(folder / file, written)
    return [folder / file for file in content]


def to_json(outcome: Outcome, command: str) -> dict[str, Any]:
    """The command, plan, versions and results of an outcome, in JSON types; an entry's runs are columns by key."""
    columns = [
        asdict(entry) | {"runs": {key: [run[key] for run in entry.runs] for key in entry.runs[0]}}
        for entry in outcome.entries
    ]
    return {"command": command, "versions": versions(), "plan": asdict(outcome.plan), "entries": columns}


def from_json(content: Mapping[str, Any]) -> Outcome:
    """The outcome that :func:`to_json` was given."""
    plan = content["plan"] | {"protocol": Protocol(**content["plan"]["protocol"])}
    plan |= {key: tuple(plan[key]) for key in ("functions", "kinds")}
    entries = []
    for one in content["entries"]:
        columns = one["runs"]
        runs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        entries.append(Entry(**{**one, "runs": runs}))
    return Outcome(Plan(**plan), entries)


def markdown(outcome: Outcome, found: Mapping[str, Comparison], command: str, picture: str) -> str:
    """The whole text.

    Args:
        outcome: what was run.
        found: comparisons by setting.
        command: the command line that makes the same.
        picture: file name of the figure.
    """
    parts = ["# Functions fitted at equal parameters and at equal FLOPs", _protocol(outcome, command)]
    parts += [f"![errors beside the MLP's]({picture})"]
    if len(outcome.plan.functions) > 1:
        parts += ["## What was found", sentences(outcome, found)]
    for setting in SETTINGS:
        parts += [f"## At equal {setting}", _summary_table(outcome, setting, found[setting])]
        if found[setting].tests:
            parts += [f"### Pairs at equal {setting}", PAIRS, _pair_table(outcome, found[setting])]
        parts += [f"### Function by function at equal {setting}", CELLS, _function_table(outcome, setting)]
    parts += ["## Models", _kind_table(outcome), "## Sizes", SIZES, _size_table(outcome)]
    parts += ["## Formulas", FORMULA_SOURCES, _formula_table(outcome)]
    return "\n\n".join(parts) + "\n"


#: What the tables of pairs hold.
PAIRS = (
    "The error of the model of the row divided by that of the column, geometric mean over functions, and in brackets "
    "the p-value of the paired t-test of the logarithms, the functions being the cases, corrected by Holm's method for "
    "all pairs of the table."
)
#: What the cells of the tables of errors hold.
CELLS = (
    "Geometric mean of the test error over seeds, and the factor by which its 95 % interval extends to both sides "
    "(t-interval of the logarithms). The smallest error of each row is bold."
)
#: What the tables of sizes hold.
SIZES = (
    "Width (hidden nodes of a KAN, units of each of two hidden layers of an MLP): trainable parameters / FLOPs of a "
    "row."
)
#: Where the functions are from.
FORMULA_SOURCES = (
    "Feynman formulas, numbers and ranges: the published table of AI Feynman (Udrescu and Tegmark 2020), units kept. "
    "Special functions: those of KANbeFair (arXiv 2407.16674), on ranges of our own for Bessel functions (themselves, "
    "where KANbeFair takes derivatives on the unit square, two of them unbounded) and for the spherical harmonic."
)


def _protocol(outcome: Outcome, command: str) -> str:
    plan, rows = outcome.plan, outcome.plan.protocol
    data = (
        f"{rows.train} training, {rows.validation} validation and {rows.test} test rows, uniform in the ranges of the "
        "variables and without noise; inputs scaled to [-1, 1] by the ranges, labels by mean and standard deviation of "
        "the training rows, the unit of all errors (root mean squares)."
    )
    training = (
        f"Every model has the same training: {rows.steps} steps of L-BFGS with up to 20 iterations each, all rows at "
        "once, a strong-Wolfe line search and learning rate 1, so that there is no rate to be tuned; stopped after "
        f"{rows.patience} steps without a lower validation error, the best step kept. Test rows are looked at once, "
        f"after training. {plan.seeds} seeds, each with rows and initial values of its own; the rows are the same for "
        "all models."
    )
    sizes = (
        "Only widths are chosen: such that the number of trainable parameters, or of FLOPs, is nearest to that of "
        f"a {KINDS[REFERENCE].title} with {NODES} hidden nodes. All else is fixed (see Models). Beforehand, on "
        "validation rows of I.6.2b and jv with a seed that is not among these, four alternatives were compared, and "
        "the better kept: one or two hidden layers of the MLPs (two), grids [-2, 2] or [-3, 3] of their splines (the "
        "first), [-2, 2] or [-1, 1] of the RBF KAN (the first), power-law or variance initialisation of the B-spline "
        "KAN (the first)."
    )
    costs = (
        "FLOPs are all arithmetic of one row in a forward pass as this package does it "
        "(`qkan.counting.row_flops`): features once per input, coefficients known beforehand. The rule of KANbeFair, "
        "which runs the spline recursion on every edge, counts more for splines; it has a column of its own. Seconds "
        "are medians of training on one core of a shared machine."
    )
    once = {(entry.function, entry.kind, entry.width): entry.runs for entry in outcome.entries}  # some serve twice
    full = [run["steps"] == rows.steps for runs in once.values() for run in runs]
    budget = (
        f"{sum(full)} of {len(full)} runs used all steps and might have gone on improving: errors are what the budget "
        "reaches, not what the models could represent."
    )
    limits = "One optimiser, one budget, small networks and noise-free rows: elsewhere models may rank otherwise."
    return f"Made by `{command}`. {data} {training}\n\n{sizes} {costs}\n\n{budget} {limits}"


def _span(values: list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def _geometric(entries: list[Entry]) -> Interval:
    """Over functions, of the means over seeds."""
    logs = [sum(entry.logs()) / len(entry.runs) for entry in entries]
    return power(mean_interval(logs) if len(logs) > 1 else Interval(logs[0], math.nan, math.nan))


def _summary_table(outcome: Outcome, setting: str, found: Comparison) -> str:
    suites = [s for s in SUITES if any(FORMULAS[name].suite == s for name in outcome.plan.functions)]
    header = ["model", "parameters", "FLOPs", "by KANbeFair's rule", "error, all"]
    header += [*(f"error, {SUITE_TITLES[s]}" for s in suites), "mean rank", "smallest error", "seconds", "diverged"]
    first = best_counts(outcome, setting)
    rows = []
    for kind in outcome.plan.kinds:
        own = outcome.of(setting, kind)
        runs = [run for entry in own for run in entry.runs]
        published = [entry.published for entry in own if entry.published is not None]
        rows.append(
            [
                KINDS[kind].title,
                _span([entry.parameters for entry in own]),
                _span([entry.flops for entry in own]),
                _span(published) if published else "",
                f"{_geometric(own).mean:.2e}",
                *(f"{_geometric([e for e in own if FORMULAS[e.function].suite == s]).mean:.2e}" for s in suites),
                "" if found.ranking is None else f"{found.ranking.ranks[kind]:.2f}",
                f"{first[kind]} of {len(own)}",
                f"{median(run['seconds'] for run in runs):.2f}",
                f"{sum(run['diverged'] for run in runs)} of {len(runs)}",
            ]
        )
    text = markdown_table(header, rows)
    if found.ranking is None:
        return text
    return (
        f"{text}\n\nGeometric means over functions. Friedman's test that all models rank alike: p = "
        f"{found.ranking.p:.1e}; mean ranks that differ by more than {found.ranking.critical_difference:.2f} are told "
        f"apart by Nemenyi's test at 5 %."
    )


def best_counts(outcome: Outcome, setting: str) -> dict[str, int]:
    """On how many functions of an outcome each model has the smallest mean error in a setting."""
    scores = outcome.scores(setting)
    found = dict.fromkeys(scores, 0)
    for place in range(len(outcome.plan.functions)):
        found[min(scores, key=lambda kind: scores[kind][place])] += 1
    return found


def _pair_table(outcome: Outcome, found: Comparison) -> str:
    kinds = outcome.plan.kinds
    rows = []
    for first in kinds:
        cells = []
        for second in kinds:
            if first == second:
                cells.append("")
                continue
            ratio, p = found.ratio(first, second)
            cells.append(f"{ratio.mean:.2f} ({p_value(p)})")
        rows.append([KINDS[first].title, *cells])
    return markdown_table(["", *(KINDS[kind].title for kind in kinds)], rows)


def _function_table(outcome: Outcome, setting: str) -> str:
    columns = {kind: outcome.of(setting, kind) for kind in outcome.plan.kinds}
    rows = []
    for place, name in enumerate(outcome.plan.functions):
        found = {kind: entries[place].interval() for kind, entries in columns.items()}
        best = min(found, key=lambda kind: found[kind].mean)
        cells = []
        for kind, own in found.items():
            factor = "" if math.isnan(own.high) else f" ×/÷ {own.high / own.mean:.2f}"
            text = f"{own.mean:.1e}"
            cells.append((f"**{text}**" if kind == best else text) + factor)
        rows.append([name, *cells])
    return markdown_table(["function", *(KINDS[kind].title for kind in columns)], rows)


def _kind_table(outcome: Outcome) -> str:
    return markdown_table(["model", "fixed"], [[KINDS[kind].title, KINDS[kind].options] for kind in outcome.plan.kinds])


def _size_table(outcome: Outcome) -> str:
    inputs = {len(FORMULAS[name].variables): name for name in reversed(outcome.plan.functions)}
    rows = []
    for setting in SETTINGS:
        for kind in outcome.plan.kinds:
            own = {entry.function: entry for entry in outcome.of(setting, kind)}
            sizes = [own[inputs[n]] for n in sorted(inputs)]
            cells = [f"{e.width}: {e.parameters:,} / {e.flops:,}" for e in sizes]
            rows.append([KINDS[kind].title, setting, *cells])
    return markdown_table(["model", "equal", *(f"{n} inputs" for n in sorted(inputs))], rows)


def _formula_table(outcome: Outcome) -> str:
    rows = []
    for name in outcome.plan.functions:
        formula = FORMULAS[name]
        ranges = ", ".join(f"{key} [{low:.3g}, {high:.3g}]" for key, (low, high) in formula.variables.items())
        text = formula.text.replace("|", "\\|")
        rows.append([name, SUITE_TITLES[formula.suite], text, ranges])
    return markdown_table(["name", "suite", "formula", "variables"], rows)


def sentences(outcome: Outcome, found: Mapping[str, Comparison] | None = None) -> str:
    """The README's sentences: who is best in each setting, and what circuits are beside a Fourier series and an MLP.

    Args:
        outcome: what was run, on two functions or more.
        found: comparisons by setting; ``None`` makes them.
    """
    found = found or {setting: compare(outcome, setting) for setting in SETTINGS}
    return " ".join(_setting_sentences(outcome, setting, found[setting]) for setting in SETTINGS)


def _setting_sentences(outcome: Outcome, setting: str, found: Comparison) -> str:
    means = {kind: _geometric(outcome.of(setting, kind)).mean for kind in outcome.plan.kinds}
    best, *others = sorted(means, key=means.__getitem__)
    alike = [KINDS[kind].title for kind in others if found.ratio(kind, best)[1] >= LEVEL]
    told = f"cannot be told apart from {_listed(alike)}" if alike else "is told apart from every other model"
    parts = [
        f"Over {len(outcome.plan.functions)} functions at equal {setting}, {KINDS[best].title} has the smallest error "
        f"({means[best]:.1e} of a function's standard deviation, geometric mean); it {told}."
    ]
    own = [kind for kind in means if kind.startswith("daruan")]
    beside = [_beside(found, own, rival) for rival in ("fourier", BASELINE) if own and rival in means]
    if beside:
        parts.append(f"DARUAN's errors are, by encoding, {'; and '.join(beside)}.")
    return " ".join(parts)


def _beside(found: Comparison, own: list[str], rival: str) -> str:
    """Errors of circuits divided by those of another model."""
    ratios = {kind: found.ratio(kind, rival) for kind in own}
    marked = all(p >= LEVEL for _, p in ratios.values())
    words = []
    for kind, (ratio, p) in ratios.items():
        mark = " (not told apart)" if p >= LEVEL and not marked else ""
        words.append(f"{kind.removeprefix('daruan-')} {ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]{mark}")
    end = " (not told apart)" if marked else ""
    return f"{_listed(words)} times those of {KINDS[rival].title}{end}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def figure(outcome: Outcome) -> Any:
    """Errors divided by those of the MLP, a dot per function, one panel per setting, as a matplotlib figure."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.2 * len(SETTINGS), 0.42 * len(outcome.plan.kinds) + 1.4), layout="constrained")
    panels = drawn.subplots(1, len(SETTINGS), squeeze=False, sharey=True)[0]
    colors = {"feynman": "#0072b2", "special": "#d55e00"}
    against = BASELINE if BASELINE in outcome.plan.kinds else outcome.plan.kinds[0]
    for panel, setting in zip(panels, SETTINGS, strict=True):
        scores = outcome.scores(setting)
        for place, kind in enumerate(scores):
            ratios = [10 ** (own - base) for own, base in zip(scores[kind], scores[against], strict=True)]
            for suite, color in colors.items():
                shown = [
                    ratio
                    for ratio, name in zip(ratios, outcome.plan.functions, strict=True)
                    if FORMULAS[name].suite == suite
                ]
                label = SUITE_TITLES[suite] if place == 0 else None
                panel.plot(shown, [place] * len(shown), ".", ms=6, alpha=0.6, color=color, label=label)
            panel.plot(math.prod(ratios) ** (1 / len(ratios)), place, "|", ms=16, mew=2, color="0.1")
        panel.axvline(1, color="0.5", lw=0.9, ls="--", zorder=0)
        panel.set_xscale("log")
        panel.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        panel.set_xticks([], minor=True)
        panel.set(xlabel=f"test error / that of {KINDS[against].title}", title=f"at equal {setting}")
    panels[0].set_yticks(range(len(outcome.plan.kinds)), [KINDS[kind].title for kind in outcome.plan.kinds])
    panels[0].invert_yaxis()
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return drawn
