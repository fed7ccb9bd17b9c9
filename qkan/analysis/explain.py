"""SHAP values of a classifier on a table, exact or by permutation, always checked for additivity.

The game is played on the columns of the table as people know them, so one-hot columns and missing indicators belong to
their column. :mod:`qkan.analysis.network_shap` has the methods that look inside a network. DeepExplainer is not
offered: it is wrong for KAN edges (it knows a fixed list of layers and violates additivity).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from qkan.errors import NonFiniteError, OptionError, ShapeError, check_choice, check_positive

#: Exact enumeration costs 2^d evaluations of the background per row; beyond this permutation sampling takes over.
EXACT_FEATURES = 12
#: Features up to which enumeration is possible on request: 2^16 evaluations of the background per row.
EXACT_LIMIT = 16
#: Largest |base + Σ values - output| that exact, permutation and closed-form values may have.
GAP = 1e-6
#: What an explanation's values are in, by its ``output``.
UNITS = {"probability": "probability", "logit": "log-odds"}

#: Rows, or with columnwise their matrix, (N, n) -> outputs (N, C), typically class probabilities.
Predict = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Explanation:
    """SHAP values: base[c] + values[row, :, c].sum() equals the model's output for class c.

    Attributes:
        values: (rows, features, classes), in units of the model's output.
        base: (classes,) mean output over the background.
        rows: the explained rows, as the model sees them.
        method: "exact", "permutation", "additive" or "expected_gradients".
        additivity_gap: largest |base + Σ values - output| over rows and classes.
        output: "probability", or "logit": log p_c minus the mean of the other classes' log p, for two classes the
            log-odds.
        gap_error: for expected gradients, which are an estimate, the largest standard error of base + Σ values.
    """

    values: np.ndarray
    base: np.ndarray
    rows: pd.DataFrame
    method: str
    additivity_gap: float
    output: str = "probability"
    gap_error: float | None = None

    @property
    def features(self) -> list[str]:
        """Names of the explained columns."""
        return [str(name) for name in self.rows.columns]

    @property
    def importance(self) -> np.ndarray:
        """Mean |SHAP| per feature, averaged over classes; shape (features,)."""
        return np.abs(self.values).mean((0, 2))

    @property
    def unit(self) -> str:
        """What the values are in, as text."""
        return UNITS[self.output]

    def take(self, places: Sequence[int]) -> Explanation:
        """The explanation of some of the rows."""
        chosen = list(places)
        return replace(self, values=self.values[chosen], rows=self.rows.iloc[chosen].reset_index(drop=True))

    def top(self, row: int, label: int, count: int = 3) -> list[tuple[str, float]]:
        """The features that move this row's output for class ``label`` most, with their signed contributions.

        Args:
            row: place of the row in the explanation.
            label: place of the class.
            count: how many features.
        """
        own = self.values[row, :, label]
        order = np.argsort(-np.abs(own))[:count]
        return [(str(self.rows.columns[i]), float(own[i])) for i in order]


@dataclass(frozen=True)
class Columnwise:
    """Preprocessing that turns every column into columns of its own, whatever the other columns hold.

    Then a row put together from two others can be looked up instead of preprocessed anew.

    Attributes:
        transform: table (rows, d) -> matrix (rows, p).
        groups: (p,) number of the table's column that each column of the matrix comes from.
    """

    transform: Callable[[pd.DataFrame], np.ndarray]
    groups: np.ndarray


def shap_values(
    predict: Predict,
    background: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    method: str = "auto",
    seed: int = 0,
    rounds: int = 4,
    columnwise: Columnwise | None = None,
    progress: Callable[[int], None] | None = None,
) -> Explanation:
    """Interventional SHAP values of ``predict`` (Lundberg and Lee 2017) with respect to a background sample.

    Args:
        predict: table -> (rows, classes), typically class probabilities. With ``columnwise``, it gets the matrix that
            ``columnwise.transform`` makes of the table.
        background: rows that stand for "feature unknown"; 30 to 100 are usual, and cost grows with their number.
        rows: rows to explain, same columns.
        method: "exact" (2^features evaluations of the background per row), "permutation", or "auto": exact up to 12
            features.
        seed: of the permutations.
        rounds: antithetic permutations per row; each costs 2·features + 1 passes over the background.
        columnwise: preprocessing to look up; without, ``predict`` preprocesses.
        progress: called with the number of rows done.

    Raises:
        OptionError: the method is unknown, or "exact" with more than 16 features.
        ShapeError: the columns differ or there are no rows.
        NonFiniteError: additivity is violated by more than 1e-6, so the values cannot be trusted.
    """
    if list(background.columns) != list(rows.columns) or len(background) == 0 or len(rows) == 0:
        raise ShapeError("background and rows must be non-empty and have the same columns.")
    check_choice("method", method, ("auto", "exact", "permutation"))
    check_positive("rounds", rounds)
    method = usual_method(rows.shape[1]) if method == "auto" else method
    if method == "exact" and rows.shape[1] > EXACT_LIMIT:
        raise OptionError(
            f"method='exact' with {rows.shape[1]} features needs 2^{rows.shape[1]} evaluations per row; "
            f"use 'permutation' beyond {EXACT_LIMIT}."
        )
    values, own, base = [], [], np.zeros(0)
    for start in range(0, len(rows), 25):  # whole numbers stay small enough for SHAP to tell them apart
        part = rows.iloc[start : start + 25]
        cells = _Cells(background, part)
        outputs = cells.outputs(predict, columnwise)
        found = _explain(outputs, cells, method, (seed + start) % 2**32, rounds)
        values.append(np.asarray(found.values, dtype=np.float64))
        base = np.atleast_2d(found.base_values)[0].astype(np.float64)
        own.append(outputs(cells.rows))
        if progress is not None:
            progress(len(part))
    found = Explanation(np.concatenate(values), base, rows.reset_index(drop=True), method, np.nan)
    return checked(found, np.concatenate(own))


def checked(explanation: Explanation, outputs: np.ndarray) -> Explanation:
    """The explanation with its additivity gap to the model's outputs (rows, classes).

    Raises:
        NonFiniteError: the gap is not below 1e-6.
    """
    gap = float(np.abs(explanation.base + explanation.values.sum(1) - outputs).max())
    if not gap < GAP:
        raise NonFiniteError(f"SHAP values miss the model's output by {gap:.2g}; they are not additive.")
    return replace(explanation, additivity_gap=gap)


def usual_method(features: int) -> str:
    """What "auto" stands for at this number of features."""
    return "exact" if features <= EXACT_FEATURES else "permutation"


def evaluations(method: str, features: int, rounds: int = 4) -> int:
    """How often the model sees the background, put together with the row, for one row's SHAP values.

    Args:
        method: "exact" or "permutation".
        features: columns of the table.
        rounds: permutations, for "permutation".
    """
    method = usual_method(features) if method == "auto" else method
    return 2**features if method == "exact" else rounds * (2 * features + 1)


class _Cells:
    """Every cell as the number of its value in its column, because SHAP's maskers compare numbers, not text or NaN."""

    def __init__(self, background: pd.DataFrame, rows: pd.DataFrame):
        both = pd.concat([background, rows], ignore_index=True)
        self.levels: dict[str, np.ndarray] = {}
        codes = np.empty(both.shape)
        for place, name in enumerate(both.columns):
            codes[:, place], levels = pd.factorize(both[name], use_na_sentinel=False)
            numeric = pd.api.types.is_numeric_dtype(both[name])
            self.levels[name] = np.asarray(levels, dtype=np.float64 if numeric else object)
        self.background, self.rows = codes[: len(background)], codes[len(background) :]

    def outputs(self, predict: Predict, columnwise: Columnwise | None) -> Callable[[np.ndarray], np.ndarray]:
        """The model on rows of such numbers."""
        if columnwise is None:
            return lambda codes: np.asarray(predict(self._table(codes.astype(int))))
        longest = max(map(len, self.levels.values()))
        padded = np.minimum(np.arange(longest)[:, None], [len(levels) - 1 for levels in self.levels.values()])
        looked_up = columnwise.transform(self._table(padded))
        groups, columns = columnwise.groups, np.arange(looked_up.shape[1])
        return lambda codes: np.asarray(predict(looked_up[codes.astype(int)[:, groups], columns]))

    def _table(self, codes: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({name: levels[codes[:, i]] for i, (name, levels) in enumerate(self.levels.items())})


def _explain(outputs: Callable[[np.ndarray], np.ndarray], cells: _Cells, method: str, seed: int, rounds: int) -> Any:
    shap = import_shap()
    masker = shap.maskers.Independent(cells.background, max_samples=len(cells.background))
    features = cells.rows.shape[1]
    with kept_random_state():
        if method == "exact":
            return shap.explainers.ExactExplainer(outputs, masker)(cells.rows, max_evals=2**features, silent=True)
        explainer = shap.explainers.PermutationExplainer(outputs, masker, seed=seed)
        return explainer(cells.rows, max_evals=rounds * (2 * features + 1), silent=True)


def import_shap() -> Any:
    """The package, without the warnings of its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    return shap


@contextmanager
def kept_random_state() -> Iterator[None]:
    """NumPy's global random state is afterwards what it was: SHAP seeds it and draws from it."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
