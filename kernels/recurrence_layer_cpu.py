"""Brings tensors to the compiled time loop: memory, threads, and the sums over threads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import numba_cpu, recurrence_cpu
from qkan.kernels.recurrence_ops import BLOCK_ROWS, kept_shapes

#: Fewer multiply-adds than this are not worth waking another thread for.
SERIAL_WORK = 2**17
_CELLS = {"lstm": recurrence_cpu.LSTM, "gru": recurrence_cpu.GRU}


def _shares(x: Tensor, matrix: Tensor) -> tuple[int, int, int]:
    """Rows in a block, a multiple of four; parts of the batch, one for each thread; and the work."""
    batch = x.shape[1]
    work = x.shape[0] * batch * matrix.numel()
    threads = torch.get_num_threads() if work >= SERIAL_WORK else 1
    rows = -(-batch // threads)
    block = max(4, min(BLOCK_ROWS, -(-rows // 4) * 4))
    return block, max(1, min(threads, -(-batch // block))), work


def _arrays(*tensors: Tensor | None) -> tuple[np.ndarray, ...]:
    """Contiguous arrays; empty ones for ``None``."""
    made = (torch.empty(0, 0) if tensor is None else tensor.detach().contiguous() for tensor in tensors)
    return tuple(tensor.numpy() for tensor in made)


def _lengths(lengths: Tensor | None) -> np.ndarray:
    return (torch.empty(0, dtype=torch.int64) if lengths is None else lengths.contiguous()).numpy()


def forward(
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
    """See :func:`qkan.kernels.recurrence_ops.recurrence`."""
    out, last = x.new_empty(x.shape[0], *h0.shape), torch.empty_like(h0, memory_format=torch.contiguous_format)
    kept = [x.new_empty(shape) for shape in kept_shapes(x, matrix, h0.shape[1], cell, keep)]
    block, parts, work = _shares(x, matrix)
    kind = _CELLS[cell], degree, keep
    numba_cpu.run(
        recurrence_cpu.FORWARD,
        work,
        parts,
        _arrays(x, h0, c0),
        _arrays(matrix, bias, encode),
        _lengths(lengths),
        kind,
        _arrays(*kept),
        *_arrays(out, last),
        block,
        parts,
    )
    return [out, out[-1].clone(), last, *kept]


def backward(
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
    """See :func:`qkan.kernels.recurrence_ops.recurrence_backward`."""
    block, parts, work = _shares(x, matrix)
    results = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, h0, c0)]
    shapes = matrix.shape, (matrix.shape[-1],), (0, 0) if encode is None else encode.shape
    sums = [x.new_zeros(parts, *shape) for shape in shapes]
    transposed = matrix.reshape(-1, matrix.shape[-1]).t()
    numba_cpu.run(
        recurrence_cpu.BACKWARD,
        work,
        parts,
        _arrays(*grads),
        _arrays(x, h0, c0),
        _arrays(matrix, transposed, encode, None if encode is None else encode.t()),
        _lengths(lengths),
        (_CELLS[cell], degree),
        _arrays(*kept[1:]),
        *_arrays(kept[0]),
        _arrays(*results),
        _arrays(*sums),
        block,
        parts,
    )
    return [*results, *(total[0] if parts == 1 else total.sum(0) for total in sums)]
