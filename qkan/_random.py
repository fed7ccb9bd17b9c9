"""Seeds without global state."""

from __future__ import annotations

import torch

from qkan.errors import check_positive


def generator(seed: int | None) -> torch.Generator:
    """A local generator: reproducible for a number, fresh entropy for ``None``. Global random state is untouched."""
    local = torch.Generator()
    if seed is None:
        local.seed()
    else:
        local.manual_seed(check_positive("seed", seed, 0))
    return local


def spawn(seed: int | None, count: int) -> list[int]:
    """``count`` independent seeds derived from ``seed``."""
    return torch.randint(2**62, (count,), generator=generator(seed)).tolist()
