"""What the QKAN-LSTM experiment found: tables, a picture, and what the published claim can mean."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qkan.experiments.environment import versions
from qkan.experiments.qkan_lstm import EQUAL, PUBLISHED, REFERENCE, Comparison, Entry, Outcome, compare
from qkan.experiments.written import markdown_table
from qkan.saving import write_atomic

#: Models, as they are written in the report.
NAMES = {"lstm": "LSTM", "gru": "GRU", "qlstm": "QLSTM", "qkan-lstm": "QKAN-LSTM", "hqkan-lstm": "HQKAN-LSTM"}
#: Of the published claim.
FEWER = 0.79


def save(outcome: Outcome, folder: Path, command: str, name: str = "qkan-lstm") -> list[Path]:
    """Write ``name``.md, .json and .png into ``folder``; return their paths.

    Args:
        outcome: what was run.
        folder: where to write.
        command: the command line, for the text.
        name: of the files.
    """
    from qkan.report import png

    comparisons = compare(outcome)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        f"{name}.json": json.dumps(to_json(outcome, comparisons, command), indent=1).encode(),
        f"{name}.md": markdown(outcome, comparisons, command, f"{name}.png").encode(),
        f"{name}.png": png(figure(outcome)),
    }
    for file, written in content.items():
        write_atomic(folder / file, written)
    return [folder / file for file in content]


def to_json(outcome: Outcome, comparisons: list[Comparison], command: str) -> dict[str, Any]:
    """All numbers, in JSON types.

    Args:
        outcome: what was run.
        comparisons: tests between models.
        command: the command line.
    """
    return {
        "command": command,
        "versions": versions(),
        "protocol": asdict(outcome.plan.protocol),
        "seeds": outcome.plan.seeds,
        "entries": [asdict(entry) for entry in outcome.entries],
        "baselines": outcome.baselines,
        "comparisons": [
            {
                "series": one.entry.series,
                "model": one.entry.model,
                "hidden": one.entry.hidden,
                "setting": one.setting,
                "difference": list(one.difference),
                "p": one.p,
            }
            for one in comparisons
        ],
    }


def markdown(outcome: Outcome, comparisons: list[Comparison], command: str, picture: str) -> str:
    """The whole text.

    Args:
        outcome: what was run.
        comparisons: tests between models.
        command: the command line.
        picture: file name of the figure.
    """
    plan = outcome.plan
    parts = [
        "# QKAN-LSTM beside LSTM, GRU, QLSTM and HQKAN-LSTM",
        f"Made by `{command}`. One step ahead from {plan.protocol.window} past values; 60 % training, 20 % validation, "
        f"20 % test in order of time, no window across a border; scaled by the training part to [-1, 1], the unit of "
        f"all errors below. AdamW, learning rate {plan.protocol.lr:g}, batch {plan.protocol.batch}, at most "
        f"{plan.protocol.epochs} epochs, stopped after {plan.protocol.patience} without a lower validation error, the "
        f"best epoch kept. Mean ± standard deviation over {plan.seeds} seeds of initialisation and batches. "
        "Hyperparameters were not tuned for any model.",
        f"![test error against parameters]({picture})",
    ]
    for series in plan.series:
        parts += [f"## {series}", _series_table(outcome, series)]
    parts += [
        "## Differences from the LSTM",
        f"Test errors of the model minus those of the LSTM with {EQUAL} hidden units, seed by seed; 95 % intervals and "
        "p-values by the paired t-test corrected for the data that seeds share (Nadeau and Bengio 2003), p-values then "
        "by Holm's method over all rows. The seeds share one split, so they say nothing about other stretches of a "
        "series.",
        _comparison_table(comparisons),
        "## What 79 % fewer parameters can mean",
        claim(outcome),
        "## Published figures",
        "The publication is arXiv 2512.05049. Its configuration is not public, so nothing here reproduces its tables.",
        _published_table(),
    ]
    return "\n\n".join(parts) + "\n"


def _series_table(outcome: Outcome, series: str) -> str:
    header = ["model", "hidden", "trainable", "frozen", "MSE", "MAE", "R²", "s/epoch", "compared at"]
    rows = []
    for entry in (e for e in outcome.entries if e.series == series):
        marks = ["equal hidden size"] if entry.hidden == EQUAL else []
        marks += ["equal parameters"] if entry is outcome.matched(series, entry.model) else []
        rows.append(
            [
                NAMES[entry.model],
                str(entry.hidden),
                f"{entry.trainable:,}",
                f"{entry.frozen:,}",
                *(_spread(entry, key) for key in ("mse", "mae")),
                f"{entry.mean('r2'):.4f} ± {entry.sd('r2'):.4f}",
                f"{entry.mean('seconds_per_epoch'):.3f}",
                ", ".join(marks),
            ]
        )
    for name, score in outcome.baselines[series].items():
        row = [name, "", str(score["trainable"]), "0", f"{score['mse']:.2e}", f"{score['mae']:.2e}"]
        rows.append([*row, f"{score['r2']:.4f}", "", "baseline"])
    return markdown_table(header, rows)


def _spread(entry: Entry, key: str) -> str:
    return f"{entry.mean(key):.2e} ± {entry.sd(key):.1e}"


def _comparison_table(comparisons: list[Comparison]) -> str:
    rows = []
    for one in comparisons:
        mean, low, high = one.difference
        interval = f"{mean:+.2e} [{low:+.2e}, {high:+.2e}]"
        model = f"{NAMES[one.entry.model]} ({one.entry.hidden})"
        rows.append([one.entry.series, model, f"{one.entry.trainable:,}", one.setting, interval, f"{one.p:.3f}"])
    return markdown_table(["series", "model (hidden)", "trainable", "setting", "MSE difference", "p"], rows)


def _published_table() -> str:
    return markdown_table(["data", "model", "figure", "known from"], [list(row) for row in PUBLISHED])


def claim(outcome: Outcome) -> str:
    """What "79 % fewer parameters" can mean, worked out from the measured errors."""
    series = outcome.plan.series[0]
    reference = outcome.find(series, REFERENCE, EQUAL).trainable
    equal = []
    for model in _claimants(outcome):
        own = outcome.find(series, model, EQUAL).trainable
        equal.append(f"{NAMES[model]} has {own:,} ({_change(own, reference)})")
    lines = [
        f"* **At equal hidden size** ({EQUAL}, with the read-out) the LSTM has {reference:,} trainable parameters, "
        f"{' and '.join(equal)}."
    ]
    for name in outcome.plan.series:
        lines.append(
            f"* **At equal error, {name}** (the smallest LSTM whose mean error is not larger). "
            + " ".join(_at_equal_error(outcome, name))
        )
        best = min(outcome.baselines[name].items(), key=lambda item: item[1]["mse"])
        lowest = min((e for e in outcome.entries if e.series == name), key=lambda e: e.mean("mse"))
        relation = "below" if best[1]["mse"] < lowest.mean("mse") else "above"
        lines.append(
            f"  The best baseline, {best[0]} with {best[1]['trainable']} parameters, has an error of "
            f"{best[1]['mse']:.1e}, {relation} that of the best network, {NAMES[lowest.model]} with {lowest.hidden} "
            f"hidden units ({lowest.mean('mse'):.1e})."
        )
    lines.append(_beside_larger_lstms(outcome))
    return "\n".join(lines)


def _beside_larger_lstms(outcome: Outcome) -> str:
    """Pairs with the published saving in which the LSTM is larger than its error needs."""
    found = []
    for series in outcome.plan.series:
        for model in _claimants(outcome):
            for entry in outcome.of(series, model):
                for lstm in outcome.of(series, REFERENCE):
                    saves = entry.trainable <= (1 - FEWER) * lstm.trainable
                    if saves and entry.mean("mse") <= lstm.mean("mse"):
                        change = _change(entry.trainable, lstm.trainable)
                        found.append(
                            f"{series}, {NAMES[model]} ({entry.hidden}; {entry.trainable:,}) beside LSTM "
                            f"({lstm.hidden}; {lstm.trainable:,}), {change}"
                        )
    if not found:
        return "* **Beside any LSTM tried**, a saving of 79 % at no larger error does not occur."
    pairs = "; ".join(found)
    return (
        f"* **Beside a larger LSTM**, whose size its own error does not justify, a saving of 79 % at no larger error "
        f"occurs: {pairs}."
    )


def _claimants(outcome: Outcome) -> list[str]:
    return [model for model in ("qkan-lstm", "hqkan-lstm") if model in outcome.plan.sizes]


def _at_equal_error(outcome: Outcome, series: str) -> list[str]:
    """For each size of the quantum models, the smallest LSTM that is at least as good."""
    lstms = sorted(outcome.of(series, REFERENCE), key=lambda entry: entry.trainable)
    sentences, reached = [], []
    for model in _claimants(outcome):
        for entry in outcome.of(series, model):
            rival = next((lstm for lstm in lstms if lstm.mean("mse") <= entry.mean("mse")), None)
            name = f"{NAMES[model]} ({entry.hidden}; {entry.trainable:,})"
            if rival is None:
                sentences.append(f"{name}: no LSTM tried is as good.")
                continue
            sentences.append(
                f"{name}: LSTM ({rival.hidden}; {rival.trainable:,}) is as good, "
                f"{_change(entry.trainable, rival.trainable)}."
            )
            if entry.trainable <= (1 - FEWER) * rival.trainable:
                reached.append(name)
    verdict = f"A saving of 79 % is reached by {', '.join(reached)}." if reached else "A saving of 79 % is not reached."
    return [*sentences, verdict]


def _change(own: int, reference: int) -> str:
    share = 100 * (own / reference - 1)
    return f"{abs(share):.0f} % {'more' if share >= 0 else 'fewer'}"


def figure(outcome: Outcome) -> Any:
    """Test error against trainable parameters, a panel per series, as a matplotlib figure."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(4.1 * len(outcome.plan.series), 3.8), layout="constrained")
    panels = drawn.subplots(1, len(outcome.plan.series), squeeze=False)[0]
    colors = dict(zip(NAMES, ("#1f5fa8", "#7f9fc8", "#8b5fa8", "#d9722e", "#4c9a6a"), strict=True))
    for panel, series in zip(panels, outcome.plan.series, strict=True):
        for model in outcome.plan.sizes:
            own = sorted(outcome.of(series, model), key=lambda entry: entry.trainable)
            sizes, means = [e.trainable for e in own], [e.mean("mse") for e in own]
            panel.plot(sizes, means, marker="o", ms=4, lw=1, color=colors[model], label=NAMES[model])
            for entry in own:
                values = entry.values("mse")
                panel.plot(len(values) * [entry.trainable], values, ".", ms=2.5, color=colors[model], alpha=0.5)
        for (name, score), style in zip(outcome.baselines[series].items(), ("--", ":"), strict=False):
            panel.axhline(score["mse"], color="0.4", lw=0.9, ls=style, label=name)
        panel.set(xscale="log", yscale="log", xlabel="trainable parameters", ylabel="test MSE", title=series)
        panel.legend(frameon=False, fontsize=6.5)
    return drawn
