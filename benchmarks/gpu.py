"""Measurements on CUDA against the published package's solvers "flash" and "exact": ``python benchmarks/gpu.py``.

The same workers as ``make bench``, taking turns. A case that does not fit into memory says so. Gradient and output
differences are taken against the solver "exact" where it fits, else against "flash".
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import cases
import environment
import run
from cases import Case, Target

NO_DEVICE = "there is no CUDA device here; nothing was measured."
NO_PEER = "the published package is not installed for comparison; run make bench-peers first."
#: Floating-point operations of forward and backward for one edge, row and feature: three multiply-adds.
_FLOPS = 6


def matmul_rate(dtype: str) -> float:
    """Operations per second of a large matrix product on this device."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, dtype))
    return 2 * 8192**3 / _seconds(lambda: a @ a)


def bandwidth() -> float:
    """Bytes per second read and written by a large copy on this device."""
    import torch

    a = torch.empty(2**28, device="cuda", dtype=torch.float32)
    b = torch.empty_like(a)
    return 2 * 4 * 2**28 / _seconds(lambda: b.copy_(a))


def _seconds(step: Any) -> float:
    """Median of seven CUDA-event timings after a warm-up."""
    import torch

    times = []
    for _ in range(9):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times[2:])


def measure_against(case: Case, threads: int, repetitions: int) -> dict[str, Any]:
    """The toolkit and one solver of the peer, or the sides that did not fit."""
    found: dict[str, Any] = {"solver": case.solver}
    with run.Worker("toolkit", threads) as mine, run.Worker("official", threads) as theirs:
        fits = [worker.ask(do="build", case=case.config()) for worker in (mine, theirs)]
        if "out of memory" in fits:
            return found | {
                "out_of_memory": [
                    n for n, fit in zip(("toolkit", "official"), fits, strict=True) if fit == "out of memory"
                ]
            }
        found["seconds"], found["peer_seconds"] = run.interleaved([(mine, case), (theirs, case)], repetitions)
        found["differences"] = run.differences([mine, theirs])
    found["peak_kib"] = run.peak_memory("toolkit", case, threads)
    found["peer_peak_kib"] = run.peak_memory("official", case, threads)
    return found


def measure_target(target: Target, threads: int, repetitions: int, rates: dict[str, float]) -> dict[str, Any]:
    """One row: both solvers, and the share of what the device can do."""
    case = target.case
    rows = [measure_against(replace(case, solver=name), threads, repetitions) for name in ("flash", "exact")]
    row = {"label": f"{case.label} {case.dtype}", "case": case.config(), "target": target.speed, "against": rows}
    seconds = next((median(found["seconds"]) for found in rows if "seconds" in found), None)
    floor = case.floor()
    if seconds is not None and floor is not None:
        work = _FLOPS * case.batch * case.inputs * case.outputs * floor.features
        row["matmul_share"] = work / seconds / rates[case.dtype]
    elif seconds is not None:
        size = 2 if case.dtype == "bfloat16" else 4
        moved = 3 * size * case.batch * (case.inputs + case.outputs)
        row["bandwidth_share"] = moved / seconds / rates["bandwidth"]
    return row


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    where = result["environment"]
    lines = [
        f"# Speed on CUDA, {where['date']}",
        "",
        f"{where['gpu']}; torch {where['torch']}; commit {where['commit']}. Command: `python benchmarks/gpu.py`. "
        "Forward and backward, medians of repetitions in which both sides took turns.",
        "",
        "| layer | solver | toolkit, ms | official, ms | times faster | target | difference | peak MiB | share |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["targets"]:
        share = "; ".join(
            f"{100 * row[name]:.1f} % of {name[:-6]}" for name in ("matmul_share", "bandwidth_share") if name in row
        )
        lines += [_line(row, found, share) for found in row["against"]]
    return "\n".join([*lines, ""])


def _line(row: dict[str, Any], found: dict[str, Any], share: str) -> str:
    if "out_of_memory" in found:
        who = " and ".join(found["out_of_memory"])
        return f"| {row['label']} | {found['solver']} | out of memory: {who} | | | | | | |"
    ours, theirs = median(found["seconds"]), median(found["peer_seconds"])
    target = f"{row['target']:g}: {'met' if theirs / ours >= row['target'] else '**not met**'}"
    difference, shown = found["differences"]["output"], target if found["solver"] == "flash" else ""
    memory = f"{found['peak_kib'] / 1024:.0f}, {found['peer_peak_kib'] / 1024:.0f}"
    return (
        f"| {row['label']} | {found['solver']} | {1e3 * ours:.3g} | {1e3 * theirs:.3g} | {theirs / ours:.1f} "
        f"| {shown} | {difference:.1e} | {memory} | {share} |"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, write <date>-gpu.json and .md, and print the table."""
    import torch

    options = run.parse(arguments)
    if not torch.cuda.is_available():
        sys.exit(NO_DEVICE)
    if not run.PEER.exists():
        sys.exit(NO_PEER)
    options.out.mkdir(parents=True, exist_ok=True)
    rates = {"bandwidth": bandwidth(), **{name: matmul_rate(name) for name in ("float32", "bfloat16")}}
    result: dict[str, Any] = {"environment": environment.describe(options.threads, True), "rates": rates, "targets": []}
    try:
        for number, target in enumerate(cases.GPU_TARGETS, 1):
            print(f"{number}/{len(cases.GPU_TARGETS)} {target.case.label} {target.case.dtype}", flush=True)
            result["targets"].append(measure_target(target, options.threads, options.repetitions, rates))
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    stem = f"{result['environment']['date']}-gpu"
    with tempfile.TemporaryDirectory(dir=options.out) as name:
        for suffix, text in ((".json", json.dumps(result, indent=1) + "\n"), (".md", markdown(result))):
            (Path(name) / (stem + suffix)).write_text(text)
            os.replace(Path(name) / (stem + suffix), options.out / (stem + suffix))
    print(markdown(result))


if __name__ == "__main__":
    main()
