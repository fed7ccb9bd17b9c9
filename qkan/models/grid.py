"""Grids of a whole network moved to data, layer after layer.

Liu et al., arXiv 2404.19756, section 2.2: grids are updated on the fly from the layer's inputs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qkan.bases._refit import GridUpdate, relative
from qkan.errors import QKANError
from qkan.models.attribution import check_rows

if TYPE_CHECKING:
    from qkan.models.kan import KAN


@dataclass(frozen=True)
class GridReport:
    """What :func:`update_grid` did.

    Attributes:
        layers: one :class:`~qkan.bases.GridUpdate` per layer, with its relative residual and the ranks of its inputs.
        output: ‖new - old‖/‖old‖ of the network's outputs on the samples.
    """

    layers: list[GridUpdate]
    output: float

    def __str__(self) -> str:
        lines = [f"layer {place}: {layer}" for place, layer in enumerate(self.layers)]
        return "\n".join([*lines, f"the outputs change by {self.output:.2e} of their size"])


def update_grid(model: KAN, x: Tensor, grid_eps: float = 0.02) -> GridReport:
    """Move the grids of all layers to what reaches them for the samples x (rows, n), in place.

    Every layer keeps its edge functions on its samples as its basis allows; each receives the samples from the layers
    before it as they are after their update. A failure leaves the network as it was.

    Args:
        model: changed in place.
        x: samples (rows, n).
        grid_eps: share of equal spacing, the rest being quantiles of the samples.

    Raises:
        OptionError: the basis has no grid to update, or there are fewer samples than coefficients on an edge.
        NonFiniteError: NaN or infinity among the samples, or reaching a layer.
        ShapeError: x is not (rows, n).
    """
    before_state, layers = copy.deepcopy(model.state_dict()), []
    rows = check_rows(model, x)
    with torch.no_grad():
        before, after = model(rows), rows
        try:
            for layer in model.layers:
                layers.append(layer.update_grid(after, grid_eps))
                after = layer(after)
        except QKANError:
            model.load_state_dict(before_state)
            raise
    changed, size = (float(part.double().square().sum()) for part in (after - before, before))
    return GridReport(layers, relative(changed, size))
