"""Prediction sets with a coverage guarantee: split-conformal (LAC, APS and RAPS, through MAPIE) and class-conditional.

Sets by group, cross-conformal sets and sets under covariate shift are in :mod:`qkan.analysis.conformal_sets`, intervals
for regression in :mod:`qkan.analysis.conformal_regression`, coverage by group in :mod:`qkan.analysis.coverage`.
Split-conformal sets contain the true class with probability at least the confidence level, for rows exchangeable with
the calibration rows (Vovk, Gammerman and Shafer 2005; LAC: Sadinle, Lei and Wasserman 2019). Mondrian sets keep
that promise within every class. Either holds only if the calibration rows were not used in training, so rows that
were are refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

from qkan.analysis.coverage import binomial_interval, conformal_quantile, conformal_rank
from qkan.errors import LeakageError, OptionError, ShapeError, check_choice

#: Kinds of prediction sets: covering on average, or within each class.
METHODS = ("lac", "mondrian")
ADAPTIVE = ("aps", "raps")
"""Adaptive prediction sets (Romano, Sesia and Candès 2020) and their regularised form (Angelopoulos et al. 2021)."""


class _Probabilities(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose input is its output: lets MAPIE work on given probabilities."""

    def __init__(self, n_classes: int = 2):
        self.n_classes = n_classes

    def fit(self, X: Any, y: Any) -> _Probabilities:
        self.classes_ = np.arange(self.n_classes)
        self.n_features_in_ = self.n_classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        return np.asarray(X)

    def predict(self, X: Any) -> np.ndarray:
        return self.predict_proba(X).argmax(1)


class ConformalSets:
    """Prediction sets from calibration probabilities.

    Args:
        probabilities: (rows, classes) predicted for calibration rows that the model has not seen.
        labels: (rows,) their true classes as indices 0 … classes-1.
        rows: (rows, columns) their features, to be compared with ``trained``; needed if that is given.
        trained: hashes of the training rows, from :func:`row_hashes`. ``None`` leaves the comparison to the caller.

    Raises:
        LeakageError: some of the rows were trained on.
        ShapeError: shapes do not fit, or there are no calibration rows of some class.
        OptionError: only one of ``rows`` and ``trained`` is given.
    """

    def __init__(
        self,
        probabilities: np.ndarray,
        labels: np.ndarray,
        *,
        rows: pd.DataFrame | np.ndarray | None = None,
        trained: Iterable[str] | None = None,
    ):
        self.probabilities, self.labels = check_probabilities(probabilities, labels, rows)
        self.n_classes = self.probabilities.shape[1]
        if (rows is None) != (trained is None):
            raise OptionError("rows and trained belong together; give both, or neither.")
        if rows is not None and trained is not None:
            refuse_trained_rows(trained, rows)

    def predict_set(
        self, probabilities: np.ndarray, level: float = 0.9, method: str = "lac", seed: int | None = 0
    ) -> np.ndarray:
        """Sets as a boolean array (rows, classes).

        Args:
            probabilities: (rows, classes).
            level: confidence level in (0, 1).
            method: "lac" covers on average over classes, "mondrian" within each class. A class with too few calibration
                rows for the level is in every set: the promise holds, and the large sets show the price. "aps" and
                "raps", for three classes or more, vary the size with the difficulty of a row.
            seed: of the randomisation in "aps" and "raps".

        Raises:
            OptionError: the method or the level is not valid, or "aps" or "raps" is asked for two classes.
        """
        check_level(level)
        if method in ADAPTIVE and self.n_classes == 2:
            raise OptionError(f"method={method!r} needs three classes or more; for two choose 'lac' or 'mondrian'.")
        check_choice("method", method, (*METHODS, *ADAPTIVE) if self.n_classes > 2 else METHODS)
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if method == "mondrian":
            return 1 - probabilities <= self.thresholds(level)
        if method in ADAPTIVE:
            return self._mapie_sets(probabilities, level, method, seed)
        rows = len(self.labels)
        if rows * (1 - level) > 1 and rows * level > 1:  # the range MAPIE accepts
            return self._mapie_sets(probabilities, level)
        return 1 - probabilities <= conformal_quantile(self._scores(), level)

    def thresholds(self, level: float) -> np.ndarray:
        """Mondrian thresholds on 1 - p per class, shape (classes,): the ⌈(n_c+1)·level⌉-th smallest score, else ∞."""
        scores = self._scores()
        return np.array([conformal_quantile(scores[self.labels == c], level) for c in range(self.n_classes)])

    def _scores(self) -> np.ndarray:
        return 1 - self.probabilities[np.arange(len(self.labels)), self.labels]

    def _mapie_sets(
        self, probabilities: np.ndarray, level: float, method: str = "lac", seed: int | None = None
    ) -> np.ndarray:
        from mapie.classification import SplitConformalClassifier

        given = _Probabilities(self.n_classes).fit(None, None)
        entropy = np.random.SeedSequence(seed)  # MAPIE's None would mean NumPy's global state
        state = np.random.RandomState(np.random.MT19937(entropy))
        conformal = SplitConformalClassifier(
            estimator=given, confidence_level=level, conformity_score=method, prefit=True, random_state=state
        )
        conformal.conformalize(self.probabilities, self.labels)
        return np.asarray(conformal.predict_set(probabilities)[1][:, :, 0], dtype=bool)


def check_level(level: float) -> None:
    """Raise :class:`OptionError` unless ``level`` lies strictly between 0 and 1.

    Raises:
        OptionError: it does not.
    """
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise OptionError(f"level={level!r} must lie strictly between 0 and 1.")


def check_probabilities(
    probabilities: np.ndarray, labels: np.ndarray, rows: pd.DataFrame | np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration probabilities (rows, classes) as float64 and labels (rows,) as integers.

    Raises:
        ShapeError: shapes do not fit, ``rows`` are not as many, or a class has no rows.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ShapeError(
            f"probabilities of shape {probabilities.shape} and labels of shape {labels.shape} "
            "do not fit; they must be (rows, classes) and (rows,)."
        )
    if rows is not None and len(rows) != len(labels):
        raise ShapeError(f"{len(rows)} feature rows do not fit {len(labels)} labels.")
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    if len(counts) > probabilities.shape[1] or counts.min() == 0:
        raise ShapeError(f"every class needs calibration rows; the counts per class are {counts.tolist()}.")
    return probabilities, labels


def expected_coverage(calibration_rows: int, test_rows: int, level: float) -> tuple[float, float]:
    """Central 95 % range of the coverage a valid split-conformal method shows on ``test_rows`` rows.

    Over calibration and test draws the number of covered rows is beta-binomial (Vovk 2012), so even perfect sets
    scatter around the level: widely so with few rows.

    Args:
        calibration_rows: number of calibration rows.
        test_rows: number of test rows.
        level: confidence level in (0, 1).
    """
    from scipy.stats import betabinom

    rank = conformal_rank(calibration_rows, level)
    if rank > calibration_rows:
        return 1.0, 1.0
    covered = betabinom(test_rows, rank, calibration_rows + 1 - rank)
    return float(covered.ppf(0.025)) / test_rows, float(covered.ppf(0.975)) / test_rows


@dataclass(frozen=True)
class SetReport:
    """How prediction sets did on labelled rows. Intervals are exact (Clopper-Pearson) at 95 %."""

    method: str
    level: float
    rows: int
    coverage: float
    coverage_interval: tuple[float, float]
    mean_size: float
    empty: float
    double: float
    class_coverage: tuple[float, ...]
    class_interval: tuple[tuple[float, float], ...]
    class_rows: tuple[int, ...]


def evaluate_sets(sets: np.ndarray, labels: np.ndarray, method: str, level: float) -> SetReport:
    """Coverage, size, and the fractions of empty sets and of sets with two or more classes.

    Args:
        sets: boolean (rows, classes).
        labels: (rows,) true classes as indices.
        method: name of the method, for the report.
        level: confidence level that was asked for.
    """
    labels = np.asarray(labels)
    hit = sets[np.arange(len(labels)), labels]
    sizes = sets.sum(1)
    by_class = [hit[labels == c] for c in range(sets.shape[1])]
    return SetReport(
        method=method,
        level=level,
        rows=len(labels),
        coverage=float(hit.mean()),
        coverage_interval=binomial_interval(hit),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        double=float((sizes >= 2).mean()),
        class_coverage=tuple(float(own.mean()) if len(own) else math.nan for own in by_class),
        class_interval=tuple(binomial_interval(own) for own in by_class),
        class_rows=tuple(len(own) for own in by_class),
    )


def row_hashes(frame: pd.DataFrame | np.ndarray) -> list[str]:
    """One hash per row of feature values; equal rows have equal hashes, whatever the index or the number type.

    Args:
        frame: (N, n) -> N hashes.
    """
    table = pd.DataFrame(frame)
    numbers = table.select_dtypes("number").columns
    table = table.astype(dict.fromkeys(numbers, np.float64))
    return [hashlib.sha256(repr(row).encode()).hexdigest()[:24] for row in table.itertuples(index=False, name=None)]


def refuse_trained_rows(trained: Iterable[str], calibration: pd.DataFrame | np.ndarray) -> None:
    """Raise if a calibration row was trained on.

    Args:
        trained: hashes of the training rows, from :func:`row_hashes`.
        calibration: the feature rows (N, n) meant for calibration.

    Raises:
        LeakageError: with the number of rows and the first of them.
    """
    seen = set(trained)
    found = [row for row, digest in enumerate(row_hashes(calibration)) if digest in seen]
    if found:
        raise LeakageError(
            f"{len(found)} of {len(calibration)} calibration rows were trained on (first: row {found[0] + 1}); "
            "coverage would be too low, so calibrate on rows the model has not seen."
        )
