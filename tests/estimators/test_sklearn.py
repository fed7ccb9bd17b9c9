"""The estimators behave as scikit-learn's do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

import qkan
from qkan.errors import OptionError
from qkan.sklearn import KANClassifier, KANRegressor

QUICK = {"epochs": 30, "lr": 0.03, "random_state": 0}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize("model", ["qkan", "kan"])
@pytest.mark.parametrize("estimator", [KANClassifier, KANRegressor])
def test_check_estimator(estimator, model):
    results = check_estimator(estimator(model=model, **QUICK), on_fail=None, on_skip=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 50


@pytest.mark.parametrize(
    "options",
    [{"model": "qkan"}, {"model": "kan"}, {"model": "kan", "basis": "fourier"}, {"model": "kan", "basis": "rbf"}],
    ids=lambda o: "-".join(o.values()),
)
def test_classifies_iris_on_unseen_rows(options):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    X_train, X_test, y_train, y_test = train_test_split(X, names, test_size=0.4, stratify=y, random_state=0)
    classifier = KANClassifier(epochs=100, lr=0.03, random_state=0, **options).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.9
    probabilities = classifier.predict_proba(X_test)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("basis", [name for name in qkan.bases.names() if "grid_range" in qkan.bases.options(name)])
def test_grids_cover_standardised_inputs(basis):
    network = KANClassifier(model="kan", basis=basis)._build(3, 2, 0)
    assert {layer.basis.grid_range for layer in network.layers} == {(-3.0, 3.0)}
    own = KANClassifier(model="kan", basis=basis, basis_options={"grid_range": (0, 1)})._build(3, 2, 0)
    assert {layer.basis.grid_range for layer in own.layers} == {(0.0, 1.0)}


def test_domains_of_polynomials_cover_standardised_inputs_unless_tanh_bounds_them():
    for options, domain in (({}, (-1.0, 1.0)), ({"extend": "clamp"}, (-3.0, 3.0))):
        network = KANRegressor(model="kan", basis="legendre", basis_options=options)._build(3, 1, 0)
        assert network.layers[0].basis.domain == domain


def test_regressor_competes_with_linear_regression():
    X, y = load_diabetes(return_X_y=True)
    linear = cross_val_score(LinearRegression(), X, y, cv=4).mean()
    regressor = KANRegressor(model="kan", hidden=(), epochs=60, weight_decay=1.0, random_state=0)
    assert cross_val_score(regressor, X, y, cv=4).mean() > linear - 0.1


def test_pipeline_and_grid_search():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(MinMaxScaler(), KANClassifier(model="kan", **QUICK))
    search = GridSearchCV(pipeline, {"kanclassifier__hidden": [(), (3,)]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.8


def test_early_stopping_and_given_validation_rows():
    X, y = load_iris(return_X_y=True)
    own = KANClassifier(epochs=400, lr=0.05, early_stopping=True, patience=5, random_state=0).fit(X, y)
    assert own.n_iter_ < 400
    assert own.history_["stopped_early"]
    given = KANClassifier(epochs=400, lr=0.05, patience=5, random_state=0).fit(X[::2], y[::2], X[1::2], y[1::2])
    assert given.n_iter_ < 400
    assert len(given.history_["val_loss"]) == given.n_iter_


def test_clone_pickle_and_seed():
    X, y = load_iris(return_X_y=True)
    classifier = KANClassifier(basis_options={"reps": 2}, **QUICK).fit(X, y)
    again = clone(classifier).fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), again.predict_proba(X))
    restored = pickle.loads(pickle.dumps(classifier))  # joblib's processes need it
    np.testing.assert_array_equal(classifier.predict_proba(X), restored.predict_proba(X))
    assert classifier.network_.layers[0].basis.reps == 2


def test_global_random_state_is_untouched():
    X, y = load_iris(return_X_y=True)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    KANClassifier(epochs=2, early_stopping=True, random_state=0).fit(X, y)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mlp"}, "model='mlp' is not known; choose one of 'qkan', 'kan'"),
        ({"basis": "fourier"}, "use model='kan'"),
        ({"basis_options": {"rep": 2}}, "has no option 'rep'"),
        ({"hidden": (0,)}, "width=0"),
        ({"lr": -1}, "lr=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
    ],
)
def test_bad_parameters(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(OptionError, match=message):
        KANClassifier(**options).fit(X, y)


def test_constant_columns_stay_harmless():
    """0.1 is not exact in binary: its standard deviation over 119 rows comes out as 2e-16, not 0."""
    X, y = load_iris(return_X_y=True)
    X = np.column_stack([X, np.full(150, 0.1)])[:119]
    classifier = KANClassifier(**QUICK).fit(X, y[:119])
    moved = X.copy()
    moved[:, 4] += 1e-7
    np.testing.assert_allclose(classifier.predict_proba(moved), classifier.predict_proba(X), atol=1e-4)


def test_one_hidden_width_may_be_a_number():
    X, y = load_iris(return_X_y=True)
    assert KANClassifier(hidden=3, epochs=1, random_state=0).fit(X, y).network_.width == [4, 3, 3]


def test_bad_labels():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(OptionError, match="one class only"):
        KANClassifier().fit(X[:50], y[:50])
    with pytest.raises(OptionError, match="y_val holds 9"):
        KANClassifier(epochs=1).fit(X, y, X[:2], np.array([0, 9]))


def test_validation_targets_may_be_a_column():
    x = np.linspace(-1, 1, 80)[:, None]
    fits = [
        KANRegressor(epochs=8, random_state=0).fit(x[::2], x[::2, 0], x[1::2], shape(x[1::2]))
        for shape in (np.ravel, np.asarray)
    ]
    np.testing.assert_array_equal(fits[0].predict(x), fits[1].predict(x))
    assert fits[0].history_["val_loss"] == fits[1].history_["val_loss"]
    with pytest.raises(OptionError, match="X_val and y_val belong together"):
        KANRegressor(epochs=1).fit(x, x[:, 0], x)


def test_members_of_a_mixture_cover_standardised_inputs():
    x = np.random.default_rng(0).normal(size=(20, 2))
    members = ["fourier", {"basis": "bspline"}, {"basis": "rbf", "grid_range": (-1, 1)}]
    options = {"members": members}
    fitted = KANRegressor(model="kan", basis="mixture", basis_options=options, epochs=1, random_state=0).fit(x, x[:, 0])
    _, spline, radial = fitted.network_.layers[0].basis.members
    assert tuple(spline.grid_range) == (-3, 3)
    assert tuple(radial.grid_range) == (-1, 1)
