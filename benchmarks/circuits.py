"""Exact simulation against PennyLane's TorchLayer on default.qubit: ``python benchmarks/circuits.py``.

Both run in one process and take turns, forward and backward, after outputs and gradients were compared in float64.
Figures are medians. The table is printed; ``--out FOLDER`` writes it with the data as DATE-circuits.json and .md.
"""

from __future__ import annotations

import argparse
import json
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

WIRES = 4
EMBEDDINGS = ("angle", "amplitude")
#: Largest difference of outputs and gradients in float64.
AGREEMENT = 1e-6


def build(embedding: str, layers: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module, int]:
    """The toolkit's layer, PennyLane's with equal weights, and the number of inputs."""
    import pennylane as qml

    from qkan.circuits import Circuit, QuantumLayer, strongly_entangling

    circuit = Circuit(WIRES)
    circuit = circuit.angle_embedding() if embedding == "angle" else circuit.amplitude_embedding()
    ours = QuantumLayer(circuit.then(strongly_entangling(WIRES, layers)), seed=0, dtype=dtype)

    @qml.qnode(qml.device("default.qubit", wires=WIRES), interface="torch", diff_method="backprop")
    def node(inputs: Tensor, weights: Tensor) -> Any:
        if embedding == "angle":
            qml.AngleEmbedding(inputs, wires=range(WIRES))
        else:
            qml.AmplitudeEmbedding(inputs, wires=range(WIRES), normalize=True)
        qml.StronglyEntanglingLayers(weights, wires=range(WIRES))
        return [qml.expval(qml.Z(wire)) for wire in range(WIRES)]

    theirs = qml.qnn.TorchLayer(node, {"weights": (layers, WIRES, 3)}).to(dtype)
    with torch.no_grad():
        theirs.weights.copy_(ours.theta.view(layers, WIRES, 3))
    return ours, theirs, ours.circuit.num_columns


def step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output and gradients by the input and the weights."""
    (weights,) = layer.parameters()
    out = layer(x)
    return [out, *torch.autograd.grad(out.square().sum(), (x, weights))]


def difference(embedding: str, layers: int, batch: int) -> float:
    """Largest difference of outputs and gradients in float64."""
    ours, theirs, size = build(embedding, layers, torch.float64)
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    pairs = zip(step(ours, x), step(theirs, x), strict=True)
    return max((mine.reshape(-1) - its.reshape(-1)).abs().max().item() for mine, its in pairs)


def seconds(run: Callable[[], Any], loops: int) -> float:
    """Seconds of one run, the mean of some."""
    start = time.perf_counter()
    for _ in range(loops):
        run()
    return (time.perf_counter() - start) / loops


def measure(embedding: str, layers: int, batch: int, repetitions: int) -> dict[str, Any]:
    """Medians of both sides in float32, taking turns."""
    ours, theirs, size = build(embedding, layers, torch.float32)
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    sides = [(lambda layer=layer: step(layer, x), loops) for layer, loops in ((ours, 20), (theirs, 2))]
    times: list[list[float]] = [[], []]
    for turn in range(repetitions + 2):
        for side, (run, loops) in enumerate(sides):
            taken = seconds(run, loops)
            if turn >= 2:  # the first two warm up
                times[side].append(taken)
    mine, its = median(times[0]), median(times[1])
    return {"embedding": embedding, "layers": layers, "batch": batch, "seconds": mine, "torchlayer_seconds": its}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| embedding | layers | batch | threads | toolkit, µs | TorchLayer, µs | ratio | largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine, its = row["seconds"], row["torchlayer_seconds"]
        lines.append(
            f"| {row['embedding']} | {row['layers']} | {row['batch']} | {row['threads']} | {mine * 1e6:.0f} "
            f"| {its * 1e6:.0f} | {its / mine:.1f} | {row['difference']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table with where and how it was measured."""
    return (
        f"# Exact simulation against PennyLane's TorchLayer, {found['date']}\n\n"
        f"{found['processor']}, {found['cores']} cores; torch {found['torch']}, {found['peer']}; "
        f"commit {found['commit']}. "
        "Command: `python benchmarks/circuits.py`. StronglyEntanglingLayers on 4 wires, forward and backward with "
        "gradients to input and weights, float32, medians of repetitions in turn; differences of outputs and gradients "
        f"in float64.\n\n{table(rows)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for DATE-circuits.json and .md")
    options = parser.parse_args(arguments)
    rows = []
    before = torch.get_num_threads()
    for threads in options.threads:
        torch.set_num_threads(threads)
        for embedding in EMBEDDINGS:
            for layers in options.layers:
                for batch in options.batch:
                    off = difference(embedding, layers, batch)
                    if off > AGREEMENT:
                        raise SystemExit(f"{embedding}, {layers} layers, batch {batch}: results differ by {off:.1e}.")
                    row = measure(embedding, layers, batch, options.repetitions)
                    rows.append({**row, "threads": threads, "difference": off})
    torch.set_num_threads(before)
    text = table(rows)
    print(text, end="")
    if options.out:
        from importlib.metadata import version

        found = {**environment.describe(max(options.threads), False), "peer": f"pennylane {version('pennylane')}"}
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{found['date']}-circuits"
        stem.with_suffix(".json").write_text(json.dumps({"environment": found, "rows": rows}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(page(found, rows))


if __name__ == "__main__":
    main()
