"""The published KACQ-DCNN put together from what is at hand: PennyLane's TorchLayer and splines in plain PyTorch.

Written from the formulas of arXiv 2410.07446 and of spline layers in the style of efficient-kan (Cox-de Boor's
recursion over the whole batch, one matrix product for the splines and one for the base branch).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIRES = 4


def torch_layer(layers: int = 1) -> nn.Module:
    """PennyLane's layer: 16 amplitudes, strongly entangling layers, ⟨Z⟩ of four wires."""
    import pennylane as qml

    @qml.qnode(qml.device("default.qubit", wires=WIRES), interface="torch", diff_method="backprop")
    def node(inputs: Tensor, weights: Tensor) -> Any:
        qml.AmplitudeEmbedding(inputs, wires=range(WIRES), normalize=True)
        qml.StronglyEntanglingLayers(weights, wires=range(WIRES))
        return [qml.expval(qml.Z(wire)) for wire in range(WIRES)]

    return qml.qnn.TorchLayer(node, {"weights": (layers, WIRES, 3)})


class TorchLayers(nn.Module):
    """Three of them side by side: (N, 48) -> (N, 12)."""

    def __init__(self, layers: int = 1):
        super().__init__()
        self.parts = nn.ModuleList(torch_layer(layers) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(part) for layer, part in zip(self.parts, x.split(16, -1), strict=True)], -1)


class SplineLayer(nn.Module):
    """y = Σ_i scale_oi [silu(x_i) + Σ_k w_oik B_k(x_i)] + bias_o."""

    def __init__(self, n: int, m: int, grid: int = 3, k: int = 3):
        super().__init__()
        self.k = k
        self.register_buffer("knots", -1 + 2 / grid * torch.arange(-k, grid + k + 1))
        self.weight = nn.Parameter(0.1 * torch.randn(m, n, grid + k))
        self.scale = nn.Parameter((2 * torch.rand(m, n) - 1) * math.sqrt(6 / (n + m)))
        self.bias = nn.Parameter(torch.zeros(m))

    def splines(self, x: Tensor) -> Tensor:
        x, knots = x.unsqueeze(-1), self.knots
        found = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
        for k in range(1, self.k + 1):
            rising = (x - knots[: -(k + 1)]) / (knots[k:-1] - knots[: -(k + 1)])
            falling = (knots[k + 1 :] - x) / (knots[k + 1 :] - knots[1:-k])
            found = rising * found[..., :-1] + falling * found[..., 1:]
        return found

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale.unsqueeze(-1)
        base = functional.linear(functional.silu(x), self.scale)
        return base + functional.linear(self.splines(x).flatten(-2), weight.flatten(-2)) + self.bias


class ReluLSTM(nn.Module):
    """A bidirectional LSTM with ReLU in the place of tanh, which ``torch.nn.LSTM`` does not have: a loop over time."""

    def __init__(self, n: int, units: int):
        super().__init__()
        self.units = units
        self.ways = nn.ModuleList(nn.LSTMCell(n, units) for _ in range(2))
        for way in self.ways:
            nn.init.zeros_(way.bias_hh).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for way, cell in enumerate(self.ways):
            h = c = x.new_zeros(len(x), self.units)
            outputs = []
            for step in x.unbind(1)[:: -1 if way else 1]:
                gates = functional.linear(step, cell.weight_ih, cell.bias_ih)
                gates = gates + functional.linear(h, cell.weight_hh, cell.bias_hh)
                i, f, g, o = gates.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.relu(g)
                h = torch.sigmoid(o) * torch.relu(c)
                outputs.append(h)
            found.append(torch.stack(outputs[:: -1 if way else 1], 1))
        return torch.cat(found, -1)


class TanhLSTM(nn.LSTM):
    """PyTorch's own, whose cells have tanh: faster, but not what was published."""

    def __init__(self, n: int, units: int):
        super().__init__(n, units, batch_first=True, bidirectional=True)
        for name in ("bias_hh_l0", "bias_hh_l0_reverse"):
            nn.init.zeros_(getattr(self, name)).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class Peer(nn.Module):
    """Both channels and the head for 12 inputs: 3,023,221 trainable parameters."""

    def __init__(self, cell: str = "relu", dropout: float = 0.2):
        super().__init__()
        lstm: Any = ReluLSTM if cell == "relu" else TanhLSTM
        drop = lambda: nn.Dropout(dropout)  # noqa: E731
        self.recurrent = nn.Sequential(lstm(1, 64), lstm(128, 64), nn.Flatten(), drop())
        self.dense = nn.Sequential(nn.Linear(1536, 320), nn.ReLU(), drop())
        self.classical = nn.Sequential(SplineLayer(320, 256), drop(), SplineLayer(256, 32), drop())
        self.first = nn.Sequential(SplineLayer(1, 112), nn.Flatten(), drop())
        self.before = nn.Sequential(SplineLayer(1344, 176), drop(), SplineLayer(176, 48, grid=5))
        self.circuits = TorchLayers()
        self.after = nn.Sequential(SplineLayer(12, 112), drop(), SplineLayer(112, 32), drop())
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1)
        classical = self.classical(self.dense(self.recurrent(x)))
        quantum = self.after(self.circuits(self.before(self.first(x))))
        return self.head(torch.cat([classical, quantum], -1))

    def take(self, model: Any) -> None:
        """The parameters of a :class:`qkan.models.KACQDCNN` with the published sizes."""
        from qkan.circuits import ParallelCircuits
        from qkan.layers import KANLayer
        from qkan.layers.recurrent import Recurrent

        theirs = [part for part in model.modules() if isinstance(part, (KANLayer, Recurrent, nn.Linear))]
        mine = [part for part in self.modules() if isinstance(part, (SplineLayer, ReluLSTM, TanhLSTM, nn.Linear))]
        with torch.no_grad():
            for own, other in zip(mine, theirs, strict=True):
                _copy(own, other)
            (block,) = (part for part in model.modules() if isinstance(part, ParallelCircuits))
            for layer, theta in zip(self.circuits.parts, block.theta, strict=True):
                layer.weights.copy_(theta.view(-1, WIRES, 3))


def _copy(own: Any, other: Any) -> None:
    if isinstance(own, nn.Linear):
        own.load_state_dict(other.state_dict())
    elif isinstance(own, SplineLayer):
        for mine, its in ((own.weight, other.basis.coef), (own.scale, other.scale), (own.bias, other.bias)):
            mine.copy_(its)
    elif isinstance(own, TanhLSTM):
        own.load_state_dict(other.lstm.state_dict())
    else:
        for cell, suffix in zip(own.ways, ("l0", "l0_reverse"), strict=True):
            for name in ("weight_ih", "weight_hh", "bias_ih"):
                getattr(cell, name).copy_(getattr(other.lstm, f"{name}_{suffix}"))
