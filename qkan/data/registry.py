"""The named data sets, and one call that loads a name or a CSV file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from qkan.data import breast_cancer, heart
from qkan.data._csv import listed, read_raw
from qkan.data.table import Table, load_csv
from qkan.errors import DataError, OptionError


class DataSet(NamedTuple):
    """One line of the list of named data sets."""

    name: str
    rows: int
    features: int
    classes: int
    source: str


_SETS = (
    DataSet("breast_cancer", 569, 30, 2, breast_cancer.SOURCE),
    DataSet("heart", 920, 13, 2, heart.SOURCE),
)
TARGET = "diagnosis"
"""The target of every named data set."""


def names() -> tuple[str, ...]:
    """Names of the data sets that :func:`load` knows."""
    return tuple(entry.name for entry in _SETS)


def describe() -> list[DataSet]:
    """Name, rows, features, classes and source of every named data set; no data are read."""
    return list(_SETS)


def is_path(name: str | os.PathLike[str]) -> bool:
    """True for what is meant as a file: ends in .csv, contains a separator, or exists as a file."""
    text = os.fspath(name)
    separators = {"/", os.sep, os.altsep or "/"}
    return (
        not isinstance(name, str)
        or text.lower().endswith(".csv")
        or any(separator in text for separator in separators)
        or os.path.isfile(text)
    )


def find(
    name_or_path: str | os.PathLike[str], target: str | None, data_dir: str | os.PathLike[str] | None
) -> DataSet | None:
    """The entry of a name, ``None`` for a path.

    Args:
        name_or_path: as the user gave it.
        target: column with the labels, for a path.
        data_dir: folder of the heart-disease files.

    Raises:
        DataError: neither a known name nor a path.
        OptionError: ``target`` is not the fixed one of the named data set, or ``data_dir`` is given for
            anything but "heart".
    """
    entry = next((entry for entry in _SETS if entry.name == name_or_path), None)
    if entry is None and not is_path(name_or_path):
        raise DataError(
            f"The data set {name_or_path!r} is not known; choose one of {listed(names())}, or give the path "
            "of a CSV file."
        )
    if entry is not None and target not in (None, TARGET):
        raise OptionError(f"target={target!r} does not fit: the target of {entry.name!r} is fixed to {TARGET!r}.")
    if data_dir is not None and (entry is None or entry.name != "heart"):
        raise OptionError(f"data_dir={str(data_dir)!r} applies to 'heart' only, not to {str(name_or_path)!r}.")
    return entry


def load(
    name_or_path: str | os.PathLike[str],
    target: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    task: str = "classification",
    drop: Sequence[str] = (),
) -> Table:
    """Load a named data set, or a CSV file as a table for classification or regression.

    Args:
        name_or_path: one of :func:`names`, or a path: anything that ends in .csv, contains a separator or
            exists as a file. A name comes before a file of the same name.
        target: column with the labels; needed for a CSV file, fixed for a named data set.
        data_dir: folder of the heart files, see :func:`~qkan.data.heart.load_heart`; only for "heart".
        task: "classification" or, for CSV files, "regression".
        drop: columns of a CSV file to leave out.

    Raises:
        DataError: the name is unknown, a CSV file comes without ``target``, or a loader finds a fault.
        OptionError: ``target``, ``data_dir``, ``task`` or ``drop`` does not fit the named data set.

    Warns:
        LeakageWarning: the file is the 918-row heart file.
    """
    entry = find(name_or_path, target, data_dir)
    if entry is not None:
        if task != "classification" or drop:
            raise OptionError(f"the data set {entry.name!r} is for classification by all its columns.")
        return heart.load_heart(data_dir) if entry.name == "heart" else breast_cancer.load_breast_cancer()
    if target is None:
        raw = read_raw(name_or_path)
        raise DataError(f"{raw.path} needs a target; name one of its columns {listed(raw.frame.columns)}.")
    return load_csv(name_or_path, target, task=task, drop=drop)
