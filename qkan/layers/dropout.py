"""Dropout that draws from a generator of its own.

Srivastava et al., Journal of Machine Learning Research 15 (2014).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.errors import OptionError


class Dropout(nn.Module):
    """``torch.nn.Dropout`` with local randomness: PyTorch's draws from the global state.

    Copies go on from where the original stands. The state of the generator is not part of the state dict.

    Args:
        p: share of the numbers set to zero in training, to 1/65,536; the others are multiplied by 1/(1 - p).
        seed: of the generator; ``None`` draws fresh entropy.

    Shapes: any, kept.

    Raises:
        OptionError: ``p`` is not in [0, 1).
    """

    def __init__(self, p: float = 0.5, seed: int | None = None):
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p < 1:
            raise OptionError(f"dropout={p!r} must be a number from 0 up to, but not including, 1.")
        self.p = float(p)
        self._kept = min(max(round((1 - self.p) * 2**16), 1), 2**16 - 1)  # of 65,536
        self._generator = generator(seed)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        # Drawn on the CPU, so that a seed means the same on every device; 16 bits decide about a number, four numbers
        # are drawn at a time.
        words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),), generator=self._generator, device="cpu")
        # Compared as float32, which holds 16 bits exactly and is several times faster than by way of booleans.
        mask = words.view(torch.int16)[: x.numel()].view(x.shape).to(torch.float32).lt_(self._kept - 2**15)
        return x * mask.mul_(2**16 / self._kept).to(x)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
