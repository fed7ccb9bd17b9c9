"""``qkan reproduce heart-shift``: prediction sets of a model that is used at a hospital it has not seen.

Trained and calibrated on three of the four heart-disease sites, tested on held-out rows of the three, where conformal
prediction promises coverage, and on the fourth, where it does not. Weighted conformal prediction restores the promise
if the sites differ in their patients only, not in how the disease depends on what is measured, and if the ratio of the
densities can be estimated; how far that goes is what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.model_selection import train_test_split

from qkan.analysis.conformal import ConformalSets, evaluate_sets, row_hashes
from qkan.analysis.conformal_sets import WeightedConformalSets, effective_rows, likelihood_ratio
from qkan.data._heart_facts import SITES
from qkan.errors import OptionError, check_choice, check_positive
from qkan.experiments import grid
from qkan.experiments.environment import versions
from qkan.experiments.kacq_heart_data import Fold, data_of, matrices
from qkan.experiments.kacq_heart_models import MODELS, Recipe
from qkan.saving import write_atomic

#: What the density ratio is estimated from: three columns that every site recorded, or all.
FEW = ("age", "sex", "cp")
#: Rows that coverage is measured on, and how they are written in the report.
ROWS = {
    "same": "new rows of the three sites",
    "fourth": "the fourth site",
    "few": "the fourth site, weighted by age, sex and chest pain",
    "all": "the fourth site, weighted by all columns",
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        seeds: random splits of the three sites.
        models: names of the registry of kacq-heart.
        level: confidence level of the sets.
        recipe: of training.
    """

    seeds: int = 30
    models: tuple[str, ...] = ("logistic_regression", "kacq-1")
    level: float = 0.9
    recipe: Recipe = field(default_factory=Recipe)


#: The small form for a quick look.
FAST = Plan(seeds=2, models=("logistic_regression", "qkan"), recipe=Recipe(epochs=3))


def one_run(model: str, site: str, seed: int, level: float, recipe: dict[str, Any]) -> dict[str, Any]:
    """Coverage and mean size of the sets, by :data:`ROWS`, and effective calibration rows of the weighted ones.

    Args:
        model: name of the classifier.
        site: the hospital that is left out.
        seed: of splits and training.
        level: confidence level in (0, 1).
        recipe: further settings of the plan, in JSON types.
    """
    data = data_of("heart")
    assert data.site is not None
    inside, outside = np.flatnonzero(data.site != site), np.flatnonzero(data.site == site)
    train, rest = train_test_split(inside, test_size=0.5, random_state=seed, stratify=data.labels[inside])
    trained = row_hashes(data.features.iloc[train])
    rest = rest[~np.isin(row_hashes(data.features.iloc[rest]), trained)]  # patients whose columns are all equal
    known, same = train_test_split(rest, test_size=0.2, random_state=seed, stratify=data.labels[rest])
    place = Fold(site, seed, train, np.concatenate([known, same, outside]))
    X, others = matrices("heart", place, MODELS[model].unit_range("compact"))
    fitted = MODELS[model].make(Recipe(**recipe), seed, "compact").fit(X, data.labels[train])
    ends = np.cumsum([len(known), len(same)])
    given, near, far = np.split(np.asarray(fitted.predict_proba(others), dtype=np.float64), ends)
    labels, truth, rows = data.labels[known], data.labels[outside], data.features.iloc[known]
    plain = ConformalSets(given, labels, rows=rows, trained=trained)
    weighted = WeightedConformalSets(given, labels, rows=rows, trained=trained)
    reports = {
        "same": evaluate_sets(plain.predict_set(near, level), data.labels[same], "lac", level),
        "fourth": evaluate_sets(plain.predict_set(far, level), truth, "lac", level),
    }
    effective = {}
    few = pd.get_dummies(data.features[list(FEW)], dtype=float).to_numpy()
    everything = np.split(others, ends)
    for name, pair in (("few", (few[known], few[outside])), ("all", (everything[0], everything[2]))):
        ratios = likelihood_ratio(*pair, seed=seed)
        reports[name] = evaluate_sets(weighted.predict_set(far, *ratios, level), truth, "weighted", level)
        effective[name] = effective_rows(ratios[0])
    return {
        **{f"coverage {name}": report.coverage for name, report in reports.items()},
        **{f"size {name}": report.mean_size for name, report in reports.items()},
        **{f"effective {name}": round(value, 2) for name, value in effective.items()},
        "calibration rows": len(known),
    }


def run(
    folder: Path, plan: Plan | None = None, jobs: int = 1, progress: bool = True, backend: str = "loky"
) -> dict[str, list[dict[str, Any]]]:
    """Results by "model/site", one per seed; ``folder`` keeps every run.

    Args:
        folder: keeps every run.
        plan: models, seeds and level; the published one if ``None``.
        jobs: processes.
        progress: show a progress bar.
        backend: of joblib.

    Raises:
        OptionError, DataError: as :func:`qkan.experiments.kacq_heart.run`.
    """
    plan = plan or Plan()
    check_positive("seeds", plan.seeds)
    for model in plan.models:
        check_choice("model", model, MODELS)
        if not MODELS[model].available:
            raise OptionError(f"model={model!r} needs the package {MODELS[model].needs!r}, which is not installed.")
    common = {"level": plan.level, "recipe": asdict(plan.recipe)}
    runs: dict[str, grid.Run] = {
        f"{model}/{site}/{seed}": (one_run, {"model": model, "site": site, "seed": seed, **common})
        for seed in range(plan.seeds)
        for model in plan.models
        for site in SITES
    }
    results = grid.run_all(runs, folder, jobs, progress, backend)
    return {
        f"{model}/{site}": [results[f"{model}/{site}/{seed}"] for seed in range(plan.seeds)]
        for model in plan.models
        for site in SITES
    }


def save(
    results: Mapping[str, list[dict[str, Any]]], plan: Plan, folder: Path, command: str, name: str = "heart-shift"
) -> list[Path]:
    """Write ``name``.md, .json and .png into ``folder``; return their paths.

    Args:
        results: as from :func:`run`.
        plan: what was run.
        folder: where to write.
        command: the command line, for the text.
        name: of the files.
    """
    from qkan.report import png

    record = {"command": command, "versions": versions(), "plan": asdict(plan), "runs": results}
    content = {
        f"{name}.md": markdown(results, plan, command, f"{name}.png").encode(),
        f"{name}.json": json.dumps(record, indent=1).encode(),
        f"{name}.png": png(figure(results, plan)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, written in content.items():
        write_atomic(folder / file, written)
    return [folder / file for file in content]


def markdown(results: Mapping[str, list[dict[str, Any]]], plan: Plan, command: str, picture: str) -> str:
    """The whole text.

    Args:
        results: as from :func:`run`.
        plan: what was run.
        command: the command line.
        picture: file name of the figure.
    """
    parts = [
        "# Prediction sets at a hospital that the model has not seen",
        f"Made by `{command}`. Split-conformal sets at {100 * plan.level:g} %, {plan.seeds} random splits of the three "
        "other sites into training, calibration and held-out rows. Brackets: standard deviation over splits. Coverage "
        "of the held-out rows is what the theory promises; of the fourth site nothing is promised. Weights are ratios "
        "of the densities of patients, estimated without labels; effective rows say how many equally weighted "
        "calibration rows they are worth.",
        f"![coverage by site]({picture})",
    ]
    for model in plan.models:
        lines = ["| fourth site | sets of | coverage | mean size | effective rows |", "|---|---|---|---|---|"]
        for site in SITES:
            runs = results[f"{model}/{site}"]
            lines += [f"| {site} | {text} | {_cells(runs, key)} |" for key, text in ROWS.items()]
        parts += [f"## {model}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _cells(runs: list[dict[str, Any]], key: str) -> str:
    effective = "calibration rows" if key in ("same", "fourth") else f"effective {key}"
    cells = [(f"coverage {key}", ".3f"), (f"size {key}", ".2f"), (effective, ".0f")]
    values = [[run[name] for run in runs] for name, _ in cells]
    return " | ".join(
        f"{np.mean(own):{form}} ({np.std(own):{form}})" for own, (_, form) in zip(values, cells, strict=True)
    )


def figure(results: Mapping[str, list[dict[str, Any]]], plan: Plan) -> Figure:
    """Coverage by site and kind of rows, one panel per model.

    Args:
        results: as from :func:`run`.
        plan: what was run.
    """
    drawn = Figure(figsize=(5.4 * len(plan.models), 4.2), layout="constrained")
    panels = np.atleast_1d(drawn.subplots(1, len(plan.models), sharey=True))
    for panel, model in zip(panels, plan.models, strict=True):
        for offset, (key, text) in zip((-0.24, -0.08, 0.08, 0.24), ROWS.items(), strict=True):
            values = np.array([[run[f"coverage {key}"] for run in results[f"{model}/{site}"]] for site in SITES])
            places = np.arange(len(SITES)) + offset
            panel.errorbar(places, values.mean(1), values.std(1), fmt="o", ms=5, capsize=3, label=text)
        panel.axhline(plan.level, color="#8a8a8a", lw=1, ls=":")
        panel.set_xticks(range(len(SITES)), list(SITES))
        panel.set(title=model, xlabel="fourth site")
    panels[0].set_ylabel("coverage")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return drawn
