"""Self-attention, by softmax or by trained functions of the scores (Kolmogorov-Arnold attention, KArAt)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from qkan._random import generator, spawn
from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.kernels.reference import accumulation_dtype
from qkan.layers.kan_layer import KANLayer
from qkan.layers.linear import linear


def project_to_simplex(rows: Tensor) -> Tensor:
    """The probabilities next to every row in Euclidean distance (Duchi et al., ICML 2008): (..., N) -> (..., N)."""
    exact = rows.to(accumulation_dtype(rows.dtype))
    exact = exact - exact.amax(-1, keepdim=True)  # changes nothing but the size of the numbers
    ordered = exact.sort(-1, descending=True).values
    counts = torch.arange(1, rows.shape[-1] + 1, device=rows.device, dtype=exact.dtype)
    excess = (ordered.cumsum(-1) - 1) / counts
    kept = (ordered > excess).sum(-1, keepdim=True).clamp_min(1)  # none are where a number is NaN
    return (exact - excess.gather(-1, kept - 1)).clamp_min(0).to(rows.dtype)


#: What turns a row of N outputs into weights that sum to 1.
NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda rows: rows.softmax(-1),
    "simplex": project_to_simplex,
}


class ScoreFunctions(nn.Module):
    """Attention weights W Φ(s) for every row s of scores, in place of softmax(s); low rank, and its own in every head.

    Maity et al., Kolmogorov-Arnold attention, arXiv 2503.10632: Φ: R^N -> R^r sums trained edge functions of the N
    scores, W is N x r. A row of weights is N numbers of any sign unless a ``normaliser`` is given. The length N of the
    sequence is fixed, as every place has functions of its own. The authors found it to help tiny vision transformers
    and to hurt larger ones.

    Without a normaliser the output is Φ(s) (Wᵀ V), so that weights (N, N) are never built; what is left is the N x N
    scores of a head and their features.

    Args:
        length: N in the formulas.
        heads: h in the formulas.
        rank: r in the formulas.
        basis: of Φ; the publication's is "fourier", whose default degree here is its 3.
        normaliser: "softmax" or "simplex" over the outputs; ``None`` (default, the publication's better choice) leaves
            them as they are.
        fallback: mix the result with softmax attention at a trained temperature: in every head g · this +
            (1 - g) · softmax(τ s), g = sigmoid of a trained number, 1/2 at the start, and τ = 1 at the start. What
            training makes of g tells whether the functions are worth their cost.
        recompute: compute features again in the backward pass instead of storing them: N·K numbers of every row and
            head less, for a second forward pass.
        seed: of local generators; ``None`` draws fresh entropy.
        **edges: further options of the :class:`~qkan.KANLayer` Φ.

    With Fourier functions of degree G: 2·G·N·r·h coefficients; 3·N·r·h in W and the layers' edge scales and base
    weights; r·h biases.

    Shapes: queries, keys and values (B, h, N, d) -> (B, h, N, d).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: another length or number of heads.
    """

    def __init__(
        self,
        length: int,
        heads: int = 1,
        rank: int = 12,
        basis: str = "fourier",
        *,
        normaliser: str | None = None,
        fallback: bool = False,
        recompute: bool = False,
        seed: int | None = None,
        **edges: Any,
    ):
        super().__init__()
        self.length, self.heads = check_positive("length", length), check_positive("heads", heads)
        self.rank = check_positive("rank", rank)
        check_choice("normaliser", normaliser, (None, *NORMALISERS))
        self.normaliser, self.recompute = normaliser, recompute
        if basis == "fourier":
            edges = {"degree": 3, **edges}
        weight_seed, *seeds = spawn(seed, 1 + self.heads)
        self.functions = nn.ModuleList(KANLayer(self.length, self.rank, basis, **edges, seed=one) for one in seeds)
        noise = torch.randn(self.heads, self.length, self.rank, generator=generator(weight_seed), device="cpu")
        self.weight = nn.Parameter(noise.to(torch.get_default_dtype()) / math.sqrt(self.length * self.rank))
        self.gate = nn.Parameter(torch.zeros(self.heads)) if fallback else None
        self.log_temperature = nn.Parameter(torch.zeros(self.heads)) if fallback else None

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if queries.dim() != 4 or queries.shape[1:3] != (self.heads, self.length):
            raise ShapeError(
                f"queries of shape {tuple(queries.shape)} must be (B, {self.heads}, {self.length}, d): functions of "
                "scores are trained for one number of heads and one length of sequence."
            )
        heads = zip(*(t.unbind(1) for t in (queries, keys, values)), strict=True)
        found = torch.stack([self._head(head, *tensors) for head, tensors in enumerate(heads)], 1)
        if self.gate is None or self.log_temperature is None:
            return found
        gate, temperature = (v.view(-1, 1, 1) for v in (self.gate.sigmoid(), self.log_temperature.exp()))
        usual = functional.scaled_dot_product_attention(queries * temperature, keys, values)
        return gate * found + (1 - gate) * usual

    def _head(self, head: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One head, (B, N, d); the others' scores and features need not be in memory at the same time."""
        reduced = self.reduced(head, queries @ keys.mT / math.sqrt(queries.shape[-1]))
        weight = self.weight[head]
        if self.normaliser is None:
            return reduced @ (weight.mT @ values)
        return NORMALISERS[self.normaliser](reduced @ weight.mT) @ values

    def reduced(self, head: int, scores: Tensor) -> Tensor:
        """Φ of the rows of one head: scores (..., N) -> (..., r)."""
        layer = self.functions[head]
        return checkpoint(layer, scores, use_reentrant=False) if self.recompute else layer(scores)

    def weights(self, scores: Tensor) -> Tensor:
        """Attention weights (B, h, N, N) for scores of that shape, without the fallback."""
        rows = [self.reduced(head, one) @ self.weight[head].mT for head, one in enumerate(scores.unbind(1))]
        found = torch.stack(rows, 1)
        return found if self.normaliser is None else NORMALISERS[self.normaliser](found)

    def extra_repr(self) -> str:
        return f"length={self.length}, heads={self.heads}, rank={self.rank}, normaliser={self.normaliser!r}"


class SelfAttention(nn.Module):
    """Multi-head self-attention: linear maps to queries, keys and values, attention, a linear map of the result.

    Args:
        width: w, which ``heads`` must divide.
        heads: h in the formulas.
        functions: what takes the place of the softmax; ``None`` is softmax attention by
            ``torch.nn.functional.scaled_dot_product_attention``.
        seed: of local generators; ``None`` draws fresh entropy.

    Shapes: x (B, N, w) -> (B, N, w). ``forward(x, functions)`` uses functions that do not belong to this module, such
    as those that all blocks of a model share.

    Raises:
        OptionError: ``heads`` does not divide ``width``.
        ShapeError: the input has another shape.
    """

    def __init__(self, width: int, heads: int = 1, functions: ScoreFunctions | None = None, seed: int | None = None):
        super().__init__()
        self.width, self.heads = check_positive("width", width), check_positive("heads", heads)
        if self.width % self.heads:
            raise OptionError(f"heads={heads} must divide width={width}.")
        seeds = spawn(seed, 2)
        self.inputs = linear(self.width, 3 * self.width, seed=seeds[0])
        self.output = linear(self.width, self.width, seed=seeds[1])
        self.functions = functions

    def forward(self, x: Tensor, functions: ScoreFunctions | None = None) -> Tensor:
        if x.dim() != 3 or x.shape[-1] != self.width:
            raise ShapeError(f"input of shape {tuple(x.shape)} must be (B, N, {self.width}).")
        parts = self.inputs(x).unflatten(-1, (3, self.heads, self.width // self.heads))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attend = functions or self.functions or functional.scaled_dot_product_attention
        return self.output(attend(queries, keys, values).transpose(1, 2).flatten(2))
