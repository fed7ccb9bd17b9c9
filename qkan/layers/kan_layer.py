"""The one layer that quantum and classical bases share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan import bases
from qkan._random import generator, spawn
from qkan.bases import Basis, Daruan, Mixture
from qkan.bases._base import FeatureBasis, normal_nodes
from qkan.bases._refit import GridUpdate
from qkan.errors import OptionError, ShapeError, check_choice
from qkan.layers.frozen import FrozenKANLayer
from qkan.layers.symbolic import Entry, SymbolicEdges

#: Base-branch activations by name.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}


class KANLayer(nn.Module):
    """y_o = Σ_i mask_oi · [scale_oi · φ_oi(x_i) + base_oi · act(x_i)] + bias_o.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        basis: name of a registered basis (``qkan.bases.names()``) or a :class:`~qkan.bases.Basis` class.
        base: activation of the base branch ("silu", "gelu", "relu", "tanh", "identity"); ``None`` leaves it out.
        scale: trainable edge scale, as in pykan's ``scale_sp``. "both" multiplies the base branch by it too, which then
            has no weight of its own: scale_oi · [φ_oi(x_i) + act(x_i)], the form of tfkan's ``DenseKAN``.
        bias: trainable output bias; "edge" gives every edge its own inside the edge scale, as the published DARUAN code
            has it, which adds parameters but no functions.
        mask: (m, n) of 0 and 1; edges at 0 are pruned: they contribute nothing and receive no gradient.
        seed: of local generators; ``None`` draws fresh entropy. Global random state is never touched.
        init: "variance" gives the output a standard deviation of about 1 for standard-normal input at every width,
            half of the variance from the base branch if there is one; "power" is the power law of Rigas et al.,
            arXiv 2509.03417, for bases with free coefficients (shared between features by the basis's profile);
            ``None`` is "power" for splines with a base branch, else "variance". A DARUAN layer without ``scale`` has
            no free amplitude, so its output keeps the circuits' own size, about √(n/3).
        symbolic: (output, input, function) of edges that are c · f(a·x + b) + d with a function of
            :data:`qkan.layers.functions.LIBRARY` and trainable a, b, c, d, in place of the basis and the base branch.
        **basis_options: options of the basis; an unknown one is an error that lists those that exist.

    Shapes: x (..., n) -> (..., m), any leading dimensions.

    Raises:
        OptionError: an unknown name or option.
        ShapeError: ``mask`` or the input has the wrong shape.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: str | type[Basis] = "daruan",
        *,
        base: str | None = "silu",
        scale: bool | str = True,
        bias: bool | str = True,
        mask: Tensor | None = None,
        seed: int | None = None,
        init: str | None = None,
        symbolic: Sequence[Sequence] | None = None,
        **basis_options: Any,
    ):
        super().__init__()
        basis_class = bases.get(basis)
        _check_options(basis_class, basis_options)
        check_choice("base", base, (*ACTIVATIONS, None))
        check_choice("scale", scale, (True, False, "both"))
        check_choice("bias", bias, (True, False, "edge"))
        check_choice("init", init, ("variance", "power", None))
        if scale == "both" and base is None:
            raise OptionError("scale='both' scales the base branch too, but base=None leaves it out.")
        basis_seed, own_seed = spawn(seed, 2)
        self.basis = basis_class(in_features, out_features, seed=basis_seed, **basis_options)
        self.in_features, self.out_features = self.basis.in_features, self.basis.out_features
        self.base = base
        self.init = init or (basis_class.default_init if base else "variance")
        if self.init == "power" and not basis_class.free_amplitude:
            raise OptionError(f"init='power' needs free coefficients, which the basis {basis_class.name!r} has not.")
        edge_shape = (self.out_features, self.in_features)
        self.scale = nn.Parameter(torch.ones(edge_shape)) if scale else None
        own_weight = base is not None and scale != "both"
        self.base_weight: Any = nn.Parameter(torch.zeros(edge_shape)) if own_weight else None
        bias_shape = edge_shape if bias == "edge" else (self.out_features,)
        self.bias = nn.Parameter(torch.zeros(bias_shape)) if bias else None
        self.register_buffer("mask", None)
        self.symbolic = SymbolicEdges(self.in_features, self.out_features, symbolic) if symbolic else None
        self.set_mask(mask)
        self._calibrate(own_seed)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._edge_weight(), self.output_bias()
        if self.base == "silu" and weight is not None and self.symbolic is None:
            found = self.basis.with_silu(x, weight, None if self._scales_both() else self._base_weight(), bias)
            if found is not None:
                return found
        y = self.basis(x, weight)
        if self.base is not None:
            y = y + functional.linear(ACTIVATIONS[self.base](x), self._base_weight())
        if self.symbolic is not None:
            y = y + self.symbolic(x)
        return y if bias is None else y + bias

    def output_bias(self) -> Tensor | None:
        """What is added to the output, (m,), or ``None``."""
        if self.bias is None or self.bias.dim() == 1:
            return self.bias
        weight = self._edge_weight()
        return (self.bias if weight is None else self.bias * weight).sum(-1)

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's contribution, x (..., n) -> (..., m, n); with :meth:`output_bias` they sum to the output."""
        edges = self.basis.edges(x)
        weight = self._edge_weight()
        if weight is not None:
            edges = edges * weight
        if self.base is not None:
            edges = edges + ACTIVATIONS[self.base](x).unsqueeze(-2) * self._base_weight()
        return edges if self.symbolic is None else edges + self.symbolic.edges(x)

    def features(self, x: Tensor) -> Tensor:
        """All that the output is linear in, x (..., n) -> (..., n, K): the basis's features, then the base branch.

        With :meth:`coefficients`, y = features(x).flatten(-2) @ coefficients().flatten(-2).T + bias.

        Raises:
            OptionError: the basis is not features times coefficients.
        """
        found = self._feature_basis().features(self.basis.check_input(x))
        return found if self.base is None else torch.cat([found, ACTIVATIONS[self.base](x).unsqueeze(-1)], -1)

    def coefficients(self) -> Tensor:
        """What :meth:`features` are multiplied by, (m, n, K), edge scale, mask and base weights included.

        Raises:
            OptionError: the basis is not features times coefficients.
        """
        found, weight = self._feature_basis().coefficients(), self._edge_weight()
        if weight is not None:
            found = found * weight.unsqueeze(-1)
        return found if self.base is None else torch.cat([found, self._base_weight().unsqueeze(-1)], -1)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """A DARUAN layer as one product with all features but the constant: matrix (K', n, m) and bias (m,).

        The features are the harmonics cos x … cos Dx, sin x … sin Dx (products of those for encoding "shared") and,
        with a base branch, the base activation.

        Raises:
            OptionError: the basis is not DARUAN, or not features times coefficients.
        """
        basis = self._feature_basis()
        if not isinstance(basis, Daruan):
            raise OptionError(f"only a layer of DARUAN circuits has such a matrix, not one of basis {basis.name!r}.")
        base = None if self.base is None else self._base_weight()
        return basis.matrix(self._edge_weight(), base, self.output_bias())

    def refine(self, size: int) -> KANLayer:
        """A layer with a larger basis (finer grid, higher degree, more repetitions) and the same function.

        Raises:
            RefineError: the basis cannot keep its function.
        """
        finer = copy.deepcopy(self)
        finer.basis = self.basis.refine(size)
        trainable = {name: parameter.requires_grad for name, parameter in self.named_parameters()}
        for name, parameter in finer.named_parameters():
            parameter.requires_grad_(trainable[name])
        return finer

    def select(self) -> KANLayer:
        """The layer with the chosen member of a mixture in place of all: smaller, with the parameters it had.

        Every edge is then exactly what its member with the largest gate added to it; what the others added is gone, so
        train it further where the gates were not yet decided. Gate and normalisation move into the edge scale, and the
        member's own parameters are the same numbers. With gates per layer it is a plain layer of one basis; with gates
        per edge it has the basis "selected", whose edges cost one member each, and pruned ones nothing.

        Raises:
            OptionError: the basis is no mixture.
        """
        if not isinstance(self.basis, Mixture):
            raise OptionError(f"select needs a layer with basis='mixture'; this one has {self.basis.name!r}.")
        chosen = copy.deepcopy(self)
        with torch.no_grad():
            chosen.basis, factor = self.basis.select(self.active())
            chosen.scale = nn.Parameter(factor.clone() if self.scale is None else self.scale * factor)
            if self.scale is not None:
                chosen.scale.requires_grad_(self.scale.requires_grad)
            if self._scales_both():
                chosen.base_weight = nn.Parameter(self.scale.clone())  # type: ignore[union-attr]
            if self.bias is not None and self.bias.dim() == 2:  # it was inside the edge scale
                chosen.bias = nn.Parameter(self.output_bias().clone())  # type: ignore[union-attr]
        return chosen

    def update_grid(self, x: Tensor | np.ndarray, grid_eps: float = 0.02) -> GridUpdate:
        """Move the grid to inputs x (..., n) and keep the edge functions there, in place; see the basis's method.

        Args:
            x: samples (..., n).
            grid_eps: share of equal spacing, the rest being quantiles of the samples.

        Raises:
            OptionError: the basis has no grid to update, or there are fewer samples than coefficients on an edge.
            NonFiniteError: NaN or infinity among the samples.
        """
        return self.basis.update_grid(x, grid_eps)

    def freeze(self) -> FrozenKANLayer:
        """The layer for inference, its coefficients computed once; later changes of this layer do not reach it."""
        weight, bias = self._edge_weight(), self.output_bias()
        return FrozenKANLayer(
            copy.deepcopy(self.basis),
            None if weight is None else weight.detach(),
            ACTIVATIONS[self.base] if self.base else None,
            self._base_weight().detach() if self.base else None,
            None if bias is None else bias.detach(),
            copy.deepcopy(self.symbolic),
        )

    def set_mask(self, mask: Tensor | None) -> None:
        """Prune edges: ``mask`` is (m, n) with 0 at pruned edges; ``None`` restores all.

        It speaks of basis and base branch: symbolic edges are 0 in it whatever is given, and stay as they are.

        Raises:
            ShapeError: it has another shape.
            OptionError: it holds other numbers than 0 and 1.
        """
        shape = (self.out_features, self.in_features)
        if mask is None and self.symbolic is not None:
            mask = torch.ones(shape)
        if mask is None:
            self.mask = None
            return
        mask = torch.as_tensor(mask)
        if tuple(mask.shape) != shape:
            raise ShapeError(f"mask of shape {tuple(mask.shape)} must be ({self.out_features}, {self.in_features}).")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise OptionError("mask must hold only 0 (pruned) and 1 (kept).")
        like = next(self.parameters())
        self.mask = mask.to(dtype=like.dtype, device=like.device, copy=True)
        for output, source, _ in self._entries():
            self.mask[output, source] = 0

    def active(self) -> Tensor:
        """Which edges are not pruned, bool (m, n); symbolic ones count as active."""
        shape, device = (self.out_features, self.in_features), next(self.parameters()).device
        found = torch.ones(shape, dtype=torch.bool, device=device) if self.mask is None else self.mask.bool()
        for output, source, _ in self._entries():
            found[output, source] = True
        return found

    def keep(self, kept: Tensor) -> None:
        """Prune every edge, symbolic ones too, that is False in ``kept``, bool (m, n)."""
        self._set_symbolic([row for row, (o, i, _) in enumerate(self._entries()) if bool(kept[o, i])])
        self.set_mask(kept)

    def fix_symbolic(self, output: int, source: int, function: str, affine: Sequence[float]) -> None:
        """Replace the edge from ``source`` to ``output`` by c · f(a·x + b) + d, ``affine`` = (a, b, c, d), in place.

        Raises:
            OptionError: the edge is not in the layer, or the function not in the library.
        """
        others = [row for row, entry in enumerate(self._entries()) if entry[:2] != (output, source)]
        self._set_symbolic(others, [(output, source, function)], [list(affine)])
        self.set_mask(self.mask)

    def unfix_symbolic(self, output: int, source: int) -> None:
        """Give the edge from ``source`` to ``output`` back to the basis, whose parameters were kept, in place.

        Raises:
            OptionError: the edge is not symbolic.
        """
        if self.symbolic is None or self.symbolic.row(output, source) is None:
            raise OptionError(f"the edge from input {source} to output {output} is not symbolic.")
        self._set_symbolic([row for row, entry in enumerate(self._entries()) if entry[:2] != (output, source)])
        assert self.mask is not None
        self.mask[output, source] = 1

    def config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the layer's structure (JSON types only)."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "basis": self.basis.name,
            "base": self.base,
            "scale": "both" if self._scales_both() else self.scale is not None,
            "bias": "edge" if self.bias is not None and self.bias.dim() == 2 else self.bias is not None,
            "init": self.init,
            **({} if self.symbolic is None else {"symbolic": [list(entry) for entry in self.symbolic.entries]}),
            **self.basis.config(),
        }

    def matmul_flops(self, rows: int) -> int:
        """Floating-point operations in the forward pass's matrix products over the batch of ``rows`` rows."""
        base = 2 * rows * self.in_features * self.out_features if self.base is not None else 0
        return self.basis.matmul_flops(rows) + base

    def extra_repr(self) -> str:
        parts = [f"{self.in_features} -> {self.out_features}", f"base={self.base!r}"]
        parts += [f"{name}=False" for name in ("scale", "bias") if getattr(self, name) is None]
        parts += ["scale='both'"] if self._scales_both() else []
        pruned = int((~self.active()).sum())
        if pruned:
            parts.append(f"{pruned} of {self.in_features * self.out_features} edges pruned")
        return ", ".join(parts)

    # -- internals ---------------------------------------------------------------------------------------

    def _entries(self) -> list[Entry]:
        return [] if self.symbolic is None else self.symbolic.entries

    def _set_symbolic(self, rows: list[int], entries: Sequence[Entry] = (), affine: Sequence = ()) -> None:
        """The symbolic edges in these rows, and some more."""
        wanted = [*(self._entries()[row] for row in rows), *entries]
        if not wanted:
            self.symbolic = None
            return
        values = torch.as_tensor(affine).to(next(self.parameters())).reshape(len(entries), 4)
        if self.symbolic is not None:
            values = torch.cat([self.symbolic.affine.detach()[rows], values])
        self.symbolic = SymbolicEdges(self.in_features, self.out_features, wanted, values)

    def _feature_basis(self) -> FeatureBasis:
        if self.symbolic is not None:
            raise OptionError("a layer with symbolic edges is not features times coefficients.")
        if not (isinstance(self.basis, FeatureBasis) and self.basis.folds):
            raise OptionError(f"the basis {self.basis.name!r} with these options is not features times coefficients.")
        return self.basis

    def _masked(self, weight: Tensor) -> Tensor:
        return weight if self.mask is None else weight * self.mask

    def _edge_weight(self) -> Tensor | None:
        return self.mask if self.scale is None else self._masked(self.scale)

    def _base_weight(self) -> Tensor:
        """(m, n), what the base branch is multiplied by."""
        return self._masked(self.scale if self._scales_both() else self.base_weight)  # type: ignore[arg-type]

    def _scales_both(self) -> bool:
        return self.base is not None and self.base_weight is None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state dict brings its mask along, whether this layer has one or not."""
        self.set_mask(state_dict.get(f"{prefix}mask"))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _calibrate(self, seed: int) -> None:
        """Set the amplitudes of basis and base branch for the chosen scheme."""
        basis_power, base_power = self._target_powers()
        with torch.no_grad():
            if self._scales_both():
                self._calibrate_both(seed, basis_power, base_power)
                return
            if self.basis.free_amplitude:
                self._multiply_coefficients(math.sqrt(basis_power * self.in_features))
            elif self.scale is not None:
                self.scale.fill_(math.sqrt(basis_power / float(self.basis.moments()[0])))
            if self.base_weight is not None:
                self._draw(self.base_weight, seed, base_power / _activation_power(self.base))

    def _calibrate_both(self, seed: int, basis_power: float, base_power: float) -> None:
        """As :meth:`_calibrate`, where one random number per edge multiplies both branches."""
        assert self.scale is not None
        act_power = _activation_power(self.base)
        if self.basis.free_amplitude:
            self._multiply_coefficients(math.sqrt(basis_power * self.in_features * act_power / base_power))
            self._draw(self.scale, seed, base_power / act_power)
        else:
            self._draw(self.scale, seed, (basis_power + base_power) / (act_power + float(self.basis.moments()[0])))

    def _multiply_coefficients(self, factor: float) -> None:
        for coefficient in self.basis.amplitudes():
            coefficient.mul_(factor)

    def _draw(self, weight: Tensor, seed: int, power: float) -> None:
        noise = torch.randn(weight.shape, generator=generator(seed), device="cpu")
        weight.copy_(noise * math.sqrt(power))

    def _target_powers(self) -> tuple[float, float]:
        """E[φ²] and E[(base_oi act)²] per edge. The variance scheme shares 1/n equally between the branches."""
        if self.init == "power":
            features = self.basis.moments()[0]
            fan = self.in_features * (len(features) + 1)
            return float(features.sum()) * fan**-2.0, _activation_power(self.base) * fan**-0.5
        share = 1.0 if self.base is None else 0.5
        return share / self.in_features, share / self.in_features


def _activation_power(name: str | None) -> float:
    """E[act(x)²] for standard-normal x."""
    points, weights = normal_nodes()
    return float(weights @ ACTIVATIONS[name](points) ** 2) if name else 0.0


def _check_options(basis_class: type[Basis], given: dict[str, Any]) -> None:
    known = bases.options(basis_class)
    for name in given:
        if name not in known:
            raise OptionError(f"basis {basis_class.name!r} has no option {name!r}; its options are {', '.join(known)}.")
