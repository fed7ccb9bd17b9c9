"""NetworkClassifier: any network as a scikit-learn classifier."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import check_estimator

from qkan.errors import OptionError
from qkan.models import QCKANNet, TensorNetworkQNN
from qkan.sklearn import NetworkClassifier

X, y = load_iris(return_X_y=True)


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
def test_check_estimator():
    options = {
        "classical": {"units": 3, "dense": 6, "widths": 3},
        "quantum": {"first": 2, "before": 3, "after": 3},
        "wires": 2,
        "circuits": 2,
        "dropout": 0.0,
    }
    small = NetworkClassifier("KACQDCNN", options, epochs=15, lr=0.03, random_state=0)
    results = check_estimator(small, on_fail=None, on_skip=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) >= 50


def test_the_named_network_is_built_and_trained():
    wide = {"channels": (4, 4), "widths": (4,), "wires": 2, "circuits": 2}
    X_long = X[:, [0, 1, 2, 3, 0, 1]]
    found = NetworkClassifier("QCKANNet", wide, epochs=40, random_state=0).fit(X_long, y)
    assert isinstance(found.network_, QCKANNet)
    assert found.network_.channels == (4, 4)
    assert found.score(X_long, y) > 0.8
    found = NetworkClassifier("TensorNetworkQNN", {"layers": 2}, epochs=1, random_state=0).fit(X, y)
    assert isinstance(found.network_, TensorNetworkQNN)
    assert found.network_.layers == 2
    assert found.predict_proba(X).shape == (150, 3)


def test_mistakes():
    with pytest.raises(OptionError, match="network='QCNN' is not known; choose one of 'KACQDCNN', 'QCKANNet'"):
        NetworkClassifier("QCNN").fit(X, y)
    for name in ("layer", "seed", "n_classes"):
        with pytest.raises(OptionError, match=f"options='{name}' is not known; choose one of 'network', 'layers'"):
            NetworkClassifier("TensorNetworkQNN", {name: 2}).fit(X, y)
