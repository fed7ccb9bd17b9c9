"""Prediction sets by group, under covariate shift, and from all rows by cross-validation.

All refuse calibration rows that were trained on, by row hash. Scores are those of LAC, 1 - p of the true class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from qkan.analysis.conformal import check_level, check_probabilities, refuse_trained_rows, row_hashes
from qkan.analysis.coverage import conformal_quantile
from qkan.errors import OptionError, ShapeError, check_positive

#: Feature rows (N, n).
Rows = pd.DataFrame | np.ndarray


class GroupConformalSets:
    """Sets that cover within each group, such as a site or a sex, or within each class of each group.

    Args:
        probabilities: (rows, classes) predicted for calibration rows.
        labels: (rows,) their true classes as indices.
        groups: (rows,) their groups.
        rows: (rows, columns) their features.
        trained: hashes of the training rows, from :func:`~qkan.analysis.conformal.row_hashes`.

    Raises:
        LeakageError: some of the rows were trained on.
        ShapeError: shapes do not fit, or a class has no rows.
    """

    def __init__(
        self, probabilities: np.ndarray, labels: np.ndarray, groups: Any, *, rows: Rows, trained: Iterable[str]
    ):
        self.probabilities, self.labels = check_probabilities(probabilities, labels, rows)
        self.groups = np.asarray(groups)
        if self.groups.shape != self.labels.shape:
            raise ShapeError(f"groups of shape {self.groups.shape} do not fit labels of shape {self.labels.shape}.")
        refuse_trained_rows(trained, rows)

    def predict_set(
        self, probabilities: np.ndarray, groups: Any, level: float = 0.9, *, by_class: bool = False
    ) -> np.ndarray:
        """Sets as a boolean array (rows, classes).

        A group (or class of a group) with fewer than level/(1-level) calibration rows gets every class: the promise
        holds, and the large sets show that nothing is known. So does a group never seen.

        Args:
            probabilities: (rows, classes).
            groups: (rows,) group of each row.
            level: confidence level in (0, 1).
            by_class: keep the promise within every class of every group.

        Raises:
            ShapeError: ``groups`` has another length than ``probabilities``.
        """
        check_level(level)
        probabilities, groups = np.asarray(probabilities, dtype=np.float64), np.asarray(groups)
        if groups.shape != probabilities.shape[:1]:
            raise ShapeError(f"groups of shape {groups.shape} do not fit {len(probabilities)} rows.")
        scores = 1 - self.probabilities[np.arange(len(self.labels)), self.labels]
        sets = np.ones(probabilities.shape, dtype=bool)
        for name in pd.unique(groups):
            known, new = self.groups == name, groups == name
            chosen = [known & (self.labels == c) if by_class else known for c in range(probabilities.shape[1])]
            thresholds = np.array([conformal_quantile(scores[one], level) for one in chosen])
            sets[new] = 1 - probabilities[new] <= thresholds
        return sets


class WeightedConformalSets:
    """Sets under covariate shift (Tibshirani, Foygel Barber, Candès and Ramdas 2019).

    If new rows differ from calibration rows in their features only, not in how labels depend on them, weighting the
    calibration rows by the ratio of the two densities restores the promise. The ratio has to be estimated
    (:func:`likelihood_ratio`) and the second half of the condition cannot be checked without labels.

    Arguments and errors as for :class:`GroupConformalSets`, without groups.
    """

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray, *, rows: Rows, trained: Iterable[str]):
        self.probabilities, self.labels = check_probabilities(probabilities, labels, rows)
        refuse_trained_rows(trained, rows)

    def predict_set(
        self, probabilities: np.ndarray, calibration_weights: np.ndarray, weights: np.ndarray, level: float = 0.9
    ) -> np.ndarray:
        """Sets as a boolean array (rows, classes).

        Args:
            probabilities: (rows, classes) of new rows.
            calibration_weights: (calibration rows,) likelihood ratio of each calibration row.
            weights: (rows,) of each new row, on the same scale. With equal weights this is LAC.
            level: confidence level in (0, 1). A row whose own weight is too large to bound gets every class.
        """
        check_level(level)
        probabilities = np.asarray(probabilities, dtype=np.float64)
        known = _weights("calibration_weights", calibration_weights, len(self.labels))
        own = _weights("weights", weights, len(probabilities))
        scores = 1 - self.probabilities[np.arange(len(self.labels)), self.labels]
        order = np.argsort(scores)
        total = np.cumsum(known[order])
        # Rounding in the sum must not push a rank up by one: the slack is that of qkan.analysis.coverage.
        wanted = level * (total[-1] + own) - 1e-9 * total[-1] / len(total)
        at = np.searchsorted(total, wanted)
        thresholds = np.append(scores[order], math.inf)[at]
        return 1 - probabilities <= thresholds[:, None]


def _weights(name: str, weights: np.ndarray, rows: int) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (rows,):
        raise ShapeError(f"{name} of shape {weights.shape} must be ({rows},).")
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() == 0:
        raise OptionError(f"{name} must be finite, at least 0 and not all 0; the least is {weights.min()}.")
    return weights


def effective_rows(weights: np.ndarray) -> float:
    """How many equally weighted rows the weights (rows,) are worth: (Σw)²/Σw²."""
    weights = np.asarray(weights, dtype=np.float64)
    return float(weights.sum() ** 2 / (weights**2).sum())


def likelihood_ratio(
    calibration: Rows, new: Rows, classifier: Any = None, *, folds: int = 5, clip: float = 20.0, seed: int | None = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Density of new rows over that of calibration rows, from a classifier that tells them apart. No labels are used.

    Args:
        calibration: (rows, columns) features of calibration rows.
        new: (rows, columns) features of new rows.
        classifier: unfitted, with ``predict_proba``; standardised logistic regression if ``None``.
        folds: each row's ratio comes from a classifier that was not fitted on it.
        clip: ratios are kept within [1/clip, clip]: less variance for some bias.
        seed: of the folds.

    Returns:
        weights (calibration rows,) and (new rows,), for :meth:`WeightedConformalSets.predict_set`.

    Raises:
        OptionError: ``clip`` is below 1.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = check_positive("folds", folds, 2)
    if not clip >= 1:
        raise OptionError(f"clip={clip!r} must be at least 1.")
    frames = pd.concat([pd.DataFrame(calibration), pd.DataFrame(new)], ignore_index=True)
    source = np.repeat([0, 1], [len(calibration), len(new)])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)) if classifier is None else classifier
    state = None if seed is None else check_positive("seed", seed, 0)
    splits = StratifiedKFold(folds, shuffle=True, random_state=np.random.RandomState(_bits(state)))
    found = cross_val_predict(model, frames, source, cv=splits, method="predict_proba")[:, 1]
    odds = found / np.maximum(1 - found, 1e-12) * len(calibration) / len(new)
    ratio = np.clip(odds, 1 / clip, clip)
    return ratio[source == 0], ratio[source == 1]


def _bits(seed: int | None) -> np.random.MT19937:
    return np.random.MT19937(np.random.SeedSequence(seed))


def cross_conformal_sets(
    estimator: Any, X: Rows, y: Any, X_new: Rows, level: float = 0.9, *, folds: int = 5, seed: int | None = 0
) -> np.ndarray:
    """Sets from all rows: every row calibrates the fold model that has not seen it (Vovk 2015), through MAPIE, LAC.

    Equal rows stay in one fold, so that no row is calibrated on its copy. In practice coverage is near the level;
    the proven bound is only 2·level - 1.

    Args:
        estimator: unfitted classifier with ``predict_proba``; cloned and fitted ``folds`` times. Preprocessing belongs
            inside it.
        X: (rows, columns) features.
        y: (rows,) class labels.
        X_new: (new rows, columns).
        level: confidence level in (0, 1).
        folds: at least 2.
        seed: of the folds.

    Returns:
        boolean (new rows, classes), classes in sorted order.
    """
    from mapie.classification import CrossConformalClassifier
    from sklearn.model_selection import PredefinedSplit, StratifiedGroupKFold

    check_level(level)
    folds = check_positive("folds", folds, 2)
    groups, _ = pd.factorize(np.asarray(row_hashes(X)))
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=np.random.RandomState(_bits(seed)))
    fold = np.empty(len(groups), dtype=int)
    for number, (_, held_out) in enumerate(splits.split(X, np.asarray(y), groups)):
        fold[held_out] = number
    # MAPIE splits twice, to fit and to score: folds drawn anew would score rows by models that have seen them.
    fixed = PredefinedSplit(fold)
    conformal = CrossConformalClassifier(estimator, confidence_level=level, conformity_score="lac", cv=fixed)
    conformal.fit_conformalize(X, np.asarray(y))
    return np.asarray(conformal.predict_set(X_new, agg_scores="crossval")[1][:, :, 0], dtype=bool)
