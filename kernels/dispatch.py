"""Which implementation runs: the compiled one where it applies, else the reference.

Set the environment variable ``QKAN_KERNELS=reference`` to use plain PyTorch everywhere.

Angles are in radians, frequencies in radians per unit of the input; with ``arccos`` the two make a cosine.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from qkan.errors import OptionError
from qkan.kernels import (
    edge_ops,
    lstm_ops,
    node_ops,
    ops,
    rational_ops,
    recurrence_ops,
    spectral,
    spline_layer,
    spline_ops,
)
from qkan.kernels import node_matrix as node_matrix_module
from qkan.kernels import rational as rational_module
from qkan.kernels.reference import accumulation_dtype, cox_de_boor

#: The environment variable that switches compiled kernels off.
VARIABLE = "QKAN_KERNELS"
_FAILURES: dict[str, str | None] = {}


def reason_for_reference(dtype: torch.dtype, device: torch.device, *, on_cuda: bool = False) -> str | None:
    """Why plain PyTorch runs for this dtype and device, or ``None`` if a compiled kernel does.

    Args:
        dtype: of the computation, that of inputs and parameters promoted.
        device: where the tensors are.
        on_cuda: whether the computation has a CUDA kernel (per edge; the node route is matrix products there).

    Raises:
        OptionError: the environment variable holds an unknown value.
    """
    chosen = os.environ.get(VARIABLE, "auto")
    if chosen not in ("auto", "reference"):
        raise OptionError(f"{VARIABLE}={chosen!r} is not known; choose 'auto' or 'reference'.")
    if chosen == "reference":
        return f"{VARIABLE}=reference"
    if dtype != torch.float32 and accumulation_dtype(dtype) != torch.float32:
        return f"{dtype} is computed exactly, by the reference"
    if not torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active():
            return "a torch.func transform is active"
        if torch._C._len_torch_dispatch_stack() > 0 and _operations_are_counted():
            return "matrix products are being counted"
    kind = device.type
    if kind == "cpu":
        return _failure("numba_cpu")
    if kind == "cuda" and on_cuda:
        return _failure("bloch_triton")
    return f"there is no compiled kernel for this on {kind}"


def _operations_are_counted() -> bool:
    """Whether a ``FlopCounterMode`` is active; it knows the products of PyTorch, not those inside of a kernel."""
    counter = getattr(sys.modules.get("torch.utils.flop_counter"), "_FlopCounterMode", ())
    return any(isinstance(mode, counter) for mode in _get_current_dispatch_mode_stack())


def _failure(module: str) -> str | None:
    """Load compiled kernels once; if they cannot be loaded, warn once and say why."""
    if module not in _FAILURES:
        _FAILURES[module] = None
        try:
            importlib.import_module(f"qkan.kernels.{module}")
        except (ImportError, RuntimeError) as error:  # RuntimeError: no folder for the machine code can be written
            _FAILURES[module] = f"the compiled kernels cannot be loaded ({error})"
            warnings.warn(f"{_FAILURES[module]}; plain PyTorch is used instead.", RuntimeWarning, stacklevel=2)
    return _FAILURES[module]


# What torch.compiler.assume_constant_result does, without its import of the compiler and, where installed, of Triton.
_failure._dynamo_marked_constant = True  # type: ignore[attr-defined]


def explain(module: nn.Module, x: Tensor) -> str:
    """Which path every layer of ``module`` takes for inputs of the type, device and leading shape of ``x``, and why.

    One line per basis in the module, or per recurrent cell with all that is in it; they tell their path by a method
    ``route(x)``.

    Args:
        module: with bases or recurrent cells somewhere inside.
        x: inputs (..., n), of which type, device and shape count.
    """
    lines: list[str] = []
    inside: set[int] = set()
    for name, part in module.named_modules():
        if hasattr(part, "route") and id(part) not in inside:
            inside.update(id(inner) for inner in part.modules())
            path, reason = part.route(x)
            how = "a compiled kernel" if reason is None else f"plain PyTorch, because {reason}"
            lines.append(f"{name or type(part).__name__}: {path}; computed by {how}")
    return "\n".join(lines)


def harmonics(u: Tensor, degree: int) -> Tensor:
    """See :func:`qkan.kernels.spectral.harmonics`."""
    if reason_for_reference(u.dtype, u.device) is not None:
        return spectral.harmonics(u, degree)
    return ops.harmonics(u.to(torch.float32), degree).to(u.dtype)


#: Fewer numbers than this are not worth the call of a compiled pass over them.
_WIDE = 2**14


def cubic(x: Tensor, first: float, step: float, count: int) -> Tensor:
    """Cubic B-splines with middles first, first + step, …: x (...) -> (..., count).

    See :func:`qkan.kernels.spline.uniform_cubic`.
    """
    if x.dtype != torch.float32 or spline_reason(x, 3, True, count) is not None:
        return spline_ops.cubic_reference(x, first, step, count)
    return spline_ops.cubic(x, first, step, count)


def splines(x: Tensor, knots: Tensor, k: int, spacing: tuple[float, float] | None) -> Tensor:
    """B-splines of degree k at x (..., n): (..., n, K).

    Args:
        x: positions.
        knots: (K + k + 1,) for all inputs or (n, K + k + 1).
        k: degree.
        spacing: the middle of the first cubic spline and the distance of the knots where these are equally spaced and
            common to all inputs; else ``None``, and the Cox-de Boor recursion runs, which takes any knots.
    """
    if spacing is None or k != 3:
        return cox_de_boor(x, knots, k)
    return cubic(x, *spacing, knots.shape[-1] - k - 1)


def spline_reason(x: Tensor, k: int, uniform: bool, count: int) -> str | None:
    """Why plain PyTorch computes ``count`` splines at x, or ``None`` where a compiled pass does.

    Half-precision positions are computed in float32.

    Args:
        x: positions, any shape.
        k: degree.
        uniform: whether the knots are equally spaced.
        count: splines.
    """
    if not uniform:
        return "the compiled passes take equally spaced knots"
    if k != 3:
        return f"the compiled passes are for splines of degree 3, not {k}"
    if accumulation_dtype(x.dtype) == torch.float32 and x.numel() * count < _WIDE:
        return "there is too little to compute"
    return reason_for_reference(x.dtype, x.device)


def reason_for_plain_rational(x: Tensor) -> str | None:
    """Why plain PyTorch computes the rational functions of x (..., n), or ``None`` if a compiled kernel does."""
    if x.device.type == "cpu" and x.numel() < _WIDE:
        return f"{x.numel()} numbers are fewer than {_WIDE}"
    return reason_for_reference(x.dtype, x.device, on_cuda=True)


def group_rational(x: Tensor, numerator: Tensor, denominator: Tensor, form: str) -> Tensor:
    """Rational functions of groups of features, x (..., n) -> (..., n).

    See :func:`qkan.kernels.rational.group_rational`.
    """
    if reason_for_plain_rational(x) is not None:
        return rational_module.group_rational(x, numerator, denominator, form)
    return rational_ops.rational(x, _single(numerator), _single(denominator), form)


def scaled(coefficients: Tensor, weight: Tensor) -> Tensor:
    """Coefficients (m, n, K) times edge weights (m, n).

    Args:
        coefficients: (m, n, K).
        weight: (m, n).
    """
    both = coefficients.dtype == weight.dtype == torch.float32 and coefficients.numel() >= _WIDE
    if not both or reason_for_reference(weight.dtype, weight.device) is not None:
        return coefficients * weight.unsqueeze(-1)
    return spline_ops.scaled(coefficients, weight)


#: Fewer multiply-adds than this are not worth the import of a compiled pass.
LEAST_WORK = 2**17


def _direct(*tensors: Tensor) -> bool:
    """Whether compiled passes may take these tensors as they are: all in float32 on the CPU, and nothing traces."""
    return (
        not torch.compiler.is_compiling()
        and all(tensor.dtype == torch.float32 and tensor.device == tensors[0].device for tensor in tensors)
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch.is_autocast_enabled(tensors[0].device.type)
        and reason_for_reference(tensors[0].dtype, tensors[0].device) is None
    )


def lstm(x: Tensor, activation: str, *weights: Tensor) -> Tensor | None:
    """Outputs (T, N, d H) of an LSTM with dense gates for x (T, N, n); see :func:`qkan.kernels.lstm_ops.reference`.

    ``None`` where no kernel applies, where something traces, or where there is too little to compute.
    """
    if not _direct(x, *weights) or x.shape[:-1].numel() * sum(tensor.numel() for tensor in weights) < LEAST_WORK:
        return None
    return lstm_ops.Lstm.apply(x.contiguous(), activation, *weights)


def spline_sum(
    x: Tensor, coefficients: Tensor, scale: Tensor, base: Tensor | None, bias: Tensor | None, grid: spline_layer.Grid
) -> Tensor | None:
    """A layer of cubic splines with a SiLU branch, x (..., n) -> (..., m); see :func:`spline_layer.reference`.

    ``None`` where no kernel applies, where something traces, or where there is too little to compute.
    """
    if not spline_sum_applies(*(tensor for tensor in (x, coefficients, scale, base, bias) if tensor is not None)):
        return None
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])  # views cost as much as a small layer
    found = spline_layer.SplineLayer.apply(rows.contiguous(), coefficients, scale, base, bias, grid)
    return found if x.dim() == 2 else found.view(*x.shape[:-1], len(scale))


def spline_sum_applies(x: Tensor, coefficients: Tensor, *others: Tensor) -> bool:
    """Whether :func:`spline_sum` computes a layer of these coefficients (m, n, K) for x (..., n)."""
    return _direct(x, coefficients, *others) and x.shape[:-1].numel() * coefficients.numel() >= LEAST_WORK


def coefficients(theta: Tensor, recipe: str) -> Tensor | None:
    """Fourier coefficients of ⟨Z⟩ by a compiled kernel in float32: theta (..., P) -> (..., K).

    ``None`` where no kernel applies: the caller then has the nodes on the right device.

    Args:
        theta: (..., P).
        recipe: circuit and nodes as text, from :func:`qkan.kernels.node_ops.recipe`.
    """
    if reason_for_reference(theta.dtype, theta.device) is not None:
        return None
    return ops.coefficients(theta.to(torch.float32), recipe)


def node_layer(u: Tensor, theta: Tensor, weight: Tensor | None, out_features: int, recipe: str) -> Tensor:
    """Σ_i weight_oi φ_oi at data angles u (B, n) or (B, n, L), by nodes and one matrix product; float32 on the CPU.

    See :func:`qkan.kernels.node_ops.node_layer`.
    """
    weight = None if weight is None else _single(weight)
    return node_ops.run(_single(u), _single(theta), weight, out_features, recipe)


def node_matrix(
    theta: Tensor, weight: Tensor | None, base: Tensor | None, bias: Tensor | None, shape: tuple[int, int], recipe: str
) -> tuple[Tensor, Tensor] | None:
    """Matrix and bias of a layer of circuits, see :mod:`qkan.kernels.node_matrix`; float32 on the CPU.

    ``None`` where no kernel applies, or where something traces.

    Args:
        theta: (m, n, P) or (groups, P).
        weight: (m, n) edge scales, or ``None`` for 1.
        base: (m, n) weights of the base branch, or ``None``.
        bias: (m,), or ``None``.
        shape: (m, n).
        recipe: circuit and nodes as text, from :func:`qkan.kernels.node_ops.recipe`.
    """
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    if traced or theta.dtype != torch.float32 or reason_for_reference(theta.dtype, theta.device) is not None:
        return None
    return node_matrix_module.NodeMatrix.apply(theta, weight, base, bias, shape, recipe)


def recurrence(
    x: Tensor,
    state: tuple[Tensor, ...],
    matrix: Tensor,
    bias: Tensor,
    encode: Tensor | None,
    lengths: Tensor | None,
    kind: recurrence_ops.Kind,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps of an LSTM or GRU in one call, in float32 on the CPU: outputs (T, B, H) and the last state.

    See :func:`qkan.kernels.recurrence_ops.recurrence`.
    """
    hidden, cell = _single(state[0]), _single(state[-1])
    encode = None if encode is None else _single(encode)
    found = recurrence_ops.run(_single(x), hidden, cell, _single(matrix), _single(bias), encode, lengths, kind)
    out, *last = (tensor if tensor.dtype == x.dtype else tensor.to(x.dtype) for tensor in found)
    return out, tuple(last[: len(state)])


def _single(tensor: Tensor) -> Tensor:
    """In float32; asking first is quicker than a conversion that converts nothing."""
    return tensor if tensor.dtype == torch.float32 else tensor.to(torch.float32)


def edge_sum(
    gates: str,
    x: Tensor,
    theta: Tensor,
    frequency: Tensor,
    shift: Tensor,
    weight: Tensor,
    readout: str,
    arccos: bool,
) -> Tensor:
    """Σ_i weight_oi φ_oi(x_i), x (N, n) -> (N, m), a circuit for every edge, in float32.

    See :func:`reference.edge_sum`.
    """
    single = torch.float32
    data = frequency.to(single), shift.to(single)
    return edge_ops.edge_sum(x.to(single), theta.to(single), *data, weight.to(single), gates, readout, arccos)


def edge_nodes(x: Tensor, theta: Tensor, frequency: Tensor, readout: str, arccos: bool) -> int:
    """Nodes between which :func:`edge_sum` interpolates this batch (B, n), 0 where it takes every row.

    Args:
        x: (B, n).
        theta: (m, n, P).
        frequency: (m, n, L) data weights.
        readout: "z" or "amplitude".
        arccos: whether the data angle is arccos of w x + b.
    """
    where = edge_ops.interval(x.to(torch.float32), theta, frequency.to(torch.float32), readout, arccos)
    return 0 if where is None else where.nodes
