"""Attention by trained functions of the scores: values, rows, parameters, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from qkan.errors import OptionError, ShapeError
from qkan.layers import ScoreFunctions, SelfAttention
from qkan.layers.attention import project_to_simplex


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensors(length: int = 5, heads: int = 2, size: int = 3) -> list[torch.Tensor]:
    return [normal(4, heads, length, size, seed=seed) for seed in range(3)]


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("length", [5, 197])
def test_the_number_of_parameters(length):
    heads, rank, degree = 3, 12, 3
    edges = length * rank * heads
    bare = ScoreFunctions(length, heads, rank, degree=degree, base=None, scale=False, bias=False, seed=0)
    assert size(bare) == 2 * degree * edges + edges  # Φ of the publication, and W
    assert size(ScoreFunctions(length, heads, seed=0)) == (2 * degree + 3) * edges + rank * heads
    assert size(ScoreFunctions(length, heads, fallback=True, seed=0)) == (2 * degree + 3) * edges + rank * heads + 6


def test_values_against_the_formula():
    functions = ScoreFunctions(5, 2, 4, degree=2, base=None, scale=False, bias=False, seed=0).double()
    queries, keys, values = tensors()
    scores = queries @ keys.mT / math.sqrt(3)
    expected = torch.empty(4, 2, 5, 3, dtype=torch.float64)
    for head in range(2):
        coef = functions.functions[head].basis.coef  # (r, N, 4): cos a, cos 2a, sin a, sin 2a
        for row in range(5):
            a = scores[:, head, row]
            waves = torch.stack([a.cos(), (2 * a).cos(), a.sin(), (2 * a).sin()], -1)
            reduced = torch.einsum("bnk,rnk->br", waves, coef)
            weights = reduced @ functions.weight[head].mT
            expected[:, head, row] = torch.einsum("bn,bnd->bd", weights, values[:, head])
    assert_close(functions(queries, keys, values), expected.detach(), rtol=1e-10, atol=1e-10, check_dtype=False)
    assert_close(functions.weights(scores) @ values, expected.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("normaliser", [None, "softmax", "simplex"])
@pytest.mark.parametrize("recompute", [False, True])
def test_options_agree_with_the_weights(normaliser, recompute):
    functions = ScoreFunctions(5, 2, 4, normaliser=normaliser, recompute=recompute, seed=0).double()
    queries, keys, values = tensors()
    weights = functions.weights(queries @ keys.mT / math.sqrt(3))
    assert_close(functions(queries, keys, values), weights @ values)
    if normaliser is not None:
        assert_close(weights.sum(-1), torch.ones(4, 2, 5, dtype=torch.float64))
        assert (weights >= 0).all()


@pytest.mark.parametrize("normaliser", [None, "softmax", "simplex"])
def test_rows_do_not_depend_on_each_other(normaliser):
    functions = ScoreFunctions(5, 2, 4, normaliser=normaliser, seed=0).double()
    scores, others = normal(4, 2, 5, 5), normal(4, 2, 5, 5, seed=1)
    others[2, 1, 3] = scores[2, 1, 3]
    assert_close(functions.weights(others)[2, 1, 3], functions.weights(scores)[2, 1, 3], rtol=0, atol=1e-14)
    assert not torch.allclose(functions.weights(others)[2, 0], functions.weights(scores)[2, 0])


@pytest.mark.parametrize("normaliser", [None, "softmax", "simplex"])
@pytest.mark.parametrize("fallback", [False, True])
def test_gradients(normaliser, fallback):
    functions = ScoreFunctions(3, 2, 2, degree=2, normaliser=normaliser, fallback=fallback, seed=0).double()
    names, values = zip(*functions.named_parameters(), strict=True)

    def run(*leaves):
        parameters = dict(zip(names, leaves[3:], strict=True))
        return torch.func.functional_call(functions, parameters, leaves[:3])

    leaves = [*(normal(2, 2, 3, 2, seed=seed).requires_grad_() for seed in range(3))]
    leaves += [value.detach().clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(run, leaves)


def test_recomputing_changes_no_gradient():
    found = []
    for recompute in (False, True):
        functions = ScoreFunctions(5, 2, 4, recompute=recompute, seed=0).double()
        queries, *rest = tensors()
        queries.requires_grad_()
        functions(queries, *rest).square().sum().backward()
        found.append([queries.grad, *(parameter.grad for parameter in functions.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_fallback_is_softmax_where_the_gate_is_closed():
    functions = ScoreFunctions(5, 2, 4, fallback=True, seed=0).double()
    usual = torch.nn.functional.scaled_dot_product_attention
    queries, keys, values = tensors()
    alone = ScoreFunctions(5, 2, 4, seed=0).double()(queries, keys, values)
    mixed = functions(queries, keys, values)
    assert_close(mixed, (alone + usual(queries, keys, values)) / 2)
    with torch.no_grad():
        functions.gate.fill_(-100)
        functions.log_temperature.fill_(math.log(2))
    assert_close(functions(queries, keys, values), usual(2 * queries, keys, values))


def test_the_size_of_the_output_does_not_depend_on_length_and_rank():
    for length, rank in ((8, 4), (64, 12)):
        parts = [torch.randn(6, 2, length, 8, generator=torch.Generator().manual_seed(k)) for k in range(3)]
        found = torch.stack([ScoreFunctions(length, 2, rank, seed=seed)(*parts).std() for seed in range(5)])
        assert 0.8 < float(found.detach().mean()) < 1.2


@pytest.mark.parametrize("basis", ["daruan", "bspline", "rational"])
def test_any_basis(basis):
    functions = ScoreFunctions(5, 2, 3, basis, seed=0)
    found = functions(*(part.float() for part in tensors()))
    gradients = torch.autograd.grad(found.square().sum(), list(functions.parameters()))
    assert found.shape == (4, 2, 5, 3)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_projection_to_the_simplex():
    rows = 2 * normal(50, 7)
    found = project_to_simplex(rows)
    assert_close(found.sum(-1), torch.ones(50, dtype=torch.float64))
    for other in torch.softmax(3 * normal(20, 7, seed=1), -1):  # no probabilities are nearer
        assert ((rows - found).norm(dim=-1) <= (rows - other).norm(dim=-1)).all()
    assert_close(project_to_simplex(found), found)


def test_self_attention_is_that_of_pytorch():
    mine = SelfAttention(8, 2, seed=0).double()
    its = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        its.in_proj_weight.copy_(mine.inputs.weight)
        its.in_proj_bias.copy_(mine.inputs.bias)
        its.out_proj.weight.copy_(mine.output.weight)
        its.out_proj.bias.copy_(mine.output.bias)
    x = normal(3, 5, 8)
    assert_close(mine(x), its(x, x, x, need_weights=False)[0])


def test_functions_of_ones_own_and_shared_ones():
    functions = ScoreFunctions(5, 2, seed=0)
    own, bare = SelfAttention(8, 2, functions, seed=1), SelfAttention(8, 2, seed=1)
    x = normal(3, 5, 8).float()
    assert_close(own(x), bare(x, functions), rtol=0, atol=0)
    assert not torch.allclose(own(x), bare(x))


def test_mistakes():
    with pytest.raises(OptionError, match="heads=3 must divide width=8"):
        SelfAttention(8, 3)
    with pytest.raises(OptionError, match="normaliser='l1'"):
        ScoreFunctions(5, normaliser="l1")
    with pytest.raises(OptionError, match="no option 'grid'"):
        ScoreFunctions(5, grid=3)
    functions = ScoreFunctions(5, 2, seed=0)
    with pytest.raises(ShapeError, match=r"\(4, 2, 6, 3\) must be \(B, 2, 5, d\)"):
        functions(*(part.float() for part in tensors(6)))
    with pytest.raises(ShapeError, match=r"must be \(B, N, 8\)"):
        SelfAttention(8, 2, seed=0)(torch.zeros(5, 8))


@pytest.mark.parametrize("row", [[1e8, 0.0], [-1e8, -1e8], [300.0, 299.0], [0.2, 0.3]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_any_size_are_projected(row, dtype):
    found = project_to_simplex(torch.tensor([row], dtype=dtype))
    assert found.dtype == dtype
    exact = project_to_simplex(torch.tensor([row], dtype=dtype).double())
    assert_close(found.double(), exact, rtol=0, atol=4e-3 if dtype == torch.bfloat16 else 1e-6)
    assert_close(exact.sum(-1), torch.ones(1, dtype=torch.float64))


def test_nan_stays_nan_in_the_projection():
    assert project_to_simplex(torch.tensor([[float("nan"), 0.0]])).isnan().any()
