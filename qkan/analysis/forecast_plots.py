"""Pictures of forecasts. Every function returns a matplotlib Figure and shows or writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from qkan.analysis.intervals import Intervals, rolling_coverage
from qkan.analysis.plots import BLUE, GREY, ORANGE, _plain
from qkan.errors import ShapeError

_COLORS = (BLUE, ORANGE, "#4c9a6a", "#8b5fa8")


def forecast_intervals(
    time: np.ndarray, targets: np.ndarray, intervals: Sequence[Intervals], window: int = 50, title: str = ""
) -> Figure:
    """A band per method above, and their coverage over time below.

    Infinite intervals are left white above; they count as covering below. The grey band below is the central 95 % of
    the coverage of ``window`` independent targets at the level.

    Args:
        time: (N,) or (N, 1) times of the targets.
        targets: (N,) or (N, 1).
        intervals: one or more methods at one level, N intervals each.
        window: steps over which coverage is averaged; all N if they are fewer.
        title: above the picture.

    Raises:
        ShapeError: no intervals, or lengths differ.
    """
    time, targets = np.ravel(time), np.ravel(targets)
    if not intervals or len({len(one.lower) for one in intervals} | {len(time), len(targets)}) != 1:
        raise ShapeError(
            f"{len(time)} times, {len(targets)} targets and intervals of lengths "
            f"{[len(one.lower) for one in intervals]} do not fit; give at least one method, as many of each."
        )
    from scipy.stats import binom

    window = min(window, len(time))
    figure = Figure(figsize=(8.4, 2.4 + 1.5 * len(intervals)), layout="constrained")
    panels = figure.subplots(len(intervals) + 1, 1, sharex=True)
    below = panels[-1]
    level = intervals[0].level
    band = binom.ppf((0.025, 0.975), window, level) / window
    below.axhspan(*band, color=GREY, alpha=0.2, lw=0)
    below.axhline(level, color=GREY, lw=1, ls=":", label=f"level {100 * level:g} %")
    for panel, one, color in zip(panels[:-1], intervals, _COLORS * len(intervals), strict=False):
        bounded = np.isfinite(one.upper - one.lower)
        panel.fill_between(time, one.lower, one.upper, where=bounded, color=color, alpha=0.3, lw=0, step="mid")
        panel.plot(time, one.predictions, color=color, lw=1)
        panel.plot(time, targets, color="black", lw=0.7)
        covered = one.covered(targets)
        share = f"coverage {100 * covered.mean():.1f} %, median width {one.median_width:.3g}"
        panel.set_title(f"{one.method}: {share}", fontsize=9, loc="left")
        below.plot(time[window - 1 :], rolling_coverage(covered, window), color=color, lw=1.2, label=one.method)
    below.set(xlabel="time", ylim=(max(0.0, min(below.get_ylim()[0], band[0]) - 0.05), 1.02))
    below.set_title(f"Coverage of the last {window} steps", fontsize=9, loc="left")
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=len(intervals) + 1)
    if title:
        figure.suptitle(_plain(title), fontsize=11)
    return figure
