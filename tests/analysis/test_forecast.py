"""Forecast scores, the baselines against processes with known answers, and feedback."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from qkan.analysis.forecast import (
    fit_autoregression,
    forecast_metrics,
    multi_step,
    persistence,
    predictor,
)
from qkan.data import Series, bessel, damped_pendulum, make_windows
from qkan.errors import NonFiniteError, OptionError, ShapeError


def process(
    coefficients: list[float], points: int, intercept: float = 0.0, noise: float = 1.0, seed: int = 0
) -> Series:
    """An autoregression with normal noise, after 200 steps of warming up."""
    random = np.random.default_rng(seed)
    x = np.zeros(points + 200)
    for t in range(len(coefficients), len(x)):
        x[t] = intercept + sum(a * x[t - k] for k, a in enumerate(coefficients, 1)) + noise * random.normal()
    return Series("process", x[200:], np.arange(points))


def pair(part):
    return part.inputs, part.targets


def test_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    targets, predictions = random.normal(size=(2, 60, 3))
    scores = forecast_metrics(targets, predictions)
    flat = targets.ravel(), predictions.ravel()
    assert scores.mse == pytest.approx(mean_squared_error(*flat))
    assert scores.mae == pytest.approx(mean_absolute_error(*flat))
    assert scores.r2 == pytest.approx(r2_score(*flat))
    assert scores.rmse == pytest.approx(np.sqrt(scores.mse))
    by_step = [np.sqrt(mean_squared_error(targets[:, step], predictions[:, step])) for step in range(3)]
    np.testing.assert_allclose(scores.rmse_by_step, by_step)
    assert forecast_metrics(targets[:, 0], predictions[:, 0]).rmse_by_step.shape == (1,)
    assert np.isnan(forecast_metrics(np.full(7, 0.1), np.zeros(7)).r2)


def test_scores_of_bad_input():
    with pytest.raises(ShapeError, match=r"targets of shape \(3, 1\) and predictions of shape \(4, 1\) do not fit"):
        forecast_metrics(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError, match="do not fit"):
        forecast_metrics(np.zeros(0), np.zeros(0))
    with pytest.raises(NonFiniteError, match=r"prediction at row 1, step 0 \(counted from 0\) is nan"):
        forecast_metrics(np.zeros(3), [0, np.nan, 0])


def test_persistence_is_exact_on_constants_and_repeats_the_last_value():
    windows = make_windows(Series("flat", np.full(60, 2.5), np.arange(60)), 4, 3, scale="none")
    assert forecast_metrics(windows.test.targets, persistence(3)(windows.test.inputs)).mse == 0
    inputs = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(persistence(2, channel=1)(inputs), [[10, 10], [22, 22]])
    with pytest.raises(ShapeError, match=r"inputs of shape \(2, 4, 3\) must be .* with a channel 3"):
        persistence(channel=3)(inputs)


def test_persistence_of_a_random_walk_has_the_error_of_its_steps():
    steps = np.random.default_rng(1).normal(size=4000)
    windows = make_windows(Series("walk", steps.cumsum(), np.arange(4000)), 3, 4, scale="none")
    scores = forecast_metrics(windows.train.targets, persistence(4)(windows.train.inputs))
    np.testing.assert_allclose(scores.rmse_by_step, np.sqrt([1, 2, 3, 4]), rtol=0.1)


def test_autoregression_recovers_its_coefficients():
    """Standard errors of AR(2) coefficients are sqrt((1 - a2²)/n) (Box and Jenkins); four of them are allowed."""
    series = process([1.2, -0.5], 20000, intercept=0.7)
    windows = make_windows(series, 8, scale="none")
    model = fit_autoregression(pair(windows.train), pair(windows.validation), orders=[2])
    error = np.sqrt((1 - 0.25) / len(windows.train))
    np.testing.assert_allclose(model.coefficients, [1.2, -0.5], atol=4 * error)
    assert model.intercept == pytest.approx(0.7, abs=0.1)
    chosen = fit_autoregression(pair(windows.train), pair(windows.validation))
    assert chosen.order >= 2
    assert set(chosen.validation_mse) == set(range(1, 9))
    assert chosen.validation_mse[1] > 1.2 * chosen.validation_mse[2]
    assert chosen.validation_mse[chosen.order] == min(chosen.validation_mse.values())
    assert forecast_metrics(windows.test.targets, model(windows.test.inputs)).mse == pytest.approx(1, abs=0.06)


def test_autoregression_is_exact_where_the_series_is_one():
    """A damped oscillation obeys x(t) = 2 r cos(ω) x(t-1) - r² x(t-2)."""
    r, omega = 0.98, 0.3
    t = np.arange(120)
    windows = make_windows(Series("wave", r**t * np.cos(omega * t), t), 5, 7, scale="none")
    model = fit_autoregression(pair(windows.train), pair(windows.validation), orders=[2])
    np.testing.assert_allclose(model.coefficients, [2 * r * np.cos(omega), -(r**2)], atol=1e-12)
    np.testing.assert_allclose(model(windows.test.inputs), windows.test.targets, atol=1e-12)
    ahead = multi_step(
        fit_autoregression(pair(windows.train), pair(windows.validation), [2]), windows.test.inputs[0], 10
    )
    np.testing.assert_allclose(ahead, r ** t[101:111] * np.cos(omega * t[101:111]), atol=1e-11)


def test_autoregression_beats_persistence_on_the_published_series():
    for series in (damped_pendulum(), bessel()):
        windows = make_windows(series, 8)
        model = fit_autoregression(pair(windows.train), pair(windows.validation))
        mine = forecast_metrics(windows.test.targets, model(windows.test.inputs)).mse
        assert mine < 0.1 * forecast_metrics(windows.test.targets, persistence()(windows.test.inputs)).mse


def test_autoregression_of_bad_input():
    windows = make_windows(damped_pendulum(), 4)
    train, validation = pair(windows.train), pair(windows.validation)
    for orders in ([], [5], [0]):
        with pytest.raises(OptionError, match="orders="):
            fit_autoregression(train, validation, orders)
    with pytest.raises(ShapeError, match="2 training windows are too few for the 3 coefficients"):
        fit_autoregression((train[0][:2], train[1][:2]), validation, [2])
    with pytest.raises(ShapeError, match="train has 140 windows and 5 targets"):
        fit_autoregression((train[0], train[1][:5]), validation)
    model = fit_autoregression(train, validation, [4])
    with pytest.raises(ShapeError, match="inputs of 2 steps are too short for an autoregression of order 4"):
        model(train[0][:, :2])


def test_multi_step_feeds_back():
    def double(inputs):  # two steps at a time
        return inputs[:, -1] * [2.0, 4.0]

    np.testing.assert_array_equal(multi_step(double, [5, 1], 5), [2, 4, 8, 16, 32])
    np.testing.assert_array_equal(multi_step(double, [[5], [1]], 1), [2])
    several = multi_step(double, np.array([[[1.0]], [[3.0]]]), 3)
    np.testing.assert_array_equal(several, [[2, 4, 8], [6, 12, 24]])
    with pytest.raises(ShapeError, match=r"history of shape \(4, 2\) must be"):
        multi_step(double, np.zeros((4, 2)), 3)
    with pytest.raises(ShapeError, match="predict returned shape"):
        multi_step(lambda inputs: np.zeros((7, 1)), [1.0], 3)
    with pytest.raises(OptionError, match="steps=0"):
        multi_step(double, [1.0], 0)


def test_predictor_of_a_torch_model():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    model.train()
    inputs = np.random.default_rng(0).normal(size=(10, 4, 2))
    found = predictor(model, batch=3)(inputs)
    assert model.training
    assert found.dtype == np.float64
    model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(found, model(torch.tensor(inputs, dtype=torch.float32)).numpy(), atol=1e-6)
    last = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 1), torch.nn.Flatten(0))
    inputs.flags.writeable = False  # as the values of a series are
    assert predictor(last)(inputs).shape == (10, 1)
