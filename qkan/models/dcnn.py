"""KACQ-DCNN: a classical and a quantum channel of Kolmogorov-Arnold layers, and a head on both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan._random import generator, spawn
from qkan.bases import BSpline
from qkan.circuits import ParallelCircuits
from qkan.circuits.backends import Backend
from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.layers import KANLayer
from qkan.layers.dropout import Dropout
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind
from qkan.models.dcnn_parts import (
    Classical,
    Core,
    Edges,
    Quantum,
    classical_channel,
    quantum_channel,
    resolved,
    written,
)

#: Options of the published KAN layers.
PUBLISHED_EDGES = {"basis": "bspline", "grid": 3, "k": 3, "extend": "zero", "base": "silu", "scale": "both"}
_COMPACT = {"basis": "daruan", "reps": 2}
#: Sizes of both channels, and dropout, by preset.
PRESETS: dict[str, tuple[Classical, Quantum, float]] = {
    "published": (Classical(edges=PUBLISHED_EDGES), Quantum(edges=PUBLISHED_EDGES, narrow={"grid": 5}), 0.2),
    "compact": (
        Classical(units=(8,), cell="tanh", dense=16, widths=(8,), edges=_COMPACT),
        Quantum(first=4, before=(8,), after=(8,), edges=_COMPACT),
        0.2,
    ),
}


@saved_as_own_kind
class KACQDCNN(Network):
    """The dual-channel network of Jahin et al., arXiv 2410.07446.

    Two channels read the same row. The classical one: recurrent layers over the features as a sequence, a dense layer,
    KAN layers. The quantum one: KAN layers, circuits side by side, KAN layers. Their outputs are concatenated and go
    through one linear map. Every part of the published ablations is an option::

        KACQDCNN(12, preset="published")                                  # 3,023,221 trainable parameters
        KACQDCNN(12, quantum=False)                                       # without the quantum channel
        KACQDCNN(12, core="none")                                         # without the circuits only
        KACQDCNN(12, embedding="angle")
        KACQDCNN(12, classical={"recurrent": "lstm"})                     # LSTM for BiLSTM
        KACQDCNN(12, preset="published", classical={"units": (64,)})      # without one BiLSTM
        KACQDCNN(12, classical={"recurrent": None})                       # without all
        KACQDCNN(12, quantum={"layer": "mlp"})                            # linear maps and ReLU instead of KAN layers
        KACQDCNN(12, dropout=0.0)
        KACQDCNN(12, core="identity" | "mlp" | "random")                  # controls in the place of the circuits

    Args:
        in_features: n, numbers in a row.
        n_classes: 2 gives one output, a logit; more give as many.
        wires: of every circuit.
        quantum_layers: strongly entangling layers of every circuit.
        circuits: their number.
        embedding: "amplitude": 2^wires inputs per circuit, whose norm is lost; "angle": one RX per wire; "reupload":
            the same before every layer (with one layer it is "angle").
        classical: options of :class:`~qkan.models.dcnn_parts.Classical` that differ from the preset; ``False`` leaves
            the channel out.
        quantum: options of :class:`~qkan.models.dcnn_parts.Quantum` likewise.
        basis: of all KAN layers, a name or options of :class:`~qkan.KANLayer` (``{"basis": "daruan", "reps": 2}``); an
            "edges" option of a channel goes before it.
        preset: "compact", for hundreds of rows, or "published", the sizes of the publication. The compact sizes were
            chosen on validation rows only, see ``benchmarks/kacq_sizes.py``.
        core: "circuit", or a control in its place: "random" (the same circuits, never trained), "mlp" (as many
            parameters, see :class:`~qkan.models.dcnn_parts.MatchedMLP`), "identity" (none, see
            :class:`~qkan.models.dcnn_parts.Pooled`), "none" (nothing at all).
        dropout: share of activations dropped in training where the publication does; ``None`` is the preset's 0.2.
        backend: where the circuits run; see :class:`~qkan.circuits.QuantumLayer`. Backends other than "torch" train
            with embedding "angle" or "reupload" only, for amplitudes have no shift rule.
        seed: of initial values and dropout; ``None`` draws fresh entropy.
        device: where the parameters live; torch's default if ``None``.

    Shapes: x (..., n) -> (..., 1) for two classes, else (..., n_classes).

    Amplitudes that are all zero are no state: they are replaced by equal ones, see
    :class:`~qkan.models.dcnn_parts.NonZero`.

    The published preset begins as Keras does (Glorot, orthogonal, splines N(0, 0.1²)) and has its activations: ReLU in
    the cells of the LSTMs, splines that die out outside [-1, 1]. It counts one bias per LSTM gate; PyTorch's second
    one is frozen at zero.

    Raises:
        OptionError: an option is unknown or out of range, or both channels are left out.
        ShapeError: the input has another width.
        BackendUnavailable: the backend's package, device or account is missing.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int = 2,
        wires: int = 4,
        quantum_layers: int = 1,
        circuits: int = 3,
        embedding: str = "amplitude",
        classical: Mapping[str, Any] | bool = True,
        quantum: Mapping[str, Any] | bool = True,
        basis: Edges | None = None,
        *,
        preset: str = "compact",
        core: str = "circuit",
        dropout: float | None = None,
        backend: str | Backend = "torch",
        seed: int | None = None,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        self.in_features = check_positive("in_features", in_features)
        self.n_classes = check_positive("n_classes", n_classes, 2)
        self.out_features = 1 if n_classes == 2 else self.n_classes
        check_choice("preset", preset, PRESETS)
        self.preset = preset
        self.core = Core(core, wires, quantum_layers, circuits, embedding, backend)
        self.core.check()
        sizes_c, sizes_q, usual_dropout = PRESETS[preset]
        self.dropout = Dropout(usual_dropout if dropout is None else dropout, seed=0).p
        self.classical_sizes = _sizes("classical", sizes_c, classical, basis)
        self.quantum_sizes = _sizes("quantum", sizes_q, quantum, basis)
        if self.classical_sizes is None and self.quantum_sizes is None:
            raise OptionError("classical=False and quantum=False leave nothing: keep one of the channels.")
        seeds = spawn(seed, 4)
        self.classical: nn.Module | None = None
        self.quantum: nn.Module | None = None
        width = 0
        if self.classical_sizes is not None:
            self.classical, width = classical_channel(in_features, self.classical_sizes, self.dropout, seeds[0])
        if self.quantum_sizes is not None:
            self.quantum, more = quantum_channel(in_features, self.quantum_sizes, self.core, self.dropout, seeds[1])
            width += more
        self.head = linear(width, self.out_features, seed=seeds[2])
        if preset == "published":
            parts = (self.classical, self.quantum, self.head)
            for part, part_seed in zip(parts, spawn(seeds[3], 3), strict=True):
                begin_as_keras(part, part_seed)
        if device is not None:
            self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have {self.in_features} as its last dimension.")
        rows = x.reshape(-1, self.in_features)
        channels = [channel(rows) for channel in (self.classical, self.quantum) if channel is not None]
        return self.head(torch.cat(channels, -1)).reshape(*x.shape[:-1], self.out_features)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of outputs (N, 1 or n_classes) and classes (N,) counted from 0.

        Args:
            outputs: as :meth:`forward` returns them.
            labels: classes (N,) counted from 0.
        """
        return cross_entropy(outputs, labels)

    def probabilities(self, x: Any) -> Any:
        """Class probabilities without gradients, (rows, n) -> (rows, n_classes), array type as given."""
        outputs = self.predict(x)
        found = class_probabilities(torch.as_tensor(outputs))
        return found if isinstance(outputs, Tensor) else found.numpy()

    def quantum_parameters(self) -> int:
        """Trainable numbers in the circuits, 36 in the published network."""
        found = (module for module in self.modules() if isinstance(module, ParallelCircuits))
        return sum(p.numel() for module in found for p in module.parameters() if p.requires_grad)

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the structure; the backend is not part of it."""
        core = self.core
        return {
            "in_features": self.in_features,
            "n_classes": self.n_classes,
            "wires": core.wires,
            "quantum_layers": core.layers,
            "circuits": core.circuits,
            "embedding": core.embedding,
            "classical": self.classical_sizes is not None and written(self.classical_sizes),
            "quantum": self.quantum_sizes is not None and written(self.quantum_sizes),
            "preset": self.preset,
            "core": core.kind,
            "dropout": self.dropout,
        }


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy: logits (N, 1) of class 1 of two, or (N, classes); classes (N,) counted from 0.

    Args:
        outputs: logits.
        labels: classes.
    """
    if outputs.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs))
    return functional.cross_entropy(outputs, labels)


def class_probabilities(outputs: Tensor) -> Tensor:
    """Outputs (..., 1 or classes) to probabilities (..., classes) that sum to 1."""
    if outputs.shape[-1] > 1:
        return torch.softmax(outputs, -1)
    return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], -1)


def _sizes(name: str, preset: Any, given: Mapping[str, Any] | bool, basis: Edges | None) -> Any:
    if given is False:
        return None
    if given is not True and not isinstance(given, Mapping):
        raise OptionError(f"{name}={given!r} must be True, False or a dict of options.")
    return resolved(preset, {} if given is True else given, basis)


def begin_as_keras(part: nn.Module | None, seed: int) -> None:
    """Initial values of Keras and tfkan: Glorot's uniform distribution, biases 0, spline coefficients N(0, 0.1²).

    Args:
        part: changed in place; ``None`` is left alone.
        seed: of a local generator.
    """
    local = generator(seed)
    with torch.no_grad():
        for module in () if part is None else part.modules():
            if isinstance(module, nn.Linear):
                _glorot(module.weight, local)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, KANLayer) and isinstance(module.basis, BSpline) and module.scale is not None:
                coef = module.basis.coef
                coef.copy_(0.1 * torch.randn(coef.shape, generator=local, device="cpu"))
                _glorot(module.scale, local)


def _glorot(weight: Tensor, local: torch.Generator) -> None:
    limit = math.sqrt(6 / sum(weight.shape))
    weight.copy_((2 * torch.rand(weight.shape, generator=local, device="cpu") - 1) * limit)
