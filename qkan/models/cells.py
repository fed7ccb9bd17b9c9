"""One step of a recurrent network whose gates are Kolmogorov-Arnold layers, and the way through all steps.

QKAN-LSTM and HQKAN-LSTM: arXiv 2512.05049. The GRU is that of Cho et al. (arXiv 1406.1078) in the form PyTorch has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan._random import spawn
from qkan.bases import Daruan
from qkan.errors import OptionError, ShapeError, check_positive
from qkan.kernels import dispatch
from qkan.kernels.node_matrix import from_coefficients
from qkan.kernels.recurrence_ops import STEPS, Kind, State, scan
from qkan.layers import KANLayer
from qkan.layers.linear import linear
from qkan.models.jhcg import JHCGNet


@dataclass(frozen=True)
class FoldedGates:
    """Gates whose pre-activations are features times coefficients, which are computed once for a whole sequence.

    Attributes:
        layer: whose features they are.
        encoder: linear map from [x, h] to the inputs of the layer; ``None`` if those are its inputs.
        decoder: linear map from its outputs to the G gates, which becomes one with the coefficients.
        split: inputs of a GRU cell whose gates r, z, n become r, z, a, b: a is n's part by these inputs, with the
            bias, b that by the hidden state. ``None`` leaves the gates as they are.
    """

    layer: KANLayer
    encoder: nn.Linear | None = None
    decoder: nn.Linear | None = None
    split: int | None = None

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """(G, N, K) and the bias (G,)."""
        found = self.layer.coefficients()
        bias = self.layer.output_bias()
        bias = found.new_zeros(len(found)) if bias is None else bias
        if self.decoder is not None:
            found = torch.einsum("go,onk->gnk", self.decoder.weight, found)
            bias = functional.linear(bias, self.decoder.weight, self.decoder.bias)
        return (found, bias) if self.split is None else _split_candidate(found, bias, self.split)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """(K', N, G) and the bias (G,), with the part of the constant feature."""
        if self.split is not None:
            coefficients, bias = self.coefficients()
            return from_coefficients(coefficients, None, None, bias, (len(coefficients), coefficients.shape[1]))
        matrix, bias = self.layer.matrix()
        if self.decoder is None:
            return matrix, bias
        return matrix @ self.decoder.weight.t(), functional.linear(bias, self.decoder.weight, self.decoder.bias)

    def each_step(self) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (x, h) -> pre-activations (..., G): features and one matrix product."""
        coefficients, bias = self.coefficients()
        matrix = coefficients.flatten(-2)

        def gates(x: Tensor, hidden: Tensor) -> Tensor:
            v = torch.cat([x, hidden], -1)
            features = self.layer.features(v if self.encoder is None else self.encoder(v))
            return functional.linear(features.flatten(-2), matrix, bias)

        return gates

    def run(self, cell: str, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """All steps of x (T, B, n) by the compiled time loop: outputs and last state.

        Args:
            cell: "lstm" or "gru".
            x: (T, B, n).
            state: (h,) or (h, c), each (B, H).
            lengths: (B,) steps of each sequence; ``None`` where all have T.
        """
        matrix, bias = self.matrix()
        encode = None
        if self.encoder is not None:
            of_x, of_hidden = self.encoder.weight.split([x.shape[-1], state[0].shape[-1]], 1)
            x, encode = functional.linear(x, of_x, self.encoder.bias), of_hidden.t()
        kind = Kind(cell, self.layer.basis.degree, self.layer.base is not None)  # type: ignore[arg-type]
        return dispatch.recurrence(x, state, matrix, bias, encode, lengths, kind)

    def reason_for_loop(self, x: Tensor) -> str | None:
        """Why the compiled time loop cannot run for inputs like ``x`` (..., n), or ``None``."""
        layer, basis = self.layer, self.layer.basis
        if not isinstance(basis, Daruan):
            return f"there is no compiled time loop for the basis {basis.name!r}"
        if basis.encoding != "fixed" or basis.ansatz == "px":
            return f"there is no compiled time loop for encoding={basis.encoding!r} with ansatz={basis.ansatz!r}"
        if layer.base not in (None, "silu"):
            return f"there is no compiled time loop for base={layer.base!r}"
        return dispatch.reason_for_reference(torch.promote_types(x.dtype, basis.theta.dtype), x.device)


def _split_candidate(coefficients: Tensor, bias: Tensor, inputs: int) -> tuple[Tensor, Tensor]:
    """From gates r, z, n to r, z, a, b; see :class:`FoldedGates`."""
    size = len(bias) // 3
    before, candidate = coefficients.split([2 * size, size])
    of_x, of_hidden = candidate.split([inputs, candidate.shape[1] - inputs], 1)
    of_x = functional.pad(of_x, (0, 0, 0, of_hidden.shape[1]))
    of_hidden = functional.pad(of_hidden, (0, 0, inputs, 0))
    return torch.cat([before, of_x, of_hidden]), functional.pad(bias, (0, size))


def fold(gates: nn.Module, split: int | None = None) -> FoldedGates | None:
    """Gates as features times coefficients, where they have that form.

    Args:
        gates: the module that makes pre-activations from [x, h].
        split: number of inputs among its columns, the rest being h; ``None`` where they are not split.
    """
    if isinstance(gates, KANLayer):
        return FoldedGates(gates, split=split) if gates.basis.folds else None
    if not isinstance(gates, JHCGNet) or not isinstance(gates.core, KANLayer) or not gates.core.basis.folds:
        return None
    encoder, decoder = gates.encoder, gates.decoder
    if not isinstance(encoder, nn.Linear) or not isinstance(decoder, nn.Linear):
        return None
    return FoldedGates(gates.core, encoder, decoder)


class RecurrentCell(nn.Module):
    """Base of all cells: ``gates`` maps [x, h] to the pre-activations of all gates in one.

    Subclasses set ``kind``, "lstm" (gates i, f, g, o) or "gru" (r, z and the candidate's two parts).

    Args:
        input_size: number n of inputs.
        hidden_size: H in the formulas.
        proj_size: width to which h is projected; 0 leaves it as it is.

    Raises:
        OptionError: a size is not valid.
    """

    kind: ClassVar[str]

    def __init__(self, input_size: int, hidden_size: int, proj_size: int = 0):
        super().__init__()
        self.input_size = check_positive("input_size", input_size)
        self.hidden_size = check_positive("hidden_size", hidden_size)
        self.proj_size = check_positive("proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            raise OptionError(f"proj_size={proj_size} must be smaller than hidden_size={hidden_size}.")
        self.gates: nn.Module
        self.projection: nn.Linear | None = None

    def _fill(self, make: Callable[[int, int, int], nn.Module], width: int, seed: int | None) -> None:
        """Build the gates by ``make(in, out, seed)``, with ``width`` outputs per hidden unit, and the projection."""
        gate_seed, projection_seed = spawn(seed, 2)
        self.gates = make(self.input_size + self.output_size, width * self.hidden_size, gate_seed)
        if self.proj_size:
            self.projection = linear(self.hidden_size, self.proj_size, bias=False, seed=projection_seed)

    @property
    def output_size(self) -> int:
        """Width of the hidden state that comes out."""
        return self.proj_size or self.hidden_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Widths of the parts of the state: hidden, and for an LSTM the cell."""
        return (self.output_size, self.hidden_size) if self.kind == "lstm" else (self.output_size,)

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        """One step, as in ``torch.nn.LSTMCell`` and ``GRUCell``.

        Args:
            x: (B, input_size) or (input_size,).
            hx: (h, c) for an LSTM, h for a GRU, of shape (B, hidden_size) or (hidden_size,); ``None`` is zero.

        Returns:
            The state after the step, in the form of ``hx``.

        Raises:
            ShapeError: a width is wrong.
            OptionError: dtype or device differ from those of the cell.
        """
        self.check_input(x, (1, 2))
        state = self.check_state(hx, x, x.shape[:-1])
        after = self.step()(x, state)
        return after if self.kind == "lstm" else after[0]

    def run(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """All steps of x (T, B, n) from a state: outputs (T, B, H) and last state; see :meth:`route`.

        Args:
            x: (T, B, n).
            state: (h,) or (h, c), each (B, H).
            lengths: (B,) steps of each sequence; ``None`` where all have T.
        """
        folded = self._folded()
        if folded is not None and self.projection is None and folded.reason_for_loop(x) is None:
            return folded.run(self.kind, x, state, lengths)
        return scan(self.step(folded), x, state, lengths)

    def step(self, folded: FoldedGates | None = None) -> Callable[[Tensor, State], State]:
        """A function (x, state) -> state for one step, with what all steps share computed beforehand."""
        folded = folded or self._folded()
        gates = self._gates_in_every_step if folded is None else folded.each_step()

        def advance(x: Tensor, state: State) -> State:
            hidden, *cell = STEPS[self.kind](gates(x, state[0]), state)
            return (hidden if self.projection is None else self.projection(hidden), *cell)

        return advance

    def route(self, x: Tensor) -> tuple[str, str | None]:
        """How x (T, B, n) is computed: a path, and why plain PyTorch takes it; see :func:`qkan.kernels.explain`."""
        folded = self._folded()
        if folded is None:
            return "time loop: gates edge by edge in every step", "the gates are not features times coefficients"
        reason = "outputs are projected" if self.projection is not None else folded.reason_for_loop(x)
        name = "in one call" if reason is None else "features and one matrix product in every step"
        return f"time loop: {name}", reason

    # -- internals ---------------------------------------------------------------------------------------

    def _folded(self) -> FoldedGates | None:
        return fold(self.gates, self.input_size if self._splits else None)

    @property
    def _splits(self) -> bool:
        """Whether gates come as r, z, n: a layer's output is a sum over inputs, so n's parts by x and h separate."""
        return self.kind == "gru" and isinstance(self.gates, KANLayer)

    def _gates_in_every_step(self, x: Tensor, hidden: Tensor) -> Tensor:
        v = torch.cat([x, hidden], -1)
        if not self._splits or not isinstance(self.gates, KANLayer):
            return self.gates(v)
        whole = self.gates(v)
        of_hidden = self.gates.edges(v)[..., 2 * self.hidden_size :, self.input_size :].sum(-1)
        before, candidate = whole.split([2 * self.hidden_size, self.hidden_size], -1)
        return torch.cat([before, candidate - of_hidden, of_hidden], -1)

    # -- checks ------------------------------------------------------------------------------------------

    def check_input(self, x: Tensor, dimensions: tuple[int, ...]) -> None:
        """Raise unless x (..., input_size) has the layer's dtype and device, and one of these numbers of dimensions.

        Raises:
            ShapeError: the width or the number of dimensions is wrong.
            OptionError: dtype or device is not the layer's.
        """
        like = next(self.parameters())
        if x.dim() not in dimensions or x.shape[-1] != self.input_size:
            allowed = " or ".join(str(count) for count in dimensions)
            raise ShapeError(
                f"input of shape {tuple(x.shape)} must have {allowed} dimensions, the last of them "
                f"input_size={self.input_size}."
            )
        if x.dtype != like.dtype or x.device != like.device:
            raise OptionError(
                f"the input is {x.dtype} on {x.device}, the network {like.dtype} on {like.device}; convert one of them "
                "with .to()."
            )

    def check_state(self, hx: Any, x: Tensor, leading: tuple[int, ...]) -> State:
        """The state as a tuple of tensors ``(*leading, width)``; zeros for ``None``.

        Args:
            hx: the state that was given, a tensor or a tuple of them, or ``None``.
            x: the input, for type and device.
            leading: expected leading dimensions of the state.

        Raises:
            ShapeError: the state has another number of tensors or another shape.
        """
        shapes = [(*leading, size) for size in self.state_sizes]
        if hx is None:
            return tuple(x.new_zeros(shape) for shape in shapes)
        parts = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        found = [tuple(part.shape) for part in parts]
        if found != shapes:
            what = "a pair (h, c)" if self.kind == "lstm" else "one tensor h"
            listed, wanted = (" and ".join(map(str, part)) for part in (found, shapes))
            raise ShapeError(f"the state has shape {listed}; it must be {what} of shape {wanted}.")
        return parts
