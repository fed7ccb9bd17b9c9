"""Every basis at equal size: ``python benchmarks/bases.py --out docs/bases.md``.

Layers 64 -> 64 on 1024 rows take turns for the times (medians); networks [2, h, 1], with h such that the numbers of
parameters are as equal as they can be, are fitted to two functions. The table is printed; ``--out FILE`` writes it.
"""

from __future__ import annotations

import argparse
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

import qkan
from qkan.bases import FeatureBasis
from qkan.counting import count
from qkan.saving import write_atomic

#: Options with which a basis has about 8 numbers on every edge; wavelets have 3 each, rational functions 1.
CASES: dict[str, dict[str, Any]] = {
    "daruan": {"reps": 3},
    "bspline": {"grid": 5, "k": 3},
    "rbf": {"grid": 8},
    "rswaf": {"grid": 8},
    "sech": {"grid": 8},
    "chebyshev": {"degree": 7},
    "chebyshev2": {"degree": 7},
    "legendre": {"degree": 7},
    "gegenbauer": {"degree": 7},
    "jacobi": {"degree": 7},
    "hermite": {"degree": 7},
    "apc": {"degree": 7},
    "fourier": {"degree": 4},
    "sine": {"grid": 8},
    "relu": {"grid": 5, "k": 3},
    "af": {"grid": 5, "k": 3},
    "truncated_power": {"grid": 5, "k": 3},
    "wavelet": {"grid": 3},
    "rational": {},
}
#: What networks are fitted to, on [-1, 1]²: a smooth function and one with a kink.
TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "smooth": lambda x: torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2),
    "kink": lambda x: (x[:, :1] - x[:, 1:] ** 2).abs(),
}


def conditioning(name: str, options: dict[str, Any], spread: str) -> float | None:
    """Condition number of a basis's features at 4096 inputs, "uniform" in [-1, 1] or "normal"; ``None`` without any."""
    basis = qkan.bases.get(name)(1, 1, seed=0, **options).double()
    if not (isinstance(basis, FeatureBasis) and basis.folds):
        return None
    local = torch.Generator().manual_seed(0)
    draw = torch.rand if spread == "uniform" else torch.randn
    x = draw(4096, 1, generator=local, dtype=torch.float64)
    with torch.no_grad():
        return float(torch.linalg.cond(basis.features(2 * x - 1 if spread == "uniform" else x)[:, 0]))


def times(layers: dict[str, nn.Module], rows: int, repetitions: int) -> dict[str, tuple[float, float]]:
    """Median seconds of forward, and of forward and backward, of every layer; the layers take turns."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in layers}
    for turn in range(repetitions + 1):  # the first turn warms up
        for name, layer in layers.items():
            x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(turn)).requires_grad_()
            start = time.perf_counter()
            y = layer(x)
            middle = time.perf_counter()
            torch.autograd.grad(y.sum(), [x, *layer.parameters()])
            if turn:
                found[name][0].append(middle - start)
                found[name][1].append(time.perf_counter() - start)
    return {name: (median(forward), median(both)) for name, (forward, both) in found.items()}


def network(name: str, parameters: int, seed: int) -> qkan.KAN:
    """A network [2, h, 1] with about ``parameters`` parameters."""

    def build(width: int) -> qkan.KAN:
        return qkan.KAN([2, width, 1], name, seed=seed, **CASES[name])

    sizes = {width: count(build(width)).trainable for width in range(1, 41)}
    return build(min(sizes, key=lambda width: abs(sizes[width] - parameters)))


def fit_error(name: str, target: str, parameters: int, steps: int, seed: int) -> tuple[float, int]:
    """Root mean square error on 2,000 new inputs, in units of the target's standard deviation; and the parameters."""
    local = torch.Generator().manual_seed(seed)
    x, new = (2 * torch.rand(rows, 2, generator=local) - 1 for rows in (500, 2000))
    y, truth = TARGETS[target](x), TARGETS[target](new)
    centre, spread = truth.mean(), truth.std()
    model = network(name, parameters, seed)
    model.fit((x, (y - centre) / spread), opt="LBFGS", steps=steps, progress=False)
    error = (model.predict(new) * spread + centre - truth).square().mean().sqrt() / spread
    return float(error), count(model).trainable


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each basis."""
    layers: dict[str, nn.Module] = {name: qkan.KANLayer(64, 64, name, seed=0, **CASES[name]) for name in options.bases}
    layers["SiLU and linear"] = nn.Sequential(nn.SiLU(), nn.Linear(64, 64))
    seconds = times(layers, options.rows, options.repetitions)
    rows = []
    for name, layer in layers.items():
        size = count(layer, options.rows)
        row = {"basis": name, "parameters": size.trainable, "flops": size.flops, "seconds": seconds[name]}
        if name in CASES:
            row["cond"] = [conditioning(name, CASES[name], spread) for spread in ("uniform", "normal")]
            row["errors"] = {}
            for target in TARGETS:
                fits = [fit_error(name, target, options.parameters, options.steps, s) for s in range(options.seeds)]
                row["errors"][target], row["fitted"] = median(error for error, _ in fits), fits[0][1]
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = ["basis", "parameters", "MFLOPs", "forward, ms", "forward and backward, ms", "cond. uniform", "cond. normal"]
    lines = [
        "| " + " | ".join([*head, "fitted parameters", *(f"error, {t}" for t in TARGETS)]) + " |",
        "|---" * 10 + "|",
    ]
    for row in rows:
        cells = [f"`{row['basis']}`" if row["basis"] in CASES else row["basis"], f"{row['parameters']:,}"]
        cells += [f"{row['flops'] / 1e6:.1f}", *(f"{1e3 * value:.2f}" for value in row["seconds"])]
        if "cond" in row:
            cells += ["–" if value is None else f"{value:.2g}" for value in row["cond"]]
            cells += [str(row["fitted"]), *(f"{row['errors'][target]:.1e}" for target in TARGETS)]
        else:
            cells += ["–"] * 5
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(found: dict[str, Any], options: argparse.Namespace, text: str) -> str:
    """The table with what it holds and how it was measured."""
    shown = ", ".join(f"`{name}` {CASES[name]}" for name in options.bases if CASES[name])
    return (
        f"# Bases at equal size\n\n"
        f"Made by `python benchmarks/bases.py --out docs/bases.md` on {found['date']}: {found['processor']}, "
        f"{found['threads']} thread, torch {found['torch']}, commit {found['commit']}. Times depend on the machine and "
        f"on what else it does; compare them within the table.\n\n"
        f"* parameters, MFLOPs and times: one `KANLayer(64, 64)` with base branch and edge scale, float32, "
        f"{options.rows} rows; FLOPs are those of matrix products (`qkan.counting`), which `daruan` and per-edge bases "
        f"such as `wavelet` spend elsewhere; medians of {options.repetitions} repetitions in turn.\n"
        f"* cond.: condition number of the features on inputs uniform in [-1, 1] and on standard-normal inputs, "
        f"float64; large numbers make least squares inaccurate and gradient descent slow.\n"
        f"* error: networks [2, h, 1] with about {options.parameters} parameters, fitted to exp(sin πx₁ + x₂²) "
        f"(smooth) and |x₁ - x₂²| (kink) on 500 inputs uniform in [-1, 1]², {options.steps} steps of L-BFGS, median "
        f"over {options.seeds} seeds; root mean square error at 2,000 new inputs in units of the function's standard "
        f"deviation. Two functions do not rank bases for other data.\n\n"
        f"Options: {shown}; the rest are defaults.\n\n{text}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--parameters", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the table, such as docs/bases.md")
    options = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    text = table(measure(options))
    torch.set_num_threads(before)
    print(text, end="")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(options.out, page(environment.describe(1, False), options, text).encode())


if __name__ == "__main__":
    main()
