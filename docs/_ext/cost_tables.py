"""What a deployment costs, counted by ``deploy(…, dry_run=True)`` and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import qkan
from qkan.circuits import deploy
from qkan.circuits.planning import Plan

#: Networks of the page: the expression that makes each, and its inputs.
NETWORKS = {
    "QKAN([2, 5, 1], reps=3)": 2,
    "QKAN([30, 4, 2], reps=3)": 30,
    'QKAN([30, 4, 2], reps=3, frequencies="binary")': 30,
    'QKAN([30, 4, 2], reps=3, encoding="shared")': 30,
    "HQKAN(64, 10)": 64,
}
SHOTS = 4096


def plan_of(expression: str, rows: int | None, inputs: int) -> Plan:
    """The plan for one of the networks; ``rows`` inputs are asked for, or none."""
    model = eval(f"qkan.{expression}", {"qkan": qkan})
    x = None if rows is None else torch.zeros(rows, inputs)
    return deploy(model, "torch", rows=x, dry_run=True, progress=False).plan()


def by_rows(plan: Plan) -> int:
    """Circuits if every row were run by itself."""
    return sum(block.by_rows or 0 for block in plan.blocks)


def by_nodes(plan: Plan) -> int:
    """Circuits if every block were measured at its nodes."""
    return sum(block.by_nodes or 0 for block in plan.blocks)


def table() -> str:
    """Circuits of every network, by nodes and row by row."""
    text = f"| network | at the nodes, once | shots, {SHOTS} each | row by row, 100 rows |\n|---|---|---|---|\n"
    for expression, inputs in NETWORKS.items():
        plan = plan_of(expression, 100, inputs)
        nodes = by_nodes(plan)
        text += f"| `{expression}` | {nodes:,} | {nodes * SHOTS:,} | {by_rows(plan):,} |\n"
    return text


def example() -> Plan:
    """The plan that the page prints."""
    return plan_of("QKAN([30, 4, 2], reps=3)", 114, 30)


def draw(path: Path) -> None:
    """Write a picture of circuits against rows, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    expression = "QKAN([30, 4, 2], reps=3)"
    one = plan_of(expression, 1, NETWORKS[expression])
    rows = [1, 10, 100, 1000, 10_000]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.add_subplot()
    axes.loglog(rows, [by_rows(one) * count for count in rows], "o-", label="row by row")
    axes.loglog(rows, [by_nodes(one)] * len(rows), "o-", label="at the nodes, once")
    axes.set(xlabel="input rows", ylabel="circuits", title=f"Circuits for {expression}")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
