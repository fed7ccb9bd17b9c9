"""KACQ-DCNN against an eager assembly from PennyLane's TorchLayer and plain PyTorch: ``python benchmarks/kacq.py``.

Measured in one process, both sides in turn, after outputs and gradients were compared in float64:

* the three circuits (4 wires, amplitude embedding) forward and backward,
* an epoch of the published preset: 642 rows in batches of 32; the peer with AdamW as PyTorch gives it unless asked
  otherwise ("epoch"), and with the fused form that the toolkit's ``fit`` asks for ("epoch, fused"),
* training of the compact preset on the heart data, if its files are there (``QKAN_DATA_DIR``).

The table is printed; ``--out FOLDER`` writes it with the data as DATE-kacq.json and .md.
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
import kacq_peer

#: Largest difference of outputs and gradients in float64.
AGREEMENT = 1e-6
BATCH, ROWS, FEATURES = 32, 642, 12


def sides(case: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module, int]:
    """The toolkit's module, the peer with equal parameters, and the number of inputs."""
    from qkan.circuits import ParallelCircuits
    from qkan.models import KACQDCNN

    cell = "tanh" if case.endswith("tanh") else "relu"
    model = KACQDCNN(FEATURES, preset="published", classical={"cell": cell}, seed=0).to(dtype)
    peer = kacq_peer.Peer(cell).to(dtype)
    peer.take(model)
    if case == "circuits":
        (block,) = (part for part in model.modules() if isinstance(part, ParallelCircuits))
        return block, peer.circuits, block.in_features
    return model, peer, FEATURES


def inputs(rows: int, size: int, dtype: torch.dtype) -> Tensor:
    """Numbers in [0, 1), as the publication scales them."""
    return torch.rand(rows, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def difference(case: str) -> float:
    """Largest difference of outputs and of gradients by input, in float64, without dropout."""
    ours, theirs, size = sides(case, torch.float64)
    x = inputs(BATCH, size, torch.float64).requires_grad_()
    found = []
    for side in (ours.eval(), theirs.eval()):
        out = side(x)
        found.append([out, *torch.autograd.grad(out.square().sum(), [x])])
    return max((mine - its).abs().max().item() for mine, its in zip(*found, strict=True))


def work(case: str, module: nn.Module, size: int) -> Callable[[], None]:
    """What is timed: forward and backward of the circuits, or an epoch."""
    if case == "circuits":
        x = inputs(BATCH, size, torch.float32).requires_grad_()
        wanted = [x, *module.parameters()]

        def once() -> None:
            torch.autograd.grad(module(x).square().sum(), wanted)

        return once
    x, y = inputs(ROWS, size, torch.float32), torch.arange(ROWS) % 2
    from qkan.models.dcnn import cross_entropy
    from qkan.training import fit

    steps = -(-ROWS // BATCH)

    def epoch() -> None:
        options = {"steps": steps, "log": steps, "batch": BATCH, "lr": 1e-3, "seed": 0, "progress": False}
        fit(module, (x, y), loss_fn=cross_entropy, **options)

    def eager() -> None:
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused="fused" in case or None)
        for index in torch.randperm(ROWS).split(BATCH):
            optimiser.zero_grad()
            cross_entropy(module(x[index]), y[index]).backward()
            optimiser.step()

    return eager if isinstance(module, kacq_peer.Peer) else epoch


def measure(case: str, repetitions: int) -> dict[str, Any]:
    """Medians of both sides in float32, taking turns, and of their ratio in a turn: a slow minute slows both."""
    ours, theirs, size = sides(case, torch.float32)
    runs = [work(case, module.train(), size) for module in (ours, theirs)]
    times: list[list[float]] = [[], []]
    warm = 5 if case == "circuits" else 1
    for turn in range(repetitions + warm):
        for side, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if turn >= warm:
                times[side].append(time.perf_counter() - start)
    ratio = median(its / mine for mine, its in zip(*times, strict=True))
    return {"case": case, "seconds": median(times[0]), "peer_seconds": median(times[1]), "ratio": ratio}


def heart() -> dict[str, Any] | None:
    """Seconds to train the compact preset on all rows of the four sites, as ``KACQClassifier`` does by default."""
    from qkan import preprocessing
    from qkan.data import load
    from qkan.errors import DataError
    from qkan.sklearn import KACQClassifier

    try:
        table = load("heart")
    except (DataError, FileNotFoundError):
        return None
    levels = preprocessing.known_levels(table.features, table.categorical)
    numeric = [name for name in table.features.columns if name not in levels]
    rows = preprocessing.conform(table.features, numeric, levels)
    x = preprocessing.make_preprocessor(numeric, levels).fit_transform(rows)
    start = time.perf_counter()
    model = KACQClassifier(random_state=0).fit(x, table.target.to_numpy())
    return {"rows": len(x), "inputs": x.shape[1], "seconds": time.perf_counter() - start, "epochs": model.n_iter_}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| case | threads | toolkit, ms | eager peer, ms | ratio | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine, its = row["seconds"], row["peer_seconds"]
        lines.append(
            f"| {row['case']} | {row['threads']} | {mine * 1e3:.2f} | {its * 1e3:.2f} | {row['ratio']:.1f} "
            f"| {row['difference']:.0e} |"
        )
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any], rows: list[dict[str, Any]], trained: dict[str, Any] | None) -> str:
    """The table with where and how it was measured."""
    text = (
        f"# KACQ-DCNN against an eager assembly, {found['date']}\n\n"
        f"{found['processor']}, {found['cores']} cores; torch {found['torch']}, {found['peer']}; "
        f"commit {found['commit']}. Command: `python benchmarks/kacq.py`. `circuits`: three circuits on 4 wires, batch "
        f"{BATCH}, forward and backward. `epoch`: the published preset with its ReLU cells, {ROWS} rows in batches of "
        f"{BATCH}, with dropout, the peer with PyTorch's AdamW as it comes; `fused`: with its fused form, which the "
        "toolkit's training asks for by itself; `tanh`: with tanh cells, in the peer PyTorch's own LSTM, "
        "which was not published. The process keeps freed memory, for both sides alike. "
        "float32, medians of times and of the ratio within a turn; "
        "differences of outputs and of gradients by input in float64.\n\n" + table(rows)
    )
    return text + sentence(trained)


def sentence(trained: dict[str, Any] | None) -> str:
    """What training on the heart data took."""
    if trained is None:
        return ""
    about = (
        f"{trained['rows']} rows, {trained['inputs']} inputs, {trained['epochs']} epochs, {trained['threads']} threads"
    )
    return f"\nThe compact preset trains on the heart data ({about}) in {trained['seconds']:.1f} s.\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=["circuits", "epoch", "epoch, fused", "epoch, fused, tanh"])
    parser.add_argument("--repetitions", type=int, default=5, help="epochs; circuits run ten times as often")
    parser.add_argument("--no-heart", action="store_true", help="leave the heart data out")
    parser.add_argument("--out", type=Path, help="folder for DATE-kacq.json and .md")
    options = parser.parse_args(arguments)
    rows = []
    before = torch.get_num_threads()
    for threads in options.threads:
        torch.set_num_threads(threads)
        for case in options.cases:
            off = difference(case)
            if off > AGREEMENT:
                raise SystemExit(f"{case}: results differ by {off:.1e}.")
            row = measure(case, options.repetitions * (10 if case == "circuits" else 1))
            rows.append({**row, "threads": threads, "difference": off})
    trained = None if options.no_heart else heart()
    if trained is not None:
        trained["threads"] = torch.get_num_threads()
    torch.set_num_threads(before)
    text = table(rows) + sentence(trained)
    print(text, end="")
    if options.out:
        from importlib.metadata import version

        found = {**environment.describe(max(options.threads), False), "peer": f"pennylane {version('pennylane')}"}
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{found['date']}-kacq"
        record = {"environment": found, "rows": rows, "heart": trained}
        stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        stem.with_suffix(".md").write_text(page(found, rows, trained))


if __name__ == "__main__":
    main()
