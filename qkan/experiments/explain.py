"""``qkan explain``: one page about chosen rows of a file and about what the model makes of all of them."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkan._progress import progress_bar
from qkan.analysis import conformal, explain_plots, plots
from qkan.analysis.conformal import check_level, row_hashes
from qkan.analysis.explain import Explanation
from qkan.analysis.importance import Agreement, agreement, global_importance, permutation_importance
from qkan.analysis.lime import Lime, import_lime, lime_values
from qkan.analysis.network_shap import is_additive
from qkan.analysis.stability import Stability, resampled_importance, stability
from qkan.data import read_rows
from qkan.data.table import labels as parse_labels
from qkan.errors import DataError, OptionError, check_choice, check_positive
from qkan.experiments.environment import versions
from qkan.experiments.output import EXPLANATION, output_folder
from qkan.report import render
from qkan.tabular import METHODS, TabularModel

#: Rows of the file that the part about all rows needs at least; with fewer it shows the model's background.
FEWEST = 20
#: Rows that LIME and the resamples look at; both cost a multiple of one explanation per row.
SAMPLE = 20


@dataclass(frozen=True)
class Settings:
    """What a page depends on besides the model and the file.

    Attributes:
        rows: numbers of the rows to explain, counted from 1, such as "1,5,8-10"; ``None``: the first five.
        method: of SHAP, see :meth:`qkan.tabular.TabularModel.explain`.
        level: confidence level of the prediction sets.
        sets: "lac" (covers on average) or "mondrian" (within each class).
        reorder: match columns by name in any order.
        lime: explain by LIME as well.
        neighbours: nearest background rows shown per row.
        explained: rows of the file that get SHAP values in the part about all rows.
        draws: resamples of background and rows.
        seed: of permutations, samples, shuffles and resamples.
    """

    rows: str | None = None
    method: str = "auto"
    level: float = 0.9
    sets: str = "lac"
    reorder: bool = False
    lime: bool = False
    neighbours: int = 5
    explained: int = 100
    draws: int = 20
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`OptionError` if a setting is out of range."""
        check_choice("method", self.method, METHODS)
        check_level(self.level)
        check_choice("sets", self.sets, conformal.METHODS)
        check_positive("neighbours", self.neighbours)
        check_positive("explained", self.explained)
        check_positive("draws", self.draws, 2)
        if check_positive("seed", self.seed, 0) >= 2**32:
            raise OptionError(f"seed={self.seed} must be below 2**32.")


@dataclass
class Results:
    """Everything the page shows. ``pool``: the rows of the part about all rows; ``lime``: of the patients, of the pool.

    A patient is a row that was chosen for explanation.
    """

    chosen: list[int]
    labels: np.ndarray | None
    probabilities: np.ndarray
    sets: np.ndarray
    patients: Explanation
    neighbours: list[list[dict[str, Any]]]
    pool: Explanation
    pool_is_file: bool
    lime: tuple[Lime, Lime] | None
    shuffled: pd.DataFrame | None
    agreement: Agreement
    stability: Stability


def run(model: str | Path, rows: str | Path, settings: Settings, out: str | Path, show: bool = True) -> Results:
    """Explain rows of a CSV file and write ``out`` (explain.html, explain.json), which appears whole or not at all.

    Args:
        model: model folder.
        rows: CSV file with the model's columns; with a column of the target's name, its labels are used.
        settings: what to explain and how.
        out: folder to write.
        show: whether to show progress.

    Raises:
        QKANError: a setting, the model, the file or the folder cannot be used.
    """
    settings.check()
    if settings.lime:
        import_lime()  # its absence is told before minutes are spent on SHAP values
    loaded = TabularModel.load(model)
    raw = read_rows(rows)
    frame = loaded.conform(raw, settings.reorder)
    chosen = parse_rows(settings.rows, len(frame))
    labels, unlabelled = _labels(loaded, raw)
    with output_folder(out, EXPLANATION) as folder:
        results = explain(loaded, frame, labels, chosen, settings, unlabelled, show)
        record = summary(loaded, settings, results, Path(model), Path(rows))
        (folder / "explain.json").write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
        context = {"title": f"Explanation of {loaded.target}", "record": record}
        page = render("explain", context, _figures(loaded, results))
        (folder / "explain.html").write_text(page, encoding="utf-8")
    return results


def parse_rows(text: str | None, count: int) -> list[int]:
    """Places, counted from 0, of rows that people count from 1: "1,5,8-10"; ``None`` stands for the first five.

    Raises:
        OptionError: the text is something else, or there is no such row.
    """
    if text is None:
        return list(range(min(5, count)))
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise OptionError(f"rows={text!r} must list row numbers such as 1,5,8-10.")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise OptionError(f"rows={text!r} asks for row {part.strip()}; the file has rows 1 to {count}.")
        found += range(first - 1, last)
    return list(dict.fromkeys(found))


def explain(
    model: TabularModel,
    frame: pd.DataFrame,
    labels: np.ndarray | None,
    chosen: list[int],
    settings: Settings,
    unlabelled: str = "there are no labels",
    show: bool = False,
) -> Results:
    """Everything the page shows.

    Args:
        model: a calibrated model.
        frame: rows as ``model.conform`` returns them.
        labels: (rows,) true classes, or ``None``.
        chosen: places of the rows to explain one by one.
        settings: how.
        unlabelled: why there are no labels.
        show: whether to show progress.
    """
    if model.background is None:
        raise DataError("the model has no background rows; train it again.")
    probabilities = model.predict_proba(frame.iloc[chosen])
    sets = model.predict_set(probabilities, settings.level, settings.sets)
    pool_is_file = len(frame) >= FEWEST
    pool_rows = frame.iloc[: settings.explained] if pool_is_file else model.background
    patients = frame.iloc[chosen]
    both = pd.concat([patients, pool_rows], ignore_index=True)
    sample = pool_rows.iloc[:SAMPLE]
    lime_rows = settings.lime * (len(chosen) + len(sample))
    with progress_bar(show, "explaining", len(both) + settings.draws + lime_rows, stderr=True) as advance:
        report = _reporter(advance)
        report("SHAP", 0)
        explained = model.explain(
            both, seed=settings.seed, method=settings.method, progress=lambda rows: report("SHAP", rows)
        )
        lime: tuple[Lime, Lime] | None = None
        if settings.lime:
            report("LIME", 0)
            lime = _lime(model, patients, settings, report), _lime(model, sample, settings, report)
        report("resamples", 0)
        drawn = _resampled(model, sample, settings, report)
    pool = explained.take(range(len(chosen), len(both)))
    shuffled = None
    if labels is not None:
        found = _shuffled(model, frame, labels, settings.seed)
        shuffled, unlabelled = (None, found) if isinstance(found, str) else (found, "")
    return Results(
        chosen=chosen,
        labels=labels,
        probabilities=probabilities,
        sets=sets,
        patients=explained.take(range(len(chosen))),
        neighbours=nearest(model, patients, settings.neighbours),
        pool=pool,
        pool_is_file=pool_is_file,
        lime=lime,
        shuffled=shuffled,
        agreement=_agreement(model, pool, None if lime is None else lime[1], shuffled, unlabelled),
        stability=stability(pool.features, drawn),
    )


def nearest(model: TabularModel, rows: pd.DataFrame, count: int) -> list[list[dict[str, Any]]]:
    """The background rows nearest to each row, with distance, values, probabilities and label.

    The distance is Euclidean between what the network sees: a numeric column counts in standard deviations of the
    training rows, another level of a categorical one √2, and a value missing from one of the two only 1 more where the
    training rows had gaps in that column.
    """
    background = model.background
    assert background is not None
    own, seen = model.inputs(rows), model.inputs(background)
    distances = np.sqrt(((own[:, None] - seen[None]) ** 2).sum(-1))
    probabilities = model.predict_proba(background)
    labels = model.background_labels
    return [
        [
            {
                "background_row": int(place) + 1,
                "distance": float(row[place]),
                "label": None if labels is None else str(labels[place]),
                "probabilities": probabilities[place].tolist(),
                "values": [explain_plots.shown(value) for value in background.iloc[place]],
            }
            for place in np.argsort(row, kind="stable")[:count]
        ]
        for row in distances
    ]


# -- parts -------------------------------------------------------------------------------------------------------------


def _reporter(advance: Callable[[int, str], None]) -> Callable[[str, int], None]:
    return lambda stage, steps: advance(steps, stage)


def _labels(model: TabularModel, raw: pd.DataFrame) -> tuple[np.ndarray | None, str]:
    """True classes of the file's rows; or none, and why."""
    if model.target not in raw.columns:
        return None, f"the file has no column {model.target!r}"
    column = raw[model.target]
    if column.isna().any():
        return None, f"column {model.target!r} has gaps, the first in row {int(column.isna().argmax()) + 1}"
    known = {str(label): label for label in model.classes}
    texts = parse_labels(column).astype(str)
    unknown = texts[~texts.isin(list(known))]
    if len(unknown):
        return None, f"column {model.target!r} holds {unknown.iloc[0]!r}, which is not a class of the model"
    return np.asarray([known[text] for text in texts]), ""


def _shuffled(model: TabularModel, frame: pd.DataFrame, labels: np.ndarray, seed: int) -> pd.DataFrame | str:
    """Permutation importance on the rows that were not trained on, or why there is none."""
    fresh = ~np.isin(row_hashes(frame), list(model.trained))
    if fresh.sum() < FEWEST:
        return f"{fresh.sum()} labelled rows were not trained on; at least {FEWEST} are needed"
    return permutation_importance(model.pipeline, frame[fresh], labels[fresh], seed=seed)


def _lime(model: TabularModel, rows: pd.DataFrame, settings: Settings, report: Callable[[str, int], None]) -> Lime:
    assert model.background is not None
    predict = model.pipeline.predict_proba
    return lime_values(
        predict,
        model.background,
        rows,
        predict(rows).argmax(1),
        model.levels,
        seed=settings.seed,
        progress=lambda steps: report("LIME", steps),
    )


def _resampled(
    model: TabularModel, rows: pd.DataFrame, settings: Settings, report: Callable[[str, int], None]
) -> np.ndarray:
    """Importances on resamples, by permutation where the rows were explained exactly: many times, so cheaply."""
    assert model.background is not None
    method = settings.method
    if method == "auto":
        method = "additive" if is_additive(model.pipeline[-1].network_) else "permutation"
    method = "permutation" if method == "exact" else method
    return resampled_importance(
        lambda seen, own: model.explain(own, seed=settings.seed, method=method, background=seen, rounds=2),
        model.background,
        rows,
        draws=settings.draws,
        seed=settings.seed,
        progress=lambda steps: report("resamples", steps),
    )


def _agreement(
    model: TabularModel, pool: Explanation, lime: Lime | None, shuffled: pd.DataFrame | None, unlabelled: str
) -> Agreement:
    measures: dict[str, Any] = {"SHAP": pool.importance}
    left_out = {}
    if lime is None:
        left_out["LIME"] = "not asked for; --lime adds it"
    else:
        measures["LIME"] = lime.importance
    if shuffled is None:
        left_out["permutation importance"] = unlabelled
    else:
        measures["permutation importance"] = shuffled.set_index("feature")["importance"][pool.features].to_numpy()
    edges = model.edge_importance()
    if edges is None:
        left_out["edge functions"] = "the network does not begin with one KAN layer on the row"
    else:
        measures["edge functions"] = edges
    return agreement(pool.features, measures, left_out)


# -- writing -----------------------------------------------------------------------------------------------------------


def summary(model: TabularModel, settings: Settings, results: Results, folder: Path, file: Path) -> dict[str, Any]:
    """The content of explain.json, all that the page shows in numbers and words."""
    pool, found = results.pool, results.agreement
    record = {
        "format": EXPLANATION.format,
        "model": str(folder),
        "data": {"source": str(file), "sha256": hashlib.sha256(file.expanduser().read_bytes()).hexdigest()},
        "settings": asdict(settings),
        "target": model.target,
        "classes": [str(label) for label in model.classes],
        "columns": [str(name) for name in model.columns],
        "sample": SAMPLE,
        "background_rows": len(model.background) if model.background is not None else 0,
        "shap": {
            "method": pool.method,
            "output": pool.output,
            "unit": pool.unit,
            "base": pool.base.tolist(),
            "additivity_gap": max(pool.additivity_gap, results.patients.additivity_gap),
            "gap_error": pool.gap_error,
        },
        "patients": [_patient(model, settings, results, place) for place in range(len(results.chosen))],
        "all": {
            "rows": len(pool.rows),
            "from": "the file" if results.pool_is_file else "the model's background",
            "importance": global_importance(pool, seed=settings.seed).to_dict("records"),
            "permutation_importance": None if results.shuffled is None else results.shuffled.to_dict("records"),
            "agreement": {
                "importance": found.measures.reset_index().to_dict("records"),
                "ranks": found.ranks.reset_index().to_dict("records"),
                "spearman": found.spearman.to_dict("index"),
                "kendall": found.kendall.to_dict("index"),
                "left_out": found.left_out,
            },
            "stability": {**asdict(results.stability), "table": results.stability.table.to_dict("records")},
        },
        "versions": versions(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if results.lime is not None:
        _, sampled = results.lime
        record["lime"] = {
            "seeds": sampled.seeds,
            "samples": sampled.samples,
            "rows": len(sampled.values),
            "instability": dict(zip(sampled.features, sampled.instability.tolist(), strict=True)),
        }
    return _plain_json(record)


def _patient(model: TabularModel, settings: Settings, results: Results, place: int) -> dict[str, Any]:
    row = results.chosen[place]
    own, best = results.patients, int(results.probabilities[place].argmax())
    contributions = [
        {
            "feature": own.features[i],
            "value": explain_plots.shown(own.rows.iloc[place, i]),
            "shap": float(own.values[place, i, best]),
            "lime": None if results.lime is None else float(results.lime[0].values[place, i]),
            "lime_sd": None if results.lime is None else float(results.lime[0].spread[place, i]),
        }
        for i in np.argsort(-np.abs(own.values[place, :, best]), kind="stable")
    ]
    return {
        "row": row + 1,
        "label": None if results.labels is None else str(results.labels[row]),
        "prediction": str(model.classes[best]),
        "class": best,
        "probabilities": results.probabilities[place].tolist(),
        "set": [str(name) for name, inside in zip(model.classes, results.sets[place], strict=True) if inside],
        "set_method": plots.NAMES[settings.sets],
        "base": float(own.base[best]),
        "output": float(own.base[best] + own.values[place, :, best].sum()),
        "contributions": contributions,
        "lime_fit": None if results.lime is None else float(results.lime[0].fit[place]),
        "values": [explain_plots.shown(value) for value in own.rows.iloc[place]],
        "neighbours": results.neighbours[place],
    }


def _figures(model: TabularModel, results: Results) -> dict[str, Any]:
    """Pictures by name; those of the patient at place i are waterfall_i."""
    pool, label = results.pool, len(model.classes) - 1
    name = str(model.classes[label])
    leading = global_importance(pool)["feature"].tolist()[:8]
    both = _together(results.patients, pool)
    rows = [f"row {row + 1}" for row in results.chosen]
    figures = {
        "importance": plots.importance(pool),
        "beeswarm": plots.beeswarm(pool, label, name),
        "dependence": explain_plots.dependence(pool, leading, label, name),
        "decision": explain_plots.decision(both, label, name, range(len(rows)), rows),
    }
    for place, row in enumerate(results.probabilities):
        best = int(row.argmax())
        figures[f"waterfall_{place}"] = explain_plots.waterfall(results.patients, place, best, str(model.classes[best]))
    return figures


def _together(first: Explanation, second: Explanation) -> Explanation:
    values, rows = np.concatenate([first.values, second.values]), pd.concat([first.rows, second.rows])
    gap = max(first.additivity_gap, second.additivity_gap)
    return Explanation(values, first.base, rows.reset_index(drop=True), first.method, gap, first.output)


def _plain_json(value: Any) -> Any:
    """JSON types only; what is no number becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_json(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
