"""How much a model relies on each column: SHAP over many rows, shuffled columns, and whether such measures agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkan.analysis.explain import Explanation
from qkan.errors import OptionError, ShapeError, check_positive


def global_importance(
    explanation: Explanation, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Mean |SHAP| of every column with its standard error over the explained rows.

    Args:
        explanation: of rows drawn from the population of interest, two or more for an error.
        resamples: bootstrap resamples of the rows.
        level: of the percentile bootstrap interval.
        seed: of the resamples.

    Returns:
        One line per column: ``feature``, ``importance`` (averaged over classes, in the explanation's unit),
        ``standard_error``, ``low``, ``high``; most important first. The background and the model are taken as fixed:
        see :mod:`qkan.analysis.stability` for those.

    Raises:
        OptionError: ``level`` is not in (0, 1).
    """
    check_positive("resamples", resamples)
    if not 0 < level < 1:
        raise OptionError(f"level={level!r} must lie strictly between 0 and 1.")
    sizes = np.abs(explanation.values).mean(2)  # (rows, features)
    count = len(sizes)
    error, low, high = (np.full(sizes.shape[1], np.nan) for _ in range(3))
    if count > 1:
        error = sizes.std(0, ddof=1) / np.sqrt(count)
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples) @ sizes / count
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    table = {"importance": sizes.mean(0), "standard_error": error, "low": low, "high": high}
    return _sorted(explanation.features, table)


def permutation_importance(
    estimator: Any, X: pd.DataFrame, labels: Any, *, repeats: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Rise of the log-loss when a column is shuffled (Breiman 2001), by scikit-learn.

    Args:
        estimator: fitted classifier with ``predict_proba`` and ``classes_``, a pipeline for instance.
        X: rows that were not trained on.
        labels: (rows,) their true classes.
        repeats: shuffles per column.
        seed: of the shuffles.

    Returns:
        One line per column: ``feature``, ``importance`` in nats, ``standard_error`` of the mean over the rows; most
        important first. A negative importance says that the shuffled column did better, by chance or because the model
        has learnt something untrue from it.

    Raises:
        ShapeError: fewer than two rows, or labels of another length.
        OptionError: a label is not a class of the estimator.
    """
    from sklearn.inspection import permutation_importance as shuffled

    labels = np.asarray(labels)
    if len(X) < 2 or len(labels) != len(X):
        raise ShapeError(f"permutation importance needs two rows or more and a label for each ({len(labels)}).")
    unknown = np.setdiff1d(labels, estimator.classes_)
    if len(unknown):
        raise OptionError(f"the label {unknown.tolist()[0]!r} is not one of {estimator.classes_.tolist()}.")
    place = np.searchsorted(estimator.classes_, labels)

    def by_row(own: Any, rows: pd.DataFrame, _: Any) -> dict[str, float]:
        likelihood = own.predict_proba(rows)[np.arange(len(place)), place]
        return {str(i): float(value) for i, value in enumerate(np.log(likelihood.clip(np.finfo(float).tiny)))}

    # A score for every row, so that the error can be that of the rows and not of the shuffles alone.
    found = shuffled(estimator, X, labels, scoring=by_row, n_repeats=check_positive("repeats", repeats),
                     random_state=seed)  # fmt: skip
    falls = np.stack([found[str(i)].importances_mean for i in range(len(labels))])  # (rows, columns)
    table = {"importance": falls.mean(0), "standard_error": falls.std(0, ddof=1) / np.sqrt(len(falls))}
    return _sorted([str(name) for name in X.columns], table)


@dataclass(frozen=True)
class Agreement:
    """Several measures of importance side by side.

    Attributes:
        measures: (features, measures), indexed by feature, ordered by the first measure.
        ranks: the same as ranks, 1 the most important, ties averaged.
        spearman: rank correlation of every pair of measures.
        kendall: Kendall's τ-b of every pair.
        left_out: measure -> why it is not there.
    """

    measures: pd.DataFrame
    ranks: pd.DataFrame
    spearman: pd.DataFrame
    kendall: pd.DataFrame
    left_out: dict[str, str]


def agreement(
    features: Sequence[str], measures: Mapping[str, Any], left_out: Mapping[str, str] | None = None
) -> Agreement:
    """Compare measures of importance: values, ranks and rank correlations.

    Args:
        features: names of the columns.
        measures: name -> (features,) values, larger for more important; NaN where a measure says nothing.
        left_out: measure that could not be had -> reason.

    Raises:
        ShapeError: no measure, or one of another length.
    """
    wrong = [name for name, values in measures.items() if np.shape(values) != (len(features),)]
    if wrong or not measures:
        raise ShapeError(f"every measure needs {len(features)} values, one per feature; {', '.join(wrong) or 'none'}.")
    table = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in measures.items()})
    table.index = pd.Index(list(features), name="feature")
    table = table.sort_values(table.columns[0], ascending=False, kind="stable")
    ranks = table.rank(ascending=False)
    return Agreement(table, ranks, table.corr("spearman"), table.corr("kendall"), dict(left_out or {}))


def _sorted(features: Sequence[str], columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"feature": list(features), **columns})
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
