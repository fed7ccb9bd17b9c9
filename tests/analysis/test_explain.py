"""SHAP values against their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from qkan.analysis.explain import EXACT_FEATURES, Columnwise, shap_values
from qkan.errors import NonFiniteError, OptionError, ShapeError


def predict(frame: pd.DataFrame) -> np.ndarray:
    """A model with an interaction, a categorical column and missing values treated as -1."""
    age = frame["age"].fillna(-1).to_numpy(dtype=float)
    score = 0.3 * age + np.where(frame["sex"] == "m", 1.0, 0.0) * (1 + frame["dose"].to_numpy(dtype=float))
    p = 1 / (1 + np.exp(-score))
    return np.stack([1 - p, p], axis=1)


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": random.normal(size=12), "sex": random.choice(["f", "m"], 12), "dose": random.random(12)}
    )
    frame.loc[3, "age"] = np.nan
    frame["sex"] = frame["sex"].astype(object)
    frame.loc[5, "sex"] = np.nan
    return frame


def shapley_by_definition(background: pd.DataFrame, row: pd.Series) -> np.ndarray:
    """Interventional Shapley values by enumerating all coalitions; shape (features, classes)."""
    names = list(background.columns)

    def value(coalition: tuple[str, ...]) -> np.ndarray:
        mixed = background.copy()
        for name in coalition:
            mixed[name] = row[name]
        return predict(mixed).mean(0)

    values = np.zeros((len(names), 2))
    for i, name in enumerate(names):
        others = [other for other in names if other != name]
        for size in range(len(names)):
            weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
            for coalition in itertools.combinations(others, size):
                values[i] += weight * (value((*coalition, name)) - value(coalition))
    return values


def test_exact_values_are_shapleys(table):
    background, rows = table.iloc[:8], table.iloc[3:6]
    found = shap_values(predict, background, rows)
    assert found.method == "exact"
    assert found.additivity_gap < 1e-12
    for i in range(len(rows)):
        np.testing.assert_allclose(found.values[i], shapley_by_definition(background, rows.iloc[i]), atol=1e-10)
    np.testing.assert_allclose(found.base, predict(background).mean(0))


def test_permutation_beyond_the_exact_limit():
    features = EXACT_FEATURES + 2
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(30, features)), columns=[f"x{i}" for i in range(features)])
    weights = np.arange(features) / 10

    def linear(rows: pd.DataFrame) -> np.ndarray:
        return rows.to_numpy() @ np.stack([weights, -weights], axis=1)

    found = shap_values(linear, frame.iloc[:20], frame.iloc[20:])
    assert found.method == "permutation"
    expected = weights * (frame.iloc[20:] - frame.iloc[:20].mean()).to_numpy()  # closed form of an additive model
    np.testing.assert_allclose(found.values[:, :, 0], expected, atol=1e-9)
    assert found.top(0, 0, 1)[0][0] == f"x{np.abs(expected[0]).argmax()}"
    assert found.importance.shape == (features,)


def test_exact_at_the_limit():
    """Twelve features, an interaction of two of them: it is shared equally between the two."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(random.normal(size=(6, EXACT_FEATURES)), columns=[f"x{i}" for i in range(EXACT_FEATURES)])

    def product(rows: pd.DataFrame) -> np.ndarray:
        value = rows["x3"] * rows["x11"]
        return np.stack([value, -value], axis=1)

    found = shap_values(product, frame.iloc[:1], frame.iloc[1:])
    assert found.method == "exact"
    b, x = frame.iloc[0], frame.iloc[1:]
    half = (x["x3"] * x["x11"] + x["x3"] * b["x11"] - b["x3"] * x["x11"] - b["x3"] * b["x11"]) / 2
    np.testing.assert_allclose(found.values[:, 3, 0], half, atol=1e-12)
    np.testing.assert_allclose(np.delete(found.values, [3, 11], axis=1), 0, atol=1e-12)


def test_permutation_on_request_converges_to_exact_values(table):
    exact = shap_values(predict, table.iloc[:8], table.iloc[8:])
    drawn = shap_values(predict, table.iloc[:8], table.iloc[8:], method="permutation", rounds=40)
    assert drawn.method == "permutation"
    assert drawn.additivity_gap < 1e-12
    np.testing.assert_allclose(drawn.values, exact.values, atol=0.01)
    assert np.abs(exact.values).max() > 0.1


def test_looked_up_preprocessing_changes_nothing(table):
    def encode(frame: pd.DataFrame) -> np.ndarray:
        columns = (frame["age"].fillna(-1), frame["age"].isna(), frame["sex"] == "m", frame["dose"])
        return np.stack([column.to_numpy(dtype=float) for column in columns], axis=1)

    def predict_matrix(inputs: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-0.3 * inputs[:, 0] - inputs[:, 2] * (1 + inputs[:, 3])))
        return np.stack([1 - p, p], axis=1)

    columnwise = Columnwise(encode, np.array([0, 0, 1, 2]))
    done: list[int] = []
    found = shap_values(predict_matrix, table.iloc[:8], table, columnwise=columnwise, progress=done.append)
    np.testing.assert_allclose(found.values, shap_values(predict, table.iloc[:8], table).values, atol=1e-12)
    assert sum(done) == len(table)


def test_global_random_state_is_left_alone(table):
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    shap_values(predict, table.iloc[:8], table.iloc[8:], method="permutation", seed=3)
    assert np.random.random() == expected  # noqa: NPY002


def test_options(table):
    with pytest.raises(OptionError, match="method='kernel' is not known"):
        shap_values(predict, table, table, method="kernel")
    wide = pd.DataFrame(np.zeros((2, 17)))
    with pytest.raises(OptionError, match="17 features needs 2\\^17 evaluations"):
        shap_values(lambda rows: rows.to_numpy(), wide, wide, method="exact")


def test_same_seed_same_values(table):
    wide = pd.concat([table[["dose"]].rename(columns={"dose": f"x{i}"}) * (i + 1) for i in range(14)], axis=1)

    def product(rows: pd.DataFrame) -> np.ndarray:
        p = np.prod(1 + rows.to_numpy() / 20, axis=1, keepdims=True)
        return np.hstack([p, -p])

    runs = [shap_values(product, wide.iloc[:6], wide.iloc[6:], seed=seed, rounds=1).values for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_inconsistent_models_are_refused(table):
    random = np.random.default_rng(2)

    def noisy(frame: pd.DataFrame) -> np.ndarray:
        return random.random((len(frame), 2))

    with pytest.raises(NonFiniteError, match="not additive"):
        shap_values(noisy, table.iloc[:6], table.iloc[6:8])


def test_column_mismatch(table):
    with pytest.raises(ShapeError, match="same columns"):
        shap_values(predict, table, table[["age", "sex"]])
    with pytest.raises(ShapeError, match="non-empty"):
        shap_values(predict, table, table.iloc[:0])
