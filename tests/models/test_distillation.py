"""A network carried over to another basis computes the same, and the residuals reported are the real ones."""

from __future__ import annotations

import pytest
import torch

import qkan
from qkan import KAN, QKAN
from qkan.errors import OptionError, ShapeError
from qkan.models import distil


@pytest.fixture
def x(rng) -> torch.Tensor:
    return torch.rand(200, 2, generator=rng) * 2 - 1


def check_residuals(teacher: KAN, report, x: torch.Tensor) -> None:
    student = report.model
    assert len(report.edges) == sum(int(layer.active().sum()) for layer in teacher.layers)
    with torch.no_grad():
        difference = student(x) - teacher(x)
        hidden = teacher.layers[0](x)
        second = (student.layers[1].edges(hidden) - teacher.layers[1].edges(hidden)).std(0, correction=0)
    assert report.rms == pytest.approx(float(difference.pow(2).mean().sqrt()), rel=0.05, abs=1e-6)
    line = report.edges[(report.edges["layer"] == 1) & (report.edges["input"] == 2)]
    assert float(line["residual"].iloc[0]) == pytest.approx(float(second[0, 2]), rel=0.05, abs=1e-6)


@pytest.mark.parametrize(("basis", "bound"), [("bspline", 1e-4), ("rbf", 1e-2), ("fourier", 5e-2), ("chebyshev", 5e-2)])
def test_circuits_to_a_classical_basis(basis, bound, x, tmp_path):
    teacher = QKAN([2, 3, 1], reps=2, seed=1)
    report = distil(teacher, x, basis)
    assert isinstance(report.model, KAN)
    assert report.model.layers[0].basis.name == basis
    assert report.relative < bound
    check_residuals(teacher, report, x)
    report.model.save(tmp_path / "m")
    assert torch.equal(qkan.load(tmp_path / "m")(x), report.model(x))
    assert f"{100 * report.relative:.3g} %" in str(report)


def test_splines_to_circuits(x):
    teacher = KAN([2, 3, 1], grid=3, seed=1)
    report = distil(teacher, x, "daruan", reps=2, steps=5, starts=2, seed=0)
    assert isinstance(report.model, QKAN)
    assert report.model.layers[0].basis.reps == 2
    assert report.relative < 0.1
    check_residuals(teacher, report, x)
    again = distil(teacher, x, "daruan", reps=2, steps=5, starts=2, seed=0)
    assert torch.equal(again.model(x), report.model(x))


def test_a_spline_is_found_exactly_by_splines_of_its_own_grid(x):
    teacher = KAN([2, 2, 1], grid=4, base=None, bias=False, seed=3).double()
    wide = x.double() * 3  # beyond the grid too, where splines go on as lines
    report = distil(teacher, wide, "bspline", grid=4, grid_range=(-1, 1))
    assert report.relative < 1e-9
    assert float(report.edges["residual"].max()) < 1e-9


def test_the_base_branch_takes_its_part(x):
    teacher = KAN([2, 1], "fourier", degree=2, base="silu", seed=0).double()
    report = distil(teacher, x.double() * 3, "fourier", degree=2, base="silu", scale=True)
    assert report.relative < 1e-9
    torch.testing.assert_close(report.model.layers[0].base_weight, teacher.layers[0].base_weight)


def test_pruned_edges_stay_pruned_and_symbolic_ones_are_fitted(x):
    teacher = KAN([2, 2, 1], seed=2)
    teacher.layers[0].set_mask(torch.tensor([[1, 0], [1, 1]]))
    teacher.fix_symbolic(0, 0, 0, "sin", x)
    report = distil(teacher, x)
    assert report.model.layers[0].mask.tolist() == [[1, 0], [1, 1]]
    assert report.model.layers[0].symbolic is None
    assert report.relative < 1e-3
    assert len(report.edges) == 5


def test_bad_input_is_one_sentence(x):
    model = KAN([2, 1], seed=0)
    with pytest.raises(OptionError, match="starts=0"):
        distil(model, x, "daruan", starts=0)
    with pytest.raises(OptionError, match="basis='wavelets' is not known"):
        distil(model, x, "wavelets")
    with pytest.raises(OptionError, match="needs layers with bias=True"):
        distil(model, x, bias=False)
    with pytest.raises(OptionError, match="has no option 'knots'"):
        distil(model, x, knots=3)
    with pytest.raises(ShapeError, match="at least 2 rows"):
        distil(model, x[:1])
