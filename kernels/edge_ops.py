"""The per-edge kernels as PyTorch operators, in float32: Numba on the CPU, Triton on CUDA.

On the CPU a large batch is interpolated between a few nodes where the circuits allow it
(:mod:`qkan.kernels.chebyshev_cpu`); all else runs every circuit on every row. Either way memory is that of inputs,
outputs and parameters. Gradients of gradients go through :func:`qkan.kernels.reference.edge_sum`.

Angles are in radians, frequencies in radians per unit of the input; with ``arccos`` the two make a cosine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import reference
from qkan.kernels.program import decode, program

_Grads = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _by_features(rows: Tensor) -> np.ndarray:
    """(B, n) as a contiguous (n, B) array: rows become vector lanes."""
    return rows.detach().t().contiguous().numpy()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _splits(features: int, batch: int) -> int:
    """Into how many parts the batch is cut when there are too few features to keep every thread busy."""
    from qkan.kernels import bloch_cpu

    threads = torch.get_num_threads()
    blocks = -(-batch // bloch_cpu.LANES)
    return 1 if features >= 2 * threads else max(1, min(blocks, threads))


def interval(x: Tensor, theta: Tensor, frequency: Tensor, readout: str, arccos: bool) -> Any:
    """Where interpolation takes the place of every row: ⟨Z⟩ of circuits that all rows share, in a large batch.

    Args:
        x: (B, n).
        theta: (m, n, P).
        frequency: (m, n, L) data weights.
        readout: "z" or "amplitude".
        arccos: whether the data angle is arccos of w x + b.
    """
    from qkan.kernels import chebyshev_cpu

    if x.device.type != "cpu" or theta.dim() != 3 or readout != "z" or arccos:
        return None
    return chebyshev_cpu.interval(x.detach(), frequency.detach())


def _work(weight: Tensor, batch: int, gates: str) -> int:
    return weight.numel() * batch * len(program(gates).axes)


@torch.library.custom_op("qkan::edge_sum", mutates_args=(), device_types="cpu")
def edge_sum(
    x: Tensor,
    theta: Tensor,
    frequency: Tensor,
    shift: Tensor,
    weight: Tensor,
    gates: str,
    readout: str,
    arccos: bool,
) -> Tensor:
    """See :func:`qkan.kernels.reference.edge_sum`; ``gates`` is the circuit as text."""
    from qkan.kernels import bloch_cpu, bloch_rows_cpu, chebyshev_cpu, numba_cpu

    where = interval(x, theta, frequency, readout, arccos)
    if where is not None:
        return chebyshev_cpu.forward(where, (x, theta, frequency, shift, weight), gates)
    forms = bloch_cpu.EDGE_SUM if theta.dim() == 3 else bloch_rows_cpu.ROW_SUM
    m, batch = weight.shape[0], x.shape[0]
    out = x.new_empty(m, batch)
    inputs = (_by_features(x), *_arrays(theta, frequency, shift, weight))
    options = program(gates), readout == "amplitude", arccos, _splits(m, batch)
    numba_cpu.run(forms, _work(weight, batch, gates), torch.get_num_threads(), *inputs, *options, out.numpy())
    return out.t().contiguous()


@edge_sum.register_fake
def _(x: Tensor, theta: Tensor, frequency: Tensor, shift: Tensor, weight: Tensor, *options: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.custom_op("qkan::edge_sum_backward", mutates_args=(), device_types="cpu")
def edge_sum_backward(
    grad: Tensor,
    x: Tensor,
    theta: Tensor,
    frequency: Tensor,
    shift: Tensor,
    weight: Tensor,
    gates: str,
    readout: str,
    arccos: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x, theta, frequency, shift and weight.

    Args:
        grad: (B, m).
        x: (B, n).
        theta: (m, n, P).
        frequency: (m, n, L) data weights.
        shift: (m, n, L) data offsets.
        weight: (m, n).
        gates: the circuit as text.
        readout: "z" or "amplitude".
        arccos: whether the data angle is arccos of w x + b.
    """
    from qkan.kernels import bloch_cpu, bloch_rows_cpu, chebyshev_cpu, numba_cpu

    where = interval(x, theta, frequency, readout, arccos)
    if where is not None:
        return chebyshev_cpu.backward(grad, where, (x, theta, frequency, shift, weight), gates)
    per_row = theta.dim() == 4
    forms = bloch_rows_cpu.ROW_SUM_BACKWARD if per_row else bloch_cpu.EDGE_SUM_BACKWARD
    (m, n), batch = weight.shape, x.shape[0]
    splits = _splits(n, batch)
    out_x = x.new_empty(n, batch)
    out_theta = x.new_empty(theta.shape if per_row else (splits, *theta.shape))
    out_data, out_weight = x.new_empty(2, splits, *frequency.shape), x.new_empty(splits, m, n)
    inputs = (_by_features(grad), _by_features(x), *_arrays(theta, frequency, shift, weight))
    options = program(gates), readout == "amplitude", arccos, splits
    outputs = out_x.numpy(), out_theta.numpy(), out_data.numpy(), out_weight.numpy()
    numba_cpu.run(forms, 3 * _work(weight, batch, gates), torch.get_num_threads(), *inputs, *options, *outputs)
    sums = out_data.sum(1)
    grad_theta = out_theta if per_row else out_theta.sum(0)
    return out_x.t().contiguous(), grad_theta, sums[0].clone(), sums[1].clone(), out_weight.sum(0)


@edge_sum_backward.register_fake
def _(
    grad: Tensor, x: Tensor, theta: Tensor, frequency: Tensor, shift: Tensor, weight: Tensor, *options: Any
) -> _Grads:
    tensors = x, theta, frequency, shift, weight
    made = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]
    return made[0], made[1], made[2], made[3], made[4]


@edge_sum.register_kernel("cuda")
def _(*inputs: Any) -> Tensor:
    from qkan.kernels import bloch_triton

    *tensors, gates, readout, arccos = inputs
    return bloch_triton.edge_sum(tuple(tensors), program(gates), readout == "amplitude", arccos)


@edge_sum_backward.register_kernel("cuda")
def _(grad: Tensor, *inputs: Any) -> _Grads:
    from qkan.kernels import bloch_triton

    *tensors, gates, readout, arccos = inputs
    return bloch_triton.edge_sum_backward(grad, tuple(tensors), program(gates), readout == "amplitude", arccos)


def _save(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, theta, frequency, shift, weight = tensors = ctx.saved_tensors
    gates, readout, arccos = ctx.options
    if torch.is_grad_enabled():
        wanted = [tensor for tensor, need in zip(tensors, ctx.needs_input_grad, strict=False) if need]
        y = reference.edge_sum(decode(gates), x, theta, frequency, shift, weight, readout, arccos)
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
        return *(next(found) if need else None for need in ctx.needs_input_grad[:5]), None, None, None
    return *edge_sum_backward(grad, *tensors, gates, readout, arccos), None, None, None


edge_sum.register_autograd(_differentiate, setup_context=_save)
