"""Group-rational layers: parameters, functions at the start, initial variance, mistakes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

import qkan
from qkan.bases import Rational
from qkan.errors import OptionError, ShapeError
from qkan.layers import GroupKANLayer, GroupRational


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_parameters_are_those_of_the_publication():
    layer = GroupKANLayer(64, 32, seed=0)
    assert sum(p.numel() for p in layer.activation.parameters()) == 38
    assert sum(p.numel() for p in layer.parameters()) == 64 * 32 + 32 + 38
    own = GroupKANLayer(64, 32, share_numerator=False, bias=False, seed=0)
    assert sum(p.numel() for p in own.parameters()) == 64 * 32 + 8 * (6 + 4)
    assert qkan.count(layer, rows=3).flops == 2 * 3 * 64 * 32


@pytest.mark.parametrize(
    ("start", "target"),
    [("identity", lambda x: x), ("silu", torch.nn.functional.silu), ("tanh", torch.tanh)],
)
@pytest.mark.parametrize("form", ["A", "B"])
def test_functions_at_the_start_and_the_linear_map_after_them(start, target, form):
    layer = GroupKANLayer(16, 3, start=start, form=form, seed=0)
    x = 3 * (2 * torch.rand(2, 5, 16, generator=torch.Generator().manual_seed(0)) - 1)
    assert_close(layer.activation(x), target(x), rtol=0, atol=1e-5)
    assert_close(layer(x), torch.nn.functional.linear(target(x), layer.linear.weight), rtol=0, atol=1e-4)


@pytest.mark.parametrize("share", [True, False])
def test_every_group_has_its_own_functions(share):
    activation = GroupRational(6, groups=3, share_numerator=share)
    with torch.no_grad():
        for parameter in activation.parameters():
            parameter.add_(0.3 * normal(*parameter.shape))
    same = activation(torch.full((1, 6), 0.7))[0]
    assert same[0] == same[1] != same[2] == same[3] != same[4] == same[5]
    alone = GroupRational(2, groups=1)
    with torch.no_grad():
        alone.numerator.copy_(activation.numerator[-1:])
        alone.denominator.copy_(activation.denominator[-1:])
    x = normal(5, 6)
    assert_close(activation(x)[:, 4:], alone(x[:, 4:]), rtol=0, atol=0)


def test_the_basis_has_the_same_functions():
    basis = Rational(8, 3, groups=2, form="B", seed=0)
    activation = GroupRational(8, groups=2, form="B")
    with torch.no_grad():
        basis.b.add_(0.3 * normal(2, 4))
        activation.denominator.copy_(basis.b)
    x = normal(7, 8)
    assert torch.equal(basis.features(x)[..., 0], activation(x))


@pytest.mark.parametrize("start", ["identity", "silu", "gelu", "tanh"])
@pytest.mark.parametrize("width", [8, 64, 784])
def test_output_has_unit_standard_deviation(width, start):
    deviations = [
        float(GroupKANLayer(width, 64, start=start, seed=seed)(normal(256, width, seed=100 + seed)).detach().std())
        for seed in range(5)
    ]
    assert 0.9 < sum(deviations) / 5 < 1.1, deviations


def test_the_gain_is_integrated_for_the_functions_as_they_are():
    # E[x²]/E[SiLU(x)²] = 2.8114 and of GELU 2.3524, by integration of the functions themselves.
    assert 1 / GroupRational(8, start="silu").power() == pytest.approx(2.8114, rel=1e-3)
    assert 1 / GroupRational(8, start="gelu").power() == pytest.approx(2.3524, rel=5e-3)
    layer = GroupKANLayer(200, 200, seed=0)
    assert float(layer.linear.weight.detach().var()) * 200 == pytest.approx(2.8114, rel=0.03)
    with torch.no_grad():
        layer.activation.numerator.mul_(10)
    layer.reset_parameters(1)
    assert float(layer.linear.weight.detach().var()) * 200 == pytest.approx(0.028114, rel=0.03)
    assert float(layer(normal(500, 200)).detach().std()) == pytest.approx(1, rel=0.05)


def test_two_layers_keep_the_variance():
    layers = torch.nn.Sequential(GroupKANLayer(64, 256, start="identity", seed=1), GroupKANLayer(256, 64, seed=2))
    assert float(layers(normal(500, 64)).detach().std()) == pytest.approx(1, rel=0.1)


def test_coefficients_that_start_at_zero_can_move():
    layer = GroupKANLayer(16, 4, start="identity", seed=0)
    layer(normal(9, 16)).square().sum().backward()
    assert (layer.activation.denominator.grad != 0).all()
    assert layer.activation.numerator.grad.isfinite().all()


def test_gradcheck():
    layer = GroupKANLayer(6, 2, groups=3, start="tanh", share_numerator=False, seed=0).double()
    with torch.no_grad():
        layer.activation.denominator.add_(0.1)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    leaves = [normal(4, 6).double().requires_grad_(), *(v.detach().clone().requires_grad_() for v in values)]
    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_types(dtype):
    layer = GroupKANLayer(64, 3, seed=0)
    x = normal(300, 64)
    expected = layer(x).detach()
    found = layer.to(dtype)(x.to(dtype)).detach()
    assert found.dtype == dtype
    assert float((found.float() - expected).norm() / expected.norm()) < (0.02 if dtype == torch.bfloat16 else 1e-6)


def test_seeds_and_global_random_state():
    before = torch.get_rng_state()
    one, same, other = (GroupKANLayer(8, 4, seed=seed).linear.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 3}, "groups=3 must divide the number of features, 8"),
        ({"groups": 0}, "groups=0 must be a whole number"),
        ({"start": "swish"}, "choose one of 'identity', 'silu'"),
        ({"form": "C"}, "'A', 'B'"),
        ({"numerator": 4}, "numerator=4"),
        ({"share_numerator": "yes"}, "share_numerator='yes'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(OptionError, match=message):
        GroupKANLayer(8, 2, **options)


def test_wrong_inputs():
    layer = GroupKANLayer(8, 2, seed=0)
    with pytest.raises(ShapeError, match="8 as its last dimension"):
        layer(torch.zeros(3, 7))
    with pytest.raises(OptionError, match="floating point"):
        layer(torch.zeros(3, 8, dtype=torch.long))
    assert math.prod(layer(torch.zeros(0, 8)).shape) == 0
