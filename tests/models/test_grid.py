"""Grid updates of whole networks, by hand and during training."""

import copy
import math

import pytest
import torch

import qkan
from qkan import training
from qkan.errors import NonFiniteError, OptionError
from qkan.models import KAN


def rows(count: int = 300, spread: float = 1.0, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def target(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x[:, :1]) + 0.1 * x[:, 1:] ** 2


def test_every_layer_moves_to_what_reaches_it():
    model, x = KAN([2, 3, 1], seed=0).double(), rows(spread=3.0).double()
    before = model(x).detach()
    report = model.update_grid(x)
    hidden = model.layers[0](x).detach()
    for layer, inputs in zip(model.layers, (x, hidden), strict=True):
        points = layer.basis.grid_points()
        torch.testing.assert_close(points[:, 0], inputs.amin(0))
        torch.testing.assert_close(points[:, -1], inputs.amax(0))
    change = float((model(x).detach() - before).norm() / before.norm())
    assert report.output == pytest.approx(change, rel=1e-6)
    assert [layer.residual < 0.2 for layer in report.layers] == [True, True]
    assert "layer 1: relative residual" in str(report)
    assert "the outputs change by" in str(report)


def test_a_finer_grid_changes_less():
    x = rows().double()
    model = KAN([2, 3, 1], seed=0).double()
    model.fit((x, target(x)), steps=30, seed=0, progress=False)
    changes = [model.refine(size).update_grid(x).output for size in (5, 20, 80)]
    assert changes[2] < 0.3 * changes[0]


def test_moved_grids_survive_saving_freezing_copies_and_refinement(tmp_path):
    model, x = KAN([2, 3, 1], seed=0), rows(spread=2.0)
    model.update_grid(x)
    expected = model(x)
    model.save(tmp_path / "model")
    for twin in (qkan.load(tmp_path / "model"), copy.deepcopy(model)):
        assert torch.equal(twin(x), expected)
    torch.testing.assert_close(model.compile_inference()(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.refine(7)(x), expected, rtol=1e-4, atol=1e-5)


def test_the_inputs_of_the_last_fit_serve_where_none_are_given():
    model, x = KAN([2, 1], seed=0), rows()
    with pytest.raises(OptionError, match="update_grid needs data"):
        model.update_grid()
    model.fit((x, target(x)), steps=1, progress=False)
    model.update_grid()
    torch.testing.assert_close(model.layers[0].basis.grid_points()[:, 0].float(), x.amin(0))


def test_a_failure_leaves_the_network_as_it_was():
    model, x = KAN([2, 3, 1], seed=0), rows(20)
    with torch.no_grad():
        model.layers[0].bias[1] = math.inf
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        model.update_grid(x)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    with pytest.raises(OptionError, match="5 samples cannot fix the 8 coefficients"):
        model.update_grid(x[:5])


# -- training ------------------------------------------------------------------------------------------------------


def test_updates_take_place_at_the_steps_of_pykan():
    model, x = KAN([2, 1], seed=0), rows(40)
    options = {"update_grid": True, "grid_update_num": 3, "start_grid_update_step": 2, "stop_grid_update_step": 12}
    history = model.fit((x, target(x)), steps=14, progress=False, seed=0, **options)
    assert [step for step, _ in history["grid_updates"]] == [4, 8]
    assert "grid_updates" not in model.fit((x, target(x)), steps=1, progress=False)


@pytest.mark.parametrize("opt", ["AdamW", "LBFGS"])
def test_the_optimiser_starts_anew_after_an_update(opt):
    """Steps after an update are those of a fresh optimiser, whose memory holds nothing of the old splines."""
    x = rows(60).double()
    data, common = (x, target(x)), {"opt": opt, "progress": False, "seed": 0}
    one, again = (KAN([2, 2, 1], seed=0).double() for _ in range(2))
    one.fit(data, steps=3, **common)
    one.update_grid(x)
    one.fit(data, steps=2, **common)
    schedule = {"grid_update_num": 2, "start_grid_update_step": 3, "stop_grid_update_step": 6}
    history = again.fit(data, steps=5, update_grid=True, **schedule, **common)
    assert [step for step, _ in history["grid_updates"]] == [3]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_inputs_beyond_the_first_grid_are_learnt_after_updates():
    """With splines that die out outside, an edge beyond its grid is its base branch alone."""
    x = 6 + 3 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    y = torch.sin(3 * x[:, :1])
    losses = []
    for update in (False, True):
        model = KAN([2, 1], grid=10, extend="zero", seed=0)
        history = model.fit((x, y), opt="LBFGS", steps=15, update_grid=update, stop_grid_update_step=10, progress=False)
        losses.append(history["train_loss"][-1])
    assert losses[1] < 0.01 * losses[0]


def test_the_best_state_brings_its_own_grid():
    model, x = KAN([2, 1], seed=0), rows(60)
    data = {"train_input": x, "train_label": target(x), "val_input": x, "val_label": target(x)}
    common = {"stop_grid_update_step": 6, "grid_update_num": 2, "progress": False}
    history = model.fit(data, steps=8, lr=30.0, update_grid=True, start_grid_update_step=3, **common)
    assert history["best_step"] < 3  # far too large steps: it only becomes worse
    assert model.layers[0].basis.points is None
    assert training.evaluate(model, (x, target(x)), training.mean_squared_error) == pytest.approx(
        min(history["val_loss"]), rel=1e-6
    )


def test_a_loader_updates_by_its_batches():
    model, x = KAN([2, 1], seed=0), rows(40)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, target(x)), batch_size=20)
    history = model.fit(loader, steps=3, update_grid=True, grid_update_num=50, progress=False)
    assert [step for step, _ in history["grid_updates"]] == [0, 1, 2]
    torch.testing.assert_close(model.layers[0].basis.grid_points()[:, 0].float(), x[:20].amin(0))


@pytest.mark.parametrize(
    ("basis", "options", "message"),
    [
        ("fourier", {}, "the basis 'fourier' has no grid to update"),
        ("bspline", {"grid_update_num": 60}, "60 updates do not fit before stop_grid_update_step=50"),
        ("bspline", {"grid_update_num": 0}, "grid_update_num=0 must be a whole number"),
        ("bspline", {"stop_grid_update_step": -1}, "stop_grid_update_step=-1 must be"),
        ("bspline", {"update_grid": "yes"}, "update_grid='yes' must be True or False"),
    ],
)
def test_bad_options_are_explained(basis, options, message):
    x = rows(20)
    with pytest.raises(OptionError, match=message):
        KAN([2, 1], basis, seed=0).fit((x, target(x)), steps=2, progress=False, **{"update_grid": True, **options})


def test_other_models_say_that_they_have_no_grids():
    x = rows(20)
    with pytest.raises(OptionError, match="Linear has no update_grid"):
        training.fit(torch.nn.Linear(2, 1), (x, target(x)), steps=1, update_grid=True, progress=False)
