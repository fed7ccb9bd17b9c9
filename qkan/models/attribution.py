"""How much every node and edge of a KAN contributes to its outputs, passed backwards from the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qkan.errors import NonFiniteError, ShapeError

if TYPE_CHECKING:
    from qkan.models.kan import KAN

#: Rows whose edge values (rows, m, n) are held at once.
CHUNK = 512

#: A node whose edges cancel to this fraction of their size is constant to rounding and passes no score on.
CANCELLED = 1e-6


@dataclass(frozen=True)
class Attribution:
    """Scores of nodes and edges, float64, larger for more important; none is negative.

    Attributes:
        nodes: per level of nodes, inputs first, (width,).
        edges: per layer, (m, n).
        shares: per layer, (m, n): the edge's standard deviation divided by that of the node it leads to.
    """

    nodes: tuple[Tensor, ...]
    edges: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]


def attribute(model: KAN, x: Tensor, out_score: Sequence[float] | None = None) -> Attribution:
    """Attribution scores of Liu et al., arXiv 2408.10205, section 4.1.

    With E_oi the standard deviation of edge oi over the rows and N_o that of the node it leads to, an edge's score is
    B_oi = A_o E_oi / N_o, and a node's score A_i = Σ_o B_oi sums over the edges that leave it. So an edge into a node
    that later layers ignore scores nothing, however large it is.

    Args:
        model: the network.
        x: rows (rows, n) on which the network is used; two or more.
        out_score: (width[-1],) scores of the outputs. By default 1/width[-1] each, which is the mean over outputs.

    Raises:
        ShapeError: x or ``out_score`` has another shape.
        NonFiniteError: an edge is NaN or infinite on these rows.
    """
    rows = check_rows(model, x)
    outputs = model.width[-1]
    start = torch.full((outputs,), 1 / outputs) if out_score is None else torch.as_tensor(out_score)
    if tuple(start.shape) != (outputs,):
        raise ShapeError(f"out_score of shape {tuple(start.shape)} must be ({outputs},), one number per output.")
    shares = _shares(model, rows)
    nodes, edges = [start.to(shares[-1])], []
    for share in reversed(shares):
        edges.append(nodes[-1].unsqueeze(-1) * share)
        nodes.append(edges[-1].sum(0))
    return Attribution(tuple(reversed(nodes)), tuple(reversed(edges)), tuple(shares))


def check_rows(model: KAN, x: Tensor) -> Tensor:
    """Rows x (N, n) in the model's dtype and on its device.

    Raises:
        ShapeError: x has another shape, or fewer than two rows.
    """
    if x.ndim != 2 or x.shape[1] != model.width[0] or len(x) < 2:
        raise ShapeError(f"x of shape {tuple(x.shape)} must be (rows, {model.width[0]}) with at least 2 rows.")
    return x.to(next(model.parameters()))


def _shares(model: KAN, x: Tensor) -> list[Tensor]:
    found = []
    with torch.no_grad():
        for level, layer in enumerate(model.layers):
            edge_std, node_std = _deviations(layer, x)
            if not bool(torch.isfinite(edge_std).all()):
                raise NonFiniteError(f"layer {level} has edges that are NaN or infinite on these rows.")
            constant = node_std <= CANCELLED * edge_std.sum(1)
            share = edge_std / node_std.clamp_min(torch.finfo(node_std.dtype).tiny).unsqueeze(-1)
            found.append(share.masked_fill(constant.unsqueeze(-1), 0.0))
            x = torch.cat([layer(part) for part in x.split(CHUNK)])
    return found


def _deviations(layer: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations over the rows of the edges (m, n) and of their sums (m,), float64, chunk by chunk."""
    first: Tensor | None = None
    sums: list[Tensor] = []
    for part in x.split(CHUNK):
        edges = layer.edges(part).double()  # type: ignore[operator]
        edges = torch.cat([edges, edges.sum(-1, keepdim=True)], -1)
        # Moments about the first chunk's mean, so that a large constant does not drown the variation.
        first = edges.mean(0) if first is None else first
        away = edges - first
        parts = [away.sum(0), (away**2).sum(0)]
        sums = parts if not sums else [old + new for old, new in zip(sums, parts, strict=True)]
    mean, power = sums[0] / len(x), sums[1] / len(x)
    deviation = (power - mean**2).clamp_min(0).sqrt()
    return deviation[:, :-1], deviation[:, -1]
