"""Pictures of a regressor on a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from qkan.analysis.intervals import Intervals
from qkan.analysis.plots import BLUE, GREY, _plain


def predicted_against_true(targets: np.ndarray, intervals: Intervals, name: str) -> Figure:
    """Predictions with their intervals over the true values; rows whose interval misses the value stand out.

    Args:
        targets: (rows,) true values.
        intervals: of the same rows.
        name: of the target, for the axes.
    """
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    covered = intervals.covered(targets)
    half = np.stack([intervals.predictions - intervals.lower, intervals.upper - intervals.predictions])
    for rows, color, label in ((covered, BLUE, "holds the value"), (~covered, "#c0392b", "misses it")):
        if rows.any():
            bars = half[:, rows] if np.isfinite(half).all() else None
            shown = f"{label} ({int(rows.sum())})"
            axes.errorbar(
                targets[rows], intervals.predictions[rows], yerr=bars, fmt="o", ms=3.5, lw=0.6, color=color, label=shown
            )
    ends = [min(targets.min(), intervals.predictions.min()), max(targets.max(), intervals.predictions.max())]
    axes.plot(ends, ends, color=GREY, lw=1, ls=":")
    axes.set(xlabel=f"true {_plain(name)}", ylabel=f"predicted {_plain(name)}")
    axes.set_title(f"{100 * intervals.level:g} % prediction intervals on test rows", fontsize=10)
    axes.legend(frameon=False)
    return figure


def importance(rows: Sequence[tuple[str, float, float]], count: int = 12) -> Figure:
    """Bars of the rise of the error when a column is shuffled.

    Args:
        rows: (column, rise, standard deviation) of every column, largest first.
        count: bars at most.
    """
    shown = list(rows[:count])[::-1]
    figure = Figure(figsize=(5.6, 0.28 * count + 1.0), layout="constrained")
    axes = figure.subplots()
    style = {"ecolor": GREY, "elinewidth": 1, "capsize": 2}
    places = range(len(shown))
    axes.barh(places, [rise for _, rise, _ in shown], color=BLUE, xerr=[std for *_, std in shown], error_kw=style)
    axes.set_yticks(places, [_plain(name) for name, *_ in shown])
    axes.set(xlabel="rise of the RMSE when the column is shuffled", title="What the prediction rests on")
    return figure
