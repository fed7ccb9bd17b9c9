"""Replace the edges of a KAN by functions of a library, and write the network as a formula.

Liu et al., arXiv 2404.19756, section 2.5.1 (symbolification).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qkan import training
from qkan.errors import NonFiniteError, OptionError, ShapeError
from qkan.layers.functions import LIBRARY, chosen, plainest
from qkan.models.attribution import check_rows
from qkan.models.symbolic_fit import Candidate, fit_edge, is_constant

if TYPE_CHECKING:
    import pandas as pd

    from qkan.layers import KANLayer
    from qkan.models.kan import KAN

#: Rows on which an edge is fitted; more say nothing new about one function of one variable.
FIT_ROWS = 2000

#: (prediction, label) -> scalar.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SymbolicReport:
    """What :func:`auto_symbolic` did.

    Attributes:
        model: the network with symbolic edges; the one given is unchanged.
        edges: one line per edge in the order of replacement: ``layer``, ``input``, ``output``, ``function`` (``None``
            where none was good enough, "constant" where the edge did not vary), ``r2`` of the fit before the refit, and
            ``loss`` of the network after it.
        loss_before: of the network given.
        loss_after: of ``model``.
    """

    model: KAN
    edges: pd.DataFrame
    loss_before: float
    loss_after: float

    @property
    def complete(self) -> bool:
        """Whether every edge is symbolic, so that :func:`symbolic_formula` can write the network."""
        return bool(self.edges["function"].notna().all())

    def __str__(self) -> str:
        done = int(self.edges["function"].notna().sum())
        change = f"loss {self.loss_before:.3g} before, {self.loss_after:.3g} after"
        return f"{done} of {len(self.edges)} edges replaced; {change}"


def suggest_symbolic(
    model: KAN,
    x: Tensor,
    layer: int,
    source: int,
    output: int,
    functions: Iterable[str] | None = None,
    weight_simple: float = 0.8,
) -> pd.DataFrame:
    """Functions of the library fitted to one edge, best first.

    Args:
        model: the network; any basis.
        x: rows (rows, n) of the network's inputs; the edge is fitted on what reaches it from them.
        layer: of the edge, 0 for the first.
        source: node it comes from.
        output: node it leads to.
        functions: names from :data:`qkan.layers.functions.LIBRARY`; all of them for ``None``.
        weight_simple: w in pykan's rank w · complexity + (1 − w) · log2(1 + 1e-5 − R²); 0.8 as there.

    Returns:
        One line per function whose domain can hold the data: ``function``, ``r2``, ``complexity``, ``score`` and the
        parameters ``a``, ``b``, ``c``, ``d`` of c · f(a·x + b) + d.

    Raises:
        OptionError: there is no such edge, it is constant on these rows, or an option is not valid.
        ShapeError: x has another shape.
    """
    import pandas as pd

    _check_weight("weight_simple", weight_simple)
    found = fit_edge(*edge_samples(model, x, layer, source, output), chosen(functions))
    lines = [
        {"function": one.function.name, "r2": one.r2, "complexity": one.function.complexity,
         "score": one.score(weight_simple), **dict(zip("abcd", one.affine, strict=True))}
        for one in found
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["function", "r2", "complexity", "score", *"abcd"])
    return table.sort_values("score", kind="stable", ignore_index=True)


def fix_symbolic(model: KAN, x: Tensor, layer: int, source: int, output: int, function: str) -> float:
    """Replace one edge, in place, by the best c · f(a·x + b) + d of the named function; returns R².

    The parameters of the basis are kept behind the edge's mask, so that ``model.layers[layer].unfix_symbolic(output,
    source)`` undoes it. Arguments and errors: see :func:`suggest_symbolic`; also

    Raises:
        OptionError: the function's domain cannot hold the data.
    """
    found = fit_edge(*edge_samples(model, x, layer, source, output), chosen([function]))
    if not found:
        raise OptionError(
            f"function={function!r} cannot be fitted to this edge; suggest_symbolic lists those that can."
        )
    model.layers[layer].fix_symbolic(output, source, function, found[0].affine)
    return found[0].r2


def auto_symbolic(
    model: KAN,
    x: Tensor,
    y: Tensor | None = None,
    functions: Iterable[str] | None = None,
    *,
    r2_threshold: float = 0.95,
    weight_simple: float = 0.8,
    steps: int = 10,
    loss_fn: Loss | None = None,
) -> SymbolicReport:
    """A copy of the network with edges replaced one after another, all other parameters refitted after each.

    Edges that fit best come first. An edge is fitted as it is at its turn, so a replacement can make up for those
    before it. A refit that raises the loss, or takes an argument out of its function's domain, is undone. Work is done
    in float64; the result has the model's own dtype.

    Args:
        model: the network; any basis. Prune it first: every edge left is one more term.
        x: rows (rows, n).
        y: labels (rows, m) of the refit; ``None`` refits to the network's own outputs.
        functions: as in :func:`suggest_symbolic`.
        r2_threshold: edges whose best function explains less keep their basis. 0.95, since a worse fit in one edge
            spoils the whole formula; pykan's 0 replaces everything.
        weight_simple: see :func:`suggest_symbolic`.
        steps: L-BFGS steps (20 iterations each) of every refit.
        loss_fn: (prediction, label) -> scalar; mean squared error by default.

    Raises:
        OptionError: an option is not valid.
        ShapeError: x or y has another shape.
    """
    import pandas as pd

    _check_weight("weight_simple", weight_simple)
    _check_weight("r2_threshold", r2_threshold)
    library, loss_fn = chosen(functions), loss_fn or training.mean_squared_error
    work: KAN = copy.deepcopy(model).double()
    rows = check_rows(work, x)
    labels = work.predict(rows) if y is None else torch.as_tensor(y)
    if len(labels) != len(rows):
        raise ShapeError(f"there are {len(rows)} rows of x but {len(labels)} labels.")
    labels = labels.to(rows) if labels.is_floating_point() else labels.to(rows.device)
    before = training.evaluate(work, (rows, labels), loss_fn)
    lines = []
    for place in _best_first(work, rows, library, weight_simple):
        name, r2 = _replace(work, rows, place, library, weight_simple, r2_threshold)
        if name is not None:
            _refit(work, rows, labels, loss_fn, steps)
        loss = training.evaluate(work, (rows, labels), loss_fn)
        lines.append({**dict(zip(("layer", "input", "output"), place, strict=True)),
                      "function": name, "r2": r2, "loss": loss})  # fmt: skip
    table = pd.DataFrame(lines, columns=["layer", "input", "output", "function", "r2", "loss"])
    after = training.evaluate(work, (rows, labels), loss_fn)
    return SymbolicReport(work.to(next(model.parameters()).dtype), table, before, after)


def symbolic_formula(
    model: KAN,
    variables: Sequence[str] | None = None,
    digits: int | None = 4,
    normalizer: tuple[Sequence[float], Sequence[float]] | None = None,
) -> list[Any]:
    """The network as SymPy expressions, one per output.

    Args:
        model: a network whose edges are all symbolic or pruned.
        variables: names of the inputs; x_1, x_2, … if ``None``.
        digits: significant digits of the numbers. Constants smaller than 10^-digits of the largest factor beside them
            are left out. ``None`` keeps everything, for evaluation.
        normalizer: means and scales (n,) each, where the network was trained on (x - mean)/scale: the formula is then
            one of x.

    Raises:
        OptionError: an edge is not symbolic, or there is not one name, mean and scale per input.
    """
    import sympy

    names = [f"x_{i + 1}" for i in range(model.width[0])] if variables is None else list(variables)
    if len(names) != model.width[0]:
        raise OptionError(f"variables has {len(names)} names, but the network has {model.width[0]} inputs.")
    nodes: list[Any] = [sympy.Symbol(name, real=True) for name in names]
    if normalizer is not None:
        means, scales = ([float(value) for value in part] for part in normalizer)
        if not len(means) == len(scales) == len(nodes):
            raise OptionError(f"normalizer has {len(means)} means and {len(scales)} scales for {len(nodes)} inputs.")
        nodes = [(node - mean) / scale for node, mean, scale in zip(nodes, means, scales, strict=True)]
    for level, layer in enumerate(model.layers):
        nodes = _layer_formula(layer, level, nodes)
    return nodes if digits is None else [_readable(node, digits) for node in nodes]


def edge_samples(model: KAN, x: Tensor, layer: int, source: int, output: int) -> tuple[Tensor, Tensor]:
    """Inputs and values of one edge on some of the rows x (rows, n): two float64 tensors (rows,).

    Args:
        model: the network.
        x: (rows, n).
        layer: place of the layer, from 0.
        source: the edge's input.
        output: its output.

    Raises:
        OptionError: there is no such edge.
        ShapeError: x has another shape.
    """
    _check_index("layer", layer, len(model.layers))
    _check_index("source", source, model.width[layer])
    _check_index("output", output, model.width[layer + 1])
    work = copy.deepcopy(model).double()
    rows = training.spaced(check_rows(work, x), FIT_ROWS)
    with torch.no_grad():
        for earlier in work.layers[:layer]:
            rows = earlier(rows)
        return rows[:, source], work.layers[layer].edges(rows)[:, output, source]


def _check_index(name: str, value: int, count: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise OptionError(f"{name}={value!r} must be a whole number from 0 to {count - 1}.")


def _check_weight(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise OptionError(f"{name}={value!r} must lie between 0 and 1.")


def _best_first(model: KAN, x: Tensor, library: list, weight_simple: float) -> list[tuple[int, int, int]]:
    """(layer, input, output) of the edges that are neither pruned nor symbolic, those that fit best first."""
    ranked = []
    for level, layer in enumerate(model.layers):
        for output, source in layer.active().nonzero().tolist():
            if layer.symbolic is None or layer.symbolic.row(output, source) is None:
                samples = edge_samples(model, x, level, source, output)
                best = _best(*samples, library, weight_simple, refine=False)  # good enough for an order
                ranked.append((2.0 if best is None else -best.r2, (level, source, output)))
    return [place for _, place in sorted(ranked)]


def _best(x: Tensor, y: Tensor, library: list, weight_simple: float, refine: bool = True) -> Candidate | None:
    """The function with the best rank, or ``None`` for a constant edge and where no domain holds the data."""
    if is_constant(x, y):
        return None
    return min(fit_edge(x, y, library, refine), key=lambda one: one.score(weight_simple), default=None)


def _replace(
    model: KAN, x: Tensor, place: tuple[int, int, int], library: list, weight_simple: float, r2_threshold: float
) -> tuple[str | None, float]:
    """Make one edge symbolic, if a function is good enough; its name and R²."""
    level, source, output = place
    inputs, values = edge_samples(model, x, level, source, output)
    if is_constant(inputs, values):
        # A line of slope 0 stays one in the refit: neither a nor c has a gradient while both are 0.
        model.layers[level].fix_symbolic(output, source, "x", (0.0, 0.0, 0.0, float(values.mean())))
        return "constant", 1.0
    best = _best(inputs, values, library, weight_simple)
    if best is None or best.r2 < r2_threshold:
        return None, float("nan") if best is None else best.r2
    model.layers[level].fix_symbolic(output, source, best.function.name, best.affine)
    return best.function.name, best.r2


def _refit(model: KAN, x: Tensor, y: Tensor, loss_fn: Loss, steps: int) -> None:
    """Train all parameters for a few L-BFGS steps, and go back where that did not help."""
    state = copy.deepcopy(model.state_dict())
    before = training.evaluate(model, (x, y), loss_fn)
    try:
        training.fit(model, (x, y), opt="LBFGS", steps=steps, loss_fn=loss_fn, log=steps, progress=False)
        worse = not training.evaluate(model, (x, y), loss_fn) <= before or not _in_domain(model, x)
    except NonFiniteError:
        worse = True
    if worse:
        model.load_state_dict(state)


def _in_domain(model: KAN, x: Tensor) -> bool:
    with torch.no_grad():
        for layer in model.layers:
            if layer.symbolic is not None and not layer.symbolic.in_domain(x):
                return False
            x = layer(x)
    return True


def _layer_formula(layer: KANLayer, level: int, nodes: list[Any]) -> list[Any]:
    import sympy

    edges = layer.symbolic
    for output, source in layer.active().nonzero().tolist():
        if edges is None or edges.row(output, source) is None:
            raise OptionError(
                f"the edge from input {source} to output {output} of layer {level} is not symbolic; use "
                "fix_symbolic or auto_symbolic first, or prune it."
            )
    bias = layer.output_bias()
    found = [sympy.Float(value) for value in ([0.0] * layer.out_features if bias is None else bias.tolist())]
    for row, (output, source, name) in enumerate(edges.entries if edges is not None else ()):
        function = LIBRARY[name]
        a, b, c, d = edges.affine[row].tolist()  # type: ignore[union-attr]
        a, b, c, d = plainest(function, (a, b, c, d))
        found[output] += d if c == 0 else c * function.symbolic(a * nodes[source] + b) + d
    return found


def _readable(formula: Any, digits: int) -> Any:
    """The formula with numbers of some significant digits, and without constants that those cannot show."""
    import sympy

    def without_constant(sum_: Any) -> Any:
        constant, rest = sum_.as_coeff_Add()
        largest = max(abs(float(term.as_coeff_Mul()[0])) for term in sympy.Add.make_args(rest))
        return rest if abs(float(constant)) < 10**-digits * largest else sum_

    def rounded(number: Any) -> Any:
        value = float(f"{float(number):.{digits}g}")
        # Whole numbers become integers, so that 1·x is written x.
        whole = value == int(value) and abs(value) < 10**digits
        return sympy.Integer(int(value)) if whole else sympy.Float(value, digits)

    formula = formula.replace(lambda part: part.is_Add, without_constant)
    return formula.xreplace({number: rounded(number) for number in formula.atoms(sympy.Float)})
