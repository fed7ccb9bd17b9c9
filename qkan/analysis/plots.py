"""Pictures for reports. Every function returns a matplotlib Figure and shows or writes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qkan.analysis.calibration import Reliability
from qkan.analysis.conformal import SetReport
from qkan.analysis.coverage import binomial_interval
from qkan.analysis.explain import Explanation, import_shap, kept_random_state
from qkan.analysis.importance import global_importance
from qkan.analysis.selective import RiskCoverage

#: Colours that the pictures here and most of their neighbours share.
BLUE, ORANGE, GREY = "#1f5fa8", "#d9722e", "#8a8a8a"
#: Kinds of prediction sets, as they are written in pictures and reports.
NAMES = {"lac": "split conformal (LAC)", "mondrian": "class-conditional (Mondrian)"}


def _plain(text: object) -> str:
    """Text as it is: matplotlib would typeset what stands between two dollar signs."""
    return str(text).replace("$", r"\$")


def history(record: dict[str, Any], axes: Any = None) -> Figure:
    """Training and validation loss by epoch; the kept epoch is marked.

    Args:
        record: history of :func:`qkan.training.fit`.
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.2, 3.4)
    epochs = np.arange(1, len(record["step"]) + 1)
    axes.plot(epochs, record["train_loss"], color=BLUE, label="training")
    if record["val_loss"]:
        axes.plot(epochs, record["val_loss"], color=ORANGE, label="validation")
        best = record["step"].index(record["best_step"])
        axes.axvline(best + 1, color=GREY, lw=1, ls=":", label=f"kept (epoch {best + 1})")
    axes.set(xlabel="epoch", ylabel="loss", title="Training", yscale="log")
    axes.legend(frameon=False)
    return axes.figure


def coverage(reports: Sequence[SetReport], axes: Any = None) -> Figure:
    """Observed against nominal coverage on the test rows with exact 95 % intervals.

    Args:
        reports: one for every method and level.
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.2, 3.4)
    axes.plot([0.75, 1], [0.75, 1], color=GREY, lw=1, ls=":", label="nominal")
    for offset, (method, color) in zip((-0.004, 0.004), (("lac", BLUE), ("mondrian", ORANGE)), strict=True):
        own = [report for report in reports if report.method == method]
        levels = np.array([report.level for report in own])
        observed = np.array([report.coverage for report in own])
        intervals = np.array([report.coverage_interval for report in own])
        error = np.abs(intervals - observed[:, None]).T
        axes.errorbar(levels + offset, observed, yerr=error, fmt="o", ms=4, capsize=3, color=color, label=NAMES[method])
    axes.set(xlabel="confidence level", ylabel="coverage on test rows", title="Prediction sets", xlim=(0.76, 0.99))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return axes.figure


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, axes: Any = None) -> Figure:
    """Accuracy against confidence in bins of the top probability, with exact 95 % intervals.

    The area of a point is its share of the rows.

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        bins: of equal width on [0, 1].
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.2, 3.4)
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    for bin_ in np.unique(index):
        own = index == bin_
        place, ends = confidence[own].mean(), binomial_interval(correct[own])
        axes.plot([place, place], ends, color=GREY, lw=1, zorder=1)
        axes.scatter(place, correct[own].mean(), s=20 + 300 * own.mean(), color=BLUE, alpha=0.7, zorder=2)
    low = 1 / probabilities.shape[1]
    axes.plot([low, 1], [low, 1], color=GREY, lw=1, ls=":")
    axes.set(xlabel="confidence", ylabel="accuracy", title="Reliability", xlim=(low - 0.03, 1.03), ylim=(-0.03, 1.06))
    return axes.figure


def reliability_curves(curves: Sequence[Reliability], axes: Any = None) -> Figure:
    """Observed frequency against predicted probability, one line per class or group, with exact 95 % intervals.

    Args:
        curves: from :func:`qkan.analysis.calibration.reliability`.
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.2, 3.4)
    for curve in curves:
        errors = np.stack([curve.observed - curve.low, curve.high - curve.observed])
        label = f"{_plain(curve.name)} ({curve.rows.sum()} rows)"
        axes.errorbar(curve.predicted, curve.observed, errors, marker="o", ms=4, lw=1.2, capsize=2, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
    axes.set(xlabel="predicted probability", ylabel="observed frequency", title="Reliability")
    axes.legend(frameon=False, fontsize=8)
    return axes.figure


def risk_coverage(curve: RiskCoverage, axes: Any = None) -> Figure:
    """Error among the answered rows against the share answered.

    Args:
        curve: from :func:`qkan.analysis.selective.risk_coverage`.
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.2, 3.4)
    axes.step(curve.coverage, curve.risk, where="post", color=BLUE)
    axes.set(xlabel="share of rows answered", ylabel="error among them", title="Risk and coverage", xlim=(0, 1.02))
    axes.set_ylim(bottom=0)
    return axes.figure


def importance(explanation: Explanation, count: int = 12, axes: Any = None) -> Figure:
    """Bars of mean |SHAP| with standard errors over the rows, largest first.

    Args:
        explanation: SHAP values of some rows.
        count: features drawn at most.
        axes: matplotlib axes to draw on; new ones if ``None``.
    """
    axes = axes or _axes(5.6, 0.28 * count + 1.0)
    table = global_importance(explanation)[:count][::-1]
    errors = None if table["standard_error"].isna().any() else table["standard_error"]
    style = {"ecolor": GREY, "elinewidth": 1, "capsize": 2}
    axes.barh(range(len(table)), table["importance"], color=BLUE, xerr=errors, error_kw=style)
    axes.set_yticks(range(len(table)), [_plain(name) for name in table["feature"]])
    axes.set(xlabel=f"mean |SHAP| ({explanation.unit})", title="What moves the prediction")
    return axes.figure


def beeswarm(explanation: Explanation, label: int, class_name: str, count: int = 12) -> Figure:
    """SHAP's beeswarm for the output of one class; colour is the feature's value where it is numeric.

    Args:
        explanation: SHAP values of some rows.
        label: place of the class.
        class_name: its name, for the axis.
        count: features drawn at most.
    """
    shap = import_shap()
    with warnings.catch_warnings(), kept_random_state():
        warnings.simplefilter("ignore")  # SHAP's dependencies warn while drawing
        import matplotlib.pyplot as plt
        import pandas as pd

        numeric = pd.api.types.is_numeric_dtype
        data = explanation.rows.apply(lambda column: column if numeric(column) else column.factorize()[0])
        values = shap.Explanation(
            values=explanation.values[:, :, label],
            base_values=np.full(len(explanation.rows), explanation.base[label]),
            data=data.to_numpy(dtype=np.float64),
            feature_names=[_plain(name) for name in explanation.rows.columns],
        )
        np.random.seed(0)  # noqa: NPY002  # SHAP draws the points' places from the global state
        figure = plt.figure()
        try:
            shap.plots.beeswarm(values, max_display=count, show=False, plot_size=(7.0, 0.3 * count + 1.4))
            figure.gca().set_xlabel(f"SHAP value, {explanation.unit} of {_plain(class_name)}")
            figure.tight_layout()
        finally:
            plt.close(figure)
    return figure


def edge_curves(curves: Sequence[tuple[str, np.ndarray, np.ndarray]], columns: int = 4) -> Figure:
    """Edge functions of single features.

    Args:
        curves: (title, positions (points,), values (points, outputs)) per feature.
        columns: panels in a row.
    """
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.1 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    _draw_curves(panels, curves)
    return figure


def overview(
    record: dict[str, Any],
    reports: Sequence[SetReport],
    explanation: Explanation,
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    title: str,
) -> Figure:
    """One page: training, prediction sets, SHAP importance and the edge functions of the leading features.

    Args:
        record: history of :func:`qkan.training.fit`.
        reports: prediction sets on the test rows.
        explanation: SHAP values of test rows.
        curves: (feature, positions, values) of edge functions, as from ``TabularModel.edge_curves``.
        title: of the figure.
    """
    figure = Figure(figsize=(12, 7.2 if curves else 4.2), layout="constrained")
    figure.suptitle(_plain(title), fontsize=13)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.35, 1)) if curves else (figure.subfigures(1, 1), None)
    top, bottom = halves
    panels = top.subplots(1, 3)
    history(record, panels[0])
    coverage(reports, panels[1])
    importance(explanation, 10, panels[2])
    if curves:
        bottom.suptitle("Edge functions of the leading numeric features (first layer)", fontsize=10)
        _draw_curves(bottom.subplots(1, 4, sharey=True), curves)
    return figure


def _draw_curves(panels: np.ndarray, curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    for panel, (title, positions, values) in zip(panels, curves, strict=False):
        panel.plot(positions, values, lw=1.4)
        panel.set_title(_plain(title), fontsize=9)
        panel.tick_params(labelsize=7)
    for panel in panels[len(curves) :]:
        panel.axis("off")


def _axes(width: float, height: float) -> Any:
    return Figure(figsize=(width, height), layout="constrained").subplots()
