"""Interpolating per-edge circuits over a batch, against the definition in float64: every output and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import TOLERANCE, edge_case, exact_edge_sum, poisoned, relative, uniform

from qkan import KANLayer
from qkan.circuits import daruan
from qkan.kernels import chebyshev_cpu, edge_ops, explain, program, reference


@pytest.fixture
def _small_work_too(monkeypatch):
    """Layers and batches that would not be worth it are interpolated as well."""
    monkeypatch.setattr(chebyshev_cpu, "_LEAST_WORK", 1)


@given(st.floats(0, 100), st.floats(-np.pi, np.pi))
def test_the_nodes_counted_are_enough_for_the_fastest_wave(bandwidth, phase):
    nodes = chebyshev_cpu.count_nodes(bandwidth)
    if nodes > chebyshev_cpu.MAX_NODES:
        return
    t = np.linspace(-1, 1, 501)
    fit = np.polynomial.chebyshev.chebinterpolate(lambda s: np.cos(bandwidth * s + phase), nodes - 1)
    error = np.polynomial.chebyshev.chebval(t, fit) - np.cos(bandwidth * t + phase)
    assert np.abs(error).max() < 1e-7


def test_the_nodes_counted_are_not_many_more_than_the_wave_needs():
    assert 3 <= chebyshev_cpu.count_nodes(0.0) <= 4
    assert chebyshev_cpu.count_nodes(10.0) <= 30
    assert chebyshev_cpu.count_nodes(60.0) <= 100
    assert chebyshev_cpu.count_nodes(float("nan")) > chebyshev_cpu.MAX_NODES
    assert chebyshev_cpu.count_nodes(float("inf")) > chebyshev_cpu.MAX_NODES


def check_against_definition(case, gates):
    grad = uniform((len(case[0]), len(case[4])), 9)
    leaves = [tensor.clone().requires_grad_() for tensor in case]
    assert edge_ops.interval(leaves[0], leaves[1], leaves[2], "z", False) is not None
    y = edge_ops.edge_sum(*leaves, program.encode(gates), "z", False)
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    for mine, exact in zip(found, exact_edge_sum(case, gates, grad, "z", False), strict=True):
        assert relative(mine, exact) < TOLERANCE


@pytest.mark.usefixtures("_small_work_too")
@pytest.mark.parametrize("ansatz", ["pz", "rpz", "real", "mix"])
@pytest.mark.parametrize(("batch", "n", "m"), [(1000, 1, 1), (1001, 17, 3), (400, 3, 70), (5000, 2, 2)])
def test_large_batches_agree_on_output_and_every_gradient(ansatz, batch, n, m):
    check_against_definition(edge_case(ansatz, batch, n, m), daruan(2, ansatz).gates)


@pytest.mark.usefixtures("_small_work_too")
@pytest.mark.parametrize("scale", [1e-5, 1e-2, 4.0])
@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_narrow_wide_and_shifted_batches_keep_their_accuracy(scale, offset):
    case = edge_case("pz", 2000, 3, 4)
    case[0] = scale * case[0] + offset
    case[0][:, 1] = offset  # a column without any spread
    check_against_definition(case, daruan(2, "pz").gates)


@pytest.mark.usefixtures("_small_work_too")
def test_circuits_that_do_not_see_their_input():
    case = edge_case("pz", 100, 3, 4)
    case[2] = torch.zeros_like(case[2])
    grad = uniform((100, 4), 9)
    leaves = [tensor.clone().requires_grad_() for tensor in case]
    y = edge_ops.edge_sum(*leaves, program.encode(daruan(2, "pz").gates), "z", False)
    grads = torch.autograd.grad(y, leaves, grad)
    exact = exact_edge_sum(case, daruan(2, "pz").gates, grad, "z", False)
    assert relative(y, exact[0]) < TOLERANCE
    assert (grads[0] == 0).all()
    for mine, true in zip(grads[1:], exact[2:], strict=True):
        assert relative(mine, true) < TOLERANCE


@pytest.mark.parametrize("form", [0, 1], ids=["serial", "parallel"])
@pytest.mark.parametrize("ansatz", ["mix", "real"])
@pytest.mark.parametrize(("edges", "nodes"), [(1, 3), (70, 21), (257, 30), (33, chebyshev_cpu.MAX_NODES)])
def test_kernels_fill_every_element(edges, nodes, ansatz, form):
    reps, gates = 2, daruan(2, ansatz).gates
    tables = program.table(program.encode(gates))
    _, theta, frequency, shift, _ = edge_case(ansatz, 1, edges, 1, reps)
    t = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes).astype(np.float32)
    flat = [tensor[0].numpy() for tensor in (theta, frequency, shift)]
    leaves = [torch.from_numpy(part).double().requires_grad_() for part in flat]
    x = torch.from_numpy(t).double().expand(edges, nodes).clone().requires_grad_()
    angles = x[:, :, None] * leaves[1][:, None] + leaves[2][:, None]
    z = reference.expectation_z(gates, leaves[0][:, None], angles)
    grad = uniform((edges, nodes), 7)
    exact = [z, *torch.autograd.grad(z.sum(), x, retain_graph=True), *torch.autograd.grad(z, leaves, grad.double())]
    values = poisoned(edges, nodes)
    chebyshev_cpu.VALUES[form](t, *flat, *tables, values)
    assert relative(values, z) < TOLERANCE
    found = [poisoned(edges, nodes), poisoned(edges, nodes), *(poisoned(*part.shape) for part in flat)]
    chebyshev_cpu.VALUES_BACKWARD[form](grad.numpy(), t, *flat, *tables, *found)
    for mine, true in zip(found, exact, strict=True):
        assert relative(mine, true) < TOLERANCE


@pytest.mark.usefixtures("_small_work_too")
def test_rows_that_are_not_finite_spoil_themselves_only():
    case, text = edge_case("pz", 500, 3, 4), program.encode(daruan(2, "pz").gates)
    clean = edge_ops.edge_sum(*case, text, "z", False)
    case[0][7, 1], case[0][11, 2] = float("nan"), float("inf")
    found = edge_ops.edge_sum(*case, text, "z", False)
    assert found[[7, 11]].isnan().all()
    keep = torch.ones(500, dtype=torch.bool)
    keep[[7, 11]] = False
    torch.testing.assert_close(found[keep], clean[keep], rtol=0, atol=5e-6)


def test_explain_tells_when_a_batch_is_interpolated():
    layer = KANLayer(30, 20, encoding="edge", base=None, seed=0)
    x = uniform((100, 30), 3)
    assert "interpolated between" in explain(layer, x)
    assert "every circuit on every row" in explain(layer, x[:20])
    assert "every circuit on every row" in explain(layer, 1000 * x)
    amplitude = KANLayer(30, 20, encoding="edge", readout="amplitude", base=None, seed=0)
    assert "every circuit on every row" in explain(amplitude, x)
