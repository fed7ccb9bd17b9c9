"""Layers, directions and packed sequences of recurrent networks, laid out as in ``torch.nn.LSTM`` and ``GRU``.

The LSTM cells follow arXiv 2512.05049, the GRU cells carry that over; see :mod:`qkan.models.cells`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from qkan import bases
from qkan._random import spawn
from qkan.errors import ModelFileError, OptionError, ShapeError, check_positive
from qkan.kernels.recurrence_ops import State
from qkan.models.base import SavedModel
from qkan.models.cells import RecurrentCell


class Recurrent(SavedModel):
    """Base of the recurrent networks; ``cells[layer * directions + direction]`` are their layers.

    Args:
        options: the constructor's arguments of a subclass.
        make_cell: its cell's class.
    """

    cells: Sequence[RecurrentCell]

    def __init__(self, options: dict[str, Any], make_cell: Callable[..., RecurrentCell]):
        """From the constructor arguments of a subclass, and its cell's class."""
        super().__init__()
        self._options = options
        given = dict(options)
        device, dtype, seed = given.pop("device", None), given.pop("dtype", None), given.pop("seed", None)
        self._options = {key: value for key, value in options.items() if key not in ("device", "dtype", "seed")}
        self.num_layers = check_positive("num_layers", given.pop("num_layers"))
        self.batch_first, self.bidirectional = bool(given.pop("batch_first")), bool(given.pop("bidirectional"))
        self.dropout = _check_dropout(given.pop("dropout"), self.num_layers)
        self.input_size, self.hidden_size = given.pop("input_size"), given.pop("hidden_size")
        cells: list[RecurrentCell] = []
        for number, cell_seed in enumerate(spawn(seed, self.num_layers * self.directions)):
            width = self.input_size if number < self.directions else self.directions * cells[0].output_size
            cells.append(make_cell(width, self.hidden_size, seed=cell_seed, **given))
        self.cells = nn.ModuleList(cells)  # type: ignore[assignment]
        if device is not None or dtype is not None:
            self.to(device=device, dtype=dtype)

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """A whole sequence; arguments and results are those of ``torch.nn.LSTM`` and ``torch.nn.GRU``.

        Args:
            input: (T, B, input_size), (B, T, input_size) if ``batch_first``, (T, input_size), or a ``PackedSequence``.
            hx: state before the first step, (layers · directions, B, width): a pair (h, c) for an LSTM, one tensor
                for a GRU; without B where the input has none. ``None`` is zero.

        Returns:
            Outputs of the last layer in the form of ``input``, forward and backward side by side, and the last state in
            the form of ``hx``.

        Raises:
            ShapeError: input or state have a wrong shape, or the sequence no steps.
            OptionError: dtype or device differ from those of the network.
        """
        if isinstance(input, PackedSequence):
            self.cells[0].check_input(input.data, (2,))
            x, lengths = pad_packed_sequence(input)
            out, state = self._through_layers(x, hx, lengths.to(x.device))
            return _packed_like(input, out, lengths), self._joined(state)
        self.cells[0].check_input(input, (2, 3))
        if input.dim() == 2:
            hx = None if hx is None else self._with_batch(hx)
            out, state = self._through_layers(input.unsqueeze(1), hx, None)
            return out.squeeze(1), self._joined([part.squeeze(1) for part in state])
        x = input.transpose(0, 1) if self.batch_first else input
        out, state = self._through_layers(x, hx, None)
        return out.transpose(0, 1) if self.batch_first else out, self._joined(state)

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the network's structure.

        Raises:
            ModelFileError: the basis class is not registered under a name.
        """
        basis = self._options.get("basis")
        if basis is None:
            return dict(self._options)
        found = bases.get(basis)
        if found.name not in bases.names() or bases.get(found.name) is not found:
            raise ModelFileError(
                f"the basis class {found.__name__} is not registered under a name of its own; decorate it with "
                "qkan.bases.register(name), so that loading finds it."
            )
        return {**self._options, "basis": found.name}

    def capture(self, x: Tensor) -> Callable[[Tensor, Any], tuple[Tensor, Any]]:
        """The network on a GPU as CUDA graphs of forward and backward pass, for sequences of the shape of ``x`` only.

        A time loop of hundreds of small kernels is ruled by launching them; a graph launches them at once. As with
        ``torch.cuda.make_graphed_callables``, capture before wrapping in DDP, and give inputs the same
        ``requires_grad`` as ``x``. Dropout and packed sequences are not captured.

        Args:
            x: a sequence as for the network, on the GPU.

        Returns:
            A function (input, hx) like the network itself, sharing its parameters.

        Raises:
            OptionError: ``x`` is not on a GPU, or the network has dropout.
        """
        if not x.is_cuda:
            raise OptionError(f"the input is on {x.device}; CUDA graphs need a GPU.")
        if self.dropout:
            raise OptionError(f"dropout={self.dropout} cannot be captured; build the network without it.")
        self.cells[0].check_input(x, (2, 3))
        state = self.zero_state(x)
        graphed: Any = torch.cuda.make_graphed_callables(_Flat(self), (x, *(part.requires_grad_() for part in state)))

        def run(input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
            given = state if hx is None else (tuple(hx) if isinstance(hx, (tuple, list)) else (hx,))
            found: Any = graphed(input, *given)
            out, *after = found
            return out, self._joined(after)

        return run

    def zero_state(self, x: Tensor) -> State:
        """Zeros, (layers · directions, B, width) for each part of a state; without B where x is (T, n)."""
        batch = () if x.dim() == 2 else (x.shape[0 if self.batch_first else 1],)
        return tuple(x.new_zeros(len(self.cells), *batch, size) for size in self.cells[0].state_sizes)

    def extra_repr(self) -> str:
        names = ("input_size", "hidden_size", "num_layers", "batch_first", "dropout", "bidirectional")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    # -- internals ---------------------------------------------------------------------------------------

    def _through_layers(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Take x (T, B, n), time first, through all layers: outputs and the parts of the last state, stacked."""
        if len(x) == 0:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have at least one step.")
        state = self._checked_state(hx, x)
        last: list[State] = []
        turned = None if lengths is None else _backwards(len(x), lengths)
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            outs = []
            for direction in range(self.directions):
                number = layer * self.directions + direction
                begin = tuple(part[number] for part in state)
                out, after = self.cells[number].run(_turn(x, turned) if direction else x, begin, lengths)
                outs.append(_turn(out, turned) if direction else out)
                last.append(after)
            x = outs[0] if len(outs) == 1 else torch.cat(outs, -1)
        return x, [torch.stack(parts) for parts in zip(*last, strict=True)]

    def _checked_state(self, hx: Any, x: Tensor) -> State:
        return self.cells[0].check_state(hx, x, (len(self.cells), x.shape[1]))

    def _with_batch(self, hx: Any) -> Any:
        """The state of an unbatched sequence, with a batch of one."""
        parts = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        shapes = [(len(self.cells), size) for size in self.cells[0].state_sizes]
        found = [tuple(part.shape) for part in parts]
        if found != shapes:
            raise ShapeError(
                f"the state of a sequence without a batch has shape {', '.join(map(str, found))}; it must be "
                f"{' and '.join(map(str, shapes))}."
            )
        return tuple(part.unsqueeze(1) for part in parts)

    def _joined(self, parts: Sequence[Tensor]) -> Any:
        return tuple(parts) if self.cells[0].kind == "lstm" else parts[0]


class _Flat(nn.Module):
    """A network with its state as separate arguments and results, as CUDA graphs want it."""

    def __init__(self, network: Recurrent):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        out, after = self.network(x, state if len(state) > 1 else state[0])
        return out, *(after if isinstance(after, tuple) else (after,))


def _check_dropout(dropout: Any, num_layers: int) -> float:
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise OptionError(f"dropout={dropout!r} must be a number from 0 to 1, the probability of a zero.")
    if dropout and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} acts between layers, so it does nothing with num_layers=1.", UserWarning, stacklevel=4
        )
    return float(dropout)


def _backwards(steps: int, lengths: Tensor) -> Tensor:
    """For every step and row the step it changes places with when each sequence is turned round, (T, B, 1)."""
    t = torch.arange(steps, device=lengths.device).unsqueeze(1)
    return torch.where(t < lengths, lengths - 1 - t, t).unsqueeze(-1)


def _turn(x: Tensor, turned: Tensor | None) -> Tensor:
    return x.flip(0) if turned is None else x.gather(0, turned.expand_as(x))


def _packed_like(packed: PackedSequence, out: Tensor, lengths: Tensor) -> PackedSequence:
    """Outputs (T, B, H) in the order of a packed sequence."""
    if packed.sorted_indices is not None:
        out, lengths = out.index_select(1, packed.sorted_indices), lengths[packed.sorted_indices.to(lengths.device)]
    valid = torch.arange(len(out)).unsqueeze(1) < lengths
    data = out[valid.to(out.device)]
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
