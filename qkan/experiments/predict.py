"""Predictions of a saved model as a table people can read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from qkan.analysis.conformal import check_level
from qkan.errors import OptionError, check_positive
from qkan.saving import load_folder
from qkan.tabular import TabularModel
from qkan.tabular_regression import KIND as REGRESSOR
from qkan.tabular_regression import TabularRegressor


def load_model(path: str | Path) -> TabularModel:
    """The classifier or regressor in a model folder.

    Raises:
        ModelFileError: missing, damaged, or a model of another kind.
    """
    kind, *_ = load_folder(path)
    return (TabularRegressor if kind == REGRESSOR else TabularModel).load(path)


def predict_numbers(
    model: TabularRegressor, rows: pd.DataFrame, level: float = 0.9, reorder: bool = False
) -> pd.DataFrame:
    """One line per row: number, prediction, and the ends of its interval.

    Args:
        model: a calibrated regressor.
        rows: its feature columns; further columns are ignored.
        level: confidence level of the intervals.
        reorder: match columns by name in any order.
    """
    check_level(level)
    found = model.predict_interval(model.predict(rows, reorder), level)
    columns = {"prediction": found.predictions, "lower": found.lower, "upper": found.upper}
    return pd.DataFrame({"row": range(1, len(rows) + 1), **columns})


def predict_rows(
    model: TabularModel,
    rows: pd.DataFrame,
    level: float = 0.9,
    method: str = "lac",
    top: int = 3,
    explain: int = 100,
    reorder: bool = False,
) -> pd.DataFrame:
    """One line per row: number, predicted class, its probability, prediction set, top contributions.

    Args:
        model: a calibrated model.
        rows: its feature columns; further columns are ignored.
        level: confidence level of the sets.
        method: "lac" or "mondrian".
        top: contributions per row; 0 leaves them out.
        explain: rows that get contributions.
        reorder: match columns by name in any order.

    Contributions are SHAP values in units of the predicted class's probability; those of a network without a hidden
    layer are of its log-odds, and the column says so.

    Raises:
        OptionError: ``level`` is not in (0, 1).
    """
    check_positive("top", top, 0)
    check_positive("explain", explain)
    if not 0 < level < 1:
        raise OptionError(f"level={level!r} must lie strictly between 0 and 1.")
    conformed = model.conform(rows, reorder)
    probabilities = model.predict_proba(conformed)
    sets = model.predict_set(probabilities, level, method)
    best = probabilities.argmax(1)
    table = pd.DataFrame(
        {
            "row": range(1, len(rows) + 1),
            "prediction": model.classes[best],
            "probability": [f"{probabilities[i, c]:.3f}" for i, c in enumerate(best)],
            "prediction set": [
                "{" + ", ".join(str(c) for c, inside in zip(model.classes, own, strict=True) if inside) + "}"
                for own in sets
            ],
        }
    )
    if top:
        explanation = model.explain(conformed.iloc[:explain])
        found = [explanation.top(i, best[i], top) for i in range(len(explanation.rows))]
        texts = [", ".join(f"{name} {value:+.3f}" for name, value in own) for own in found]
        unit = "" if explanation.output == "probability" else f" ({explanation.unit})"
        table[f"top contributions{unit}"] = texts + [""] * (len(rows) - len(texts))
    return table
