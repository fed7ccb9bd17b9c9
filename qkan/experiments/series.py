"""``qkan train`` on a time series: forecast with intervals, residuals, feedback, edge functions, and the model."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape

from qkan.analysis import forecast_plots, plots
from qkan.analysis.forecast import Predict, multi_step, predictor
from qkan.analysis.intervals import Intervals, aci, enbpi, split_conformal
from qkan.counting import count
from qkan.data import Series, Windows, make_windows
from qkan.errors import OptionError, check_choice, check_positive
from qkan.experiments import forecasting
from qkan.experiments.environment import versions
from qkan.experiments.forecasting import Protocol, Trained
from qkan.experiments.output import FORMAT, output_folder
from qkan.layers import KANLayer
from qkan.models.forecaster import CORES, Forecaster
from qkan.report import png, render

#: Models that EnbPI trains on blocks of the training part.
ENBPI_MODELS = 8


@dataclass(frozen=True)
class Settings:
    """What the run depends on besides the series.

    Attributes:
        model: a key of :data:`~qkan.models.forecaster.CORES`.
        hidden: hidden size.
        window: input steps.
        epochs: at most; early stopping watches the validation part.
        seed: of everything random.
        level: of the intervals.
    """

    model: str = "qkan-lstm"
    hidden: int = 5
    window: int = 8
    epochs: int = 200
    seed: int = 0
    level: float = 0.9

    def check(self) -> None:
        """Raise :class:`OptionError` if a setting is out of range.

        Raises:
            OptionError: one is out of range or not known.
        """
        check_choice("model", self.model, CORES)
        for name in ("hidden", "window", "epochs"):
            check_positive(name, getattr(self, name))
        if check_positive("seed", self.seed, 0) >= 2**32:
            raise OptionError(f"seed={self.seed} must be below 2**32.")

    def protocol(self) -> Protocol:
        """Of training."""
        return Protocol(window=self.window, epochs=self.epochs)


@dataclass
class Results:
    """Everything the report shows; ``feedback`` (steps,), scaled, is a forecast of all test steps fed with itself."""

    trained: Trained
    windows: Windows
    scores: dict[str, dict[str, Any]]
    intervals: list[Intervals]
    feedback: np.ndarray
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Scores by model."""
        return self.scores


def run(series: Series, settings: Settings, out: Path, console: Any) -> Results:
    """Train, forecast and write ``out`` (report.html, metrics.json, overview.png, model/), whole or not at all.

    Args:
        series: the data.
        settings: model and training.
        out: folder to write.
        console: a Rich console for progress.

    Raises:
        QKANError: bad data, settings or output folder.
    """
    settings.check()
    with output_folder(out) as folder:
        windows = make_windows(series, settings.window)
        parts = ", ".join(f"{len(getattr(windows, part))} {part}" for part in ("train", "validation", "test"))
        console.print(escape(f"{series.name}: {len(series)} points; {parts} windows of {settings.window}"))
        seconds: dict[str, float] = {}
        start = time.perf_counter()
        model = Forecaster(settings.model, settings.hidden, seed=settings.seed)
        trained = forecasting.train(model, windows, settings.protocol(), settings.seed, progress=not console.quiet)
        seconds["training"] = time.perf_counter() - start
        with console.status("computing intervals"):
            start = time.perf_counter()
            results = _measure(trained, windows, settings)
            seconds["intervals"] = time.perf_counter() - start
        results.seconds = seconds
        with console.status("writing the report"):
            _write(folder, settings, results)
    return results


def _measure(trained: Trained, windows: Windows, settings: Settings) -> Results:
    predict = predictor(trained.model)
    own = forecasting.scores(predict, windows)
    numbers = count(trained.model)
    scores = {settings.model: {"trainable": numbers.trainable, "mse": own.mse, "mae": own.mae, "r2": own.r2}}
    scores |= forecasting.baselines(windows)
    train, validation, test = (
        (part.inputs, part.targets) for part in (windows.train, windows.validation, windows.test)
    )
    intervals = [
        split_conformal(predict, validation, test[0], settings.level),
        aci(predict, validation, test, settings.level),
        enbpi(
            _fitter(trained, settings),
            train,
            test,
            settings.level,
            resamplings=ENBPI_MODELS,
            block=min(20, len(train[0]) // 2),
            seed=settings.seed,
        ),
    ]
    ahead = multi_step(predict, test[0][0], len(test[0]))
    return Results(trained, windows, scores, [one.in_unit(windows.inverse_targets) for one in intervals], ahead, {})


def _fitter(trained: Trained, settings: Settings) -> Any:
    """Trains a fresh model for as many epochs as were best for the one reported, for EnbPI."""
    best = max(1, 1 + trained.history["step"].index(trained.history["best_step"]))
    protocol = Protocol(window=settings.window, epochs=best)

    def fit(inputs: np.ndarray, targets: np.ndarray) -> Predict:
        model = Forecaster(settings.model, settings.hidden, seed=settings.seed)
        like = next(model.parameters())
        pair = torch.tensor(inputs).to(like), torch.tensor(targets).to(like)
        forecasting.fit(model, pair, None, protocol, settings.seed)
        return predictor(model)

    return fit


# -- writing ---------------------------------------------------------------------------------------------------------


def _write(folder: Path, settings: Settings, results: Results) -> None:
    results.trained.model.save(folder / "model")
    record = summary(settings, results)
    (folder / "metrics.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    figures = _figures(settings, results)
    (folder / "overview.png").write_bytes(png(figures["intervals"], 100))
    title = f"{settings.model} on {results.windows.series.name}"
    context = {"title": title, "settings": settings, "record": record}
    (folder / "report.html").write_text(render("series", context, figures), encoding="utf-8")


def _figures(settings: Settings, results: Results) -> dict[str, Any]:
    windows, test = results.windows, results.windows.test
    targets = windows.inverse_targets(test.targets[:, 0])
    name = windows.series.name
    figures = {
        "history": plots.history(results.trained.history),
        "intervals": forecast_plots.forecast_intervals(
            test.time, targets, results.intervals, min(25, len(targets)), f"{settings.model} on {name}"
        ),
        "residuals": forecast_plots.residuals(test.time[:, 0], targets - results.intervals[0].predictions),
        "feedback": forecast_plots.feedback(test.time[:, 0], targets, windows.inverse_targets(results.feedback)),
    }
    layers = [module for module in results.trained.model.core.modules() if isinstance(module, KANLayer)]
    if layers:
        figures["gates"] = forecast_plots.gate_curves(layers[0], settings.hidden)
    return figures


def summary(settings: Settings, results: Results) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        settings: model and training.
        results: what was found.
    """
    windows, model = results.windows, results.trained.model
    series, numbers = windows.series, count(model)
    targets = windows.inverse_targets(windows.test.targets[:, 0])
    return {
        "format": FORMAT,
        "data": {
            "name": series.name,
            "points": len(series),
            "target": windows.target,
            "source": series.source,
            "sha256": series.sha256,
            "notes": list(series.notes),
        },
        "settings": asdict(settings),
        "split": {part: len(getattr(windows, part)) for part in ("train", "validation", "test")},
        "scores": results.scores,
        "intervals": [
            {
                "method": one.method,
                "level": one.level,
                "coverage": float(one.covered(targets).mean()),
                "median_width": one.median_width,
                "unbounded": one.unbounded,
            }
            for one in results.intervals
        ],
        "enbpi_models": ENBPI_MODELS,
        "epochs_run": results.trained.epochs,
        "model": {
            "name": settings.model,
            "trainable": numbers.trainable,
            "frozen": numbers.frozen,
            "parts": [
                {"name": name, "shape": " × ".join(map(str, part.shape)), "count": part.numel()}
                for name, part in model.named_parameters()
            ],
        },
        "seconds": results.seconds,
        "command": " ".join(["qkan", *sys.argv[1:]]),
        "versions": versions(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
