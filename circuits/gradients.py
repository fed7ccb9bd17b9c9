"""Gradients through any backend by the parameter-shift rule, every shifted circuit of a batch in one submission.

With generator differences of 1 only (rotations, phase shifts, Ising gates), f' = [f(π/2) - f(-π/2)] / 2. Controlled
rotations have differences 1/2 and 1 and take four terms (Schuld et al., Phys. Rev. A 99, 032331 (2019); Wierichs et
al., Quantum 6, 677 (2022)). Angles are shifted one by one as the gates hold them; what they are made of, parameters and
data columns used any number of times, follows by the chain rule. So inputs need no rule of their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.circuits import simulate
from qkan.circuits.backends import Backend
from qkan.circuits.circuit import Circuit
from qkan.circuits.rows import by_angle, free_kinds, rows_of
from qkan.errors import OptionError

_ROOT = math.sqrt(2)
#: (shift, coefficient) pairs by the gate's frequencies.
RULES: dict[tuple[float, ...], tuple[tuple[float, float], ...]] = {
    (1.0,): ((math.pi / 2, 0.5), (-math.pi / 2, -0.5)),
    (0.5, 1.0): (
        (math.pi / 2, (_ROOT + 1) / (4 * _ROOT)),
        (-math.pi / 2, -(_ROOT + 1) / (4 * _ROOT)),
        (3 * math.pi / 2, -(_ROOT - 1) / (4 * _ROOT)),
        (-3 * math.pi / 2, (_ROOT - 1) / (4 * _ROOT)),
    ),
}


def expectations(
    backend: Backend, circuit: Circuit, data: Tensor | None = None, parameters: Tensor | None = None
) -> Tensor:
    """Expectations on a backend, differentiable in data and parameters.

    Args:
        backend: of :func:`qkan.circuits.backends.get`.
        circuit: its observables are what is returned.
        data: (..., D).
        parameters: (..., P), leading shapes broadcast.

    Returns:
        (..., number of observables) in the type of the inputs, on their device.

    The forward pass is one submission of a circuit per row, the backward pass one of two circuits per row and angle, or
    four where the gate is a controlled rotation. On the exact simulator gradients come from the simulation itself.

    Raises:
        OptionError: a gradient with respect to amplitudes is asked for, which no shift rule gives, or the circuit is
            too wide for the backend.
        NonFiniteError: an angle is NaN or infinite.
    """
    if "autograd" in backend.capabilities.gradients and backend.shots is None:
        return simulate.expectations(circuit, data, parameters)
    amplitudes = any(gate.columns for gate in circuit.gates)
    if amplitudes and data is not None and data.requires_grad and torch.is_grad_enabled():
        raise OptionError(
            "amplitudes have no parameter-shift rule; use backend='torch', or inputs that need no gradient."
        )
    rows = rows_of(circuit, data, parameters)
    found = _Measured.apply(rows.reshape(rows.shape[:-1].numel(), rows.shape[-1]), by_angle(circuit), backend)
    return found.reshape(*rows.shape[:-1], len(circuit.observables))


class _Measured(torch.autograd.Function):
    """Rows of angles (N, R) to expectations (N, observables)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, circuit: Circuit, backend: Backend) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.circuit, ctx.backend = circuit, backend
        found = backend.run(circuit, _array(rows))
        return torch.as_tensor(found.values, dtype=rows.dtype, device=rows.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        found = shift_slopes(ctx.backend, ctx.circuit, _array(rows))
        slopes = torch.as_tensor(found, dtype=rows.dtype, device=rows.device)
        of_rows = torch.zeros_like(rows)
        of_rows[:, : slopes.shape[1]] = (slopes * grad[:, None]).sum(-1)
        return of_rows, None, None


def shift_slopes(backend: Backend, circuit: Circuit, rows: np.ndarray) -> np.ndarray:
    """Derivatives of every expectation with respect to every angle, from one submission.

    Args:
        backend: where the shifted circuits run.
        circuit: as :func:`qkan.circuits.rows.by_angle` makes it, with A angles.
        rows: (N, R), angles first.

    Returns:
        (N, A, number of observables).
    """
    terms = [
        (column, shift, factor)
        for column, frequencies in enumerate(free_kinds(circuit))
        for shift, factor in RULES[frequencies]
    ]
    shifted = np.repeat(rows[None], len(terms), axis=0)
    for place, (column, shift, _) in enumerate(terms):
        shifted[place, :, column] += shift
    found = backend.run(circuit, shifted.reshape(len(terms) * len(rows), rows.shape[1])).values
    values = found.reshape(len(terms), len(rows), len(circuit.observables))
    slopes = np.zeros((len(rows), len(free_kinds(circuit)), len(circuit.observables)))
    for value, (column, _, factor) in zip(values, terms, strict=True):
        slopes[:, column] += factor * value
    return slopes


def _array(rows: Tensor) -> np.ndarray:
    return rows.detach().to("cpu", torch.float64).numpy()
