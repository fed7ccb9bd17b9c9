"""QCKANNet: Kolmogorov-Arnold convolutions over the features, then circuits side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qkan._random import spawn
from qkan.circuits.backends import Backend
from qkan.errors import OptionError, check_positive
from qkan.layers import KANLayer
from qkan.layers.conv import KANConv1d
from qkan.layers.dropout import Dropout
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind
from qkan.models.dcnn import PUBLISHED_EDGES, begin_as_keras
from qkan.models.dcnn_parts import Core

#: Window and stride of the two convolutions.
_WINDOWS = ((3, 2), (2, 2))


@saved_as_own_kind
class QCKANNet(Network):
    """The convolutional hybrid that Jahin et al., arXiv 2410.07446, compare with (293,429 parameters for 11 inputs).

    Two KAN convolutions over the features as a sequence (windows of 3 and 2, stride 2), dropout, a KAN layer, circuits
    side by side, two KAN layers, one linear map.

    Args:
        in_features: n, numbers in a row; 5 at least.
        n_classes: 2 gives one output, a logit; more give as many.
        wires, quantum_layers, circuits, embedding, backend: of the circuits, as in :class:`~qkan.models.KACQDCNN`.
        channels: of the two convolutions.
        widths: of the KAN layers after the circuits.
        edges: options of all KAN layers; ``None`` are the published ones, cubic splines on a grid of 3.
        dropout: share of activations dropped in training.
        seed: of initial values and dropout; ``None`` draws fresh entropy.

    Shapes: x (..., n) -> (..., 1) for two classes, else (..., n_classes).

    Raises:
        OptionError: an option is unknown or out of range, or the row is too short for the convolutions.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int = 2,
        wires: int = 4,
        quantum_layers: int = 1,
        circuits: int = 3,
        embedding: str = "amplitude",
        channels: Sequence[int] = (96, 96),
        widths: Sequence[int] = (256, 32),
        edges: Mapping[str, Any] | None = None,
        *,
        dropout: float = 0.2,
        backend: str | Backend = "torch",
        seed: int | None = None,
    ):
        super().__init__()
        self.in_features = check_positive("in_features", in_features)
        self.n_classes = check_positive("n_classes", n_classes, 2)
        self.out_features = 1 if n_classes == 2 else self.n_classes
        if len(channels) != 2:
            raise OptionError(f"channels={tuple(channels)} must hold two numbers.")
        self.channels, self.widths = tuple(channels), tuple(widths)
        self.core = Core("circuit", wires, quantum_layers, circuits, embedding, backend)
        self.core.check()
        # Keras counts 5 cells for the layer before the circuits, its default, and 3 for all others.
        narrow = {**PUBLISHED_EDGES, "grid": 5} if edges is None else dict(edges)
        self.edges = dict(PUBLISHED_EDGES if edges is None else edges)
        self.dropout = Dropout(dropout, seed=0).p
        seeds = iter(spawn(seed, 7 + len(self.widths)))
        modules: list[nn.Module] = [nn.Unflatten(-1, (1, self.in_features))]
        length, width = self.in_features, 1
        for channel, (kernel, stride) in zip(self.channels, _WINDOWS, strict=True):
            if length < kernel:
                raise OptionError(f"in_features={in_features} is too short for the convolutions; 5 is the least.")
            modules.append(KANConv1d(width, channel, kernel, stride, **self.edges, seed=next(seeds)))
            length, width = (length - kernel) // stride + 1, channel
        modules += [Dropout(self.dropout, next(seeds)), nn.Flatten(-2)]
        modules.append(KANLayer(length * width, self.core.in_features, **narrow, seed=next(seeds)))
        modules.append(self.core.build(next(seeds)))
        width = self.core.out_features
        for wide in self.widths:
            modules.append(KANLayer(width, wide, **self.edges, seed=next(seeds)))
            width = wide
        modules.append(linear(width, self.out_features, seed=next(seeds)))
        self.layers = nn.Sequential(*modules)
        if edges is None:
            begin_as_keras(self.layers, next(seeds))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        return self.layers(rows).reshape(*x.shape[:-1], self.out_features)

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the structure; the backend is not part of it."""
        published = self.edges == PUBLISHED_EDGES
        return {
            "in_features": self.in_features,
            "n_classes": self.n_classes,
            "wires": self.core.wires,
            "quantum_layers": self.core.layers,
            "circuits": self.core.circuits,
            "embedding": self.core.embedding,
            "channels": list(self.channels),
            "widths": list(self.widths),
            "edges": None if published else self.edges,
            "dropout": self.dropout,
        }
