"""KACQClassifier behaves as scikit-learn's classifiers do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_estimator

from qkan.errors import OptionError
from qkan.models import KACQDCNN
from qkan.sklearn import KACQClassifier

SMALL = {
    "classical": {"units": 3, "dense": 6, "widths": 3},
    "quantum": {"first": 2, "before": 3, "after": 3},
    "wires": 2,
    "circuits": 2,
}
QUICK = {**SMALL, "epochs": 15, "lr": 0.03, "dropout": 0.0, "random_state": 0}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
def test_check_estimator():
    results = check_estimator(KACQClassifier(**QUICK), on_fail=None, on_skip=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 50


def test_classifies_unseen_rows_of_two_and_three_classes():
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    classifier = KACQClassifier(epochs=60, random_state=0).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.9
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    X_train, X_test, y_train, y_test = train_test_split(X[:, :10], names, stratify=y, random_state=0)
    classifier = KACQClassifier(epochs=20, random_state=0).fit(X_train, y_train)
    assert classifier.classes_.tolist() == ["benign", "malignant"]
    assert classifier.score(X_test, y_test) > 0.88
    probabilities = classifier.predict_proba(X_test)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


def test_options_reach_the_network():
    X, y = load_iris(return_X_y=True)
    options = {"embedding": "reupload", "quantum_layers": 2, "core": "random", "dropout": 0.3, "basis": "fourier"}
    network = KACQClassifier(**{**QUICK, **options, "epochs": 1}).fit(X, y).network_
    assert isinstance(network, KACQDCNN)
    found = network.config()
    assert {name: found[name] for name in ("embedding", "quantum_layers", "core", "dropout")} == {
        name: options[name] for name in ("embedding", "quantum_layers", "core", "dropout")
    }
    assert (found["wires"], found["circuits"], found["n_classes"]) == (2, 2, 3)
    assert found["classical"]["units"] == [3]
    assert found["quantum"]["edges"]["basis"] == "fourier"


def test_clone_pickle_seed_and_global_state():
    X, y = load_iris(return_X_y=True)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    classifier = KACQClassifier(**{**QUICK, "dropout": 0.2}).fit(X, y)
    again = clone(classifier).fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), again.predict_proba(X))
    restored = pickle.loads(pickle.dumps(classifier))  # joblib's processes need it
    np.testing.assert_array_equal(classifier.predict_proba(X), restored.predict_proba(X))
    other = clone(classifier).set_params(random_state=1).fit(X, y)
    assert abs(classifier.predict_proba(X) - other.predict_proba(X)).max() > 1e-3
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_early_stopping():
    X, y = load_iris(return_X_y=True)
    own = KACQClassifier(**{**QUICK, "epochs": 300, "early_stopping": True, "patience": 3}).fit(X, y)
    assert own.n_iter_ < 300
    given = KACQClassifier(**{**QUICK, "epochs": 300, "patience": 3}).fit(X[::2], y[::2], X[1::2], y[1::2])
    assert len(given.history_["val_loss"]) == given.n_iter_ < 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "tiny"}, "preset='tiny' is not known"),
        ({"classical": {"unit": 2}}, "has no option 'unit'"),
        ({"core": "cnn"}, "core='cnn' is not known"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_bad_parameters(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(OptionError, match=message):
        KACQClassifier(**options).fit(X, y)
