"""Windows never straddle the split, lose no window, and are scaled by the training part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkan.data import Series, damped_pendulum, make_windows
from qkan.errors import DataError, OptionError

sizes = {
    "points": st.integers(20, 120),
    "window": st.integers(1, 6),
    "horizon": st.integers(1, 4),
    "train": st.floats(0.5, 0.7),
}


def counting(points: int) -> Series:
    """Values that are their own positions."""
    return Series("count", np.arange(points), np.arange(points))


def cut(points: int, window: int, horizon: int, train: float, **options):
    split = (train, (1 - train) / 2, (1 - train) / 2)
    smallest = points - round(points * (split[0] + split[1]))
    smallest = min(smallest, points - round(points * train) - smallest)
    if smallest < window + horizon:
        return None
    return make_windows(counting(points), window, horizon, split, **options)


@settings(max_examples=150)
@given(**sizes)
def test_parts_share_no_position_and_no_window_is_lost(points, window, horizon, train):
    windows = cut(points, window, horizon, train, scale="none")
    if windows is None:
        return
    end = 0
    for part in (windows.train, windows.validation, windows.test):
        assert part.start == end
        end = part.stop
        length = part.stop - part.start
        assert len(part) == length - window - horizon + 1
        touched = np.concatenate([part.inputs.ravel(), part.targets.ravel()])
        # Exactly the part: nothing from outside, and every position of it in some window.
        assert set(touched) == set(range(part.start, part.stop))
        np.testing.assert_array_equal(part.inputs[:, -1, 0] + 1, part.targets[:, 0])
        np.testing.assert_array_equal(np.diff(part.inputs[:, :, 0], axis=1), 1)
        np.testing.assert_array_equal(part.targets, part.time)
    assert end == points


@settings(max_examples=100)
@given(**sizes, scale=st.sampled_from(["minmax", "standard"]), seed=st.integers(0, 99))
def test_later_values_change_nothing_earlier(points, window, horizon, train, scale, seed):
    first = cut(points, window, horizon, train)
    if first is None:
        return
    split = (train, (1 - train) / 2, (1 - train) / 2)
    values = np.random.default_rng(seed).normal(size=points)
    changed = values.copy()
    changed[first.validation.start :] = 1e6 * np.arange(points - first.validation.start)
    time = np.arange(points)
    one, two = (make_windows(Series("s", v, time), window, horizon, split, scale=scale) for v in (values, changed))
    np.testing.assert_array_equal(one.train.inputs, two.train.inputs)
    np.testing.assert_array_equal(one.train.targets, two.train.targets)
    np.testing.assert_array_equal(one.scaler.center, two.scaler.center)
    changed = values.copy()
    changed[first.test.start :] += 7
    three = make_windows(Series("s", changed, time), window, horizon, split, scale=scale)
    np.testing.assert_array_equal(one.validation.inputs, three.validation.inputs)


def test_counts_of_the_published_protocol():
    """240 points, window 4: the code it comes from has 235 windows of 236."""
    windows = make_windows(damped_pendulum(), 4)
    assert [len(part) for part in (windows.train, windows.validation, windows.test)] == [140, 44, 44]
    assert windows.channels == ("angular_velocity",)
    assert windows.train.inputs.shape == (140, 4, 1)
    inputs, targets = windows.test.tensors(torch.float64)
    assert inputs.shape == (44, 4, 1)
    assert targets.dtype == torch.float64
    assert windows.test.tensors()[0].dtype == torch.float32


@pytest.mark.parametrize("scale", ["minmax", "standard", "none"])
def test_scaling_and_its_inverse(scale):
    series = damped_pendulum()
    windows = make_windows(series, 6, 3, target="angle", channels=("angular_velocity", "angle"), scale=scale)
    train = windows.scaler.transform(series.values[: windows.train.stop])
    if scale == "minmax":
        np.testing.assert_allclose(train.min(0), -1, atol=1e-15)
        np.testing.assert_allclose(train.max(0), 1, atol=1e-15)
    elif scale == "standard":
        np.testing.assert_allclose(train.mean(0), 0, atol=1e-14)
        np.testing.assert_allclose(train.std(0), 1, atol=1e-14)
    original = windows.inverse_targets(windows.test.targets)
    positions = np.searchsorted(series.time, windows.test.time)
    np.testing.assert_allclose(original, series.values[positions, 1], atol=1e-14)
    assert windows.inverse_targets(0.0).shape == ()


def test_windows_do_not_share_memory():
    windows = make_windows(counting(40), 3, scale="none")
    windows.train.inputs[0] = 99
    assert windows.train.inputs[1, 0, 0] == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"window": 8},
            DataError,
            "A window of 8 and a horizon of 1 need 9 points, but the validation part of 'count' has 8 of its 40",
        ),
        ({"window": 50}, DataError, "need 51 points, but the train part of 'count' has 24 of its 40"),
        ({"window": 0}, OptionError, "window=0"),
        ({"horizon": 1.5}, OptionError, "horizon=1.5"),
        ({"split": (0.5, 0.5)}, OptionError, r"split=\(0\.5, 0\.5\) must be three positive fractions"),
        ({"split": (0.6, 0.2, 0.3)}, OptionError, "with sum 1"),
        ({"split": (0.8, 0, 0.2)}, OptionError, "three positive"),
        ({"split": 0.8}, OptionError, "three positive"),
        ({"scale": "max"}, OptionError, "scale='max' is not known; choose one of 'minmax', 'standard', 'none'"),
        ({"target": "speed"}, DataError, "no channel 'speed'"),
        ({"channels": "value"}, OptionError, "must be a list of names"),
        ({"channels": ()}, OptionError, "at least one channel"),
    ],
)
def test_bad_options_are_one_sentence(options, error, message):
    with pytest.raises(error, match=message):
        make_windows(counting(40), **({"window": 3} | options))


def test_target_must_be_among_the_channels():
    with pytest.raises(OptionError, match="target='angle' must be one of the channels"):
        make_windows(damped_pendulum(), 3, target="angle", channels=["angular_velocity"])


def test_a_constant_training_part_cannot_be_scaled():
    values = np.r_[np.ones(30), np.arange(10)]
    with pytest.raises(DataError, match="'value' of 's' is constant in the training part"):
        make_windows(Series("s", values, np.arange(40)), 3)
    assert len(make_windows(Series("s", values, np.arange(40)), 3, scale="none").train) == 21
