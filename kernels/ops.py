"""The compiled kernels as PyTorch operators: autograd, shape inference and ``torch.compile`` know them.

Gradients of gradients (as physics-informed training takes) go through the reference, which is differentiable to any
order.

Angles are in radians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.kernels import node_ops, spectral


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _grad_by_reference(function: Any, x: Tensor, grad: Tensor) -> Tensor:
    """A gradient that can itself be differentiated."""
    return torch.autograd.grad(function(x), x, grad, create_graph=True)[0]


# -- harmonics -----------------------------------------------------------------------------------------------------


@torch.library.custom_op("qkan::harmonics", mutates_args=(), device_types="cpu")
def harmonics(angles: Tensor, degree: int) -> Tensor:
    """1, cos u … cos Du, sin u … sin Du; float32, (...) -> (..., 2D+1).

    Args:
        angles: u, any shape.
        degree: D in the formulas.
    """
    from qkan.kernels import numba_cpu

    out = angles.new_empty(*angles.shape, 2 * degree + 1)
    flat = _array(angles).reshape(-1)
    work = 4 * flat.size * degree
    numba_cpu.run(
        numba_cpu.HARMONICS, work, torch.get_num_threads(), flat, out.numpy().reshape(-1, 2 * degree + 1), degree
    )
    return out


@harmonics.register_fake
def _(angles: Tensor, degree: int) -> Tensor:
    return angles.new_empty(*angles.shape, 2 * degree + 1)


@torch.library.custom_op("qkan::harmonics_backward", mutates_args=(), device_types="cpu")
def harmonics_backward(grad: Tensor, features: Tensor, degree: int) -> Tensor:
    """Gradient with respect to the angles, from the features computed in the forward pass.

    Args:
        grad: (..., 2D+1).
        features: (..., 2D+1).
        degree: D in the formulas.
    """
    from qkan.kernels import numba_cpu

    size = 2 * degree + 1
    out = features.new_empty(features.shape[:-1])
    flat = _array(grad).reshape(-1, size), _array(features).reshape(-1, size), out.numpy().reshape(-1)
    numba_cpu.run(numba_cpu.HARMONICS_BACKWARD, 2 * out.numel() * degree, torch.get_num_threads(), *flat, degree)
    return out


@harmonics_backward.register_fake
def _(grad: Tensor, features: Tensor, degree: int) -> Tensor:
    return features.new_empty(features.shape[:-1])


def _save_harmonics(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)
    ctx.degree = inputs[1]


def _differentiate_harmonics(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    angles, features = ctx.saved_tensors
    if torch.is_grad_enabled():
        return _grad_by_reference(lambda u: spectral.harmonics(u, ctx.degree), angles, grad), None
    return harmonics_backward(grad, features, ctx.degree), None


harmonics.register_autograd(_differentiate_harmonics, setup_context=_save_harmonics)


# -- circuit coefficients ------------------------------------------------------------------------------------------


@torch.library.custom_op("qkan::coefficients", mutates_args=(), device_types="cpu")
def coefficients(theta: Tensor, text: str) -> Tensor:
    """Fourier coefficients of ⟨Z⟩: theta (..., P) -> (..., K), float32; ``text`` is a recipe (see ``node_ops``)."""
    from qkan.kernels import node_layer_cpu, numba_cpu

    read = node_ops.tables(text)
    out = theta.new_empty(*theta.shape[:-1], len(read.transform))
    node_layer_cpu.run_circuits(numba_cpu.COEFFICIENTS, (), read, theta.detach().contiguous(), out)
    return out


@coefficients.register_fake
def _(theta: Tensor, text: str) -> Tensor:
    return theta.new_empty(*theta.shape[:-1], len(node_ops.tables(text).transform))


@torch.library.custom_op("qkan::coefficients_backward", mutates_args=(), device_types="cpu")
def coefficients_backward(grad: Tensor, theta: Tensor, text: str) -> Tensor:
    """Gradient with respect to theta, by the reversible adjoint.

    Args:
        grad: (..., K).
        theta: (..., P).
        text: circuit and nodes, from :func:`qkan.kernels.node_ops.recipe`.
    """
    from qkan.kernels import node_layer_cpu, numba_cpu

    out = theta.new_empty(theta.shape)
    flat = _array(grad).reshape(-1, grad.shape[-1])
    read, angles = node_ops.tables(text), theta.detach().contiguous()
    node_layer_cpu.run_circuits(numba_cpu.COEFFICIENTS_BACKWARD, (flat,), read, angles, out)
    return out


@coefficients_backward.register_fake
def _(grad: Tensor, theta: Tensor, text: str) -> Tensor:
    return theta.new_empty(theta.shape)


def _save_coefficients(ctx: Any, inputs: Any, output: Tensor) -> None:
    theta, ctx.text = inputs
    ctx.save_for_backward(theta)


def _differentiate_coefficients(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (theta,) = ctx.saved_tensors
    if torch.is_grad_enabled():
        return _grad_by_reference(lambda angles: node_ops.coefficients_reference(angles, ctx.text), theta, grad), None
    return coefficients_backward(grad, theta, ctx.text), None


coefficients.register_autograd(_differentiate_coefficients, setup_context=_save_coefficients)
