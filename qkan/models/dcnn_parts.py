"""Parts of a :class:`~qkan.models.KACQDCNN`: sizes of its channels, their layers, and what stands for circuits.

Jahin et al., arXiv 2410.07446.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from qkan._random import spawn
from qkan.circuits import Circuit, ParallelCircuits, strongly_entangling
from qkan.circuits.backends import Backend
from qkan.errors import OptionError, check_choice, check_positive
from qkan.layers import KANLayer
from qkan.layers.dropout import Dropout
from qkan.layers.linear import linear
from qkan.layers.recurrent import Recurrent

#: A basis by name, or options of a :class:`~qkan.KANLayer` with "basis" among them.
Edges = str | Mapping[str, Any]
#: Ways of features into a circuit.
EMBEDDINGS = ("amplitude", "angle", "reupload")
#: The circuits, or what stands in their place; see :class:`Core`.
CORES = ("circuit", "random", "mlp", "identity", "none")
_LAYER_OPTIONS = ("base", "scale", "bias", "init")
#: Amplitudes of a smaller norm than this are replaced by equal ones.
_LEAST_NORM = 1e-6


@dataclass(frozen=True)
class Classical:
    """The classical channel: recurrent layers over the features as a sequence, a dense layer, KAN layers.

    Attributes:
        recurrent: "bilstm", "lstm", or ``None`` for none: the dense layer reads the row.
        units: widths of the recurrent layers.
        cell: their activation, "tanh" or "relu".
        dense: width of the dense layer with ReLU; ``None`` for none.
        widths: of the KAN layers, the last is the channel's output.
        layer: "kan", or "mlp" for linear maps with ReLU in their place.
        edges: options of the KAN layers.
    """

    recurrent: str | None = "bilstm"
    units: tuple[int, ...] = (64, 64)
    cell: str = "relu"
    dense: int | None = 320
    widths: tuple[int, ...] = (256, 32)
    layer: str = "kan"
    edges: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise :class:`OptionError` where a value is out of range.

        Raises:
            OptionError: one is out of range.
        """
        check_choice("recurrent", self.recurrent, ("bilstm", "lstm", None))
        check_choice("layer", self.layer, ("kan", "mlp"))
        for width in (*self.units, *self.widths, *(() if self.dense is None else (self.dense,))):
            check_positive("width", width)
        if not self.widths:
            raise OptionError("widths=() of the classical channel must hold one width or more.")


@dataclass(frozen=True)
class Quantum:
    """The quantum channel: KAN layers, circuits side by side, KAN layers.

    Attributes:
        sequence: the first layer sees one feature at a time, always with the same edge functions, as published;
            ``False``: it sees the row.
        first: its width.
        before: widths of the layers after it; one more, as wide as the circuits have inputs, follows.
        after: of the layers after the circuits, the last is the channel's output.
        layer: "kan", or "mlp" for linear maps with ReLU in their place (without ReLU before the circuits).
        edges: options of the KAN layers.
        narrow: options of the layer before the circuits that differ from ``edges``.
    """

    sequence: bool = True
    first: int = 112
    before: tuple[int, ...] = (176,)
    after: tuple[int, ...] = (112, 32)
    layer: str = "kan"
    edges: Mapping[str, Any] = field(default_factory=dict)
    narrow: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise :class:`OptionError` where a value is out of range.

        Raises:
            OptionError: one is out of range.
        """
        check_choice("sequence", self.sequence, (True, False))
        check_choice("layer", self.layer, ("kan", "mlp"))
        for width in (self.first, *self.before, *self.after):
            check_positive("width", width)
        if not self.after:
            raise OptionError("after=() of the quantum channel must hold one width or more.")


#: Sizes of a channel.
Sizes = Classical | Quantum


def resolved(preset: Any, given: Mapping[str, Any], basis: Edges | None) -> Any:
    """A channel's sizes: those of the preset, with ``basis`` for all its layers and then ``given``.

    Raises:
        OptionError: an unknown name or a value out of range.
    """
    known = [one.name for one in fields(preset)]
    for name in given:
        if name not in known:
            kind = type(preset).__name__.lower()
            raise OptionError(f"the {kind} channel has no option {name!r}; its options are {', '.join(known)}.")
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    for name in ("units", "widths", "before", "after"):
        if isinstance(options.get(name), int):
            options[name] = (options[name],)
    edges = _merged(_merged(preset.edges, basis), options.get("edges"))
    options["edges"] = edges
    if isinstance(preset, Quantum):
        same = edges.get("basis") == preset.edges.get("basis")
        options["narrow"] = _merged(edges, options.get("narrow") or (preset.narrow if same else None))
    found = replace(preset, **options)
    found.check()
    return found


def written(sizes: Sizes) -> dict[str, Any]:
    """A channel's sizes in JSON types: tuples become lists."""
    return json.loads(json.dumps(asdict(sizes)))


def _merged(options: Mapping[str, Any], given: Edges | None) -> dict[str, Any]:
    """Layer options with others on top; another basis keeps what is not an option of the basis."""
    if given is None:
        return dict(options)
    if not isinstance(given, (str, Mapping)):
        raise OptionError(f"basis={given!r} must be the name of a basis or a dict of options of a KAN layer.")
    more = {"basis": given} if isinstance(given, str) else dict(given)
    if more.get("basis", options.get("basis")) == options.get("basis"):
        return {**options, **more}
    return {**{name: options[name] for name in _LAYER_OPTIONS if name in options}, **more}


# -- channels --------------------------------------------------------------------------------------------------------


class _Builder:
    """Layers one after the other, every one with a seed of its own."""

    def __init__(self, width: int, dropout: float, seed: int):
        self.width, self.dropout, self.seed = width, dropout, seed
        self.modules: list[nn.Module] = []

    def next_seed(self) -> int:
        self.seed, found = spawn(self.seed, 2)
        return found

    def add(self, module: nn.Module, width: int, drop: bool = True) -> None:
        """A module with so many outputs, and dropout after it."""
        self.modules.append(module)
        self.width = width
        if drop:
            self.drop()

    def drop(self) -> None:
        if self.dropout:
            self.modules.append(Dropout(self.dropout, self.next_seed()))

    def layer(self, kind: str, width: int, edges: Mapping[str, Any], drop: bool = True, relu: bool = True) -> None:
        """A KAN layer, or a linear map and ReLU."""
        if kind == "kan":
            module: nn.Module = KANLayer(self.width, width, **edges, seed=self.next_seed())
        else:
            module = linear(self.width, width, seed=self.next_seed())
            module = nn.Sequential(module, nn.ReLU()) if relu else module
        self.add(module, width, drop)


class AsSequence(nn.Module):
    """Rows (N, n) as sequences of one channel, (N, n, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1)


def classical_channel(n: int, sizes: Classical, dropout: float, seed: int) -> tuple[nn.Sequential, int]:
    """The channel for rows of n features, and its width.

    Args:
        n: features of a row.
        sizes: of the channel's layers.
        dropout: probability.
        seed: of local generators.
    """
    build = _Builder(n, dropout, seed)
    if sizes.recurrent is not None and sizes.units:
        build.add(AsSequence(), 1, drop=False)
        for units in sizes.units:
            both = sizes.recurrent == "bilstm"
            layer = Recurrent(build.width, units, bidirectional=both, activation=sizes.cell, seed=build.next_seed())
            build.add(layer, layer.out_features, drop=False)
        build.add(nn.Flatten(-2), n * build.width)
    if sizes.dense is not None:
        build.layer("mlp", sizes.dense, {})
    for width in sizes.widths:
        build.layer(sizes.layer, width, sizes.edges)
    return nn.Sequential(*build.modules), build.width


def quantum_channel(n: int, sizes: Quantum, core: Core, dropout: float, seed: int) -> tuple[nn.Sequential, int]:
    """The channel for rows of n features, and its width.

    Args:
        n: features of a row.
        sizes: of the channel's layers.
        core: makes the circuits, or what stands in their place.
        dropout: probability.
        seed: of local generators.
    """
    build = _Builder(n, dropout, seed)
    if sizes.sequence:
        build.add(AsSequence(), 1, drop=False)
        build.layer(sizes.layer, sizes.first, sizes.edges, drop=False)
        build.add(nn.Flatten(-2), n * sizes.first)
    else:
        build.layer(sizes.layer, sizes.first, sizes.edges)
    for width in sizes.before:
        build.layer(sizes.layer, width, sizes.edges)
    build.layer(sizes.layer, core.in_features, sizes.narrow, drop=False, relu=False)
    build.add(core.build(build.next_seed()), core.out_features, drop=False)
    for width in sizes.after:
        build.layer(sizes.layer, width, sizes.edges)
    return nn.Sequential(*build.modules), build.width


# -- circuits and what stands in their place -------------------------------------------------------------------------


@dataclass(frozen=True)
class Core:
    """The circuits side by side, or what is compared with them.

    Attributes:
        kind: "circuit"; "random": the same circuits, never trained; "mlp": a small perceptron with as many parameters
            as the circuits; "identity": no parameters; "none": nothing, the layer after it sees the layer before it.
        wires: of every circuit.
        layers: of every circuit.
        circuits: their number.
        embedding: one of :data:`EMBEDDINGS`.
        backend: where the circuits run.
    """

    kind: str
    wires: int
    layers: int
    circuits: int
    embedding: str
    backend: str | Backend

    def check(self) -> None:
        """Raise :class:`OptionError` where a value is out of range."""
        check_choice("core", self.kind, CORES)
        check_choice("embedding", self.embedding, EMBEDDINGS)
        for name, value in (("wires", self.wires), ("quantum_layers", self.layers), ("circuits", self.circuits)):
            check_positive(name, value)

    @property
    def part(self) -> int:
        """Inputs of one circuit."""
        return 2**self.wires if self.embedding == "amplitude" else self.wires

    @property
    def in_features(self) -> int:
        """Inputs of all circuits."""
        return self.circuits * self.part

    @property
    def out_features(self) -> int:
        """Outputs of all circuits, or of what stands in their place."""
        return self.in_features if self.kind == "none" else self.circuits * self.wires

    def circuit(self) -> Circuit:
        """One of the circuits."""
        trained = strongly_entangling(self.wires, self.layers)
        start = Circuit(self.wires)
        if self.embedding == "amplitude":
            return start.amplitude_embedding().then(trained)
        if self.embedding == "angle":
            return start.angle_embedding().then(trained)
        size = len(trained.gates) // self.layers
        for layer in range(self.layers):
            gates = trained.gates[layer * size : (layer + 1) * size]
            start = start.angle_embedding().then(replace(trained, gates=gates))
        return start

    def build(self, seed: int) -> nn.Module:
        """The module."""
        if self.kind == "none":
            return nn.Identity()
        if self.kind == "identity":
            return Pooled(self.circuits, self.part, self.wires)
        if self.kind == "mlp":
            return MatchedMLP(self.circuits, self.part, self.wires, 3 * self.wires * self.layers * self.circuits, seed)
        circuits = ParallelCircuits(self.circuit(), self.circuits, self.backend, seed=seed)
        circuits.requires_grad_(self.kind == "circuit")
        return nn.Sequential(NonZero(self.part), circuits) if self.embedding == "amplitude" else circuits


class NonZero(nn.Module):
    """Amplitudes that are a state: parts whose norm is below 1e-6 become equal amplitudes, without gradient.

    All amplitudes of a circuit can be zero where the layer before it has died; a norm near zero would divide
    gradients by itself. All others pass unchanged.

    Args:
        part: amplitudes of one circuit.
    """

    def __init__(self, part: int):
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unflatten(-1, (-1, self.part))
        lost = torch.linalg.vector_norm(parts.detach(), dim=-1, keepdim=True) < _LEAST_NORM
        return parts.masked_fill(lost, 1.0).flatten(-2)

    def extra_repr(self) -> str:
        return f"parts of {self.part}"


class Pooled(nn.Module):
    """The control without parameters: every circuit's inputs averaged in as many groups as it has outputs.

    As many inputs as outputs, as in angle embedding, pass unchanged.

    Args:
        circuits: their number c.
        part: inputs of each.
        wires: outputs of each; part is a multiple, or the last group is cut short by zeros.

    Shapes: (..., c · part) -> (..., c · wires).
    """

    def __init__(self, circuits: int, part: int, wires: int):
        super().__init__()
        self.circuits, self.part, self.wires = circuits, part, wires

    def forward(self, x: Tensor) -> Tensor:
        size = -(-self.part // self.wires)
        parts = x.unflatten(-1, (self.circuits, self.part))
        parts = nn.functional.pad(parts, (0, size * self.wires - self.part))
        return parts.unflatten(-1, (self.wires, size)).mean(-1).flatten(-2)

    def extra_repr(self) -> str:
        return f"{self.circuits * self.part} -> {self.circuits * self.wires}"


class MatchedMLP(Pooled):
    """The control with as many parameters: pooled inputs through a perceptron that all circuits' places share.

    tanh(V tanh(W u + b)) with u the ``wires`` pooled inputs. Its hidden width is the smallest with at least the wanted
    number of parameters; with 4 wires that is the circuits' own number, 36 for three of one layer. Outputs lie in
    [-1, 1], as expectations do.

    Args:
        circuits, part, wires: see :class:`Pooled`.
        parameters: the number to match.
        seed: of the initial values.
    """

    def __init__(self, circuits: int, part: int, wires: int, parameters: int, seed: int | None = None):
        super().__init__(circuits, part, wires)
        hidden = math.ceil(parameters / (2 * wires + 1))
        seeds = spawn(seed, 2)
        self.enter = linear(wires, hidden, seed=seeds[0])
        self.leave = linear(hidden, wires, bias=False, seed=seeds[1])

    def forward(self, x: Tensor) -> Tensor:
        pooled = super().forward(x).unflatten(-1, (self.circuits, self.wires))
        return torch.tanh(self.leave(torch.tanh(self.enter(pooled)))).flatten(-2)
