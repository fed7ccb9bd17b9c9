"""The training loop: it learns, stops early on validation data only, and reports what goes wrong."""

from __future__ import annotations

import gc
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qkan import KAN, QKAN, create_dataset, fit, training
from qkan.errors import NonFiniteError, OptionError, ShapeError


def formula(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)


@pytest.fixture(scope="module")
def dataset() -> dict[str, torch.Tensor]:
    return create_dataset(formula, n_var=2, train_num=300, test_num=300, seed=0)


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        (lambda: KAN([2, 5, 1], seed=0), 1e-3),
        (lambda: KAN([2, 5, 1], "fourier", seed=0), 5e-3),
        (lambda: KAN([2, 5, 1], "chebyshev", seed=0), 5e-3),
        (lambda: KAN([2, 5, 1], "rbf", seed=0), 5e-3),
        (lambda: QKAN([2, 5, 1], seed=0), 1e-2),
    ],
    ids=["bspline", "fourier", "chebyshev", "rbf", "qkan"],
)
def test_lbfgs_fits_a_formula(model, bound, dataset):
    """Mean squared error on unseen points; the label's variance is about 1.5."""
    history = model().fit(dataset, opt="LBFGS", steps=20, progress=False)
    assert history["test_loss"][-1] < bound
    assert len(history["train_loss"]) == len(history["test_loss"]) == len(history["step"]) == 20


def test_adamw_with_batches_from_rows_and_from_a_loader(dataset):
    x, y = dataset["train_input"], dataset["train_label"]
    by_rows = QKAN([2, 4, 1], seed=0).fit((x, y), steps=120, batch=64, seed=0, log=10, progress=False)
    assert by_rows["train_loss"][-1] < 0.3 * by_rows["train_loss"][0]
    loader = DataLoader(TensorDataset(x, y), batch_size=100)
    by_loader = QKAN([2, 4, 1], seed=0).fit(loader, steps=120, log=10, progress=False)
    assert by_loader["train_loss"][-1] < 0.3 * by_loader["train_loss"][0]


def test_same_seed_same_training(dataset):
    runs = [KAN([2, 3, 1], seed=0).fit(dataset, steps=10, batch=32, seed=4, progress=False) for _ in range(2)]
    assert runs[0]["train_loss"] == runs[1]["train_loss"]


def test_global_random_state_is_untouched(dataset):
    before = torch.get_rng_state()
    KAN([2, 3, 1], seed=0).fit(dataset, steps=3, batch=32, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_early_stopping_restores_the_best_state(rng):
    x = torch.rand(40, 2, generator=rng) * 2 - 1
    noise = torch.randn(40, 1, generator=rng)
    model = KAN([2, 8, 1], grid=10, seed=0)
    validation = (x[20:], noise[20:])
    history = model.fit((x[:20], noise[:20]), steps=400, lr=0.05, validation=validation, patience=15, progress=False)
    assert history["stopped_early"]
    assert len(history["step"]) == history["best_step"] + 15
    best = min(history["val_loss"])
    with torch.no_grad():
        assert float(nn.functional.mse_loss(model(x[20:]), noise[20:])) == pytest.approx(best, rel=1e-5)


def test_test_data_never_decide(dataset):
    """Garbage test labels leave the trained parameters exactly as they are."""
    spoiled = {**dataset, "test_label": torch.full_like(dataset["test_label"], 1e6)}
    models = [KAN([2, 3, 1], seed=0) for _ in range(2)]
    for model, data in zip(models, (dataset, spoiled), strict=True):
        model.fit(data, steps=15, progress=False)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_penalty_makes_edges_smaller(dataset):
    sizes = []
    for lamb in (0.0, 0.05):
        model = KAN([2, 5, 1], seed=0)
        history = model.fit(dataset, opt="LBFGS", steps=8, lamb=lamb, progress=False)
        sizes.append(sum(e.abs().mean(0).sum().item() for e in model.edges(dataset["train_input"])))
        assert (history["reg"][-1] > 0) == (lamb > 0)
    assert sizes[1] < 0.8 * sizes[0]


def test_pruned_and_frozen_parameters_stay(dataset):
    model = KAN([2, 3, 1], seed=0)
    mask = torch.ones(3, 2)
    mask[1, 0] = 0
    model.layers[0].set_mask(mask)
    model.layers[0].bias.requires_grad_(False)
    pruned = model.layers[0].basis.coef[1, 0].clone()
    model.fit(dataset, steps=5, progress=False)
    assert torch.equal(model.layers[0].basis.coef[1, 0], pruned)
    assert torch.equal(model.layers[0].bias, torch.zeros(3))


def test_any_module_and_any_loss(rng):
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.zero_()
    x = torch.randn(60, 3, generator=rng)
    labels = (x[:, 0] > 0).long()
    history = fit(model, (x, labels), steps=100, lr=0.1, loss_fn=nn.functional.cross_entropy, progress=False)
    assert history["train_loss"][-1] < 0.3


def test_progress_bar_is_shown_on_request(dataset, capsys):
    KAN([2, 1], seed=0).fit(dataset, steps=3, progress=False)
    assert capsys.readouterr().out == ""
    KAN([2, 1], seed=0).fit(dataset, steps=3)
    assert "3/3" in capsys.readouterr().out


def test_divergence_is_named_and_undone(dataset):
    model = KAN([2, 3, 1], seed=0)
    with pytest.raises(NonFiniteError, match=r"became (nan|inf) at step \d+; lower lr"):
        model.fit(dataset, steps=50, lr=1e30, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"opt": "SGD"}, OptionError, "opt='SGD' is not known; choose one of 'AdamW', 'LBFGS'"),
        ({"steps": 0}, OptionError, "steps=0"),
        ({"lr": -1.0}, OptionError, "lr=-1.0"),
        ({"lamb": -1.0}, OptionError, "lamb=-1.0"),
        ({"opt": "LBFGS", "batch": 8}, OptionError, "works on all rows at once"),
        ({"patience": 3}, OptionError, "patience needs validation data"),
    ],
)
def test_bad_arguments(arguments, error, message, dataset):
    with pytest.raises(error, match=message):
        KAN([2, 1], seed=0).fit(dataset, progress=False, **arguments)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"input": torch.zeros(3, 2)}, ShapeError, "needs train_input and train_label; it has input"),
        ((torch.zeros(3, 2), torch.zeros(4, 1)), ShapeError, "3 inputs but 4 labels"),
        ((torch.zeros(3, 2), torch.zeros(3)), ShapeError, r"labels of shape \(3,\) must have the shape .* \(3, 1\)"),
        (
            {"train_input": torch.zeros(3, 2), "train_label": torch.zeros(3, 1), "test_input": torch.zeros(1, 2)},
            ShapeError,
            "test_input and test_label together",
        ),
        ((torch.zeros(0, 2), torch.zeros(0, 1)), ShapeError, "no rows"),
        ((torch.full((3, 2), torch.nan), torch.zeros(3, 1)), NonFiniteError, "the inputs hold NaN"),
        (5, ShapeError, "int is not a dataset"),
        ([], ShapeError, "yields no batches"),
    ],
)
def test_bad_data(data, error, message):
    with pytest.raises(error, match=message):
        KAN([2, 1], seed=0).fit(data, progress=False)


def test_no_trainable_parameters():
    model = KAN([2, 1], seed=0)
    model.requires_grad_(False)
    with pytest.raises(OptionError, match="no trainable parameters"):
        model.fit((torch.zeros(3, 2), torch.zeros(3, 1)), progress=False)


@pytest.mark.parametrize("basis", ["bspline", "daruan", "mixture"])
def test_the_penalty_keeps_no_activations(basis, rng):
    """Between steps nothing with a row per training row is alive but the data and the few inputs kept for plots."""
    rows = 263  # a size that nothing else has
    x = torch.rand(rows, 2, generator=rng) * 2 - 1
    model = KAN([2, 3, 1], basis, seed=0)
    before = {name for module in model.modules() for name in vars(module)}
    model.fit((x, x[:, :1] * x[:, 1:]), steps=3, lamb=0.1, progress=False)
    assert {name for module in model.modules() for name in vars(module)} - before == {"_seen"}
    gc.collect()
    kept = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor) and rows in one.shape]
    assert all(one.dim() == 2 and one.shape[1] in (1, 2) and one.grad_fn is None for one in kept)


@pytest.mark.parametrize("rows", [3, 500, 501, 999, 1000, 12345])
def test_spaced_rows_come_from_all_of_them(rows):
    found = training.spaced(torch.arange(rows), 500)
    assert len(found) <= 500
    assert found[0] == 0
    assert rows - 1 - found[-1] < -(-rows // 500)
