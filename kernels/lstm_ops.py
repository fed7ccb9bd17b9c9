"""A whole sequence through an LSTM with dense gates, in one or both directions, as one function; float32 on the CPU.

The products are PyTorch's; what is between them is one compiled pass a step. Both directions step together, and the
gradients by weights are one product each over all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Functions of candidates and cells.
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def reference(x: Tensor, activation: str, *weights: Tensor) -> Tensor:
    """Outputs (T, N, d H) for x (T, N, n), in plain PyTorch.

    ``weights`` are for every direction those by inputs (4H, n), by the hidden state (4H, H) and biases (4H,), with the
    gates i, f, g, o; the second direction begins at the last step.

    Args:
        x: (T, N, n).
        activation: name of the function of g and of the output.
        *weights: for each direction.
    """
    act = ACTIVATIONS[activation]
    weight, recurrent, bias = _stacked(weights)
    directions, units = len(weight), recurrent.shape[1]
    steps, rows, channels = x.shape
    both = torch.stack([x, x.flip(0)][:directions])  # (d, T, N, n): one time loop for both, so that it is half as long
    entering = torch.baddbmm(bias, both.reshape(directions, steps * rows, channels), weight)
    h = c = x.new_zeros(directions, rows, units)
    outputs: list[Tensor] = []
    for gates in entering.view(directions, steps, rows, -1).unbind(1):
        if outputs:
            gates = torch.baddbmm(gates, h, recurrent)
        sigmoids, candidate = gates[..., : 3 * units].sigmoid(), act(gates[..., 3 * units :])
        i, f, o = sigmoids.chunk(3, -1)
        c = torch.addcmul(i * candidate, f, c) if outputs else i * candidate
        h = o * act(c)
        outputs.append(h)
    hidden = torch.stack(outputs)  # (T, d, N, H)
    return torch.cat([hidden[:, 0], hidden[:, 1].flip(0)] if directions == 2 else [hidden[:, 0]], -1)


def _stacked(weights: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights (d, n, 4H), recurrent weights (d, H, 4H) and biases (d, 1, 4H); gates i, f, o, g.

    The candidate g comes last here, so that the three sigmoids are neighbours.
    """
    found: list[list[Tensor]] = [[], [], []]
    for place, tensor in enumerate(weights):
        i, f, g, o = tensor.chunk(4)
        found[place % 3].append(torch.cat([i, f, o, g]))
    weight, recurrent, bias = (torch.stack(part) for part in found)
    return weight.transpose(1, 2), recurrent.transpose(1, 2), bias.unsqueeze(1)


class Lstm(torch.autograd.Function):
    """What :func:`reference` computes; gradients of gradients go through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *weights: Tensor) -> Tensor:
        steps, rows, _ = x.shape
        ways, size = len(weights) // 3, weights[1].shape[1]
        gates, cells = x.new_empty(ways, steps, rows, 4 * size), x.new_empty(ways, steps, rows, size)
        out = x.new_empty(steps, rows, ways * size)
        loops = []
        for way in range(ways):
            by_input, recurrent, bias = weights[3 * way : 3 * way + 3]
            torch.addmm(bias, x.view(steps * rows, -1), by_input.t(), out=gates[way].view(steps * rows, -1))
            hidden = out[..., way * size : (way + 1) * size]
            loops.append((_in_order(gates[way], way), _in_order(hidden, way), recurrent.t()))
        step_of = _compiled("STEP", rows * ways * size, gates, cells, out)
        for step in range(steps):
            for now, states, turned in loops if step else ():
                now[step].addmm_(states[step - 1], turned)
            step_of(step, activation == "relu")
        ctx.activation = activation
        ctx.save_for_backward(x, gates, cells, out, *weights)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, gates, cells, out, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(ctx, grad, x, weights)
        ways, steps, rows, size = cells.shape
        by_gates = torch.empty_like(gates)
        by_hidden, by_cell = x.new_zeros(ways, rows, size), x.new_zeros(ways, rows, size)
        loops = [(_in_order(by_gates[way], way), weights[3 * way + 1], by_hidden[way]) for way in range(ways)]
        tensors = grad.contiguous(), by_hidden, by_cell, gates, cells, by_gates
        step_of = _compiled("STEP_BACKWARD", rows * ways * size, *tensors)
        for step in range(steps - 1, -1, -1):
            step_of(step, ctx.activation == "relu")
            for now, recurrent, before in loops if step else ():
                torch.mm(now[step], recurrent, out=before)
        by_x, found = None, []
        flat_x, flat_out = x.view(steps * rows, -1), out.view(steps * rows, -1)
        for way in range(ways):
            flat = by_gates[way].view(steps * rows, -1)
            if ctx.needs_input_grad[0]:
                by_x = torch.mm(flat, weights[0]) if by_x is None else by_x.addmm_(flat, weights[3 * way])
            later, sooner = (flat[:-rows], flat_out[rows:, size:]) if way else (flat[rows:], flat_out[:-rows, :size])
            found += [torch.mm(flat.t(), flat_x), torch.mm(later.t(), sooner), flat.sum(0)]
        return None if by_x is None else by_x.view_as(x), None, *found


def _in_order(series: Tensor, way: int) -> list[Tensor]:
    """The parts of a series (T, ...) as a direction sees them; the second begins at the end."""
    return list(series.unbind(0))[:: -1 if way else 1]


def _again(ctx: Any, grad: Tensor, x: Tensor, weights: list[Tensor]) -> Any:
    """Gradients that can be differentiated."""
    need = [ctx.needs_input_grad[0], *ctx.needs_input_grad[2:]]
    tensors = [x, *weights]
    wanted = [tensor for tensor, needed in zip(tensors, need, strict=True) if needed]
    found = reference(x, ctx.activation, *weights)
    # A single step does not use the recurrent weights.
    slopes = iter(torch.autograd.grad(found, wanted, grad, create_graph=True, materialize_grads=True))
    first, *rest = (next(slopes) if needed else None for needed in need)
    return first, None, *rest


def _compiled(kernel: str, work: int, *tensors: Tensor) -> Callable[..., None]:
    """A compiled pass over tensors; what it returns takes the rest of its arguments."""
    from qkan.kernels import lstm_cpu, numba_cpu

    arrays = [tensor.detach().numpy() for tensor in tensors]
    threads, forms = torch.get_num_threads(), getattr(lstm_cpu, kernel)
    return lambda *rest: numba_cpu.run(forms, 8 * work, threads, *arrays, *rest)
