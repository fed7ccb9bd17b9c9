"""Memory that kernels use again and again, so that no call pays for fresh pages from the operating system."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

#: Features of more bytes than this are computed chunk by chunk: large enough for full matmul speed, small enough for
#: the last-level cache.
CHUNK_BYTES = 2 * 2**20


class _Rooms(threading.local):
    def __init__(self) -> None:
        self.flat: dict[str, Tensor] = {}


_ROOMS = _Rooms()


def room(name: str, *shape: int) -> Tensor:
    """A float32 tensor on the CPU with unknown contents, valid until this thread next asks for the same name.

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
    """The rows of each chunk, where a row of features has ``row_elements`` numbers."""
    rows = max(1, CHUNK_BYTES // (4 * row_elements))
    return [slice(start, min(start + rows, batch)) for start in range(0, batch, rows)]
