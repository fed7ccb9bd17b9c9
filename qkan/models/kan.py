"""KAN and QKAN: stacks of :class:`~qkan.KANLayer` with training, prediction, saving and refinement."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan import bases
from qkan._random import spawn
from qkan.bases import Basis, Daruan, Mixture
from qkan.errors import ModelFileError, OptionError, check_positive
from qkan.layers import KANLayer
from qkan.models import symbolic
from qkan.models.attribution import Attribution, attribute
from qkan.models.base import Network, saved_as_own_kind
from qkan.models.grid import GridReport, update_grid
from qkan.models.pruning import Pruning, prune
from qkan.models.symbolic import SymbolicReport

#: Data that a method takes; ``None`` stands for the inputs of the last fit.
Rows = Tensor | np.ndarray | None


@saved_as_own_kind
class KAN(Network):
    """A Kolmogorov-Arnold network: KAN layers in sequence (Liu et al., arXiv 2404.19756).

    Args:
        width: nodes per layer, inputs first, for example [2, 5, 1].
        basis: registered name or :class:`~qkan.bases.Basis` class; every layer uses it.
        grid: grid size of bases that have one (B-spline: intervals, default 5; RBF: centres, default 8).
        k: spline degree of the B-spline basis (default 3).
        base, scale, bias, init: see :class:`~qkan.KANLayer`.
        seed: of local generators; ``None`` draws fresh entropy.
        device: where the parameters live; torch's default if ``None``.
        symbolic: per layer, the edges that are functions of a formula (see :class:`~qkan.KANLayer`).
        layer_options: per layer, options that differ from those above, such as ``[{"basis": "fourier", "degree": 3},
            {}]``. A layer that names a basis takes none of the options of the basis above.
        **basis_options: further options of the basis, e.g. ``grid_range=(-3, 3)`` or ``degree=8``.

    Shapes: x (..., width[0]) -> (..., width[-1]).

    Raises:
        OptionError: ``width`` or an option is not valid.
    """

    layers: Sequence[KANLayer]
    saves_measured = True

    def __init__(
        self,
        width: Sequence[int],
        basis: str | type[Basis] = "bspline",
        grid: int | None = None,
        k: int | None = None,
        *,
        base: str | None = "silu",
        scale: bool = True,
        bias: bool = True,
        init: str | None = None,
        seed: int | None = None,
        device: str | torch.device | None = None,
        symbolic: Sequence[Sequence] | None = None,
        layer_options: Sequence[dict[str, Any]] | None = None,
        **basis_options: Any,
    ):
        super().__init__()
        self.width = check_width(width)
        basis_options |= {name: value for name, value in (("grid", grid), ("k", k)) if value is not None}
        seeds = spawn(seed, len(self.width) - 1)
        formulas = [None] * len(seeds) if symbolic is None else symbolic
        own = [{}] * len(seeds) if layer_options is None else layer_options
        for name, lists in (("symbolic", formulas), ("layer_options", own)):
            if len(lists) != len(seeds):
                raise OptionError(f"{name} lists {len(lists)} layers, but width={self.width} has {len(seeds)}.")
        common = {"base": base, "scale": scale, "bias": bias, "init": init}
        self.layers = nn.ModuleList()  # type: ignore[assignment]
        for level, (n, m) in enumerate(itertools.pairwise(self.width)):
            chosen = {} if "basis" in own[level] else {"basis": basis, **basis_options}
            chosen = common | chosen | own[level]
            self.layers.append(KANLayer(n, m, **chosen, seed=seeds[level], symbolic=formulas[level]))  # type: ignore
        if device is not None:
            self.to(device)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def edges(self, x: Tensor) -> list[Tensor]:
        """Every edge's contribution in every layer for inputs x (..., n): one (..., m, n) tensor per layer."""
        found = []
        for layer in self.layers:
            found.append(layer.edges(x))
            x = layer(x)
        return found

    def regularization(self, x: Tensor, lamb_l1: float = 1.0, lamb_entropy: float = 2.0) -> Tensor:
        """Sparsity penalty of pykan on the rows x (B, n): L1 and entropy of the edges' mean magnitudes.

        With s_oi the mean of |edge oi| over the rows: lamb_l1 Σs + lamb_entropy (mean row entropy + mean column
        entropy), where rows and columns of s are normalised to sum to 1; summed over layers.
        """
        total = x.new_zeros(())
        for edges in self.edges(x):
            size = edges.abs().flatten(0, -3).mean(0)
            total = total + lamb_l1 * size.sum()
            total = total + lamb_entropy * (_entropy(size, 0) + _entropy(size, 1))
        return total

    def gate_entropy(self) -> Tensor:
        """Entropy of the gates in nats, a scalar: averaged over a layer's edges, summed over the layers with a mixture.

        Raises:
            OptionError: no layer has the basis "mixture".
        """
        found = [layer.basis.gate_entropy() for layer in self.layers if isinstance(layer.basis, Mixture)]
        if not found:
            raise OptionError("gate_entropy needs a layer with basis='mixture'.")
        return torch.stack(found).sum()

    def select(self) -> KAN:
        """A copy in which every layer with a mixture keeps its chosen bases only; see :meth:`qkan.KANLayer.select`.

        Raises:
            OptionError: no layer has the basis "mixture".
        """
        if not any(isinstance(layer.basis, Mixture) for layer in self.layers):
            raise OptionError("select needs a layer with basis='mixture'.")
        chosen = copy.deepcopy(self)
        chosen.layers = nn.ModuleList(  # type: ignore[assignment]
            layer.select() if isinstance(layer.basis, Mixture) else copy.deepcopy(layer) for layer in self.layers
        )
        return chosen

    def refine(self, size: int) -> KAN:
        """A network with a finer basis in every layer and the same function (see the basis's ``refine``).

        Raises:
            RefineError: the basis cannot keep its function.
        """
        finer = copy.deepcopy(self)
        finer.layers = nn.ModuleList(  # type: ignore[assignment]
            layer.refine(size) for layer in self.layers
        )
        return finer

    def update_grid(self, x: Rows = None, grid_eps: float = 0.02) -> GridReport:
        """Move the grids of all layers to samples x (rows, n) and keep the functions there, in place, as pykan does.

        Without x, to the inputs of the last :meth:`fit`; see :func:`qkan.models.grid.update_grid` and the basis's
        method. An optimiser at work has to be made anew afterwards; ``fit(update_grid=True)`` does so.

        Args:
            x: samples.
            grid_eps: share of equal spacing in the new grid; 0.02 as in pykan.

        Returns:
            The relative residual and ranks of every layer, and the relative change of the outputs.

        Raises:
            OptionError: no x, and the network has not been fitted; the basis has no grid to update; or too few samples.
            NonFiniteError: NaN or infinity among the samples.
        """
        return update_grid(self, self._rows(x, "update_grid"), grid_eps)

    def compile_inference(self) -> nn.Sequential:
        """The network for inference, every layer frozen: where layers fold into coefficients, no circuit runs any more.

        See :meth:`qkan.KANLayer.freeze`. It takes and returns what the network does, without gradients to parameters,
        and does not follow later training.
        """
        return nn.Sequential(*(layer.freeze() for layer in self.layers)).eval()

    def plot(self, x: Rows = None, **options: Any) -> Any:
        """Draw the network with its edge functions over the data x (rows, n); returns a matplotlib Figure.

        Without x, over the inputs of the last :meth:`fit`. See :func:`qkan.models.plot.draw` for the options.

        Raises:
            OptionError: no x, and the network has not been fitted.
        """
        from qkan.models.plot import draw

        return draw(self, self._rows(x, "plot"), **options)

    def attribute(self, x: Rows = None, out_score: Sequence[float] | None = None) -> Attribution:
        """Scores of every node and edge, passed backwards from the outputs.

        See :func:`qkan.models.attribution.attribute`; without x, on the inputs of the last :meth:`fit`.

        Raises:
            OptionError: no x, and the network has not been fitted.
        """
        return attribute(self, self._rows(x, "attribute"), out_score)

    def feature_score(self, x: Rows = None) -> Tensor:
        """Attribution scores of the inputs, float64 (width[0],), averaged over the outputs; see :meth:`attribute`."""
        return self.attribute(x).nodes[0]

    def prune(self, x: Rows = None, node_th: float = 1e-2, edge_th: float = 3e-2) -> Pruning:
        """A pruned copy, with a report: edges with low scores go, but every output stays connected to an input.

        See :func:`qkan.models.pruning.prune`; without x, scores come from the inputs of the last :meth:`fit`.

        Raises:
            OptionError: every edge would go; or no x, and the network has not been fitted.
        """
        return prune(self, self._rows(x, "prune"), node_th, edge_th)

    def suggest_symbolic(self, layer: int, source: int, output: int, x: Rows = None, **options: Any) -> Any:
        """A table of functions fitted to one edge, best first; see :func:`qkan.models.symbolic.suggest_symbolic`.

        Without x, on the inputs of the last :meth:`fit`.

        Raises:
            OptionError: the edge is constant on the data, or there are no data or no such edge.
        """
        return symbolic.suggest_symbolic(self, self._rows(x, "suggest_symbolic"), layer, source, output, **options)

    def fix_symbolic(self, layer: int, source: int, output: int, function: str, x: Rows = None) -> float:
        """Replace one edge, in place, by the named function; returns R².

        See :func:`qkan.models.symbolic.fix_symbolic`; :meth:`unfix_symbolic` undoes it.

        Raises:
            OptionError: the edge is constant on the data, or the function does not fit its range.
        """
        return symbolic.fix_symbolic(self, self._rows(x, "fix_symbolic"), layer, source, output, function)

    def unfix_symbolic(self, layer: int, source: int, output: int) -> None:
        """Give an edge back to the basis, in place, with the parameters it had.

        Args:
            layer: place of the layer, from 0.
            source: the edge's input.
            output: its output.

        Raises:
            OptionError: the edge is not symbolic.
        """
        self.layers[layer].unfix_symbolic(output, source)

    def auto_symbolic(self, x: Rows = None, y: Rows = None, **options: Any) -> SymbolicReport:
        """A copy with all edges replaced that a function fits, refitted after each; with a report.

        See :func:`qkan.models.symbolic.auto_symbolic`. Without x, on the inputs of the last :meth:`fit`; without labels
        y (rows, m), the refit keeps to the network's own outputs.

        Raises:
            OptionError: no x, and the network has not been fitted.
        """
        labels = None if y is None else torch.as_tensor(y)
        return symbolic.auto_symbolic(self, self._rows(x, "auto_symbolic"), labels, **options)

    def symbolic_formula(
        self, variables: Sequence[str] | None = None, digits: int | None = 4, normalizer: Any = None
    ) -> list[Any]:
        """The network as SymPy expressions, one per output; see :func:`qkan.models.symbolic.symbolic_formula`.

        Raises:
            OptionError: an edge is neither symbolic nor pruned.
        """
        return symbolic.symbolic_formula(self, variables, digits, normalizer)

    def _rows(self, x: Rows, what: str) -> Tensor:
        """Rows x as a tensor, or the inputs seen in the last fit."""
        rows = self._seen if x is None else torch.as_tensor(x)
        if rows is None:
            raise OptionError(f"{what} needs data: pass x of shape (rows, inputs), or call fit first.")
        return rows

    @property
    def in_features(self) -> int:
        """Numbers in a row, ``width[0]``."""
        return self.width[0]

    # -- saving ------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        own = [_structure(layer) for layer in self.layers]
        alike = all(one == own[0] for one in own)
        found = {"width": list(self.width), **(own[0] if alike else {"layer_options": own})}
        formulas = [layer.config().get("symbolic", []) for layer in self.layers]
        return found | {"symbolic": formulas} if any(formulas) else found

    def save(self, path: str | Path) -> None:
        """Save as a folder: weights in safetensors, structure in JSON, written atomically.

        Raises:
            ModelFileError: ``path`` holds something else, or a basis class is not registered.
        """
        self.check_measured()
        for layer in self.layers:
            if bases.get(layer.basis.name) is not type(layer.basis):
                raise ModelFileError(
                    f"the basis class {type(layer.basis).__name__} is not registered under a name of its own; decorate "
                    "it with qkan.bases.register(name), so that loading finds it."
                )
        super().save(path)


@saved_as_own_kind
class QKAN(KAN):
    """A KAN whose edges are DARUAN circuits (arXiv 2509.14026).

    Args:
        width: nodes per layer, inputs first.
        reps: repetitions of the re-uploading circuit on every edge.
        **options: options of :class:`~qkan.bases.Daruan` (``ansatz``, ``encoding``, ``frequencies``, ``readout``,
            ``groups``) and of :class:`~qkan.KANLayer` (``base``, ``scale``, ``bias``, ``seed``).

    Raises:
        OptionError: ``width`` or an option is not valid, or ``basis`` names another basis.
    """

    def __init__(self, width: Sequence[int], reps: int = 3, **options: Any):
        basis = options.pop("basis", "daruan")
        if not issubclass(bases.get(basis), Daruan):
            raise OptionError(f"a QKAN has the basis 'daruan', not {basis!r}; use KAN(width, basis=...) for others.")
        super().__init__(width, basis, reps=reps, **options)

    @classmethod
    def from_official_state_dict(
        cls, state_dict: dict[str, Tensor], width: Sequence[int], reps: int = 3, ansatz: str = "pz", **options: Any
    ) -> QKAN:
        """A network with the weights of the published ``qkan`` package.

        See :func:`qkan.models.official.convert`.
        """
        from qkan.models.official import convert

        return convert(state_dict, width, reps, ansatz, **options)


def check_width(width: Sequence[int]) -> list[int]:
    """The widths as a list, or :class:`OptionError` unless they are two or more whole numbers of at least 1."""
    if not isinstance(width, Sequence) or isinstance(width, str) or len(width) < 2:
        raise OptionError(f"width={width!r} must list at least an input and an output size, such as [2, 5, 1].")
    return [check_positive("width", size) for size in width]


def _entropy(size: Tensor, dim: int) -> Tensor:
    share = size / size.sum(dim, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    return -(share * torch.log(share.clamp_min(1e-12))).sum(dim).mean()


def _structure(layer: KANLayer) -> dict[str, Any]:
    """A layer's options, its widths and symbolic edges aside."""
    own = ("in_features", "out_features", "symbolic")
    return {key: value for key, value in layer.config().items() if key not in own}
