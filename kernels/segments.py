"""What lies between the data gates of a circuit, edge by edge, in plain PyTorch; what the CUDA kernels are fed with.

Between two data gates the angles do not depend on the row, so the gates there are one 3x3 rotation. Both functions cost
as much as the parameters have elements, however large the batch is.

Angles are in radians.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qkan.kernels.program import Program

#: The two coordinates that a rotation about x, y, z turns into each other, in order.
_PLANES = ((1, 2), (2, 0), (0, 1))


def _fixed_angle(program: Program, g: int, theta: Tensor) -> Tensor:
    """The part of a rotation's angle that does not depend on the data, (...,)."""
    index = int(program.theta[g])
    constant = theta.new_full((), float(program.const[g]))
    return constant.expand(theta.shape[:-1]) if index < 0 else theta[..., index] + constant


def _turn(vectors: list[Tensor], axis: int, angle: Tensor) -> None:
    """Rotate three coordinates about one axis, in place of the list."""
    p, q = _PLANES[axis]
    sine, cosine = torch.sin(angle), torch.cos(angle)
    a, b = vectors[p], vectors[q]
    if a.dim() > angle.dim():
        sine, cosine = sine.unsqueeze(-1), cosine.unsqueeze(-1)
    vectors[p], vectors[q] = a * cosine - b * sine, a * sine + b * cosine


def matrices(program: Program, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations before, between and after the data gates, and the data gates' own constant angles.

    Args:
        program: the circuit.
        theta: (..., P).

    Returns:
        (..., L+1, 3, 3), and (..., L) by place in the circuit.
    """
    identity = torch.eye(3, dtype=theta.dtype, device=theta.device).expand(*theta.shape[:-1], 3, 3)
    found, angles, rows = [], [], list(identity.unbind(-2))
    for g, axis in enumerate(program.axes):
        if program.data[g] < 0:
            _turn(rows, int(axis), _fixed_angle(program, g, theta))
            continue
        found.append(torch.stack(rows, -2))
        angles.append(_fixed_angle(program, g, theta))
        rows = list(identity.unbind(-2))
    return torch.stack([*found, torch.stack(rows, -2)], -3), torch.stack(angles, -1)


def angle_gradients(program: Program, theta: Tensor, torques: Tensor) -> Tensor:
    """Gradient with respect to theta (..., P) from the sums over rows of v × λ, (..., L+1, 3).

    The first torque is known after the first rotation and is turned back; the others are known after the data gate
    before theirs and are turned forth.

    Args:
        program: the circuit in numbers.
        theta: (..., P).
        torques: (..., L+1, 3).
    """
    gradient = torch.zeros_like(theta)
    lead = int((program.data >= 0).argmax())
    torque = list(torques[..., 0, :].unbind(-1))
    for g in range(lead - 1, -1, -1):
        _collect(program, g, torque, gradient)
        _turn(torque, int(program.axes[g]), -_fixed_angle(program, g, theta))
    row = 0
    for g in range(lead, len(program.axes)):
        if program.data[g] >= 0:
            row += 1
            torque = list(torques[..., row, :].unbind(-1))
        else:
            _turn(torque, int(program.axes[g]), _fixed_angle(program, g, theta))
        _collect(program, g, torque, gradient)
    return gradient


def _collect(program: Program, g: int, torque: list[Tensor], gradient: Tensor) -> None:
    index = int(program.theta[g])
    if index >= 0:
        gradient[..., index] += torque[int(program.axes[g])]
