"""Carry a KAN's functions over to another basis: a QKAN to B-splines, B-splines to circuits.

From circuits to splines: the transfer of arXiv 2509.14026; the other way is our own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qkan import bases
from qkan._random import spawn
from qkan.bases import Basis, ClassicalBasis, Daruan
from qkan.errors import OptionError, check_positive
from qkan.layers import KANLayer
from qkan.models.attribution import check_rows
from qkan.models.kan import KAN, QKAN

if TYPE_CHECKING:
    import pandas as pd

#: Grid of a basis that has one, unless chosen: nothing is trained, so a fine grid costs little, and one range has to
#: hold the inputs of all layers.
GRID = 20


@dataclass(frozen=True)
class Distillation:
    """What :func:`distil` found.

    Attributes:
        model: the network in the other basis.
        edges: one line per edge: ``layer``, ``input``, ``output``, ``std`` of its values on the rows, and ``residual``,
            the standard deviation of the difference (constants move to the bias).
        rms: root mean square of the difference of the outputs on the rows.
        relative: ``rms`` divided by the standard deviation of the outputs.
    """

    model: KAN
    edges: pd.DataFrame
    rms: float
    relative: float

    def __str__(self) -> str:
        return f"outputs differ by {self.rms:.3g} (RMS), {100 * self.relative:.3g} % of their standard deviation"


def distil(
    model: KAN,
    x: Tensor,
    basis: str | type[Basis] = "bspline",
    *,
    steps: int = 30,
    starts: int = 3,
    seed: int | None = None,
    **options: Any,
) -> Distillation:
    """A network of the same widths in another basis, every edge fitted to its counterpart on data.

    Layer by layer, on what reaches it in the given network, in float64. A basis with free coefficients is fitted by
    linear least squares; circuits by L-BFGS, the best of several random starts. Pruned edges stay pruned; symbolic ones
    are fitted like others. Nothing is said about inputs beyond the rows.

    Args:
        model: the network to imitate.
        x: rows (rows, n) on which it is used; two or more.
        basis: name or class of the new basis; "daruan" makes a :class:`~qkan.QKAN`.
        steps: L-BFGS steps (20 iterations each) for circuits.
        starts: random starts for circuits; their loss has many minima.
        seed: of the starts.
        **options: of :class:`~qkan.KAN` and the basis. Unless given: no base branch and no edge scale where
            coefficients are free; ``grid=20`` and, as ``grid_range``, the range of all layers' inputs, where the basis
            has these.

    Raises:
        OptionError: an option is not valid, or the layers would have no free bias.
        ShapeError: x has another shape.
    """
    check_positive("steps", steps)
    check_positive("starts", starts)
    teacher = copy.deepcopy(model).double().requires_grad_(False)
    rows = check_rows(teacher, x)
    inputs = [rows]
    for layer in teacher.layers:
        inputs.append(layer(inputs[-1]))
    student = _student(teacher.width, basis, inputs[:-1], seed, options).to(rows)
    for level, (old, new) in enumerate(zip(teacher.layers, student.layers, strict=True)):
        if new.bias is None or new.bias.dim() != 1:
            raise OptionError("distil needs layers with bias=True: constants of the edges move there.")
        new.set_mask(old.active())
        _fit(old, new, inputs[level], steps, spawn(seed, starts))
    edges = _table(teacher, student, inputs)
    with torch.no_grad():
        outputs = student(rows)
    rms = float((outputs - inputs[-1]).pow(2).mean().sqrt())
    spread = float(inputs[-1].var(0, correction=0).mean().sqrt())
    student.to(next(model.parameters()).dtype)
    return Distillation(student, edges, rms, rms / max(spread, torch.finfo(torch.float64).tiny))


def _student(
    width: list[int], basis: str | type[Basis], inputs: list[Tensor], seed: int | None, options: dict[str, Any]
) -> KAN:
    kind = bases.get(basis)
    if issubclass(kind, Daruan):
        return QKAN(width, basis=basis, seed=seed, **options)
    known = bases.options(kind)
    low, high = (float(end) for end in torch.stack([part.aminmax()[i] for i in (0, 1) for part in inputs]).aminmax())
    defaults: dict[str, Any] = {"grid": GRID, "grid_range": (low, high if high > low else low + 1.0)}
    defaults = {name: value for name, value in defaults.items() if name in known}
    if issubclass(kind, ClassicalBasis):
        defaults |= {"base": None, "scale": False}
    return KAN(width, basis, seed=seed, **{**defaults, **options})


def _fit(old: KANLayer, new: KANLayer, x: Tensor, steps: int, seeds: list[int]) -> None:
    """Fit the edges of ``new`` to those of ``old`` on the rows x, and its bias to what is left."""
    target = old.edges(x)
    if isinstance(new.basis, ClassicalBasis) and new.basis.folds and new.config()["scale"] != "both":
        _solve(new, x, target)
    else:
        _descend(new, x, target, steps, seeds)
    with torch.no_grad():
        assert new.bias is not None
        own = old.output_bias()
        new.bias.copy_((target - new.edges(x)).sum(-1).mean(0))
        if own is not None:
            new.bias.add_(own)


def _solve(layer: KANLayer, x: Tensor, target: Tensor) -> None:
    """Coefficients, and weights of the base branch, by linear least squares for every input."""
    with torch.no_grad():
        features = layer.features(x).transpose(0, 1).cpu()  # (n, rows, K), the base branch last
        values = target.permute(2, 0, 1).cpu()  # (n, rows, m)
        # Constants move to the bias, which some bases need. Coefficients that the rows leave open stay small.
        features, values = features - features.mean(1, keepdim=True), values - values.mean(1, keepdim=True)
        found = torch.linalg.lstsq(features, values, rcond=1e-12, driver="gelsd").solution
        found = found.permute(2, 0, 1).to(x)  # (m, n, K)
        if layer.scale is not None:
            layer.scale.fill_(1.0)
        if layer.base_weight is not None:
            layer.base_weight.copy_(found[..., -1])
            found = found[..., :-1]
        layer.basis.coef.copy_(found)  # type: ignore[operator]


def _descend(layer: KANLayer, x: Tensor, target: Tensor, steps: int, seeds: list[int]) -> None:
    """All parameters by L-BFGS on the edges' mean squared deviation, constants aside; the best of the starts."""
    size = target.var(0, correction=0).mean().clamp_min(1e-300)
    best: tuple[float, dict[str, Tensor]] | None = None
    for seed in seeds:
        trial = KANLayer(**layer.config(), seed=seed).to(x)
        trial.set_mask(layer.mask)
        optimiser = torch.optim.LBFGS(trial.parameters(), history_size=20, line_search_fn="strong_wolfe")

        def loss(trial: KANLayer = trial) -> Tensor:
            return (trial.edges(x) - target).var(0, correction=0).mean() / size

        def closure(trial: KANLayer = trial, optimiser: Any = optimiser) -> Tensor:
            optimiser.zero_grad()
            value = loss(trial)
            value.backward()
            return value

        for _ in range(steps):
            optimiser.step(closure)
        with torch.no_grad():
            reached = float(loss())
        if best is None or reached < best[0]:
            best = reached, copy.deepcopy(trial.state_dict())
    assert best is not None
    layer.load_state_dict(best[1])


def _table(teacher: KAN, student: KAN, inputs: list[Tensor]) -> pd.DataFrame:
    import pandas as pd

    lines = []
    for level, (old, new) in enumerate(zip(teacher.layers, student.layers, strict=True)):
        with torch.no_grad():
            values = old.edges(inputs[level])
            std = values.std(0, correction=0)
            residual = (new.edges(inputs[level]) - values).std(0, correction=0)
        for output, source in old.active().nonzero().tolist():
            lines.append((level, source, output, float(std[output, source]), float(residual[output, source])))
    return pd.DataFrame(lines, columns=["layer", "input", "output", "std", "residual"])
