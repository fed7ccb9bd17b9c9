"""Closed-form SHAP values of additive networks and expected gradients, against exact Shapley values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from qkan.analysis.explain import shap_values
from qkan.analysis.network_shap import additive_values, expected_gradients, is_additive, logits
from qkan.errors import NonFiniteError, OptionError, ShapeError
from qkan.models import KAN, QKAN
from qkan.sklearn import KACQClassifier, KANClassifier
from qkan.tabular import TabularModel


def table(rows: int = 150, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Numeric columns, one of them with gaps, and two categorical ones; three classes."""
    random = np.random.default_rng(seed)
    X = pd.DataFrame({"a": random.normal(size=rows), "c": random.choice(["u", "v", "w"], rows)})
    X["b"], X["d"] = random.normal(size=rows), random.choice(["x", "y"], rows)
    X.loc[::7, "b"] = np.nan
    X.loc[::13, "d"] = np.nan
    score = X["a"] + np.where(X["c"] == "u", 1.0, -0.5) + X["b"].fillna(-1) + 0.3 * random.normal(size=rows)
    return X, pd.Series(np.where(score > 0.8, "high", np.where(score < -0.8, "low", "middle")))


def fitted(hidden: tuple[int, ...], classes: int = 3, model: str = "qkan") -> TabularModel:
    X, y = table()
    y = y if classes == 3 else y.replace("middle", "low")
    estimator = KANClassifier(model=model, hidden=hidden, epochs=15, standardize=False, random_state=0)
    return TabularModel(estimator).fit(X[:100], y[:100], X[100:], y[100:], ["c", "d"])


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """log p_c minus the mean of the other classes' log p."""
    log = np.log(probabilities)
    others = [np.delete(log, c, axis=1).mean(1) for c in range(log.shape[1])]
    return log - np.stack(others, axis=1)


@pytest.mark.parametrize(("classes", "model"), [(2, "qkan"), (3, "qkan"), (3, "kan")])
def test_closed_form_is_the_exact_shapley_value_of_the_logits(classes, model):
    own = fitted((), classes, model)
    rows = own.conform(table(12, seed=1)[0])
    found = own.explain(rows)
    assert (found.method, found.output, found.unit) == ("additive", "logit", "log-odds")
    exact = shap_values(lambda frame: log_odds(own.pipeline.predict_proba(frame)), own.background, rows)
    assert exact.method == "exact"
    np.testing.assert_allclose(found.values, exact.values, atol=1e-8)
    np.testing.assert_allclose(found.base, exact.base, atol=1e-8)
    assert np.abs(found.values).max() > 0.3


def test_two_classes_have_opposite_log_odds():
    outputs = torch.tensor([[0.3, 1.5]])
    torch.testing.assert_close(logits(outputs), torch.tensor([[-1.2, 1.2]]))


@pytest.fixture(scope="module")
def deep() -> TabularModel:
    return fitted((3,))


def test_additive_is_refused_for_deeper_networks(deep):
    assert not is_additive(deep.pipeline[-1].network_)
    with pytest.raises(OptionError, match="without a hidden layer"):
        deep.explain(table(3)[0], method="additive")


def test_expected_gradients_agree_with_exact_values(deep):
    rows = table(12, seed=2)[0]
    exact, quick = deep.explain(rows, method="exact"), deep.explain(rows, method="expected_gradients")
    assert (quick.method, quick.output) == ("expected_gradients", "probability")
    np.testing.assert_allclose(quick.base, exact.base, atol=1e-6)
    assert np.corrcoef(quick.values.ravel(), exact.values.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(quick.values.sum(2), 0, atol=1e-12)  # probabilities sum to one
    assert quick.additivity_gap < 4 * quick.gap_error


def test_the_gap_shrinks_with_samples(deep):
    rows = deep.conform(table(10, seed=3)[0])
    inputs = deep.inputs(deep.background), deep.inputs(rows)
    network = deep.pipeline[-1].network_
    few, many = (expected_gradients(network, *inputs, deep.groups, rows, samples=n) for n in (100, 4000))
    assert many.additivity_gap < few.additivity_gap / 5
    assert many.gap_error < few.gap_error / 4


def test_expected_gradients_of_a_linear_score_in_closed_form():
    """A sigmoid of one column only: that column gets p(x) minus the background's mean, the others nothing."""

    class Sigmoid(KAN):
        def forward(self, x):
            return x[..., 1:2] * 2

    network = Sigmoid([3, 1], seed=0).double()
    random = np.random.default_rng(0)
    background, rows = random.normal(size=(20, 3)), random.normal(size=(4, 3))
    groups, frame = np.array([0, 1, 1]), pd.DataFrame({"p": np.zeros(4), "q": np.zeros(4)})
    found = expected_gradients(network, background, rows, groups, frame, samples=20000)
    p = 1 / (1 + np.exp(-2 * rows[:, 1]))
    mean = (1 / (1 + np.exp(-2 * background[:, 1]))).mean()
    np.testing.assert_allclose(found.values[:, 1, 1], p - mean, atol=1e-3)
    np.testing.assert_array_equal(found.values[:, 0], 0)


def test_wrong_gradients_are_noticed():
    class Detached(KAN):
        def forward(self, x):
            return super().forward(x) + super().forward(x.detach())

    network = Detached([2, 2], seed=0).double()
    rows = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(NonFiniteError, match="more than six standard errors"):
        expected_gradients(network, rows[:3], rows[3:], np.array([0, 1]), pd.DataFrame(np.zeros((3, 2))))


def test_expected_gradients_run_through_the_circuits_of_a_kacq():
    X, y = table()
    two = y.replace("middle", "low")
    own = TabularModel(KACQClassifier(epochs=2, standardize=False, random_state=0))
    own.fit(X[:100], two[:100], X[100:], two[100:], ["c", "d"])
    state = torch.get_rng_state()
    found = own.explain(X[:2], method="expected_gradients")
    assert torch.equal(torch.get_rng_state(), state)
    assert found.values.shape == (2, 4, 2)
    assert found.additivity_gap < 4 * found.gap_error + 1e-6
    assert own.edge_importance() is None


def test_sizes_must_fit():
    network = QKAN([3, 2], seed=0).double()
    frame = pd.DataFrame(np.zeros((2, 2)))
    with pytest.raises(ShapeError, match="do not belong to one table of 2 columns"):
        additive_values(network, np.zeros((4, 3)), np.zeros((2, 3)), np.array([0, 1, 2]), frame)
    with pytest.raises(ShapeError, match="non-empty"):
        additive_values(network, np.zeros((0, 3)), np.zeros((2, 3)), np.array([0, 1, 1]), frame)


def test_edge_importance_sums_the_inputs_of_a_column(deep):
    """By hand for a categorical column: the contribution of its level, whatever the other columns hold."""
    importance = deep.edge_importance()
    assert importance.shape == (4,)
    layer, inputs = deep.pipeline[-1].network_.layers[0], torch.as_tensor(deep.inputs(deep.background))
    own = np.flatnonzero(deep.groups == deep.columns.index("c"))
    assert len(own) == 4  # three levels and "missing"
    with torch.no_grad():
        by_row = layer.edges(inputs)[..., own].sum(-1).numpy()
    assert importance[deep.columns.index("c")] == pytest.approx(np.sqrt((by_row.std(0) ** 2).mean()))
