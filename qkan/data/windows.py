"""Windows of a series for supervised forecasting, split by time and scaled by what the training part shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from qkan.data.series import Series
from qkan.errors import DataError, OptionError, check_choice, check_positive

#: Parts of a series, in order of time.
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Scaler:
    """An affine map per channel: (value - center) / scale.

    Attributes:
        kind: "minmax" (training values fill [-1, 1]), "standard" (mean 0, standard deviation 1) or "none".
        center: (channels,) float64.
        scale: (channels,) float64, never 0.
    """

    kind: str
    center: np.ndarray
    scale: np.ndarray

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scaled values (..., channels), of the shape of ``values``, which are in the unit of the series."""
        return (np.asarray(values, dtype=np.float64) - self.center) / self.scale

    def inverse(self, values: np.ndarray, channel: int = 0) -> np.ndarray:
        """Values of one channel in the unit of the series, any shape.

        Args:
            values: in the scaled unit.
            channel: place of the channel.
        """
        return np.asarray(values, dtype=np.float64) * self.scale[channel] + self.center[channel]


@dataclass(frozen=True, eq=False)
class Part:
    """The windows that lie wholly inside one stretch of the series.

    Attributes:
        inputs: (N, window, channels) float64, scaled.
        targets: (N, horizon) float64, scaled: the target channel at the steps right after each window.
        start: position in the series at which the part begins.
        stop: position at which it ends, excluded.
        time: (N, horizon) times of the targets.
    """

    inputs: np.ndarray
    targets: np.ndarray
    start: int
    stop: int
    time: np.ndarray

    def __len__(self) -> int:
        """Number of windows N = stop - start - window - horizon + 1."""
        return len(self.inputs)

    def tensors(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Inputs (N, window, channels) and targets (N, horizon) as CPU tensors of ``dtype``, copies in any case."""
        return torch.tensor(self.inputs, dtype=dtype), torch.tensor(self.targets, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Windows:
    """Train, validation and test windows of one series.

    Attributes:
        train: the earliest windows; the scaler has seen the values of this part and no other.
        validation: those after it.
        test: the latest.
        scaler: fitted on the training part.
        window: input steps.
        horizon: target steps.
        channels: names of the input channels.
        target: name of the target channel.
        series: the series itself.
    """

    train: Part
    validation: Part
    test: Part
    scaler: Scaler
    window: int
    horizon: int
    channels: tuple[str, ...]
    target: str
    series: Series

    def inverse_targets(self, targets: np.ndarray) -> np.ndarray:
        """Targets, predictions or interval ends in the unit of the series, any shape."""
        return self.scaler.inverse(targets, self.channels.index(self.target))


def make_windows(
    series: Series,
    window: int,
    horizon: int = 1,
    split: Sequence[float] = (0.6, 0.2, 0.2),
    *,
    target: str | None = None,
    channels: Sequence[str] | None = None,
    scale: str = "minmax",
) -> Windows:
    """Cut a series into windows, each followed by ``horizon`` steps to predict.

    The series is first split by time into three parts, then each part is cut by itself: no window, input or target,
    reaches into another part. A part of length n gives n - window - horizon + 1 windows, all of them. The scaler sees
    the values of the training part only, so scaled validation and test values may leave [-1, 1].

    Args:
        series: of T points, taken as equally spaced.
        window: input steps.
        horizon: target steps.
        split: fractions of T for training, validation and test, with sum 1.
        target: channel to predict; the first of ``channels`` if not given.
        channels: input channels in this order; the target alone if not given.
        scale: "minmax" to [-1, 1], "standard" or "none".

    Raises:
        OptionError: ``window`` or ``horizon`` is below 1, ``split`` is not three positive fractions of sum 1, ``scale``
            is unknown, or ``target`` is not among ``channels``.
        DataError: a part is too short for a single window, a channel is unknown, or a channel that has to be scaled is
            constant in the training part.
    """
    window, horizon = check_positive("window", window), check_positive("horizon", horizon)
    check_choice("scale", scale, ("minmax", "standard", "none"))
    target, names = _channels(series, target, channels)
    bounds = _bounds(len(series), split)
    for part, start, stop in zip(PARTS, bounds[:-1], bounds[1:], strict=True):
        if stop - start < window + horizon:
            raise DataError(
                f"A window of {window} and a horizon of {horizon} need {window + horizon} points, but the {part} part "
                f"of {series.name!r} has {stop - start} of its {len(series)}; choose a shorter window or another split."
            )
    values = series.values[:, [series.channel(name) for name in names]]
    scaler = _fit_scaler(series.name, scale, values[: bounds[1]], names)
    scaled = scaler.transform(values)
    column = names.index(target)
    train, validation, test = (
        _part(scaled, column, series.time, start, stop, window, horizon) for start, stop in itertools.pairwise(bounds)
    )
    return Windows(train, validation, test, scaler, window, horizon, names, target, series)


def _channels(series: Series, target: str | None, channels: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    if isinstance(channels, str):
        raise OptionError(f"channels={channels!r} must be a list of names, such as [{channels!r}].")
    names = tuple(channels) if channels is not None else (series.channels[0] if target is None else target,)
    if not names or len(set(names)) != len(names):
        raise OptionError(f"channels={list(names)!r} must name at least one channel, each once.")
    target = names[0] if target is None else target
    for name in names:
        series.channel(name)
    if target not in names:
        raise OptionError(
            f"target={target!r} must be one of the channels {list(names)!r}: a forecast starts from its past."
        )
    return target, names


def _bounds(points: int, split: Sequence[float]) -> tuple[int, ...]:
    """Where the parts begin and end: 0, …, points."""
    try:
        fractions = [float(fraction) for fraction in split]
    except (TypeError, ValueError):
        fractions = []
    if (
        len(fractions) != 3
        or not all(0 < f < 1 for f in fractions)
        or not math.isclose(sum(fractions), 1, abs_tol=1e-9)
    ):
        raise OptionError(f"split={split!r} must be three positive fractions with sum 1, such as (0.6, 0.2, 0.2).")
    train, validation, _ = fractions
    return 0, round(points * train), round(points * (train + validation)), points


def _fit_scaler(name: str, kind: str, values: np.ndarray, channels: tuple[str, ...]) -> Scaler:
    count = values.shape[1]
    if kind == "none":
        return Scaler(kind, np.zeros(count), np.ones(count))
    low, high = values.min(0), values.max(0)
    if (low == high).any():
        flat = channels[int(np.argmax(low == high))]
        raise DataError(
            f"Channel {flat!r} of {name!r} is constant in the training part, so it cannot be scaled; use scale='none' "
            "or a longer training part."
        )
    if kind == "minmax":
        return Scaler(kind, (low + high) / 2, (high - low) / 2)
    return Scaler(kind, values.mean(0), values.std(0))


def _part(scaled: np.ndarray, target: int, time: np.ndarray, start: int, stop: int, window: int, horizon: int) -> Part:
    own = scaled[start:stop]
    number = len(own) - window - horizon + 1
    inputs = sliding_window_view(own, window, axis=0)[:number].transpose(0, 2, 1)
    targets = sliding_window_view(own[window:, target], horizon)
    times = sliding_window_view(time[start + window : stop], horizon)
    # Copies: views of one array would let a change in one window reach the others.
    return Part(inputs.copy(), targets.copy(), start, stop, times.copy())
