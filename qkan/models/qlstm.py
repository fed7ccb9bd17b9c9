"""QLSTM: an LSTM whose gates are variational circuits of several qubits, the baseline of quantum recurrent networks."""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.circuits import Circuit, Z, data, parameters
from qkan.errors import ShapeError, check_positive

#: Gates of the cell, in order.
GATES = ("input", "forget", "cell", "output")


def gate_circuit(wires: int, depth: int, outputs: int) -> Circuit:
    """The circuit of one gate, as in S. Y.-C. Chen's code for quantum long short-term memories.

    A Hadamard gate and RY(x_w) on every wire, then ``depth`` times CNOT between neighbours (first those that start on
    even wires, then on odd ones) and RY(θ) on every wire; ⟨Z⟩ of the first ``outputs`` wires.
    """
    theta = parameters("theta", depth * wires)
    circuit = Circuit(wires)
    for wire in range(wires):
        circuit = circuit.h(wire).ry(data(wire), wire)
    for layer in range(depth):
        for control in chain(range(0, wires - 1, 2), range(1, wires - 1, 2)):
            circuit = circuit.cnot(control, control + 1)
        for wire in range(wires):
            circuit = circuit.ry(theta[layer * wires + wire], wire)
    return circuit.measure(*(Z(wire) for wire in range(outputs)))


class QLSTM(nn.Module):
    """LSTM with four variational circuits for its gates (Chen, Yoo and Fang, arXiv 2009.01783).

    Each gate runs :func:`gate_circuit` on the concatenation of input and hidden state, one wire per number; the
    expectations of the first ``hidden_size`` wires are its pre-activation. All gates are real, so a circuit is an
    orthogonal matrix after a product state: it is built once per sequence, and a step is one matrix product.

    Args:
        input_size: channels of the input.
        hidden_size: H in the formulas.
        depth: variational layers.
        batch_first: input is (N, T, channels) instead of (T, N, channels).
        seed: of the angles, uniform in [-π, π); ``None`` draws fresh ones.

    Shapes: x (T, N, input_size) -> output (T, N, H) and the last (h, c), each (1, N, H), as ``torch.nn.LSTM``.

    Attributes:
        theta: (4, depth, wires), gates in the order input, forget, cell, output.

    Raises:
        OptionError: a size is below 1.
    """

    order: Tensor
    signs: Tensor

    def __init__(
        self, input_size: int, hidden_size: int, depth: int = 5, batch_first: bool = False, *, seed: int | None = None
    ):
        super().__init__()
        self.input_size = check_positive("input_size", input_size)
        self.hidden_size = check_positive("hidden_size", hidden_size)
        self.depth, self.batch_first = check_positive("depth", depth), batch_first
        self.wires = self.input_size + self.hidden_size
        self.theta = nn.Parameter(torch.empty(4, self.depth, self.wires))
        index = torch.arange(2**self.wires)
        order, bits = index, index[:, None] >> torch.arange(self.wires - 1, -1, -1) & 1
        for control in chain(range(0, self.wires - 1, 2), range(1, self.wires - 1, 2)):
            flips = (index >> (self.wires - 1 - control)) & 1
            order = order[index ^ (flips << (self.wires - 2 - control))]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("signs", (1.0 - 2.0 * bits[:, : self.hidden_size]), persistent=False)
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw the angles anew."""
        with torch.no_grad():
            self.theta.copy_((2 * torch.rand(self.theta.shape, generator=generator(seed)) - 1) * math.pi)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if x.dim() != 3 or x.shape[-1] != self.input_size:
            raise ShapeError(f"input of shape {tuple(x.shape)} must be three-dimensional and end in {self.input_size}.")
        steps = x.transpose(0, 1) if self.batch_first else x
        if state is None:
            state = (x.new_zeros(1, steps.shape[1], self.hidden_size),) * 2
        h, c = (part[0] for part in state)
        unitary = self.unitaries()
        outputs = []
        for step in steps:
            i, f, g, o = self._gates(torch.cat([step, h], dim=-1), unitary).unbind(1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        output = torch.stack(outputs, dim=1 if self.batch_first else 0)
        return output, (h[None], c[None])

    def unitaries(self) -> Tensor:
        """The variational part of every gate as a matrix for states as rows, (4, 2^wires, 2^wires)."""
        half = self.theta / 2
        cos, sin = torch.cos(half), torch.sin(half)
        # Transposed rotations: a row of amplitudes is multiplied from the right.
        turns = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        layers = turns[:, :, 0]
        for wire in range(1, self.wires):
            layers = _kron(layers, turns[:, :, wire])
        layers = layers.index_select(2, torch.argsort(self.order))  # CNOTs come first: they permute the rows
        found = layers[:, 0]
        for layer in range(1, self.depth):
            found = found @ layers[:, layer]
        return found

    def _gates(self, v: Tensor, unitary: Tensor) -> Tensor:
        """Expectations (N, 4, H) for inputs v (N, wires)."""
        angle = v / 2 + math.pi / 4  # RY(x) after a Hadamard gate on |0⟩ is RY(x + π/2)
        columns = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        psi = columns[:, 0]
        for wire in range(1, self.wires):
            psi = (psi[:, :, None] * columns[:, wire, None]).flatten(1)
        final = psi @ unitary.permute(1, 0, 2).flatten(1)
        return final.square().view(len(v), 4, -1) @ self.signs.to(v.dtype)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, depth={self.depth}, wires={self.wires}"


def _kron(left: Tensor, right: Tensor) -> Tensor:
    """Kronecker products of square matrices (..., a, a) and (..., b, b)."""
    size = left.shape[-1] * right.shape[-1]
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    return product.reshape(*left.shape[:-2], size, size)
