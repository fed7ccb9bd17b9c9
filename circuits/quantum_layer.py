"""A circuit as a layer of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.circuits import backends, gradients
from qkan.circuits.backends import Backend
from qkan.circuits.circuit import Circuit


class QuantumLayer(nn.Module):
    """Expectations of a circuit whose data columns are the inputs and whose parameters are trained::

        circuit = Circuit(4).angle_embedding().then(ansatz.strongly_entangling(4, 2))
        layer = QuantumLayer(circuit, seed=0)  # (..., 4) -> (..., 4)

    Args:
        circuit: of as many wires as the backend has.
        backend: where it runs, a name or a backend of :mod:`qkan.circuits.backends`. "torch" (default) is the exact
            simulator; others train by the parameter-shift rule, with shots too, at two or four circuits per angle
            and row. It is not part of the state dict.
        seed: of the initial parameters, uniform in [0, 2π); ``None`` draws fresh ones.
        dtype: of the parameters, by default PyTorch's.

    Attributes:
        theta: (P,) in radians, in the order of ``circuit.parameters``.

    Raises:
        OptionError: unknown backend, or more wires than it has.
        BackendUnavailable: its package, device or account is missing.
    """

    def __init__(
        self,
        circuit: Circuit,
        backend: str | Backend = "torch",
        *,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.circuit = circuit
        self.backend = backends.get(backend)
        self.backend.check_wires(circuit)
        self.theta = nn.Parameter(torch.empty(circuit.num_parameters, dtype=dtype))
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw the parameters anew."""
        with torch.no_grad():
            # Drawn on the CPU in float64, so that a seed means the same on every device and in every type.
            drawn = torch.rand(self.theta.shape, generator=generator(seed), dtype=torch.float64)
            self.theta.copy_(2 * math.pi * drawn)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., number of observables).

        Raises:
            ShapeError: the last dimension is not D.
            OptionError: a gradient with respect to amplitudes is asked of a backend other than "torch".
        """
        return gradients.expectations(self.backend, self.circuit, x, self.theta)

    def extra_repr(self) -> str:
        size = f"{self.circuit.num_columns} -> {len(self.circuit.observables)}"
        about = f"wires={self.circuit.wires}, parameters={self.circuit.num_parameters}"
        return f"{size}, {about}, backend={self.backend.name!r}"
