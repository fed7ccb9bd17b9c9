"""Models with measured values: their uncertainty, and how far they are from the trained ones."""

import math

import pytest
import torch

import qkan
from qkan.circuits import deploy
from qkan.errors import OptionError


def inputs(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1


def exact(model, **options):
    return deploy(model, "torch", progress=False, **options)


# -- uncertainty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"reps": 2}, {"encoding": "shared", "reps": 2}], ids=str)
def test_interpolation_does_not_amplify_shot_noise(options):
    """Between the nodes the variance of an edge is a weighted mean of the nodes' variances."""
    shots = 200
    model = qkan.QKAN([1, 1], seed=0, base=None, scale=False, bias=False, **options)
    x = torch.linspace(-3, 3, 41)[:, None]
    values = torch.stack([exact(model, shots=shots, seed=seed).model(x) for seed in range(300)])
    spread = (values - model(x)).square().mean(0)
    assert spread.max() < 1 / shots * 1.35  # χ² with 300 degrees of freedom, 4.3 standard deviations
    assert (values.mean(0) - model(x)).abs().max() < 5 / math.sqrt(300 * shots)


@pytest.mark.parametrize("options", [{"reps": 2}, {"encoding": "edge", "reps": 2}, {"by_rows": True}], ids=str)
def test_standard_errors_are_the_spread_over_seeds(options):
    options = dict(options)
    by_rows = options.pop("by_rows", False)
    model = qkan.QKAN([3, 2, 1], seed=0, **options)
    x = inputs(4 if by_rows else 12, 3)
    rows = x if by_rows else None
    found, errors = [], []
    for seed in range(60):
        mean, error = exact(model, shots=500, seed=seed, rows=rows).model(x, return_std=True, samples=60, seed=seed)
        found.append(mean)
        errors.append(error)
    errors = torch.stack(errors)
    spread = (torch.stack(found) - model(x)).square().mean(0).sqrt()
    ratio = spread / errors.square().mean(0).sqrt()
    assert 0.85 < ratio.mean() < 1.15
    assert ((ratio > 0.6) & (ratio < 1.45)).all()


def test_uncertainty_leaves_the_model_as_it_was():
    model, x = qkan.QKAN([3, 2, 1], reps=2, seed=0), inputs(4, 3)
    deployed = exact(model, shots=100, seed=0).model
    before, state = deployed(x), torch.get_rng_state()
    mean, error = deployed(x, return_std=True)
    assert torch.equal(mean, before)
    assert torch.equal(deployed(x), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert error.min() > 0
    again = deployed(x, return_std=True)[1]
    assert torch.equal(again, error)


def test_uncertainty_beside_gradients():
    """The error has none, where it is zero too; the mean has its own."""
    model, x = qkan.QKAN([2, 1], reps=2, seed=0), inputs(3, 2).requires_grad_()
    mean, error = exact(model).model(x, return_std=True, samples=2)
    assert not error.requires_grad
    mean.sum().backward()
    assert torch.isfinite(x.grad).all()
    with pytest.raises(OptionError, match="samples=0 must be a whole number of at least 1"):
        exact(model).model(x, return_std=True, samples=0)


# -- reports ---------------------------------------------------------------------------------------------------------


def test_reports_say_how_far_the_models_are_apart():
    model, x = qkan.QKAN([3, 4, 2], reps=2, seed=0), inputs(200, 3)
    run = exact(model, shots=200, seed=0)
    report = run.report(x)
    assert report.changed == int((run.model(x).argmax(1) != model(x).argmax(1)).sum()) > 0
    assert report.output_rms == pytest.approx((run.model(x) - model(x)).square().mean().sqrt().item(), rel=1e-5)
    assert 0.5 < report.output_rms / report.standard_error < 2
    for block in report.blocks:
        assert 0.7 < block.rms / block.noise < 1.3
        assert block.output_rms > 0
    text = str(report)
    assert "layers.1.basis" in text
    assert f"predictions changed: {report.changed} of 200" in text
    assert report.to_dict()["rows"] == 200
    without = run.report()
    assert without.changed is None
    assert without.rows == 0
    assert "predictions" not in str(without)


def test_models_that_return_several():
    model, x = qkan.models.HQKANLSTM(2, 3, seed=0), inputs(4, 5, 2)
    run = exact(model, rows=x, shots=100, seed=0)
    mean, error = run.model(x, return_std=True, samples=5)
    torch.testing.assert_close(mean, run.model(x)[0])
    assert mean.shape == error.shape == (4, 5, 3)
    assert error[1:].min() > 0
    assert run.report().output_rms > 0

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = qkan.KANLayer(2, 1, reps=1, seed=0)

        def forward(self, x):
            return {"y": self.layer(x)}

    with pytest.raises(OptionError, match="standard errors and reports need a model that returns a tensor, not dict"):
        exact(Named()).report(x)
