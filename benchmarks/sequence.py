"""Recurrent networks side by side with ``torch.nn.LSTM``: ``python benchmarks/sequence.py``.

nn.LSTM, QKANLSTM, HQKANLSTM and, after ``make bench-peers``, an LSTM assembled from four networks of the published
package take turns, forward and backward with gradients to all parameters; figures are medians. Beforehand outputs and
gradients of the toolkit's networks are compared with their plain float64 form. Each runs in a process of its own: both
packages are named qkan, and the threads of one library must not hold up those of another. Turns in which other
processes took more than a twentieth of the cores are repeated. The table is printed;
``--out FOLDER`` writes it with the data as DATE-sequence.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / "peers" / "official"
#: Hidden size, steps, batch; and how many times the time of nn.LSTM the toolkit may take.
CASES = {(8, 64, 16): 2.0, (32, 64, 64): 4.0, (5, 4, 10): 2.0}
NAMES = {"lstm": "nn.LSTM", "qkan": "QKANLSTM", "hqkan": "HQKANLSTM", "official": "LSTM of four official QKANs"}
#: Largest relative difference of outputs and gradients from float64.
AGREEMENT = 5e-6
#: Most of the cores that other processes may take during a turn, and how often a turn is tried again.
FOREIGN, ATTEMPTS = 0.05, 2000


class OfficialLSTM(nn.Module):
    """Four networks of the published package as the gates, with its exact solver, r = 1 and the base branch."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        from qkan import QKAN

        self.hidden = hidden
        options = {"reps": 1, "solver": "exact", "fast_measure": False, "ba_trainable": True, "device": "cpu"}
        self.gates = nn.ModuleList(QKAN([inputs + hidden, hidden], seed=gate, **options) for gate in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        h = c = x.new_zeros(x.shape[1], self.hidden)
        outputs = []
        for x_t in x:
            i, f, g, o = (gate(torch.cat([x_t, h], -1)) for gate in self.gates)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs), None


def build(name: str, hidden: int) -> nn.Module:
    """One network with one input."""
    if name == "lstm":
        return nn.LSTM(1, hidden)
    if name == "official":
        return OfficialLSTM(1, hidden)
    from qkan import HQKANLSTM, QKANLSTM

    return QKANLSTM(1, hidden, seed=0) if name == "qkan" else HQKANLSTM(1, hidden, seed=0)


class Run:
    """Forward and backward of one network."""

    def __init__(self, name: str, case: tuple[int, int, int]):
        hidden, steps, batch = case
        self.model = build(name, hidden)
        local = torch.Generator().manual_seed(1)
        self.x = torch.randn(steps, batch, 1, generator=local)
        self.grad = torch.randn(steps, batch, hidden, generator=local)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def __call__(self) -> list[Tensor]:
        out = self.model(self.x)[0]
        return [out.detach(), *torch.autograd.grad(out, self.parameters, self.grad, allow_unused=True)]

    def seconds(self, least: float = 0.15) -> float:
        """Seconds of one run, the mean over at least 0.15 s, after its threads have found their cores again."""
        self._mean(0.05)
        return self._mean(least)

    def _mean(self, least: float) -> float:
        runs, start = 0, time.perf_counter()
        while runs == 0 or time.perf_counter() - start < least:
            self()
            runs += 1
        return (time.perf_counter() - start) / runs


def difference(run: Run) -> float:
    """Largest relative difference, in norm, of outputs and gradients from those in float64."""
    found = run()
    run.model, run.x, run.grad = run.model.double(), run.x.double(), run.grad.double()
    exact = run()
    return max(float((mine - true).norm() / true.norm()) for mine, true in zip(found, exact, strict=True))


class Bystanders:
    """The part of the cores that processes other than some take, by the counters of Linux; 0 where there are none."""

    def __init__(self, pids: list[int]):
        self.pids, self.cores = pids, os.cpu_count() or 1
        self.ticks = os.sysconf("SC_CLK_TCK") if Path("/proc/stat").exists() else None
        self.before = self._read()

    def _read(self) -> tuple[float, float]:
        """Time now, and seconds of the cores that others have used so far."""
        if self.ticks is None:
            return time.perf_counter(), 0.0
        fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        used = fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]
        for pid in self.pids:
            ours = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            used -= int(ours[11]) + int(ours[12])
        return time.perf_counter(), used / self.ticks

    def share(self) -> float:
        """Since this object was made."""
        now, used = self._read()
        return (used - self.before[1]) / (now - self.before[0]) / self.cores


class Side:
    """A network in a process of its own: one line asks for a time, one line answers."""

    def __init__(self, name: str, case: tuple[int, int, int], threads: int):
        path = str(PEER if name == "official" else ROOT)
        settings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", json.dumps([name, case, threads])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, env=settings, cwd=tempfile.gettempdir())

    def seconds(self) -> float:
        """Seconds of one run there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("time\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process stopped; its message is above.")
        return float(line)

    def undisturbed(self) -> float:
        """The same in a turn that other processes did not disturb."""
        for _ in range(ATTEMPTS):
            bystanders = Bystanders([os.getpid(), self.process.pid])
            seconds = self.seconds()
            if bystanders.share() < FOREIGN:
                return seconds
            time.sleep(0.2)
        raise SystemExit("other processes keep the machine busy; measure when it is at rest.")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(text: str) -> None:
    """Answer with a time for every line."""
    name, case, threads = json.loads(text)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    run = Run(name, tuple(case))
    for _ in sys.stdin:
        answer.write(f"{run.seconds()}\n")
        answer.flush()


def measure(case: tuple[int, int, int], repetitions: int, threads: int, peer: bool, quiet: bool) -> dict[str, Any]:
    """Medians of all networks, taking turns; ``quiet`` ones, which other processes leave undisturbed, or any."""
    names = ["lstm", "qkan", "hqkan"]
    differences = {name: difference(Run(name, case)) for name in names[1:]}
    for name, off in differences.items():
        if not off < AGREEMENT:
            raise SystemExit(f"{NAMES[name]} at {case} differs from float64 by {off:.1e}.")
    sides = {name: Side(name, case, threads) for name in (*names, *(["official"] if peer else []))}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repetitions + 2):
        for name, side in sides.items():
            taken = side.undisturbed() if quiet and turn >= 2 else side.seconds()
            if turn >= 2:  # the first two warm up
                times[name].append(taken)
    for side in sides.values():
        side.close()
    seconds = {name: median(taken) for name, taken in times.items()}
    row = {"hidden": case[0], "steps": case[1], "batch": case[2], "target": CASES.get(case)}
    return {**row, "seconds": seconds, "all_seconds": times, "differences": differences}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = [name for name in NAMES if name in rows[0]["seconds"]]
    head = "".join(f" {NAMES[name]}, ms |" for name in names)
    lines = [f"| H | T | B |{head} ratio QKANLSTM | ratio HQKANLSTM | goal | largest difference |"]
    lines.append("|---" * (len(names) + 7) + "|")
    for row in rows:
        seconds, goal, floor = row["seconds"], row["target"], min(row["all_seconds"]["lstm"])
        cells = [f"{1e3 * seconds[name]:.3g}" for name in names]
        cells[0] += f" (fastest {1e3 * floor:.3g})"
        if "official" in seconds:
            cells[-1] += f" ({seconds['official'] / floor:.0f} ×)"
        cells += [f"{seconds[name] / floor:.2f}" for name in ("qkan", "hqkan")]
        cells += ["" if goal is None else f"{goal:g}", f"{max(row['differences'].values()):.0e}"]
        lines.append(f"| {row['hidden']} | {row['steps']} | {row['batch']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table with where and how it was measured."""
    return (
        f"# Recurrent networks against nn.LSTM, {found['date']}\n\n"
        f"{found['processor']}, {found['cores']} cores, {found['threads']} threads; torch {found['torch']}, "
        f"numba {found['numba']}; commit {found['commit']}. Command: `python benchmarks/sequence.py`. "
        "One layer with one input, r = 1 and the base branch, forward and backward with gradients to all parameters, "
        "float32, medians of repetitions in turn; differences of outputs and gradients from float64 as relative norms. "
        "Ratios are to the fastest turn of nn.LSTM, whose time on two threads may double from turn to turn."
        f"\n\n{table(rows)}"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--cases", nargs="+", default=None, metavar="H,T,B", help="other sizes than those of the goals")
    parser.add_argument("--no-peer", action="store_true", help="leave the published package out")
    parser.add_argument("--any-load", action="store_true", help="take turns that other processes disturb as well")
    parser.add_argument("--out", type=Path, help="folder for DATE-sequence.json and .md")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    options = parse(arguments)
    if options.serve:
        serve(options.serve)
        return
    peer = PEER.exists() and not options.no_peer
    if not peer and not options.no_peer:
        print("the published package is not installed for comparison; run make bench-peers.", file=sys.stderr)
    torch.set_num_threads(options.threads)
    cases = CASES if options.cases is None else [tuple(map(int, text.split(","))) for text in options.cases]
    rows = [measure(case, options.repetitions, options.threads, peer, not options.any_load) for case in cases]  # type: ignore[arg-type]
    print(table(rows), end="")
    if options.out:
        import environment

        found = environment.describe(options.threads, peer)
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{found['date']}-sequence"
        stem.with_suffix(".json").write_text(json.dumps({"environment": found, "rows": rows}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(page(found, rows))


if __name__ == "__main__":
    main()
