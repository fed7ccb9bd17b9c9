"""Knots of B-splines: equally spaced, moved to samples, and halved; all in float64 on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from qkan.bases._extend import extended
from qkan.kernels.reference import cox_de_boor


def extended_knots(points: Tensor, k: int) -> Tensor:
    """Grid points (..., G + 1) with k more on either side, at the mean distance of the points: (..., G + 2k + 1)."""
    step = (points[..., -1:] - points[..., :1]) / (points.shape[-1] - 1)
    outwards = step * torch.arange(1, k + 1, dtype=points.dtype, device=points.device)
    return torch.cat([points[..., :1] - outwards.flip(-1), points, points[..., -1:] + outwards], -1)


def end_slopes(knots: Tensor, k: int) -> Tensor:
    """Derivatives of the splines at both ends of the grid, knots (..., G + 2k + 1) -> (2, ..., G + k).

    B'_m = k [B_{m,k-1}/(t_{m+k} - t_m) - B_{m+1,k-1}/(t_{m+k+1} - t_{m+1})] (de Boor 2001, chapter X).
    """
    inner = knots[..., k:-k]
    ends = torch.stack([inner[..., 0], inner[..., -1]])
    if k == 1:  # splines of degree 0 jump at the ends: look inside the first and the last interval
        ends = torch.stack([inner[..., :2].mean(-1), inner[..., -2:].mean(-1)])
    lower = cox_de_boor(ends, knots, k - 1)
    shares = k * lower / (knots[..., k:] - knots[..., :-k])
    return shares[..., :-1] - shares[..., 1:]


def greville(knots: Tensor, k: int) -> Tensor:
    """The place every spline stands for, the mean of its k inner knots: (..., G + k)."""
    return knots[..., 1:-1].unfold(-1, k, 1).mean(-1)


def moved_points(sites: Tensor, points: Tensor, grid_eps: float, smallest: float) -> Tensor:
    """Grid points of one input moved to its samples.

    t = ε · equally spaced + (1 - ε) · quantiles of the samples, both from the least to the largest sample (Liu et al.,
    arXiv 2404.19756, and pykan). Where samples coincide ε is raised until neighbours differ by ``smallest``, a relative
    distance that the storing type resolves. Samples that are all (nearly) the same keep the old points if they lie
    among them; otherwise an equally spaced grid as wide as the old one is centred on them.

    Args:
        sites: samples (N,).
        points: old grid points (G + 1,).
        grid_eps: ε in [0, 1].
        smallest: least distance of two points, relative to the larger size of both ends.

    Returns:
        (G + 1,), ascending.
    """
    grid = len(points) - 1
    low, high = sites.aminmax()
    least = grid * smallest * float(torch.maximum(low.abs(), high.abs()))
    span = float(high - low)
    if span <= least:
        if points[0] <= low and high <= points[-1]:
            return points
        half = max(float(points[-1] - points[0]), 4 * least) / 2
        middle = float(low + high) / 2
        return torch.linspace(middle - half, middle + half, grid + 1, dtype=sites.dtype, device=sites.device)
    share = min(1.0, max(grid_eps, least / span))
    places = torch.arange(grid + 1, device=sites.device) * len(sites) // grid
    quantiles = sites.sort().values[places.clamp_max(len(sites) - 1)]
    equal = torch.linspace(float(low), float(high), grid + 1, dtype=sites.dtype, device=sites.device)
    found = share * equal + (1 - share) * quantiles
    found[0], found[-1] = low, high
    return found


def finer_points(points: Tensor, size: int) -> Tensor:
    """``size`` + 1 ascending points that hold those given (G + 1,).

    Every interval is divided equally where ``size`` is a multiple of G; otherwise the widest intervals are halved.
    """
    grid = len(points) - 1
    if size % grid == 0:
        shares = torch.arange(size // grid, dtype=points.dtype, device=points.device) * (grid / size)
        return torch.cat([(points[:-1, None] + points.diff()[:, None] * shares).flatten(), points[-1:]])
    while len(points) < size + 1:
        widest = int(points.diff().argmax()) + 1
        middle = (points[widest - 1] + points[widest]) / 2
        points = torch.cat([points[:widest], middle[None], points[widest:]])
    return points


class Splines:
    """Features of one input in float64: sites (N,) -> (N, K)."""

    def __init__(self, points: Tensor, k: int, extend: str):
        self.knots, self.k, self.extend = extended_knots(points, k), k, extend
        self.ends, self.slopes = (points[0], points[-1]), end_slopes(self.knots, k)

    def __call__(self, x: Tensor) -> Tensor:
        return extended(lambda held: cox_de_boor(held, self.knots, self.k), x, *self.ends, self.extend, self.slopes)


def spread(points: Tensor, k: int) -> Tensor:
    """Sites that fix every spline: 8 or more equally spaced within every interval, and both ends."""
    count = 8 * (k + 1)
    shares = torch.arange(count, dtype=points.dtype, device=points.device) / count
    return torch.cat([(points[:-1, None] + points.diff()[:, None] * shares).flatten(), points[-1:]])
