"""Tables to numbers: scikit-learn transformers, and their learnt state as JSON instead of a pickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from qkan.data._csv import number
from qkan.errors import DataError

#: Level that stands for a missing categorical value; always present, so that predicting on one never fails. The zero
#: byte keeps it apart from anything a text file can hold.
MISSING = "\0missing"


def make_preprocessor(numeric: Sequence[str], levels: dict[str, list[str]]) -> ColumnTransformer:
    """Unfitted transformer for named columns.

    Numeric columns: median imputation, then zero mean and unit variance; a 0/1 indicator for every column with missing
    values in the rows it is fitted on. Categorical columns: one 0/1 column per level and one for "missing".

    Args:
        numeric: names of the numeric columns.
        levels: categorical column -> its known levels.
    """
    scale = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    encode = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value=MISSING, keep_empty_features=True)),
            ("encode", OneHotEncoder(categories=[[*known, MISSING] for known in levels.values()], sparse_output=False)),
        ]
    )
    parts = [
        ("numeric", scale, list(numeric)),
        ("missing", MissingIndicator(features="missing-only", error_on_new=False), list(numeric)),
        ("categorical", encode, list(levels)),
    ]
    used = [part for part in parts if part[2]]
    return ColumnTransformer(used)


def known_levels(frame: pd.DataFrame, categorical: Sequence[str]) -> dict[str, list[str]]:
    """Sorted levels of every categorical column, missing values aside.

    Args:
        frame: training rows.
        categorical: names of the categorical columns.
    """
    return {name: sorted(frame[name].dropna().astype(str).unique()) for name in categorical}


def conform(
    frame: pd.DataFrame, numeric: Sequence[str], levels: dict[str, list[str]], unseen: str = "error"
) -> pd.DataFrame:
    """The columns a preprocessor expects, in its dtypes: float64, and object with ``np.nan`` for missing.

    ``unseen="missing"`` treats a categorical level that was not seen in training as missing instead of raising;
    ``unseen="keep"`` leaves it, for comparing rows, since two levels the model does not know are still different.

    Args:
        frame: rows with the columns, in any order.
        numeric: names of the columns of numbers.
        levels: known levels of every categorical column.
        unseen: what to do with others: "error", "missing" or "keep".

    Raises:
        DataError: a numeric column holds text, or a categorical one a level that was not seen in training.
    """
    columns: dict[str, Any] = {}
    for name in numeric:
        # Text is read as it is when a table is loaded: pandas below 3 rounds some numbers, and a row that differs in
        # its last digit would not be recognised as one that was trained on.
        cells = frame[name].map(lambda cell: number(cell) if isinstance(cell, str) else cell)
        numbers = pd.to_numeric(cells, errors="coerce").astype(float)
        bad = frame[name].notna() & numbers.isna()
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(f"column {name!r} must be numeric, but row {row + 1} holds {frame[name].iloc[row]!r}.")
        infinite = np.isinf(numbers)
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise DataError(f"column {name!r} holds an infinite value in row {row + 1}.")
        columns[name] = numbers.to_numpy()
    for name, known in levels.items():
        texts = frame[name].map(as_level).astype(object).where(frame[name].notna(), np.nan)
        unknown = frame[name].notna() & ~texts.isin(known)
        if unknown.any() and unseen == "missing":
            texts = texts.where(~unknown, np.nan)
        elif unknown.any() and unseen != "keep":
            row = int(np.flatnonzero(unknown)[0])
            raise DataError(
                f"column {name!r} holds {texts.iloc[row]!r} in row {row + 1}, which was not seen in training; "
                f"known are {', '.join(map(repr, known))}."
            )
        columns[name] = texts.to_numpy(dtype=object)
    return pd.DataFrame(columns, index=frame.index)


def as_level(value: Any) -> str:
    """A level as text; whole numbers that a missing value turned into floats read as whole numbers again."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def output_columns(preprocessor: ColumnTransformer) -> list[str]:
    """The table's column that each output of a fitted preprocessor comes from: every output depends on one only."""
    found: list[str] = []
    for name, part, columns in preprocessor.transformers_:
        if name == "numeric":
            found += columns
        elif name == "missing":
            found += [columns[index] for index in part.features_]
        elif name == "categorical":
            levels = part["encode"].categories_
            found += [column for column, known in zip(columns, levels, strict=True) for _ in known]
    return found


def to_state(preprocessor: ColumnTransformer) -> dict[str, Any]:
    """What a fitted preprocessor has learnt, in JSON types."""
    parts = {name: (part, columns) for name, part, columns in preprocessor.transformers_ if name != "remainder"}
    state: dict[str, Any] = {"numeric": [], "levels": {}}
    if "numeric" in parts:
        scale, columns = parts["numeric"]
        state["numeric"] = list(columns)
        state["median"] = scale["impute"].statistics_.tolist()
        state["mean"] = scale["scale"].mean_.tolist()
        state["scale"] = scale["scale"].scale_.tolist()
        state["indicated"] = [columns[index] for index in parts["missing"][0].features_]
    if "categorical" in parts:
        encode, columns = parts["categorical"]
        known = [list(map(str, levels[:-1])) for levels in encode["encode"].categories_]
        state["levels"] = dict(zip(columns, known, strict=True))
    return state


def from_state(state: dict[str, Any]) -> ColumnTransformer:
    """The fitted preprocessor that :func:`to_state` described.

    It is fitted to two made-up rows that hold the medians, the missing columns and a known level, which restores every
    learnt value but means and scales; those are then set.
    """
    numeric, levels = state["numeric"], state["levels"]
    rows = pd.DataFrame({name: [value, value] for name, value in zip(numeric, state.get("median", []), strict=True)})
    rows = rows.astype(float)
    for name in state.get("indicated", []):
        rows.loc[1, name] = np.nan
    for name, known in levels.items():
        rows[name] = pd.Series([known[0], MISSING], dtype=object)
    preprocessor = make_preprocessor(numeric, levels).fit(rows)
    if numeric:
        scaler = preprocessor.named_transformers_["numeric"]["scale"]
        scaler.mean_ = np.asarray(state["mean"])
        scaler.scale_ = np.asarray(state["scale"])
        scaler.var_ = scaler.scale_**2
    return preprocessor
