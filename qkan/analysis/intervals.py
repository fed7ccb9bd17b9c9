"""Prediction intervals for one-step forecasts of any predict function, and their coverage over time.

Three methods, from the plainest on:

* split conformal: one half-width, the quantile of absolute residuals on windows held out from training. It covers at
  the level if later windows are exchangeable with those, which a drifting series is not;
* ACI (Gibbs and Candès, *Adaptive conformal inference under distribution shift*, NeurIPS 2021, through MAPIE): after
  each step the level is raised if the target was missed and lowered if not, so that coverage returns to the level in
  the long run whatever the series does; residuals of the most recent steps replace the oldest;
* EnbPI (Xu and Xie, *Conformal prediction for dynamic time-series*, ICML 2021, through MAPIE): an ensemble fitted on
  blocks drawn from the training windows, whose out-of-block residuals need no held-out windows. Windows beside a block
  share values with it, so these residuals are somewhat too small at first; those of later steps replace them.

Both adaptive methods see a target only after its interval is given. In what follows inputs are (N, window, channels)
and targets (N,) or (N, 1), in order of time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from qkan.analysis.coverage import conformal_quantile
from qkan.analysis.forecast import Predict
from qkan.errors import OptionError, ShapeError, check_positive

Fit = Callable[[np.ndarray, np.ndarray], Predict]
"""Trains a fresh model on inputs (N, window, channels) and targets (N, 1) and returns its predict function."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """Prediction intervals of one method, in order of time.

    Attributes:
        method: "split conformal", "ACI" or "EnbPI".
        level: confidence level asked for.
        predictions: (N,) point forecasts.
        lower: (N,) lower ends, -∞ where the method cannot bound.
        upper: (N,) upper ends.
    """

    method: str
    level: float
    predictions: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def covered(self, targets: np.ndarray) -> np.ndarray:
        """(N,) whether each target lies in its interval, ends included.

        Raises:
            ShapeError: there are not as many targets as intervals.
        """
        targets = _single("targets", targets)
        if targets.shape != self.lower.shape:
            raise ShapeError(f"targets of shape {targets.shape} do not fit {len(self.lower)} intervals.")
        return (self.lower <= targets) & (targets <= self.upper)

    def in_unit(self, inverse: Callable[[np.ndarray], np.ndarray]) -> Intervals:
        """The same intervals in another unit.

        Args:
            inverse: increasing map of forecasts and ends, (N,) -> (N,), such as ``windows.inverse_targets`` to the unit
                of the series.
        """
        return replace(
            self, predictions=inverse(self.predictions), lower=inverse(self.lower), upper=inverse(self.upper)
        )

    @property
    def unbounded(self) -> float:
        """Fraction of intervals of infinite width."""
        return float((~np.isfinite(self.upper - self.lower)).mean())

    @property
    def median_width(self) -> float:
        """Median width, infinite if half of the intervals are: a mean would hide how many."""
        return float(np.median(self.upper - self.lower))


def split_conformal(
    predict: Predict, calibration: tuple[np.ndarray, np.ndarray], inputs: np.ndarray, level: float = 0.9
) -> Intervals:
    """Intervals of one half-width: the ⌈(n+1)·level⌉-th smallest absolute residual of n calibration windows.

    Args:
        predict: a trained model's predict function.
        calibration: inputs and targets that it was not trained on, such as the validation part.
        inputs: windows to give intervals for.
        level: confidence level in (0, 1). With fewer than level/(1-level) calibration windows the ends are infinite.

    Raises:
        OptionError: ``level`` is not in (0, 1).
        ShapeError: shapes do not fit, or the forecast has more than one step.
    """
    _check_level(level)
    known, targets = _pair(calibration)
    half = conformal_quantile(np.abs(targets - _single("predictions", predict(known))), level)
    middle = _single("predictions", predict(np.asarray(inputs, dtype=np.float64)))
    return Intervals("split conformal", level, middle, middle - half, middle + half)


def aci(
    predict: Predict,
    calibration: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    level: float = 0.9,
    gamma: float = 0.03,
    *,
    update: bool = True,
) -> Intervals:
    """Adaptive conformal inference along the test windows.

    Args:
        predict: a trained model's predict function; called once on all windows.
        calibration: inputs (N, window, channels) and targets (N,) or (N, 1) that it was not trained on, just before the
            test windows.
        test: inputs and targets likewise, of any number; each target is used only after its interval is given.
        level: confidence level, a whole number of percent: MAPIE rounds it.
        gamma: step size of the adaptation; 0 never adapts. Gibbs and Candès use 0.005; larger ones react faster and
            give more infinite intervals.
        update: also replace the oldest residual by the newest after each step.

    Raises:
        OptionError: ``level`` is not 0.01 … 0.99 in steps of 0.01, or ``gamma`` is not in [0, 1].
        ShapeError: shapes do not fit, or the forecast has more than one step.
    """
    from mapie.regression import TimeSeriesRegressor

    _check_level(level)
    if not math.isclose(level, round(level, 2), abs_tol=1e-12):
        raise OptionError(f"level={level!r} must be a whole number of percent, such as 0.9 or 0.95, for ACI.")
    if not 0 <= gamma <= 1:
        raise OptionError(f"gamma={gamma!r} must lie between 0 and 1.")
    known, targets = _pair(calibration)
    inputs, later = _pair(test)
    # MAPIE calls the model two or three times per step; here it works on predictions made once.
    given = _Given().fit(None, None)
    middle = _single("predictions", predict(inputs))
    conformal = TimeSeriesRegressor(given, method="aci", cv="prefit")
    conformal.fit(_single("predictions", predict(known))[:, None], targets)

    def adapt(row: np.ndarray, target: np.ndarray) -> None:
        conformal.adapt_conformal_inference(row, target, gamma=gamma, confidence_level=level)
        if update:
            _update(conformal, row, target, ensemble=False)

    return _walk("ACI", conformal, middle[:, None], later, level, adapt, ensemble=False)


def enbpi(
    fit: Fit,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    level: float = 0.9,
    *,
    resamplings: int = 10,
    block: int = 20,
    seed: int | None = None,
) -> Intervals:
    """Ensemble batch prediction intervals along the test windows.

    Args:
        fit: trains a model; called ``resamplings`` + 1 times, on windows in blocks drawn at random.
        train: inputs and targets to draw the blocks from.
        test: inputs and targets; each target is used only after its interval is given.
        level: confidence level in (0, 1).
        resamplings: models in the ensemble. A window that every model was fitted on has no residual and is left out of
            the quantiles: about 0.63^resamplings of them.
        block: consecutive windows drawn together, so that a block keeps the dependence in time.
        seed: of the blocks.

    Raises:
        OptionError: ``level``, ``resamplings`` or ``block`` is out of range.
        ShapeError: shapes do not fit, or the forecast has more than one step.
    """
    from mapie.regression import TimeSeriesRegressor
    from mapie.subsample import BlockBootstrap

    _check_level(level)
    resamplings, block = check_positive("resamplings", resamplings, 2), check_positive("block", block)
    known, targets = _pair(train)
    inputs, later = _pair(test)
    if 2 * block > len(known):
        raise OptionError(f"block={block} must be at most half of the {len(known)} training windows.")
    blocks = BlockBootstrap(n_resamplings=resamplings, length=block, overlapping=True, random_state=_state(seed))
    conformal = TimeSeriesRegressor(_WindowRegressor(fit, known.shape[1:]), method="enbpi", cv=blocks)
    with warnings.catch_warnings():
        # Windows without a residual, which MAPIE's quantiles skip.
        warnings.filterwarnings("ignore", message="(?s).*at least one point of training set")
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        conformal.fit(known.reshape(len(known), -1), targets)
    flat = inputs.reshape(len(inputs), -1)

    def learn(row: np.ndarray, target: np.ndarray) -> None:
        _update(conformal, row, target, ensemble=True)

    with np.errstate(invalid="ignore"):  # MAPIE divides 0 by 0 for the same windows and skips the result
        return _walk("EnbPI", conformal, flat, later, level, learn, ensemble=True)


def _walk(
    method: str,
    conformal: Any,
    rows: np.ndarray,
    targets: np.ndarray,
    level: float,
    learn: Callable[[np.ndarray, np.ndarray], None],
    *,
    ensemble: bool,
) -> Intervals:
    """Interval by interval: predict, then learn from the target."""
    found = np.empty((len(rows), 3))
    for step in range(len(rows)):
        row = rows[step : step + 1]
        middle, ends = conformal.predict(row, ensemble=ensemble, confidence_level=level, allow_infinite_bounds=True)
        found[step] = middle[0], ends[0, 0, 0], ends[0, 1, 0]
        learn(row, targets[step : step + 1])
    return Intervals(method, level, *found.T)


def _update(conformal: Any, row: np.ndarray, target: np.ndarray, *, ensemble: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MAPIE 1.6 warns on every call of what update no longer does
        conformal.update(row, target, ensemble=ensemble)


class _Given(RegressorMixin, BaseEstimator):
    """A fitted regressor whose input is its output."""

    def fit(self, X: Any, y: Any) -> _Given:
        self.n_features_in_ = 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X)[:, 0]


class _WindowRegressor(RegressorMixin, BaseEstimator):
    """scikit-learn's regressor around a fit function: MAPIE clones it and passes windows as flat rows."""

    def __init__(self, fit_windows: Fit, shape: tuple[int, ...]):
        self.fit_windows = fit_windows
        self.shape = shape

    def fit(self, X: Any, y: Any) -> _WindowRegressor:
        self.n_features_in_ = X.shape[1]
        self.predict_ = self.fit_windows(np.asarray(X).reshape(len(X), *self.shape), np.asarray(y)[:, None])
        return self

    def predict(self, X: Any) -> np.ndarray:
        return _single("predictions", self.predict_(np.asarray(X).reshape(len(X), *self.shape)))


def rolling_coverage(covered: np.ndarray, window: int = 50) -> np.ndarray:
    """Fraction covered in every stretch of ``window`` consecutive steps, shape (N - window + 1,).

    Raises:
        OptionError: ``window`` is not 1 … N.
    """
    covered = np.asarray(covered, dtype=np.float64)
    window = check_positive("window", window)
    if covered.ndim != 1 or window > len(covered):
        raise OptionError(f"window={window} must be at most the number of intervals, {len(covered)}.")
    total = np.concatenate([[0.0], covered.cumsum()])
    return (total[window:] - total[:-window]) / window


def _check_level(level: float) -> None:
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise OptionError(f"level={level!r} must lie strictly between 0 and 1.")


def _pair(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = np.asarray(pair[0], dtype=np.float64), _single("targets", pair[1])
    if inputs.ndim != 3 or len(inputs) != len(targets) or len(inputs) == 0:
        raise ShapeError(
            f"inputs of shape {inputs.shape} and targets of shape {np.shape(pair[1])} do not fit; they must be "
            "(N, window, channels) and (N, 1)."
        )
    return inputs, targets


def _single(what: str, array: np.ndarray) -> np.ndarray:
    """(N,) of (N,) or (N, 1)."""
    array = np.asarray(array, dtype=np.float64)
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise ShapeError(f"{what} of shape {array.shape} must be (N,) or (N, 1): intervals are for one step ahead.")
    return array


def _state(seed: int | None) -> np.random.RandomState:
    """MAPIE wants a RandomState; with ``None`` it would draw from NumPy's global one."""
    entropy = np.random.SeedSequence(None if seed is None else check_positive("seed", seed, 0))
    return np.random.RandomState(np.random.MT19937(entropy))
