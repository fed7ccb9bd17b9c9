"""Regression intervals against MAPIE, against their law, and where the noise varies."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from sklearn.linear_model import LinearRegression, QuantileRegressor

from qkan.analysis.conformal import row_hashes
from qkan.analysis.conformal_regression import ConformalIntervals
from qkan.errors import LeakageError, OptionError, ShapeError


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.random((rows, 1))
    return x, 2 * x[:, 0] + (0.1 + 2 * x[:, 0]) * random.normal(size=rows)


def test_absolute_and_cqr_equal_mapie():
    (x, y), (known, truth), (new, _) = draw(300, 0), draw(199, 1), draw(40, 2)
    model = LinearRegression().fit(x, y)
    ours = ConformalIntervals(truth, rows=known, trained=row_hashes(x))
    theirs = SplitConformalRegressor(model, confidence_level=0.9, conformity_score="absolute", prefit=True)
    _, ends = theirs.conformalize(known, truth).predict_interval(new)
    found = ours.absolute(model.predict(known), model.predict(new), 0.9)
    np.testing.assert_allclose([found.lower, found.upper], ends[:, :, 0].T, rtol=1e-12)
    low, high, middle = (QuantileRegressor(quantile=q, alpha=0, solver="highs").fit(x, y) for q in (0.05, 0.95, 0.5))
    theirs = ConformalizedQuantileRegressor([low, high, middle], confidence_level=0.9, prefit=True)
    # MAPIE corrects both ends by themselves unless told otherwise; the paper's form has one correction for both.
    _, ends = theirs.conformalize(known, truth).predict_interval(new, symmetric_correction=True)
    found = ours.quantile((low.predict(known), high.predict(known)), (low.predict(new), high.predict(new)), 0.9)
    np.testing.assert_allclose([found.lower, found.upper], ends[:, :, 0].T, rtol=1e-12)


def test_conditional_coverage_where_the_noise_varies():
    """All cover 0.9 on average; in the fifths of x, over which the noise grows twentyfold, they differ."""
    average, worst = [], []
    x, y = draw(1000, 0)
    model = LinearRegression().fit(x, y)
    low, high = (QuantileRegressor(quantile=q, alpha=0, solver="highs").fit(x, y) for q in (0.05, 0.95))
    spread = LinearRegression().fit(x, np.abs(y - model.predict(x)))
    for seed in range(1, 41):
        (known, truth), (new, later) = draw(300, seed), draw(1000, 1000 + seed)
        ours = ConformalIntervals(truth, rows=known, trained=row_hashes(x))
        scale = [np.maximum(spread.predict(one), 0.02) for one in (known, new)]
        intervals = (
            ours.absolute(model.predict(known), model.predict(new)),
            ours.normalised((model.predict(known), scale[0]), (model.predict(new), scale[1])),
            ours.quantile((low.predict(known), high.predict(known)), (low.predict(new), high.predict(new))),
        )
        fifth = np.minimum((5 * new[:, 0]).astype(int), 4)
        covered = [one.covered(later) for one in intervals]
        average.append([one.mean() for one in covered])
        worst.append([[one[fifth == f].mean() for f in range(5)] for one in covered])
    np.testing.assert_allclose(np.mean(average, 0), 0.9, atol=0.01)
    gap = np.abs(np.mean(worst, 0) - 0.9).max(1)
    assert gap[0] > 0.15  # 0.72 in the noisiest fifth
    assert gap[1] < 0.05  # 0.95 where the noise is least: the linear model of its scale is too large there
    assert gap[2] < 0.03


def test_few_rows_and_bad_arguments():
    x, y = draw(8, 0)
    ours = ConformalIntervals(y, rows=x, trained=[])
    assert ours.absolute(y, y, 0.9).unbounded == 1
    assert ours.absolute(y, y, 0.8).unbounded == 0
    with pytest.raises(OptionError, match="scales must be positive"):
        ours.normalised((y, np.zeros(8)), (y, np.ones(8)))
    with pytest.raises(ShapeError, match="calibration of shape"):
        ours.absolute(y[:3], y)
    with pytest.raises(OptionError, match="level=1"):
        ours.quantile((y, y), (y, y), 1)
    with pytest.raises(LeakageError, match="1 of 8"):
        ConformalIntervals(y, rows=x, trained=row_hashes(x[:1]))
    with pytest.raises(ShapeError, match="do not fit 8 feature rows"):
        ConformalIntervals(y[:3], rows=x, trained=[])
