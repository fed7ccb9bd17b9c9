"""CUDA kernels of rational functions by Triton's interpreter, against the definition and the CPU kernels.

Run by ``test_triton.py`` in a process of its own, because the interpreter is chosen when Triton is imported.
"""

from __future__ import annotations

import pytest
import torch
from kernel_cases import TOLERANCE, relative, uniform
from rational_cases import CASES, exact_rational, rational_case

from qkan.kernels import rational_ops, rational_triton


def on_device(grad, tensors, form):
    """Output and gradients as the operator puts them together on CUDA."""
    tables = rational_ops._tables(*tensors[1:], form)
    out = rational_triton.rational(tensors[0], *tables)
    slope, sums = rational_triton.rational_backward(grad, tensors[0], *tables)
    return [out, slope, *rational_ops._by_coefficients(sums, *tensors[1:], form)]


@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("case", [*CASES, (40, 300, 1, True, (5, 4))], ids=str)
def test_output_and_every_gradient(case, form):
    tensors = rational_case(*case)
    grad = uniform(tuple(tensors[0].shape), 9)
    found = on_device(grad, tensors, form)
    on_cpu = [rational_ops.rational(*tensors, form), *rational_ops.rational_backward(grad, *tensors, form)]
    for mine, exact, its in zip(found, exact_rational(tensors, form, grad), on_cpu, strict=True):
        assert relative(mine, exact) < TOLERANCE
        assert relative(mine, its) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype):
    x, a, b = rational_case(200, 12, 3, True, (5, 4))
    x, grad = (3 * x).to(dtype), uniform((200, 12), 9).to(dtype)
    found, exact = on_device(grad, [x, a, b], "A"), exact_rational([x, a, b], "A", grad)
    for mine, its in zip(found[:2], exact[:2], strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), its, rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert max(relative(mine, its) for mine, its in zip(found[2:], exact[2:], strict=True)) < TOLERANCE


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NumPy, in which the interpreter computes
@pytest.mark.parametrize("form", ["A", "B"])
def test_far_non_finite_and_no_numbers(form):
    _, a, b = rational_case(1, 1, 1, True, (5, 4))
    x = torch.tensor([[float("nan")], [float("inf")], [-float("inf")], [1e30], [-2e6], [0.0]])
    found = on_device(torch.ones_like(x), [x, a, b], form)
    torch.testing.assert_close(found[0], rational_ops.rational(x, a, b, form), equal_nan=True)
    assert (found[1][1:5] == 0).all()
    empty = on_device(torch.empty(0, 3), [torch.empty(0, 3), a, b], form)
    assert empty[0].shape == empty[1].shape == (0, 3)
    assert all((gradient == 0).all() for gradient in empty[2:])
