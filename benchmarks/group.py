"""Group-rational layers against plain PyTorch and against a linear layer with SiLU: ``python benchmarks/group.py``.

Three sides take turns in one process, forward and backward with gradients to input and parameters: ``GroupKANLayer``
as it runs, the same layer with its functions computed by the definition in plain PyTorch, and SiLU before
``torch.nn.Linear`` of the same widths. Outputs and gradients of the first two are compared before. Figures are medians.
The table is printed; ``--out FOLDER`` writes it with the data as DATE-group.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import environment

from qkan.kernels.dispatch import VARIABLE
from qkan.layers import GroupKANLayer

#: (rows, inputs, outputs): a block of KAT-Base, and its functions alone.
SIZES = ((1024, 768, 768), (1024, 768, 0), (256, 64, 64))
GROUPS = 8
#: Largest relative difference of outputs and gradients, in the Euclidean norm.
AGREEMENT = 1e-5


def step(module: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Output and gradients by the input and the parameters."""
    out = module(x)
    return [out, *torch.autograd.grad(out, [x, *module.parameters()], grad)]


def plainly(run: Callable[[], Any]) -> Any:
    """With every kernel in plain PyTorch."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "reference"
    try:
        return run()
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def build(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """The layer, or its functions alone for no outputs, and what it is compared with."""
    layer = GroupKANLayer(inputs, outputs or 1, GROUPS, seed=0)
    usual = nn.Sequential(nn.SiLU(), nn.Linear(inputs, outputs)) if outputs else nn.SiLU()
    return layer if outputs else layer.activation, usual


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest relative difference."""
    pairs = zip(found, expected, strict=True)
    return max(float((mine - its).detach().norm() / its.detach().norm()) for mine, its in pairs)


def measure(rows: int, inputs: int, outputs: int, repetitions: int) -> dict[str, Any]:
    """Medians of all sides in float32, taking turns."""
    layer, usual = build(inputs, outputs)
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(rows, inputs, generator=drawn).requires_grad_()
    grad = torch.randn(rows, outputs or inputs, generator=drawn)
    sides: dict[str, Callable[[], Any]] = {
        "seconds": lambda: step(layer, x, grad),
        "plain_seconds": lambda: plainly(lambda: step(layer, x, grad)),
        "silu_seconds": lambda: step(usual, x, grad),
    }
    off = difference(sides["seconds"](), sides["plain_seconds"]())
    if off > AGREEMENT:
        raise SystemExit(f"({rows}, {inputs}, {outputs}): results differ by {off:.1e}.")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repetitions + 2):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn >= 2:  # the first two warm up
                times[name].append(time.perf_counter() - start)
    sizes = {"rows": rows, "inputs": inputs, "outputs": outputs, "difference": off}
    return {**sizes, **{name: median(taken) for name, taken in times.items()}}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| rows | inputs | outputs | threads | layer, ms | plain PyTorch, ms | SiLU and linear, ms | plain / layer "
        "| layer / SiLU and linear | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine, plain, silu = (row[name] for name in ("seconds", "plain_seconds", "silu_seconds"))
        lines.append(
            f"| {row['rows']} | {row['inputs']} | {row['outputs'] or '–'} | {row['threads']} | {mine * 1e3:.2f} "
            f"| {plain * 1e3:.2f} | {silu * 1e3:.2f} | {plain / mine:.1f} | {mine / silu:.2f} "
            f"| {row['difference']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table with where and how it was measured."""
    return (
        f"# Group-rational layers, {found['date']}\n\n"
        f"{found['processor']}, {found['cores']} cores; torch {found['torch']}, numba {found['numba']}; "
        f"commit {found['commit']}. Command: `python benchmarks/group.py`. {GROUPS} groups, degrees 5 and 4, "
        "forward and backward with gradients to input and parameters, float32, medians of repetitions in turn; "
        "differences are relative, of outputs and gradients between layer and plain PyTorch. Without "
        f"outputs: the functions alone, beside SiLU.\n\n{table(rows)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", nargs="+", help="rows,inputs,outputs; no outputs (0) measures the functions alone")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for DATE-group.json and .md")
    options = parser.parse_args(arguments)
    sizes = [tuple(map(int, size.split(","))) for size in options.sizes] if options.sizes else SIZES
    rows, before = [], torch.get_num_threads()
    for threads in options.threads:
        torch.set_num_threads(threads)
        rows += [{**measure(*size, options.repetitions), "threads": threads} for size in sizes]
    torch.set_num_threads(before)
    text = table(rows)
    print(text, end="")
    if options.out:
        found = environment.describe(max(options.threads), False)
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{found['date']}-group"
        stem.with_suffix(".json").write_text(json.dumps({"environment": found, "rows": rows}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(page(found, rows))


if __name__ == "__main__":
    main()
