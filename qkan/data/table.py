"""A labelled table and the checks every data set must pass before a model sees it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qkan.data import _heart_facts
from qkan.data._csv import RawCSV, count, identifier_like, listed, parse, read_raw
from qkan.errors import DataError, check_choice

if TYPE_CHECKING:
    import pandas as pd

MIN_CLASS_ROWS = 8
"""Rows a class needs so that training, validation, calibration and test sets can each hold some of it."""
MAX_NUMERIC_CLASSES = 20
"""Distinct numbers in a target beyond which it is taken for a measurement, not a class."""
MIN_ROWS = 40
"""Rows a table needs for regression, so that the calibration part holds some eight."""
#: What a table is for.
TASKS = ("classification", "regression")
MAX_TEXT_CLASSES = 50
"""Distinct texts in a target beyond which it is taken for names or free text, not a class."""


@dataclass(frozen=True, eq=False)
class Table:
    """Features and labels of one data set.

    Attributes:
        name: short name for reports.
        features: (rows, columns), index 0 … rows-1; numeric columns float64, categorical columns object
            holding strings, NaN where missing.
        target: (rows,) class labels as they are in the file, strings or integers, or float64 numbers for regression;
            never missing.
        categorical: names of the categorical columns.
        source: where the data come from: a file or a citation.
        sha256: of the data, hexadecimal; the loader says of which bytes.
        group: (rows,) cluster of each row, such as the hospital, for grouped splits; not a feature.
        notes: facts a reader of the results should know, one sentence each.
    """

    name: str
    features: pd.DataFrame
    target: pd.Series
    categorical: tuple[str, ...]
    source: str
    sha256: str
    group: pd.Series | None = None
    notes: tuple[str, ...] = ()


def validate(table: Table) -> Table:
    """Return ``table`` unchanged if a classifier can be trained on it.

    Raises:
        DataError: lengths differ; no feature columns; fewer rows than features; the target has missing
            values, one class, too many classes or a class of fewer than 8 rows; a column holds ±inf (the row
            is counted from 1, without a header), no value at all, or text that differs in every row.
    """
    _check_lengths(table)
    _check_target(table.name, table.target)
    rows, columns = table.features.shape
    if columns == 0:
        raise DataError(f"{table.name} has no feature columns beside the target {table.target.name!r}.")
    if rows < columns:
        raise DataError(f"{table.name} has fewer rows ({rows}) than features ({columns}); more rows are needed.")
    for column in table.features.columns:
        _check_column(table, column)
    return table


def validate_regression(table: Table) -> Table:
    """Return ``table`` unchanged if a regressor can be trained on it.

    Raises:
        DataError: as of :func:`validate` for lengths and columns; the target is missing or infinite in a row, is the
            same in all, or there are fewer than 40 rows.
    """
    _check_lengths(table)
    rows, columns = table.features.shape
    target = table.target
    missing = int(target.isna().sum())
    if missing:
        raise DataError(f"The target {target.name!r} of {table.name} is missing in {count(missing, 'row')}.")
    _check_infinite(table.name, str(target.name), target, np.arange(1, rows + 1))
    if target.nunique() == 1:
        raise DataError(f"The target {target.name!r} of {table.name} is {target.iloc[0]:g} in every row.")
    if columns == 0:
        raise DataError(f"{table.name} has no feature columns beside the target {target.name!r}.")
    if rows < max(MIN_ROWS, columns):
        raise DataError(f"{table.name} has {rows} rows; at least {max(MIN_ROWS, columns)} are needed for regression.")
    for column in table.features.columns:
        _check_column(table, column)
    return table


def _check_lengths(table: Table) -> None:
    rows = len(table.features)
    for what, series in (("target", table.target), ("group", table.group)):
        if series is not None and len(series) != rows:
            raise DataError(f"{table.name} has {count(rows, 'row')} of features but {len(series)} of the {what}.")
    unknown = [name for name in table.categorical if name not in table.features.columns]
    if unknown:
        raise DataError(
            f"{table.name} calls {listed(unknown)} categorical, but its columns are {listed(table.features.columns)}."
        )


def _check_target(name: str, target: pd.Series) -> None:
    import pandas as pd

    missing = int(target.isna().sum())
    if missing:
        raise DataError(f"The target {target.name!r} of {name} is missing in {count(missing, 'row')}.")
    counts = target.value_counts()
    classes = counts.index.tolist()  # Python's own numbers: np.int64(1) has no place in a sentence
    if len(classes) == 1:
        raise DataError(
            f"The target {target.name!r} of {name} is {classes[0]!r} in every row; at least 2 classes are needed."
        )
    if len(counts) > MAX_NUMERIC_CLASSES and bool(pd.to_numeric(target, errors="coerce").notna().all()):
        raise DataError(
            f"The numeric target {target.name!r} of {name} has {len(counts)} distinct values (at most "
            f"{MAX_NUMERIC_CLASSES} are taken as classes), so this looks like regression; ask for it by "
            "task='regression' (--task regression)."
        )
    if len(counts) > MAX_TEXT_CLASSES:
        raise DataError(
            f"The target {target.name!r} of {name} has {len(counts)} distinct values, too many for classes "
            f"(at most {MAX_TEXT_CLASSES})."
        )
    if counts.iloc[-1] < MIN_CLASS_ROWS:
        raise DataError(
            f"Class {classes[-1]!r} of the target {target.name!r} of {name} has "
            f"{count(int(counts.iloc[-1]), 'row')}; every class needs at least {MIN_CLASS_ROWS} for "
            "training, validation, calibration and test."
        )


def _check_column(table: Table, name: str) -> None:
    column = table.features[name]
    if column.isna().all():
        raise DataError(f"Column {name!r} of {table.name} is entirely missing; remove the column.")
    if name in table.categorical:
        if identifier_like(column):
            raise DataError(
                f"Text column {name!r} of {table.name} has a different value in every row "
                f"({column.nunique()}), like an identifier; drop the column."
            )
    elif column.dtype != np.float64:
        raise DataError(
            f"Column {name!r} of {table.name} has dtype {column.dtype}; numeric columns must be float64 and "
            "others listed as categorical."
        )
    else:
        _check_infinite(table.name, name, column, np.arange(1, len(column) + 1))


def _check_infinite(table_name: str, name: str, numbers: pd.Series, rows: np.ndarray) -> None:
    infinite = np.flatnonzero(np.isinf(numbers.to_numpy()))
    if infinite.size:
        first = infinite[0]
        raise DataError(
            f"Column {name!r} of {table_name} is {numbers.iloc[first]} in row {rows[first]}; only finite "
            "numbers can be used."
        )


def check_target_name(raw: RawCSV, target: str) -> str:
    """Return the stripped ``target`` if it is a column of the file, else raise :class:`DataError`.

    Args:
        raw: the file as it was read.
        target: name that the user gave.

    Raises:
        DataError: the file has no such column.
    """
    columns = list(raw.frame.columns)
    wanted = str(target).strip()
    if wanted not in columns:
        close = difflib.get_close_matches(wanted, columns, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise DataError(f"{raw.path} has no column {target!r}{hint}; its columns are {listed(columns)}.")
    return wanted


def mixed_sentence(raw: RawCSV, name: str, not_numbers: np.ndarray) -> str:
    """The sentence for a column of numbers with some text in it, naming the first bad cell.

    Args:
        raw: the file as it was read.
        name: of the column.
        not_numbers: (rows,) True where a cell is no number.
    """
    first = int(np.flatnonzero(not_numbers)[0])
    return (
        f"Column {name!r} of {raw.path} holds numbers, but also text in "
        f"{count(int(not_numbers.sum()), 'cell')}, first {raw.frame[name].iloc[first]!r} in row "
        f"{raw.rows[first]}; write a number with a decimal point there, or leave the cell empty."
    )


def _features(raw: RawCSV, target: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    categorical: list[str] = []
    for name in raw.frame.columns.drop(target):
        column = parse(raw.frame[name])
        if column.kind == "mixed":
            raise DataError(mixed_sentence(raw, name, column.not_numbers))
        if column.kind == "categorical":
            categorical.append(name)
            columns[name] = raw.frame[name]
        else:
            _check_infinite(str(raw.path), name, column.numbers, raw.rows)
            columns[name] = column.numbers
    return pd.DataFrame(columns, index=raw.frame.index), tuple(categorical)


def labels(column: pd.Series) -> pd.Series:
    """Class labels of a text column: integers if every cell is a whole number, else the text itself."""
    numbers = parse(column).numbers
    # Beyond 2^53 floats no longer tell neighbouring integers apart.
    whole = numbers.notna() & (numbers.abs() < 2**53) & (numbers == numbers.round())
    return numbers.astype("int64") if bool(whole.all()) else column


def load_csv(
    path: str | os.PathLike[str],
    target: str,
    name: str | None = None,
    task: str = "classification",
    drop: Sequence[str] = (),
) -> Table:
    """Read a comma-separated UTF-8 file with a header row as a table for classification or regression.

    Columns whose every present cell is a number become float64; all others, also true/false, become
    categorical text. Blanks around names and cells are dropped. Cells "", NA, N/A, #N/A, <NA>, NaN, null, ?
    and . count as missing in any case of their letters. The table's sha256 is that of the file.

    Args:
        path: of the file.
        target: column that holds the class labels, or the numbers to predict.
        name: of the table; the file's name without its ending if ``None``.
        task: "classification" or "regression".
        drop: columns to leave out, such as another target.

    Raises:
        DataError: the file cannot be read as CSV (see the message), ``target`` or a column to drop is not one of its
            columns, a column mixes numbers and text or holds ±inf (the row named is the one in the file, the header
            being row 1), or :func:`validate` finds a fault.

    Warns:
        LeakageWarning: the header is that of the 918-row heart file, whose values leak the label.
    """
    check_choice("task", task, TASKS)
    raw = read_raw(path)
    target = check_target_name(raw, target)
    dropped = [check_target_name(raw, column) for column in drop]
    if target in dropped:
        raise DataError(f"The target {target!r} cannot be dropped.")
    raw = replace(raw, frame=raw.frame.drop(columns=dropped))
    if _heart_facts.is_kaggle(raw.frame.columns):
        _heart_facts.warn_leakage()
    if task == "regression":
        return validate_regression(build_regression(raw, target, name))
    return validate(build(raw, target, name))


def build(raw: RawCSV, target: str, name: str | None = None) -> Table:
    """The table of a file that was read, before :func:`validate`; ``target`` must be one of its columns.

    Args:
        raw: the file as it was read.
        target: name of the column with the labels.
        name: of the table in reports; that of the file if ``None``.
    """
    features, categorical = _features(raw, target)
    return Table(
        name=raw.path.stem if name is None else name,
        features=features,
        target=labels(raw.frame[target]),
        categorical=categorical,
        source=str(raw.path),
        sha256=raw.sha256,
    )


def build_regression(raw: RawCSV, target: str, name: str | None = None) -> Table:
    """The table of a file that was read, before :func:`validate_regression`, with a target of numbers.

    Args:
        raw: the file.
        target: one of its columns.
        name: of the table; the file's name without its ending if ``None``.

    Raises:
        DataError: the target holds text.
    """
    column = parse(raw.frame[target])
    if column.not_numbers.any():
        first = int(np.flatnonzero(column.not_numbers)[0])
        raise DataError(
            f"The target {target!r} of {raw.path} must hold numbers for regression, but holds "
            f"{raw.frame[target].iloc[first]!r} in row {raw.rows[first]}."
        )
    return replace(build(raw, target, name), target=column.numbers)


def read_rows(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a CSV file of feature rows as text, NaN where missing; a model turns the columns into what it needs.

    Raises:
        DataError: the file cannot be read as CSV.
    """
    return read_raw(path).frame
