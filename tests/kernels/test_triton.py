"""The CUDA kernels: by the interpreter, by Triton's own compiler for a device that need not be there, and on one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kernel_cases import TOLERANCE, distance_from_poles, edge_case, exact_edge_sum, relative, uniform
from rational_cases import exact_rational, rational_case

from qkan import KANLayer
from qkan.circuits import daruan
from qkan.kernels import edge_ops, explain, program, rational_ops, reference, segments

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is for Linux only")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("ansatz", ["pz", "rpz", "px", "real", "mix"])
def test_segments_and_their_gradients_are_those_of_the_circuit(ansatz):
    """The chain of matrices gives ⟨Z⟩ of the definition, and torques give the gradient of every trainable angle."""
    gates = daruan(2, ansatz).gates
    table = program.program(program.encode(gates))
    x, theta, frequency, shift, _ = (tensor.double() for tensor in edge_case(ansatz, 1, 3, 4))
    theta.requires_grad_()
    places = [g for g in range(len(table.axes)) if table.data[g] >= 0]
    order = [int(table.data[g]) for g in places]
    matrices, angles = segments.matrices(table, theta)
    u = x[0, :, None] * frequency + shift
    vectors = [matrices[..., 0, :, 0]]
    for place, g in enumerate(places):
        turned = list(vectors[-1].unbind(-1))
        segments._turn(turned, int(table.axes[g]), u[..., order[place]] + angles[..., place])
        after = torch.stack(turned, -1)
        vectors.append((matrices[..., place + 1, :, :] @ after.unsqueeze(-1)).squeeze(-1))
    z = reference.expectation_z(gates, theta, u)
    torch.testing.assert_close(vectors[-1][..., 2], z)
    torques, adjoint = [], torch.zeros(4, 3, 3, dtype=torch.float64)
    adjoint[..., 2] = 1.0
    vector = vectors[-1].detach()
    for place in range(1, -1, -1):
        transposed = matrices[..., place + 1, :, :].detach().mT
        vector, adjoint = ((transposed @ v.unsqueeze(-1)).squeeze(-1) for v in (vector, adjoint))
        torques.insert(0, torch.linalg.cross(vector, adjoint))
        back = -(u[..., order[place]] + angles[..., place]).detach()
        parts = [list(v.unbind(-1)) for v in (vector, adjoint)]
        for part in parts:
            segments._turn(part, int(table.axes[places[place]]), back)
        vector, adjoint = (torch.stack(part, -1) for part in parts)
    torques.insert(0, torch.linalg.cross(vector, adjoint))
    found = segments.angle_gradients(table, theta.detach(), torch.stack(torques, -2))
    torch.testing.assert_close(found, torch.autograd.grad(z.sum(), theta)[0])


@needs_triton
@pytest.mark.parametrize("file", ["interpreted_triton.py", "interpreted_rational.py"])
def test_the_kernels_in_the_interpreter(file):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / file)]
    settings = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=settings, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout[-3000:]


def compile_without_atomics(function, constants, integers, types=None):
    """To machine code for compute capability 9.0; no device is needed for that."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = dict.fromkeys(function.arg_names, "*fp32") | dict.fromkeys(constants, "constexpr") | (types or {})
    kinds |= dict.fromkeys(integers & set(function.arg_names), "i32")
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=function, signature=kinds, constexprs=places)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert len(made.asm["cubin"]) > 1000
    assert "atom." not in made.asm["ptx"]
    assert "red.global" not in made.asm["ptx"]


@needs_triton
@pytest.mark.parametrize("arccos", [False, True])
@pytest.mark.parametrize("kernel", ["edge_sum_kernel", "edge_sum_backward_kernel"])
def test_the_kernels_compile_for_a_device_without_atomics(kernel, arccos):
    from qkan.kernels import bloch_triton

    constants = {"L": 3, "AXES": 0b101010, "AMPLITUDE": arccos, "ARCCOS": arccos, "ROWS": 256}
    compile_without_atomics(getattr(bloch_triton, kernel), constants, {"batch", "first", "m", "n"})


@needs_triton
@pytest.mark.parametrize("numbers", ["*fp32", "*bf16"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("kernel", ["rational_kernel", "rational_backward_kernel"])
def test_the_rational_kernels_compile_for_a_device_without_atomics(kernel, absolute, numbers):
    from qkan.kernels import rational_triton

    function = getattr(rational_triton, kernel)
    constants = {"P": 5, "Q": 4, "ABSOLUTE": absolute, "ROWS": 8, "COLUMNS": 128}
    arrays = dict.fromkeys({"x_of", "grad_of", "out_of"} & set(function.arg_names), numbers)
    compile_without_atomics(function, constants, {"rows", "line", "width", "chunks"}, {**arrays, "far": "fp32"})


@needs_cuda
@pytest.mark.parametrize("readout", ["z", "amplitude"])
def test_the_operator_on_cuda_equals_the_definition(readout):
    case, gates = edge_case("mix", 700, 5, 4), daruan(2, "mix").gates
    if readout == "amplitude":  # its slope is infinite at |Z| = 1: edges that come near it carry no weight
        case[4] *= distance_from_poles(case, gates, False) > 0.03
        assert (case[4] != 0).any()
    grad = uniform((700, 4), 9)
    leaves = [tensor.cuda().requires_grad_() for tensor in case]
    y = edge_ops.edge_sum(*leaves, program.encode(gates), readout, False)
    found = [y, *torch.autograd.grad(y, leaves, grad.cuda())]
    for mine, true in zip(found, exact_edge_sum(case, gates, grad, readout, False), strict=True):
        assert relative(mine.cpu(), true) < TOLERANCE


@needs_cuda
@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rational_functions_on_cuda_equal_the_definition(dtype, form):
    tensors = rational_case(700, 300, 2, True, (5, 4))
    tensors[0], grad = tensors[0].to(dtype), uniform((700, 300), 9).to(dtype)
    leaves = [tensor.cuda().requires_grad_() for tensor in tensors]
    y = rational_ops.rational(*leaves, form)
    found = [y, *torch.autograd.grad(y, leaves, grad.cuda())]
    for mine, exact in zip(found, exact_rational(tensors, form, grad), strict=True):
        assert relative(mine.cpu(), exact) < max(TOLERANCE, torch.finfo(mine.dtype).eps)


@needs_cuda
def test_a_layer_on_cuda_takes_the_kernel():
    layer = KANLayer(5, 4, encoding="edge", base=None, seed=0).cuda()
    assert "a compiled kernel" in explain(layer, uniform((700, 5), 1).cuda())


@needs_cuda
def test_a_cuda_graph_replays_a_layer():
    layer = KANLayer(5, 4, encoding="edge", base=None, seed=0).cuda()
    x = uniform((700, 5), 1).cuda()
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        layer(x)  # compiles outside of the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        y = layer(x)
    x.copy_(uniform((700, 5), 2))
    graph.replay()
    torch.testing.assert_close(y, layer(x))


def test_the_operator_knows_its_shape_without_data():
    case = [tensor.to("meta") for tensor in edge_case("pz", 6, 3, 4)]
    text = program.encode(daruan(2, "pz").gates)
    assert edge_ops.edge_sum(*case, text, "z", False).shape == (6, 4)
