"""What a deployment will run, counted before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qkan.circuits import measurement
from qkan.circuits.measured import CircuitBlock
from qkan.errors import OptionError


@dataclass(frozen=True)
class BlockPlan:
    """One block of the model.

    Attributes:
        name: its path in the model, "" for the model itself.
        route: "nodes" (measured once, for every input) or "rows" (measured for the rows asked for).
        circuits: runs of its circuit.
        by_nodes: how many that would be by nodes; ``None`` where it has none.
        by_rows: by rows; ``None`` where no rows were asked for.
        copies: runs packed side by side into one circuit.
        settings: bases in which its observables are measured, each a circuit of its own.
        batches: submissions, those for mitigation included.
        executions: circuits sent to the backend, those for mitigation included.
        shots: taken in total; 0 where values are exact.
        entries: rows of all its batches, which progress counts.
    """

    name: str
    route: str
    circuits: int
    by_nodes: int | None
    by_rows: int | None
    copies: int
    settings: int
    batches: int
    executions: int
    shots: int
    entries: int

    @property
    def reason(self) -> str:
        """Why this route."""
        if self.by_rows is None:
            return "no rows were asked for"
        if self.by_nodes is None:
            return "it has no nodes"
        other = self.by_rows if self.route == "nodes" else self.by_nodes
        return f"{'rows' if self.route == 'nodes' else 'nodes'} would take {other:,}"


@dataclass(frozen=True)
class Plan:
    """The cost of a deployment. ``print`` shows it.

    Attributes:
        backend: its name.
        rows: input rows asked for; ``None`` where none were.
        shots: per circuit; ``None`` where values are exact.
        blocks: what each takes.
    """

    backend: str
    rows: int | None
    shots: int | None
    blocks: tuple[BlockPlan, ...]

    @property
    def circuits(self) -> int:
        """Runs of the model's circuits."""
        return sum(block.circuits for block in self.blocks)

    @property
    def executions(self) -> int:
        """Circuits sent to the backend: packed, in every basis and folding, with calibration."""
        return sum(block.executions for block in self.blocks)

    @property
    def total_shots(self) -> int:
        """Over all executions."""
        return sum(block.shots for block in self.blocks)

    @property
    def jobs(self) -> int:
        """Estimated number of jobs: one per batch."""
        return sum(block.batches for block in self.blocks)

    @property
    def row_by_row(self) -> int | None:
        """Circuits if every block were run for every row; ``None`` where no rows were asked for."""
        counts = [block.by_rows for block in self.blocks]
        return None if None in counts else sum(counts)  # type: ignore[arg-type]

    def __str__(self) -> str:
        lines = [f"{'block':24}{'route':8}{'circuits':>10}{'sent':>8}{'batches':>9}{'shots':>14}  why"]
        for block in self.blocks:
            numbers = f"{block.circuits:>10,}{block.executions:>8,}{block.batches:>9,}{block.shots:>14,}"
            lines.append(f"{block.name or 'model':24}{block.route:8}{numbers}  {block.reason}")
        shots = f"{self.total_shots:,} shots" if self.total_shots else "exact values"
        jobs = f"about {self.jobs:,} job{'' if self.jobs == 1 else 's'}"
        lines.append(f"{self.backend}: {self.circuits:,} circuits in {self.executions:,} executions, {shots}, {jobs}")
        if self.row_by_row is not None:
            lines.append(f"row by row, {self.rows:,} rows would take {self.row_by_row:,} circuits")
        return "\n".join(lines)


@dataclass(frozen=True)
class Costs:
    """What decides how many executions a number of runs becomes.

    Attributes:
        copies: packed side by side at most; by the circuit's own wires.
        batch_size: executions in one submission at most.
        shots: per execution.
        folds: foldings of every circuit, 1 without extrapolation.
        calibrations: circuits that measure readout errors, per shape.
        calibration_shots: of each.
    """

    copies: Callable[[int], int]
    batch_size: int
    shots: int | None
    folds: int = 1
    calibrations: int = 0
    calibration_shots: int = 0


def blocks_of(model: nn.Module) -> dict[str, CircuitBlock]:
    """The model's circuit blocks by name, in the order of its modules.

    Raises:
        OptionError: there is none, or the model has computed with them before.
    """
    found: dict[str, CircuitBlock] = {}
    for name, module in model.named_modules():
        if getattr(module, "computed_before", False):
            raise OptionError(
                f"{name or 'the model'} ({type(module).__name__}) holds coefficients of circuits that it no longer "
                "runs; deploy the model it was made from."
            )
        if isinstance(module, CircuitBlock):
            found[name] = module
    if not found:
        raise OptionError(f"a {type(model).__name__} without DARUAN bases or quantum layers has no circuits to deploy.")
    return found


def traced(model: nn.Module, blocks: dict[str, CircuitBlock], rows: Tensor) -> list[tuple[str, int]]:
    """(name, input rows) of every block in the order in which the model runs them on the rows.

    Args:
        model: that is run.
        blocks: its circuit blocks by name.
        rows: (N, inputs).
    """
    seen: list[tuple[str, int]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            seen.append((name, block_input(inputs, named).shape[:-1].numel()))

        return hook

    modules: Any = blocks
    handles = [module.register_forward_pre_hook(note(name), with_kwargs=True) for name, module in modules.items()]
    try:
        with torch.no_grad():
            model(rows)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def block_input(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """The first argument of a call, a tensor of any shape, however it was given.

    Args:
        inputs: positional arguments.
        named: keyword arguments.
    """
    return inputs[0] if inputs else next(iter(named.values()))


def choose(
    model: nn.Module, blocks: dict[str, CircuitBlock], rows: Tensor | None, costs: Costs
) -> tuple[BlockPlan, ...]:
    """The cheaper route for every block, in the order in which they are to be measured.

    Blocks by nodes come first: they wait for no input.

    Args:
        model: that is deployed.
        blocks: its circuit blocks by name.
        rows: (N, inputs) that will be asked for, or ``None``.
        costs: what a run takes on the backend.

    Raises:
        OptionError: a block needs rows and there are none, or it is called more than once and cannot be measured by
            nodes.
    """
    calls = traced(model, blocks, rows) if rows is not None else []
    sizes: dict[str, list[int]] = {name: [] for name in blocks}
    for name, count in calls:
        sizes[name].append(count)
    order = list(dict.fromkeys([*(name for name, _ in calls), *blocks]))
    plans = [_block(name, blocks[name], sizes[name] or None, costs) for name in order]
    return tuple(sorted(plans, key=lambda plan: plan.route == "rows"))


def _block(name: str, block: CircuitBlock, sizes: list[int] | None, costs: Costs) -> BlockPlan:
    by_nodes = block.node_count()
    by_rows = None if sizes is None else sum(block.row_count(size) for size in sizes)
    repeated = sizes is not None and len(sizes) > 1
    if by_nodes is None and (by_rows is None or repeated):
        rows = "give the input rows to measure it for, rows=… or on the command line --rows FILE"
        why = "is called more than once per pass" if repeated else f"has no nodes: {rows}"
        raise OptionError(f"block {name or type(block).__name__!r} {why}.")
    route = "nodes" if by_nodes is not None and (repeated or by_rows is None or by_nodes <= by_rows) else "rows"
    circuits = by_nodes if route == "nodes" else by_rows
    assert circuits is not None
    circuit = block.block_circuit()
    copies = max(1, min(costs.copies(circuit.wires), circuits))
    settings = len(measurement.groups(circuit.observables))
    packed = -(-circuits // copies)
    entries = packed * costs.folds
    executions = entries * settings
    return BlockPlan(
        name,
        route,
        circuits,
        by_nodes,
        by_rows,
        copies,
        settings,
        -(-packed // costs.batch_size) * costs.folds + costs.calibrations,
        executions + costs.calibrations,
        executions * (costs.shots or 0) + costs.calibrations * costs.calibration_shots,
        entries + costs.calibrations,
    )
