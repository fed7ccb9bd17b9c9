"""Compiled kernels against the reference in float64: every output, every gradient, odd sizes, poisoned outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import qkan
from qkan.circuits import ANSATZE, daruan
from qkan.kernels import dispatch, node_ops, numba_cpu, ops, program, reference, spectral

ROOT = Path(__file__).resolve().parents[2]

FORMS = {"serial": 0, "parallel": 1}


def relative(found: np.ndarray | torch.Tensor, expected: np.ndarray | torch.Tensor) -> float:
    """Relative error in the Euclidean norm."""
    found, expected = (torch.as_tensor(np.asarray(v), dtype=torch.float64) for v in (found, expected))
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def circuit_case(ansatz: str, reps: int, count: int, degree: int, seed: int = 0) -> tuple:
    circuit = daruan(reps, ansatz)
    nodes = torch.as_tensor(spectral.circle_nodes(degree))[:, None].expand(-1, reps).contiguous()
    transform = torch.as_tensor(spectral.circle_transform(degree))
    local = torch.Generator().manual_seed(seed)
    theta = 6 * torch.rand(count, circuit.num_parameters, generator=local, dtype=torch.float64) - 3
    grad = torch.randn(count, transform.shape[0], generator=local, dtype=torch.float64)
    return circuit, theta.float(), nodes, transform, grad.float()


def kernel_arguments(circuit, theta, nodes, transform, out) -> tuple:
    gates, constants = program.table(program.encode(circuit.gates))
    angles = nodes.numpy().T
    tables = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    return theta.numpy(), gates, constants, *tables, transform.t().contiguous().float().numpy(), out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 3, 17, 63, 1000])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_coefficients_and_gradient(ansatz, count, form):
    circuit, theta, nodes, transform, grad = circuit_case(ansatz, 3, count, 5)
    exact = theta.double().requires_grad_()
    expected = reference.expectation_z(circuit.gates, exact.unsqueeze(-2), nodes) @ transform
    expected.backward(grad.double())
    out = np.full((count, 11), np.nan, np.float32)
    numba_cpu.COEFFICIENTS[FORMS[form]](*kernel_arguments(circuit, theta, nodes, transform, out))
    assert relative(out, expected.detach()) < 1e-6
    slope = np.full(theta.shape, np.nan, np.float32)
    arguments = kernel_arguments(circuit, theta, nodes, transform, slope)
    numba_cpu.COEFFICIENTS_BACKWARD[FORMS[form]](grad.numpy(), *arguments)
    assert relative(slope, exact.grad) < 2e-6


@pytest.mark.parametrize("reps", [1, 2, 6])
def test_any_number_of_repetitions(reps):
    circuit, theta, nodes, transform, _ = circuit_case("pz", reps, 5, reps)
    out = np.full((5, 2 * reps + 1), np.nan, np.float32)
    numba_cpu.COEFFICIENTS[0](*kernel_arguments(circuit, theta, nodes, transform, out))
    expected = reference.expectation_z(circuit.gates, theta.double().unsqueeze(-2), nodes) @ transform
    assert relative(out, expected) < 1e-6


def test_sine_and_cosine_are_accurate_to_2e_7_up_to_1e4():
    x = np.random.default_rng(0).uniform(-1e4, 1e4, 1_000_000).astype(np.float32)
    x[:4] = (0, 1e4, -1e4, np.float32(np.pi))
    out = np.full((x.size, 3), np.nan, np.float32)
    numba_cpu.HARMONICS[0](x, out, 1)
    wide = x.astype(np.float64)
    assert np.abs(out[:, 1] - np.cos(wide)).max() < 2e-7
    assert np.abs(out[:, 2] - np.sin(wide)).max() < 2e-7
    assert (out[:, 0] == 1).all()


def test_sine_and_cosine_in_float64_are_accurate_to_1e_10():
    x = np.concatenate([np.linspace(-1e4, 1e4, 2**17 + 1), [0.0, 1e5, -3e7, np.nan, np.inf, -np.inf]]).astype(
        np.float32
    )
    sines, cosines = np.full((2, x.size), np.nan)
    numba_cpu.sincos_double(x, sines, cosines)
    wide = x[:-3].astype(np.float64)
    assert np.abs(sines[:-3] - np.sin(wide)).max() < 1e-10
    assert np.abs(cosines[:-3] - np.cos(wide)).max() < 1e-10
    assert np.isnan(sines[-3:]).all()
    assert np.isnan(cosines[-3:]).all()


def test_huge_angles_are_right_and_non_finite_ones_are_nan():
    x = np.array([1.5e4, -3e8, 1e30, np.inf, -np.inf, np.nan, 0.5], np.float32)
    out = np.zeros((7, 5), np.float32)
    numba_cpu.HARMONICS[0](x, out, 2)
    wide = x[:3].astype(np.float64)
    np.testing.assert_allclose(out[:3, 1], np.cos(wide), atol=2e-7)
    assert np.isnan(out[3:6, 1:]).all()
    assert np.isfinite(out[6]).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 3, 64, 65, 1001])
@pytest.mark.parametrize("degree", [1, 3, 13])
def test_harmonics_and_gradient(degree, count, form):
    local = torch.Generator().manual_seed(count)
    u = (8 * torch.rand(count, generator=local) - 4).double().requires_grad_()
    grad = torch.randn(count, 2 * degree + 1, generator=local)
    expected = spectral.harmonics(u, degree)
    expected.backward(grad.double())
    out = np.full((count, 2 * degree + 1), np.nan, np.float32)
    numba_cpu.HARMONICS[FORMS[form]](u.detach().float().numpy(), out, degree)
    assert relative(out, expected.detach()) < 2e-6
    slope = np.full(count, np.nan, np.float32)
    numba_cpu.HARMONICS_BACKWARD[FORMS[form]](grad.numpy(), out, slope, degree)
    assert relative(slope, u.grad) < 4e-6


def test_operators_pass_opcheck():
    circuit, theta, *_ = circuit_case("rpz", 2, 6, 2)
    theta = theta.reshape(2, 3, -1).requires_grad_()
    recipe = node_ops.recipe(program.encode(circuit.gates), [1, 1], 2)
    torch.library.opcheck(ops.coefficients, (theta, recipe))
    torch.library.opcheck(ops.harmonics, (torch.linspace(-2, 2, 12).reshape(4, 3).requires_grad_(), 3))


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_circuits_survive_their_trip_as_text(ansatz):
    gates = daruan(3, ansatz).gates
    assert program.decode(program.encode(gates)) == gates


def test_strided_expanded_and_empty_inputs():
    wide = torch.linspace(-3, 3, 24).reshape(4, 6)
    for x in (wide.T, wide[:, ::2], torch.tensor([0.3]).expand(5), torch.empty(0, 3), torch.tensor(0.7)):
        found = dispatch.harmonics(x, 2)
        torch.testing.assert_close(found, spectral.harmonics(x, 2), rtol=0, atol=1e-6)


def test_gradients_of_gradients():
    x = torch.linspace(-2, 2, 9, requires_grad=True)
    theta = circuit_case("pz", 2, 3, 2)[1].requires_grad_()
    recipe = node_ops.recipe(program.encode(daruan(2, "pz").gates), [1, 1], 2)

    def second(harmonics, coefficients) -> list[torch.Tensor]:
        y = (harmonics(x) @ coefficients(theta).T).pow(2).sum()
        first = torch.autograd.grad(y, (x, theta), create_graph=True)
        return list(torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, theta)))

    compiled = second(lambda u: ops.harmonics(u, 2), lambda t: ops.coefficients(t, recipe))
    plain = second(lambda u: spectral.harmonics(u, 2), lambda t: node_ops.coefficients_reference(t, recipe))
    for found, expected in zip(compiled, plain, strict=True):
        assert relative(found, expected) < 1e-5


@pytest.mark.parametrize(
    "options",
    [{}, {"frequencies": "ternary", "ansatz": "rpz"}, {"encoding": "shared", "reps": 2}, {"groups": 2}],
    ids=["fixed", "ternary", "shared", "grouped"],
)
def test_layer_equals_itself_on_the_reference(options, monkeypatch):
    layer = qkan.KANLayer(5, 4, seed=0, **options)
    x = torch.randn(17, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def outputs_and_gradients() -> list[torch.Tensor]:
        y = layer(x)
        parameters = list(layer.parameters())
        return [y.detach(), *torch.autograd.grad(y.pow(2).sum(), [x, *parameters])]

    compiled = outputs_and_gradients()
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    for found, expected in zip(compiled, outputs_and_gradients(), strict=True):
        assert relative(found, expected) < 2e-5


@given(st.integers(1, 5000), st.sampled_from([16, 64, 128]))
def test_blocks_hold_everything_and_none_is_empty(count, most):
    blocks, lanes = numba_cpu.block_shape(count, most)
    assert lanes % 16 == 0
    assert lanes <= most
    assert (blocks - 1) * lanes < count <= blocks * lanes


# -- choosing ------------------------------------------------------------------------------------------------------


def test_reasons():
    cpu = torch.device("cpu")
    assert dispatch.reason_for_reference(torch.float32, cpu) is None
    assert dispatch.reason_for_reference(torch.bfloat16, cpu) is None
    assert "computed exactly" in dispatch.reason_for_reference(torch.float64, cpu)
    assert "no compiled kernel for this on cuda" in dispatch.reason_for_reference(torch.float32, torch.device("cuda"))


def test_environment_variable(monkeypatch):
    monkeypatch.setenv("QKAN_KERNELS", "reference")
    assert dispatch.reason_for_reference(torch.float32, torch.device("cpu")) == "QKAN_KERNELS=reference"
    monkeypatch.setenv("QKAN_KERNELS", "fast")
    with pytest.raises(qkan.errors.OptionError, match="QKAN_KERNELS='fast' is not known"):
        dispatch.reason_for_reference(torch.float32, torch.device("cpu"))


def test_function_transforms_take_the_reference():
    layer = qkan.KANLayer(3, 2, seed=0)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    _, slope = torch.func.jvp(layer, (x,), (torch.ones_like(x),))
    rows = torch.func.vmap(layer)(x)
    assert slope.shape == rows.shape == (4, 2)
    torch.testing.assert_close(rows, layer(x), rtol=1e-5, atol=1e-6)


def test_without_numba_there_is_one_warning_and_the_reference_runs(tmp_path):
    code = """
import sys, warnings
import qkan, torch
sys.modules["qkan.kernels.numba_cpu"] = None
layer = qkan.KANLayer(3, 2, seed=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layer(torch.ones(2, 3)), layer(torch.ones(2, 3))
print(len(caught), caught[0].category.__name__, "plain PyTorch is used instead" in str(caught[0].message))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "RuntimeWarning", "True"]


def test_without_a_folder_for_machine_code_there_is_one_warning_and_the_reference_runs(tmp_path):
    """Neither the folder beside the kernels nor the user's own can be made: regular files lie in their places."""
    shutil.copytree(ROOT / "qkan", tmp_path / "qkan", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "qkan" / "kernels" / "__pycache__").write_text("not a folder")
    (tmp_path / "home").write_text("not a folder")
    code = """
import warnings
import qkan, torch
layer = qkan.KANLayer(3, 2, seed=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layer(torch.ones(2, 3)), layer(torch.ones(2, 3))
print(len(caught), "cannot cache" in str(caught[0].message), qkan.__file__)
"""
    home = str(tmp_path / "home")
    settings = {**os.environ, "PYTHONPATH": str(tmp_path), "HOME": home, "XDG_CACHE_HOME": f"{home}/cache"}
    settings = {key: value for key, value in settings.items() if key != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["1", "True", str(tmp_path / "qkan" / "__init__.py")], done.stderr


def test_kernels_leave_the_thread_count_of_pytorch_alone():
    """Numba and PyTorch share one OpenMP; starting Numba's threads must not undo torch.set_num_threads."""
    code = """
import numpy as np, torch
torch.set_num_threads(1)
import numba
from qkan.kernels import numba_cpu
print(torch.get_num_threads())
numba_cpu.HARMONICS[1](np.ones(1000, np.float32), np.empty((1000, 3), np.float32), 1)
print(torch.get_num_threads())
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["1", "1"]
