"""Logistic-KAN and KAAM as scikit-learn classifiers, and the additive model's tools in the units of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_estimator

from qkan.errors import OptionError, ShapeError
from qkan.models import KAAM
from qkan.sklearn import KAAMClassifier, LogisticKANClassifier
from qkan.tabular import TabularModel

QUICK = {"epochs": 30, "lr": 0.03, "random_state": 0}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize("estimator", [KAAMClassifier, LogisticKANClassifier])
def test_check_estimator(estimator):
    results = check_estimator(estimator(**QUICK), on_fail=None, on_skip=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 50


@pytest.mark.parametrize("options", [{"basis": "bspline"}, {"basis": "daruan", "basis_options": {"reps": 2}}], ids=str)
@pytest.mark.parametrize("estimator", [KAAMClassifier, LogisticKANClassifier])
def test_classifies_unseen_rows(estimator, options):
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    classifier = estimator(epochs=80, lr=0.03, random_state=0, **options).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.9
    np.testing.assert_allclose(classifier.predict_proba(X_test).sum(1), 1, rtol=1e-12)


def test_balanced_weights_raise_a_rare_class():
    X, y = load_breast_cancer(return_X_y=True)
    keep = np.concatenate([np.flatnonzero(y == 1)[:200], np.flatnonzero(y == 0)[:15]])
    X, y = X[keep, :4], y[keep]
    plain = KAAMClassifier(**QUICK).fit(X, y)
    balanced = clone(plain).set_params(class_weight="balanced").fit(X, y)
    assert balanced.predict_proba(X)[:, 0].mean() > 2 * plain.predict_proba(X)[:, 0].mean()
    with pytest.raises(OptionError, match="class_weight='some' must be"):
        clone(plain).set_params(class_weight="some").fit(X, y)


@pytest.fixture(scope="module")
def patients() -> tuple[pd.DataFrame, np.ndarray]:
    """Three columns in different units; the label is a sum of a line, a parabola and nothing."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": random.normal(55, 9, 400), "pulse": random.normal(120, 20, 400), "noise": random.normal(size=400)}
    )
    logit = 3 * (frame["age"] - 55) / 9 + 2 * ((frame["pulse"] - 120) / 20) ** 2 - 2
    return frame, np.where(random.uniform(size=400) < 1 / (1 + np.exp(-logit)), "ill", "healthy")


@pytest.fixture(scope="module")
def fitted(patients) -> KAAMClassifier:
    return KAAMClassifier(epochs=60, lr=0.03, random_state=0).fit(*patients)


def test_contributions_add_up_to_the_log_odds(patients, fitted):
    frame = patients[0][:20]
    found = fitted.contributions(frame)
    assert found.shape == (20, 1, 4)
    p = fitted.predict_proba(frame)[:, 1]
    np.testing.assert_allclose(found[:, 0].sum(1), np.log(p / (1 - p)), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fitted.contributions(fitted_reference(fitted))[:, 0, :3].mean(0), 0, atol=1e-10)
    spread = fitted.importance()[0]
    assert spread.shape == (3,)
    assert spread[2] < 0.2 * spread[:2].min()


def fitted_reference(fitted):
    return pd.DataFrame(fitted.reference_, columns=fitted.feature_names_in_)


def test_curves_are_in_the_units_of_the_table(patients, fitted):
    ages, curve = fitted.shape_curve(0, points=11)
    assert (ages[0], ages[-1]) == pytest.approx((patients[0]["age"].min(), patients[0]["age"].max()))
    assert curve[-1, 0] - curve[0, 0] > 5
    figure = fitted.plot_dependence(1, row=patients[0].iloc[0], neighbours=patients[0].iloc[1:4])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "pulse"
    line = axes.lines[0].get_xdata()
    assert (line.min(), line.max()) == pytest.approx((patients[0]["pulse"].min(), patients[0]["pulse"].max()))
    marked = axes.collections[-1].get_offsets()
    assert float(marked[0, 0]) == pytest.approx(patients[0]["pulse"].iloc[0])


def test_nearest_patients_and_radar(patients, fitted):
    frame = patients[0]
    numbers, distances = fitted.nearest(frame.iloc[:4], pool=frame, count=3)
    assert numbers[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-6)
    assert fitted.spokes(frame.iloc[:2]).shape == (2, 3, 2)
    figure = fitted.plot_radar(frame.iloc[0])
    assert {text.get_text() for text in figure.axes[0].get_xticklabels()} == {"age", "pulse", "noise"}
    with pytest.raises(OptionError, match="label='dead' is not known"):
        fitted.plot_radar(frame.iloc[0], label="dead")
    with pytest.raises(ShapeError, match="feature=3"):
        fitted.plot_dependence(3)
    with pytest.raises(ShapeError, match=r"a row of shape \(2,\) must be \(3,\)"):
        fitted.plot_radar([1.0, 2.0])


def test_the_formula_is_one_of_the_columns_themselves(patients, fitted):
    import sympy

    formulas = fitted.formula(
        functions=["x", "x^2", "x^3", "sin"], r2_threshold=0.0, weight_simple=0.0, steps=2, digits=None
    )
    assert {str(symbol) for symbol in formulas[0].free_symbols} <= {"age", "pulse", "noise"}
    evaluate = sympy.lambdify(sympy.symbols("age pulse noise", real=True), formulas[0])
    found = evaluate(*patients[0].to_numpy().T)
    exact = fitted.contributions(patients[0])[:, 0].sum(1)
    assert np.corrcoef(found, exact)[0, 1] > 0.97
    with pytest.raises(OptionError, match="lower r2_threshold"):
        fitted.formula(functions=["x"], r2_threshold=1.0, steps=1)


def test_the_network_is_the_additive_model(patients, fitted):
    assert type(fitted.network_) is KAAM
    rows = torch.as_tensor((patients[0].to_numpy() - fitted.mean_) / fitted.scale_)
    np.testing.assert_allclose(fitted.predict_proba(patients[0]), fitted.network_.predict_proba(rows), rtol=1e-12)


def test_contributions_survive_saving_in_a_table_model(tmp_path):
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 3)), columns=list("abc"))
    labels = np.where(rows["a"] > 0, "yes", "no")
    model = TabularModel(KAAMClassifier(epochs=3, random_state=0, standardize=False), "label")
    model.fit(rows[:80], labels[:80], rows[80:100], labels[80:100]).calibrate(rows[100:], labels[100:])
    model.save(tmp_path / "model")
    again = TabularModel.load(tmp_path / "model")
    inputs = model.inputs(rows[:5])
    before, after = (one.pipeline[-1].contributions(inputs) for one in (model, again))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    with pytest.raises(OptionError, match="KAAMClassifier must have standardize=False"):
        TabularModel(KAAMClassifier())
