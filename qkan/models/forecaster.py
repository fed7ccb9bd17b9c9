"""A recurrent network with a linear read-out, by name: what forecasting experiments compare.

QKAN-LSTM and HQKAN-LSTM, and the LSTM and QLSTM they are compared with: arXiv 2512.05049; the GRUs are our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qkan._random import generator, spawn
from qkan.errors import OptionError, check_choice, check_positive
from qkan.models.base import SavedModel, saved_as_own_kind
from qkan.models.lstm import HQKANGRU, HQKANLSTM, QKANGRU, QKANLSTM
from qkan.models.qlstm import QLSTM


def _torch(kind: Any) -> Callable[..., nn.Module]:
    def make(inputs: int, hidden: int, seed: int, **options: Any) -> nn.Module:
        if options:
            raise OptionError(f"{kind.__name__} has no option {next(iter(options))!r} here.")
        # Made without memory first, so that nothing is drawn from the global generator.
        made = kind(inputs, hidden, batch_first=True, device="meta").to_empty(device="cpu")
        local, bound = generator(seed), hidden**-0.5
        with torch.no_grad():  # PyTorch's own distribution, drawn from a local generator
            for weight in made.parameters():
                weight.copy_((2 * torch.rand(weight.shape, generator=local) - 1) * bound)
        return made

    return make


def _ours(kind: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def make(inputs: int, hidden: int, seed: int, **options: Any) -> nn.Module:
        return kind(inputs, hidden, batch_first=True, seed=seed, **options)

    return make


#: Recurrent networks, by name.
CORES: dict[str, Callable[..., nn.Module]] = {
    "lstm": _torch(nn.LSTM),
    "gru": _torch(nn.GRU),
    "qlstm": _ours(QLSTM),
    "qkan-lstm": _ours(QKANLSTM),
    "hqkan-lstm": _ours(HQKANLSTM),
    "qkan-gru": _ours(QKANGRU),
    "hqkan-gru": _ours(HQKANGRU),
}


@saved_as_own_kind
class Forecaster(SavedModel):
    """The next steps of a series from a window of it: a recurrent core, and a linear map of its last hidden state.

    Args:
        core: one of :data:`CORES`.
        hidden_size: of the core.
        channels: of the input.
        horizon: steps ahead.
        seed: of local generators; ``None`` draws fresh entropy.
        **options: of the core, such as ``reps`` of "qkan-lstm" or ``depth`` of "qlstm".

    Shapes: x (N, window, channels) -> (N, horizon).

    Raises:
        OptionError: an option is unknown or out of range.
    """

    def __init__(
        self,
        core: str = "qkan-lstm",
        hidden_size: int = 5,
        channels: int = 1,
        horizon: int = 1,
        *,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__()
        check_choice("core", core, CORES)
        self.kind, self.options = core, options
        self.hidden_size = check_positive("hidden_size", hidden_size)
        self.channels, self.horizon = check_positive("channels", channels), check_positive("horizon", horizon)
        core_seed, head_seed = spawn(seed, 2)
        self.core = CORES[core](self.channels, self.hidden_size, core_seed, **options)
        self.head = nn.Linear(self.hidden_size, self.horizon, device="meta").to_empty(device="cpu")
        bound = self.hidden_size**-0.5
        with torch.no_grad():
            local = generator(head_seed)
            for weight in self.head.parameters():
                weight.copy_((2 * torch.rand(weight.shape, generator=local) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0][:, -1])

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the model's structure."""
        sizes = {"hidden_size": self.hidden_size, "channels": self.channels, "horizon": self.horizon}
        return {"core": self.kind, **sizes, **self.options}
