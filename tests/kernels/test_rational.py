"""Rational functions of groups: the definition, and the compiled operator against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_cases import TOLERANCE, poisoned, relative, uniform
from rational_cases import CASES, exact_rational, rational_case

import qkan
from qkan.kernels import dispatch, explain, rational_ops
from qkan.kernels.rational import group_rational, limit
from qkan.layers import GroupRational


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def by_powers(x, numerator, denominator, form):
    """Number by number, in NumPy."""
    out = np.empty(x.shape)
    for place, z in np.ndenumerate(x):
        group = place[-1] * len(denominator) // x.shape[-1]
        a, b = numerator[group % len(numerator)], denominator[group]
        terms = [b[j] * z ** (j + 1) for j in range(len(b))]
        size = sum(map(abs, terms)) if form == "A" else abs(sum(terms))
        out[place] = sum(a[k] * z**k for k in range(len(a))) / (1 + size)
    return out


@pytest.mark.parametrize("form", ["A", "B"])
def test_the_definition(form):
    case = [tensor.double() for tensor in rational_case(7, 6, 3, False, (5, 4))]
    expected = by_powers(*(tensor.numpy() for tensor in case), form)
    np.testing.assert_allclose(group_rational(*case, form).numpy(), expected, rtol=1e-12, atol=1e-13)
    assert group_rational(*[case[0].view(7, 1, 6), *case[1:]], form).shape == (7, 1, 6)


@pytest.mark.parametrize("form", ["A", "B"])
def test_gradients_of_the_definition(form):
    case = [tensor.double() for tensor in rational_case(5, 6, 3, False, (5, 4))]
    case[0][0, 0], case[2][0, 0] = 0.3, 0.2  # away from kinks
    leaves = [tensor.requires_grad_() for tensor in case]
    assert torch.autograd.gradcheck(lambda *t: group_rational(*t, form), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: group_rational(*t, form), leaves)


@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_every_gradient(case, form, threads):
    tensors = rational_case(*case)
    grad = uniform(tuple(tensors[0].shape), 9)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    y = rational_ops.rational(*leaves, form)
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    for mine, exact in zip(found, exact_rational(tensors, form, grad), strict=True):
        assert relative(mine, exact) < TOLERANCE


@pytest.mark.parametrize("parallel", [0, 1])
def test_every_output_is_written(parallel):
    from qkan.kernels import rational_cpu

    x, a, b = rational_case(997, 33, 3, False, (5, 4))
    grad = uniform((997, 33), 9)
    options = (997, 3, 11), np.float32(limit(a, b)), (0,), (0,) * 6, (0,) * 4
    inputs, tables = x.numpy().reshape(-1), (a.numpy(), b.abs().numpy())
    out, slope, sums = poisoned(x.numel()), poisoned(x.numel()), np.full((2, 3, 10), np.nan)
    assert x.numel() // 3 > rational_cpu.BLOCK
    rational_cpu.RATIONAL[parallel](inputs, *tables, out, *options)
    rational_cpu.RATIONAL_BACKWARD[parallel](grad.numpy().reshape(-1), inputs, *tables, slope, sums, *options)
    exact = exact_rational([x, a, b], "A", grad)
    by_coefficients = torch.cat([exact[2], exact[3] * torch.where(b >= 0, 1, -1)], 1)
    found = out.reshape(997, 33), slope.reshape(997, 33), sums.sum(0)
    for mine, its in zip(found, (*exact[:2], by_coefficients), strict=True):
        assert relative(mine, its) < TOLERANCE


def test_the_number_of_threads_does_not_change_a_bit():
    tensors = rational_case(3000, 16, 2, True, (5, 4))
    grad, found, before = uniform((3000, 16), 9), [], torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(rational_ops.rational_backward(grad, *tensors, "A"))
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    x, a, b = rational_case(200, 12, 3, True, (5, 4))
    x, grad = (3 * x).to(dtype), uniform((200, 12), 9).to(dtype)  # x^5 is far beyond what float16 holds
    leaves = [x.requires_grad_(), a.requires_grad_(), b.requires_grad_()]
    exact = exact_rational(leaves, "A", grad)
    for route in (rational_ops.rational, group_rational):
        y = route(*leaves, "A")
        found = [y, *torch.autograd.grad(y, leaves, grad)]
        assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32, torch.float32]
        torch.testing.assert_close(found[0].double(), exact[0], rtol=torch.finfo(dtype).eps, atol=1e-6)
        torch.testing.assert_close(found[1].double(), exact[1], rtol=torch.finfo(dtype).eps, atol=1e-6)
        assert max(relative(mine, its) for mine, its in zip(found[2:], exact[2:], strict=True)) < TOLERANCE


@pytest.mark.parametrize("form", ["A", "B"])
def test_gradients_of_gradients(form):
    case, found = rational_case(20, 6, 2, True, (5, 4)), []
    for route in (rational_ops.rational, group_rational):
        leaves = [tensor.clone().requires_grad_() for tensor in case]
        slopes = torch.autograd.grad(route(*leaves, form).square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), leaves))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["A", "B"])
def test_far_and_non_finite_numbers(form):
    _, a, b = rational_case(1, 1, 1, True, (5, 4))
    x = torch.tensor([[float("nan")], [float("inf")], [-float("inf")], [1e30], [-2e6], [0.0]])
    found = []
    for route in (rational_ops.rational, group_rational):
        leaf = x.clone().requires_grad_()
        y = route(leaf, a, b, form)
        found.append((y.detach(), torch.autograd.grad(y.sum(), leaf)[0]))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, equal_nan=True)
    y, slope = found[0]
    assert y[0].isnan()
    assert y[1:].isfinite().all()
    assert (slope[1:5] == 0).all()


def test_strided_expanded_and_empty_inputs():
    x, a, b = rational_case(8, 6, 2, True, (5, 4))
    plain = rational_ops.rational(x, a, b, "A")
    assert torch.equal(rational_ops.rational(x.t().contiguous().t(), a, b, "A"), plain)
    assert torch.equal(rational_ops.rational(x[:1].expand(8, 6), a, b, "A")[7], plain[0])
    assert torch.equal(rational_ops.rational(x.view(2, 4, 6), a, b, "A"), plain.view(2, 4, 6))
    leaves = [x[:0].requires_grad_(), a.requires_grad_(), b.requires_grad_()]
    y = rational_ops.rational(*leaves, "A")
    gradients = torch.autograd.grad(y.sum(), leaves)
    assert y.shape == gradients[0].shape == (0, 6)
    assert all((gradient == 0).all() for gradient in gradients[1:])


@pytest.mark.parametrize("shared", [True, False])
def test_the_operator_is_registered_as_pytorch_wants_it(shared):
    case = [tensor.requires_grad_() for tensor in rational_case(5, 6, 2, shared, (5, 4))]
    torch.library.opcheck(rational_ops.rational, (*case, "A"))
    inputs = [tensor.detach() for tensor in (uniform((5, 6), 9), *case)]
    torch.library.opcheck(rational_ops.rational_backward, (*inputs, "A"))


def test_a_compiled_module_takes_the_operator():
    module = GroupRational(64, groups=4)
    x = uniform((300, 64), 1, 3.0)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    leaves = [*module.parameters()]
    for mine, its in zip(
        torch.autograd.grad(compiled(x).square().sum(), leaves),
        torch.autograd.grad(module(x).square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(mine, its)


def test_what_is_compiled(monkeypatch):
    module = GroupRational(64, groups=4)
    many, few = torch.zeros(300, 64), torch.zeros(3, 64)
    assert explain(module, many).endswith("rational functions of groups; computed by a compiled kernel")
    assert "192 numbers are fewer than" in explain(module, few)
    assert "computed exactly, by the reference" in explain(module, many.double())
    layer = qkan.KANLayer(64, 3, "rational", seed=0)
    assert "rational features times coefficients; computed by a compiled kernel" in explain(layer, many)
    assert "rational" in module(many).grad_fn.name()
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert "QKAN_KERNELS=reference" in explain(module, many)
    monkeypatch.undo()
    torch.func.jvp(lambda v: dispatch.group_rational(v, *module.parameters(), "A"), (many,), (many,))
