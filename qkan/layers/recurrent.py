"""LSTM over one or both directions with one bias per gate and a choice of cell activation.

Hochreiter and Schmidhuber, Neural Computation 9 (1997); forget gates: Gers, Schmidhuber and Cummins (2000); initial
values: Glorot and Bengio (2010), and orthogonal ones of Saxe, McClelland and Ganguli (arXiv 1312.6120).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.errors import ShapeError, check_choice, check_positive
from qkan.kernels import dispatch, lstm_ops


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
        check_choice("activation", activation, lstm_ops.ACTIVATIONS)
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
        found = dispatch.lstm(x.transpose(0, 1), self.activation, *self._weights())
        if found is None and self.activation == "tanh":
            return self.lstm(x)[0]
        if found is None:
            found = lstm_ops.reference(x.transpose(0, 1), self.activation, *self._weights())
        return found.transpose(0, 1)

    def _weights(self) -> list[Tensor]:
        """Of every direction: by inputs (4H, n), by the hidden state (4H, H), and the bias (4H,)."""
        found = []
        for suffix in ("l0", "l0_reverse")[: self.directions]:
            names = (f"{name}_{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            by_input, recurrent, bias, second = (getattr(self.lstm, name) for name in names)
            found += [by_input, recurrent, bias + second]
        return found

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, activation={self.activation!r}"
