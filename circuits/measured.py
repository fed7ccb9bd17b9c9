"""The protocol between models and deployment: blocks that run circuits, and blocks that hold what was measured."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from qkan.circuits.circuit import Circuit
from qkan.errors import DomainError, OptionError, check_positive


@runtime_checkable
class CircuitBlock(Protocol):
    """A module whose output is fixed by expectations of one circuit shape at many angles.

    A module around it that no longer asks it, because it has computed with its values before, says so by a true
    attribute ``computed_before``; its model is not deployed.

    DARUAN bases and :class:`~qkan.circuits.QuantumLayer` are such; any module with these methods is deployed.
    """

    def block_circuit(self) -> Circuit:
        """Without named parameters, as :func:`qkan.circuits.rows.by_angle` makes it: one row of columns is one run."""

    def node_count(self) -> int | None:
        """How many runs fix the block for every input; ``None`` where no finite number does."""

    def node_rows(self) -> Tensor:
        """Those runs' columns, (node_count, R)."""

    def row_count(self, rows: int) -> int:
        """How many runs fix its output for so many input rows."""

    def input_rows(self, x: Tensor) -> Tensor:
        """Those runs' columns for inputs x (rows, n), (row_count, R)."""

    def measured(self, values: Tensor, variances: Tensor, x: Tensor | None = None) -> nn.Module:
        """A module to stand in this one's place, which uses measured expectations (runs, observables).

        With ``x`` they are those of :meth:`input_rows` of x, else those of :meth:`node_rows`.

        Args:
            values: (runs, observables).
            variances: of the values, the same shape.
            x: the inputs they were measured for, or ``None`` for the nodes.
        """


class MeasuredValues(nn.Module):
    """What a measured block holds: expectations with their variances.

    Attributes:
        values: (runs, observables).
        variances: of the values.
        noise: added to the values while uncertainty is propagated, else ``None``.
    """

    values: Tensor
    variances: Tensor
    noise: Tensor | None = None

    def hold(self, values: Tensor, variances: Tensor) -> None:
        """Keep measured values as buffers, and train no more.

        Args:
            values: (runs, observables).
            variances: of the values, the same shape.
        """
        self.register_buffer("values", values.clone())
        self.register_buffer("variances", variances.clone())
        self.requires_grad_(False)

    @property
    def present(self) -> Tensor:
        """The values (runs, observables), with the noise if there is any."""
        return self.values if self.noise is None else self.values + self.noise

    def draw(self, generator: torch.Generator) -> None:
        """Set the noise to a normal sample with the values' variances, independent for every run and observable."""
        sample = torch.randn(self.values.shape, generator=generator, dtype=torch.float64)
        self.noise = (sample * self.variances.double().sqrt().cpu()).to(self.values)

    def settle(self) -> None:
        """Take the noise away."""
        self.noise = None


class MeasuredRows(MeasuredValues):
    """What a block holds that was measured for certain input rows.

    Attributes:
        inputs: (rows, n), for which it was measured.
    """

    inputs: Tensor

    def hold_rows(self, values: Tensor, variances: Tensor, inputs: Tensor) -> None:
        """Keep measured values and the inputs they belong to.

        Args:
            values: (runs, observables).
            variances: of the values, the same shape.
            inputs: (runs, R), the rows they belong to.
        """
        self.hold(values, variances)
        self.register_buffer("inputs", inputs.clone())

    def check_rows(self, x: Tensor) -> None:
        """Raise unless x (rows, n) are the inputs that were measured.

        While uncertainty is propagated, noise of earlier blocks moves the inputs: any of the right shape will do.

        Raises:
            DomainError: they are others.
        """
        same_shape = x.shape == self.inputs.shape
        if same_shape and (self.noise is not None or torch.allclose(x.to(self.inputs), self.inputs, rtol=0, atol=1e-5)):
            return
        raise DomainError(
            f"this block was measured for {len(self.inputs)} certain input rows and knows no others; "
            "deploy the model with rows= set to those you want."
        )


def prediction(output: Any) -> Tensor:
    """A model's output of any shape, or its first part where it returns several, as recurrent networks do.

    Raises:
        OptionError: that is no tensor.
    """
    found = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(found, Tensor):
        raise OptionError(
            f"standard errors and reports need a model that returns a tensor, not {type(found).__name__}."
        )
    return found


class MeasuredModel(nn.Module):
    """A trained network with measured blocks in the place of its circuits.

    Calling it returns what the network returns; with ``return_std=True`` also the standard errors that follow from the
    shots.

    Attributes:
        network: a copy of the trained one; what was measured is in its blocks.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.eval()

    def forward(
        self, x: Tensor, return_std: bool = False, samples: int = 100, seed: int = 0
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The network's output, and its standard error, which has no gradient, if asked for.

        Of a network that returns several, as recurrent ones do, standard errors are those of the first.

        Args:
            x: what the network takes, such as rows (N, n), or (T, B, n) for a recurrent network.
            return_std: propagate the variances of the measured values through the whole network, by drawing them
                ``samples`` times from normal distributions. Values of one run with several observables are drawn
                independently.
            samples: their number, at least 1; the standard error itself is then known to about 1/√(2 samples).
            seed: of the draws.
        """
        found = self.network(x)
        if not return_std:
            return found
        output = prediction(found)
        check_positive("samples", samples)
        blocks = [module for module in self.network.modules() if isinstance(module, MeasuredValues)]
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        try:
            with torch.no_grad():
                for _ in range(samples):
                    for block in blocks:
                        block.draw(generator)
                    drawn.append(prediction(self.network(x)))
        finally:
            for block in blocks:
                block.settle()
        spread = torch.stack(drawn) - output.detach()
        return output, spread.square().mean(0).sqrt()
