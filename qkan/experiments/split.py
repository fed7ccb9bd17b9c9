"""Stratified training, validation, calibration and test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from qkan.analysis.conformal import row_hashes
from qkan.errors import DataError

#: Share of the rows in each part. A fifth each for calibration and test keeps intervals bearable on hundreds of rows.
SHARES = {"train": 0.48, "validation": 0.12, "calibration": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Split:
    """Row numbers of each part; ``moved`` rows joined the training part because they equal one of its rows."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    moved: int

    def parts(self) -> dict[str, np.ndarray]:
        """Part name -> row numbers."""
        return {name: getattr(self, name) for name in SHARES}


def split_rows(features: pd.DataFrame, target: pd.Series, seed: int) -> Split:
    """Split stratified by class; rows whose features equal those of a training row join the training part.

    Raises:
        DataError: a part would lack a class.
    """
    rest, parts = np.arange(len(target)), {}
    remaining = 1.0
    for name in ("test", "calibration", "validation"):
        try:
            rest, parts[name] = train_test_split(
                rest, test_size=SHARES[name] / remaining, random_state=seed, stratify=target.to_numpy()[rest]
            )
        except ValueError:
            raise DataError(
                f"there are too few rows ({len(target)}) to give every part a row of every class."
            ) from None
        remaining -= SHARES[name]
    hashes = np.asarray(row_hashes(features))
    moved: list[np.ndarray] = []
    for name, rows in parts.items():
        repeated = np.isin(hashes[rows], hashes[rest])
        moved.append(rows[repeated])
        parts[name] = rows[~repeated]
    split = Split(np.concatenate([rest, *moved]), **parts, moved=sum(map(len, moved)))
    for name, rows in split.parts().items():
        absent = set(target.unique()) - set(target.to_numpy()[rows])
        if absent:
            raise DataError(
                f"the {name} part has no row of class {sorted(map(str, absent))[0]!r}; "
                "the table has too few distinct rows."
            )
    return split
