"""What the heart-disease experiment measured, fold by fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: Kinds of models, in the order in which reports show them.
GROUPS = ("classical", "quantum network", "hybrid", "KAN", "KACQ", "ablation", "control")


@dataclass(frozen=True)
class Entry:
    """One model on one data set under one protocol, fold by fold.

    Attributes:
        model: name in the registry, such as "logistic_regression", "kacq-1" or "mera-2".
        group: one of :data:`GROUPS`.
        runs: one per fold, in the same order for every model of a table. Keys: "fold" (str), "parameters" (int or
            None), "seconds" (float), "epochs" (int or None), and :data:`qkan.analysis.metrics.METRICS`. "test_rows"
            (int) is needed for "heart-sites" and "published", whose folds have intervals of their own.
    """

    model: str
    group: str
    runs: list[dict[str, Any]]

    def values(self, key: str) -> list[float]:
        """One value per fold."""
        return [run[key] for run in self.runs]

    def mean(self, key: str) -> float:
        """Over folds."""
        return float(np.mean(self.values(key)))


@dataclass(frozen=True)
class Table:
    """All models on one data set under one protocol.

    Attributes:
        name: "heart", "heart-sites" (leave one site out), "cleveland", "breast_cancer" or "published".
        title: for people, such as "Four sites, 10 × 5 folds".
        test_share: test rows among test and training rows of a fold.
        rows: of the data set.
        entries: one per model.
    """

    name: str
    title: str
    test_share: float
    rows: int
    entries: list[Entry]

    def find(self, model: str) -> Entry | None:
        """The entry of a model, or None if it was not run on this table."""
        return next((entry for entry in self.entries if entry.model == model), None)


@dataclass(frozen=True)
class Outcome:
    """Everything a report shows.

    Attributes:
        tables: one per data set and protocol.
        settings: the protocol, in JSON types.
    """

    tables: list[Table]
    settings: dict[str, Any]

    def find(self, name: str) -> Table | None:
        """The table of a name, or None if it was not run."""
        return next((table for table in self.tables if table.name == name), None)
