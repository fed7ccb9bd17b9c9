"""PyTorch's linear map, drawn from a local generator."""

from __future__ import annotations

import math

import torch
from torch import nn

from qkan._random import generator
from qkan.errors import check_positive


def linear(in_features: int, out_features: int, bias: bool = True, seed: int | None = None) -> nn.Linear:
    """A ``torch.nn.Linear`` with its usual distribution, uniform in ±1/√in_features; global random state is untouched.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether it has one.
        seed: of a local generator; ``None`` draws fresh entropy.

    Raises:
        OptionError: a width is not a whole number of at least 1.
    """
    sizes = check_positive("in_features", in_features), check_positive("out_features", out_features)
    made = nn.utils.skip_init(nn.Linear, *sizes, bias=bias, device=torch.get_default_device())
    local, bound = generator(seed), 1 / math.sqrt(in_features)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.rand(parameter.shape, generator=local, device="cpu")
            parameter.copy_((2 * noise - 1) * bound)
    return made
