"""An LSTM's whole sequence as one function against plain PyTorch, and where it is not taken."""

from __future__ import annotations

import pytest
import torch

from qkan.kernels import dispatch
from qkan.kernels.lstm_ops import Lstm, reference
from qkan.layers.recurrent import Recurrent


def drawn(steps: int, rows: int, n: int, units: int, directions: int) -> list[torch.Tensor]:
    """The input and the weights, small enough that ReLU cells do not grow without bound and errors with them."""
    local = torch.Generator().manual_seed(0)
    shapes = (4 * units, n), (4 * units, units), (4 * units,)
    x = torch.randn(steps, rows, n, generator=local)
    weights = [torch.randn(shape, generator=local) / shape[-1] ** 0.5 for _ in range(directions) for shape in shapes]
    return [tensor.requires_grad_() for tensor in (x, *weights)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 5), (12, 33, 7, 18)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("directions", [1, 2])
def test_outputs_and_gradients(directions, activation, shape, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, *weights = drawn(*shape, directions)
        wide, *its_weights = (tensor.detach().double().requires_grad_() for tensor in (x, *weights))
        found, wanted = Lstm.apply(x, activation, *weights), reference(wide, activation, *its_weights)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
        mine = torch.autograd.grad(found, (x, *weights), upstream)
        its = torch.autograd.grad(wanted, (wide, *its_weights), upstream.double(), materialize_grads=True)
        for a, b in zip(mine, its, strict=True):
            assert (a - b).abs().max() <= 5e-6 * b.abs().max() + 1e-6
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_reference_is_differentiated_rightly(activation):
    x, *weights = (tensor.detach().double().requires_grad_() for tensor in drawn(3, 2, 2, 2, 2))
    assert torch.autograd.gradcheck(lambda *tensors: reference(tensors[0], activation, *tensors[1:]), (x, *weights))


def test_gradients_of_gradients_and_of_some_inputs_only():
    x, *weights = drawn(4, 3, 2, 3, 2)
    found = []
    for layer in (Lstm.apply, reference):
        (slope,) = torch.autograd.grad(layer(x, "tanh", *weights).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (x, *weights)))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)
    (mine,) = torch.autograd.grad(Lstm.apply(x.detach(), "tanh", *weights).sum(), weights[1])
    (its,) = torch.autograd.grad(reference(x.detach(), "tanh", *weights).sum(), weights[1])
    torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_recurrent_layer_takes_it_and_keeps_its_function(activation):
    layer = Recurrent(5, 16, activation=activation, seed=0)
    x = torch.randn(20, 8, 5, generator=torch.Generator().manual_seed(1))
    found = layer(x)
    assert found.grad_fn.next_functions[0][0].name() == "LstmBackward"
    torch.testing.assert_close(found.double(), layer.double()(x.double()), rtol=1e-5, atol=1e-5)


def test_where_it_is_not_taken():
    x, *weights = drawn(6, 20, 5, 16, 2)
    assert dispatch.lstm(x, "relu", *weights).grad_fn.name() == "LstmBackward"
    assert dispatch.lstm(x[:, :1], "relu", *weights) is None
    assert dispatch.lstm(x.double(), "relu", *weights) is None
    with torch.autocast("cpu"):
        assert dispatch.lstm(x, "relu", *weights) is None
