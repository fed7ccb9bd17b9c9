"""Remove the edges of a KAN that hardly matter, without cutting any output off.

Liu et al., arXiv 2404.19756, section 2.5.1, with the attribution scores of arXiv 2408.10205.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qkan.errors import OptionError
from qkan.models.attribution import attribute, check_rows

if TYPE_CHECKING:
    from qkan.models.kan import KAN

#: Stands for the share of an edge that carries nothing but may still be kept, so that a path through it exists.
_FAINT = 1e-12


@dataclass(frozen=True)
class Pruning:
    """What :func:`prune` did.

    Attributes:
        model: the pruned network; the one given is unchanged.
        before: edges that were not pruned before.
        after: edges that are left.
        restored: (layer, input, output) of edges below a threshold that stay, because an output hung on them.
        unused_inputs: inputs that no remaining edge takes.
        unused_nodes: (layer, node) of hidden nodes without edges; layer 0 ends at the first hidden level.
        change: root mean square of the change of the outputs on the rows, divided by the outputs' standard deviation.
    """

    model: KAN
    before: int
    after: int
    restored: tuple[tuple[int, int, int], ...]
    unused_inputs: tuple[int, ...]
    unused_nodes: tuple[tuple[int, int], ...]
    change: float

    def __str__(self) -> str:
        kept = f"{self.after} of {self.before} edges kept"
        parts = [kept, f"{len(self.restored)} of them to keep every output connected"] if self.restored else [kept]
        parts.append(f"{len(self.unused_nodes)} hidden nodes and {len(self.unused_inputs)} inputs unused")
        return "; ".join([*parts, f"outputs changed by {100 * self.change:.2g} % of their standard deviation"])


def prune(model: KAN, x: Tensor, node_th: float = 1e-2, edge_th: float = 3e-2) -> Pruning:
    """A copy of the network in which edges with low attribution scores are masked.

    Scores are those of :func:`~qkan.models.attribution.attribute` with score 1 for every output, so that thresholds
    mean the same for one output and for ten. What is left differs from thresholding alone in three ways:

    * every output keeps a path from an input: where thresholds cut it off, its strongest path (largest product of
      shares) stays, and the report lists the edges kept for that;
    * edges that lead nowhere or come from nowhere go too, whatever their score;
    * the mean of what is removed moves into the layers' biases (not with ``bias=False`` or ``bias="edge"``).

    Weights of pruned edges stay in the layers, masked. Train further with ``report.model.fit``.

    Args:
        model: the network.
        x: rows (rows, n) on which it is used; two or more.
        node_th: hidden nodes at or below this score lose all edges; 1e-2 as in pykan.
        edge_th: edges at or below this score go; 3e-2 as in pykan.

    Raises:
        OptionError: a threshold is not a number >= 0, every edge would go, or an output was cut off before.
        ShapeError: x has another shape.
    """
    for name, threshold in (("node_th", node_th), ("edge_th", edge_th)):
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not threshold >= 0:
            raise OptionError(f"{name}={threshold!r} must be zero or a positive number.")
    rows = check_rows(model, x)
    scores = attribute(model, rows, [1.0] * model.width[-1])
    allowed = [layer.active() for layer in model.layers]
    keep = [edges.gt(edge_th) & may for edges, may in zip(scores.edges, allowed, strict=True)]
    for level, nodes in enumerate(scores.nodes[1:-1]):
        keep[level] &= (nodes > node_th).unsqueeze(-1)
        keep[level + 1] &= nodes > node_th
    if not any(bool(part.any()) for part in keep):
        largest = max(float(edges.max()) for edges in scores.edges)
        raise OptionError(
            f"edge_th={edge_th} and node_th={node_th} would remove every edge (the largest score is {largest:.3g}); "
            "choose lower thresholds."
        )
    restored = _connect(keep, allowed, list(scores.shares))
    _drop_loose_ends(keep)
    pruned = _masked(model, rows, keep)
    return _report(model, pruned, rows, keep, allowed, restored)


def _connect(keep: list[Tensor], allowed: list[Tensor], shares: list[Tensor]) -> list[tuple[int, int, int]]:
    """Put back, in ``keep``, the strongest path of every output that has none; the edges put back."""
    alive = torch.ones(keep[0].shape[1], dtype=torch.bool, device=keep[0].device)
    strength = alive.double()
    origin = []
    for part, may, share in zip(keep, allowed, shares, strict=True):
        alive = (part & alive).any(1)
        paths = torch.where(may, share.clamp_min(_FAINT), 0.0) * strength
        strength, best = paths.max(1)
        origin.append(best)
    restored = []
    for output in _places(~alive):
        if float(strength[output]) == 0.0:
            raise OptionError(f"output {output} is already cut off from every input by the present masks.")
        node = output
        for level in reversed(range(len(keep))):
            source = int(origin[level][node])
            if not bool(keep[level][node, source]):
                keep[level][node, source] = True
                restored.append((level, source, node))
            node = source
    return sorted(restored)


def _drop_loose_ends(keep: list[Tensor]) -> None:
    """Clear, in place, edges from nodes that no input reaches and edges into nodes that reach no output."""
    reached = torch.ones(keep[0].shape[1], dtype=torch.bool, device=keep[0].device)
    for part in keep:
        part &= reached
        reached = part.any(1)
    wanted = torch.ones(keep[-1].shape[0], dtype=torch.bool, device=keep[0].device)
    for part in reversed(keep):
        part &= wanted.unsqueeze(-1)
        wanted = part.any(0)


def _masked(model: KAN, rows: Tensor, keep: list[Tensor]) -> KAN:
    """A copy with masks, every node's mean on the rows as before where the layer has a bias."""
    pruned = copy.deepcopy(model)
    before = after = rows
    with torch.no_grad():
        for old, new, part in zip(model.layers, pruned.layers, keep, strict=True):
            new.keep(part)
            before, after = old(before), new(after)
            if new.bias is not None and new.bias.dim() == 1:
                lost = (before - after).mean(0)
                new.bias.add_(lost)
                after = after + lost
    return pruned


def _report(
    model: KAN, pruned: KAN, rows: Tensor, keep: list[Tensor], allowed: list[Tensor], restored: list
) -> Pruning:
    with torch.no_grad():
        before, after = model(rows), pruned(rows)
    spread = float(before.std(0, correction=0).pow(2).mean().sqrt())
    change = float((after - before).pow(2).mean().sqrt()) / max(spread, torch.finfo(before.dtype).tiny)
    unused = [(level, node) for level, part in enumerate(keep[:-1]) for node in _places(~part.any(1))]
    return Pruning(
        model=pruned,
        before=sum(int(part.sum()) for part in allowed),
        after=sum(int(part.sum()) for part in keep),
        restored=tuple(restored),
        unused_inputs=tuple(_places(~keep[0].any(0))),
        unused_nodes=tuple(unused),
        change=change,
    )


def _places(flags: Tensor) -> list[int]:
    return flags.nonzero().flatten().tolist()
