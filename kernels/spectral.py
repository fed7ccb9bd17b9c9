"""From what a circuit returns at its nodes to what it returns everywhere.

A one-qubit re-uploading circuit is a trigonometric polynomial in its data angle, so a finite set of nodes fixes
it (design: features times coefficients). Two node sets are used:

* *circle*, one data angle u: 2D+1 equally spaced nodes for degree D;
* *torus*, one angle per repetition φ = (φ_1 … φ_L): the 3^L points of {0, 2π/3, 4π/3}^L, degree 1 in each angle.

On both the cardinal functions are Dirichlet kernels with Σ_k D_k² = 1, so noise in the node values is never
amplified. The working features are harmonics (1, cos, sin): the same function space in an orthogonal basis, which
moves the change of basis from the batch to the coefficients.

Prior art: Schuld, Sweke and Meyer, Phys. Rev. A 103, 032430 (2021); Schreiber, Eisert and Meyer, PRL 131, 100803
(2023).

Angles are in radians.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qkan.kernels.reference import accumulation_dtype


def circle_nodes(degree: int) -> np.ndarray:
    """The 2D+1 equally spaced node angles in [0, 2π), shape (2D+1,)."""
    size = 2 * degree + 1
    return 2 * np.pi * np.arange(size) / size


def torus_nodes(reps: int) -> np.ndarray:
    """The 3^L node angles on the torus, shape (3^L, L); the last angle varies fastest."""
    axes = [circle_nodes(1)] * reps
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, reps)


def circle_transform(degree: int) -> np.ndarray:
    """Matrix F with coefficients = values @ F, shape (2D+1, 2D+1), in the order of :func:`harmonics`."""
    size = 2 * degree + 1
    orders = np.outer(circle_nodes(degree), np.arange(1, degree + 1))
    return np.concatenate([np.ones((size, 1)), 2 * np.cos(orders), 2 * np.sin(orders)], axis=1) / size


def torus_transform(reps: int) -> np.ndarray:
    """Matrix F with coefficients = values @ F on the torus, shape (3^L, 3^L)."""
    matrix = np.ones((1, 1))
    for _ in range(reps):
        matrix = np.kron(matrix, circle_transform(1))
    return matrix


def harmonics(u: Tensor, degree: int) -> Tensor:
    """1, cos u … cos Du, sin u … sin Du. Shape (...) -> (..., 2D+1). Angles of half-precision input are float32.

    Args:
        u: angles, any shape.
        degree: D in the formulas.
    """
    work = u.to(accumulation_dtype(u.dtype)).unsqueeze(-1)
    orders = torch.arange(1, degree + 1, dtype=work.dtype, device=u.device)
    angles = work * orders
    return torch.cat([torch.ones_like(work), torch.cos(angles), torch.sin(angles)], dim=-1).to(u.dtype)


def torus_harmonics(phi: Tensor) -> Tensor:
    """All products of {1, cos φ_l, sin φ_l} over the L angles. Shape (..., L) -> (..., 3^L)."""
    work = phi.to(accumulation_dtype(phi.dtype))
    triples = torch.stack([torch.ones_like(work), torch.cos(work), torch.sin(work)], dim=-1)
    product = triples[..., 0, :]
    for rep in range(1, phi.shape[-1]):
        product = (product.unsqueeze(-1) * triples[..., rep, :].unsqueeze(-2)).flatten(-2)
    return product.to(phi.dtype)


def dirichlet(u: Tensor, degree: int) -> Tensor:
    """Cardinal functions of the circle nodes: D(u - u_k) = (1 + 2 Σ_j cos j(u - u_k)) / (2D+1).

    Shape (...) -> (..., 2D+1). They interpolate exactly (D(u_j - u_k) = δ_jk), sum to 1, and their squares sum to 1.

    Args:
        u: angles, any shape.
        degree: D in the formulas.
    """
    transform = torch.as_tensor(circle_transform(degree), dtype=u.dtype, device=u.device)
    return harmonics(u, degree) @ transform.T


def torus_dirichlet(phi: Tensor) -> Tensor:
    """Cardinal functions of the torus nodes, shape (..., L) -> (..., 3^L)."""
    transform = torch.as_tensor(torus_transform(phi.shape[-1]), dtype=phi.dtype, device=phi.device)
    return torus_harmonics(phi) @ transform.T
