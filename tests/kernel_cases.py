"""Inputs for the layer kernels, and what the definition makes of them in float64."""

from __future__ import annotations

import numpy as np
import torch

from qkan.circuits import daruan
from qkan.kernels import reference

TOLERANCE = 5e-6


def relative(found: np.ndarray | torch.Tensor, expected: torch.Tensor) -> float:
    """Relative error in the Euclidean norm; 0 if both are empty."""
    found, expected = torch.as_tensor(found).detach().double(), expected.detach()
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def uniform(shape: tuple[int, ...], seed: int, size: float = 1.0) -> torch.Tensor:
    return size * (2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1)


def edge_case(ansatz: str, batch: int, n: int, m: int, reps: int = 2, per_row: bool = False) -> list[torch.Tensor]:
    """x, theta, frequency, shift, weight.

    For "px" the argument of arccos stays inside ±0.9. For "real", a cosine of the sum of all angles, they stay so
    small that |Z| < 0.8.
    """
    small = {"px": 0.45, "real": 0.15}.get(ansatz, 1.5)
    count = daruan(reps, ansatz).num_parameters
    theta = (batch, m, n, count) if per_row else (m, n, count)
    return [
        uniform((batch, n), 1),
        uniform(theta, 2, 0.15 if ansatz == "real" else 3.0),
        uniform((m, n, reps), 3, small),
        uniform((m, n, reps), 4, small),
        uniform((m, n), 5),
    ]


def exact_edge_sum(case, gates, grad, readout, arccos):
    """Output and gradients of the definition in float64."""
    leaves = [tensor.double().requires_grad_() for tensor in case]
    y = reference.edge_sum(gates, *leaves, readout, arccos)
    return [y, *torch.autograd.grad(y, leaves, grad.double())]


def distance_from_poles(case: list[torch.Tensor], gates: tuple, arccos: bool) -> torch.Tensor:
    """Smallest √(1-Z²) of each edge over the rows, (m, n)."""
    x, theta, frequency, shift, _ = case
    u = x[:, None, :, None] * frequency + shift
    z = reference.expectation_z(gates, theta.double(), reference.arccos_angle(u) if arccos else u)
    return (1 - z**2).sqrt().amin(0)


def poisoned(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)
