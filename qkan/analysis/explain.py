"""SHAP values of a classifier on a table, exact or by permutation, always checked for additivity.

DeepExplainer is not offered: it is wrong for KAN edges (it knows a fixed list of layers and violates additivity).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkan.errors import NonFiniteError, ShapeError

#: Exact enumeration costs 2^d evaluations of the background per row; beyond this permutation sampling takes over.
EXACT_FEATURES = 10

Predict = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Explanation:
    """SHAP values: base[c] + values[row, :, c].sum() equals the model's output for class c.

    Attributes:
        values: (rows, features, classes), in units of the model's output.
        base: (classes,) mean output over the background.
        rows: the explained rows, as the model sees them.
        method: "exact" or "permutation".
        additivity_gap: largest |base + Σ values - output| over rows and classes.
    """

    values: np.ndarray
    base: np.ndarray
    rows: pd.DataFrame
    method: str
    additivity_gap: float

    @property
    def importance(self) -> np.ndarray:
        """Mean |SHAP| per feature, averaged over classes; shape (features,)."""
        return np.abs(self.values).mean((0, 2))

    def top(self, row: int, label: int, count: int = 3) -> list[tuple[str, float]]:
        """The features that move this row's output for class ``label`` most, with their signed contributions."""
        own = self.values[row, :, label]
        order = np.argsort(-np.abs(own))[:count]
        return [(str(self.rows.columns[i]), float(own[i])) for i in order]


class _Coder:
    """Tables with text columns as float arrays and back, because SHAP's maskers compare numbers."""

    def __init__(self, frame: pd.DataFrame, categorical: Sequence[str], extra: pd.DataFrame):
        self.columns, self.index = list(frame.columns), {}
        for name in categorical:
            values = pd.concat([frame[name], extra[name]]).dropna().unique()
            self.index[name] = {value: code for code, value in enumerate(values)}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        coded = {
            name: frame[name].map(self.index[name]) if name in self.index else frame[name] for name in self.columns
        }
        return pd.DataFrame(coded).to_numpy(dtype=np.float64)

    def decode(self, array: np.ndarray) -> pd.DataFrame:
        frame = pd.DataFrame(array, columns=self.columns)
        for name, index in self.index.items():
            values = dict(zip(index.values(), index, strict=True))
            frame[name] = frame[name].map(values).astype(object).where(frame[name].notna(), np.nan)
        return frame


def shap_values(
    predict: Predict,
    background: pd.DataFrame,
    rows: pd.DataFrame,
    categorical: Sequence[str] = (),
    *,
    seed: int = 0,
    rounds: int = 4,
) -> Explanation:
    """Interventional SHAP values of ``predict`` (Lundberg and Lee 2017) with respect to a background sample.

    Args:
        predict: table -> (rows, classes), typically class probabilities.
        background: rows that stand for "feature unknown"; 30 to 100 are usual, and cost grows with their number.
        rows: rows to explain, same columns.
        categorical: names of text columns.
        seed: of the permutations.
        rounds: antithetic permutations per row beyond 10 features; each costs 2·features + 1 passes over the
            background.

    Raises:
        ShapeError: the columns differ or there are no rows.
        NonFiniteError: additivity is violated by more than 1e-6, so the values cannot be trusted.
    """
    if list(background.columns) != list(rows.columns) or len(background) == 0 or len(rows) == 0:
        raise ShapeError("background and rows must be non-empty and have the same columns.")
    coder = _Coder(background, categorical, rows)

    def outputs(array: np.ndarray) -> np.ndarray:
        return np.asarray(predict(coder.decode(array)))

    found = _explain(outputs, coder.encode(background), coder.encode(rows), seed, rounds)
    values = np.asarray(found.values, dtype=np.float64)
    base = np.atleast_2d(found.base_values)[0].astype(np.float64)
    gap = float(np.abs(base + values.sum(1) - outputs(coder.encode(rows))).max())
    if not gap < 1e-6:
        raise NonFiniteError(f"SHAP values miss the model's output by {gap:.2g}; they are not additive.")
    method = "exact" if rows.shape[1] <= EXACT_FEATURES else "permutation"
    return Explanation(values, base, rows.reset_index(drop=True), method, gap)


def _explain(
    outputs: Callable[[np.ndarray], np.ndarray], background: np.ndarray, rows: np.ndarray, seed: int, rounds: int
) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SHAP's own dependencies warn on import
        import shap
    masker = shap.maskers.Independent(background, max_samples=len(background))
    features = rows.shape[1]
    if features <= EXACT_FEATURES:
        return shap.explainers.ExactExplainer(outputs, masker)(rows, max_evals=2**features, silent=True)
    explainer = shap.explainers.PermutationExplainer(outputs, masker, seed=seed)
    return explainer(rows, max_evals=rounds * (2 * features + 1), silent=True)
