"""A layer of splines as one function against plain PyTorch, and where it is not taken."""

from __future__ import annotations

import pytest
import torch

from qkan import KANLayer
from qkan.kernels import dispatch, spline_ops
from qkan.kernels.spline_layer import Grid, SplineLayer, features_reference, reference

GRIDS = {
    "zero": Grid(-1.4, 0.4, 8),
    "clamp": Grid(-1.4, 0.4, 8, -1.0, 1.0, 0.0),
    "linear": Grid(-1.4, 0.4, 8, -1.0, 1.0, 1.0),
}


def drawn(rows: int, n: int, m: int, count: int = 8) -> list[torch.Tensor]:
    """x, coefficients, scale, base, bias; inputs also beyond the ends."""
    local = torch.Generator().manual_seed(0)
    shapes = (rows, n), (m, n, count), (m, n), (m, n), (m,)
    return [torch.randn(shape, generator=local).requires_grad_() for shape in shapes]


def differences(tensors: list[torch.Tensor | None], grid: Grid) -> float:
    """Largest relative to the largest number, of output and all gradients, from the reference in float64."""
    wide = [None if tensor is None else tensor.detach().double().requires_grad_() for tensor in tensors]
    found, wanted = SplineLayer.apply(*tensors, grid), reference(*wide, grid)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    mine = torch.autograd.grad(found, [tensor for tensor in tensors if tensor is not None], weight)
    its = torch.autograd.grad(wanted, [tensor for tensor in wide if tensor is not None], weight.double())
    pairs = zip([found, *mine], [wanted, *its], strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (40, 60, 50), (110, 400, 330)], ids=str)
@pytest.mark.parametrize("extend", GRIDS)
def test_outputs_and_gradients(extend, shape, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, coefficients, scale, base, bias = drawn(*shape)
        assert differences([x, coefficients, scale, base, bias], GRIDS[extend]) < 2e-6
        assert differences([x, coefficients, scale, None, None], GRIDS[extend]) < 2e-6
    finally:
        torch.set_num_threads(before)


def test_the_widest_layers_are_computed_transposed(monkeypatch):
    called, run = [], spline_ops.run
    monkeypatch.setattr(spline_ops, "run", lambda kernel, *rest: (called.append(kernel), run(kernel, *rest)))
    for shape in ((110, 400, 330), (40, 60, 50), (2, 400, 330)):
        SplineLayer.apply(*drawn(*shape), GRIDS["linear"]).sum().backward()
    assert [name for name in called if "CUBIC" in name and "BACKWARD" in name] == [
        "CUBIC_COLUMNS_BACKWARD",
        "CUBIC_BACKWARD",
        "CUBIC_BACKWARD",
    ]


@pytest.mark.parametrize("extend", GRIDS)
def test_the_reference_is_differentiated_rightly(extend):
    x = torch.linspace(-1.75, 1.62, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: features_reference(v, GRIDS[extend]), x)


def test_gradients_of_gradients_and_of_some_inputs_only():
    grid = GRIDS["linear"]
    x, *weights = drawn(6, 4, 3)
    found = []
    for layer in (SplineLayer.apply, reference):
        (slope,) = torch.autograd.grad(layer(x, *weights, grid).pow(3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *weights]))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-2)
    frozen = [tensor.detach() for tensor in weights]
    (mine,) = torch.autograd.grad(SplineLayer.apply(x, *frozen, grid).sum(), x)
    (its,) = torch.autograd.grad(reference(x, *weights, grid).sum(), x)
    torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extend", GRIDS)
@pytest.mark.parametrize("scale", ["both", True])
def test_a_kan_layer_takes_it_and_keeps_its_function(scale, extend, monkeypatch):
    layer = KANLayer(30, 40, "bspline", scale=scale, extend=extend, seed=0)
    layer.set_mask(torch.rand(40, 30, generator=torch.Generator().manual_seed(2)) < 0.7)
    x = (2 * torch.randn(30, 4, 5, generator=torch.Generator().manual_seed(3))).requires_grad_()
    places = [x, *layer.parameters()]
    results = []
    for kernels in ("auto", "reference"):
        monkeypatch.setenv("QKAN_KERNELS", kernels)
        out = layer(x.permute(1, 2, 0))
        results.append([out, *torch.autograd.grad(out.square().sum(), places)])
    for mine, its in zip(*results, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-4)


def test_nan_stays_and_infinity_dies_out():
    x, coefficients, scale, _, _ = drawn(3, 1, 1)
    x = torch.tensor([[float("nan")], [float("-inf")], [1e30]])
    found = SplineLayer.apply(x, coefficients, scale, torch.zeros(1, 1), None, GRIDS["zero"])
    assert found[0].isnan().all()
    assert found[2] == 0


def test_held_ends_hold_infinity():
    grid, x = GRIDS["clamp"], torch.tensor([[float("inf")], [float("-inf")], [3.0], [0.3]])
    found = x.new_empty(4, 1, grid.splines)
    numbers = spline_ops.grid_numbers(grid.first, grid.step, grid.low, grid.high, grid.tail)
    spline_ops.run("CUBIC", (x, found), numbers, (0,) * grid.splines)
    torch.testing.assert_close(found, features_reference(x, grid))


def test_where_it_is_not_taken():
    x, *weights = drawn(40, 60, 50)
    grid = GRIDS["zero"]
    found = dispatch.spline_sum(x, *weights, grid)
    assert found.grad_fn.name() == "SplineLayerBackward"
    assert dispatch.spline_sum(x[:2], *weights, grid) is None
    assert dispatch.spline_sum(x.double(), *weights, grid) is None
    with torch.autocast("cpu"):
        assert dispatch.spline_sum(x, *weights, grid) is None
    seen = []
    torch.func.vmap(lambda v: seen.append(dispatch.spline_sum(v, *weights, grid)) or v)(x.unsqueeze(0))
    assert seen == [None]
