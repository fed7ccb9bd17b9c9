"""Training and testing one forecaster: the protocol that all models of an experiment share."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from qkan import training
from qkan.analysis.forecast import ForecastScores, Predict, fit_autoregression, forecast_metrics, persistence, predictor
from qkan.counting import count
from qkan.data import Windows
from qkan.errors import check_positive
from qkan.models.forecaster import Forecaster
from qkan.training import Pair


@dataclass(frozen=True)
class Protocol:
    """How every model is trained.

    Attributes:
        window: input steps.
        epochs: at most.
        patience: epochs without a lower validation error before it stops; the best epoch is kept.
        batch: windows per step of AdamW.
        lr: learning rate.
    """

    window: int = 8
    epochs: int = 200
    patience: int = 30
    batch: int = 16
    lr: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("window", "epochs", "patience", "batch"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True)
class Trained:
    """A trained forecaster with what training took."""

    model: Forecaster
    history: dict[str, Any]
    epochs: int
    seconds_per_epoch: float


def train(model: Forecaster, windows: Windows, protocol: Protocol, seed: int, progress: bool = False) -> Trained:
    """Train in place on the training windows; the validation windows decide when to stop.

    Args:
        model: fresh.
        windows: scaled.
        protocol: shared by all models.
        seed: of the order of batches.
        progress: show a progress bar.
    """
    model(windows.train.tensors()[0][: protocol.batch]).sum().backward()  # kernels are compiled before the clock starts
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    history = fit(model, windows.train.tensors(), windows.validation.tensors(), protocol, seed, progress)
    epochs = len(history["step"])
    return Trained(model, history, epochs, (time.perf_counter() - start) / epochs)


def fit(
    model: Forecaster, pair: Pair, validation: Pair | None, protocol: Protocol, seed: int, progress: bool = False
) -> dict[str, Any]:
    """Train in place on windows and targets; without validation windows for all epochs.

    Args:
        model: a fresh forecaster.
        pair: training windows (N, window, channels) and targets (N, 1).
        validation: the same for early stopping, or ``None``.
        protocol: epochs, batch size, learning rate and patience.
        seed: of the order of the batches.
        progress: show a progress bar.
    """
    steps = math.ceil(len(pair[0]) / protocol.batch)
    return training.fit(
        model,
        pair,
        validation=validation,
        steps=protocol.epochs * steps,
        batch=protocol.batch,
        lr=protocol.lr,
        patience=None if validation is None else protocol.patience,
        log=steps,
        seed=seed,
        progress=progress,
    )


def scores(predict: Predict, windows: Windows) -> ForecastScores:
    """On the test windows, in the scaled unit, in which the training values fill [-1, 1].

    Args:
        predict: from inputs (N, window, channels) to forecasts (N, 1).
        windows: of the series.
    """
    return forecast_metrics(windows.test.targets, predict(windows.test.inputs))


def run(core: str, hidden: int, seed: int, windows: Windows, protocol: Protocol, **options: Any) -> dict[str, Any]:
    """Train and test one model; everything in JSON types.

    Args:
        core: name of the model, such as "qkan-lstm".
        hidden: hidden size.
        seed: of initial values and batches.
        windows: of the series.
        protocol: how to train.
        **options: of the model.
    """
    torch.set_num_threads(1)
    channels = windows.train.inputs.shape[2]
    model = Forecaster(core, hidden, channels, windows.horizon, seed=seed, **options)
    trained = train(model, windows, protocol, seed)
    found = scores(predictor(model), windows)
    numbers = count(model)
    return {
        "trainable": numbers.trainable,
        "frozen": numbers.frozen,
        "mse": found.mse,
        "mae": found.mae,
        "r2": found.r2,
        "validation_mse": min(trained.history["val_loss"]),
        "epochs": trained.epochs,
        "seconds_per_epoch": trained.seconds_per_epoch,
    }


def baselines(windows: Windows) -> dict[str, dict[str, Any]]:
    """Persistence and AR(p), scored as the models are."""
    train_, validation = ((part.inputs, part.targets) for part in (windows.train, windows.validation))
    autoregression = fit_autoregression(train_, validation)
    found = {}
    for name, predict, parameters in (
        ("persistence", persistence(windows.horizon), 0),
        (f"AR({autoregression.order})", autoregression, autoregression.order + 1),
    ):
        score = scores(predict, windows)
        found[name] = {"trainable": parameters, "mse": score.mse, "mae": score.mae, "r2": score.r2}
    return found


def describe(protocol: Protocol) -> dict[str, Any]:
    """The protocol in JSON types."""
    return asdict(protocol)
