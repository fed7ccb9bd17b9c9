"""``qkan reproduce kacq-heart``: KACQ-DCNN, its parts and everything it was compared with, on the same folds.

The published comparison rests on a file that leaks its label, on test rows used for early stopping and on three
different test sets. The protocol "honest" has none of these: four sites with missing values kept, repeated stratified
folds that are the same for every model, preprocessing and early stopping inside the training rows. "published" repeats
the published rules, to show what its numbers rest on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qkan.analysis.metrics import classification_metrics
from qkan.counting import count
from qkan.errors import OptionError, check_choice, check_positive
from qkan.experiments import grid
from qkan.experiments.kacq_heart_data import FOLDS, TITLES, Fold, data_of, fold_named, folds_of, matrices
from qkan.experiments.kacq_heart_models import MODELS, Model, Recipe
from qkan.experiments.kacq_heart_results import Entry, Outcome, Table

#: Tables of each protocol.
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "honest": ("heart", "heart-sites", "cleveland", "breast_cancer"),
    "published": ("published",),
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        tables: names of data sets, see :data:`~qkan.experiments.kacq_heart_data.TITLES`.
        repeats: of the five folds, by table; the two further sets have fewer.
        models: names.
        recipe: of training.
        folds: only so many of every table; ``None`` for all.
    """

    tables: tuple[str, ...] = PROTOCOLS["honest"]
    repeats: Mapping[str, int] = field(default_factory=lambda: {"heart": 10, "cleveland": 10, "breast_cancer": 2})
    models: tuple[str, ...] = tuple(MODELS)
    recipe: Recipe = field(default_factory=Recipe)
    folds: int | None = None

    def check(self) -> None:
        """Raise :class:`OptionError` for an unknown name or a number out of range.

        Raises:
            OptionError: one is out of range or not known.
        """
        for table in self.tables:
            check_choice("table", table, TITLES)
        for model in self.models:
            check_choice("model", model, MODELS)
        if not self.tables or not self.models:
            raise OptionError("a plan needs one table and one model at least.")
        for number in self.repeats.values():
            check_positive("repeats", number)


#: The same code in a minute or two: two folds of each table, and hardly any training.
FAST = Plan(
    repeats={"heart": 1, "cleveland": 1, "breast_cancer": 1},
    models=("logistic_regression", "random_forest", "dummy", "mps-1", "qckan-1", "qkan", "kacq-1", "kacq-identity"),
    recipe=Recipe(epochs=3),
    folds=2,
)


def one_run(table: str, model: str, fold: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train and score one model on one fold; arguments and result in JSON types.

    In the protocol "published" networks are stopped by the test rows themselves, as published.

    Args:
        table: name of the table.
        model: name of the classifier.
        fold: name of the fold.
        recipe: settings of the model, in JSON types.
    """
    entry = MODELS[model]
    preset = "published" if table == "published" else "compact"
    place = fold_named(table, fold, entry.group)
    labels = data_of(table).labels
    train, test = matrices(table, place, entry.unit_range(preset))
    classifier = entry.make(Recipe(**recipe), place.seed, preset)
    watched = {}
    if table == "published" and hasattr(classifier, "early_stopping") and entry.group != "classical":
        watched = {"X_val": test, "y_val": labels[place.test]}
    start = time.perf_counter()
    with _single_thread():
        classifier.fit(train, labels[place.train], **watched)
        seconds = time.perf_counter() - start
        probabilities = np.asarray(classifier.predict_proba(test), dtype=np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)  # of float32 they add up to 1 in float32 only
    scores = classification_metrics(labels[place.test], probabilities)
    return {"fold": fold, **_size(classifier), "seconds": round(seconds, 3), **_rounded(scores)}


def _single_thread() -> Any:
    """Runs are parallel, not what happens inside them; small tensors lose by threads."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}


def _size(classifier: Any) -> dict[str, int | None]:
    """Trainable parameters and epochs of a network; of an ensemble, all parameters and the mean epochs."""
    members = [one for one in getattr(classifier, "estimators_", [classifier]) if hasattr(one, "network_")]
    if not members:
        return {"parameters": None, "epochs": None}
    parameters = sum(count(one.network_).trainable for one in members)
    return {"parameters": parameters, "epochs": round(sum(one.n_iter_ for one in members) / len(members))}


def run(
    folder: Path,
    plan: Plan | None = None,
    jobs: int = 1,
    progress: bool = True,
    backend: str = "loky",
    warn: Callable[[str], None] | None = None,
) -> Outcome:
    """Train and score everything that ``folder`` does not hold yet, fold by fold.

    Args:
        folder: where the result of every run is kept.
        plan: what is run; ``None`` is the whole honest protocol, some hours on two cores.
        jobs: processes.
        progress: show a progress bar.
        backend: of joblib: "loky" (processes), "threading", "dask" or "ray".
        warn: told of models left out because their package is not installed.

    Raises:
        OptionError: a name is unknown, a number out of range, or no model is left for a table.
        DataError: a data file is missing, or ``folder`` holds something else under the name of a result.
        BackendUnavailable: Dask or Ray is not installed.
    """
    plan = plan or Plan()
    plan.check()
    present = [name for name in plan.models if MODELS[name].available]
    for name in plan.models:
        if name not in present and warn is not None:
            warn(f"{name} is left out: the package {MODELS[name].needs!r} is not installed.")
    for table in plan.tables:
        if not _chosen(table, present):
            wanted = "installed" if table != "published" else "installed and of the publication"
            raise OptionError(f"none of the models {', '.join(plan.models)} is {wanted}, for the table {table!r}.")
    runs: dict[str, grid.Run] = {}
    for table in plan.tables:
        runs |= _runs_of(table, plan, present)
    results = grid.run_all(runs, folder, jobs, progress, backend)
    tables = [_table(name, plan, present, results) for name in plan.tables]
    settings = {"recipe": asdict(plan.recipe), "repeats": dict(plan.repeats), "folds_used": plan.folds, "folds": FOLDS}
    return Outcome(tables, settings)


def _chosen(table: str, names: list[str]) -> list[Model]:
    return [MODELS[name] for name in names if table != "published" or MODELS[name].published]


def _folds(table: str, plan: Plan, model: Model) -> list[Fold]:
    return folds_of(table, plan.repeats.get(table, 1), model.group)[: plan.folds]


def _runs_of(table: str, plan: Plan, names: list[str]) -> dict[str, grid.Run]:
    """Fold by fold, so that what is done after an hour is a comparison already, and the time left can be told."""
    models = _chosen(table, names)
    places = {model.name: _folds(table, plan, model) for model in models}
    common = {"table": table, "recipe": asdict(plan.recipe)}
    return {
        f"{table}/{model.name}/{places[model.name][number].name}": (
            one_run,
            {**common, "model": model.name, "fold": places[model.name][number].name},
        )
        for number in range(len(places[models[0].name]))
        for model in models
    }


def _table(table: str, plan: Plan, names: list[str], results: dict[str, dict[str, Any]]) -> Table:
    models = _chosen(table, names)
    first = _folds(table, plan, models[0])[0]
    share = len(first.test) / (len(first.test) + len(first.train))
    entries = [
        Entry(
            model.name,
            model.group,
            [
                {**results[f"{table}/{model.name}/{fold.name}"], "test_rows": len(fold.test)}
                for fold in _folds(table, plan, model)
            ],
        )
        for model in models
    ]
    return Table(table, _title(table, plan, len(entries[0].runs)), share, len(data_of(table).labels), entries)


def _title(table: str, plan: Plan, number: int) -> str:
    if table == "heart-sites" or table == "published":
        return TITLES[table]
    repeats = plan.repeats.get(table, 1)
    folds = f"{repeats} × {FOLDS} folds" if number == repeats * FOLDS else f"{number} folds"
    return f"{TITLES[table]}, {folds}"
