"""The main job: train a classifier on a table and report it with calibrated sets and SHAP values."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.markup import escape
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from qkan import preprocessing
from qkan.analysis import plots
from qkan.analysis.conformal import METHODS, SetReport, evaluate_sets, expected_coverage
from qkan.analysis.coverage import binomial_interval
from qkan.analysis.explain import Explanation
from qkan.analysis.importance import global_importance
from qkan.analysis.metrics import METRICS, Estimate, bootstrap_metrics
from qkan.analysis.selective import ABSTAIN, RiskCoverage, decide_by_set, risk_coverage
from qkan.counting import count
from qkan.data import Table
from qkan.errors import OptionError, check_choice, check_positive
from qkan.experiments.environment import versions
from qkan.experiments.output import FORMAT, output_folder
from qkan.experiments.split import Split, split_rows
from qkan.experiments.subgroups import Subgroups, groups_of
from qkan.experiments.subgroups import measure as measure_subgroups
from qkan.report import png, render
from qkan.sklearn import KAAMClassifier, KACQClassifier, KANClassifier, LogisticKANClassifier
from qkan.tabular import TabularModel

#: Models that can be trained.
MODELS = ("qkan", "kan", "kacq", "kaam", "logistic-kan")
#: Why some models take no hidden widths.
_NO_HIDDEN = {"kacq": "whose layers have sizes of their own", "kaam": "which is a sum over the features"}
#: Confidence levels of the report.
LEVELS = (0.8, 0.9, 0.95)
#: Of the sets that are reported by group.
GROUP_LEVEL = 0.9
#: Features whose curves are shown of an additive model.
SHAPES = 16
#: Classical classifiers beside the model, made from a seed.
BASELINES = {
    "Logistic regression": lambda seed: LogisticRegression(max_iter=5000),
    "Random forest": lambda seed: RandomForestClassifier(n_estimators=300, random_state=seed, n_jobs=1),
}


@dataclass(frozen=True)
class Settings:
    """What the run depends on besides the data.

    Attributes:
        model: "qkan", "kan", "kacq", the compact KACQ-DCNN, "kaam", an additive model of splines, or "logistic-kan".
        hidden: widths of the hidden layers; ``None`` is (4,), of a "logistic-kan" (5,). A "kacq" has sizes of its own,
            a "kaam" has none.
        epochs: at most; early stopping watches the validation rows.
        seed: of splits, initialisation, batches, bootstrap and SHAP.
        device: "auto" (CUDA where available), "cpu", "cuda" or another torch device.
        explained: number of test rows that get SHAP values.
        group: column by whose values coverage is also reported; ``None`` is the table's own group, such as the site.
    """

    model: str = "qkan"
    hidden: tuple[int, ...] | None = None
    epochs: int = 200
    seed: int = 0
    device: str = "auto"
    explained: int = 100
    group: str | None = None

    def check(self) -> None:
        """Raise :class:`OptionError` if a setting is out of range.

        Raises:
            OptionError: one is out of range or not known.
        """
        check_choice("model", self.model, MODELS)
        if self.model in _NO_HIDDEN and self.hidden is not None:
            raise OptionError(f"hidden={self.hidden} does not fit model={self.model!r}, {_NO_HIDDEN[self.model]}.")
        check_positive("epochs", self.epochs)
        if check_positive("seed", self.seed, 0) >= 2**32:
            raise OptionError(f"seed={self.seed} must be below 2**32.")
        check_positive("explained", self.explained)
        for size in self.hidden or ():
            check_positive("hidden", size)
        self.torch_device()

    def torch_device(self) -> str:
        """The device as torch names it.

        Raises:
            OptionError: this machine has no such device.
        """
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=self.device).item()
        except (RuntimeError, AssertionError, NotImplementedError):
            raise OptionError(f"device={self.device!r} is not available here; use 'auto' or 'cpu'.") from None
        return self.device


@dataclass
class Results:
    """Everything the report shows; of N test rows and C classes, labels (N,) and probabilities (N, C)."""

    model: TabularModel
    split: Split
    history: dict[str, Any]
    metrics: dict[str, dict[str, Estimate]]
    sets: list[SetReport]
    labels: np.ndarray
    probabilities: np.ndarray
    selective: RiskCoverage
    subgroups: Subgroups | None
    explanation: Explanation = field(init=False)
    seconds: dict[str, float] = field(default_factory=dict)


def run(table: Table, settings: Settings, out: Path, console: Any) -> Results:
    """Train, evaluate, explain and write ``out`` (report.html, metrics.json, overview.png, model/).

    ``out`` appears in one step when everything is ready; on any error or interruption nothing is left behind.

    Args:
        table: the data.
        settings: model and training.
        out: folder to write.
        console: a Rich console for progress.

    Raises:
        QKANError: bad data, settings or output folder.
    """
    settings.check()
    groups_of(table, settings.group)
    with output_folder(out) as folder:
        split = split_rows(table.features, table.target, settings.seed)
        for line in describe(table, split):
            console.print(escape(line))
        seconds: dict[str, float] = {}
        model = timed(seconds, "training", lambda: train(table, split, settings, verbose=not console.quiet))
        with console.status("calibrating and measuring"):
            results = timed(seconds, "evaluation", lambda: measure(table, split, settings, model))
        with console.status("computing SHAP values"):
            results.explanation = timed(seconds, "SHAP", lambda: _explain(table, split, settings, model))
        results.seconds = seconds
        with console.status("writing the report"):
            _write(folder, table, settings, results)
    return results


def train(table: Table, split: Split, settings: Settings, verbose: bool) -> TabularModel:
    """A model fitted on the training rows, stopped early on the validation rows, and calibrated.

    Args:
        table: the data.
        split: its parts.
        settings: model and training.
        verbose: show a progress bar.
    """
    options: dict[str, Any] = {
        "epochs": settings.epochs,
        "batch_size": max(64, len(split.train) // 64),  # keeps large tables at some 64 steps an epoch
        "device": settings.torch_device(),
        "standardize": False,
        "verbose": verbose,
        "random_state": settings.seed,
    }
    classifier = _classifier(settings, options)
    X, y = table.features, table.target
    model = TabularModel(classifier, target=str(y.name))
    model.fit(
        X.iloc[split.train],
        y.iloc[split.train],
        X.iloc[split.validation],
        y.iloc[split.validation],
        table.categorical,
        settings.seed,
    )
    return model.calibrate(X.iloc[split.calibration], y.iloc[split.calibration])


def _classifier(settings: Settings, options: dict[str, Any]) -> Any:
    if settings.model == "kacq":
        return KACQClassifier(**options)
    if settings.model == "kaam":
        return KAAMClassifier(**options)
    if settings.model == "logistic-kan":
        return LogisticKANClassifier(hidden=(5,) if settings.hidden is None else settings.hidden, **options)
    hidden = (4,) if settings.hidden is None else settings.hidden
    return KANClassifier(model=settings.model, hidden=hidden, **options)


def measure(table: Table, split: Split, settings: Settings, model: TabularModel) -> Results:
    """Metrics of the model and the baselines, and prediction sets, all on the test rows.

    Args:
        table: the data.
        split: its parts.
        settings: model and training.
        model: fitted and calibrated.
    """
    X, y = table.features.iloc[split.test], table.target.iloc[split.test]
    labels = np.searchsorted(model.classes, y.to_numpy())
    probabilities = model.predict_proba(model.conform(X, unseen="missing"))
    metrics = {settings.model.upper(): bootstrap_metrics(labels, probabilities, seed=settings.seed)}
    fitted, rows = fitted_baselines(table, split, model, BASELINES, settings.seed)
    for name, baseline in fitted.items():
        predicted = baseline.predict_proba(rows)
        metrics[name] = bootstrap_metrics(labels, predicted, seed=settings.seed)
    sets = [
        evaluate_sets(model.predict_set(probabilities, level, method), labels, method, level)
        for level in LEVELS
        for method in METHODS
    ]
    history = model.pipeline[-1].history_
    groups = groups_of(table, settings.group)
    subgroups = None if groups is None else measure_subgroups(table, split, model, groups, GROUP_LEVEL)
    selective = risk_coverage(labels, probabilities)
    return Results(model, split, history, metrics, sets, labels, probabilities, selective, subgroups)


def fitted_baselines(
    table: Table, split: Split, model: TabularModel, baselines: Mapping[str, Any], seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Baselines fitted on training and validation rows together, and the test rows as they read them.

    Args:
        table: the data.
        split: its parts.
        model: whose columns are numeric and whose are not.
        baselines: name -> function of a seed that makes an estimator.
        seed: of the estimators.
    """
    rows = np.concatenate([split.train, split.validation])
    X, y = table.features.iloc[rows], table.target.iloc[rows]
    levels = preprocessing.known_levels(X, table.categorical)
    conformed, found = preprocessing.conform(X, model.numeric, levels), {}
    for name, make in baselines.items():
        preprocessor = preprocessing.make_preprocessor(model.numeric, levels)
        found[name] = Pipeline([("preprocess", preprocessor), ("estimator", make(seed))]).fit(conformed, y.to_numpy())
    return found, preprocessing.conform(table.features.iloc[split.test], model.numeric, levels, unseen="missing")


def _explain(table: Table, split: Split, settings: Settings, model: TabularModel) -> Explanation:
    rows = table.features.iloc[split.test[: settings.explained]]
    return model.explain(model.conform(rows, unseen="missing"), seed=settings.seed)


def describe(table: Table, split: Split) -> list[str]:
    """What is to be said of a table and its parts before training, one sentence a line.

    Args:
        table: the table.
        split: its parts.
    """
    sizes = ", ".join(f"{len(rows)} {name}" for name, rows in split.parts().items())
    lines = [f"{table.name}: {len(table.target)} rows, {table.features.shape[1]} features; {sizes}"]
    if split.repeated:
        lines.append(f"{split.repeated} rows share their features with another row; equal rows stay in one part")
    for name, count_ in unseen_levels(table, split).items():
        lines.append(
            f"{count_} cells of column {name!r} hold levels that are not in the training part: taken as missing"
        )
    return lines


def unseen_levels(table: Table, split: Split) -> dict[str, int]:
    """Categorical column -> cells outside the training part whose level does not occur in it.

    Args:
        table: the table.
        split: its parts.
    """
    levels = preprocessing.known_levels(table.features.iloc[split.train], table.categorical)
    others = table.features.drop(index=table.features.index[split.train])
    found = {
        name: int((others[name].notna() & ~others[name].astype(str).isin(known)).sum())
        for name, known in levels.items()
    }
    return {name: number for name, number in found.items() if number}


def timed(seconds: dict[str, float], name: str, work: Any) -> Any:
    """The result of ``work()``, its duration noted under ``name``.

    Args:
        seconds: durations by name, added to.
        name: of the work.
        work: called without arguments.
    """
    start = time.perf_counter()
    result = work()
    seconds[name] = time.perf_counter() - start
    return result


def _write(folder: Path, table: Table, settings: Settings, results: Results) -> None:
    results.model.save(folder / "model")
    leading = [str(results.explanation.rows.columns[i]) for i in np.argsort(-results.explanation.importance)]
    shapes = results.model.shape_curves(leading)[:SHAPES]
    curves = shapes[:8] or results.model.edge_curves(leading)[:8]
    title = f"{settings.model.upper()} on {table.name}"
    overview = plots.overview(results.history, results.sets, results.explanation, curves, title)
    (folder / "overview.png").write_bytes(png(overview, 100))
    record = summary(table, settings, results)
    (folder / "metrics.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    label = len(results.model.classes) - 1
    figures = {
        "history": plots.history(results.history),
        "coverage": plots.coverage(results.sets),
        "reliability": plots.reliability(results.labels, results.probabilities),
        "selective": plots.risk_coverage(results.selective),
        "importance": plots.importance(results.explanation),
        "beeswarm": plots.beeswarm(results.explanation, label, str(results.model.classes[label])),
    }
    if shapes:
        figures["shapes"] = plots.edge_curves(shapes)
    elif curves:
        figures["edges"] = plots.edge_curves(curves)
    context = {
        "title": title,
        "table": table,
        "settings": settings,
        "results": results,
        "record": record,
        "metric_names": METRICS,
        "method_names": plots.NAMES,
        "count": count(results.model.pipeline[-1].network_),
        "network": str(results.model.pipeline[-1].network_),
    }
    (folder / "report.html").write_text(render("table", context, figures), encoding="utf-8")


def summary(table: Table, settings: Settings, results: Results) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        table: the data.
        settings: model and training.
        results: what was found.
    """
    explanation = results.explanation
    return {
        "format": FORMAT,
        "data": {
            "name": table.name,
            "rows": len(table.target),
            "features": table.features.shape[1],
            "target": str(table.target.name),
            "classes": [str(label) for label in results.model.classes],
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
        "prediction_sets": [asdict(report) for report in results.sets],
        "coverage_by_group": None if results.subgroups is None else asdict(results.subgroups),
        "selective": _selective(results),
        "expected_coverage": {
            str(level): expected_coverage(len(results.split.calibration), len(results.split.test), level)
            for level in LEVELS
        },
        "shap": {
            "method": explanation.method,
            "output": explanation.output,
            "rows": len(explanation.rows),
            "additivity_gap": explanation.additivity_gap,
            "mean_abs": dict(zip(explanation.features, explanation.importance.tolist(), strict=True)),
            "standard_error": _standard_errors(explanation),
        },
        "seconds": {name: round(value, 2) for name, value in results.seconds.items()},
        "versions": versions(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
    }


def _standard_errors(explanation: Explanation) -> dict[str, float | None]:
    table = global_importance(explanation)
    errors = zip(table["feature"], table["standard_error"], strict=True)
    return {name: None if np.isnan(error) else float(error) for name, error in errors}


def _selective(results: Results) -> dict[str, Any]:
    """What is gained by answering only where the prediction set holds one class, and the area of the curve."""
    answers = []
    for level in LEVELS:
        decided = decide_by_set(results.model.predict_set(results.probabilities, level))
        answered = decided != ABSTAIN
        wrong = decided[answered] != results.labels[answered]
        low, high = binomial_interval(wrong)
        error = float(wrong.mean()) if len(wrong) else None
        answers.append({"level": level, "answered": float(answered.mean()), "error": error, "interval": [low, high]})
    return {"area": results.selective.area, "by_set": answers}
