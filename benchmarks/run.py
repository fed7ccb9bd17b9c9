"""Side-by-side measurements against the published package: ``make bench``.

Both sides run in processes of their own and take turns, one repetition each, so that a slow moment of the machine hits
both. A repetition lasts at least 0.1 s; figures are medians. Peak memory is the rise of resident memory in one step
of a fresh process. Peer missing: ``make bench-peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import cases
import environment
import report
from cases import Case, Target

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / "peers" / "official"
MISSING = "the published package is not installed for comparison; run make bench-peers. Only the toolkit is measured."


class Worker:
    """A process that measures one side."""

    def __init__(self, side: str, threads: int):
        path = str(PEER if side == "official" else ROOT)
        settings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, str(ROOT / "benchmarks" / "worker.py"), side, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings, cwd=tempfile.gettempdir()
        )

    def ask(self, **command: Any) -> Any:
        """Send one command and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker stopped during {command}; its message is above.")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interleaved(pairs: list[tuple[Worker, Case]], repetitions: int) -> list[list[float]]:
    """Seconds per step of each side, ``repetitions`` of each, taking turns after two warm-up rounds."""
    loops = [worker.ask(do="build", case=case.config()) for worker, case in pairs]
    times: list[list[float]] = [[] for _ in pairs]
    for turn in range(repetitions + 2):
        for place, (worker, _) in enumerate(pairs):
            if turn >= 2 or loops[place] > 1:  # steps of many seconds were warmed up by building
                seconds = worker.ask(do="time", loops=loops[place])
                if turn >= 2:
                    times[place].append(seconds)
    return times


def peak_memory(side: str, case: Case, threads: int) -> int:
    """KiB, from a fresh process."""
    with Worker(side, threads) as worker:
        return int(worker.ask(do="memory", case=case.config()))


def differences(workers: list[Worker]) -> dict[str, float]:
    """Largest absolute difference of the outputs, and relative norms of the differences of the gradients."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = []
        for number, worker in enumerate(workers):
            path = f"{folder}/{number}.npz"
            worker.ask(do="save", path=path)
            arrays.append(dict(np.load(path)))
    mine, theirs = arrays
    if "frequency" in mine and "frequency" in theirs and mine["frequency"].ndim < theirs["frequency"].ndim:
        theirs["frequency"] = theirs["frequency"].sum(0)  # weights shared by all outputs
    found = {"output": float(np.abs(mine["y"] - theirs["y"]).max())}
    for name in ("x", "theta", "frequency"):
        if name in mine and name in theirs:
            theirs_flat = theirs[name].reshape(mine[name].shape)
            found[name] = float(np.linalg.norm(mine[name] - theirs_flat) / np.linalg.norm(theirs_flat))
    return found


def measure_target(target: Target, threads: int, repetitions: int, peer: bool) -> dict[str, Any]:
    """One row: the toolkit, the peer and the floor."""
    case = target.case
    row: dict[str, Any] = {"label": case.label, "case": case.config(), "target": target.speed}
    with Worker("toolkit", threads) as mine:
        if peer:
            with Worker("official", threads) as theirs:
                row["seconds"], row["peer_seconds"] = interleaved([(mine, case), (theirs, case)], repetitions)
                row["differences"] = differences([mine, theirs])
        floor = case.floor()
        if floor is not None:
            with Worker("toolkit", threads) as below:
                row["floor_pair"], row["floor_seconds"] = interleaved([(mine, case), (below, floor)], repetitions)
        elif not peer:
            row["seconds"] = interleaved([(mine, case)], repetitions)[0]
        row.setdefault("seconds", row.get("floor_pair"))
    row["peak_kib"] = peak_memory("toolkit", case, threads)
    if peer:
        row["peer_peak_kib"] = peak_memory("official", case, threads)
        row["memory_target"] = target.memory
    return row


def measure_alone(selection: list[Case], threads: int, repetitions: int, say: Any) -> list[dict[str, Any]]:
    """The toolkit's own layers."""
    rows = []
    with Worker("toolkit", threads) as worker:
        for number, case in enumerate(selection, 1):
            seconds = interleaved([(worker, case)], repetitions)[0]
            rows.append({"label": case.label, "case": case.config(), "seconds": seconds})
            say(f"  {number}/{len(selection)} {case.label}: {1e3 * median(seconds):.3g} ms")
    return rows


def measure(options: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Everything that was asked for, as JSON types."""
    peer = PEER.exists() and not options.no_peer
    if not peer and not options.no_peer:
        say(MISSING)
    targets = cases.QUICK if options.quick else cases.TARGETS
    result: dict[str, Any] = {"environment": environment.describe(options.threads, peer), "targets": [], "scaling": {}}
    for number, target in enumerate(targets, 1):
        say(f"{number}/{len(targets)} {target.case.label}")
        result["targets"].append(measure_target(target, options.threads, options.repetitions, peer))
        say("  " + report.one_line(result["targets"][-1]))
    result["others"] = [] if options.quick else measure_alone(cases.OTHERS, options.threads, options.repetitions, say)
    for axis, selection in cases.scaling_axes(options.quick).items():
        say(f"scaling with {axis}")
        result["scaling"][axis] = measure_alone(selection, options.threads, options.repetitions, say)
    return result


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the results")
    parser.add_argument("--threads", type=int, default=2, help="threads on both sides (default 2)")
    parser.add_argument("--repetitions", type=int, default=7, help="timed repetitions (default 7)")
    parser.add_argument("--quick", action="store_true", help="tiny layers only: tries the suite, says nothing on speed")
    parser.add_argument("--no-peer", action="store_true", help="measure the toolkit alone")
    options = parser.parse_args(arguments)
    for name in ("threads", "repetitions"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)} must be 1 or more")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, write JSON, Markdown and the plot, and print the table."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        result = measure(options, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    written = report.write(result, options.out)
    print((options.out / written["table"]).read_text())


if __name__ == "__main__":
    main()
