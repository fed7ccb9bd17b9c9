"""The protocol every basis follows, and the registry that finds one by name.

A basis holds the m·n edge functions φ_oi of one layer. Feature bases write them as features times coefficients,
φ_oi(x) = Σ_k B_k(x) C_oik, so that the layer is one matrix product; a basis without that form overrides
``forward`` and ``edges``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qkan._random import generator
from qkan.bases._refit import GridUpdate
from qkan.errors import OptionError, RefineError, ShapeError, check_positive
from qkan.kernels import dispatch
from qkan.kernels.reference import accumulation_dtype

_REGISTRY: dict[str, type[Basis]] = {}
#: Arguments of layers and models, which would never reach an option of that name.
RESERVED = ("basis", "base", "scale", "bias", "mask", "init", "symbolic", "layer_options", "width", "device")
_BasisType = TypeVar("_BasisType", bound="type[Basis]")


def register(name: str, listed: bool = True) -> Callable[[_BasisType], _BasisType]:
    """Class decorator: make a basis known to layers and models under ``name``.

    Defining the same class again, as in a notebook, replaces it; another class under a taken name is an error. A basis
    that is not ``listed`` is found by its name and left out of :func:`names`: it is made by others, not chosen.

    Raises:
        OptionError: the name is taken, or an option is called like an argument of layers or models.
    """

    def add(cls: _BasisType) -> _BasisType:
        for option in options(cls):
            if option in RESERVED:
                raise OptionError(
                    f"the option {option!r} of {cls.__qualname__} is called like an argument of KANLayer or KAN, which "
                    f"would not pass it on; rename it (other reserved names: {', '.join(RESERVED)})."
                )
        taken = _REGISTRY.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise OptionError(f"the basis name {name!r} is taken by {taken.__qualname__}; choose another.")
        cls.name, cls.listed = name, listed
        _REGISTRY[name] = cls
        return cls

    return add


def names() -> list[str]:
    """Names of the bases to choose from, sorted."""
    return sorted(name for name, cls in _REGISTRY.items() if cls.listed)


def get(name: str | type[Basis]) -> type[Basis]:
    """The basis class registered as ``name`` (a class is returned as it is).

    Raises:
        OptionError: the name is not known; the message lists those that are.
    """
    if inspect.isclass(name) and issubclass(name, Basis):
        return name
    if not isinstance(name, str) or name not in _REGISTRY:
        raise OptionError(f"basis={name!r} is not known; choose one of {', '.join(names())}.")
    return _REGISTRY[name]


def options(basis: str | type[Basis]) -> list[str]:
    """Names of the options a basis accepts."""
    parameters = inspect.signature(get(basis).__init__).parameters
    return [name for name in parameters if name not in ("self", "in_features", "out_features", "seed")]


def normal_nodes(count: int = 4000, limit: float = 8.0) -> tuple[Tensor, Tensor]:
    """Points and weights (float64, shape (count,)) for expectations over a standard normal variable."""
    points = torch.linspace(-limit, limit, count, dtype=torch.float64, device="cpu")
    density = torch.exp(-0.5 * points**2)
    return points, density / density.sum()


def slopes_of(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and derivatives of a function whose outputs each depend on one entry of x."""
    values, slopes, *_ = torch.func.jvp(function, (x,), (torch.ones_like(x),))
    return values.detach(), slopes.detach()


class Basis(nn.Module):
    """Edge functions φ_oi, o < out_features, i < in_features.

    Subclasses implement ``forward`` and ``edges`` (or derive from :class:`FeatureBasis` or
    :class:`ClassicalBasis`), ``config``, ``moments`` and, where mathematics allows, ``refine``.

    Attributes:
        name: registered name.
        listed: whether :func:`names` has it.
        free_amplitude: True if the edge functions may take any size, so that initialisation can scale them.
        default_init: initialisation scheme a layer uses when none is named: "variance" or "power".
        folds: True if the layer is features times coefficients, so that inference needs the coefficients only.
        adapts_grid: whether :meth:`update_grid` moves the grid to data.
        refine_residual: of a basis made by :meth:`refine`: ‖new - old‖/‖old‖ of the edge functions over the domain; 0
            where the larger basis contains the smaller one.
    """

    name: ClassVar[str] = "basis"
    listed: ClassVar[bool] = True
    free_amplitude: ClassVar[bool] = False
    default_init: ClassVar[str] = "variance"
    folds: bool = False
    adapts_grid: ClassVar[bool] = False
    refine_residual: float = 0.0

    def __init__(self, in_features: int = 1, out_features: int = 1, *, seed: int | None = None):
        super().__init__()
        self.in_features = check_positive("in_features", in_features)
        self.out_features = check_positive("out_features", out_features)

    # -- what every basis offers -------------------------------------------------------------------------

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Σ_i weight_oi φ_oi(x_i).

        Args:
            x: (..., n).
            weight: (m, n) edge weights; ``None`` means 1 for every edge.

        Returns:
            (..., m).
        """
        edges = self.edges(x)
        return edges.sum(-1) if weight is None else (edges * weight).sum(-1)

    def with_silu(self, x: Tensor, weight: Tensor, base: Tensor | None, bias: Tensor | None) -> Tensor | None:
        """A layer with its SiLU branch and output bias in one call, or ``None`` where there is none.

        Args:
            x: (..., n).
            weight: (m, n) edge weights.
            base: (m, n), what the branch is multiplied by; ``None`` means ``weight``.
            bias: (m,).

        Returns:
            (..., m).
        """
        return None

    def edges(self, x: Tensor) -> Tensor:
        """Every edge's value: x (..., n) -> (..., m, n)."""
        raise TypeError(f"{type(self).__name__} must define edges().")

    def config(self) -> dict[str, Any]:
        """Constructor options that rebuild this basis (JSON types only)."""
        raise TypeError(f"{type(self).__name__} must define config().")

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[f²] and E[f'²] over a standard normal input, float64.

        For bases with free amplitude f runs over the K features (shape (K,)); otherwise over edge functions,
        of which a sample is taken when there are many.
        """
        raise TypeError(f"{type(self).__name__} must define moments().")

    def amplitudes(self) -> list[nn.Parameter]:
        """The parameters to which the edge functions are proportional, where the amplitude is free."""
        return list(self.parameters())

    def take(self, outputs: Tensor, inputs: Tensor) -> Basis:
        """The edges (outputs_j, inputs_j) alone, as a basis with one input per edge and one output.

        Parameters that edges shared, such as knots of an input, become each edge's own; those of the whole basis stay
        shared.

        Args:
            outputs: (edges,) whole numbers below m.
            inputs: (edges,) whole numbers below n.

        Raises:
            OptionError: this basis has no single edges to give.
        """
        raise OptionError(f"the basis {self.name!r} cannot give single edges: it does not define take().")

    def refine(self, size: int) -> Basis:
        """A larger basis of the same kind that represents the same functions.

        Where the larger basis does not contain the smaller one the functions are refitted: a
        :class:`~qkan.errors.RefineWarning` is given, and ``refine_residual`` of the result tells the relative change.

        Raises:
            RefineError: the function cannot be preserved; the message says why.
        """
        raise RefineError(f"a {self.name} basis cannot be refined to {size} without changing its functions.")

    def update_grid(self, x: Tensor | np.ndarray, grid_eps: float = 0.02) -> GridUpdate:
        """Move the grid to samples x (..., n) and keep the functions there, in place, where a basis has such a grid.

        Raises:
            OptionError: it has none.
        """
        able = ", ".join(repr(name) for name in names() if get(name).adapts_grid)
        raise OptionError(f"the basis {self.name!r} has no grid to update; a basis that has one is {able}.")

    def matmul_flops(self, rows: int) -> int:
        """Floating-point operations in matrix products of one forward pass over ``rows`` rows."""
        return 0

    def route(self, x: Tensor) -> tuple[str, str | None]:
        """How ``forward`` computes for inputs like ``x``: the path's name, and why plain PyTorch runs it.

        The reason is ``None`` where a compiled kernel runs. See :func:`qkan.kernels.explain`.
        """
        name = "features times coefficients" if self.folds else "edge by edge"
        return name, f"there is no compiled kernel for the basis {self.name!r}"

    # -- constants that follow the module's dtype and device ---------------------------------------------

    def constants(self) -> dict[str, np.ndarray]:
        """Arrays fixed by the options. They become buffers, recomputed from float64 whenever the dtype changes."""
        return {}

    def build_constants(self, dtype: torch.dtype | None = None) -> None:
        """(Re)build the buffers of :meth:`constants` on the parameters' device, by default in their dtype."""
        like = next(self.parameters())
        dtype = dtype or accumulation_dtype(like.dtype)
        for name, value in self.constants().items():
            tensor = torch.as_tensor(value, dtype=dtype, device="cpu").to(like.device)
            self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Basis:
        super()._apply(fn, recurse)
        self.build_constants()
        return self

    # -- helpers -----------------------------------------------------------------------------------------

    def check_input(self, x: Tensor) -> Tensor:
        """Return x, or raise unless it is floating point with last dimension ``in_features``."""
        if not x.is_floating_point():
            raise OptionError(f"input of dtype {x.dtype} must be floating point, such as torch.float32.")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(f"input of shape {tuple(x.shape)} must have {self.in_features} as its last dimension.")
        return x

    def extra_repr(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{self.in_features} -> {self.out_features}, {shown}"


class FeatureBasis(Basis):
    """A basis of the form φ_oi(x) = Σ_k B_k(x) C_oik: the layer is one matrix product."""

    num_features: int
    folds = True

    def features(self, x: Tensor) -> Tensor:
        """B_k(x_i): (..., n) -> (..., n, K). Half-precision input is evaluated in float32."""
        work = x.to(accumulation_dtype(x.dtype))
        return self.evaluate(work).to(x.dtype)

    def evaluate(self, x: Tensor) -> Tensor:
        """The features at x, in the precision of x: (..., n) -> (..., n, K)."""
        raise TypeError(f"{type(self).__name__} must define evaluate().")

    def coefficients(self) -> Tensor:
        """C_oik, shape (m, n, K)."""
        raise TypeError(f"{type(self).__name__} must define coefficients().")

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        features = self.features(self.check_input(x))
        coefficients = self.coefficients()
        if weight is not None:
            coefficients = dispatch.scaled(coefficients, weight)
        return functional.linear(features.flatten(-2), coefficients.flatten(-2))

    def edges(self, x: Tensor) -> Tensor:
        return torch.einsum("...nk,mnk->...mn", self.features(self.check_input(x)), self.coefficients())

    def matmul_flops(self, rows: int) -> int:
        return 2 * rows * self.in_features * self.num_features * self.out_features


class ClassicalBasis(FeatureBasis):
    """A feature basis whose coefficients are free parameters.

    Features with trainable parameters of their own register them in ``add_shape_parameters`` and bring them to the
    dtype and device of x in ``evaluate``.

    ``coef`` is drawn from a normal distribution such that E[φ²] = 1/n for standard-normal input, so that Σ_i φ_oi
    has a standard deviation of about 1 at every width n. Feature k receives the relative size ``profile()[k]``.
    """

    free_amplitude = True

    def __init__(self, in_features: int, out_features: int, num_features: int, seed: int | None):
        super().__init__(in_features, out_features)
        self.num_features = num_features
        self.coef = nn.Parameter(torch.empty(out_features, in_features, num_features))
        self.add_shape_parameters()
        self.build_constants(torch.float64)
        self._moments = self._compute_moments()
        self.build_constants()
        self.reset_parameters(seed)

    def add_shape_parameters(self) -> None:
        """Register trainable parameters other than the coefficients; called once, before these are drawn."""

    def amplitudes(self) -> list[nn.Parameter]:
        return [self.coef]

    def profile(self) -> Tensor:
        """Relative standard deviation of each feature's coefficient at initialisation, shape (K,), float64."""
        return torch.ones(self.num_features, dtype=torch.float64, device="cpu")

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw fresh coefficients from a local generator."""
        profile = self.profile()
        power = (profile**2 * self.moments()[0]).sum()
        std = profile / torch.sqrt(self.in_features * power)
        with torch.no_grad():
            noise = torch.randn(self.coef.shape, generator=generator(seed), device="cpu")
            self.coef.copy_(noise * std.to(noise.dtype))

    def coefficients(self) -> Tensor:
        return self.coef

    def moments(self) -> tuple[Tensor, Tensor]:
        trains_shape = any(parameter is not self.coef for parameter in self.parameters())
        return self._compute_moments() if trains_shape else self._moments

    def _compute_moments(self, nodes: int = 4000) -> tuple[Tensor, Tensor]:
        """Moments of the features; where inputs have features of their own, the mean over inputs."""
        points, weights = normal_nodes(nodes)
        found = slopes_of(self.evaluate, points.to(self.coef.device).unsqueeze(-1))
        value, slope = (torch.einsum("p,pnk->k", weights, v.cpu() ** 2) / v.shape[1] for v in found)
        return value, slope

    def take(self, outputs: Tensor, inputs: Tensor) -> Basis:
        cls: Any = type(self)
        taken = cls(len(inputs), 1, **self.config() | self.options_of(len(inputs)), seed=0).to(self.coef)
        with torch.no_grad():
            taken.load_state_dict(self.state_dict() | self.state_of(outputs, inputs))
        return taken

    def options_of(self, edges: int) -> dict[str, Any]:
        """Options that differ in a basis of so many single edges; see :meth:`take`."""
        return {}

    def state_of(self, outputs: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        """The parts of the state dict that belong to single edges or inputs, for those of :meth:`take`."""
        return {"coef": self.coef[outputs, inputs].unsqueeze(0)}

    def padded(self, option: str, size: int, kept: Tensor) -> Any:
        """A larger basis of the same kind whose features at the indices ``kept`` are those of this one.

        The added coefficients are zero.

        Raises:
            RefineError: ``size`` is below the present value of ``option``.
        """
        present = getattr(self, option)
        if check_positive(option, size) < present:
            raise RefineError(f"{option}={size} is below the present {present}; refining only enlarges.")
        cls: Any = type(self)
        larger = cls(self.in_features, self.out_features, **{**self.config(), option: size}, seed=0)
        return enlarged(self, larger, kept)


def enlarged(old: ClassicalBasis, larger: Any, kept: Tensor | None = None) -> Any:
    """``larger`` with the parameters of ``old``, and with coefficients of zero for the features it has beyond.

    Args:
        old: a basis.
        larger: one of the same kind with more features; it moves to the dtype and device of ``old``.
        kept: indices of the features of ``old`` in ``larger``; by default they come first. Other parameters that have
            one number for every feature are copied to the same places.
    """
    larger.to(old.coef)
    places = torch.arange(old.num_features, device="cpu") if kept is None else kept
    with torch.no_grad():
        larger.coef.zero_()
        for name, parameter in old.named_parameters():
            dict(larger.named_parameters())[name][..., places.to(parameter.device)] = parameter
    return larger
