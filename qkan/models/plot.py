"""A picture of a KAN: nodes, and on every edge its function.

The picture is that of Liu et al., arXiv 2404.19756, section 2.5.1 (visualisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from qkan.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from qkan.models.kan import KAN

#: Room for labels and title below and above the network, in layer heights.
_MARGIN = 0.2


def draw(
    model: KAN,
    x: Tensor,
    *,
    in_vars: Sequence[str] | None = None,
    out_vars: Sequence[str] | None = None,
    beta: float = 3.0,
    max_edges: int = 60,
    title: str | None = None,
) -> Any:
    """Draw the network from its inputs (bottom) to its outputs (top) with the edge functions seen on data.

    Args:
        model: the network.
        x: data rows (rows, n); each edge is drawn over the range its input takes on them.
        in_vars: names of the inputs.
        out_vars: names of the outputs.
        beta: an edge's opacity is tanh(beta · s), s its output's standard deviation relative to the layer's largest.
        max_edges: only the strongest edges of each layer are drawn beyond this many; pruned ones never are.
        title: of the figure.

    Returns:
        A matplotlib ``Figure``; nothing is shown or written.

    Raises:
        ShapeError: x has another width than the network, or fewer than 2 rows.
        OptionError: ``in_vars`` or ``out_vars`` are not as many as inputs or outputs.
    """
    from matplotlib.figure import Figure

    if x.ndim != 2 or x.shape[1] != model.width[0] or len(x) < 2:
        raise ShapeError(f"x of shape {tuple(x.shape)} must be (rows, {model.width[0]}) with at least 2 rows.")
    for name, given, size in (("in_vars", in_vars, model.width[0]), ("out_vars", out_vars, model.width[-1])):
        if given is not None and len(given) != size:
            raise OptionError(f"{name} has {len(given)} names, but there are {size} of them.")
    depth = len(model.layers)
    figure = Figure(figsize=(max(6.0, min(16.0, 1.1 * max(model.width))), 2.6 * depth + 0.8))
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 1), ylim=(-_MARGIN, depth + _MARGIN))
    canvas.axis("off")
    places = [(np.arange(size) + 0.5) / size for size in model.width]
    inputs = x.to(next(model.parameters()))
    with torch.no_grad():
        for level, layer in enumerate(model.layers):
            edges = layer.edges(inputs)
            _draw_layer(figure, canvas, inputs, edges, layer.active(), level, depth, places, beta, max_edges)
            inputs = layer(inputs)
    for level, place in enumerate(places):
        canvas.scatter(place, np.full(len(place), level), s=36, color="black", zorder=3)
    _label(canvas, places[0], -0.02, in_vars, "top")
    _label(canvas, places[-1], depth + 0.02, out_vars, "bottom")
    if title:
        figure.suptitle(title)
    return figure


def _draw_layer(
    figure: Any,
    canvas: Any,
    inputs: Tensor,
    edges: Tensor,
    active: Tensor,
    level: int,
    depth: int,
    places: list[np.ndarray],
    beta: float,
    max_edges: int,
) -> None:
    strength = edges.std(0)
    strength = strength / strength.max().clamp_min(1e-12)
    n = strength.shape[1]
    drawn = min(max_edges, int(active.sum()))  # pruned edges come last and are left out
    chosen = strength.masked_fill(~active, -1.0).flatten().argsort(descending=True)[:drawn].tolist()
    slots = {edge: slot for slot, edge in enumerate(sorted(chosen, key=lambda e: _midpoint(e, n, level, places)))}
    width = 0.9 / max(len(chosen), 4)
    for edge in chosen:
        o, i = divmod(edge, n)
        opacity = float(np.tanh(beta * float(strength[o, i])))
        centre = (slots[edge] + 0.5) / len(chosen)
        low, high = places[level][i], places[level + 1][o]
        canvas.plot(
            [low, centre, high], [level, level + 0.5, level + 1], color="black", alpha=opacity, lw=0.8, zorder=1
        )
        bottom = (level + 0.5 + _MARGIN) / (depth + 2 * _MARGIN)
        height = min(width * 1.2, 0.3 / depth)
        box = figure.add_axes((centre - width / 2, bottom - height / 2, width, height))
        order = inputs[:, i].argsort()
        box.plot(inputs[order, i].cpu(), edges[order, o, i].cpu(), color="black", alpha=max(opacity, 0.15), lw=1.2)
        box.set(xticks=[], yticks=[])
        box.margins(0.1)


def _midpoint(edge: int, n: int, level: int, places: list[np.ndarray]) -> tuple[float, int]:
    o, i = divmod(edge, n)
    return float(places[level][i] + places[level + 1][o]), edge


def _label(canvas: Any, places: np.ndarray, height: float, names: Sequence[str] | None, align: str) -> None:
    for place, name in zip(places, names or (), strict=False):
        canvas.text(place, height, str(name), ha="center", va=align, fontsize=9)
