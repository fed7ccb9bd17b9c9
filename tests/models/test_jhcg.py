"""JHCG nets and HQKAN: parts, published parameter counts, training, saving."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import qkan
from qkan import HQKAN, KAN, JHCGNet, KANLayer
from qkan.errors import ModelFileError, OptionError, ShapeError

BARE = {"scale": False, "bias": False}


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (lambda: HQKAN(256, 100, (8, 7), reps=3, base=None, **BARE), (2056, 448, 800)),
        (lambda: HQKAN(256, 100, (32, 28), reps=3, base=None, **BARE), (8224, 7168, 2900)),
        (lambda: HQKAN(768, 768, latent=10, reps=1, base="silu", **BARE), (7690, 500, 8448)),
    ],
    ids=["CIFAR-100 3,304", "CIFAR-100 18,292", "GPT-2 16,638"],
)
def test_parameter_counts_are_the_published_ones(model, parts):
    made = model()
    counts = tuple(qkan.count(part).trainable for part in (made.encoder, made.core, made.decoder))
    assert counts == parts
    assert qkan.count(made).trainable == sum(parts) in (3304, 18_292, 16_638)


def test_the_grouped_count_is_the_published_one():
    """Circuits 12, data weights 3 and biases 3; per edge a base weight, a scale and a bias."""
    model = HQKAN(768, 768, latent=10, reps=1, groups=3, encoding="edge", bias="edge", shift=True)
    assert qkan.count(model.core).trainable == 12 + 3 + 3 + 100 + 100 + 100
    assert qkan.count(model).trainable == 16_456


def test_the_published_biases_add_no_functions():
    """Without them the same functions take 93 parameters less."""
    published = HQKAN(6, 4, latent=5, reps=1, groups=3, encoding="edge", bias="edge", shift=True, seed=0).double()
    plain = HQKAN(6, 4, latent=5, reps=1, groups=3, encoding="edge", seed=1).double()
    with torch.no_grad():
        published.core.bias.normal_(generator=torch.Generator().manual_seed(0))
        published.core.basis.shift.fill_(0.7)
        state = published.state_dict()
        state["core.bias"] = published.core.output_bias()
        state.pop("core.basis.shift")
        plain.load_state_dict(state)
        plain.core.basis.theta[:, 2] += 0.7  # the RZ after the data gate
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(published(x), plain(x))


@pytest.mark.parametrize(("width", "latent"), [(1, 1), (2, 1), (3, 2), (8, 3), (9, 4), (768, 10)])
def test_latent_width_is_the_logarithm_rounded_up(width, latent):
    assert HQKAN(width, 1).latent == (latent, latent)


def net(**parts) -> JHCGNet:
    return JHCGNet(6, 4, (3, 2), seed=1, **parts)


PARTS = {
    "default": {},
    "names": {"core": "daruan", "encoder": "fourier", "decoder": "chebyshev"},
    "options": {
        "core": {"basis": "daruan", "reps": 1, "base": None},
        "encoder": {"basis": "linear", "bias": False},
        "decoder": {"grid": 4},
    },
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_parts_save_load_and_compose(parts, tmp_path, rng):
    model, x = net(**parts), torch.randn(2, 5, 6, generator=rng)
    assert torch.equal(model(x), model.decoder(model.core(model.encoder(x))))
    assert model(x).shape == (2, 5, 4)
    model.save(tmp_path / "m")
    for loaded in (JHCGNet.load(tmp_path / "m"), qkan.load(tmp_path / "m")):
        assert type(loaded) is JHCGNet
        assert torch.equal(loaded(x), model(x))


def test_parts_may_be_modules_and_functions(rng, tmp_path):
    model = net(core=KAN([3, 5, 2], seed=0), encoder=lambda n, m: nn.Sequential(nn.Linear(n, m), nn.Tanh()))
    assert isinstance(model.core, KAN)
    assert model(torch.randn(5, 6, generator=rng)).shape == (5, 4)
    with pytest.raises(ModelFileError, match="the core was given as a KAN, which cannot be written down"):
        model.save(tmp_path / "m")
    with pytest.raises(ShapeError, match="the core has out_features=3, but its place needs 2"):
        net(core=KANLayer(3, 3))
    with pytest.raises(OptionError, match="core=7 must be"):
        net(core=7)


def test_longer_cores(rng):
    model = HQKAN(6, 4, latent=(3, 5, 2), reps=1, seed=0)
    assert [type(layer) for layer in model.core] == [KANLayer, KANLayer]
    assert model(torch.randn(5, 6, generator=rng)).shape == (5, 4)


def test_hqkan_saves_trains_and_predicts(tmp_path, rng):
    model = HQKAN(6, 2, reps=1, groups=2, scale=False, linear_bias=False, seed=3)
    assert model.encoder.bias is None
    x = torch.randn(40, 6, generator=rng)
    y = x[:, :2].sin()
    history = model.fit((x, y), steps=30, progress=False)
    assert history["train_loss"][-1] < history["train_loss"][0]
    model.save(tmp_path / "m")
    loaded = HQKAN.load(tmp_path / "m")
    assert torch.equal(loaded.predict(x), model.predict(x))
    assert qkan.count(loaded).trainable == qkan.count(model).trainable
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_gradients(rng):
    model = HQKAN(3, 2, reps=2, seed=0).double()
    x = torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    names, values = zip(*model.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(
        lambda x, *p: torch.func.functional_call(model, dict(zip(names, p, strict=True)), (x,)), (x, *values)
    )


def test_seeds_decide_and_leave_global_state_alone():
    before = torch.get_rng_state()
    one, same, other = (HQKAN(6, 4, seed=seed).state_dict() for seed in (5, 5, 6))
    HQKAN(6, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in ("encoder.weight", "decoder.bias"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: HQKAN(0, 4), "in_features=0 must be a whole number of at least 1"),
        (lambda: HQKAN(4, 4, latent=0), "latent=0 must be a whole number"),
        (lambda: HQKAN(4, 4, latent=(3,)), "at least an input and an output width"),
        (lambda: HQKAN(4, 4, latent="ab"), "latent='ab' must be a width"),
        (lambda: HQKAN(4, 4, repz=1), "has no option 'repz'; its options are reps"),
        (lambda: HQKAN(4, 4, basis="fourier"), "use JHCGNet for others"),
        (lambda: net(encoder={"basis": "linear", "base": None}), "a linear map has no option 'base'"),
        (lambda: net(core="nothing"), "basis='nothing' is not known"),
    ],
)
def test_bad_options_are_one_sentence(make, sentence):
    with pytest.raises(OptionError, match=sentence):
        make()
