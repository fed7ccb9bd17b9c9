"""Calibration of class probabilities: temperature, isotonic and Venn-Abers, and how far from calibrated they are.

Every calibrator is fitted on rows of its own: those the model was trained on look better than new ones, so they are
refused by row hash (:func:`qkan.analysis.conformal.row_hashes`). Rows that fit a calibrator must not serve as
conformal calibration rows afterwards either; pass their hashes along as trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qkan.analysis.conformal import _Probabilities, check_probabilities, refuse_trained_rows
from qkan.errors import OptionError, ShapeError, check_positive

#: Feature rows (N, n).
Rows = pd.DataFrame | np.ndarray


class Calibrator:
    """What every calibrator shares: guarded fitting on probabilities (rows, classes) and labels (rows,)."""

    def fit(self, probabilities: np.ndarray, labels: np.ndarray, *, rows: Rows, trained: Iterable[str]) -> Calibrator:
        """Fit.

        Args:
            probabilities: (rows, classes) of rows that the model has not seen.
            labels: (rows,) their classes as indices.
            rows: (rows, columns) their features, to be compared with ``trained``.
            trained: hashes of the training rows, from :func:`~qkan.analysis.conformal.row_hashes`.

        Raises:
            LeakageError: some of the rows were trained on.
            ShapeError: shapes do not fit, or a class has no rows.
        """
        probabilities, labels = check_probabilities(probabilities, labels, rows)
        refuse_trained_rows(trained, rows)
        self.n_classes = probabilities.shape[1]
        self._fit(probabilities, labels)
        return self

    def _fit(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        raise NotImplementedError

    def _checked(self, probabilities: np.ndarray) -> np.ndarray:
        if not hasattr(self, "n_classes"):
            raise OptionError(f"this {type(self).__name__} is not fitted; call fit first.")
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != self.n_classes:
            raise ShapeError(f"probabilities of shape {probabilities.shape} must be (rows, {self.n_classes}).")
        return probabilities


class Temperature(Calibrator):
    """One temperature T for all logits, softmax(log p / T), by maximum likelihood (Guo et al. 2017).

    Keeps the order of the classes within every row and, for two classes, of the rows. ``temperature`` is above one for
    an overconfident model; it is sought between 1/50 and 50.
    """

    def _fit(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        from scipy.optimize import minimize_scalar
        from scipy.special import logsumexp

        logits = _logits(probabilities)
        rows = np.arange(len(labels))

        def loss(log_temperature: float) -> float:
            scaled = logits * np.exp(-log_temperature)
            return float((logsumexp(scaled, axis=1) - scaled[rows, labels]).mean())

        bound = np.log(50.0)
        self.temperature = float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))

    def transform(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (rows, classes)."""
        from scipy.special import softmax

        return softmax(_logits(self._checked(probabilities)) / self.temperature, axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


class Isotonic(Calibrator):
    """A non-decreasing step function of each class's probability (Zadrozny and Elkan 2002), through scikit-learn.

    For two classes that of the second one; for more, one against the rest for each, normalised to sum to one (rows
    where all are 0 become uniform). Needs hundreds of rows: with few, its steps overfit.
    """

    def _fit(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        from sklearn.isotonic import IsotonicRegression

        chosen = [1] if self.n_classes == 2 else range(self.n_classes)
        self._maps = [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probabilities[:, c], labels == c)
            for c in chosen
        ]

    def transform(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (rows, classes)."""
        probabilities = self._checked(probabilities)
        if self.n_classes == 2:
            second = self._maps[0].predict(probabilities[:, 1])
            return np.stack([1 - second, second], axis=1)
        each = np.stack([one.predict(probabilities[:, c]) for c, one in enumerate(self._maps)], axis=1)
        total = each.sum(1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1.0), 1 / self.n_classes)


class VennAbers(Calibrator):
    """Two probabilities per row, one of which is perfectly calibrated (Vovk and Petej 2014); for two classes.

    They come, through MAPIE, from isotonic regression with the new row added as negative and as positive. Wide
    bounds say that calibration rows are few near this score.
    """

    def _fit(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        from mapie.calibration import VennAbersCalibrator

        if self.n_classes != 2:
            raise OptionError(f"Venn-Abers bounds are for two classes, not {self.n_classes}.")
        given = _Probabilities(2).fit(None, None)
        with np.errstate(invalid="ignore", divide="ignore"):  # MAPIE divides 0 by 0 in slopes it does not use
            self._venn_abers = VennAbersCalibrator(given, cv="prefit").fit(probabilities, labels)

    def bounds(self, probabilities: np.ndarray) -> np.ndarray:
        """(rows, 2): lower and upper probability of the second class."""
        probabilities = self._checked(probabilities)
        with np.errstate(invalid="ignore", divide="ignore"):
            _, pairs = self._venn_abers.predict_proba(probabilities, p0_p1_output=True)
        return np.asarray(pairs, dtype=np.float64)

    def transform(self, probabilities: np.ndarray) -> np.ndarray:
        """Single probabilities (rows, classes) that lose least in log loss: p1 / (1 - p0 + p1)."""
        low, high = self.bounds(probabilities).T
        second = high / (1 - low + high)
        return np.stack([1 - second, second], axis=1)


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error of the top probability in bins of equal width.

    Attributes:
        value: mean |accuracy - confidence|, weighted by rows (Guo et al. 2017).
        expected: what a perfectly calibrated model with these confidences shows on as many rows, by simulation; the
            estimate is biased upwards by about this much.
        p_value: share of perfectly calibrated models that show at least ``value``.
    """

    value: float
    expected: float
    p_value: float

    @property
    def debiased(self) -> float:
        """``value`` less its expectation under perfect calibration, at least 0."""
        return max(0.0, self.value - self.expected)


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, draws: int = 500, seed: int | None = 0
) -> CalibrationError:
    """ECE with its bias, by consistency resampling (Bröcker and Smith 2007).

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        bins: of equal width on [0, 1].
        draws: simulated data sets.
        seed: of the simulation.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    bins, draws = check_positive("bins", bins), check_positive("draws", draws)
    confidence = probabilities.max(1)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    membership = (index[:, None] == np.arange(bins)).astype(np.float64)

    def error(correct: np.ndarray) -> np.ndarray:
        return np.abs((correct - confidence) @ membership).sum(-1) / len(labels)

    value = float(error((probabilities.argmax(1) == labels).astype(np.float64)))
    random = np.random.default_rng(seed)
    simulated = error((random.random((draws, len(labels))) < confidence).astype(np.float64))
    return CalibrationError(value, float(simulated.mean()), float((1 + (simulated >= value).sum()) / (1 + draws)))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Points of a reliability diagram, one per occupied bin.

    Attributes:
        name: of the class or group.
        predicted: (bins,) mean probability.
        observed: (bins,) fraction of rows of the class.
        low: (bins,) lower ends of exact 95 % intervals of ``observed``.
        high: (bins,) upper ends.
        rows: (bins,) row counts.
    """

    name: str
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


def reliability(
    labels: np.ndarray,
    probabilities: np.ndarray,
    label: int = 1,
    groups: np.ndarray | None = None,
    bins: int = 10,
) -> list[Reliability]:
    """Reliability of one class's probability, in all rows or in each group, in order of name.

    Args:
        labels: (rows,) true classes as indices.
        probabilities: (rows, classes).
        label: the class.
        groups: (rows,) such as site or sex.
        bins: of equal width on [0, 1].

    Raises:
        OptionError: ``label`` is no class.
    """
    from qkan.analysis.coverage import binomial_interval

    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    bins = check_positive("bins", bins)
    if not 0 <= label < probabilities.shape[1]:
        raise OptionError(f"label={label!r} must be one of 0 … {probabilities.shape[1] - 1}.")
    names = np.full(len(labels), f"class {label}", dtype=object) if groups is None else np.asarray(groups)
    result = []
    for name in sorted(set(names.tolist()), key=str):
        own = names == name
        predicted, hit = probabilities[own, label], labels[own] == label
        index = np.minimum((predicted * bins).astype(int), bins - 1)
        chosen = [index == b for b in np.unique(index)]
        low, high = np.array([binomial_interval(hit[one]) for one in chosen]).T
        mean, share = (np.array([values[one].mean() for one in chosen]) for values in (predicted, hit.astype(float)))
        counts = np.array([int(one.sum()) for one in chosen])
        result.append(Reliability(str(name), mean, share, low, high, counts))
    return result
