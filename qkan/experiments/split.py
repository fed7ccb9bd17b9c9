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
    """Row numbers (rows,) of each part; ``repeated`` rows share their features with another row and are in one part."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    repeated: int

    def parts(self) -> dict[str, np.ndarray]:
        """Part name -> row numbers, (rows,) integers."""
        return {name: getattr(self, name) for name in SHARES}


def split_rows(features: pd.DataFrame, target: pd.Series, seed: int, stratify: bool = True) -> Split:
    """Split by class; rows with equal features stay together, so that no part holds a copy of another's row.

    Args:
        features: (rows, columns).
        target: (rows,) classes, or numbers.
        seed: of the draw.
        stratify: give every part its share of each class; ``False`` for numbers.

    Raises:
        DataError: a part would lack a class.
    """
    group, _ = pd.factorize(np.asarray(row_hashes(features)))
    rest = np.arange(group.max() + 1)
    label = target.groupby(group).agg(lambda own: own.mode().iloc[0]).to_numpy() if stratify else None
    parts, remaining = {}, 1.0
    for name in ("test", "calibration", "validation"):
        try:
            rest, parts[name] = train_test_split(
                rest,
                test_size=SHARES[name] / remaining,
                random_state=seed,
                stratify=None if label is None else label[rest],
            )
        except ValueError:
            raise DataError(
                f"there are too few distinct rows ({group.max() + 1}) to give every part a row"
                f"{' of every class' if stratify else ''}."
            ) from None
        remaining -= SHARES[name]
    rows = {name: np.flatnonzero(np.isin(group, own)) for name, own in {"train": rest, **parts}.items()}
    for name, own in rows.items() if stratify else ():
        absent = set(target.unique()) - set(target.to_numpy()[own])
        if absent:
            raise DataError(
                f"the {name} part has no row of class {sorted(map(str, absent))[0]!r}; "
                "the table has too few distinct rows."
            )
    return Split(**rows, repeated=int((np.bincount(group)[group] > 1).sum()))
