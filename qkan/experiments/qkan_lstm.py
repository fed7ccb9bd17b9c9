"""``qkan reproduce qkan-lstm``: recurrent models on three series, at equal hidden size and at equal parameter count.

The published configuration is not public (hidden size, repetitions, window, learning rate), so this is a protocol of
our own and reproduces no published table. It asks what the published claim, 79 % fewer parameters than an LSTM, can
mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from qkan.analysis.statistics import corrected_paired_test, holm
from qkan.data import Windows, load_series, make_windows
from qkan.errors import OptionError, check_positive
from qkan.experiments import forecasting, grid
from qkan.experiments.forecasting import Protocol
from qkan.models.forecaster import Forecaster

#: Series of the study.
SERIES = ("damped_pendulum", "bessel_j2", "narma10")
#: Hidden sizes of every model; all have EQUAL, at which they are compared first.
SIZES: dict[str, tuple[int, ...]] = {
    "lstm": (1, 2, 3, 5, 8, 16),
    "gru": (1, 2, 3, 5, 6, 8),
    "qlstm": (2, 3, 5, 6),
    "qkan-lstm": (1, 2, 3, 5),
    "hqkan-lstm": (2, 3, 5, 8),
}
#: Hidden size at which all models are compared.
EQUAL = 5
#: The model that the others are compared with.
REFERENCE = "lstm"

#: Figures of the publication (arXiv 2512.05049), known from its abstract and from a third party's review only.
PUBLISHED = (
    ("all three data sets", "QKAN-LSTM", "79 % fewer trainable parameters than LSTM", "abstract"),
    ("damped oscillation, epoch 30", "QKAN-LSTM", "test loss 1.02e-3, R² 0.9771", "second-hand"),
    ("Bessel function", "QKAN-LSTM", "test loss 3.27e-4, R² 0.9861", "second-hand"),
    ("Bessel function", "HQKAN-LSTM", "test loss 3.21e-4, R² 0.9863", "second-hand"),
)


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        seeds: how many, of initialisation and batches.
        protocol: of training.
        sizes: hidden sizes by model.
        series: names.
    """

    seeds: int = 5
    protocol: Protocol = field(default_factory=Protocol)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=lambda: SIZES)
    series: tuple[str, ...] = SERIES


#: Small enough for two minutes: the same code, one hidden size and fewer epochs, and two seeds.
FAST = Plan(2, Protocol(epochs=8, patience=8), dict.fromkeys(SIZES, (2, EQUAL)), SERIES[:2])


@lru_cache(maxsize=8)
def windows_of(series: str, window: int) -> Windows:
    """A series cut into windows, 60, 20 and 20 % in order of time.

    Args:
        series: name of the series.
        window: past values that a forecast sees.
    """
    return make_windows(load_series(series), window)


def one_run(series: str, model: str, hidden: int, seed: int, protocol: dict[str, Any]) -> dict[str, Any]:
    """Train and test one model; arguments and result in JSON types.

    Args:
        series: name of the series.
        model: name of the model.
        hidden: hidden size.
        seed: of initial values and batches.
        protocol: how to train, in JSON types.
    """
    settings = Protocol(**protocol)
    return forecasting.run(model, hidden, seed, windows_of(series, settings.window), settings)


@dataclass(frozen=True)
class Entry:
    """One model at one size on one series, over seeds.

    Attributes:
        series: name.
        model: name.
        hidden: size.
        trainable: parameters with gradients.
        frozen: parameters without.
        runs: results by seed.
    """

    series: str
    model: str
    hidden: int
    trainable: int
    frozen: int
    runs: list[dict[str, Any]]

    def values(self, key: str) -> list[float]:
        """One number per seed."""
        return [run[key] for run in self.runs]

    def mean(self, key: str) -> float:
        """Over seeds."""
        return float(np.mean(self.values(key)))

    def sd(self, key: str) -> float:
        """Standard deviation over seeds."""
        return float(np.std(self.values(key), ddof=1)) if len(self.runs) > 1 else 0.0


@dataclass(frozen=True)
class Outcome:
    """Everything the tables show."""

    plan: Plan
    entries: list[Entry]
    baselines: dict[str, dict[str, dict[str, Any]]]

    def find(self, series: str, model: str, hidden: int) -> Entry:
        """The entry of one model.

        Args:
            series: name of the series.
            model: name of the model.
            hidden: hidden size.
        """
        return next(e for e in self.entries if (e.series, e.model, e.hidden) == (series, model, hidden))

    def of(self, series: str, model: str) -> list[Entry]:
        """All sizes of a model on a series."""
        return [entry for entry in self.entries if (entry.series, entry.model) == (series, model)]

    def matched(self, series: str, model: str) -> Entry:
        """The size whose parameter count is nearest that of the LSTM at the equal hidden size.

        Args:
            series: name of the series.
            model: name of the model.
        """
        target = self.find(series, REFERENCE, EQUAL).trainable
        return min(self.of(series, model), key=lambda entry: abs(entry.trainable - target))


def run(folder: Path, plan: Plan | None = None, jobs: int = 1, progress: bool = True, backend: str = "loky") -> Outcome:
    """Train everything that ``folder`` does not hold yet.

    Args:
        folder: keeps every run.
        plan: series, models, sizes and seeds; the published one if ``None``.
        jobs: processes.
        progress: show a progress bar.
        backend: of joblib.

    Raises:
        DataError: ``folder`` holds something else under the name of a result.
        OptionError: ``seeds`` or ``jobs`` is below 1, or a model lacks the equal hidden size.
    """
    plan = plan or Plan()
    check_positive("seeds", plan.seeds)
    if any(EQUAL not in sizes for sizes in plan.sizes.values()):
        raise OptionError(f"every model must be run at hidden size {EQUAL}, at which all are compared.")
    protocol = forecasting.describe(plan.protocol)
    places = [(s, m, h) for s in plan.series for m, sizes in plan.sizes.items() for h in sizes]
    runs: dict[str, grid.Run] = {}
    for series, model, hidden in places:
        for seed in range(plan.seeds):
            arguments = {"series": series, "model": model, "hidden": hidden, "seed": seed, "protocol": protocol}
            runs[f"{series}/{model}-{hidden}/{seed}"] = one_run, arguments
    results = grid.run_all(runs, folder, jobs, progress, backend)
    entries = []
    for series, model, hidden in places:
        own = [results[f"{series}/{model}-{hidden}/{seed}"] for seed in range(plan.seeds)]
        entries.append(Entry(series, model, hidden, own[0]["trainable"], own[0]["frozen"], own))
    found = {series: forecasting.baselines(windows_of(series, plan.protocol.window)) for series in plan.series}
    return Outcome(plan, entries, found)


@dataclass(frozen=True)
class Comparison:
    """A model against the LSTM on one series; positive differences mean larger errors than the LSTM's.

    Attributes:
        setting: "equal hidden size" or "equal parameters".
        entry: the model.
        difference: of the mean squared errors, with its 95 % interval.
        p: corrected for shared data, then by Holm over all comparisons of the experiment.
    """

    setting: str
    entry: Entry
    difference: tuple[float, float, float]
    p: float


def compare(outcome: Outcome) -> list[Comparison]:
    """Every model against the LSTM with EQUAL hidden units, seed by seed."""
    tests, kept = {}, {}
    for series in outcome.plan.series:
        part = windows_of(series, outcome.plan.protocol.window)
        share = len(part.test) / (len(part.test) + len(part.train))
        reference = outcome.find(series, REFERENCE, EQUAL)
        for model in outcome.plan.sizes:
            if model == REFERENCE:
                continue
            for setting, entry in (
                ("equal hidden size", outcome.find(series, model, EQUAL)),
                ("equal parameters", outcome.matched(series, model)),
            ):
                key = f"{series} {model} {setting}"
                tests[key] = corrected_paired_test(entry.values("mse"), reference.values("mse"), share)
                kept[key] = setting, entry
    p = holm({key: test.p for key, test in tests.items()})
    return [Comparison(*kept[key], (test.mean, test.low, test.high), p[key]) for key, test in tests.items()]


def parameters_of(model: str, hidden: int) -> int:
    """Trainable parameters with the linear read-out, one input and one output.

    Args:
        model: name of the model.
        hidden: hidden size.
    """
    return sum(part.numel() for part in Forecaster(model, hidden, seed=0).parameters())
