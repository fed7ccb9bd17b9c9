"""What a feature does outside the interval it is made for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qkan.errors import OptionError


def extended(
    evaluate: Callable[[Tensor], Tensor], x: Tensor, low: Any, high: Any, extend: str, slopes: Tensor
) -> Tensor:
    """Features (..., K) of x (...), continued outside [low, high], which are numbers or tensors that broadcast with x.

    ``extend="zero"`` evaluates as it is, so local features die away; "clamp" holds the value at the nearer end;
    "linear" continues with the slope there, ``slopes[0]`` at low and ``slopes[1]`` at high, each of shape (K,).
    """
    if extend == "zero":
        return evaluate(x)
    features = evaluate(x.clamp(low, high))
    if extend == "clamp":
        return features
    below, above = torch.relu(low - x).unsqueeze(-1), torch.relu(x - high).unsqueeze(-1)
    return features + above * slopes[1] - below * slopes[0]


def check_interval(name: str, interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval as two floats, or raise :class:`OptionError` unless they are finite and low < high."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise OptionError(f"{name}={interval!r} must be two numbers (low, high).") from None
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise OptionError(f"{name}={interval!r} must be finite and satisfy low < high.")
    return low, high
