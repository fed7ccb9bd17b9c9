"""KAN and QKAN as a whole: shapes, saving, refinement, counting, plotting."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import qkan
from qkan import KAN, QKAN
from qkan.errors import ModelFileError, OptionError, RefineError, RefineWarning, ShapeError

MODELS = {
    "bspline": lambda: KAN([3, 4, 2], grid=4, k=2, seed=1),
    "fourier": lambda: KAN([3, 4, 2], "fourier", degree=3, base=None, seed=1),
    "chebyshev": lambda: KAN([3, 4, 2], "chebyshev", bias=False, seed=1),
    "rbf": lambda: KAN([3, 4, 2], "rbf", grid=6, scale=False, seed=1),
    "qkan": lambda: QKAN([3, 4, 2], reps=2, seed=1),
    "qkan-grouped": lambda: QKAN([3, 4, 2], reps=2, groups=2, seed=1),
    "qkan-shared": lambda: QKAN([3, 4, 2], reps=2, encoding="shared", seed=1),
    "qkan-edge": lambda: QKAN([3, 4, 2], reps=2, encoding="edge", ansatz="mix", readout="amplitude", seed=1),
}


@pytest.fixture(params=MODELS)
def model(request) -> KAN:
    return MODELS[request.param]()


def test_any_leading_dimensions(model, rng):
    x = torch.randn(2, 5, 3, generator=rng)
    y = model(x)
    assert y.shape == (2, 5, 2)
    torch.testing.assert_close(y[1, 3], model(x[1, 3]), rtol=1e-5, atol=1e-5)


def test_save_and_load(model, rng, tmp_path):
    x = torch.randn(6, 3, generator=rng)
    mask = torch.ones(4, 3)
    mask[2, 1] = 0
    model.layers[0].set_mask(mask)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(qkan.load(tmp_path / "model")(x), model(x))


@pytest.mark.parametrize("basis", [n for n in qkan.bases.names() if qkan.bases.get(n).__module__.startswith("qkan.")])
def test_networks_of_every_basis_are_saved_and_frozen(basis, rng, tmp_path):
    model = KAN([2, 3, 1], basis, seed=1)
    x = torch.rand(6, 2, generator=rng)
    model.save(tmp_path / "model")
    loaded = qkan.load(tmp_path / "model")
    assert loaded.config() == model.config()
    assert torch.equal(loaded(x), model(x))
    torch.testing.assert_close(model.compile_inference()(x), model(x).detach(), rtol=1e-5, atol=2e-6)


def test_saving_again_replaces_the_weights(model, rng, tmp_path):
    model.save(tmp_path / "model")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save(tmp_path / "model")
    x = torch.randn(6, 3, generator=rng)
    assert torch.equal(KAN.load(tmp_path / "model")(x), model(x))
    assert sorted(p.suffix for p in (tmp_path / "model").iterdir()) == [".json", ".safetensors"]


def test_float64_survives_saving(tmp_path):
    model = QKAN([2, 1], seed=0).double()
    with torch.no_grad():
        model.layers[0].basis.theta.add_(1e-9)  # lost in float32
    model.save(tmp_path / "m")
    loaded = QKAN.load(tmp_path / "m")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_networks_of_mixed_layers_survive_saving(tmp_path):
    model = KAN([2, 3, 1], layer_options=[{"basis": "fourier", "degree": 3, "base": None}, {"grid": 7}], seed=0)
    model.layers[1] = model.layers[1].refine(14)
    model.save(tmp_path / "m")
    loaded, x = KAN.load(tmp_path / "m"), torch.linspace(-1, 1, 10).reshape(5, 2)
    assert [layer.basis.name for layer in loaded.layers] == ["fourier", "bspline"]
    assert (loaded.layers[0].base, loaded.layers[1].base, loaded.layers[1].basis.grid) == (None, "silu", 14)
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(OptionError, match="layer_options lists 1 layers"):
        KAN([2, 3, 1], layer_options=[{}])


@pytest.mark.parametrize("damage", ["truncate", "remove", "json", "foreign", "version", "edited"])
def test_damaged_model_is_one_sentence(damage, tmp_path):
    folder = tmp_path / "model"
    QKAN([2, 1], seed=0).save(folder)
    weights, config = next(folder.glob("*.safetensors")), folder / "config.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-7])
    elif damage == "remove":
        weights.unlink()
    elif damage == "json":
        config.write_text(config.read_text()[:40])
    else:
        header = json.loads(config.read_text())
        header |= {"foreign": {"format": "something"}, "version": {"version": 99}}.get(damage, {})
        if damage == "edited":
            header["config"]["reps"] = 4
        config.write_text(json.dumps(header))
    expected = {
        "truncate": "damaged: its checksum",
        "remove": "incomplete",
        "json": "not readable JSON",
        "foreign": "does not describe a qkan model",
        "version": "format version 99",
        "edited": "content is not what was saved",
    }
    with pytest.raises(ModelFileError, match=expected[damage]):
        QKAN.load(folder)


def test_loading_nothing_or_another_kind(tmp_path):
    with pytest.raises(ModelFileError, match="holds no saved model"):
        KAN.load(tmp_path / "absent")
    KAN([2, 1], seed=0).save(tmp_path / "kan")
    with pytest.raises(ModelFileError, match="kind 'KAN', not 'QKAN'"):
        QKAN.load(tmp_path / "kan")


def test_saving_never_overwrites_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelFileError, match="not a model"):
        KAN([2, 1], seed=0).save(tmp_path)
    with pytest.raises(ModelFileError, match="is a file"):
        KAN([2, 1], seed=0).save(tmp_path / "notes.txt")


def test_refine_keeps_the_function(model, rng):
    x = 2 * torch.randn(50, 3, generator=rng)
    name = model.layers[0].basis.name
    size = {"bspline": 8, "fourier": 5, "chebyshev": 9, "daruan": 3}.get(name, 9)
    refined = model.refine(size)
    assert type(refined) is type(model)
    torch.testing.assert_close(refined(x), model(x), rtol=1e-4, atol=2e-5)
    assert sum(p.numel() for p in refined.parameters()) > sum(p.numel() for p in model.parameters())


#: A size that is above the default of every basis, and nested in that of B-splines.
LARGER = {"bspline": 10, "mixture": 10, "truncated_power": 10, "daruan": 4}


@pytest.mark.parametrize("basis", [n for n in qkan.bases.names() if qkan.bases.get(n).__module__.startswith("qkan.")])
def test_networks_of_every_basis_are_refined(basis, rng):
    model = KAN([2, 3, 1], basis, seed=1).double()
    if basis == "mixture":  # a size means another thing to each of its members
        with pytest.raises(RefineError, match="select a member and refine that"):
            model.refine(12)
        model = model.select()
    x = 2 * torch.randn(50, 2, generator=rng, dtype=torch.float64)
    finer = model.refine(LARGER.get(basis, 12))
    assert sum(p.numel() for p in finer.parameters()) > sum(p.numel() for p in model.parameters())
    assert all(layer.basis.refine_residual < 1e-9 for layer in finer.layers)
    torch.testing.assert_close(finer(x), model(x), rtol=1e-8, atol=1e-8)
    finer(x).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in finer.parameters())


def test_refine_without_nesting_warns():
    with pytest.warns(RefineWarning, match="not nested"):
        KAN([1, 1], grid=4, seed=0).refine(5)


def test_flops_equal_torch_counter(model, rng):
    rows = 7
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(rows, 3, generator=rng))
    assert qkan.count(model, rows).flops == counter.get_total_flops()


def test_counts_tell_trainable_from_frozen():
    model = QKAN([3, 2], reps=3, seed=0)
    before = qkan.count(model)
    assert before.trainable == 3 * 2 * (8 + 1 + 1) + 2
    assert before.frozen == 0
    model.layers[0].scale.requires_grad_(False)
    assert (qkan.count(model).trainable, qkan.count(model).frozen) == (before.trainable - 6, 6)
    assert "56 trainable and 6 frozen" in str(qkan.count(model))


def test_published_parameter_counts():
    """Ten-by-ten layer, r = 3, pz: 800 bare and 900 with the base branch (issue counts of the published package)."""
    bare = {"scale": False, "bias": False}
    assert qkan.count(QKAN([10, 10], reps=3, base=None, **bare)).trainable == 800
    assert qkan.count(QKAN([10, 10], reps=3, **bare)).trainable == 900


def test_seeds_decide_and_leave_global_state_alone():
    before = torch.get_rng_state()
    one, same, other = (QKAN([3, 2], seed=seed).state_dict() for seed in (5, 5, 6))
    QKAN([3, 2])
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["layers.0.basis.theta"], other["layers.0.basis.theta"])


def test_layers_of_one_model_differ():
    model = QKAN([3, 3, 3], seed=0)
    assert not torch.equal(model.layers[0].basis.theta, model.layers[1].basis.theta)


def test_predict_keeps_the_array_type_and_the_mode(model):
    rows = np.linspace(-1, 1, 30).reshape(10, 3)
    model.train()
    out = model.predict(rows, batch=4)
    assert isinstance(out, np.ndarray)
    assert model.training
    tensor = model.predict(torch.as_tensor(rows, dtype=torch.float32))
    assert not tensor.requires_grad
    np.testing.assert_allclose(out, tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_edges_of_every_layer_sum_to_its_output(model, rng):
    x = torch.randn(5, 3, generator=rng)
    for layer, edges in zip(model.layers, model.edges(x), strict=True):
        y = edges.sum(-1) + (0 if layer.bias is None else layer.bias)
        torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-5)
        x = layer(x)


def test_regularization_by_hand(rng):
    model = KAN([2, 1], seed=0).double()
    x = torch.randn(20, 2, generator=rng, dtype=torch.float64)
    size = model.layers[0].edges(x).detach().abs().mean(0)
    share = size / size.sum()
    entropy = float(-(share * share.log()).sum())  # one row; every column has one entry and no entropy
    expected = 0.5 * float(size.sum()) + 3 * entropy
    assert model.regularization(x, 0.5, 3).item() == pytest.approx(expected, rel=1e-9)


def test_copies_are_independent(model, rng):
    x = torch.randn(4, 3, generator=rng)
    before = model(x)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(model(x), before)


def test_compiles_whole(model, rng):
    x = torch.randn(9, 3, generator=rng)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)


def test_plot_returns_a_figure_and_writes_nothing(model, rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure = model.plot(torch.randn(30, 3, generator=rng), in_vars=["a", "b", "c"], out_vars=["p", "q"], title="t")
    figure.canvas.draw()
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"a", "b", "c", "p", "q"} <= texts
    assert len(figure.axes) == 1 + 3 * 4 + 4 * 2
    assert list(tmp_path.iterdir()) == []


def test_plot_uses_the_data_of_the_last_fit(rng):
    model = KAN([2, 1], seed=0)
    with pytest.raises(OptionError, match="pass x of shape"):
        model.plot()
    model.fit((torch.randn(900, 2, generator=rng), torch.zeros(900, 1)), steps=1, progress=False)
    assert len(model.plot().axes) == 3
    assert len(model.plot(np.random.default_rng(0).normal(size=(20, 2))).axes) == 3


def test_plot_limits_the_edges_drawn(rng):
    figure = KAN([12, 8], seed=0).plot(torch.randn(20, 12, generator=rng), max_edges=10)
    assert len(figure.axes) == 1 + 10


def test_plot_errors(rng):
    model = KAN([3, 2], seed=0)
    with pytest.raises(ShapeError, match=r"\(rows, 3\)"):
        model.plot(torch.zeros(5, 2))
    with pytest.raises(OptionError, match="in_vars has 1 names"):
        model.plot(torch.randn(5, 3, generator=rng), in_vars=["a"])


@pytest.mark.parametrize("width", [[3], 5, None, "35", [3, 0], [3, 2.5], [True, 2]])
def test_bad_width(width):
    with pytest.raises(OptionError, match="width="):
        KAN(width)


def test_device_and_seed_arguments():
    assert next(KAN([2, 1], device="cpu", seed=0).parameters()).device.type == "cpu"
    for seed in ("a", 1.5, -1):
        with pytest.raises(OptionError, match="seed="):
            KAN([2, 1], seed=seed)


def test_unknown_options_list_the_known_ones():
    with pytest.raises(OptionError, match="has no option 'grd'; its options are grid, k, grid_range, extend"):
        KAN([2, 1], grd=3)
    with pytest.raises(OptionError, match="'chebyshev' has no option 'grid'"):
        KAN([2, 1], "chebyshev", grid=3)
    with pytest.raises(OptionError, match="QKAN has the basis 'daruan'"):
        QKAN([2, 1], basis="fourier")
