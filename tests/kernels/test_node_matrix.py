"""A layer of circuits as a matrix: compiled against plain PyTorch in float64."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import TOLERANCE, relative, uniform

from qkan import KANLayer
from qkan.circuits import daruan
from qkan.errors import OptionError
from qkan.kernels import node_matrix, node_ops, program

RECIPES = {"unit": [1, 1], "ternary": [1, 3], "torus": None}


def case(m, n, groups, weighted, based, biased):
    count = daruan(2, "pz").num_parameters
    theta = uniform((m, n, count) if groups is None else (groups, count), 1, 3.0)
    edges = [uniform((m, n), seed) if given else None for seed, given in ((2, weighted), (3, based))]
    return [theta, *edges, uniform((m,), 4) if biased else None]


def reference(tensors, shape, recipe):
    return node_matrix.from_coefficients(node_ops.coefficients_reference(tensors[0], recipe), *tensors[1:], shape)


@pytest.mark.parametrize(
    "given", [(True, True, True), (False, True, False), (True, False, True), (False, False, False)]
)
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (17, 3), (4, 33)])
def test_values_and_gradients(m, n, kind, groups, given):
    recipe = node_ops.recipe(program.encode(daruan(2, "pz").gates), RECIPES[kind], 2)
    tensors = case(m, n, groups, *given)
    size = len(node_ops.tables(recipe).transform) - 1 + given[1]
    upstream = uniform((size, n, m), 7), uniform((m,), 8)

    def outcome(function, tensors):
        leaves = [None if tensor is None else tensor.requires_grad_() for tensor in tensors]
        made = function(leaves)
        wanted = [leaf for leaf in leaves if leaf is not None]
        grads = torch.autograd.grad(made, wanted, [grad.to(made[0].dtype) for grad in upstream])
        return [*made, *grads]

    exact = [None if tensor is None else tensor.double() for tensor in tensors]
    expected = outcome(lambda leaves: reference(leaves, (m, n), recipe), exact)
    found = outcome(lambda leaves: node_matrix.NodeMatrix.apply(*leaves, (m, n), recipe), tensors)
    for mine, true in zip(found, expected, strict=True):
        assert relative(mine, true) < TOLERANCE


def test_gradients_of_gradients_go_through_the_reference():
    recipe = node_ops.recipe(program.encode(daruan(2, "pz").gates), [1, 1], 2)
    tensors = case(4, 3, None, True, True, True)

    def second(function):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        total = sum(part.square().sum() for part in function(leaves))
        first = torch.autograd.grad(total, leaves, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in first), leaves)

    pair = (
        second(lambda leaves: node_matrix.NodeMatrix.apply(*leaves, (4, 3), recipe)),
        second(lambda leaves: reference(leaves, (4, 3), recipe)),
    )
    for found, expected in zip(*pair, strict=True):
        assert relative(found, expected.double()) < 1e-5


@pytest.mark.parametrize("options", [{}, {"base": None}, {"scale": False, "bias": False}, {"groups": 2}])
def test_the_matrix_of_a_layer_gives_its_output(options):
    layer, x = KANLayer(4, 3, reps=2, seed=0, **options), uniform((5, 4), 1, 2.0)
    mask = torch.ones(3, 4)
    mask[1, 2] = 0
    layer.set_mask(mask)
    matrix, bias = layer.matrix()
    columns = layer.features(x)[..., 1:]
    torch.testing.assert_close(torch.einsum("bnk,knm->bm", columns, matrix) + bias, layer(x), rtol=1e-5, atol=1e-6)
    product = layer.features(x).flatten(-2) @ layer.coefficients().flatten(-2).T
    product = product if layer.bias is None else product + layer.bias
    torch.testing.assert_close(product, layer(x), rtol=1e-5, atol=1e-6)


def test_layers_without_such_a_matrix_say_so():
    with pytest.raises(OptionError, match="only a layer of DARUAN circuits has such a matrix, not one of basis 'rbf'"):
        KANLayer(2, 2, "rbf").matrix()
    with pytest.raises(OptionError, match="'daruan' with these options is not features times coefficients"):
        KANLayer(2, 2, encoding="edge").coefficients()
