"""The CUDA kernels on the CPU by Triton's interpreter, against the definition in float64.

Run by ``test_triton.py`` in a process of its own, because the interpreter is chosen when Triton is imported.
"""

from __future__ import annotations

import pytest
import torch
from kernel_cases import TOLERANCE, distance_from_poles, edge_case, exact_edge_sum, relative, uniform

from qkan.circuits import ANSATZE, daruan
from qkan.kernels import bloch_triton, program

SHAPES = [(1, 1, 1), (63, 3, 17), (1000, 17, 3), (600, 1, 3)]


def check(case, gates, readout="z", arccos=False):
    options = program.program(program.encode(gates)), readout == "amplitude", arccos
    grad = uniform((len(case[0]), len(case[4])), 9)
    found = [bloch_triton.edge_sum(tuple(case), *options), *bloch_triton.edge_sum_backward(grad, tuple(case), *options)]
    for mine, exact in zip(found, exact_edge_sum(case, gates, grad, readout, arccos), strict=True):
        assert relative(mine, exact) < TOLERANCE


@pytest.mark.parametrize(("batch", "n", "m"), SHAPES)
def test_output_and_every_gradient(batch, n, m):
    check(edge_case("mix", batch, n, m), daruan(2, "mix").gates)


def test_a_long_batch_takes_several_launches(monkeypatch):
    monkeypatch.setattr(bloch_triton, "_PROGRAMS", 2)
    check(edge_case("pz", 5 * bloch_triton.BACKWARD_ROWS - 7, 1, 2, reps=3), daruan(3, "pz").gates)


@pytest.mark.parametrize("readout", ["z", "amplitude"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_every_ansatz_and_readout(ansatz, readout):
    case, gates, arccos = edge_case(ansatz, 37, 3, 5), daruan(2, ansatz).gates, ansatz == "px"
    if readout == "amplitude":  # its slope is infinite at |Z| = 1: edges that come near it carry no weight
        case[4] *= distance_from_poles(case, gates, arccos) > 0.03
        assert (case[4] != 0).sum() >= 3
    check(case, gates, readout, arccos)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NumPy, in which the interpreter computes
@pytest.mark.parametrize("ansatz", ["pz", "px"])
def test_non_finite_rows_spoil_themselves_only(ansatz):
    case, gates = edge_case(ansatz, 6, 3, 4), daruan(2, ansatz).gates
    options = program.program(program.encode(gates)), False, ansatz == "px"
    clean = bloch_triton.edge_sum(tuple(case), *options)
    case[0][1, 0], case[0][3, 2] = float("nan"), float("inf") if ansatz == "pz" else float("nan")
    found = bloch_triton.edge_sum(tuple(case), *options)
    assert found[[1, 3]].isnan().all()
    torch.testing.assert_close(found[[0, 2, 4, 5]], clean[[0, 2, 4, 5]], rtol=0, atol=0)


def test_strided_expanded_and_empty_inputs():
    x, theta, frequency, shift, weight = edge_case("pz", 8, 3, 5)
    options = program.program(program.encode(daruan(2, "pz").gates)), False, False
    plain = bloch_triton.edge_sum((x, theta, frequency, shift, weight), *options)
    strided = x.t().contiguous().t(), theta.transpose(0, 1).contiguous().transpose(0, 1)
    found = bloch_triton.edge_sum((*strided, frequency, shift, weight), *options)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    one = torch.ones(()).expand(5, 3)
    expanded = bloch_triton.edge_sum((x[:1].expand(8, 3), theta, frequency, shift, one), *options)
    torch.testing.assert_close(expanded[7], expanded[0], rtol=0, atol=0)
    empty = x[:0], theta, frequency, shift, weight
    assert bloch_triton.edge_sum(empty, *options).shape == (0, 5)
    grads = bloch_triton.edge_sum_backward(torch.empty(0, 5), empty, *options)
    assert grads[0].shape == (0, 3)
    assert all((grad == 0).all() for grad in grads[1:])
