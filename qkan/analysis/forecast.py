"""How good a forecast is, what the simplest forecasts reach, and forecasts of many steps by feedback.

Arrays are those of :func:`qkan.data.make_windows`: inputs (N, window, channels), targets and predictions (N, horizon).
A *predict function* maps inputs to predictions; :func:`predictor` makes one of a PyTorch model.

The naive forecasts and AR(p) are the textbook ones (Hyndman and Athanasopoulos, Forecasting: Principles and Practice,
3rd edition, 2021, sections 5.2 and 9.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from qkan.errors import NonFiniteError, OptionError, ShapeError, check_positive

Predict = Callable[[np.ndarray], np.ndarray]
"""Inputs (N, window, channels) -> predictions (N, horizon)."""


@dataclass(frozen=True, eq=False)
class ForecastScores:
    """Errors of forecasts, in the unit (or its square) of the targets.

    Attributes:
        mse: mean squared error over all targets.
        mae: mean absolute error.
        r2: 1 - (sum of squared errors) / (sum of squares around the targets' mean); NaN for constant targets.
        rmse: root of ``mse``.
        rmse_by_step: (horizon,) root mean squared error of every step ahead.
    """

    mse: float
    mae: float
    r2: float
    rmse: float
    rmse_by_step: np.ndarray


def forecast_metrics(targets: np.ndarray, predictions: np.ndarray) -> ForecastScores:
    """Scores of ``predictions`` for ``targets``, both (N, horizon) or (N,).

    Raises:
        ShapeError: the shapes differ or hold nothing.
        NonFiniteError: a prediction or target is NaN or infinite.
    """
    targets, predictions = _columns("targets", targets), _columns("predictions", predictions)
    if targets.shape != predictions.shape or targets.size == 0:
        raise ShapeError(
            f"targets of shape {targets.shape} and predictions of shape {predictions.shape} do not fit; both must be "
            "(N, horizon) with N of at least 1."
        )
    for what, array in (("target", targets), ("prediction", predictions)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, step = bad[0]
            raise NonFiniteError(f"The {what} at row {row}, step {step} (counted from 0) is {array[row, step]}.")
    squared = (predictions - targets) ** 2
    spread = float(((targets - targets.mean()) ** 2).sum())
    # Not spread == 0: the mean of equal numbers can be off by rounding.
    constant = bool((targets == targets.flat[0]).all())
    mse = float(squared.mean())
    return ForecastScores(
        mse=mse,
        mae=float(np.abs(predictions - targets).mean()),
        r2=math.nan if constant else 1 - float(squared.sum()) / spread,
        rmse=math.sqrt(mse),
        rmse_by_step=np.sqrt(squared.mean(0)),
    )


def _columns(what: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise ShapeError(f"{what} of shape {array.shape} must be (N, horizon) or (N,).")
    return array


def predictor(model: nn.Module, batch: int = 1024) -> Predict:
    """A predict function of a PyTorch model that maps (N, window, channels) to (N, horizon) or (N,).

    The model runs without gradients and in evaluation mode, in its own dtype and on its device, and is left in the mode
    it was in.

    Args:
        model: the model; its outputs must have one row per window.
        batch: windows at a time.
    """
    batch = check_positive("batch", batch)

    def predict(inputs: np.ndarray) -> np.ndarray:
        like = next(model.parameters(), torch.zeros(()))
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                pieces = [model(piece.to(like)) for piece in torch.tensor(np.asarray(inputs)).split(batch)]
                found = torch.cat(pieces).double().cpu().numpy()
        finally:
            model.train(was_training)
        return _columns("predictions", found)

    return predict


def persistence(horizon: int = 1, channel: int = 0) -> Predict:
    """The forecast that nothing changes: every step ahead equals the last input of the target channel.

    Args:
        horizon: steps ahead.
        channel: index of the target among the input channels.
    """
    horizon, channel = check_positive("horizon", horizon), check_positive("channel", channel, 0)

    def predict(inputs: np.ndarray) -> np.ndarray:
        inputs = _history(inputs, channel)
        return np.repeat(inputs[:, -1:, channel], horizon, axis=1)

    return predict


@dataclass(frozen=True, eq=False)
class Autoregression:
    """x(t) = c + Σ_{k=1..p} a_k x(t-k), fitted by least squares; steps beyond the first by feedback.

    Attributes:
        intercept: c in the formulas.
        coefficients: (p,) a_1 … a_p.
        horizon: steps ahead that calling it predicts.
        channel: index of the target among the input channels; no other channel is used.
        validation_mse: order -> mean squared error of the first step on the validation windows.
    """

    intercept: float
    coefficients: np.ndarray
    horizon: int
    channel: int
    validation_mse: dict[int, float]

    @property
    def order(self) -> int:
        """How many past values enter, p."""
        return len(self.coefficients)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predictions (N, horizon) of inputs (N, window, channels) with window >= p."""
        past = _history(inputs, self.channel)[:, :, self.channel]
        if past.shape[1] < self.order:
            raise ShapeError(
                f"inputs of {past.shape[1]} steps are too short for an autoregression of order {self.order}."
            )
        past = past[:, past.shape[1] - self.order :]
        steps = []
        for _ in range(self.horizon):
            following = self.intercept + past[:, ::-1] @ self.coefficients
            past = np.concatenate([past[:, 1:], following[:, None]], axis=1)
            steps.append(following)
        return np.stack(steps, axis=1)


def fit_autoregression(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    orders: Iterable[int] | None = None,
    channel: int = 0,
) -> Autoregression:
    """AR(p) by least squares on the training windows, p chosen by the first step's error on the validation windows.

    Every order is fitted to the same targets, so that orders are compared on equal terms; of equal errors the smallest
    order wins. The model is not fitted again on training and validation together: a neural network is not either.

    Args:
        train: inputs (N, window, channels) and targets (N, horizon).
        validation: the same for the validation part.
        orders: p to try, each at most the window; 1 … window (at most 32) if not given.
        channel: index of the target among the input channels.

    Raises:
        OptionError: an order is below 1 or above the window, or there are none.
        ShapeError: inputs and targets do not fit, or there are fewer training windows than coefficients.
    """
    (inputs, targets), (later, later_targets) = _pair("train", train, channel), _pair("validation", validation, channel)
    window, horizon = inputs.shape[1], targets.shape[1]
    tried = list(range(1, min(window, 32) + 1) if orders is None else orders)
    if not tried or not all(1 <= check_positive("orders", order) <= window for order in tried):
        raise OptionError(f"orders={tried!r} must be whole numbers from 1 to the window, {window}.")
    best: Autoregression | None = None
    errors: dict[int, float] = {}
    for order in sorted(set(tried)):
        if len(inputs) <= order:
            raise ShapeError(
                f"{len(inputs)} training windows are too few for the {order + 1} coefficients of order {order}."
            )
        intercept, coefficients = _least_squares(inputs[:, window - order :, channel], targets[:, 0])
        model = Autoregression(intercept, coefficients, horizon, channel, errors)
        errors[order] = float(((model(later)[:, 0] - later_targets[:, 0]) ** 2).mean())
        if best is None or errors[order] < errors[best.order]:
            best = model
    assert best is not None  # there is at least one order
    return best


def _pair(what: str, pair: tuple[np.ndarray, np.ndarray], channel: int) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = _history(pair[0], channel), _columns("targets", pair[1])
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ShapeError(
            f"{what} has {len(inputs)} windows and {len(targets)} targets; as many, and at least 1, are needed."
        )
    return inputs, targets


def _least_squares(past: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept c and a_1 … a_p, a_1 belonging to the last column of ``past`` (N, p)."""
    design = np.concatenate([np.ones((len(past), 1)), past[:, ::-1]], axis=1)
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    return float(solution[0]), solution[1:]


def multi_step(predict: Predict, history: np.ndarray, steps: int) -> np.ndarray:
    """Forecast many steps by feeding predictions back as inputs.

    All steps that one call predicts are taken over before the next call; a model with horizon 1 is called ``steps``
    times. Errors feed back as well, so expect them to grow.

    Args:
        predict: maps (N, window, 1) to (N, horizon).
        history: the last inputs, (window, 1) or (window,) of one series, or (N, window, 1) of several.
        steps: how many steps ahead.

    Returns:
        (steps,), or (N, steps) for several series.

    Raises:
        ShapeError: ``history`` has more than one channel, whose future the model does not predict, or ``predict``
            returns another shape.
    """
    steps = check_positive("steps", steps)
    several = np.ndim(history) == 3
    past = np.asarray(history, dtype=np.float64)
    past = past[:, None] if past.ndim == 1 else past
    past = past if several else past[None]
    if past.ndim != 3 or past.shape[2] != 1 or past.shape[1] == 0:
        raise ShapeError(
            f"history of shape {np.shape(history)} must be (window,), (window, 1) or (N, window, 1): feedback needs "
            "every channel to be predicted."
        )
    found = np.empty((len(past), 0))
    while found.shape[1] < steps:
        ahead = _columns("predictions", predict(past))
        if len(ahead) != len(past) or ahead.shape[1] == 0:
            raise ShapeError(f"predict returned shape {ahead.shape} for {len(past)} windows; it must be (N, horizon).")
        found = np.concatenate([found, ahead], axis=1)
        past = np.concatenate([past, ahead[:, :, None]], axis=1)[:, -past.shape[1] :]
    return found[:, :steps] if several else found[0, :steps]


def _history(inputs: np.ndarray, channel: int) -> np.ndarray:
    inputs = np.asarray(inputs, dtype=np.float64)
    if inputs.ndim != 3 or inputs.shape[1] == 0 or not 0 <= channel < inputs.shape[2]:
        raise ShapeError(f"inputs of shape {inputs.shape} must be (N, window, channels) with a channel {channel}.")
    return inputs
