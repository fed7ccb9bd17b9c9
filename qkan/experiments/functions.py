"""``qkan reproduce functions``: networks fitted to formulas, at equal parameters and at equal FLOPs.

KANs are said to fit functions better than perceptrons, and circuits better than series (arXiv 2404.19756, 2509.14026);
comparisons at equal parameters *and* FLOPs, with a perceptron whose units learn splines, are more careful
(arXiv 2407.11075, 2407.16674). Every model here is the same network but for what stands on its edges or units; only its
width is chosen, such that its count is nearest to that of a B-spline KAN with five hidden nodes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from qkan.analysis.statistics import Interval, PairedTest, Ranking, friedman, holm, mean_interval, paired_test
from qkan.counting import bspline_mlp_flops, count, kan_flops, mlp_flops, row_flops
from qkan.data.function_suites import FORMULAS, function_dataset
from qkan.errors import NonFiniteError, OptionError, check_choice, check_positive
from qkan.experiments import grid
from qkan.models import KAN, MLP, QKAN
from qkan.models.base import Network
from qkan.training import evaluate, mean_squared_error

#: Grid intervals and degree of every spline.
GRID, DEGREE = 5, 3
#: The model, and its hidden nodes, whose counts the others are matched to.
REFERENCE, NODES = "bspline", 5
#: The model by whose errors the picture divides those of all, and a rival of DARUAN in the summary.
BASELINE = "mlp"
#: What is made equal, and how it is counted.
SETTINGS: dict[str, Callable[[Network], int]] = {
    "parameters": lambda model: count(model).trainable,
    "FLOPs": row_flops,
}


@dataclass(frozen=True)
class Kind:
    """A model whose width is free.

    Attributes:
        title: in tables.
        options: what is fixed, in words.
        build: (inputs, width, seed) -> network with one output.
        published: (inputs, width) -> FLOPs of a row by the rule of KANbeFair, where there is one.
    """

    title: str
    options: str
    build: Callable[[int, int, int], Network]
    published: Callable[[int, int], float] | None = None


def _circuits(encoding: str) -> Kind:
    def build(n: int, width: int, seed: int) -> Network:
        return QKAN([n, width, 1], reps=3, encoding=encoding, seed=seed)

    where = {"fixed": "no trainable data weights", "shared": "one per input", "edge": "one per edge"}[encoding]
    return Kind(f"DARUAN ({encoding})", f"3 repetitions, data weights 1 at first, {where}", build)


def _spline_kan_flops(n: int, width: int) -> float:
    return kan_flops(n, width, GRID, DEGREE) + kan_flops(width, 1, GRID, DEGREE)


def _mlp_flops(n: int, width: int) -> float:
    return mlp_flops(n, width) + mlp_flops(width, width) + mlp_flops(width, 1, "identity")


def _spline_mlp_flops(n: int, width: int) -> float:
    hidden = bspline_mlp_flops(n, width, GRID, DEGREE) + bspline_mlp_flops(width, width, GRID, DEGREE)
    return hidden + mlp_flops(width, 1, "identity")


#: All models. KANs have one hidden layer, perceptrons two: as many layers of functions that are not linear.
KINDS: dict[str, Kind] = {
    "bspline": Kind(
        "B-spline KAN",
        f"grid {GRID} on [-1, 1], degree {DEGREE}",
        lambda n, width, seed: KAN([n, width, 1], "bspline", grid=GRID, k=DEGREE, seed=seed),
        _spline_kan_flops,
    ),
    "rbf": Kind(
        "RBF KAN",
        "8 Gaussians on [-2, 2]",
        lambda n, width, seed: KAN([n, width, 1], "rbf", grid=8, seed=seed),
    ),
    "fourier": Kind(
        "Fourier KAN",
        "3 harmonics of period 2π, the spectrum of the circuits",
        lambda n, width, seed: KAN([n, width, 1], "fourier", degree=3, seed=seed),
    ),
    **{f"daruan-{encoding}": _circuits(encoding) for encoding in ("fixed", "shared", "edge")},
    "mlp": Kind(
        "MLP (SiLU)",
        "two hidden layers",
        lambda n, width, seed: MLP([n, width, width, 1], "silu", seed=seed),
        _mlp_flops,
    ),
    "bspline-mlp": Kind(
        "MLP (B-splines)",
        f"two hidden layers, a spline for every unit, grid {GRID} on [-2, 2], degree {DEGREE}",
        lambda n, width, seed: MLP([n, width, width, 1], "bspline", grid=GRID, k=DEGREE, seed=seed),
        _spline_mlp_flops,
    ),
}


@dataclass(frozen=True)
class Protocol:
    """Rows and training, the same for every model.

    Attributes:
        train, validation, test: rows.
        steps: of L-BFGS with strong-Wolfe line search, up to 20 iterations each; learning rate 1.
        patience: steps without a lower validation error before training stops.
    """

    train: int = 800
    validation: int = 200
    test: int = 1000
    steps: int = 20
    patience: int = 5


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        seeds: how many, each with rows and initial values of its own.
        protocol: of training.
        functions: names of :data:`~qkan.data.function_suites.FORMULAS`.
        kinds: names of :data:`KINDS`.
    """

    seeds: int = 5
    protocol: Protocol = field(default_factory=Protocol)
    functions: tuple[str, ...] = tuple(FORMULAS)
    kinds: tuple[str, ...] = tuple(KINDS)


#: Small enough for two minutes: the same code, four functions, fewer rows and steps, and two seeds.
FAST = Plan(2, Protocol(200, 50, 200, steps=4, patience=4), ("I.6.2", "I.16.6", "ellipeinc", "jv"))


@cache
def width_of(kind: str, inputs: int, setting: str) -> int:
    """The width at which a model's count is nearest to the reference's; ties go down.

    Args:
        kind: a name of :data:`KINDS`.
        inputs: variables of the function.
        setting: what is counted, a name of :data:`SETTINGS`.
    """
    measure = SETTINGS[setting]
    target = measure(KINDS[REFERENCE].build(inputs, NODES, 0))
    width = 1
    while measure(KINDS[kind].build(inputs, width + 1, 0)) <= target:
        width += 1
    sizes = {size: measure(KINDS[kind].build(inputs, size, 0)) for size in (width, width + 1)}
    return min(sizes, key=lambda size: abs(sizes[size] - target))


def one_run(function: str, kind: str, width: int, seed: int, protocol: dict[str, int]) -> dict[str, Any]:
    """Train and test one model; arguments and result in JSON types.

    Errors are root mean squares in units of the standard deviation of the training labels. Test rows are looked at
    once, after training.

    Args:
        function: a name of :data:`~qkan.data.function_suites.FORMULAS`.
        kind: a name of :data:`KINDS`.
        width: hidden nodes, or units of each hidden layer.
        seed: of rows and initial values.
        protocol: fields of :class:`Protocol`.
    """
    settings = Protocol(**protocol)
    data = function_dataset(function, settings.train, settings.validation, settings.test, seed)
    test = data.pop("test_input"), data.pop("test_label")
    model = KINDS[kind].build(data["train_input"].shape[1], width, seed)
    start = time.perf_counter()
    try:
        history = model.fit(data, opt="LBFGS", steps=settings.steps, patience=settings.patience, progress=False)
        diverged, steps = False, len(history["step"])
    except NonFiniteError:  # the model is back at its best step
        diverged, steps = True, 0
    seconds = time.perf_counter() - start
    validation = data["val_input"], data["val_label"]
    return {
        "rmse": math.sqrt(evaluate(model, test, mean_squared_error)),
        "validation_rmse": math.sqrt(evaluate(model, validation, mean_squared_error)),
        "steps": steps,
        "diverged": diverged,
        "seconds": round(seconds, 4),
    }


@dataclass(frozen=True)
class Entry:
    """One model on one function in one setting.

    Attributes:
        setting: name of :data:`SETTINGS`.
        function: name.
        kind: name.
        width: hidden nodes, or units of each hidden layer.
        parameters: trainable ones.
        flops: of one row, all arithmetic.
        runs: results by seed.
    """

    setting: str
    function: str
    kind: str
    width: int
    parameters: int
    flops: int
    runs: list[dict[str, Any]]

    @property
    def published(self) -> float | None:
        """FLOPs of one row by the published rule, if there is one."""
        rule = KINDS[self.kind].published
        return None if rule is None else rule(len(FORMULAS[self.function].variables), self.width)

    def logs(self) -> list[float]:
        """Decimal logarithm of the test error, one per seed."""
        return [math.log10(run["rmse"]) for run in self.runs]

    def interval(self) -> Interval:
        """Geometric mean of the test error over seeds, with a 95 % interval; without one for a single seed."""
        logs = self.logs()
        return power(mean_interval(logs) if len(logs) > 1 else Interval(logs[0], math.nan, math.nan))


def power(logs: Interval) -> Interval:
    """10 to a mean and the ends of its interval."""
    return Interval(10**logs.mean, 10**logs.low, 10**logs.high)


@dataclass(frozen=True)
class Outcome:
    """Everything the tables show."""

    plan: Plan
    entries: list[Entry]

    def of(self, setting: str, kind: str) -> list[Entry]:
        """The entries of one kind of model in one setting, in the order of the functions."""
        return [entry for entry in self.entries if (entry.setting, entry.kind) == (setting, kind)]

    def scores(self, setting: str) -> dict[str, list[float]]:
        """Kind -> mean logarithm of the error over seeds, function by function."""
        return {kind: [float(np.mean(e.logs())) for e in self.of(setting, kind)] for kind in self.plan.kinds}


def run(folder: Path, plan: Plan | None = None, jobs: int = 1, progress: bool = True, backend: str = "loky") -> Outcome:
    """Train everything that ``folder`` does not hold yet.

    A model that has the same width in both settings is trained once.

    Args:
        folder: where the result of every run is kept.
        plan: what is run; ``None`` is everything, some 25 minutes on one core.
        jobs: processes.
        progress: show a progress bar.
        backend: of joblib, see :data:`qkan.experiments.grid.BACKENDS`.

    Raises:
        DataError: ``folder`` holds something else under the name of a result.
        OptionError: ``seeds`` or ``jobs`` is below 1, a name is unknown, or there are fewer models than two.
    """
    plan = plan or Plan()
    check_positive("seeds", plan.seeds)
    for kind in plan.kinds:
        check_choice("model", kind, KINDS)
    if len(plan.kinds) < 2:
        raise OptionError(f"one model, {plan.kinds[0]!r}, has nothing to be compared with; name two or more.")
    for name in plan.functions:
        check_choice("function", name, FORMULAS)
    protocol = asdict(plan.protocol)
    places = [(s, f, k, _width(f, k, s)) for s in SETTINGS for f in plan.functions for k in plan.kinds]
    runs: dict[str, grid.Run] = {}
    for seed in range(plan.seeds):
        for _, function, kind, width in places:
            arguments = {"function": function, "kind": kind, "width": width, "seed": seed, "protocol": protocol}
            runs[_key(function, kind, width, seed)] = one_run, arguments
    results = grid.run_all(runs, folder, jobs, progress, backend)
    entries = []
    for setting, function, kind, width in places:
        own = [results[_key(function, kind, width, seed)] for seed in range(plan.seeds)]
        model = KINDS[kind].build(len(FORMULAS[function].variables), width, 0)
        entries.append(Entry(setting, function, kind, width, count(model).trainable, row_flops(model), own))
    return Outcome(plan, entries)


def _width(function: str, kind: str, setting: str) -> int:
    return width_of(kind, len(FORMULAS[function].variables), setting)


def _key(function: str, kind: str, width: int, seed: int) -> str:
    return f"{function}/{kind}-{width}/{seed}"


@dataclass(frozen=True)
class Comparison:
    """All models in one setting, the functions being the independent cases (Demšar, JMLR 7, 1 (2006)).

    Attributes:
        ranking: mean ranks over functions, 1 the best; ``None`` with fewer than three models or two functions.
        tests: (first, second) -> difference of the mean logarithms of their errors, first minus second, over functions.
        p: (first, second) -> p-value of that test, corrected by Holm's method for all pairs of the setting.
    """

    ranking: Ranking | None
    tests: dict[tuple[str, str], PairedTest]
    p: dict[tuple[str, str], float]

    def ratio(self, first: str, second: str) -> tuple[Interval, float]:
        """Error of the ``first`` model divided by that of the ``second``, with a 95 % interval, and the corrected p."""
        if (first, second) in self.tests:
            test, sign = self.tests[first, second], 1
        else:
            test, sign = self.tests[second, first], -1
        low, high = sorted((sign * test.low, sign * test.high))
        p = self.p[(first, second) if sign == 1 else (second, first)]
        return power(Interval(sign * test.mean, low, high)), p


def compare(outcome: Outcome, setting: str) -> Comparison:
    """Ranks and all pairs of models of an outcome in a setting, over the functions; no tests for a single function."""
    scores = outcome.scores(setting)
    several = len(outcome.plan.functions) > 1
    ranking = friedman(scores, larger=False) if several and len(scores) > 2 else None
    pairs = list(combinations(scores, 2)) if several else []
    tests = {pair: paired_test(scores[pair[0]], scores[pair[1]]) for pair in pairs}
    p = holm({" ".join(pair): test.p for pair, test in tests.items()})
    return Comparison(ranking, tests, {pair: p[" ".join(pair)] for pair in pairs})
