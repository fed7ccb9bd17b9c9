"""``qkan train --task regression``: a regressor on a table, reported with conformal prediction intervals."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import RidgeCV

from qkan.analysis import plots, regression_plots
from qkan.analysis.conformal import expected_coverage
from qkan.analysis.coverage import binomial_interval
from qkan.analysis.intervals import Intervals
from qkan.analysis.metrics import Estimate
from qkan.analysis.regression_metrics import METRICS, bootstrap_errors
from qkan.counting import count
from qkan.data import Table
from qkan.errors import DataError, OptionError
from qkan.experiments.environment import versions
from qkan.experiments.output import FORMAT, output_folder
from qkan.experiments.split import Split, split_rows
from qkan.experiments.tabular import LEVELS, Settings, describe, fitted_baselines, timed, unseen_levels
from qkan.report import png, render
from qkan.sklearn import KANRegressor
from qkan.tabular_regression import TabularRegressor

#: Models that can be trained.
MODELS = ("qkan", "kan")
#: Classical regressors beside the model, made from a seed.
BASELINES = {
    "Ridge regression": lambda seed: RidgeCV(np.logspace(-3, 3, 13)),
    "Random forest": lambda seed: RandomForestRegressor(n_estimators=300, random_state=seed, n_jobs=1),
}
#: Shuffles of each column for permutation importance.
REPEATS = 10


def check(settings: Settings) -> None:
    """Raise :class:`OptionError` if a setting is out of range, or speaks of classes."""
    if settings.model not in MODELS:
        raise OptionError(f"model={settings.model!r} does not fit regression; choose one of {', '.join(MODELS)}.")
    if settings.group is not None:
        raise OptionError("--group reports coverage of prediction sets; it does not fit regression.")
    settings.check()


@dataclass
class Results:
    """Everything the report shows.

    ``importance``: column, mean rise of the RMSE, its standard deviation; ``targets`` (N,) of the test rows.
    """

    model: TabularRegressor
    split: Split
    history: dict[str, Any]
    metrics: dict[str, dict[str, Estimate]]
    targets: np.ndarray
    intervals: list[Intervals]
    importance: list[tuple[str, float, float]]
    seconds: dict[str, float] = field(default_factory=dict)


def run(table: Table, settings: Settings, out: Path, console: Any) -> Results:
    """Train, evaluate and write ``out`` (report.html, metrics.json, overview.png, model/), whole or not at all.

    Args:
        table: with a target of numbers.
        settings: of the run.
        out: folder to write.
        console: a rich ``Console`` for progress.

    Raises:
        DataError: the target is the same in all training or all test rows.
        QKANError: other bad data, settings or output folder.
    """
    check(settings)
    with output_folder(out) as folder:
        split = split_rows(table.features, table.target, settings.seed, stratify=False)
        for part in ("train", "test"):
            if table.target.iloc[getattr(split, part)].nunique() < 2:
                raise DataError(f"all {part} rows have the same {table.target.name}: there is nothing to predict.")
        for line in describe(table, split):
            console.print(escape(line))
        seconds: dict[str, float] = {}
        model = timed(seconds, "training", lambda: _train(table, split, settings, verbose=not console.quiet))
        with console.status("calibrating and measuring"):
            results = timed(seconds, "evaluation", lambda: _measure(table, split, settings, model))
        results.seconds = seconds
        with console.status("writing the report"):
            _write(folder, table, settings, results)
    return results


def _train(table: Table, split: Split, settings: Settings, verbose: bool) -> TabularRegressor:
    """A model fitted on the training rows, stopped early on the validation rows, and calibrated."""
    regressor = KANRegressor(
        model=settings.model,
        hidden=(4,) if settings.hidden is None else settings.hidden,
        epochs=settings.epochs,
        batch_size=max(64, len(split.train) // 64),  # keeps large tables at some 64 steps an epoch
        device=settings.torch_device(),
        standardize=False,
        verbose=verbose,
        random_state=settings.seed,
    )
    X, y = table.features, table.target
    model = TabularRegressor(regressor, target=str(y.name))
    train, watched = split.train, split.validation
    model.fit(X.iloc[train], y.iloc[train], X.iloc[watched], y.iloc[watched], table.categorical, settings.seed)
    return model.calibrate(X.iloc[split.calibration], y.iloc[split.calibration])


def _measure(table: Table, split: Split, settings: Settings, model: TabularRegressor) -> Results:
    """Errors of the model and the baselines, intervals and permutation importance, all on the test rows."""
    rows = model.conform(table.features.iloc[split.test], unseen="missing")
    targets = table.target.iloc[split.test].to_numpy(dtype=np.float64)
    predicted = model.predict(rows)
    fitted, tested = fitted_baselines(table, split, model, BASELINES, settings.seed)
    found = {settings.model.upper(): predicted, **{name: one.predict(tested) for name, one in fitted.items()}}
    metrics = {name: bootstrap_errors(targets, own, seed=settings.seed) for name, own in found.items()}
    intervals = [model.predict_interval(predicted, level) for level in LEVELS]
    importance = _importance(model, rows, targets, settings.seed)
    return Results(model, split, model.pipeline[-1].history_, metrics, targets, intervals, importance)


def _importance(
    model: TabularRegressor, rows: pd.DataFrame, targets: np.ndarray, seed: int
) -> list[tuple[str, float, float]]:
    """Rise of the test RMSE when a column is shuffled, largest first."""
    found = permutation_importance(
        model.pipeline, rows, targets, scoring="neg_root_mean_squared_error", n_repeats=REPEATS, random_state=seed
    )
    order = np.argsort(-found.importances_mean)
    return [(model.columns[i], float(found.importances_mean[i]), float(found.importances_std[i])) for i in order]


# -- writing ---------------------------------------------------------------------------------------------------------


def _write(folder: Path, table: Table, settings: Settings, results: Results) -> None:
    results.model.save(folder / "model")
    record = _summary(table, settings, results)
    (folder / "metrics.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    curves = results.model.edge_curves([name for name, *_ in results.importance])[:8]
    title = f"{settings.model.upper()} on {table.name}"
    shown = next(one for one in results.intervals if one.level == 0.9)
    figures = {
        "predicted": regression_plots.predicted_against_true(results.targets, shown, str(table.target.name)),
        "importance": regression_plots.importance(results.importance),
        "history": plots.history(results.history),
    }
    if curves:
        figures["edges"] = plots.edge_curves(curves)
    (folder / "overview.png").write_bytes(png(figures["predicted"], 100))
    network = results.model.pipeline[-1].network_
    context = {
        "title": title,
        "table": table,
        "settings": settings,
        "record": record,
        "results": results,
        "metric_names": METRICS,
        "count": count(network),
        "network": str(network),
    }
    (folder / "report.html").write_text(render("regression", context, figures), encoding="utf-8")


def _summary(table: Table, settings: Settings, results: Results) -> dict[str, Any]:
    """The content of metrics.json."""
    sizes = len(results.split.calibration), len(results.split.test)
    return {
        "format": FORMAT,
        "task": "regression",
        "data": {
            "name": table.name,
            "rows": len(table.target),
            "features": table.features.shape[1],
            "target": str(table.target.name),
            "source": table.source,
            "sha256": table.sha256,
            "notes": list(table.notes),
        },
        "settings": asdict(settings),
        "split": {name: len(rows) for name, rows in results.split.parts().items()},
        "rows_with_equal_features": results.split.repeated,
        "unseen_levels": unseen_levels(table, results.split),
        "epochs_run": len(results.history["step"]),
        "metrics": {name: {key: asdict(value) for key, value in own.items()} for name, own in results.metrics.items()},
        "intervals": [_interval(one, results.targets, sizes) for one in results.intervals],
        "importance": [dict(zip(("column", "rise", "std"), one, strict=True)) for one in results.importance],
        "seconds": {name: round(value, 2) for name, value in results.seconds.items()},
        "versions": versions(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
    }


def _interval(one: Intervals, targets: np.ndarray, sizes: tuple[int, int]) -> dict[str, Any]:
    covered = one.covered(targets)
    return {
        "level": one.level,
        "method": one.method,
        "coverage": float(covered.mean()),
        "interval": list(binomial_interval(covered)),
        "expected": list(expected_coverage(*sizes, one.level)),
        "width": one.median_width if np.isfinite(one.median_width) else None,
    }
