"""Coverage of conformal intervals on processes with known answers, and under a shift of variance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from qkan.analysis.conformal import expected_coverage
from qkan.analysis.forecast import fit_autoregression
from qkan.analysis.forecast_plots import forecast_intervals
from qkan.analysis.intervals import Intervals, aci, enbpi, rolling_coverage, split_conformal
from qkan.data import Series, damped_pendulum, make_windows
from qkan.errors import OptionError, ShapeError


def ar1(points: int, seed: int, noise: np.ndarray | float = 1.0) -> Series:
    random = np.random.default_rng(seed)
    steps = random.normal(size=points) * noise
    x = np.zeros(points)
    for t in range(1, points):
        x[t] = 0.7 * x[t - 1] + steps[t]
    return Series("ar1", x, np.arange(points))


def pair(part):
    return part.inputs, part.targets


def known(inputs):
    """The true conditional mean of :func:`ar1`: residuals are the independent noise."""
    return 0.7 * inputs[:, -1]


def least_squares(inputs, targets):
    return fit_autoregression((inputs, targets), (inputs, targets), orders=[1])


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_split_conformal_covers_within_its_binomial_band(level):
    """Residuals are independent, so the covered count is beta-binomial exactly; 20 series, each within 99.8 %."""
    for seed in range(20):
        windows = make_windows(ar1(1200, seed), 3, scale="none")
        one = split_conformal(known, pair(windows.validation), windows.test.inputs, level)
        covered = one.covered(windows.test.targets)
        low, high = expected_coverage(len(windows.validation), len(windows.test), level)
        width = high - low  # 95 % of the band is about four standard deviations wide
        assert low - width / 3 <= covered.mean() <= high + width / 3
    assert one.median_width == pytest.approx(2 * norm.ppf((1 + level) / 2), rel=0.15)


def test_split_conformal_is_the_textbook_quantile():
    windows = make_windows(ar1(300, 1), 3, scale="none")
    one = split_conformal(known, pair(windows.validation), windows.test.inputs, 0.9)
    scores = np.sort(np.abs(windows.validation.targets - known(windows.validation.inputs)).ravel())
    half = scores[int(np.ceil((len(scores) + 1) * 0.9)) - 1]
    np.testing.assert_allclose(one.upper - one.lower, 2 * half)
    np.testing.assert_allclose(one.predictions, known(windows.test.inputs)[:, 0])
    few = tuple(array[:8] for array in pair(windows.validation))
    assert split_conformal(known, few, windows.test.inputs, 0.9).unbounded == 1


def test_aci_recovers_where_split_conformal_fails():
    """The noise triples at the start of the test part."""
    late = []
    for seed in range(5):
        noise = np.r_[np.ones(960), np.full(640, 3.0)]
        windows = make_windows(ar1(1600, seed, noise), 2, split=(0.3, 0.3, 0.4), scale="none")
        calibration, test = pair(windows.validation), pair(windows.test)
        plain = split_conformal(known, calibration, windows.test.inputs, 0.9).covered(test[1])
        adaptive = aci(known, calibration, test, 0.9, gamma=0.05)
        covered = adaptive.covered(test[1])
        # Within 1.64 of noise of standard deviation 3 lie 42 %.
        assert plain.mean() < 0.5
        # Gibbs and Candès, prop. 4.1: |mean miss - α| <= (max(α, 1-α) + γ) / (γ N), whatever the series.
        assert abs(covered.mean() - 0.9) <= (0.9 + 0.05) / (0.05 * len(covered))
        late.append(covered[200:].mean())
        assert adaptive.unbounded < 0.2
    steps = 5 * (len(covered) - 200)
    low, high = binom.ppf((0.001, 0.999), steps, 0.9) / steps
    assert low <= np.mean(late) <= high


def test_aci_without_adaptation_is_split_conformal():
    """gamma = 0 and fixed residuals; MAPIE takes signed residuals, so the two ends are quantiles of their own."""
    windows = make_windows(ar1(900, 3), 2, scale="none")
    calibration, test = pair(windows.validation), pair(windows.test)
    one = aci(known, calibration, test, 0.9, gamma=0, update=False)
    residuals = np.sort((calibration[1] - known(calibration[0])).ravel())
    n = len(residuals)
    rank = int(np.ceil(0.95 * (n + 1)))
    np.testing.assert_allclose(one.upper - one.predictions, residuals[rank - 1], atol=1e-12)
    np.testing.assert_allclose(one.lower - one.predictions, residuals[n - rank], atol=1e-12)


def test_adaptive_intervals_use_no_later_target():
    windows = make_windows(ar1(300, 4), 2, scale="none")
    inputs, targets = pair(windows.test)
    changed = targets.copy()
    changed[30:] += 100
    for method in (
        lambda y: aci(known, pair(windows.validation), (inputs, y), gamma=0.05),
        lambda y: enbpi(least_squares, pair(windows.train), (inputs, y), resamplings=5, seed=0),
    ):
        one, two = method(targets), method(changed)
        np.testing.assert_array_equal(one.upper[:31], two.upper[:31])
        np.testing.assert_array_equal(one.lower[:31], two.lower[:31])
        assert (one.upper[31:] != two.upper[31:]).any()


def test_enbpi_covers_with_a_cheap_model():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    hits = 0
    for seed in range(3):
        windows = make_windows(ar1(900, seed), 2, split=(0.6, 0.1, 0.3), scale="none")
        one = enbpi(least_squares, pair(windows.train), pair(windows.test), 0.9, seed=seed)
        hits += int(one.covered(windows.test.targets).sum())
        assert one.unbounded == 0
    steps = 3 * len(windows.test)
    low, high = binom.ppf((0.001, 0.999), steps, 0.9)
    assert low <= hits <= high
    again = enbpi(least_squares, pair(windows.train), pair(windows.test), 0.9, seed=2)
    np.testing.assert_array_equal(one.upper, again.upper)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_rolling_coverage():
    covered = np.array([True, True, False, True])
    np.testing.assert_allclose(rolling_coverage(covered, 2), [1, 0.5, 0.5])
    np.testing.assert_allclose(rolling_coverage(covered, 4), [0.75])
    with pytest.raises(OptionError, match="window=5 must be at most the number of intervals, 4"):
        rolling_coverage(covered, 5)


def test_wrong_options():
    windows = make_windows(damped_pendulum(), 4)
    calibration, test = pair(windows.validation), pair(windows.test)
    train = pair(windows.train)
    for level in (0, 1, 1.5, "high"):
        with pytest.raises(OptionError, match="must lie strictly between 0 and 1"):
            split_conformal(known, calibration, test[0], level)
    with pytest.raises(OptionError, match=r"level=0\.975 must be a whole number of percent"):
        aci(known, calibration, test, 0.975)
    with pytest.raises(OptionError, match="gamma=2"):
        aci(known, calibration, test, gamma=2)
    with pytest.raises(OptionError, match="block=100 must be at most half of the 140"):
        enbpi(least_squares, train, test, block=100)
    with pytest.raises(OptionError, match="resamplings=1"):
        enbpi(least_squares, train, test, resamplings=1)
    with pytest.raises(ShapeError, match="do not fit; they must be"):
        aci(known, (calibration[0], calibration[1][:3]), test)
    long = make_windows(damped_pendulum(), 4, 2)
    with pytest.raises(ShapeError, match="intervals are for one step ahead"):
        split_conformal(known, pair(long.validation), long.test.inputs)
    with pytest.raises(ShapeError, match="do not fit 44 intervals"):
        split_conformal(known, calibration, test[0]).covered(np.zeros(3))


def test_picture(tmp_path):
    windows = make_windows(ar1(400, 5), 2)
    test = pair(windows.test)
    model = fit_autoregression(pair(windows.train), pair(windows.validation))
    methods = [
        split_conformal(model, pair(windows.validation), test[0]),
        aci(model, pair(windows.validation), test, gamma=0.1),
    ]
    figure = forecast_intervals(windows.test.time, test[1], methods, window=30, title="costs $5 and $6")
    assert len(figure.axes) == 3
    below = figure.axes[-1]
    drawn = next(line for line in below.get_lines() if line.get_label() == "ACI")
    np.testing.assert_allclose(drawn.get_ydata(), rolling_coverage(methods[1].covered(test[1]), 30))
    figure.savefig(tmp_path / "picture.png")
    with pytest.raises(ShapeError, match="give at least one method"):
        forecast_intervals(windows.test.time, test[1], [])
    with pytest.raises(ShapeError, match=r"78 times, 78 targets and intervals of lengths \[3\]"):
        forecast_intervals(windows.test.time, test[1], [Intervals("x", 0.9, *np.zeros((3, 3)))])


def test_another_unit_moves_forecast_and_ends_and_keeps_coverage():
    windows = make_windows(damped_pendulum(), 8)
    predict = fit_autoregression(pair(windows.train), pair(windows.validation), orders=[1])
    one = split_conformal(predict, pair(windows.validation), windows.test.inputs)
    own = one.in_unit(windows.inverse_targets)
    np.testing.assert_allclose(own.predictions, windows.inverse_targets(predict(windows.test.inputs)[:, 0]))
    assert own.median_width == pytest.approx(one.median_width * float(windows.scaler.scale[0]))
    covered = own.covered(windows.inverse_targets(windows.test.targets))
    np.testing.assert_array_equal(covered, one.covered(windows.test.targets))
    assert (own.method, own.level) == (one.method, one.level)
