"""LSTM over one or both directions with one bias per gate and a choice of cell activation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.errors import ShapeError, check_choice, check_positive

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class Recurrent(nn.Module):
    """An LSTM layer that returns its hidden state after every step, forward and, if wanted, backward in time.

    One bias per gate is trained, as in Keras: PyTorch's second one, which is redundant, is frozen at zero. Keras's
    initial values: Glorot's uniform distribution for input weights, orthogonal recurrent weights, biases 0 but 1 for
    forget gates.

    Args:
        in_features: channels of the input.
        units: H, width of the hidden state of each direction.
        bidirectional: run a second one from the last step to the first.
        activation: of candidates and cell output, "tanh" or "relu"; gates are sigmoid.
        seed: of the initial values; ``None`` draws fresh ones.

    Attributes:
        lstm: a ``torch.nn.LSTM`` with the parameters.

    Shapes: x (N, T, in_features) -> (N, T, H), or (N, T, 2H) where bidirectional, forward first.

    Raises:
        OptionError: a size is below 1, or another activation.
        ShapeError: the input is not of that shape.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        bidirectional: bool = True,
        activation: str = "tanh",
        seed: int | None = None,
    ):
        super().__init__()
        check_choice("activation", activation, _ACTIVATIONS)
        self.in_features, self.units = check_positive("in_features", in_features), check_positive("units", units)
        self.activation = activation
        # On the meta device nothing is drawn, so that PyTorch's global random state is not used.
        lstm = nn.LSTM(in_features, units, batch_first=True, bidirectional=bidirectional, device="meta")
        self.lstm = lstm.to_empty(device=torch.get_default_device())
        self.directions = 2 if bidirectional else 1
        self.out_features = self.directions * units
        self.reset_parameters(seed)

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw the weights anew."""
        local = generator(seed)
        with torch.no_grad():
            for name, parameter in self.lstm.named_parameters():
                if name.startswith("weight_ih"):
                    limit = math.sqrt(6 / sum(parameter.shape))
                    parameter.copy_((2 * torch.rand(parameter.shape, generator=local, device="cpu") - 1) * limit)
                elif name.startswith("weight_hh"):
                    drawn = torch.empty(parameter.shape, device="cpu")
                    parameter.copy_(nn.init.orthogonal_(drawn, generator=local))
                else:
                    parameter.zero_()
                    if name.startswith("bias_ih"):
                        parameter[self.units : 2 * self.units] = 1
                    else:
                        parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[-1] != self.in_features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must be (rows, steps, {self.in_features}).")
        if self.activation == "tanh":
            return self.lstm(x)[0]
        return _time_loop(x, *self._stacked(), _ACTIVATIONS[self.activation])

    def _stacked(self) -> tuple[Tensor, Tensor, Tensor]:
        """Input weights (d, n, 4H), recurrent weights (d, H, 4H) and biases (d, 1, 4H); gates i, f, o, g.

        The candidate g comes last here, so that the three sigmoids are neighbours.
        """
        found: list[list[Tensor]] = [[], [], []]
        for suffix in ("l0", "l0_reverse")[: self.directions]:
            for place, name in enumerate(("weight_ih", "weight_hh", "bias_ih")):
                i, f, g, o = getattr(self.lstm, f"{name}_{suffix}").chunk(4)
                found[place].append(torch.cat([i, f, o, g]))
        weight, recurrent, bias = (torch.stack(part) for part in found)
        return weight.transpose(1, 2), recurrent.transpose(1, 2), bias.unsqueeze(1)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, activation={self.activation!r}"


def _time_loop(x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, T, n) -> (N, T, d H): both directions in one time loop, so that it is half as long."""
    rows, steps, channels = x.shape
    directions, units = weight.shape[0], recurrent.shape[1]
    series = x.transpose(0, 1)  # (T, N, n)
    both = torch.stack([series, series.flip(0)][:directions])  # (d, T, N, n)
    entering = torch.baddbmm(bias, both.reshape(directions, steps * rows, channels), weight)
    entering = entering.view(directions, steps, rows, -1)
    h = c = x.new_zeros(directions, rows, units)
    outputs: list[Tensor] = []
    for gates in entering.unbind(1):
        if outputs:
            gates = torch.baddbmm(gates, h, recurrent)
        sigmoids, candidate = gates[..., : 3 * units].sigmoid(), act(gates[..., 3 * units :])
        i, f, o = sigmoids.chunk(3, -1)
        c = torch.addcmul(i * candidate, f, c) if outputs else i * candidate
        h = o * act(c)
        outputs.append(h)
    hidden = torch.stack(outputs)  # (T, d, N, H)
    found = [hidden[:, 0], hidden[:, 1].flip(0)] if directions == 2 else [hidden[:, 0]]
    return torch.cat(found, -1).transpose(0, 1)
