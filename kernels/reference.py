"""Plain PyTorch definitions, clean in float64: what every fast path is compared with.

DARUAN: Jiang et al., arXiv 2509.14026; the Bloch recursion is the SO(3) form of its circuit. Splines: de Boor, A
Practical Guide to Splines (2001), chapter IX.

Angles are in radians, frequencies in radians per unit of the input; with ``arccos`` the two make a cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: One gate of a one-qubit circuit as plain data: ``(axis, source, value)``. ``axis`` is "x", "y" or "z";
#: ``source`` says where the angle comes from: "theta" (value: index into the trainable angles), "data"
#: (value: index of the repetition) or "const" (value: the angle in radians).
Gate = tuple[str, str, float]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Float32 for the half-precision types, else ``dtype``: angles lose all meaning in 8 bits of mantissa."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def rotate(vector: tuple[Tensor, Tensor, Tensor], axis: str, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate a Bloch vector by ``angle`` radians about one axis (the map v -> U v U† of R_axis(angle)), elementwise."""
    x, y, z = vector
    cos, sin = torch.cos(angle), torch.sin(angle)
    if axis == "z":
        return x * cos - y * sin, x * sin + y * cos, z
    if axis == "y":
        return x * cos + z * sin, y, z * cos - x * sin
    return x, y * cos - z * sin, y * sin + z * cos


def expectation_z(gates: Sequence[Gate], theta: Tensor, angles: Tensor) -> Tensor:
    """⟨Z⟩ of a one-qubit circuit that starts in |+⟩, by the real Bloch recursion.

    Args:
        gates: the circuit, first gate first.
        theta: trainable angles, shape (..., P), in radians.
        angles: data angles, shape (..., L), in radians. Leading shapes of both broadcast.

    Returns:
        ⟨Z⟩ in [-1, 1], of the broadcast leading shape. Half-precision input is computed in float32.
    """
    dtype = torch.promote_types(theta.dtype, angles.dtype)
    work = accumulation_dtype(dtype)
    theta, angles = theta.to(work), angles.to(work)
    one = torch.ones((), dtype=work, device=theta.device)
    vector = (one, torch.zeros_like(one), torch.zeros_like(one))
    for axis, source, value in gates:
        if source == "theta":
            angle = theta[..., int(value)]
        elif source == "data":
            angle = angles[..., int(value)]
        else:
            angle = torch.full_like(one, value)
        vector = rotate(vector, axis, angle)
    shape = torch.broadcast_shapes(theta.shape[:-1], angles.shape[:-1])
    return vector[2].expand(shape).to(dtype)


def amplitude_readout(z: Tensor) -> Tensor:
    """|α| - |β| as a function of ⟨Z⟩, elementwise: sign(Z)·√(1 - √(1 - Z²)), without cancellation at Z = 0.

    The slope at |Z| = 1 is infinite; it is capped there so that gradients stay finite.
    """
    work = z.to(accumulation_dtype(z.dtype))
    floor = torch.finfo(work.dtype).eps
    root = torch.sqrt((1 - work * work).clamp_min(floor))
    return (work / torch.sqrt(1 + root)).to(z.dtype)


def cox_de_boor(x: Tensor, knots: Tensor, k: int) -> Tensor:
    """B-spline basis of degree ``k`` by the Cox-de Boor recursion.

    Args:
        x: positions, any shape.
        knots: increasing knots t_0 … t_{K+k}, shape (K + k + 1,), or (n, K + k + 1) where every entry of the last
            dimension of x has knots of its own.
        k: degree.

    Returns:
        The K basis functions at x, shape ``(*x.shape, K)``. They sum to 1 between t_k and t_K, and vanish
        outside the knots.
    """
    x = x.unsqueeze(-1)
    basis = ((x >= knots[..., :-1]) & (x < knots[..., 1:])).to(x.dtype)
    for degree in range(1, k + 1):
        low, high = knots[..., : -(degree + 1)], knots[..., degree + 1 :]
        rising = (x - low) / (knots[..., degree:-1] - low)
        falling = (high - x) / (high - knots[..., 1:-degree])
        basis = rising * basis[..., :-1] + falling * basis[..., 1:]
    return basis


def edge_sum(
    gates: Sequence[Gate],
    x: Tensor,
    theta: Tensor,
    frequency: Tensor,
    shift: Tensor,
    weight: Tensor,
    readout: str = "z",
    arccos: bool = False,
) -> Tensor:
    """Σ_i weight_oi φ_oi(x_i), every edge its own circuit with data angles frequency_oil x_i + shift_oil.

    Args:
        gates: the circuit.
        x: (B, n).
        theta: trainable angles, (m, n, P), or (B, m, n, P) where every row has circuits of its own.
        frequency: (m, n, L).
        shift: (m, n, L).
        weight: (m, n).
        readout: "z" or "amplitude".
        arccos: the data angle is arccos(frequency x + shift), clamped to its domain, as "px" takes it.

    Returns:
        (B, m). This definition builds (B, m, n) tensors; the kernels do not.
    """
    u = x[:, None, :, None] * frequency + shift
    if arccos:
        u = arccos_angle(u)
    z = expectation_z(gates, theta, u)
    return ((amplitude_readout(z) if readout == "amplitude" else z) * weight).sum(-1)


def arccos_angle(u: Tensor) -> Tensor:
    """Arccos u in radians, elementwise, for u clamped to one rounding unit inside ±1, where its slope is infinite."""
    limit = 1 - torch.finfo(u.dtype).eps
    return torch.acos(u.clamp(-limit, limit))
