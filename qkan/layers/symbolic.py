"""Edges of a layer that are functions of a formula, beside those of the basis.

Liu et al., arXiv 2404.19756, section 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qkan.errors import OptionError
from qkan.layers.functions import LIBRARY, chosen

#: (output, input, name of the function).
Entry = tuple[int, int, str]


class SymbolicEdges(nn.Module):
    """Edges c · f(a·x + b) + d of one layer, with trainable a, b, c, d.

    Args:
        in_features: n of the layer.
        out_features: m of the layer.
        entries: (output, input, function) of every edge, at most one per output and input.
        affine: (edges, 4) values of a, b, c, d; (1, 0, 1, 0) each if ``None``.

    Attributes:
        entries: as given, sorted; row r of ``affine`` belongs to ``entries[r]``.

    Raises:
        OptionError: an edge is not in the layer or given twice, or a function is not in the library.
    """

    def __init__(self, in_features: int, out_features: int, entries: Sequence[Sequence], affine: Tensor | None = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        order = sorted(range(len(entries)), key=lambda row: tuple(entries[row]))
        self.entries: list[Entry] = [(int(o), int(i), str(name)) for o, i, name in (entries[row] for row in order)]
        chosen([name for *_, name in self.entries])
        places = [(o, i) for o, i, _ in self.entries]
        if len(set(places)) < len(places) or any(
            not (0 <= o < out_features and 0 <= i < in_features) for o, i in places
        ):
            raise OptionError(
                f"symbolic edges {places} must be different (output, input) pairs of a layer {in_features} -> "
                f"{out_features}."
            )
        values = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).repeat(len(places), 1) if affine is None else affine[order]
        self.affine = nn.Parameter(values.clone())

    def row(self, output: int, source: int) -> int | None:
        """The row of ``affine`` for the edge from ``source`` to ``output``; ``None`` if it is not symbolic."""
        for row, (o, i, _) in enumerate(self.entries):
            if (o, i) == (output, source):
                return row
        return None

    def values(self, x: Tensor) -> Tensor:
        """The edges' values in the order of ``entries``: x (..., n) -> (..., edges)."""
        found = []
        for row, (_, i, name) in enumerate(self.entries):
            a, b, c, d = self.affine[row].unbind()
            found.append(c * LIBRARY[name](a * x[..., i] + b) + d)
        return torch.stack(found, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Sums over the symbolic edges of every output: (..., n) -> (..., m)."""
        values = self.values(x)
        outputs = torch.tensor([o for o, *_ in self.entries], device=x.device)
        return values.new_zeros(*x.shape[:-1], self.out_features).index_add(-1, outputs, values)

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's value, 0 for those that are not symbolic: (..., n) -> (..., m, n)."""
        values = self.values(x)
        places = torch.tensor([o * self.in_features + i for o, i, _ in self.entries], device=x.device)
        flat = values.new_zeros(*x.shape[:-1], self.out_features * self.in_features).index_add(-1, places, values)
        return flat.unflatten(-1, (self.out_features, self.in_features))

    def in_domain(self, x: Tensor) -> bool:
        """Whether no argument of a function leaves its domain on the rows x (rows, n)."""
        with torch.no_grad():
            return all(
                bool(LIBRARY[name].allows(self.affine[row, 0] * x[..., i] + self.affine[row, 1]))
                for row, (_, i, name) in enumerate(self.entries)
            )

    def extra_repr(self) -> str:
        return f"{len(self.entries)} edges"
