"""Formulas to fit: values, ranges, scaling, and nothing of validation or test rows in it."""

import math

import pytest
import torch

from qkan.data.function_suites import FORMULAS, SUITES, function_dataset
from qkan.errors import OptionError

#: Values at given places, worked out otherwise: by hand, or by an integral, a closed form or a symmetry.
KNOWN = [
    ("I.6.2", (2.0, 2.0), math.exp(-0.5) / (2 * math.sqrt(2 * math.pi))),
    ("I.6.2b", (1.0, 3.0, 2.0), math.exp(-0.5) / math.sqrt(2 * math.pi)),
    ("I.8.14", (1.0, 4.0, 2.0, 6.0), 5.0),
    ("I.12.11", (2.0, 3.0, 4.0, 5.0, math.pi / 2), 46.0),
    ("I.16.6", (2.0, 2.0, 2.0), 2.0),
    ("I.26.2", (0.5, math.pi / 2), math.pi / 6),
    ("I.29.16", (3.0, 4.0, 1.0, 1.0 + math.pi / 2), 5.0),
    ("I.37.4", (1.0, 4.0, math.pi), 1.0),
    ("I.40.1", (3.0, 2.0, 2.0, 4.0, 1.0, 1.0), 3.0 / math.e),
    ("I.50.26", (2.0, math.pi, 1.0, 3.0), 4.0),
    ("ellipkinc", (0.7, 0.0), 0.7),
    ("ellipeinc", (0.7, 1.0), math.sin(0.7)),
    ("lpmv", (1.0, 0.6), -0.8),
    ("sph_harm", (1.0, 0.3), -math.sqrt(15 / (8 * math.pi)) * math.sin(1) * math.cos(1) * math.cos(0.3)),
    ("jv", (0.5, 2.0), math.sqrt(1 / math.pi) * math.sin(2)),
    ("yv", (0.5, 2.0), -math.sqrt(1 / math.pi) * math.cos(2)),
    ("iv", (0.5, 2.0), math.sqrt(1 / math.pi) * math.sinh(2)),
    ("kv", (0.5, 2.0), math.sqrt(math.pi / 4) * math.exp(-2)),
]


def test_every_formula_is_checked():
    assert [name for name, _, _ in KNOWN] == list(FORMULAS)
    assert {formula.suite for formula in FORMULAS.values()} == set(SUITES)


@pytest.mark.parametrize(("name", "place", "value"), KNOWN)
def test_values(name, place, value):
    columns = torch.tensor(place, dtype=torch.float64).reshape(-1, 1).numpy()
    assert FORMULAS[name].compute(*columns)[0] == pytest.approx(value, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_rows_are_scaled_by_ranges_and_training_rows(name):
    data = function_dataset(name, 300, 40, 50, seed=1)
    n = len(FORMULAS[name].variables)
    assert {key: tuple(value.shape) for key, value in data.items()} == {
        "train_input": (300, n),
        "train_label": (300, 1),
        "val_input": (40, n),
        "val_label": (40, 1),
        "test_input": (50, n),
        "test_label": (50, 1),
    }
    assert all(bool(torch.isfinite(value).all()) for value in data.values())
    assert data["train_input"].abs().max() <= 1 + 1e-6
    assert data["train_input"].min() < -0.95
    assert data["train_input"].max() > 0.95
    torch.testing.assert_close(data["train_label"].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(data["train_label"].std(), torch.tensor(1.0))


def test_the_test_rows_leave_everything_else_as_it_is():
    few, many = (function_dataset("jv", 100, 20, rows, seed=3) for rows in (5, 500))
    for key in ("train_input", "train_label", "val_input", "val_label"):
        assert torch.equal(few[key], many[key])


def test_seeds():
    first, again, other = (function_dataset("jv", 10, 5, 5, seed=seed)["train_input"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mistakes():
    with pytest.raises(OptionError, match=r"name='I\.1\.1' is not known"):
        function_dataset("I.1.1")
    with pytest.raises(OptionError, match="train=1 must be a whole number of at least 2"):
        function_dataset("jv", train=1)
    with pytest.raises(OptionError, match="validation=0"):
        function_dataset("jv", validation=0)
