"""The ways through a layer: explained, frozen, exported, compiled, and with circuits of every row's own."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

import qkan
from qkan.errors import OptionError, ShapeError
from qkan.kernels import explain

CONFIGURATIONS = {
    "fixed": {},
    "ternary": {"frequencies": "ternary"},
    "shared": {"encoding": "shared"},
    "edge": {"encoding": "edge"},
    "amplitude": {"readout": "amplitude"},
    "shared_amplitude": {"encoding": "shared", "readout": "amplitude"},
    "px": {"ansatz": "px"},
    "px_edge": {"ansatz": "px", "encoding": "edge"},
    "px_ternary_amplitude": {"ansatz": "px", "frequencies": "ternary", "readout": "amplitude"},
    "mix_edge": {"ansatz": "mix", "encoding": "edge"},
    "grouped": {"groups": 2},
    "grouped_edge": {"groups": 2, "encoding": "edge"},
}


def layer_of(name: str) -> qkan.KANLayer:
    """A layer 4 -> 3 whose trainable data parameters have left their start values."""
    layer = qkan.KANLayer(4, 3, reps=2, seed=0, **CONFIGURATIONS[name])
    local = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (layer.basis.frequency, layer.basis.shift):
            if parameter is not None:
                parameter.mul_(0.5).add_(0.3 * (torch.rand(parameter.shape, generator=local) - 0.5))
    return layer


def inputs(*shape: int) -> torch.Tensor:
    return 1.6 * torch.rand(shape, generator=torch.Generator().manual_seed(2)) - 0.8


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_kernel_agrees_with_the_layer_in_float64(name):
    layer, x = layer_of(name), inputs(33, 4).requires_grad_()
    y = layer(x)
    found = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]
    layer, x = layer.double(), x.detach().double().requires_grad_()
    y = layer(x)
    expected = [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]
    for mine, exact in zip(found, expected, strict=True):
        assert float((mine.double() - exact).norm() / exact.norm()) < 5e-6


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if "grouped" not in name])
@pytest.mark.parametrize("leading", [(5,), (2, 3), (0,)])
def test_rows_may_have_circuits_of_their_own(name, leading, monkeypatch):
    layer, x = layer_of(name), inputs(*leading, 4)
    shape = (*leading, *layer.basis.theta.shape)
    theta = (torch.rand(shape, generator=torch.Generator().manual_seed(3)) - 0.5).requires_grad_()

    def outputs() -> list[torch.Tensor]:
        y = functional_call(layer, {"basis.theta": theta}, (x,))
        return [y, torch.autograd.grad(y.square().sum(), theta)[0]]

    found = outputs()
    for row, row_theta, y in zip(
        x.reshape(-1, 4), theta.reshape(-1, *shape[-3:]), found[0].reshape(-1, 3), strict=True
    ):
        alone = functional_call(layer, {"basis.theta": row_theta}, (row,))
        torch.testing.assert_close(y, alone, rtol=1e-5, atol=2e-6)
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    for mine, plain in zip(found, outputs(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
def test_an_input_on_another_device_is_refused(encoding):
    layer = qkan.KANLayer(4, 3, seed=0, base=None, encoding=encoding).to("meta")
    with pytest.raises(OptionError, match="the input is on cpu, the layer on meta"):
        layer(torch.zeros(2, 4))


def test_circuits_of_other_rows_are_refused():
    layer, x = layer_of("fixed"), inputs(5, 4)
    with pytest.raises(ShapeError, match=r"theta of shape \(4, 3, 4, 6\) must be \(3, 4, 6\), or \(5, 3, 4, 6\)"):
        functional_call(layer, {"basis.theta": torch.zeros(4, 3, 4, 6)}, (x,))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_frozen_layer_computes_the_same_and_keeps_to_it(name):
    layer = layer_of(name)
    layer.set_mask(torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]))
    x = inputs(2, 3, 4)
    expected = layer(x).detach()
    frozen = layer.freeze()
    assert not frozen(x).requires_grad
    torch.testing.assert_close(frozen(x), expected, rtol=1e-5, atol=2e-6)
    with torch.no_grad():
        layer.basis.theta.add_(1.0)
    torch.testing.assert_close(frozen(x), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("basis", ["bspline", "fourier", "chebyshev", "rbf"])
def test_classical_layers_freeze_too(basis):
    model = qkan.KAN([4, 5, 2], basis=basis, seed=0)
    x = inputs(7, 4)
    frozen = model.compile_inference()
    torch.testing.assert_close(frozen(x), model(x).detach(), rtol=1e-5, atol=2e-6)
    assert not frozen.training
    assert not frozen(x).requires_grad


def test_a_frozen_model_evaluates_no_circuit(monkeypatch):
    from qkan.kernels import node_ops, ops

    model, x = qkan.QKAN([4, 3, 2], seed=0), inputs(6, 4)
    frozen = model.compile_inference()

    def forbidden(*_: object) -> None:
        raise AssertionError("a circuit was evaluated")

    monkeypatch.setattr(node_ops, "run", forbidden)
    monkeypatch.setattr(ops, "coefficients", forbidden)
    assert frozen(x).shape == (6, 2)
    with pytest.raises(AssertionError, match="a circuit was evaluated"):
        model(x)


@pytest.mark.parametrize("name", ["fixed", "shared", "edge", "amplitude"])
def test_layers_can_be_exported(name):
    layer, x = layer_of(name), inputs(6, 4)
    exported = torch.export.export(layer, (x,))
    torch.testing.assert_close(exported.module()(x), layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_serial_and_parallel_runs_agree(name):
    layer, x = layer_of(name), inputs(3000, 4).requires_grad_()
    threads = torch.get_num_threads()

    def outputs(count: int) -> list[torch.Tensor]:
        torch.set_num_threads(count)
        y = layer(x)
        return [y, *torch.autograd.grad(y.square().mean(), [x, *layer.parameters()])]

    try:
        for one, two in zip(outputs(1), outputs(2), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=2e-6)
    finally:
        torch.set_num_threads(threads)


def test_explain_names_path_and_reason(monkeypatch):
    x = torch.zeros(2, 4)
    assert explain(layer_of("fixed"), x) == "basis: nodes: features times coefficients; computed by a compiled kernel"
    assert "per edge: every circuit on every row; computed by a compiled kernel" in explain(layer_of("edge"), x)
    assert "torch.float64 is computed exactly, by the reference" in explain(layer_of("edge"), x.double())
    strict = qkan.KANLayer(4, 3, ansatz="px", extend="error", seed=0)
    assert "because extend='error' looks at every data angle" in explain(strict, x)
    assert "no compiled kernel for the basis 'rbf'" in explain(qkan.KANLayer(4, 3, basis="rbf", seed=0), x)
    lines = explain(qkan.QKAN([4, 3, 2], seed=0), x).splitlines()
    assert [line.split(":")[0] for line in lines] == ["layers.0.basis", "layers.1.basis"]
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert "plain PyTorch, because QKAN_KERNELS=reference" in explain(layer_of("fixed"), x)
