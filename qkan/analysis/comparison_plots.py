"""Pictures that compare many models. Every function returns a matplotlib Figure and shows or writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qkan.analysis.bayesian import Posterior
from qkan.analysis.plots import _plain
from qkan.analysis.statistics import Interval, friedman
from qkan.errors import ShapeError

#: Of groups, in the order in which they are given: Okabe and Ito's, which readers with colour blindness tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#606060", "#56b4e9", "#000000")
LINE = 0.19
"""Height of one model's line in inches: room for a name at 8 points."""


def ranking(
    intervals: Mapping[str, Interval],
    groups: Mapping[str, str],
    label: str,
    *,
    baseline: str | None = None,
    larger: bool = True,
    title: str = "",
) -> Figure:
    """Mean and 95 % interval of every model, best on top.

    Args:
        intervals: model -> mean and interval.
        groups: model -> group, which gives the colour.
        label: of the axis.
        baseline: a model whose mean is drawn as a line across.
        larger: whether larger values are better.
        title: of the picture.
    """
    order = sorted(intervals, key=lambda name: intervals[name].mean, reverse=larger)
    axes = _list_axes(order, title)
    colors = _colors(groups)
    for place, name in enumerate(order):
        own = intervals[name]
        axes.plot([own.low, own.high], [place, place], color=colors[groups[name]], lw=1.4, alpha=0.7)
        axes.plot(own.mean, place, "o", ms=4, color=colors[groups[name]])
    if baseline is not None:
        axes.axvline(intervals[baseline].mean, color="0.35", lw=0.9, ls="--", zorder=0)
    axes.set_xlabel(label)
    axes.grid(axis="x", color="0.92", zorder=-1)
    _legend(axes, colors, {} if baseline is None else {f"{_plain(baseline)}, mean": "--"})
    return axes.figure


def critical_difference(
    scores: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    *,
    p_values: np.ndarray | None = None,
    level: float = 0.05,
    larger: bool = True,
    title: str = "",
) -> Figure:
    """Average ranks, with bars that join models which are not told apart (Demšar, JMLR 7, 1 (2006)).

    A list instead of the usual axis with names at both sides, so that 50 names stay legible. A bar spans neighbours in
    rank every two of which are not told apart, as long as it can be. Two models without a common bar may still not be
    told apart, if one between them in rank is told apart from either: read single pairs from the p-values.

    Args:
        scores: model -> n scores, fold by fold.
        groups: model -> group, which gives the colour.
        p_values: (models, models) in the order of ``scores``; by default pairs are told apart by Nemenyi's test at 5 %.
        level: p-values below it tell two models apart.
        larger: whether larger scores are better.
        title: of the picture.

    Raises:
        ShapeError: ``p_values`` does not fit the models, or :func:`qkan.analysis.statistics.friedman` cannot rank them.
    """
    found = friedman(scores, larger)
    names, ranks = list(scores), np.array([found.ranks[name] for name in scores])
    if p_values is None:
        alike = np.abs(ranks[:, None] - ranks) <= found.critical_difference
        rule = f"joined: ranks within Nemenyi's critical difference, {found.critical_difference:.2f}"
    else:
        if p_values.shape != (len(names), len(names)):
            raise ShapeError(f"p_values of shape {p_values.shape} do not fit {len(names)} models.")
        alike = p_values >= level
        rule = f"joined: not told apart at {level:g}"
    order = np.argsort(ranks, kind="stable")
    axes = _list_axes([names[i] for i in order], title)
    colors = _colors(groups)
    for place, i in enumerate(order):
        axes.plot(ranks[i], place, "o", ms=4.5, color=colors[groups[names[i]]])
        axes.plot([0, ranks[i]], [place, place], color="0.9", lw=0.8, zorder=0)
    bars = cliques(alike[np.ix_(order, order)])
    width = 0.025 * len(names)
    for column, (start, end) in enumerate(bars):
        x = len(names) + width * (column + 2)
        axes.plot([x, x], [start - 0.25, end + 0.25], color="0.2", lw=2, solid_capstyle="butt")
    axes.set(xlabel=f"average rank over {len(next(iter(scores.values())))} folds (1 is best)")
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= len(names)])  # none below the bars
    axes.set_xlim(0.5, len(names) + width * (len(bars) + 3))
    _legend(axes, colors, {rule: "-"} if bars else {})
    return axes.figure


def cliques(alike: np.ndarray) -> list[tuple[int, int]]:
    """Longest runs of two or more neighbours every two of which are alike, as (first, last), first by first.

    Args:
        alike: (n, n) boolean and symmetric, in order of rank.
    """
    found: list[tuple[int, int]] = []
    for start in range(len(alike)):
        end = start
        while end + 1 < len(alike) and alike[start : end + 1, end + 1].all():
            end += 1
        if end > start and (not found or end > found[-1][1]):
            found.append((start, end))
    return found


def posteriors(found: Mapping[str, Posterior], against: str, rope: float, title: str = "") -> Figure:
    """Bars of the probabilities that each model is worse than, practically equal to, or better than another.

    Args:
        found: model -> probabilities; drawn in order of P(better) - P(worse).
        against: name of the other model.
        rope: half-width of the region of practical equivalence, for the legend.
        title: of the picture.
    """
    order = sorted(found, key=lambda name: found[name].worse - found[name].better)
    axes = _list_axes(order, title)
    parts = (("worse", "#d55e00"), ("equal", "#d8d8d8"), ("better", "#0072b2"))
    left = np.zeros(len(order))
    for part, color in parts:
        width = np.array([getattr(found[name], part) for name in order])
        text = f"within {rope:g}" if part == "equal" else f"{part} by more than {rope:g}"
        axes.barh(range(len(order)), width, left=left, height=0.8, color=color, label=text)
        left += width
    axes.set(xlim=(0, 1), xlabel=f"probability, against {_plain(against)}")
    axes.figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return axes.figure


def _list_axes(names: Sequence[str], title: str) -> Any:
    """Axes with one line per name, the first on top."""
    axes = Figure(figsize=(7.4, LINE * len(names) + 1.7), layout="constrained").subplots()
    axes.set_yticks(range(len(names)), [_plain(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(_plain(title), fontsize=10)
    return axes


def _colors(groups: Mapping[str, str]) -> dict[str, str]:
    """Group -> colour, in order of first appearance; colours repeat after eight groups."""
    return {group: COLORS[i % len(COLORS)] for i, group in enumerate(dict.fromkeys(groups.values()))}


def _legend(axes: Any, colors: Mapping[str, str], lines: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ls="", ms=5, color=color, label=_plain(g)) for g, color in colors.items()]
    marks += [Line2D([], [], color="0.3", ls=style, label=text) for text, style in lines.items()]
    axes.figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
