"""Split-conformal prediction intervals for regression: absolute, normalised and conformalized quantile regression.

All cover the target with probability at least the level, on average over rows exchangeable with the calibration rows;
they differ in how the width follows the input. Calibration rows that were trained on are refused by row hash.
Predictions come from any models: an interval is a matter of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from qkan.analysis.conformal import check_level, refuse_trained_rows
from qkan.analysis.coverage import conformal_quantile
from qkan.analysis.intervals import Intervals
from qkan.errors import NonFiniteError, OptionError, ShapeError

#: Feature rows (N, n).
Rows = pd.DataFrame | np.ndarray


class ConformalIntervals:
    """Intervals from calibration targets and what was predicted for them.

    Args:
        targets: (rows,) true values of calibration rows.
        rows: (rows, columns) their features.
        trained: hashes of the training rows, from :func:`~qkan.analysis.conformal.row_hashes`.

    Raises:
        LeakageError: some of the rows were trained on.
        ShapeError: lengths differ.
        NonFiniteError: a target is NaN or infinite.
    """

    def __init__(self, targets: np.ndarray, *, rows: Rows, trained: Iterable[str]):
        self.targets = np.asarray(targets, dtype=np.float64)
        if self.targets.shape != (len(rows),):
            raise ShapeError(f"targets of shape {self.targets.shape} do not fit {len(rows)} feature rows.")
        if not np.isfinite(self.targets).all():
            raise NonFiniteError("the targets hold NaN or infinity; leave those rows out of the calibration.")
        refuse_trained_rows(trained, rows)

    def absolute(self, calibration: np.ndarray, predictions: np.ndarray, level: float = 0.9) -> Intervals:
        """One half-width for all: the ⌈(n+1)·level⌉-th smallest |y - ŷ|.

        Args:
            calibration: (calibration rows,) predictions for the calibration rows.
            predictions: (rows,) predictions for new rows.
            level: confidence level in (0, 1); with fewer than level/(1-level) calibration rows the ends are infinite.
        """
        check_level(level)
        middle = np.asarray(predictions, dtype=np.float64)
        half = conformal_quantile(np.abs(self.targets - self._fit("calibration", calibration)), level)
        return Intervals("absolute", level, middle, middle - half, middle + half)

    def normalised(
        self,
        calibration: tuple[np.ndarray, np.ndarray],
        predictions: tuple[np.ndarray, np.ndarray],
        level: float = 0.9,
    ) -> Intervals:
        """Half-width proportional to a predicted scale σ > 0 (Papadopoulos et al. 2002; Lei et al. 2018).

        Args:
            calibration: predictions and scales of the calibration rows, each (calibration rows,). The model of the
                scale, too, must not have seen them.
            predictions: the same of new rows, each (rows,).
            level: confidence level in (0, 1).

        Raises:
            OptionError: a scale is not positive.
        """
        check_level(level)
        known, scale = (self._fit("calibration", one) for one in calibration)
        middle, spread = (np.asarray(one, dtype=np.float64) for one in predictions)
        for one in (scale, spread):
            if not (one > 0).all():
                raise OptionError(f"scales must be positive; the least is {one.min()}.")
        half = conformal_quantile(np.abs(self.targets - known) / scale, level) * spread
        return Intervals("normalised", level, middle, middle - half, middle + half)

    def quantile(
        self,
        calibration: tuple[np.ndarray, np.ndarray],
        predictions: tuple[np.ndarray, np.ndarray],
        level: float = 0.9,
    ) -> Intervals:
        """Conformalized quantile regression (Romano, Patterson and Candès 2019).

        Args:
            calibration: lower and upper quantile predictions of the calibration rows, usually at (1-level)/2 and
                (1+level)/2, each (calibration rows,).
            predictions: the same of new rows, each (rows,). Their middle serves as the point prediction. Where the
                correction is negative and the quantiles are close, an interval can be empty.
            level: confidence level in (0, 1).
        """
        check_level(level)
        low, high = (self._fit("calibration", one) for one in calibration)
        lower, upper = (np.asarray(one, dtype=np.float64) for one in predictions)
        change = conformal_quantile(np.maximum(low - self.targets, self.targets - high), level)
        return Intervals("CQR", level, (lower + upper) / 2, lower - change, upper + change)

    def _fit(self, name: str, values: Any) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if values.shape != self.targets.shape:
            raise ShapeError(f"{name} of shape {values.shape} does not fit targets of shape {self.targets.shape}.")
        return values
