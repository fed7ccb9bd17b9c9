"""Prediction sets of a report group by group: what the average hides, and what sets by group make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkan.analysis.conformal_sets import GroupConformalSets
from qkan.analysis.coverage import GroupCoverage, coverage_by_group
from qkan.data import Table
from qkan.errors import DataError, OptionError
from qkan.experiments.split import Split
from qkan.preprocessing import as_level
from qkan.tabular import TabularModel

#: More groups than this have too few rows each, and are more likely to be measurements.
MOST_GROUPS = 20
#: The group of rows whose cell is empty.
MISSING = "missing"


@dataclass(frozen=True)
class Subgroups:
    """Sets of one level by group, on the test rows.

    Attributes:
        column: what the groups are, such as "site".
        level: confidence level.
        split: split-conformal sets, which promise coverage on average over all groups.
        by_group: sets that promise it within each group, in the same order.
    """

    column: str
    level: float
    split: list[GroupCoverage]
    by_group: list[GroupCoverage]


def groups_of(table: Table, column: str | None) -> tuple[str, np.ndarray] | None:
    """Name and (rows,) values of the groups, as text: ``column``, or if ``None`` the table's own group, if it has one.

    Raises:
        OptionError: there is no such column.
        DataError: it has one value or more than 20.
    """
    if column is None:
        return None if table.group is None else (str(table.group.name), table.group.to_numpy())
    if table.group is not None and column == table.group.name:
        values = table.group
    elif column in table.features:
        values = table.features[column]
    else:
        raise OptionError(
            f"group={column!r} is no column of {table.name}; choose one of {', '.join(map(str, table.features))}."
        )
    count = values.nunique()
    if not 2 <= count <= MOST_GROUPS:
        raise DataError(f"column {column!r} has {count} different values; groups need 2 to {MOST_GROUPS}.")
    return column, values.map(as_level).astype(object).where(values.notna(), MISSING).to_numpy()


def measure(table: Table, split: Split, model: TabularModel, groups: tuple[str, np.ndarray], level: float) -> Subgroups:
    """Coverage of both kinds of sets by group.

    Args:
        table: the data.
        split: its parts.
        model: fitted and calibrated.
        groups: name of the grouping, and each row's group (rows,).
        level: confidence level in (0, 1).
    """
    column, values = groups
    parts = {}
    for name in ("calibration", "test"):
        rows = model.conform(table.features.iloc[getattr(split, name)], unseen="missing")
        labels = np.searchsorted(model.classes, table.target.to_numpy()[getattr(split, name)])
        parts[name] = model.predict_proba(rows), labels, values[getattr(split, name)]
    given, labels, where = parts["calibration"]
    new, truth, there = parts["test"]
    known = model.conform(table.features.iloc[split.calibration], unseen="keep")
    conditional = GroupConformalSets(given, labels, where, rows=known, trained=model.trained)
    return Subgroups(
        column,
        level,
        coverage_by_group(model.predict_set(new, level), truth, there),
        coverage_by_group(conditional.predict_set(new, there, level), truth, there),
    )
