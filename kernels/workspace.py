"""What kernels around a matrix product share: memory used again and again, chunks of rows, and the product itself.

Memory is kept so that no call pays for fresh pages from the operating system.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

#: Features of more bytes than this are computed chunk by chunk: large enough for full matmul speed, small enough for
#: the last-level cache.
CHUNK_BYTES = 2 * 2**20

_PARTS, _SHORTEST = 8, 64


def _keep_freed_memory() -> None:
    """Let the allocator keep blocks of megabytes that are freed, which oneDNN's results are, instead of returning them.

    glibc raises its limits to the size of the largest block that was ever mapped and freed, up to 32 MiB. The pages of
    this one are never touched, so they cost nothing.
    """
    torch.empty(31 * 2**20, device="cpu", dtype=torch.uint8)


_keep_freed_memory()


class _Rooms(threading.local):
    def __init__(self) -> None:
        self.flat: dict[str, Tensor] = {}


_ROOMS = _Rooms()


def room(name: str, *shape: int) -> Tensor:
    """A float32 tensor (*shape,) on the CPU with unknown contents, valid until this thread next asks for the name.

    Up to CHUNK_BYTES are kept for every thread and name; larger tensors are made afresh.
    """
    size = math.prod(shape)
    if 4 * size > CHUNK_BYTES:
        return torch.empty(shape, device="cpu", dtype=torch.float32)
    flat = _ROOMS.flat.get(name)
    if flat is None or flat.numel() < size:
        flat = _ROOMS.flat[name] = torch.empty(CHUNK_BYTES // 4, device="cpu", dtype=torch.float32)
    return flat[:size].view(shape)


def chunks(batch: int, row_elements: int) -> list[slice]:
    """The rows of each chunk, where a row of features has ``row_elements`` numbers.

    Args:
        batch: number of rows.
        row_elements: numbers in the features of a row.
    """
    rows = max(1, CHUNK_BYTES // (4 * row_elements))
    return [slice(start, min(start + rows, batch)) for start in range(0, batch, rows)]


def product(bias: Tensor, columns: Tensor, matrix: Tensor, out: Tensor) -> None:
    """Out = bias + columns.T @ matrix.T, shapes (m,), (K, B), (m, K), (B, m).

    The sum over K is taken in parts: a float32 sum of thousands of terms in a row loses half a digit more.

    Args:
        bias: (m,).
        columns: (K, B).
        matrix: (m, K).
        out: (B, m), overwritten.
    """
    width = max(_SHORTEST, -(-len(columns) // _PARTS))
    torch.addmm(bias, columns[:width].t(), matrix[:, :width].t(), out=out)
    for start in range(width, len(columns), width):
        part = slice(start, start + width)
        out.addmm_(columns[part].t(), matrix[:, part].t())


def by_rows(a: Tensor, b: Tensor) -> Tensor:
    """The product a @ b.T for contiguous a (p, k) and b (q, k), by oneDNN where PyTorch has it.

    It keeps the widest vectors of every processor busy, but sums in one run: for gradients, and sums that are short.
    """
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return torch.mm(a, b.t()) if linear is None else linear(a, b, None, "none", [], "")
