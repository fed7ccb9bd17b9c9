"""Inputs for the rational kernels, and what the definition makes of them in float64."""

from __future__ import annotations

import torch
from kernel_cases import uniform

from qkan.kernels.rational import group_rational

#: Rows, features, groups, whether groups share the numerator, degrees.
CASES = [
    (1, 1, 1, True, (5, 4)),
    (63, 9, 3, True, (5, 4)),
    (97, 30, 2, False, (5, 4)),
    (33, 7, 7, False, (6, 5)),
    (1000, 17, 1, True, (5, 4)),
    (9, 2 * 131, 2, True, (3, 1)),
]


def rational_case(rows, features, groups, shared, degrees):
    """x, numerator and denominator; coefficients that are 0 and numbers that are 0 among them."""
    top, bottom = degrees
    tables = uniform((1 if shared else groups, top + 1), 2), uniform((groups, bottom), 3)
    x = uniform((rows, features), 1, 4.0)
    x[0, 0] = tables[1][0, 0] = 0.0
    return [x, *tables]


def exact_rational(case, form, grad):
    """Output and gradients of the definition in float64."""
    leaves = [tensor.double().requires_grad_() for tensor in case]
    y = group_rational(*leaves, form)
    return [y, *torch.autograd.grad(y, leaves, grad.double())]
