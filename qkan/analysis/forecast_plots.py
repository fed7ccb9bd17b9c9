"""Pictures of forecasts. Every function returns a matplotlib Figure and shows or writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from qkan.analysis.intervals import Intervals, rolling_coverage
from qkan.analysis.plots import BLUE, GREY, ORANGE, _plain
from qkan.errors import ShapeError
from qkan.layers import KANLayer

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


def residuals(time: np.ndarray, values: np.ndarray, lags: int = 20) -> Figure:
    """Residuals over time, and their autocorrelation with the 95 % band of white noise.

    Args:
        time: (N,).
        values: residuals (N,).
        lags: of the autocorrelation at most.
    """
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    left.axhline(0, color=GREY, lw=0.8)
    left.plot(time, values, color=BLUE, lw=0.9, marker=".", ms=3)
    left.set(xlabel="time", ylabel="target minus forecast", title="Residuals")
    centred = values - values.mean()
    lags = min(lags, len(values) - 2)
    power = float(centred @ centred) or 1.0
    bars = [float(centred[lag:] @ centred[:-lag]) / power for lag in range(1, lags + 1)]
    right.axhspan(-1.96 / len(values) ** 0.5, 1.96 / len(values) ** 0.5, color=GREY, alpha=0.25, lw=0)
    right.bar(range(1, lags + 1), bars, color=BLUE, width=0.6)
    right.set(xlabel="lag", title="Autocorrelation", ylim=(-1.05, 1.05))
    return figure


def feedback(time: np.ndarray, targets: np.ndarray, forecast: np.ndarray) -> Figure:
    """A forecast of many steps beside what happened, all (N,).

    Args:
        time: in the unit of the series.
        targets: what happened.
        forecast: each value predicted from those before it, predicted ones too.
    """
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(time, targets, color="black", lw=0.9, label="series")
    axes.plot(time, forecast, color=ORANGE, lw=1.2, label="forecast by feedback")
    axes.set(xlabel="time")
    axes.legend(frameon=False, fontsize=8)
    return figure


def gate_curves(layer: KANLayer, hidden: int, points: int = 120) -> Figure:
    """Edge functions of a recurrent network's gates over scaled values from -1 to 1.

    Args:
        layer: of the gates, on [x, h]; its outputs come in ``hidden`` units per gate. A layer of another width, such as
            the latent core of an HQKAN-LSTM, gets one panel per input.
        hidden: units per gate.
        points: per curve.
    """
    import torch

    grid = torch.linspace(-1, 1, points)
    like = next(layer.parameters())
    with torch.no_grad():
        curves = layer.edges(grid[:, None].expand(-1, layer.in_features).to(like)).double().cpu().numpy()
    gates = layer.out_features // hidden if layer.out_features % hidden == 0 else 0
    names = {4: ("input", "forget", "cell", "output"), 3: ("reset", "update", "candidate")}.get(gates)
    if names is None or layer.in_features <= hidden:
        return _latent_curves(grid.numpy(), curves)
    inputs = layer.in_features - hidden
    figure = Figure(figsize=(2.3 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in enumerate(names):
        own = curves[:, column * hidden : (column + 1) * hidden]
        for row, part in enumerate((own[..., :inputs], own[..., inputs:])):
            panels[row, column].plot(grid, part.reshape(points, -1), color=(BLUE, ORANGE)[row], lw=0.9, alpha=0.7)
        panels[0, column].set_title(f"{name} gate", fontsize=9)
    panels[0, 0].set_ylabel("from the input")
    panels[1, 0].set_ylabel("from the hidden state")
    return figure


def _latent_curves(grid: np.ndarray, curves: np.ndarray) -> Figure:
    figure = Figure(figsize=(2.3 * curves.shape[2], 2.4), layout="constrained")
    panels = figure.subplots(1, curves.shape[2], sharey=True, squeeze=False)[0]
    for place, panel in enumerate(panels):
        panel.plot(grid, curves[..., place], color=BLUE, lw=0.9, alpha=0.8)
        panel.set_title(f"latent input {place + 1}", fontsize=9)
    return figure
