"""From measured seconds to a JSON file, a Markdown table and a plot."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cases import FLOOR


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """Slope of log seconds over log size, over the upper half of the sizes, where overhead matters least."""
    half = len(sizes) // 2
    if len(sizes) - half < 2:
        half = 0
    slope, _ = np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)
    return float(slope)


def one_line(row: dict[str, Any]) -> str:
    """A row's result as it comes in."""
    text = f"{1e3 * median(row['seconds']):.3g} ms"
    if "peer_seconds" in row:
        text += f", {ratio(row):.0f} times faster (target {row['target']:g})"
    if "floor_seconds" in row:
        text += f", {floor_ratio(row):.2f} of the floor"
    return text


def ratio(row: dict[str, Any]) -> float:
    """How many times faster than the peer, by medians."""
    return median(row["peer_seconds"]) / median(row["seconds"])


def floor_ratio(row: dict[str, Any]) -> float:
    """Time over that of the bare matrix product."""
    return median(row["floor_pair"]) / median(row["floor_seconds"])


def _met(value: bool) -> str:
    return "met" if value else "**not met**"


def _spread(seconds: list[float]) -> str:
    low, high = np.percentile(np.array(seconds) * 1e3, [25, 75])
    return f"{1e3 * median(seconds):.3g} [{low:.3g}, {high:.3g}]"


def _target_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| layer (batch, in, out, reps) | toolkit, ms | official, ms | times faster | target "
        "| largest output difference | gradient differences (x, θ, w) | peak memory, MiB: toolkit, official, ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "peer_seconds" not in row:
            lines.append(f"| {row['label']} | {_spread(row['seconds'])} | not measured | | {row['target']:g} | | | |")
            continue
        diff = row["differences"]
        slopes = ", ".join(f"{diff[name]:.1e}" for name in ("x", "theta", "frequency") if name in diff)
        ours, theirs = row["peak_kib"] / 1024, row["peer_peak_kib"] / 1024
        memory = f"{ours:.1f}, {theirs:.1f}, {theirs / ours:.0f}"
        if row.get("memory_target"):
            memory += f" (target {row['memory_target']:g}: {_met(theirs / ours >= row['memory_target'])})"
        met = _met(ratio(row) >= row["target"] and diff["output"] <= 1e-5)
        lines.append(
            f"| {row['label']} | {_spread(row['seconds'])} | {_spread(row['peer_seconds'])} | {ratio(row):.0f} "
            f"| {row['target']:g}: {met} | {diff['output']:.1e} | {slopes} | {memory} |"
        )
    return lines


def _floor_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"| layer | toolkit, ms | nn.Linear(n·K, m) on given features, ms | ratio (at most {FLOOR}) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "floor_seconds" in row:
            value = floor_ratio(row)
            pair = f"{_spread(row['floor_pair'])} | {_spread(row['floor_seconds'])}"
            lines.append(f"| {row['label']} | {pair} | {value:.2f}: {_met(value <= FLOOR)} |")
    return lines


def curves(result: dict[str, Any]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Axis -> encoding -> (sizes, median seconds)."""
    field = {"batch": "batch", "width": "inputs", "reps": "reps"}
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for axis, rows in result["scaling"].items():
        for row in rows:
            sizes, seconds = found.setdefault(axis, {}).setdefault(row["case"]["encoding"], ([], []))
            sizes.append(row["case"][field[axis]])
            seconds.append(median(row["seconds"]))
    return found


def markdown(result: dict[str, Any], plot: str) -> str:
    """The whole page."""
    where = result["environment"]
    versions = ", ".join(f"{key} {where[key]}" for key in ("python", "torch", "numba"))
    lines = [
        f"# Speed of the layers, {where['date']}",
        "",
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads; {versions}; "
        f"commit {where['commit']}. Command: `make bench`. "
        "Forward and backward with gradients to the input and every parameter, float32; "
        "medians [quartiles] of repetitions in which both sides took turns. Peak memory is the rise of resident memory "
        "in one step of a fresh process. Peer: " + where.get("peer", "not installed") + ".",
        "",
        *_target_table(result["targets"]),
        "",
        *_floor_table(result["targets"]),
        "",
    ]
    if result["others"]:
        lines += ["| other layers of the toolkit | ms |", "|---|---|"]
        lines += [f"| {row['label']} | {_spread(row['seconds'])} |" for row in result["others"]] + [""]
    lines += [
        "Scaling, seconds ~ size^exponent over the upper half of each range:",
        "",
        "| axis | encoding | exponent |",
    ]
    lines += ["|---|---|---|"]
    for axis, encodings in curves(result).items():
        lines += [f"| {axis} | {name} | {exponent(*points):.2f} |" for name, points in encodings.items()]
    lines += ["", f"![scaling]({plot})", "", "GPU: not measured; these figures are for the CPU alone.", ""]
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """One panel per axis."""
    from matplotlib.figure import Figure

    names = {"batch": "batch size (32 → 32, 3 reps)", "width": "width n = m (batch 256, 3 reps)"}
    names["reps"] = "repetitions (batch 256, 32 → 32)"
    styles = {"fixed": ("#0072B2", "o"), "edge": ("#D55E00", "s"), "shared": ("#009E73", "^")}
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (axis, encodings) in zip(figure.subplots(1, 3), curves(result).items(), strict=True):
        for name, (sizes, seconds) in encodings.items():
            colour, marker = styles[name]
            label = f"{name}, exponent {exponent(sizes, seconds):.2f}"
            axes.loglog(sizes, 1e3 * np.array(seconds), color=colour, marker=marker, label=label)
        if axis == "reps":
            axes.set_xticks([1, 2, 3, 4, 6, 8], labels=["1", "2", "3", "4", "6", "8"])
            axes.minorticks_off()
        axes.set_xlabel(names[axis])
        axes.set_ylabel("forward + backward, ms")
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def write(result: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write <date>-cpu.json, .md and -scaling.png, each complete or not at all."""
    stem = f"{result['environment']['date']}-cpu"
    files = {"data": f"{stem}.json", "table": f"{stem}.md", "plot": f"{stem}-scaling.png"}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        temporary = Path(name)
        (temporary / files["data"]).write_text(json.dumps(result, indent=1) + "\n")
        (temporary / files["table"]).write_text(markdown(result, files["plot"]))
        draw(result, temporary / files["plot"])
        for file in files.values():
            os.replace(temporary / file, folder / file)
    return files
