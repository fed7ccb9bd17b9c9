"""Pictures of SHAP values. Every function returns a matplotlib Figure and shows or writes nothing.

Waterfall, dependence and decision plots are those of the package ``shap`` (Lundberg and Lee 2017, arXiv 1705.07874).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qkan.analysis.explain import Explanation
from qkan.analysis.plots import BLUE, GREY, ORANGE, _plain
from qkan.errors import OptionError, check_positive


def shown(value: Any) -> str:
    """A cell as short text: numbers with four digits, nothing as "missing"."""
    if pd.isna(value):
        return "missing"
    return f"{value:.4g}" if isinstance(value, (int, float, np.number)) else str(value)


def waterfall(explanation: Explanation, row: int, label: int, class_name: str, count: int = 10) -> Figure:
    """From the background's mean to one row's output, feature by feature, the largest contribution on top.

    Args:
        explanation: SHAP values.
        row: number of the explained row.
        label: number of the class.
        class_name: its name.
        count: features drawn one by one; the others share the lowest bar.
    """
    check_positive("count", count)
    own = explanation.values[row, :, label]
    order = np.argsort(-np.abs(own), kind="stable")
    single, rest = order[:count], order[count:]
    names = [f"{explanation.features[i]} = {shown(explanation.rows.iloc[row, i])}" for i in single]
    steps = own[single].tolist()
    if len(rest):
        names.append(f"{len(rest)} others")
        steps.append(float(own[rest].sum()))
    base, output = float(explanation.base[label]), float(explanation.base[label] + own.sum())
    figure = Figure(figsize=(6.4, 0.34 * len(steps) + 1.5), layout="constrained")
    axes = figure.subplots()
    ends = base + np.cumsum(steps[::-1])[::-1]  # the lowest bar begins at the base
    starts = ends - steps
    room = 0.01 * max(np.ptp([*starts, *ends]), 1e-12)
    for place, (start, step) in enumerate(zip(starts, steps, strict=True)):
        color = ORANGE if step > 0 else BLUE
        axes.barh(place, step, left=start, color=color, height=0.62)
        right = max(start, start + step)
        axes.text(right + room, place, f"{step:+.3f}", va="center", fontsize=8, color=color)
        if place:
            axes.plot([start + step] * 2, [place - 1 + 0.31, place - 0.31], color=GREY, lw=0.8)
    axes.axvline(base, color=GREY, lw=1, ls=":")
    axes.axvline(output, color="black", lw=1, ls=":")
    axes.set_yticks(range(len(names)), [_plain(name) for name in names], fontsize=9)
    axes.invert_yaxis()
    axes.use_sticky_edges = False
    axes.margins(x=0.13, y=0.02)
    axes.set_xlabel(f"{explanation.unit} of {_plain(class_name)}")
    axes.set_title(f"background {base:.3f} (grey)   →   this row {output:.3f} (black)", fontsize=9)
    return figure


def dependence(
    explanation: Explanation, features: Sequence[str], label: int, class_name: str, columns: int = 4
) -> Figure:
    """SHAP value against the feature's own value, one panel per feature; missing values stand apart on the left.

    Args:
        explanation: SHAP values of the rows.
        features: columns to draw.
        label: place of the class.
        class_name: its name, for the axis.
        columns: panels side by side.

    Raises:
        OptionError: a feature is not one of the explained columns.
    """
    unknown = [name for name in features if name not in explanation.features]
    if unknown or not features:
        raise OptionError(f"features={list(features)} must name some of {', '.join(explanation.features)}.")
    rows = -(-len(features) // columns)
    figure = Figure(figsize=(2.8 * columns, 2.5 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for panel, name in zip(panels, features, strict=False):
        place = explanation.features.index(name)
        _dependence(panel, explanation.rows.iloc[:, place], explanation.values[:, place, label])
        panel.set_title(_plain(name), fontsize=9)
    for panel in panels[len(features) :]:
        panel.axis("off")
    figure.supylabel(f"SHAP value, {explanation.unit} of {_plain(class_name)}", fontsize=8)
    return figure


def _dependence(axes: Any, column: pd.Series, values: np.ndarray) -> None:
    missing = column.isna().to_numpy()
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.tick_params(labelsize=7)
    style = {"s": 12, "alpha": 0.6, "linewidths": 0}
    if pd.api.types.is_numeric_dtype(column):
        axes.scatter(column[~missing], values[~missing], color=BLUE, **style)
        if missing.any():
            present = column[~missing]
            low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 1.0)
            apart = low - 0.15 * ((high - low) or 1)
            axes.scatter(np.full(missing.sum(), apart), values[missing], color=ORANGE, marker="x", s=14, lw=0.8)
            axes.set_xlabel("× missing", fontsize=7, color=ORANGE)
        return
    names = [*sorted(column[~missing].astype(str).unique()), *(["missing"] if missing.any() else [])]
    texts = column.astype(object).where(~missing, "missing").astype(str)
    places = np.array([names.index(text) for text in texts], dtype=float)
    places += np.random.default_rng(0).uniform(-0.15, 0.15, len(places))  # so that points do not hide each other
    axes.scatter(places, values, color=np.where(missing, ORANGE, BLUE), **style)
    slanted = {"rotation": 30, "ha": "right"} if max(map(len, names)) > 8 or len(names) > 6 else {}
    axes.set_xticks(range(len(names)), [_plain(name) for name in names], **slanted)


def decision(
    explanation: Explanation,
    label: int,
    class_name: str,
    marked: Sequence[int] = (),
    names: Sequence[str] = (),
    count: int = 15,
) -> Figure:
    """Every row's way from the background's mean (below) to its output (above), the least important features first.

    Args:
        explanation: SHAP values.
        label: number of the class.
        class_name: its name.
        marked: explained rows to draw in colour over the grey others.
        names: of the marked rows, for the legend.
        count: features shown; less important ones are the first, common step.
    """
    check_positive("count", count)
    order = np.argsort(-explanation.importance, kind="stable")[:count][::-1]
    rest = np.setdiff1d(np.arange(len(explanation.features)), order)
    own = explanation.values[:, :, label]
    first = np.full(len(own), explanation.base[label])
    steps, ticks = [first], [_plain(explanation.features[i]) for i in order]
    if len(rest):
        steps.append(first + own[:, rest].sum(1))
        ticks.insert(0, f"{len(rest)} others")
    for place in order:
        steps.append(steps[-1] + own[:, place])
    ways, heights = np.stack(steps, 1), np.arange(len(steps))
    figure = Figure(figsize=(6.4, 0.27 * len(steps) + 1.6), layout="constrained")
    axes = figure.subplots()
    for row in np.setdiff1d(np.arange(len(ways)), marked):
        axes.plot(ways[row], heights, color=GREY, lw=0.6, alpha=0.45)
    for row, name in zip(marked, names or [f"row {row + 1}" for row in marked], strict=True):
        axes.plot(ways[row], heights, lw=1.8, marker="o", ms=2.5, label=_plain(name))
    axes.axvline(explanation.base[label], color="black", lw=0.8, ls=":")
    axes.set_yticks(heights[1:] - 0.5, ticks, fontsize=8)
    axes.set_xlabel(f"{explanation.unit} of {_plain(class_name)}")
    if 0 < len(marked) <= 12:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
