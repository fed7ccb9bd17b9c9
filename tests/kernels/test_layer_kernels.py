"""The fused layer kernels, per edge and by nodes, against plain PyTorch in float64: every output and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kernel_cases import TOLERANCE, distance_from_poles, edge_case, exact_edge_sum, poisoned, relative, uniform

from qkan import KANLayer
from qkan.circuits import ANSATZE, daruan
from qkan.kernels import (
    bloch_cpu,
    bloch_rows_cpu,
    chebyshev_cpu,
    edge_ops,
    feature_rows_cpu,
    node_layer_cpu,
    node_ops,
    numba_cpu,
    program,
    reference,
    small_layer_cpu,
    spectral,
    workspace,
)

SHAPES = [(1, 1, 1), (63, 3, 17), (1000, 17, 3), (129, 1, 3)]


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("form", [0, 1], ids=["serial", "parallel"])
@pytest.mark.parametrize("per_row", [False, True], ids=["shared", "per_row"])
@pytest.mark.parametrize(("batch", "n", "m"), SHAPES)
def test_edge_kernels_fill_poisoned_arrays_with_the_exact_values(batch, n, m, per_row, form, splits):
    module = bloch_rows_cpu if per_row else bloch_cpu
    forward, backward = (
        (module.ROW_SUM, module.ROW_SUM_BACKWARD) if per_row else (module.EDGE_SUM, module.EDGE_SUM_BACKWARD)
    )
    case, grad = edge_case("pz", batch, n, m, per_row=per_row), uniform((batch, m), 9)
    gates = daruan(2, "pz").gates
    x, theta, *rest = (tensor.numpy() for tensor in case)
    inputs = (np.ascontiguousarray(x.T), theta, *rest, program.program(program.encode(gates)), False, False, splits)
    out = poisoned(m, batch)
    forward[form](*inputs, out)
    gradients = (
        poisoned(n, batch),
        poisoned(*theta.shape) if per_row else poisoned(splits, *theta.shape),
        poisoned(2, splits, m, n, 2),
        poisoned(splits, m, n),
    )
    backward[form](np.ascontiguousarray(grad.numpy().T), *inputs, *gradients)
    of_x, of_theta, of_data, of_weight = gradients
    found = [out.T, of_x.T, of_theta if per_row else of_theta.sum(0), *of_data.sum(1), of_weight.sum(0)]
    for mine, exact in zip(found, exact_edge_sum(case, gates, grad, "z", False), strict=True):
        assert relative(mine, exact) < TOLERANCE


@pytest.mark.parametrize("per_row", [False, True], ids=["shared", "per_row"])
@pytest.mark.parametrize("readout", ["z", "amplitude"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_edge_operator_on_every_ansatz_and_readout(ansatz, readout, per_row):
    case, grad = edge_case(ansatz, 37, 3, 5, per_row=per_row), uniform((37, 5), 9)
    gates, arccos = daruan(2, ansatz).gates, ansatz == "px"
    if readout == "amplitude":  # its slope is infinite at |Z| = 1: edges that come near it carry no weight
        case[4] *= distance_from_poles(case, gates, arccos) > 0.03
        assert (case[4] != 0).sum() >= 3
    leaves = [tensor.clone().requires_grad_() for tensor in case]
    y = edge_ops.edge_sum(*leaves, program.encode(gates), readout, arccos)
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    for mine, exact in zip(found, exact_edge_sum(case, gates, grad, readout, arccos), strict=True):
        assert relative(mine, exact) < TOLERANCE


def test_arccos_is_clamped_as_in_the_reference():
    x = torch.tensor([[-3.0], [-1.0], [1.0], [2.5], [0.3]])
    case = [x, *edge_case("px", 5, 1, 2)[1:]]
    case[2][:], case[3][:] = 1.0, 0.0
    leaves = [tensor.requires_grad_() for tensor in case]
    gates = daruan(2, "px").gates
    y = edge_ops.edge_sum(*leaves, program.encode(gates), "z", True)
    expected = reference.edge_sum(gates, *leaves, "z", True)
    torch.testing.assert_close(y, expected, rtol=0, atol=2e-6)
    slope = torch.autograd.grad(y.sum(), leaves[0])[0]
    assert (slope[[0, 3]] == 0).all()
    torch.testing.assert_close(slope[4], torch.autograd.grad(expected.sum(), leaves[0])[0][4])


@pytest.mark.parametrize("per_row", [False, True], ids=["shared", "per_row"])
def test_non_finite_inputs_spoil_their_own_row_only(per_row):
    case = edge_case("pz", 6, 3, 4, per_row=per_row)
    text = program.encode(daruan(2, "pz").gates)
    clean = edge_ops.edge_sum(*case, text, "z", False)
    case[0][1, 0], case[0][3, 2], case[0][4, 1] = float("nan"), float("inf"), -float("inf")
    found = edge_ops.edge_sum(*case, text, "z", False)
    assert found[[1, 3, 4]].isnan().all()
    torch.testing.assert_close(found[[0, 2, 5]], clean[[0, 2, 5]])


def test_edge_operator_takes_strided_expanded_and_empty_inputs():
    x, theta, frequency, shift, weight = edge_case("pz", 8, 3, 5)
    text = program.encode(daruan(2, "pz").gates)
    plain = edge_ops.edge_sum(x, theta, frequency, shift, weight, text, "z", False)
    strided = x.t().contiguous().t(), theta.transpose(0, 1).contiguous().transpose(0, 1)
    found = edge_ops.edge_sum(*strided, frequency, shift, weight, text, "z", False)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    one = torch.ones(()).expand(5, 3)
    expanded = edge_ops.edge_sum(x[:1].expand(8, 3), theta, frequency, shift, one, text, "z", False)
    torch.testing.assert_close(expanded[7], expanded[0], rtol=0, atol=0)
    empty = x[:0].requires_grad_()
    y = edge_ops.edge_sum(empty, theta.requires_grad_(), frequency, shift, weight, text, "z", False)
    assert y.shape == (0, 5)
    slopes = torch.autograd.grad(y.sum(), [empty, theta])
    assert slopes[0].shape == (0, 3)
    assert (slopes[1] == 0).all()


# -- nodes ---------------------------------------------------------------------------------------------------------


NODES = {"unit": [1, 1, 1], "ternary": [1, 3, 9], "torus": None}


def node_case(kind: str, batch: int, n: int, m: int, groups: int | None = None) -> tuple[list[torch.Tensor], str]:
    """(u, theta, weight) and the recipe."""
    circuit = daruan(3, "pz")
    recipe = node_ops.recipe(program.encode(circuit.gates), NODES[kind], 3)
    theta = (m, n) if groups is None else (groups,)
    u = (batch, n, 3) if kind == "torus" else (batch, n)
    return [uniform(u, 1, 3.0), uniform((*theta, circuit.num_parameters), 2, 3.0), uniform((m, n), 3)], recipe


@pytest.mark.parametrize("route", ["small", "chunked"])
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize(("batch", "n", "m"), [(1, 1, 1), (63, 3, 17), (200, 17, 3)])
def test_node_layer_and_gradients(batch, n, m, kind, groups, route, monkeypatch):
    monkeypatch.setattr(node_layer_cpu, "SMALL_WORK", 10**9 if route == "small" else 0)
    monkeypatch.setattr(workspace, "CHUNK_BYTES", 4 * 60 * n * 7)  # several chunks, the last of them shorter
    case, recipe = node_case(kind, batch, n, m, groups)
    grad = uniform((batch, m), 9)
    exact = [tensor.double().requires_grad_() for tensor in case]
    expected = node_ops.node_layer_reference(*exact, m, recipe)
    leaves = [tensor.requires_grad_() for tensor in case]
    y = node_ops.node_layer(*leaves, m, recipe)[0]
    found = [y, *torch.autograd.grad(y, leaves, grad)]
    for mine, true in zip(found, [expected, *torch.autograd.grad(expected, exact, grad.double())], strict=True):
        assert relative(mine, true) < TOLERANCE


@pytest.mark.parametrize("form", [0, 1], ids=["serial", "parallel"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("kind", NODES)
@pytest.mark.parametrize(("batch", "n", "m"), [(1, 1, 1), (63, 3, 17), (1000, 17, 3)])
def test_small_layer_kernels_fill_poisoned_arrays(batch, n, m, kind, groups, weighted, form):
    case, recipe = node_case(kind, batch, n, m, groups)
    u, theta, weight = (tensor.numpy() for tensor in case)
    read, grad = node_ops.tables(recipe), uniform((batch, m), 9).numpy()
    circuits, size = theta[..., 0].size, len(read.transform)
    sizes = batch, n, m, circuits, theta.shape[-1], groups is not None

    def run(kernel, *arrays):
        addresses = tuple(0 if array is None else array.ctypes.data for array in arrays)
        kernel[form](addresses, sizes, read.circuit, read.torus, read.order, 2 if form else 1)

    given = weight if weighted else None
    out, coefficients = poisoned(batch, m), poisoned(circuits, size)
    run(small_layer_cpu.FORWARD, u, theta, given, out, coefficients)
    gradients = [poisoned(*u.shape), poisoned(*theta.shape), poisoned(m, n) if weighted else None]
    run(small_layer_cpu.BACKWARD, grad, u, theta, given, coefficients, *gradients)
    exact = [torch.from_numpy(array).double().requires_grad_() for array in (u, theta, weight)][: 3 if weighted else 2]
    expected = node_ops.node_layer_reference(*exact[:2], exact[2] if weighted else None, m, recipe)
    slopes = torch.autograd.grad(expected, exact, torch.from_numpy(grad).double())
    found = [out, *gradients] if weighted else [out, *gradients[:2]]
    for mine, true in zip(found, [expected, *slopes], strict=True):
        assert relative(mine, true) < TOLERANCE


@pytest.mark.parametrize("route", ["small", "wide"])
@pytest.mark.parametrize("kind", NODES)
def test_node_layer_takes_strided_and_expanded_tensors(kind, route, monkeypatch):
    monkeypatch.setattr(node_layer_cpu, "SMALL_WORK", 10**9 if route == "small" else 0)
    (u, theta, weight), recipe = node_case(kind, 6, 3, 5)
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (u, theta, weight)]
    expanded = [u[:1].expand_as(u), theta[:1].expand_as(theta), weight[:, :1].expand_as(weight)]
    for tensors in (strided, expanded):
        results = []
        for leaves in (tensors, [tensor.contiguous() for tensor in tensors]):
            leaves = [tensor.detach().requires_grad_() for tensor in leaves]
            y = node_ops.run(*leaves, 5, recipe)
            results.append([y, *torch.autograd.grad(y, leaves, torch.ones(()).expand(6, 5))])
        for mine, plain in zip(*results, strict=True):
            torch.testing.assert_close(mine, plain, rtol=0, atol=0)


def test_node_reference_is_the_sum_of_the_circuits():
    """The reference of the fast path is itself checked: by nodes equals gate by gate on every edge."""
    (u, theta, weight), recipe = node_case("ternary", 7, 3, 4)
    u, theta, weight = u.double(), theta.double(), weight.double()
    frequency = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64).expand(4, 3, 3)
    exact = reference.edge_sum(daruan(3, "pz").gates, u, theta, frequency, 0 * frequency, weight)
    assert relative(node_ops.node_layer_reference(u, theta, weight, 4, recipe), exact) < 1e-13


@pytest.mark.parametrize("kind", NODES)
def test_node_layer_without_weights_without_rows_and_with_nan(kind):
    (u, theta, _), recipe = node_case(kind, 4, 3, 5)
    ones = torch.ones(5, 3)
    plain = node_ops.node_layer(u, theta, None, 5, recipe)[0]
    torch.testing.assert_close(plain, node_ops.node_layer(u, theta, ones, 5, recipe)[0], rtol=0, atol=0)
    assert node_ops.node_layer(u[:0], theta, None, 5, recipe)[0].shape == (0, 5)
    u[2].view(-1)[0] = float("nan")
    found = node_ops.node_layer(u, theta, None, 5, recipe)[0]
    assert found[2].isnan().all()
    torch.testing.assert_close(found[[0, 1, 3]], plain[[0, 1, 3]])


@pytest.mark.parametrize("form", [0, 1], ids=["serial", "parallel"])
@pytest.mark.parametrize("reps", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 63, 65, 1000])
def test_torus_harmonics_and_gradient(count, reps, form):
    phi, grad = uniform((count, reps), 1, 4.0), uniform((count, 3**reps), 2)
    exact = phi.double().requires_grad_()
    expected = spectral.torus_harmonics(exact)
    out, slope = poisoned(count, 3**reps), poisoned(count, reps)
    numba_cpu.TORUS[form](phi.numpy(), out)
    numba_cpu.TORUS_BACKWARD[form](grad.numpy(), out, slope)
    assert relative(out, expected) < TOLERANCE
    assert relative(slope, torch.autograd.grad(expected, exact, grad.double())[0]) < TOLERANCE


@pytest.mark.parametrize("degree", [1, 4, 5, 40])
def test_harmonic_rows_keep_their_accuracy_at_every_order(degree):
    u = uniform((3, 50), 1, 30.0)
    out = poisoned(3, 2 * degree, 50)
    feature_rows_cpu.HARMONICS[0](u.numpy(), out, degree)
    exact = spectral.harmonics(u.double(), degree).transpose(1, 2)[:, 1:]
    assert float((torch.from_numpy(out).double() - exact).abs().max()) < (1e-7 if degree > 4 else 5e-7)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 700])
def test_a_product_in_parts_is_the_product(width):
    columns, matrix, bias = uniform((width, 30), 1), uniform((7, width), 2), uniform((7,), 3)
    out = torch.full((30, 7), float("nan"))
    workspace.product(bias, columns, matrix, out)
    exact = columns.double().t() @ matrix.double().t()
    assert relative(out, bias.double() + exact) < 1e-6
    assert relative(workspace.by_rows(columns.t().contiguous(), matrix), exact) < 1e-6


OPTIONS = [{}, {"frequencies": "ternary"}, {"encoding": "shared"}, {"encoding": "edge"}]


@pytest.mark.parametrize("options", OPTIONS, ids=["fixed", "ternary", "shared", "edge"])
def test_wide_layers_round_little(options):
    """Outputs reach 20 here, where neighbouring float32 numbers are 1.9e-6 apart."""
    layer, x = KANLayer(64, 64, base=None, scale=False, bias=False, seed=0, **options), 3 * uniform((128, 64), 1)
    with torch.no_grad():
        y = layer(x).double()
        assert float((y - layer.double()(x.double())).abs().max()) < 8e-6


# -- as PyTorch operators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_row", [False, True], ids=["shared", "per_row"])
def test_edge_operator_passes_opcheck(per_row):
    leaves = [tensor.requires_grad_() for tensor in edge_case("pz", 5, 2, 3, per_row=per_row)]
    torch.library.opcheck(edge_ops.edge_sum, (*leaves, program.encode(daruan(2, "pz").gates), "amplitude", False))


def test_interpolating_edge_operator_passes_opcheck():
    leaves = [tensor.requires_grad_() for tensor in edge_case("pz", 400, 12, 8)]
    assert edge_ops.interval(*leaves[:3], "z", False) is not None
    torch.library.opcheck(edge_ops.edge_sum, (*leaves, program.encode(daruan(2, "pz").gates), "z", False))


@pytest.mark.parametrize("route", ["small", "chunked"])
@pytest.mark.parametrize("kind", ["unit", "torus"])
@pytest.mark.parametrize("weighted", [False, True])
def test_node_operator_passes_opcheck(weighted, kind, route, monkeypatch):
    monkeypatch.setattr(node_layer_cpu, "SMALL_WORK", 10**9 if route == "small" else 0)
    (u, theta, weight), recipe = node_case(kind, 5, 2, 3)
    weight = weight.requires_grad_() if weighted else None
    torch.library.opcheck(node_ops.node_layer, (u.requires_grad_(), theta.requires_grad_(), weight, 3, recipe))


def test_gradients_of_gradients_go_through_the_reference():
    (u, theta, weight), recipe = node_case("unit", 4, 2, 3)
    edges = edge_case("pz", 4, 2, 3)
    gates = daruan(2, "pz").gates

    def second(function, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        first = torch.autograd.grad(function(*leaves).square().sum(), leaves, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))

    pairs = [
        (lambda *v: node_ops.node_layer(*v, 3, recipe)[0], lambda *v: node_ops.node_layer_reference(*v, 3, recipe)),
        (
            lambda *v: edge_ops.edge_sum(*v, program.encode(gates), "z", False),
            lambda *v: reference.edge_sum(gates, *v),
        ),
    ]
    for (kernel, plain), leaves in zip(pairs, [[u, theta, weight], edges], strict=True):
        for found, expected in zip(second(kernel, leaves), second(plain, leaves), strict=True):
            assert relative(found, expected.double()) < 1e-5


def test_serial_and_parallel_forms_are_cached_under_different_names():
    """The disk cache knows kernels by name only: with one name the parallel form would load the serial code."""
    modules = (numba_cpu, bloch_cpu, bloch_rows_cpu, chebyshev_cpu, feature_rows_cpu, small_layer_cpu)
    for module in modules:
        pairs = [value for value in vars(module).values() if isinstance(value, tuple)]
        names = {kernel.py_func.__qualname__ for pair in pairs for kernel in pair}
        assert pairs
        assert len(names) == 2 * len({id(pair) for pair in pairs})
