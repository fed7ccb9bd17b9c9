"""A circuit of tensor-network form as a classifier of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from qkan._random import spawn
from qkan.circuits import Circuit, QuantumLayer, mera, mps, ttn
from qkan.circuits.backends import Backend
from qkan.errors import ShapeError, check_choice, check_positive
from qkan.layers.linear import linear
from qkan.models.base import Network, saved_as_own_kind

#: Circuits, by name, made from a number of wires.
TENSOR_NETWORKS: dict[str, Callable[[int], Circuit]] = {"mera": mera, "mps": mps, "ttn": ttn}


@saved_as_own_kind
class TensorNetworkQNN(Network):
    """A quantum network of MERA, MPS or TTN form: amplitudes, blocks of CNOT, RY and RY, ⟨Z⟩ of one wire.

    The quantum baselines of Jahin et al., arXiv 2410.07446 (blocks of two wires, ⟨Z⟩ plus a bias). Two things differ.
    The logit is a · ⟨Z⟩ + b with a trained factor a, for ⟨Z⟩ alone cannot be sure of anything. And the row is filled up
    by a single 1, which keeps its length, instead of by ones all over.

    Args:
        in_features: n, numbers in a row.
        n_classes: 2 gives one output, a logit; more give as many.
        network: "mera", "mps" or "ttn".
        layers: the network so many times over, each with parameters of its own.
        backend: where the circuit runs; those other than "torch" cannot train here, for amplitudes have no shift rule.
        seed: of the initial values; ``None`` draws fresh entropy.

    Attributes:
        wires: of the circuit; for "mera" and "ttn" a power of 2.
        used: the last so many wires hold the row, 2^used > n; the others begin in |0⟩.

    Shapes: x (..., n) -> (..., 1) for two classes, else (..., n_classes).

    Raises:
        OptionError: an option is unknown or out of range.
        ShapeError: the input has another width.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int = 2,
        network: str = "mera",
        layers: int = 1,
        *,
        backend: str | Backend = "torch",
        seed: int | None = None,
    ):
        super().__init__()
        self.in_features = check_positive("in_features", in_features)
        self.n_classes = check_positive("n_classes", n_classes, 2)
        self.out_features = 1 if n_classes == 2 else self.n_classes
        check_choice("network", network, TENSOR_NETWORKS)
        self.network, self.layers = network, check_positive("layers", layers)
        self.used = max(2, self.in_features.bit_length())
        self.wires = self.used
        if network != "mps":
            self.wires = 1 << (self.wires - 1).bit_length()
        seeds = spawn(seed, 2)
        self.circuit = QuantumLayer(self._circuit(), backend, seed=seeds[0])
        self.head = linear(1, self.out_features, seed=seeds[1])

    def _circuit(self) -> Circuit:
        circuit = Circuit(self.wires).amplitude_embedding(range(self.wires - self.used, self.wires))
        once = TENSOR_NETWORKS[self.network](self.wires)
        for layer in range(self.layers):
            circuit = circuit.then(_numbered(once, layer))
        return circuit

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have {self.in_features} as its last dimension.")
        one = torch.ones_like(x[..., :1])
        rest = 2**self.used - self.in_features - 1
        amplitudes = nn.functional.pad(torch.cat([x, one], -1), (0, rest))
        return self.head(self.circuit(amplitudes))

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the structure; the backend is not part of it."""
        names = ("in_features", "n_classes", "network", "layers")
        return {name: getattr(self, name) for name in names}


def _numbered(circuit: Circuit, layer: int) -> Circuit:
    """The circuit with ``weights[i,k]`` called ``weights[layer,i,k]``."""

    def named(name: str) -> str:
        return name.replace("weights[", f"weights[{layer},")

    gates = []
    for gate in circuit.gates:
        angles = [
            replace(a, parameters=tuple((named(name), value) for name, value in a.parameters)) for a in gate.angles
        ]
        gates.append(replace(gate, angles=tuple(angles)))
    return replace(circuit, gates=tuple(gates))
