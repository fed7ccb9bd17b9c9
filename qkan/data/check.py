"""Looking a data set over before training: what is missing, repeated, constant, altered or leaking."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from qkan.data import _files, registry
from qkan.data import _heart_facts as facts
from qkan.data._csv import Column, RawCSV, count, identifier_like, parse, read_bytes, read_raw
from qkan.data.breast_cancer import load_breast_cancer
from qkan.data.finding import Finding
from qkan.data.heart import DISGUISED, differences, filename, read_site
from qkan.data.table import build, check_target_name, labels, mixed_sentence, validate
from qkan.errors import DataError, OptionError

if TYPE_CHECKING:
    import pandas as pd


def check(
    name_or_path: str | os.PathLike[str],
    target: str | None = None,
    *,
    split: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> list[Finding]:
    """Look a named data set or a CSV file over; nothing is downloaded and nothing is warned.

    Args:
        name_or_path: "heart": see :func:`check_heart`; "breast_cancer": compares its counts with the recorded
            ones; a path: see :func:`check_csv`.
        target: column with the class labels of a CSV file; without it the file is checked as a plain table.
        split: column of a CSV file that says which part each row belongs to.
        data_dir: folder of the heart files; only for "heart".

    Raises:
        OptionError: ``target`` differs from the fixed one of a named data set, ``data_dir`` is given for
            another, or ``split`` for any.
        DataError: the name is unknown. Faults of the data themselves are findings.
    """
    entry = registry.find(name_or_path, target, data_dir)
    if entry is None:
        return check_csv(name_or_path, target, split)
    if split is not None:
        raise OptionError(f"split={split!r} applies to CSV files only, not to {entry.name!r}.")
    return check_heart(data_dir) if entry.name == "heart" else _check_breast_cancer(entry)


def _check_breast_cancer(entry: registry.DataSet) -> list[Finding]:
    table = load_breast_cancer()
    found = (*table.features.shape, table.target.nunique())
    expected = (entry.rows, entry.features, entry.classes)
    shown = "{} rows, {} features, {} classes"
    if found != expected:
        return [
            Finding(
                "error",
                f"scikit-learn's table has {shown.format(*found)} instead of {shown.format(*expected)}.",
            )
        ]
    return [
        Finding("ok", f"scikit-learn's table has {shown.format(*found)}, as recorded."),
        Finding("info", f"Its sha256 is {table.sha256}."),
    ]


def check_csv(path: str | os.PathLike[str], target: str | None = None, split: str | None = None) -> list[Finding]:
    """Look a CSV file over; with ``target``, also as a classification table, with :func:`~qkan.data.audit.audit`.

    Every fault is a finding, a file that cannot be read included; nothing is raised and nothing is warned.
    The 918-row heart file is recognised by its header; the cells its label leaks into are quoted from the
    record (comparison with the UCI originals), not recomputed, and ``HeartDisease`` is its target unless one
    is given.

    Args:
        path: of the file.
        target: column with the labels.
        split: column that names each row's part, such as train or test.
    """
    try:
        raw = read_raw(path)
        known = facts.is_kaggle(raw.frame.columns)
        if target is None and known:
            target = facts.KAGGLE_LABEL
        target = None if target is None else check_target_name(raw, target)
        split = None if split is None else check_target_name(raw, split)
    except DataError as error:
        return [Finding("error", str(error))]
    parsed = {name: parse(raw.frame[name]) for name in raw.frame.columns}
    findings = [
        Finding("info", f"{raw.path} has {count(len(raw.frame), 'row')} and {count(len(parsed), 'column')}."),
        Finding("info", f"Its sha256 is {raw.sha256}."),
        *_missing(raw),
        *_columns(raw, parsed, target),
        *_duplicates(raw, parsed, target),
    ]
    if known:
        findings += _known_leak(raw, parsed)
    if target is not None:
        findings += _target(raw, target)
        findings += _audit(raw, parsed, target, split)
    return findings


def _audit(raw: RawCSV, parsed: dict[str, Column], target: str, split: str | None) -> list[Finding]:
    import pandas as pd

    from qkan.data.audit import audit

    columns = {name: c.numbers if c.kind == "numeric" else raw.frame[name] for name, c in parsed.items()}
    features = pd.DataFrame(columns).drop(columns=[target, *([] if split is None else [split])])
    part = None if split is None else raw.frame[split]
    try:
        return audit(features, labels(raw.frame[target]), part, lines=raw.rows)
    except DataError:
        return []  # no classification table, as was said above


def _missing(raw: RawCSV) -> Iterator[Finding]:
    missing = raw.frame.isna().sum()
    rows = len(raw.frame)
    for name, number in missing[missing > 0].items():
        share = f"{count(int(number), 'row')} of {rows} ({number / rows:.1%})"
        if number == rows:
            yield Finding("error", f"Column {name!r} is entirely missing.")
        else:
            yield Finding("info", f"Column {name!r} is missing in {share}.")
    if not missing.any():
        yield Finding("ok", "No cell is missing.")


def _columns(raw: RawCSV, parsed: dict[str, Column], target: str | None) -> Iterator[Finding]:
    """Findings on single columns: mixed, infinite, constant, like an identifier."""
    found = False
    for name, column in parsed.items():
        for finding in _column(raw, name, column, is_target=name == target):
            found = True
            yield finding
    if not found:
        yield Finding("ok", "No column is constant, infinite, like an identifier, or numbers mixed with text.")


def _column(raw: RawCSV, name: str, column: Column, *, is_target: bool) -> Iterator[Finding]:
    text = raw.frame[name]
    if column.kind == "mixed" and not is_target:
        yield Finding("error", mixed_sentence(raw, name, column.not_numbers))
    infinite = np.flatnonzero(np.isinf(column.numbers.to_numpy()))
    if column.kind == "numeric" and infinite.size:
        first = f"row {raw.rows[infinite[0]]}"
        yield Finding("error", f"Column {name!r} is infinite in {count(infinite.size, 'row')}, first in {first}.")
    if column.kind != "empty" and text.nunique() == 1:
        yield Finding("warning", f"Column {name!r} is constant ({text.dropna().iloc[0]!r}) wherever it is filled in.")
    if column.kind == "categorical" and identifier_like(text) and not is_target:
        yield Finding("error", f"Text column {name!r} has a different value in every row, like an identifier; drop it.")
    if column.kind == "numeric" and not infinite.size and _counts_up(column.numbers) and not is_target:
        yield Finding(
            "warning",
            f"Column {name!r} numbers the rows without a gap, like an identifier; drop it unless it is data.",
        )


def _counts_up(numbers: pd.Series) -> bool:
    """True for consecutive whole numbers, in any order, one per row."""
    values = np.sort(numbers.to_numpy())
    return len(values) > 2 and bool((np.diff(values) == 1).all()) and float(values[0]).is_integer()


def _duplicates(raw: RawCSV, parsed: dict[str, Column], target: str | None) -> Iterator[Finding]:
    import pandas as pd

    # Numbers are compared as numbers: 1 and 1.0 are the same measurement.
    frame = pd.DataFrame({name: c.numbers if c.kind == "numeric" else raw.frame[name] for name, c in parsed.items()})
    yield _repeated(int(frame.duplicated().sum()), "in every column")
    if target is not None and frame.shape[1] > 1:
        features = frame.drop(columns=target)
        same = int(features.duplicated().sum())
        yield _repeated(same, f"in every column but the target {target!r}")
        distinct = frame[target].groupby([features[name] for name in features], dropna=False, sort=False).nunique()
        if contradictions := int((distinct > 1).sum()):
            yield Finding(
                "warning",
                f"Rows with equal features carry different labels {target!r} in {count(contradictions, 'case')}.",
            )


def _repeated(number: int, where: str) -> Finding:
    if not number:
        return Finding("ok", f"No row repeats an earlier row {where}.")
    rows = f"{number} rows repeat" if number > 1 else "1 row repeats"
    return Finding("warning", f"{rows} an earlier row {where}; a random split can put both copies on its two sides.")


def _known_leak(raw: RawCSV, parsed: dict[str, Column]) -> Iterator[Finding]:
    if raw.sha256 == facts.KAGGLE_SHA256:
        yield Finding("info", "The file is the known 918-row heart file, byte for byte.")
    else:
        yield Finding(
            "warning",
            "The header is that of the 918-row heart file, but the sha256 is not the known one: the file is "
            "altered, and what follows is recorded for the original.",
        )
    yield Finding("warning", facts.LEAK_SENTENCE)
    for name, (cells, rule) in facts.LEAKING_CELLS.items():
        yield Finding(
            "warning",
            f"{name} leaks the label: {cells} cells missing in the UCI originals were filled by label ({rule}).",
        )
    diseased = parsed[facts.KAGGLE_LABEL].numbers == 1
    for name in facts.KAGGLE_DISGUISED:
        zero = parsed[name].numbers == 0
        if number := int(zero.sum()):
            share = int((zero & diseased).sum())
            rows = count(number, "row")
            yield Finding("warning", f"{name} is 0 in {rows} (diseased: {share}), which is a disguised missing value.")


def _target(raw: RawCSV, target: str) -> Iterator[Finding]:
    """Class counts, and what :func:`~qkan.data.table.load_csv` would say."""
    counts = labels(raw.frame[target]).value_counts()
    shown = ", ".join(f"{label!r} ({count(number, 'row')})" for label, number in counts.iloc[:10].items())
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    yield Finding("info", f"The target {target!r} has {count(len(counts), 'value')}: {shown}{more}.")
    try:
        validate(build(raw, target))
    except DataError as error:
        yield Finding("error", f"Loading for the target {target!r} stops: {error}")
    else:
        yield Finding("ok", f"The file can be loaded for classifying {target!r}.")


def check_heart(data_dir: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Compare the four UCI site files with their recorded sha256, row counts and missing counts; no download.

    Args:
        data_dir: the only folder to search; otherwise ``$QKAN_DATA_DIR`` and the cache folder.
    """
    return [finding for site in facts.SITES for finding in _site(site, data_dir)]


def _site(site: str, data_dir: str | os.PathLike[str] | None) -> Iterator[Finding]:
    name, expected = filename(site), facts.SITES[site]
    path = _files.find(name, data_dir)
    if path is None:
        if data_dir is not None:
            yield Finding("error", f"{name} is not in {data_dir} nor in its subfolder 'heart'.")
        else:
            yield Finding("warning", f"{name} is not on this machine; load_heart would download it.")
        return
    try:
        data = read_bytes(path)
        frame = read_site(site, data)
    except DataError as error:
        yield Finding("error", f"{path} is not the recorded file: {error}")
        return
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected.sha256:
        yield Finding("error", f"{path} has the sha256 {digest}, but {expected.sha256} is recorded.")
    if faults := differences(site, frame):
        yield Finding("error", f"The counts of {path} differ from the recorded ones: {', '.join(faults)}.")
    elif digest == expected.sha256:
        yield Finding("ok", f"{path} is the recorded file: sha256, {len(frame)} rows and all missing counts agree.")
    for column in DISGUISED:
        if zeros := int((frame[column] == 0).sum()):
            yield Finding("info", f"{name}: {column} is 0 in {count(zeros, 'row')}; load_heart makes it missing.")
    if repeated := int(frame.duplicated().sum()):
        yield Finding("info", f"{name}: {count(repeated, 'exact duplicate row')}, kept by load_heart.")
