"""Recurrent layers and dropout without global randomness."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from qkan.errors import OptionError, ShapeError
from qkan.kernels import lstm_ops
from qkan.layers.dropout import Dropout
from qkan.layers.recurrent import Recurrent


def cells(layer: Recurrent, x: torch.Tensor, act) -> torch.Tensor:
    """The definition, one direction and one step after the other."""
    found = []
    for suffix in ("l0", "l0_reverse")[: layer.directions]:
        weight, recurrent, bias = (getattr(layer.lstm, f"{n}_{suffix}") for n in ("weight_ih", "weight_hh", "bias_ih"))
        steps = list(x.unbind(1)) if suffix == "l0" else list(x.unbind(1))[::-1]
        h = c = x.new_zeros(len(x), layer.units)
        outputs = []
        for step in steps:
            i, f, g, o = (step @ weight.T + h @ recurrent.T + bias).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * act(g)
            h = o.sigmoid() * act(c)
            outputs.append(h)
        found.append(torch.stack(outputs if suffix == "l0" else outputs[::-1], 1))
    return torch.cat(found, -1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("shape", [(3, 5, 2), (1, 1, 1), (4, 12, 6)], ids=str)
def test_equals_the_definition(activation, bidirectional, shape):
    layer = Recurrent(shape[2], 3, bidirectional=bidirectional, activation=activation, seed=0).double()
    with torch.no_grad():
        for name, bias in layer.lstm.named_parameters():
            if name.startswith("bias_ih"):
                bias.add_(torch.linspace(-1, 1, len(bias)))
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    wanted = cells(layer, x, getattr(torch, activation))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)
    trained = [p for p in layer.parameters() if p.requires_grad]
    weight = torch.randn(wanted.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mine = torch.autograd.grad((layer(x) * weight).sum(), (x, *trained), allow_unused=True, materialize_grads=True)
    its = torch.autograd.grad((wanted * weight).sum(), (x, *trained))
    for a, b in zip(mine, its, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    plain = lstm_ops.reference(x.transpose(0, 1), activation, *layer._weights()).transpose(0, 1)
    torch.testing.assert_close(plain, wanted, rtol=0, atol=1e-12)


def test_one_bias_per_gate_is_trained():
    layer = Recurrent(1, 64, seed=0)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 33_792
    frozen = {name for name, p in layer.lstm.named_parameters() if not p.requires_grad}
    assert frozen == {"bias_hh_l0", "bias_hh_l0_reverse"}
    assert all(not getattr(layer.lstm, name).any() for name in frozen)
    assert torch.equal(layer.lstm.bias_ih_l0[64:128], torch.ones(64))


def test_seeds_are_local():
    state = torch.get_rng_state()
    one, two, other = (Recurrent(2, 3, seed=seed) for seed in (5, 5, 6))
    drop = Dropout(0.5, seed=3)
    x = torch.ones(4, 50)
    first = drop(x)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.lstm.weight_hh_l0, two.lstm.weight_hh_l0)
    assert not torch.equal(one.lstm.weight_hh_l0, other.lstm.weight_hh_l0)
    assert torch.equal(first, Dropout(0.5, seed=3)(x))
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, drop(x))
    for twin in (copy.deepcopy(drop), pickle.loads(pickle.dumps(drop))):
        assert torch.equal(twin(x), copy.deepcopy(drop)(x))
    assert torch.equal(drop.eval()(x), x)
    assert abs(Dropout(0.2, seed=0)(torch.ones(10_000)).mean().item() - 1) < 0.02


def test_mistakes():
    with pytest.raises(OptionError, match="activation='gelu' is not known"):
        Recurrent(1, 2, activation="gelu")
    with pytest.raises(OptionError, match="units=0"):
        Recurrent(1, 0)
    with pytest.raises(ShapeError, match=r"must be \(rows, steps, 2\)"):
        Recurrent(2, 2, seed=0)(torch.zeros(3, 2))
    for share in (1, -0.1, "half", True):
        with pytest.raises(OptionError, match="dropout="):
            Dropout(share)
