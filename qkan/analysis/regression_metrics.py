"""Errors of predicted numbers with bootstrap intervals.

Percentile intervals of the bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

import numpy as np

from qkan.analysis.metrics import Estimate
from qkan.errors import ShapeError

#: Metric -> (label, True if larger is better).
METRICS = {"rmse": ("RMSE", False), "mae": ("MAE", False), "r2": ("R²", True)}


def errors(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """All of :data:`METRICS`: root mean square and mean absolute error in the target's unit, and R².

    Args:
        targets: (rows,) true values, not all equal.
        predictions: (rows,).

    Raises:
        ShapeError: shapes differ.
    """
    targets, predictions = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    if targets.shape != predictions.shape or targets.ndim != 1:
        raise ShapeError(f"targets {targets.shape} and predictions {predictions.shape} must be equally many numbers.")
    away = predictions - targets
    return {
        "rmse": float(np.sqrt((away**2).mean())),
        "mae": float(np.abs(away).mean()),
        "r2": float(1 - (away**2).sum() / ((targets - targets.mean()) ** 2).sum()),
    }


def bootstrap_errors(
    targets: np.ndarray, predictions: np.ndarray, resamples: int = 1000, seed: int | None = 0
) -> dict[str, Estimate]:
    """Every metric with a 95 % percentile interval over resamples of the rows.

    Args:
        targets: (rows,) true values.
        predictions: (rows,).
        resamples: drawn with replacement.
        seed: of a local generator.
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    point = errors(targets, predictions)
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = random.integers(len(targets), size=len(targets))
        if np.ptp(targets[rows]) > 0:  # R² needs targets that differ
            draws.append(errors(targets[rows], predictions[rows]))
    return {
        name: Estimate(value, *np.percentile([draw[name] for draw in draws], (2.5, 97.5)).tolist())
        for name, value in point.items()
    }
