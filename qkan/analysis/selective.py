"""Selective prediction: answering only where the model is confident, and what that gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkan.errors import OptionError, ShapeError

ABSTAIN = -1
"""The prediction of a row that is left to a human."""


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Error among the answered rows against the share of rows answered (El-Yaniv and Wiener 2010).

    Attributes:
        thresholds: (points,) lowest confidence answered, decreasing; one point per distinct confidence.
        coverage: (points,) share of rows answered.
        risk: (points,) share of wrong answers among them.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray

    @property
    def area(self) -> float:
        """Area under the curve: mean risk over coverage; less is better."""
        return float((self.risk * np.diff(self.coverage, prepend=0.0)).sum())


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray, confidence: np.ndarray | None = None) -> RiskCoverage:
    """The risk-coverage curve of labelled rows. Rows of equal confidence are answered together.

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        confidence: (rows,) what rows are ranked by; the top probability if ``None``.

    Raises:
        ShapeError: shapes do not fit, or there are no rows.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    confidence = probabilities.max(1) if confidence is None else np.asarray(confidence, dtype=np.float64)
    if not len(labels) or labels.shape != probabilities.shape[:1] or confidence.shape != labels.shape:
        raise ShapeError(
            f"labels of shape {labels.shape}, probabilities of shape {probabilities.shape} and confidence of shape "
            f"{confidence.shape} do not fit; they must be (rows,), (rows, classes) and (rows,), with at least one row."
        )
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    wrong = np.cumsum(probabilities.argmax(1)[order] != labels[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    answered = last + 1
    return RiskCoverage(ranked[last], answered / len(labels), wrong[last] / answered)


def predict_or_abstain(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """(rows,) predicted class, or :data:`ABSTAIN` where the top probability is below ``threshold``.

    Args:
        probabilities: (rows, classes).
        threshold: least top probability that is answered.

    Raises:
        OptionError: ``threshold`` is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold={threshold!r} must lie between 0 and 1.")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return np.where(probabilities.max(1) >= threshold, probabilities.argmax(1), ABSTAIN)


def decide_by_set(sets: np.ndarray) -> np.ndarray:
    """(rows,) the class of a prediction set (rows, classes) of exactly one, else :data:`ABSTAIN`."""
    sets = np.asarray(sets, dtype=bool)
    return np.where(sets.sum(1) == 1, sets.argmax(1), ABSTAIN)
