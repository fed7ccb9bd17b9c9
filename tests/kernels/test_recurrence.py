"""The fused time loop against the plain one in float64: outputs, states and every gradient."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import TOLERANCE, relative, uniform

from qkan.kernels import recurrence_cpu, recurrence_layer_cpu, recurrence_ops
from qkan.kernels.recurrence_ops import Kind

# (A single number may lie so near zero that its relative error says nothing: three units at least.)
SHAPES = [(1, 1, 1, 3), (7, 10, 3, 5), (5, 67, 2, 8), (3, 33, 5, 17)]


def case(shape, kind: Kind, encoded: bool) -> list[torch.Tensor | None]:
    """x, h0, c0, matrix, bias and encode."""
    steps, batch, n, size = shape
    inputs = n if encoded else n + size
    return [
        uniform((steps, batch, n), 1, 2.0),
        uniform((batch, size), 2),
        uniform((batch, size), 3),
        uniform((kind.features, inputs, 4 * size), 4, inputs**-0.5 / kind.degree),  # more is chaotic in any float32
        uniform((4 * size,), 5, 0.3),
        uniform((size, n), 6) if encoded else None,
    ]


def lengths_of(shape) -> torch.Tensor:
    return torch.arange(shape[1]) % shape[0] + 1


def outcome(function, tensors, upstream) -> list[torch.Tensor]:
    """Outputs, last states and gradients by all tensors."""
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in tensors]
    found = function(*leaves)
    given = [grad.to(found[0].dtype) for grad in upstream]
    wanted = [leaf for leaf in leaves if leaf is not None]
    grads = torch.autograd.grad(found, wanted, given, materialize_grads=True)
    return [*found, *grads]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("packed", [False, True], ids=["full", "packed"])
@pytest.mark.parametrize("encoded", [False, True], ids=["beside", "encoded"])
@pytest.mark.parametrize("kind", [Kind("lstm", 1, True), Kind("lstm", 6, False), Kind("gru", 3, True)], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, kind, encoded, packed, threads, monkeypatch):
    monkeypatch.setattr(recurrence_layer_cpu, "SERIAL_WORK", 0)
    tensors = case(shape, kind, encoded)
    lengths = lengths_of(shape) if packed else None
    steps, batch, _, size = shape
    upstream = [uniform((steps, batch, size), 7), uniform((batch, size), 8), uniform((batch, size), 9)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = outcome(lambda *leaves: recurrence_ops.run(*leaves, lengths, kind), tensors, upstream)
    finally:
        torch.set_num_threads(before)
    doubles = [None if tensor is None else tensor.double() for tensor in tensors]
    exact = outcome(lambda *leaves: recurrence_ops.recurrence_reference(*leaves, lengths, kind), doubles, upstream)
    for mine, true in zip(found, exact, strict=True):
        assert relative(mine, true) < TOLERANCE


def test_without_gradients_nothing_is_kept_and_results_are_the_same():
    kind = Kind("lstm", 2, True)
    tensors = case((7, 10, 3, 5), kind, False)
    found = recurrence_ops.run(*tensors, None, kind)
    kept = recurrence_ops.recurrence(*tensors, None, *kind[:2], False)[3:]
    assert {len(part) for part in kept} == {1}
    with_gradients = [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]
    for mine, other in zip(found, recurrence_ops.run(*with_gradients, None, kind), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_nan_spoils_its_own_row_from_its_step_on(cell):
    kind = Kind(cell, 1, True)
    tensors = case((6, 9, 2, 4), kind, False)
    clean = recurrence_ops.run(*tensors, None, kind)[0]
    tensors[0][2, 4, 1], tensors[0][3, 7, 0] = float("nan"), float("inf")
    found = recurrence_ops.run(*tensors, None, kind)[0]
    assert found[2:, 4].isnan().all()
    assert found[3:, 7].isnan().all()
    found[2:, 4], found[3:, 7] = clean[2:, 4], clean[3:, 7]
    assert torch.equal(found, clean)


def test_large_inputs_saturate_the_gates():
    kind = Kind("lstm", 1, True)
    tensors = case((3, 5, 2, 4), kind, False)
    tensors[0] *= 1e4
    exact = recurrence_ops.recurrence_reference(*tensors, None, kind)
    for mine, true in zip(recurrence_ops.run(*tensors, None, kind), exact, strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, true, rtol=0, atol=1e-3)  # sines of angles of 1e4 in float32


def test_strided_and_expanded_tensors():
    kind = Kind("lstm", 1, True)
    x, h0, c0, matrix, bias, encode = case((4, 6, 3, 5), kind, True)
    plain = outcome(lambda *leaves: recurrence_ops.run(*leaves, None, kind), (x, h0, c0, matrix, bias, encode), UP)
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (x, h0, c0, matrix)]
    found = outcome(lambda *leaves: recurrence_ops.run(*leaves, None, kind), (*strided, bias, encode), UP)
    for mine, other in zip(found, plain, strict=True):
        assert torch.equal(mine, other)
    zeros = torch.zeros(()).expand(6, 5)
    out = recurrence_ops.run(x, zeros, zeros, matrix, bias, encode, None, kind)[0]
    assert torch.equal(out, recurrence_ops.run(x, 0 * h0, 0 * h0, matrix, bias, encode, None, kind)[0])


UP = [uniform((4, 6, 5), 7), uniform((6, 5), 8), uniform((6, 5), 9)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("encoded", [False, True])
def test_operator_passes_opcheck(encoded, cell):
    tensors = case((3, 5, 2, 4), Kind(cell, 1, True), encoded)
    leaves = [tensor if tensor is None else tensor.requires_grad_() for tensor in tensors]
    torch.library.opcheck(recurrence_ops.recurrence, (*leaves, lengths_of((3, 5)), cell, 1, True))


def test_gradients_of_gradients_go_through_the_reference():
    kind = Kind("lstm", 1, True)
    tensors = [tensor for tensor in case((3, 4, 2, 3), kind, False) if tensor is not None]

    def second(function) -> list[torch.Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        first = torch.autograd.grad(function(*leaves, None, None, kind)[0].square().sum(), leaves, create_graph=True)
        return list(torch.autograd.grad(sum(grad.square().sum() for grad in first), leaves))

    pair = second(recurrence_ops.run), second(recurrence_ops.recurrence_reference)
    for found, expected in zip(*pair, strict=True):
        assert relative(found, expected.double()) < 1e-5


def test_serial_and_parallel_forms_have_different_names():
    names = [
        {kernel.py_func.__qualname__ for kernel in pair} for pair in (recurrence_cpu.FORWARD, recurrence_cpu.BACKWARD)
    ]
    assert all(len(pair) == 2 for pair in names)
