"""JHCG nets: encoder, latent Kolmogorov-Arnold network, decoder; with a DARUAN core they are HQKANs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qkan._random import spawn
from qkan.errors import ModelFileError, OptionError, ShapeError, check_positive
from qkan.layers import KANLayer
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind

#: A part by the name of a basis or "linear", by options, by a function of its widths, or as it is.
Part = str | Mapping[str, Any] | Callable[[int, int], nn.Module] | nn.Module


@saved_as_own_kind
class JHCGNet(Network):
    """y = decoder(core(encoder(x))): a Kolmogorov-Arnold network between maps to and from a small latent space.

    The Jiang-Huang-Chen-Goan network of Hsu et al., arXiv 2512.05049; no activation stands around the core, as in the
    published code.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        latent: width of the latent space. One number serves both sides of the core; several are the core's widths from
            input to output, (8, 7) for one layer, (8, 5, 7) for two. ``None`` is ⌈log2 in_features⌉, at least 1.
        core: the latent network. Any part is given in one of four ways: by the name of a basis ("bspline",
            "daruan", …) or "linear"; by options, ``{"basis": "daruan", "reps": 1, "base": None}`` for a
            :class:`~qkan.KANLayer` or ``{"basis": "linear", "bias": False}``; by a function (in, out) -> module;
            or as a module, which is used as it is.
        encoder: n -> first latent width.
        decoder: last latent width -> m.
        seed: of local generators; ``None`` draws fresh entropy.
        device: where the parameters live; torch's default if ``None``.

    Shapes: x (..., n) -> (..., m).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: a module that was given has other widths than its place.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        latent: int | Sequence[int] | None = None,
        core: Part = "bspline",
        encoder: Part = "linear",
        decoder: Part = "linear",
        *,
        seed: int | None = None,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        self.in_features = check_positive("in_features", in_features)
        self.out_features = check_positive("out_features", out_features)
        self.latent = _latent_widths(latent, self.in_features)
        self._parts = {"core": core, "encoder": encoder, "decoder": decoder}
        seeds = spawn(seed, 3)
        self.encoder = _build("encoder", encoder, (self.in_features, self.latent[0]), seeds[0])
        self.core = _build("core", core, self.latent, seeds[1])
        self.decoder = _build("decoder", decoder, (self.latent[-1], self.out_features), seeds[2])
        if device is not None:
            self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.core(self.encoder(x)))

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the network's structure.

        Raises:
            ModelFileError: a part was given as a module or a function, which JSON cannot hold.
        """
        parts: dict[str, Any] = {}
        for name, part in self._parts.items():
            if not isinstance(part, (str, Mapping)):
                raise ModelFileError(
                    f"the {name} was given as a {type(part).__name__}, which cannot be written down; give it by name "
                    "or options, or save model.state_dict() yourself."
                )
            parts[name] = part if isinstance(part, str) else dict(part)
        widths = {"in_features": self.in_features, "out_features": self.out_features, "latent": list(self.latent)}
        return {**widths, **parts}


@saved_as_own_kind
class HQKAN(JHCGNet):
    """A JHCG net with a DARUAN core and linear ends (Jiang et al., arXiv 2509.14026).

    Its parameter counts are those published: 16,638 for ``HQKAN(768, 768, latent=10, reps=1, scale=False,
    bias=False)``, GPT-2's feed-forward block, 3,304 for ``HQKAN(256, 100, latent=(8, 7), reps=3, base=None,
    scale=False, bias=False)``, a CIFAR-100 head, and 16,456 for the grouped ``HQKAN(768, 768, latent=10, reps=1,
    groups=3, encoding="edge", bias="edge", shift=True)``. The last two options bring 93 parameters that add no
    functions (a bias per edge instead of per output, and preactivation biases, which a gate absorbs); they are off by
    default.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        latent: see :class:`JHCGNet`.
        reps: repetitions of the circuit on every edge of the core.
        groups: circuits shared by all edges of an input, see :class:`~qkan.bases.Daruan`.
        encoding: "fixed", "shared" or "edge".
        linear_bias: biases of encoder and decoder.
        seed, device: see :class:`JHCGNet`.
        **core: further options of the core's :class:`~qkan.KANLayer` and :class:`~qkan.bases.Daruan`: ``base``,
            ``scale``, ``bias``, ``ansatz``, ``frequencies``, ``readout`` …

    Shapes: x (..., n) -> (..., m).

    Raises:
        OptionError: an option is unknown or out of range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        latent: int | Sequence[int] | None = None,
        *,
        reps: int = 3,
        groups: int | None = None,
        encoding: str = "fixed",
        linear_bias: bool = True,
        seed: int | None = None,
        device: str | torch.device | None = None,
        **core: Any,
    ):
        if core.get("basis", "daruan") != "daruan":
            raise OptionError(f"an HQKAN has the basis 'daruan', not {core['basis']!r}; use JHCGNet for others.")
        self._options = {"reps": reps, "groups": groups, "encoding": encoding, **core}
        self._linear_bias = linear_bias
        ends = {"basis": "linear", "bias": linear_bias}
        daruan = {**self._options, "basis": "daruan"}
        super().__init__(in_features, out_features, latent, daruan, ends, ends, seed=seed, device=device)

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the network's structure."""
        widths = {"in_features": self.in_features, "out_features": self.out_features, "latent": list(self.latent)}
        return {**widths, "linear_bias": self._linear_bias, **self._options}


def _latent_widths(latent: int | Sequence[int] | None, in_features: int) -> tuple[int, ...]:
    """The core's widths, input first."""
    if latent is None:
        latent = max(1, math.ceil(math.log2(in_features)))
    if not isinstance(latent, Sequence):
        latent = (latent, latent)
    if isinstance(latent, str) or len(latent) < 2:
        raise OptionError(
            f"latent={latent!r} must be a width, or at least an input and an output width such as (8, 7)."
        )
    return tuple(check_positive("latent", width) for width in latent)


def _build(place: str, part: Part, widths: Sequence[int], seed: int) -> nn.Module:
    """One of the three parts, from input to output width."""
    if isinstance(part, nn.Module):
        for name, width in (("in_features", widths[0]), ("out_features", widths[-1])):
            if getattr(part, name, width) != width:
                raise ShapeError(f"the {place} has {name}={getattr(part, name)}, but its place needs {width}.")
        return part
    if not isinstance(part, (str, Mapping)):
        if not callable(part):
            raise OptionError(f"{place}={part!r} must be a basis, 'linear', a dict of options, a function or a module.")
        return _build(place, part(widths[0], widths[-1]), widths, seed)
    options = {"basis": part} if isinstance(part, str) else dict(part)
    steps = zip(widths, widths[1:], spawn(seed, len(widths) - 1), strict=False)
    layers = [_layer(options, n, m, layer_seed) for n, m, layer_seed in steps]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _layer(options: dict[str, Any], n: int, m: int, seed: int) -> nn.Module:
    if options.get("basis") != "linear":
        return KANLayer(n, m, **{"basis": "bspline", **options}, seed=seed)
    unknown = sorted(set(options) - {"basis", "bias"})
    if unknown:
        raise OptionError(f"a linear map has no option {unknown[0]!r}; its option is bias.")
    return linear(n, m, options.get("bias", True), seed)
