"""Kolmogorov-Arnold transformer (KAT): blocks of attention and group-rational layers, and a vision transformer."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from qkan import bases
from qkan._random import generator, spawn
from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.layers.attention import ScoreFunctions, SelfAttention
from qkan.layers.group import GroupKANLayer
from qkan.layers.kan_layer import KANLayer
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind

#: Kinds of attention, and who shares its functions.
ATTENTION, SHARING = ("softmax", "fourier"), ("block", "universal")
#: Arguments of the layers that the block decides.
_GIVEN = ("in_features", "out_features", "seed")


def feed_forward(kind: str, width: int, hidden: int, seed: int | None = None, **options: Any) -> nn.Sequential:
    """Two layers, width -> hidden -> width.

    ``kind`` "kat": group-rational layers, the first of which starts at the identity and the second at SiLU; "mlp":
    linear maps with GELU between; the name of a basis: :class:`~qkan.KANLayer` twice. ``options`` are those of the
    layers; "mlp" has none. ``seed`` is that of local generators; ``None`` draws fresh entropy.

    Raises:
        OptionError: the kind or an option is not known.
    """
    first, second = spawn(seed, 2)
    check_choice("mlp", kind, ("kat", "mlp", *bases.names()))
    if kind == "kat":
        for name in options:
            check_choice("layers", name, [one for one in signature(GroupKANLayer).parameters if one not in _GIVEN])
        start, end = ({"start": name, **options} for name in ("identity", "silu"))
        return nn.Sequential(
            GroupKANLayer(width, hidden, seed=first, **start), GroupKANLayer(hidden, width, seed=second, **end)
        )
    if kind == "mlp":
        if options:
            raise OptionError(f"mlp='mlp' has no options, but {', '.join(options)} is given.")
        return nn.Sequential(linear(width, hidden, seed=first), nn.GELU(), linear(hidden, width, seed=second))
    return nn.Sequential(
        KANLayer(width, hidden, kind, seed=first, **options), KANLayer(hidden, width, kind, seed=second, **options)
    )


class KATBlock(nn.Module):
    """x + attention(norm(x)), then x + layers(norm(x)): a pre-norm transformer block with trained activations.

    Yang and Wang, arXiv 2409.10594: F (identity at the start) -> Linear(w, 4w) -> F (SiLU at the start) ->
    Linear(4w, w).

    Args:
        width: w in the formulas.
        heads: of the attention.
        attention: "softmax"; or "fourier", trained functions of the scores, see :class:`~qkan.layers.ScoreFunctions`.
        length: N of the sequence, needed by "fourier" only.
        mlp: "kat", "mlp" or the name of a basis, see :func:`feed_forward`.
        ratio: hidden width of these layers by w.
        scores: options of the functions of "fourier" (``rank``, ``basis``, ``normaliser``, ``fallback``, …).
        layers: options of the layers, such as ``groups``.
        seed: of local generators; ``None`` draws fresh entropy.

    Shapes: x (B, N, w) -> (B, N, w).

    Raises:
        OptionError: an option is unknown or out of range.
    """

    def __init__(
        self,
        width: int,
        heads: int = 1,
        attention: str = "softmax",
        length: int | None = None,
        mlp: str = "kat",
        *,
        ratio: int = 4,
        scores: Mapping[str, Any] | None = None,
        layers: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ):
        super().__init__()
        check_choice("attention", attention, ATTENTION)
        for name, given in (("scores", scores), ("layers", layers)):
            if "seed" in (given or {}):
                raise OptionError(f"{name} must not name a seed: it follows from that of the block.")
        seeds = spawn(seed, 3)
        functions = None
        if attention == "fourier":
            if length is None:
                raise OptionError("attention='fourier' needs the length of the sequence.")
            functions = ScoreFunctions(length, heads, **(scores or {}), seed=seeds[0])
        elif scores:
            raise OptionError("scores are options of attention='fourier'; softmax has none.")
        self.attention_norm = nn.LayerNorm(check_positive("width", width))
        self.attention = SelfAttention(width, heads, functions, seed=seeds[1])
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = feed_forward(mlp, width, check_positive("ratio", ratio) * width, seeds[2], **(layers or {}))

    def forward(self, x: Tensor, functions: ScoreFunctions | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), functions)
        return x + self.mlp(self.mlp_norm(x))


@saved_as_own_kind
class ViT(Network):
    """A vision transformer of :class:`KATBlock`: patches, blocks, the mean over places, a linear map::

        ViT(image_size=8, patch_size=2, in_channels=1, n_classes=10, width=32, depth=2, heads=4)

    Args:
        image_size: height and width of the images, in pixels.
        patch_size: likewise of a patch; it divides the image size.
        in_channels: number c of channels.
        n_classes: 2 gives one output, a logit; more give as many.
        width: w, numbers of a patch between blocks.
        depth: blocks.
        heads: of the attention.
        mlp: "kat", "mlp" or the name of a basis, see :func:`feed_forward`.
        attention: "softmax" or "fourier", as in :class:`KATBlock`.
        sharing: of the functions of "fourier": "block", every block has its own; "universal", all share one set.
        ratio, scores, layers: as in :class:`KATBlock`.
        seed: of initial values; ``None`` draws fresh entropy.

    Positions are trained, and drawn with a standard deviation of 0.5, about that of patches of standardised pixels;
    with the usual 0.02 a short training hardly sees places (200 steps on 8 x 8 digits: accuracy 0.79 in place of 0.94).
    The mean over places, in place of a class token, follows Beyer et al., arXiv 2205.01580.

    Shapes: images (B, c, H, W), or their numbers as rows (B, c·H·W), -> (B, 1) for two classes, else (B, n_classes).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input has another shape.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        in_channels: int = 3,
        n_classes: int = 10,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp: str = "kat",
        attention: str = "softmax",
        sharing: str = "block",
        *,
        ratio: int = 4,
        scores: Mapping[str, Any] | None = None,
        layers: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ):
        super().__init__()
        self.image_size = check_positive("image_size", image_size)
        self.patch_size = check_positive("patch_size", patch_size)
        if self.image_size % self.patch_size:
            raise OptionError(f"patch_size={patch_size} must divide image_size={image_size}.")
        check_choice("sharing", sharing, SHARING)
        if sharing == "universal" and attention != "fourier":
            raise OptionError("sharing='universal' shares the functions of attention='fourier'; softmax has none.")
        self.in_channels = check_positive("in_channels", in_channels)
        self.n_classes = check_positive("n_classes", n_classes, 2)
        self.out_features = 1 if self.n_classes == 2 else self.n_classes
        self.width, self.depth, self.heads = width, check_positive("depth", depth), heads
        self.mlp, self.attention, self.sharing = mlp, attention, sharing
        self.ratio, self.scores, self.layers = ratio, dict(scores or {}), dict(layers or {})
        self.length = (self.image_size // self.patch_size) ** 2
        patches, positions, shared, head, *seeds = spawn(seed, 4 + self.depth)
        self.patches = linear(self.in_channels * self.patch_size**2, width, seed=patches)
        noise = torch.randn(self.length, width, generator=generator(positions), device="cpu")
        self.positions = nn.Parameter(0.5 * noise.to(torch.get_default_dtype()))
        universal = sharing == "universal"
        self.functions = ScoreFunctions(self.length, heads, **self.scores, seed=shared) if universal else None
        own = ("softmax", {}) if universal else (attention, self.scores)
        self.blocks = nn.ModuleList(
            KATBlock(width, heads, own[0], self.length, mlp, ratio=ratio, scores=own[1], layers=self.layers, seed=one)
            for one in seeds
        )
        self.norm = nn.LayerNorm(width)
        self.head = linear(width, self.out_features, seed=head)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(self._cut(x)) + self.positions
        for block in self.blocks:
            tokens = block(tokens, self.functions)
        return self.head(self.norm(tokens).mean(1))

    def _cut(self, x: Tensor) -> Tensor:
        """Images, or rows, as patches: (B, N, c · p · p)."""
        size, patch, channels = self.image_size, self.patch_size, self.in_channels
        if x.dim() not in (2, 4) or x.shape[1:].numel() != channels * size**2 or (x.dim() == 4 and x.shape[2] != size):
            raise ShapeError(
                f"input of shape {tuple(x.shape)} must be images (B, {channels}, {size}, {size}) or rows "
                f"(B, {channels * size**2})."
            )
        across = size // patch
        cut = x.reshape(-1, channels, across, patch, across, patch).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(-1, self.length, channels * patch**2)

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the structure."""
        names = "image_size", "patch_size", "in_channels", "n_classes", "width", "depth", "heads", "mlp", "attention"
        return {name: getattr(self, name) for name in (*names, "sharing", "ratio", "scores", "layers")}
