"""The page that ``qkan explain`` writes, and the file it reads."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkan.analysis import explain_plots, plots
from qkan.analysis.explain import Explanation
from qkan.analysis.importance import global_importance
from qkan.analysis.lime import import_lime
from qkan.data import read_rows
from qkan.data.table import labels as parse_labels
from qkan.errors import OptionError
from qkan.experiments.environment import versions
from qkan.experiments.explain import SAMPLE, Results, Settings, explain
from qkan.experiments.output import EXPLANATION, output_folder
from qkan.report import render
from qkan.tabular import TabularModel


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
        record["data"]["rows"] = len(frame)
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


def summary(model: TabularModel, settings: Settings, results: Results, folder: Path, file: Path) -> dict[str, Any]:
    """The content of explain.json, all that the page shows in numbers and words.

    Args:
        model: the model that was explained.
        settings: how.
        results: what was found.
        folder: of the model.
        file: of the rows.
    """
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
