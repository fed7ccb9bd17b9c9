"""A whole sequence through an LSTM or GRU whose gates are features times coefficients, as one PyTorch operator.

The pre-activations of the gates in step t are  bias + Σ_k B_k(v_t) M_k  with v_t = (x_t, h_{t-1}), or
v_t = x_t + h_{t-1} E where an encoder E mixes them; B_k are the harmonics cos v … cos Dv, sin v … sin Dv and, with a
base branch, silu v (Hsu et al., arXiv 2512.05049, with every gate's QKAN written by its coefficients).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from qkan.kernels import spectral

#: Rows of the batch that go through the sequence together, so that what they need stays in the cache.
BLOCK_ROWS = 32


class Kind(NamedTuple):
    """Which recurrence: the cell, "lstm" or "gru", the degree of the harmonics, and whether silu is a feature."""

    cell: str
    degree: int
    base: bool

    @property
    def features(self) -> int:
        """K, the number of features of every input; the constant is not among them."""
        return 2 * self.degree + self.base


#: A recurrent state, (h, c) of an LSTM or (h,) of a GRU, each (..., width).
State = tuple[Tensor, ...]


def lstm_step(gates: Tensor, state: State) -> State:
    """(h, c) after a step, from pre-activations i, f, g, o (..., 4H) and the state before.

    Args:
        gates: (..., 4H).
        state: (h, c), each (..., H).
    """
    i, f, g, o = gates.chunk(4, -1)
    cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def gru_step(gates: Tensor, state: State) -> State:
    """(h,) after a step, from pre-activations r, z, a, b (..., 4H): n = tanh(a + σ(r) b), h = n + σ(z) (h - n).

    Args:
        gates: (..., 4H).
        state: (h,), (..., H).
    """
    r, z, a, b = gates.chunk(4, -1)
    candidate = torch.tanh(a + torch.sigmoid(r) * b)
    return (candidate + torch.sigmoid(z) * (state[0] - candidate),)


#: What a cell makes of its gates and its state.
STEPS: dict[str, Callable[[Tensor, State], State]] = {"lstm": lstm_step, "gru": gru_step}


def scan(
    step: Callable[[Tensor, State], State], x: Tensor, state: State, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """The plain time loop: ``step(x_t, state)`` for every x_t of x (T, B, ...); a state begins with the output.

    Rows whose sequence has ended (t >= lengths, (B,)) keep their state. Returns the outputs (T, B, ...) and last state.
    """
    outputs = []
    for t, x_t in enumerate(x.unbind(0)):
        after = step(x_t, state)
        if lengths is not None:
            ended = (t >= lengths).unsqueeze(-1)
            after = tuple(torch.where(ended, old, new) for old, new in zip(state, after, strict=True))
        state = after
        outputs.append(state[0])
    return torch.stack(outputs), state


def recurrence_reference(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    matrix: Tensor,
    bias: Tensor,
    encode: Tensor | None,
    lengths: Tensor | None,
    kind: Kind,
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`recurrence` computes, in plain PyTorch."""
    flat = matrix.transpose(0, 1).reshape(-1, matrix.shape[-1])  # (N K, 4H)

    def step(x_t: Tensor, state: State) -> State:
        v = torch.cat([x_t, state[0]], -1) if encode is None else x_t + state[0] @ encode
        columns = spectral.harmonics(v, kind.degree)[..., 1:]
        if kind.base:
            columns = torch.cat([columns, functional.silu(v).unsqueeze(-1)], -1)
        return STEPS[kind.cell](bias + columns.flatten(-2) @ flat, state)

    out, state = scan(step, x, (h0, c0) if kind.cell == "lstm" else (h0,), lengths)
    return out, state[0], state[1] if kind.cell == "lstm" else c0


@torch.library.custom_op("qkan::recurrence", mutates_args=(), device_types="cpu")
def recurrence(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    matrix: Tensor,
    bias: Tensor,
    encode: Tensor | None,
    lengths: Tensor | None,
    cell: str,
    degree: int,
    keep: bool,
) -> list[Tensor]:
    """All time steps at once; float32.

    Args:
        x: (T, B, n).
        h0: (B, H), the hidden state before.
        c0: (B, H), the cell before, for "gru" of any content.
        matrix: (K, N, 4H) coefficients of the K features of every input, N = n + H, or n with an encoder.
        bias: (4H,).
        encode: (H, n), or ``None``.
        lengths: (B,) int64, the steps of every row; ``None`` for T. Rows keep their state after their end.
        cell: "lstm" with gates i, f, g, o, or "gru" with r, z, a, b; see :func:`gru_step`.
        degree: D, of the harmonics; K = 2D + 1 has the base branch silu, K = 2D has not.
        keep: whether a backward pass will follow.

    Returns:
        Outputs (T, B, H), last hidden state and last cell (B, H); and what the backward pass needs: features
        (T, K, B, N), slopes of silu (T, B, N), gates (T, B, 4H), cells (T, B, H).
    """
    from qkan.kernels import recurrence_layer_cpu

    return recurrence_layer_cpu.forward(x, h0, c0, matrix, bias, encode, lengths, cell, degree, keep)


def kept_shapes(x: Tensor, matrix: Tensor, size: int, cell: str, keep: bool) -> list[tuple[int, ...]]:
    """Shapes of features, slopes, gates and cells.

    Args:
        x: (T, B, n).
        matrix: coefficients of the gates.
        size: hidden size H.
        cell: "lstm" or "gru".
        keep: whether those of all steps are kept, as a backward pass needs them.
    """
    steps, batch = x.shape[0] if keep else 1, x.shape[1]
    inputs = matrix.shape[1]
    cells = (steps, batch, size if cell == "lstm" else 0)
    return [(steps, matrix.shape[0], batch, inputs), (steps, batch, inputs), (steps, batch, 4 * size), cells]


@recurrence.register_fake
def _(x: Tensor, h0: Tensor, c0: Tensor, matrix: Tensor, bias: Tensor, *rest: Any) -> list[Tensor]:
    _, _, cell, _, keep = rest
    made = [x.new_empty(x.shape[0], *h0.shape), h0.new_empty(h0.shape), h0.new_empty(h0.shape)]
    return made + [x.new_empty(shape) for shape in kept_shapes(x, matrix, h0.shape[1], cell, keep)]


@torch.library.custom_op("qkan::recurrence_backward", mutates_args=(), device_types="cpu")
def recurrence_backward(
    grads: list[Tensor],
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    matrix: Tensor,
    encode: Tensor | None,
    lengths: Tensor | None,
    kept: list[Tensor],
    cell: str,
    degree: int,
) -> list[Tensor]:
    """Gradients by x, h0, c0, matrix, bias and encode (empty if there is none); ``kept`` begins with the outputs.

    Args:
        grads: by the outputs and the last states.
        x: (T, B, n).
        h0: (B, H).
        c0: (B, H); empty for a GRU.
        matrix: coefficients of the gates.
        encode: data weights, or ``None``.
        lengths: (B,) steps of each sequence, or ``None``.
        kept: outputs, then what the forward pass kept.
        cell: "lstm" or "gru".
        degree: D of the features.
    """
    from qkan.kernels import recurrence_layer_cpu

    return recurrence_layer_cpu.backward(grads, x, h0, c0, matrix, encode, lengths, kept, cell, degree)


@recurrence_backward.register_fake
def _(grads: Any, x: Tensor, h0: Tensor, c0: Tensor, matrix: Tensor, encode: Tensor | None, *rest: Any) -> list[Tensor]:
    made = [tensor.new_empty(tensor.shape) for tensor in (x, h0, c0, matrix)]
    return [*made, matrix.new_empty(matrix.shape[-1]), x.new_empty(0 if encode is None else encode.shape)]


def _save(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    *tensors, ctx.cell, ctx.degree, ctx.keep = inputs
    ctx.save_for_backward(*tensors, output[0], *output[3:])
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)


def _gradients(backward: Any, ctx: Any, grads: Any) -> tuple[Tensor | None, ...]:
    """Seven gradients, the last of them, by ``lengths``, always ``None``."""
    x, h0, c0, matrix, bias, encode, lengths, *kept = ctx.saved_tensors
    if all(grad is None for grad in grads):
        return (None,) * 7
    shapes = kept[0], h0, c0
    filled = [torch.zeros_like(like) if grad is None else grad for grad, like in zip(grads, shapes, strict=True)]
    if torch.is_grad_enabled():
        tensors = x, h0, c0, matrix, bias, encode
        wanted = [tensor for tensor, need in zip(tensors, ctx.needs_input_grad, strict=False) if need]
        kind = Kind(ctx.cell, ctx.degree, len(matrix) > 2 * ctx.degree)
        found = recurrence_reference(*tensors, lengths, kind)
        slopes = iter(torch.autograd.grad(found, wanted, filled, create_graph=True, materialize_grads=True))
        return *(next(slopes) if need else None for need in ctx.needs_input_grad[:6]), None
    results = backward(filled, x, h0, c0, matrix, encode, lengths, kept, ctx.cell, ctx.degree)
    return *results[:5], None if encode is None else results[5], None


def _differentiate(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    return *_gradients(recurrence_backward, ctx, grads[:3]), None, None, None


recurrence.register_autograd(_differentiate, setup_context=_save)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    from qkan.kernels import recurrence_layer_cpu

    return recurrence_layer_cpu


class _Direct(torch.autograd.Function):
    """The same without the operator's dispatch, which takes as long as a short sequence's arithmetic."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _compiled().forward(*inputs)
        *tensors, ctx.cell, ctx.degree, ctx.keep = inputs
        ctx.save_for_backward(*tensors, output[0], *output[3:])
        ctx.set_materialize_grads(False)
        return tuple(output[:3])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return *_gradients(_compiled().backward, ctx, grads), None, None, None


def run(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    matrix: Tensor,
    bias: Tensor,
    encode: Tensor | None,
    lengths: Tensor | None,
    kind: Kind,
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (T, B, H) and last states (B, H) of :func:`recurrence`: directly, or as the operator where one traces."""
    tensors = x, h0, c0, matrix, bias, encode
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    inputs = *tensors, lengths, kind.cell, kind.degree, keep
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return tuple(recurrence(*inputs)[:3])
    return _Direct.apply(*inputs)
