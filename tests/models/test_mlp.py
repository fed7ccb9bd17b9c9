"""The perceptron with fixed and with learned activations."""

import pytest
import torch
from torch import nn

import qkan
from qkan.errors import OptionError
from qkan.models import MLP


@pytest.mark.parametrize("activation", ["silu", "tanh", "bspline"])
def test_shapes_seeds_and_saving(activation, tmp_path):
    model = MLP([3, 5, 4, 2], activation, seed=0)
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert model(x.reshape(7, 1, 3)).shape == (7, 1, 2)
    assert torch.equal(model(x), MLP([3, 5, 4, 2], activation, seed=0)(x))
    assert not torch.equal(model(x), MLP([3, 5, 4, 2], activation, seed=1)(x))
    model.fit((x, x[:, :2]), steps=2, progress=False)
    model.save(tmp_path / "model")
    assert torch.equal(qkan.load(tmp_path / "model")(x), model(x))


def test_it_is_a_chain_of_linear_maps_and_activations():
    model = MLP([2, 4, 3, 1], "silu", seed=0)
    first, second, last = model.linears
    chain = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), chain(x))


def test_learned_activations_start_as_silu_and_are_learned_unit_by_unit():
    """A spline of each unit: nearly the MLP with SiLU at first, and its gradient is its own."""
    learned, fixed = (MLP([2, 4, 1], activation, seed=0) for activation in ("bspline", "silu"))
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(learned(x), fixed(x), atol=0.02, rtol=0)
    activation = learned.activations[0]
    inside = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    gradient = torch.autograd.grad(activation(inside)[:, 1].sum(), activation.basis.coef)[0]
    assert gradient[0, 1].abs().sum() > 0
    assert gradient[0, [0, 2, 3]].abs().sum() == 0


def test_learned_activations_differentiate():
    model = MLP([2, 3, 1], "bspline", grid=4, seed=0).double()
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(model, (x,))


def test_mistakes():
    with pytest.raises(OptionError, match="activation='selu' is not known"):
        MLP([2, 1], "selu")
    with pytest.raises(OptionError, match="must list at least an input and an output size"):
        MLP([2])
    with pytest.raises(OptionError, match="grid=0"):
        MLP([2, 2, 1], "bspline", grid=0)
