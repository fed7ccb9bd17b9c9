"""Feed-forward blocks of existing models are found, replaced and counted."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from torch import nn

import qkan
from qkan.errors import OptionError, ShapeError


def hqkan(n: int, m: int) -> qkan.HQKAN:
    return qkan.HQKAN(n, m, reps=1, seed=0)


def encoder(**options) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, dropout=0.1, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2)


@pytest.mark.parametrize("padding", [False, True], ids=["full", "padded"])
def test_the_fast_path_of_inference_does_not_bypass_the_new_block(padding, rng):
    """In evaluation mode PyTorch computes such a layer from the weights of linear1; it must not do so any more."""
    model = encoder().eval()
    report = qkan.replace_mlp(model, hqkan)
    assert report.names == ("layers.0", "layers.1")
    assert report.after == sum(p.numel() for p in model.parameters()) < report.before
    x = torch.randn(3, 5, 16, generator=rng)
    mask = torch.arange(5) >= torch.tensor([[5], [3], [2]]) if padding else None
    with torch.no_grad():
        found = model(x, src_key_padding_mask=mask)
        expected = x
        for layer in model.layers:
            attended = layer.self_attn(expected, expected, expected, key_padding_mask=mask, need_weights=False)[0]
            expected = layer.norm1(expected + attended)
            expected = layer.norm2(expected + layer.linear1(expected))
    kept = slice(None) if mask is None else ~mask
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-5, atol=1e-5)


def test_replaced_transformers_train_copy_and_keep_their_state(rng):
    model = encoder(activation="gelu")
    qkan.replace_mlp(model, hqkan)
    x = torch.randn(3, 5, 16, generator=rng)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    twin = encoder(activation="gelu")
    qkan.replace_mlp(twin, hqkan)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(x), model.eval()(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_decoder_layers():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    assert qkan.replace_mlp(model, hqkan).names == ("encoder.layers.0", "decoder.layers.0")
    assert model(torch.zeros(2, 3, 8), torch.zeros(2, 4, 8)).shape == (2, 4, 8)


def test_sequential_mlps():
    head = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 3), nn.Dropout(0.2))
    model = nn.Sequential(nn.Conv1d(2, 8, 3), nn.Flatten(-1), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), head)
    report = qkan.replace_mlp(model, hqkan)
    assert report.names == ("3",)
    assert [type(part).__name__ for part in head] == ["HQKAN", "Dropout"]
    assert head(torch.zeros(5, 8)).shape == (5, 3)
    before = 8 * 32 + 32 + 32 * 3 + 3
    assert report.before - report.after == before - qkan.count(head).trainable
    assert str(report).startswith("1 block replaced; ")


def test_predicate_chooses():
    model = encoder()
    report = qkan.replace_mlp(model, hqkan, lambda name, block: name.endswith("1"))
    assert report.names == ("layers.1",)
    assert isinstance(model.layers[0].linear1, nn.Linear)


def test_nothing_to_replace_and_wrong_widths():
    with pytest.raises(OptionError, match="no feed-forward block was found"):
        qkan.replace_mlp(nn.Linear(3, 3), hqkan)
    model = encoder()
    with pytest.raises(ShapeError, match=r"into \(1, 5\); it must return \(1, 16\)"):
        qkan.replace_mlp(model, lambda n, m: qkan.HQKAN(n, 5, seed=0))
    assert isinstance(model.layers[0].linear1, nn.Linear)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_gpt2():
    from transformers import GPT2Config, GPT2Model

    model = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=11, n_positions=8)).eval()
    report = qkan.replace_mlp(model, hqkan)
    assert report.names == ("h.0.mlp", "h.1.mlp")
    assert report.after < report.before
    assert model(torch.zeros(2, 5, dtype=torch.long)).last_hidden_state.shape == (2, 5, 16)
