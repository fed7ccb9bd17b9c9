"""Metrics by hand and against scikit-learn, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from qkan.analysis.metrics import METRICS, bootstrap_metrics, classification_metrics, expected_calibration_error
from qkan.errors import ShapeError


def sample(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated binary probabilities and labels."""
    random = np.random.default_rng(seed)
    p = random.beta(1.5, 1.5, rows)
    labels = (random.random(rows) < p).astype(int)
    labels[:2] = (0, 1)
    return labels, np.stack([1 - p, p], axis=1)


def test_every_metric_is_scikit_learns():
    labels, probabilities = sample(200, 0)
    found = classification_metrics(labels, probabilities)
    predicted = probabilities.argmax(1)
    assert found["accuracy"] == sk.accuracy_score(labels, predicted)
    assert found["f1"] == sk.f1_score(labels, predicted, average="macro")
    assert found["roc_auc"] == sk.roc_auc_score(labels, probabilities[:, 1])
    assert found["mcc"] == sk.matthews_corrcoef(labels, predicted)
    assert found["kappa"] == sk.cohen_kappa_score(labels, predicted)
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities[:, 1]))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, probabilities[:, 1]))
    assert set(found) == set(METRICS)


def test_three_classes():
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.5, 0.2, 0.3]])
    found = classification_metrics(labels, probabilities)
    assert found["accuracy"] == 0.75
    squared = (0.04 + 0.01 + 0.01) + (0.04 + 0.09 + 0.01) + (0.01 + 0.01 + 0.04) + (0.25 + 0.04 + 0.49)
    assert found["brier"] == pytest.approx(squared / 4)
    assert found["roc_auc"] == sk.roc_auc_score(labels, probabilities, multi_class="ovr")


def test_kappa_by_hand():
    """Three of four right where chance gives one half: (3/4 - 1/2) / (1 - 1/2)."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert classification_metrics(np.array([0, 0, 1, 1]), probabilities)["kappa"] == pytest.approx(0.5)
    always = np.tile([0.9, 0.1], (4, 1))
    assert classification_metrics(np.array([0, 0, 1, 1]), always)["kappa"] == 0


def test_calibration_error_by_hand():
    probabilities = np.array([[0.05, 0.95], [0.05, 0.95], [0.65, 0.35], [0.65, 0.35]])
    labels = np.array([1, 0, 0, 0])
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)


def test_certain_and_right_is_calibrated():
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0


def test_intervals_hold_the_point_and_have_the_right_width():
    """For the accuracy the bootstrap must agree with the normal approximation, here with equal classes."""
    labels, probabilities = sample(900, 1)
    found = bootstrap_metrics(labels, probabilities, resamples=200)
    for name in ("accuracy", "roc_auc", "brier"):
        assert found[name].low <= found[name].value <= found[name].high
    accuracy = found["accuracy"]
    width = 2 * 1.96 * np.sqrt(accuracy.value * (1 - accuracy.value) / 900)
    assert accuracy.high - accuracy.low == pytest.approx(width, rel=0.25)
    assert str(accuracy).count("0.") == 3


def test_bootstrap_is_seeded():
    labels, probabilities = sample(80, 2)
    assert bootstrap_metrics(labels, probabilities, 30, seed=1) == bootstrap_metrics(labels, probabilities, 30, seed=1)
    assert bootstrap_metrics(labels, probabilities, 30, seed=1) != bootstrap_metrics(labels, probabilities, 30, seed=2)


def test_missing_class():
    with pytest.raises(ShapeError, match="all 2 classes; only 1 occur"):
        classification_metrics(np.zeros(5, dtype=int), np.full((5, 2), 0.5))
