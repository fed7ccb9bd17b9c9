"""Classification metrics with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn import metrics as sk

from qkan.errors import ShapeError

#: Metric -> (label, True if larger is better).
METRICS = {
    "accuracy": ("Accuracy", True),
    "precision": ("Precision (macro)", True),
    "recall": ("Recall (macro)", True),
    "f1": ("F1 (macro)", True),
    "roc_auc": ("ROC-AUC", True),
    "mcc": ("MCC", True),
    "kappa": ("Cohen's κ", True),
    "log_loss": ("Log loss", False),
    "brier": ("Brier score", False),
    "ece": ("ECE (10 bins)", False),
}


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """All of :data:`METRICS`.

    Args:
        labels: (rows,) true classes as indices 0 … classes-1; every class must occur.
        probabilities: (rows, classes), rows summing to 1.

    Returns:
        ROC-AUC is one-vs-rest, macro-averaged, for more than two classes. The Brier score is the mean squared error of
        the probability vector, halved for two classes so that it equals the usual binary score.

    Raises:
        ShapeError: a class does not occur.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    n_classes = probabilities.shape[1]
    if len(np.unique(labels)) != n_classes:
        raise ShapeError(f"metrics need rows of all {n_classes} classes; only {len(np.unique(labels))} occur.")
    predicted = probabilities.argmax(1)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0.0)
    scores = probabilities[:, 1] if n_classes == 2 else probabilities
    squared = ((probabilities - np.eye(n_classes)[labels]) ** 2).sum(1).mean()
    return {
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(sk.roc_auc_score(labels, scores, multi_class="ovr")),
        "mcc": float(sk.matthews_corrcoef(labels, predicted)),
        "kappa": float(sk.cohen_kappa_score(labels, predicted)),
        "log_loss": float(sk.log_loss(labels, probabilities, labels=np.arange(n_classes))),
        "brier": float(squared / 2 if n_classes == 2 else squared),
        "ece": expected_calibration_error(labels, probabilities),
    }


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean |accuracy - confidence| over equal-width bins of the top probability, weighted by rows (Guo et al. 2017).

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        bins: of equal width on [0, 1].
    """
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == labels).astype(float)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def bootstrap_metrics(
    labels: np.ndarray, probabilities: np.ndarray, resamples: int = 300, seed: int | None = 0
) -> dict[str, Estimate]:
    """Every metric with a 95 % percentile interval over resamples of the rows, drawn within each class.

    Drawing within classes keeps every class present, as ROC-AUC needs; intervals are conditional on the class sizes.

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        resamples: bootstrap resamples of the rows.
        seed: of the resamples.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    point = classification_metrics(labels, probabilities)
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == c) for c in range(probabilities.shape[1])]
    draws = []
    with config_context(assume_finite=True, skip_parameter_validation=True):  # checked once, by the point estimate
        for _ in range(resamples):
            index = np.concatenate([random.choice(own, len(own)) for own in rows])
            draws.append(classification_metrics(labels[index], probabilities[index]))
    return {
        name: Estimate(value, *np.percentile([draw[name] for draw in draws], (2.5, 97.5)).tolist())
        for name, value in point.items()
    }
