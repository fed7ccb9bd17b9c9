from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkan.data import create_dataset
from qkan.errors import NonFiniteError, OptionError, ShapeError


def product(x: torch.Tensor) -> torch.Tensor:
    return x[:, [0]] * x[:, [1]]


def test_the_four_tensors():
    data = create_dataset(product, train_num=50, test_num=20, seed=0)
    assert {key: tuple(value.shape) for key, value in data.items()} == {
        "train_input": (50, 2),
        "train_label": (50, 1),
        "test_input": (20, 2),
        "test_label": (20, 1),
    }
    assert all(value.dtype == torch.float32 for value in data.values())
    for part in ("train", "test"):
        assert torch.equal(data[f"{part}_label"], product(data[f"{part}_input"]))
    assert not torch.equal(data["train_input"][:20], data["test_input"])


def test_ranges_per_variable():
    data = create_dataset(lambda x: x.sum(1), n_var=3, ranges=[(0, 1), [5, 6], (-2, -1)], seed=0)
    low, high = data["train_input"].amin(0), data["train_input"].amax(0)
    assert torch.allclose(low, torch.tensor([0.0, 5.0, -2.0]), atol=0.01)
    assert torch.allclose(high, torch.tensor([1.0, 6.0, -1.0]), atol=0.01)
    again = create_dataset(lambda x: x.sum(1), n_var=3, ranges=np.array([[0, 1], [5, 6], [-2, -1]]), seed=0)
    assert torch.equal(again["train_input"], data["train_input"])


def test_seed_and_global_state():
    state = torch.get_rng_state()
    first, second = (create_dataset(product, seed=7, train_num=5) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["train_input"], create_dataset(product, seed=8, train_num=5)["train_input"])
    assert not torch.equal(create_dataset(product)["train_input"], create_dataset(product)["train_input"])
    assert torch.equal(state, torch.get_rng_state())


def test_row_mode():
    data = create_dataset(lambda x: x[0] * x[1], f_mode="row", train_num=9, seed=0)
    assert torch.equal(data["train_label"], product(data["train_input"]))
    wide = create_dataset(lambda x: (x[0] * x[1])[None], f_mode="row", train_num=9, seed=0)
    assert torch.equal(wide["train_label"], data["train_label"])


def test_normalisation_uses_the_training_set_alone():
    call = {"ranges": [(0, 10), (3, 4)], "train_num": 40, "test_num": 30, "seed": 1}
    raw = create_dataset(product, **call)
    data = create_dataset(product, **call, normalize_input=True, normalize_label=True)
    for what in ("input", "label"):
        mean, std = raw[f"train_{what}"].mean(0), raw[f"train_{what}"].std(0)
        for part in ("train", "test"):
            assert torch.allclose(data[f"{part}_{what}"], (raw[f"{part}_{what}"] - mean) / std)
    assert torch.allclose(data["train_input"].std(0), torch.ones(2))


def test_labels_are_detached_and_inputs_kept():
    weight = torch.ones(2, requires_grad=True)

    def in_place(x: torch.Tensor) -> torch.Tensor:
        return x.mul_(0) @ weight

    data = create_dataset(in_place, train_num=4, seed=0)
    assert not data["train_label"].requires_grad
    assert data["train_input"].abs().min() > 0


@pytest.mark.parametrize("ranges", [(-1, 1, 2), [(-1, 1)] * 3, 5, "ab", [[0, 1], [2]], None])
def test_ranges_of_the_wrong_shape(ranges):
    with pytest.raises(ShapeError, match="ranges="):
        create_dataset(product, ranges=ranges)


@pytest.mark.parametrize("ranges", [(1, -1), (0, 0), (0, float("inf")), [(0, 1), (float("nan"), 1)], (-3e38, 3e38)])
def test_ranges_out_of_order(ranges):
    with pytest.raises(OptionError, match=r"of variable \d must be finite with low < high"):
        create_dataset(product, ranges=ranges)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_var": 0}, "n_var=0"),
        ({"train_num": 2.5}, "train_num=2.5"),
        ({"test_num": 0}, "test_num=0"),
        ({"f_mode": "column"}, "f_mode='column' is not known"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(OptionError, match=message):
        create_dataset(product, **options)


def test_wrong_functions():
    with pytest.raises(OptionError, match="must be a function"):
        create_dataset("x*y")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"shape \(1000, 2\) for 1000 inputs; it must return \(1000, 1\)"):
        create_dataset(lambda x: x)
    with pytest.raises(ShapeError, match=r"shape \(\)"):
        create_dataset(lambda x: x.sum())
    with pytest.raises(ShapeError, match="f returned ndarray"):
        create_dataset(lambda x: x.numpy()[:, 0])  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match="complex"):
        create_dataset(lambda x: x[:, 0] * 1j)
    with pytest.raises(NonFiniteError, match=r"NaN or infinity for \d+ of 1000 inputs, first at \[-"):
        create_dataset(lambda x: x[:, 0].log())


@pytest.mark.parametrize("train_num", [1, 100])
def test_constants_cannot_be_normalised(train_num):
    with pytest.raises(OptionError, match="normalize_label=True needs training labels that vary"):
        create_dataset(lambda x: 0 * x[:, 0] + 0.1, train_num=train_num, normalize_label=True)


@settings(max_examples=40)
@given(
    n_var=st.integers(1, 5),
    rows=st.integers(1, 40),
    low=st.floats(-1e3, 1e3),
    width=st.floats(1e-2, 1e3),
    seed=st.integers(0, 2**62),
)
def test_inputs_stay_in_range(n_var, rows, low, width, seed):
    data = create_dataset(lambda x: x[:, 0], n_var, (low, low + width), rows, 3, seed=seed)
    assert data["train_input"].shape == (rows, n_var)
    assert data["train_input"].min() >= np.float32(low)
    # One rounding of the product and one of the sum can reach, and barely pass, the upper end.
    assert data["train_input"].max() <= np.nextafter(np.float32(low + width), np.float32(np.inf))
