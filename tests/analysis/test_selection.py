"""Measures of importance against their definitions, and the selector inside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from qkan import KAN, QKAN
from qkan.analysis.selection import METHODS, KANImportance, feature_importance
from qkan.errors import OptionError, ShapeError
from qkan.sklearn import KANClassifier, KANRegressor


@pytest.fixture
def x(rng) -> torch.Tensor:
    return torch.rand(300, 3, generator=rng, dtype=torch.float64) * 2 - 1


def line(weights: list[float]) -> KAN:
    """y = Σ weights_i · x_i."""
    model = KAN([len(weights), 1], "chebyshev", degree=1, base="identity", bias=False, seed=0).double()
    with torch.no_grad():
        model.layers[0].basis.coef.zero_()
        model.layers[0].base_weight.copy_(torch.tensor([weights]))
    return model


@pytest.mark.parametrize("method", METHODS)
def test_a_straight_line_by_hand(method, x):
    weights = np.array([2.0, -1.0, 0.0])
    found = feature_importance(line(weights.tolist()), x, line(weights.tolist())(x).detach(), method)
    std = x.std(0, correction=0).numpy()
    half = ((x.max(0).values - x.min(0).values) / 2).numpy()
    uniform = half / np.sqrt(3) * np.sqrt(257 / 255)  # of 256 equally spaced points
    expected = {
        "coef_l1": np.abs(weights) * uniform,
        "coef_l2": np.abs(weights) * uniform,
        "contribution": np.abs(weights) * std,
        "sensitivity": np.abs(weights) * std,
        "knockout": weights**2 * std**2,
    }[method]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("basis", ["bspline", "fourier", "rbf", "chebyshev", "daruan"])
def test_the_size_of_a_function_does_not_depend_on_the_basis(basis, x):
    """√(cᵀGc) is the standard deviation of the function over the range, whatever basis writes it down."""
    model = KAN([3, 2, 1], basis, seed=1).double()
    found = feature_importance(model, x, method="coef_l2")
    low, high = x.min(0).values, x.max(0).values
    points = low + torch.linspace(0, 1, 256, dtype=torch.float64).unsqueeze(-1) * (high - low)
    expected = model.layers[0].edges(points).var(0, correction=0).sum(0).sqrt()
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-9)


def test_later_layers_count_for_two_of_the_measures(x):
    model = KAN([3, 2, 1], "fourier", degree=2, seed=1).double()
    model.layers[0].set_mask(torch.tensor([[1, 0, 0], [0, 1, 0]]))
    model.layers[1].set_mask(torch.tensor([[1, 0]]))  # the second input is not used in the end
    y = model(x).detach()
    for method in ("sensitivity", "knockout"):
        found = feature_importance(model, x, y, method)
        assert found[0] > 0
        assert found[1] == pytest.approx(0, abs=1e-12)
    assert feature_importance(model, x, method="contribution")[1] > 0


def test_knocking_out_what_harms_counts_as_zero(x):
    found = feature_importance(line([1.0, 1.0, 0.0]), x, x[:, :1], "knockout")
    assert found[0] > 0
    assert found[1] == 0.0


def test_circuits_without_coefficients(x):
    model = QKAN([3, 1], encoding="edge", reps=1, seed=0).double()
    assert feature_importance(model, x, method="contribution").min() > 0
    with pytest.raises(OptionError, match="is not features times coefficients"):
        feature_importance(model, x, method="coef_l1")


def made_up(rows: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Six columns on different scales; the label is a ring in the second and fifth."""
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, 6))
    y = np.where(X[:, 1] ** 2 + X[:, 4] ** 2 > 1.4, "out", "in")
    return X * np.array([1, 10, 0.1, 100, 1, 5.0]) + 3, y


@pytest.mark.parametrize("method", METHODS)
def test_the_selector_finds_the_columns_that_matter(method):
    X, y = made_up()
    classifier = KANClassifier("kan", hidden=(), epochs=40, lr=0.03, random_state=0)
    selector = SelectFromModel(KANImportance(classifier, method), threshold=-np.inf, max_features=2).fit(X, y)
    assert selector.get_support().nonzero()[0].tolist() == [1, 4]
    assert selector.transform(X).shape == (len(X), 2)


def test_regression_and_cloning():
    X, _ = made_up()
    y = X[:, 3] / 100
    importance = KANImportance(KANRegressor("kan", hidden=(), epochs=30, random_state=0), "knockout")
    fitted = clone(importance).fit(X, y)
    assert int(fitted.feature_importances_.argmax()) == 3
    assert fitted.predict(X).shape == (len(X),)
    assert not hasattr(importance, "estimator_")


def test_inside_a_pipeline_it_never_sees_the_test_fold(monkeypatch):
    X, y = made_up(90)
    seen = []
    own = KANImportance.fit
    monkeypatch.setattr(KANImportance, "fit", lambda self, rows, labels: seen.append(rows) or own(self, rows, labels))
    classifier = KANClassifier("kan", hidden=(), epochs=2, random_state=0)
    selector = SelectFromModel(KANImportance(classifier), threshold=-np.inf, max_features=3)
    cross_val_score(make_pipeline(selector, LogisticRegression()), X, y, cv=3)
    assert [len(rows) for rows in seen] == [60, 60, 60]


def test_bad_input_is_one_sentence(x):
    model = line([1.0, 0.0, 0.0])
    with pytest.raises(OptionError, match="method='gini' is not known; choose one of 'coef_l1'"):
        feature_importance(model, x, method="gini")
    with pytest.raises(OptionError, match="method='knockout' needs labels y"):
        feature_importance(model, x, method="knockout")
    with pytest.raises(ShapeError, match="300 rows of x but 2 labels"):
        feature_importance(model, x, x[:2, :1], "knockout")
    X, y = made_up(20)
    with pytest.raises(OptionError, match="needs an estimator"):
        KANImportance().fit(X, y)
    with pytest.raises(OptionError, match="LogisticRegression holds no KAN"):
        KANImportance(LogisticRegression()).fit(X, y)
    with pytest.raises(OptionError, match="holdout=1 must lie strictly between 0 and 1"):
        KANImportance(LogisticRegression(), holdout=1).fit(X, y)
