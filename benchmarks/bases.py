"""Every basis at equal size: ``python benchmarks/bases.py --out docs/bases.md``.

Every registered basis is in it, DARUAN in all encodings. Layers 64 -> 64 on 1024 rows take turns for the times
(medians); networks [2, h, 1], with h such that the numbers of parameters are as equal as they can be, are fitted to two
functions, and so is a perceptron. The table is printed; ``--out FILE`` writes it.
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
from qkan.models import MLP
from qkan.models.base import Network
from qkan.saving import write_atomic

#: Options with which a basis has about 8 numbers on every edge; a basis that is not here has its default options.
#: Wavelets have 3 numbers on an edge, rational functions 1.
OPTIONS: dict[str, dict[str, Any]] = {
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
    "mixture": {"members": [{"basis": "fourier", "degree": 2}, {"basis": "daruan", "reps": 1}]},
}
#: Further rows: name -> basis and options.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "daruan, ternary": ("daruan", {"reps": 3, "frequencies": "ternary"}),
    "daruan, shared": ("daruan", {"reps": 3, "encoding": "shared"}),
    "daruan, edge": ("daruan", {"reps": 3, "encoding": "edge"}),
}
#: Larger condition numbers are rounding errors of float64.
SINGULAR = 1 / sys.float_info.epsilon
#: The row without a basis: SiLU and a linear map as a layer, a perceptron with two hidden layers as a network.
PERCEPTRON = "SiLU and linear"


def shipped() -> list[str]:
    """The toolkit's own registered bases, without those that a user has registered."""
    return [name for name in qkan.bases.names() if qkan.bases.get(name).__module__.startswith("qkan.bases")]


def _cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> basis and options of every row but the perceptron's, DARUAN first."""
    found = {name: (name, OPTIONS.get(name, {})) for name in shipped()} | VARIANTS
    return {name: found[name] for name in sorted(found, key=lambda name: not name.startswith("daruan"))}


CASES = _cases()
#: What networks are fitted to, on [-1, 1]²: a smooth function and one with a kink.
TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "smooth": lambda x: torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2),
    "kink": lambda x: (x[:, :1] - x[:, 1:] ** 2).abs(),
}


def conditioning(case: str, spread: str) -> float | None:
    """Condition number of a basis's features at 4096 inputs, "uniform" in [-1, 1] or "normal"; ``None`` without any."""
    name, options = CASES[case]
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


def network(case: str, parameters: int, seed: int) -> Network:
    """A network [2, h, 1], or a perceptron [2, h, h, 1], with as nearly ``parameters`` parameters as h allows."""

    def build(width: int) -> Network:
        if case == PERCEPTRON:
            return MLP([2, width, width, 1], seed=seed)
        name, options = CASES[case]
        return qkan.KAN([2, width, 1], name, seed=seed, **options)

    width = 1
    while count(build(width + 1)).trainable <= parameters:
        width += 1
    sizes = {size: count(build(size)).trainable for size in (width, width + 1)}
    return build(min(sizes, key=lambda size: abs(sizes[size] - parameters)))


def fit_error(case: str, target: str, parameters: int, steps: int, seed: int) -> tuple[float, int]:
    """Root mean square error on 2,000 new inputs, in units of the target's standard deviation; and the parameters."""
    local = torch.Generator().manual_seed(seed)
    x, new = (2 * torch.rand(rows, 2, generator=local) - 1 for rows in (500, 2000))
    y, truth = TARGETS[target](x), TARGETS[target](new)
    centre, spread = y.mean(), y.std()
    model = network(case, parameters, seed)
    model.fit((x, (y - centre) / spread), opt="LBFGS", steps=steps, progress=False)
    error = (model.predict(new) * spread + centre - truth).square().mean().sqrt() / truth.std()
    return float(error), count(model).trainable


def layer(case: str) -> nn.Module:
    """A layer 64 -> 64."""
    if case == PERCEPTRON:
        return nn.Sequential(nn.SiLU(), nn.Linear(64, 64))
    name, options = CASES[case]
    return qkan.KANLayer(64, 64, name, seed=0, **options)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each case, the perceptron last."""
    layers = {case: layer(case) for case in [*options.bases, PERCEPTRON]}
    seconds = times(layers, options.rows, options.repetitions)
    rows = []
    for case, built in layers.items():
        size = count(built, options.rows)
        row = {"case": case, "parameters": size.trainable, "flops": size.flops, "seconds": seconds[case]}
        spreads = ("uniform", "normal")
        row["cond"] = [None if case == PERCEPTRON else conditioning(case, spread) for spread in spreads]
        row["errors"] = {}
        for target in TARGETS:
            fits = [fit_error(case, target, options.parameters, options.steps, s) for s in range(options.seeds)]
            row["errors"][target], row["fitted"] = median(error for error, _ in fits), fits[0][1]
        rows.append(row)
        print(f"{case} done", file=sys.stderr)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = ["basis", "parameters", "MFLOPs", "forward, ms", "forward and backward, ms", "cond. uniform", "cond. normal"]
    lines = [
        "| " + " | ".join([*head, "fitted parameters", *(f"error, {t}" for t in TARGETS)]) + " |",
        "|---" * 10 + "|",
    ]
    for row in rows:
        cells = [f"`{row['case']}`" if row["case"] in qkan.bases.names() else row["case"], f"{row['parameters']:,}"]
        cells += [f"{row['flops'] / 1e6:.1f}", *(f"{1e3 * value:.2f}" for value in row["seconds"])]
        cells += ["–" if value is None else "singular" if value > SINGULAR else f"{value:.2g}" for value in row["cond"]]
        cells += [str(row["fitted"]), *(f"{row['errors'][target]:.1e}" for target in TARGETS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _words(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def page(found: dict[str, Any], options: argparse.Namespace, text: str) -> str:
    """The table with what it holds and how it was measured."""
    shown = "; ".join(f"{case}: {_words(CASES[case][1])}" for case in options.bases if CASES[case][1])
    return (
        f"# Bases at equal size\n\n"
        f"Made by `python benchmarks/bases.py --out docs/bases.md` on {found['date']}: {found['processor']}, "
        f"{found['threads']} thread, torch {found['torch']}, commit {found['commit']}. Times depend on the machine and "
        f"on what else it does; compare them within the table.\n\n"
        f"* parameters, MFLOPs and times: one `KANLayer(64, 64)` with base branch and edge scale, float32, "
        f"{options.rows} rows, or SiLU and a linear map; medians of {options.repetitions} repetitions in turn. FLOPs "
        f"are those of matrix products (`qkan.count`): circuits and functions evaluated edge by edge, as in encoding "
        f"edge, `wavelet` and the rows' own features, are not among them.\n"
        f"* cond.: condition number of the features on inputs uniform in [-1, 1] and on standard-normal inputs, "
        f"float64, where all edges share them; large numbers make least squares inaccurate and gradient descent slow. "
        f"Encoding shared starts with equal data weights, at which its products of harmonics depend on each other.\n"
        f"* error: networks [2, h, 1], or a perceptron [2, h, h, 1] with SiLU, with h such that the number of "
        f"parameters is as near to {options.parameters} as can be, fitted to exp(sin πx₁ + x₂²) (smooth) and "
        f"|x₁ - x₂²| (kink) on 500 inputs uniform in [-1, 1]², {options.steps} steps of L-BFGS of up to 20 iterations, "
        f"median over {options.seeds} seeds; root mean square error at 2,000 new inputs in units of the function's "
        f"standard deviation. Two functions do not rank bases; `qkan reproduce functions` has more.\n\n"
        f"Options: {shown}; the rest are defaults.\n\n{text}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--parameters", type=int, default=187)
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
