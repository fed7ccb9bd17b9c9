"""The closed form of cubic B-splines against the recursion."""

from __future__ import annotations

import pytest
import torch

from qkan.kernels.reference import cox_de_boor
from qkan.kernels.spline import uniform_cubic


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-15), (torch.float32, 2e-6)])
@pytest.mark.parametrize("grid", [1, 5, 20])
def test_values_and_gradients(grid, dtype, tolerance):
    step = 2.0 / grid
    knots = -1 + step * torch.arange(-3, grid + 4, dtype=dtype)
    x = torch.linspace(-1.7, 1.7, 1001, dtype=dtype, requires_grad=True)
    weights = torch.linspace(-1, 1, grid + 3, dtype=dtype)
    closed, recursive = uniform_cubic(x, knots[2:-2], step), cox_de_boor(x, knots, 3)
    torch.testing.assert_close(closed, recursive, rtol=0, atol=tolerance)
    slopes = [torch.autograd.grad((basis @ weights).sum(), x)[0] for basis in (closed, recursive)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=50 * grid * tolerance)


def test_gradcheck_across_knots():
    knots = torch.arange(-4, 5, dtype=torch.float64) / 2
    x = torch.tensor([-1.3, -0.5, -0.25, 0.0, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: uniform_cubic(x, knots[2:-2], 0.5), x)
