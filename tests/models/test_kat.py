"""Kolmogorov-Arnold transformers: size, patches, initial weights, learning, saving."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import qkan
from qkan.errors import OptionError, ShapeError
from qkan.layers import GroupKANLayer
from qkan.models import KATBlock, ViT
from qkan.models.kat import feed_forward

SMALL = {"image_size": 8, "patch_size": 2, "in_channels": 1, "n_classes": 10, "width": 16, "depth": 2, "heads": 2}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def expected_size(width, depth, length, patch, classes, activations, ratio=4, attention=0):
    """Linear maps and norms of a vision transformer; ``activations`` and ``attention`` are extra in every block."""
    block = 2 * 2 * width + 4 * width**2 + 4 * width + 2 * ratio * width**2 + (ratio + 1) * width
    ends = patch * width + width + length * width + 2 * width + width * classes + classes
    return ends + depth * (block + activations + attention)


@pytest.mark.parametrize(("mlp", "activations"), [("kat", 2 * 38), ("mlp", 0)])
def test_the_number_of_parameters(mlp, activations):
    assert size(ViT(**SMALL, mlp=mlp, seed=0)) == expected_size(16, 2, 16, 4, 10, activations)
    # ViT-Tiny at 224 x 224 without a class token; published with one, 5.7 M.
    assert expected_size(192, 12, 196, 768, 1000, activations) == pytest.approx(5.7e6, rel=0.01)


def test_the_number_of_parameters_of_fourier_attention():
    edges = 16 * 12 * 2
    functions = 9 * edges + 12 * 2
    own = ViT(**SMALL, attention="fourier", seed=0)
    shared = ViT(**SMALL, attention="fourier", sharing="universal", seed=0)
    plain = size(ViT(**SMALL, seed=0))
    assert size(own) == plain + 2 * functions
    assert size(shared) == plain + functions


def test_patches_are_those_of_a_convolution():
    model = ViT(6, 3, 2, width=8, depth=1, heads=1, seed=0)
    images = normal(4, 2, 6, 6)
    kernel = model.patches.weight.view(8, 2, 3, 3)
    expected = nn.functional.conv2d(images, kernel, model.patches.bias, stride=3).flatten(2).mT
    assert_close(model.patches(model._cut(images)), expected)
    assert_close(model(images.flatten(1)), model(images), rtol=0, atol=0)


def test_a_block_is_what_its_formula_says():
    block = KATBlock(16, 2, seed=0)
    x = normal(3, 5, 16)
    norms = [nn.functional.layer_norm(v, (16,)) for v in (x,)]
    middle = x + block.attention(norms[0])
    expected = middle + block.mlp[1](block.mlp[0](nn.functional.layer_norm(middle, (16,))))
    assert_close(block(x), expected)
    assert [layer.activation.start for layer in block.mlp] == ["identity", "silu"]


def test_the_initial_weights_of_the_layers_survive_building_the_model():
    """In the public code a second initialisation overwrites the variance-preserving one."""
    model = ViT(8, 2, 1, width=64, depth=2, heads=2, seed=0)
    for block in model.blocks:
        for layer, gain in zip(block.mlp, (1.0, 2.8114), strict=True):
            assert isinstance(layer, GroupKANLayer)
            assert float(layer.linear.weight.detach().var()) * layer.in_features == pytest.approx(gain, rel=0.05)
            assert (layer.linear.bias == 0).all()
        assert float(block.mlp(normal(500, 64)).detach().std()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("mlp", ["kat", "mlp", "bspline", "daruan"])
def test_every_kind_of_layers(mlp):
    model = ViT(**SMALL, mlp=mlp, ratio=2, seed=0)
    loss = nn.functional.cross_entropy(model(normal(3, 1, 8, 8)), torch.tensor([0, 4, 9]))
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mlp": "fourier", "layers": {"degree": 2}, "n_classes": 2},
        {"attention": "fourier", "scores": {"rank": 3, "basis": "bspline", "fallback": True}},
        {"attention": "fourier", "sharing": "universal", "scores": {"normaliser": "softmax"}},
    ],
    ids=str,
)
def test_saving(options, tmp_path):
    model = ViT(**{**SMALL, **options}, seed=0).eval()
    x = normal(3, 1, 8, 8)
    model.save(tmp_path / "m")
    again = qkan.load(tmp_path / "m").eval()
    assert isinstance(again, ViT)
    assert torch.equal(again(x), model(x))
    assert again.config() == model.config()
    assert model(x).shape == (3, model.out_features)


def test_seeds_decide_and_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    x = normal(2, 64)
    one, same, other = (ViT(**SMALL, attention="fourier", seed=seed)(x) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def digits() -> tuple[torch.Tensor, ...]:
    """Scikit-learn's digits, 8 x 8 pixels, a quarter of each class held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    x, held_x, y, held_y = train_test_split(found.data / 8 - 1, found.target, stratify=found.target, random_state=0)
    return tuple(torch.as_tensor(part) for part in (x, y, held_x, held_y))


def accuracy(**options) -> float:
    x, y, held_x, held_y = digits()
    model = ViT(**{**SMALL, "width": 32, "heads": 4}, **options, seed=0)
    loss = nn.functional.cross_entropy
    model.fit((x, y), loss_fn=loss, batch=64, steps=200, lr=3e-3, seed=0, progress=False)
    return float((model.predict(held_x).argmax(-1) == held_y).float().mean())


@pytest.mark.parametrize("mlp", ["kat", "mlp"])
def test_it_learns_the_digits(mlp):
    assert accuracy(mlp=mlp) > 0.9  # 0.940 and 0.956; 0.1 is chance


def test_it_learns_the_digits_with_fourier_attention():
    assert accuracy(attention="fourier", scores={"normaliser": "softmax"}) > 0.9


def test_mistakes():
    with pytest.raises(OptionError, match="patch_size=3 must divide image_size=8"):
        ViT(8, 3)
    with pytest.raises(OptionError, match=r"mlp='gpt' .* 'kat', 'mlp'"):
        ViT(8, 2, width=16, heads=2, mlp="gpt")
    with pytest.raises(OptionError, match="attention='linear'"):
        KATBlock(16, 2, "linear")
    with pytest.raises(OptionError, match="needs the length"):
        KATBlock(16, 2, "fourier")
    with pytest.raises(OptionError, match="softmax has none"):
        KATBlock(16, 2, scores={"rank": 3})
    with pytest.raises(OptionError, match="softmax has none"):
        ViT(8, 2, width=16, heads=2, sharing="universal")
    with pytest.raises(OptionError, match="has no options"):
        feed_forward("mlp", 8, 16, groups=4)
    with pytest.raises(ShapeError, match=r"\(3, 1, 8, 9\) must be images \(B, 1, 8, 8\) or rows \(B, 64\)"):
        ViT(**SMALL, seed=0)(torch.zeros(3, 1, 8, 9))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": {"foo": 1}}, "layers='foo' is not known"),
        ({"layers": {"seed": 3}}, "layers must not name a seed"),
        ({"scores": {"seed": 1}, "attention": "fourier", "length": 4}, "scores must not name a seed"),
    ],
)
def test_options_of_the_parts_are_checked(options, sentence):
    with pytest.raises(OptionError, match=sentence):
        KATBlock(8, 2, **options)
