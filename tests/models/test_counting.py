"""Operations of a row: numbers that count what is done to them go through textbook code of every layer."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import qkan
from qkan import KANLayer, counting
from qkan.errors import OptionError
from qkan.layers import Activation, SplineActivation
from qkan.models import MLP


class Number:
    """A float; every operation on it is one more in ``done``."""

    done = 0

    def __init__(self, value):
        self.value = float(value)

    @classmethod
    def _new(cls, value):
        cls.done += 1
        return cls(value)

    def __add__(self, other):
        return self._new(self.value + _value(other))

    def __mul__(self, other):
        return self._new(self.value * _value(other))

    def __sub__(self, other):
        return self._new(self.value - _value(other))

    def __truediv__(self, other):
        return self._new(self.value / _value(other))

    def __neg__(self):
        return self._new(-self.value)

    def __abs__(self):
        return self._new(abs(self.value))

    def call(self, function):
        return self._new(function(self.value))

    def at_least(self, bound):
        return self._new(max(self.value, bound))

    def at_most(self, bound):
        return self._new(min(self.value, bound))


def _value(other):
    return other.value if isinstance(other, Number) else float(other)


def silu(x):
    """Four operations for the sigmoid, as the published rule has it, and a multiplication."""
    return x * (Number(1) / ((-x).call(math.exp) + 1))


def dot(numbers, weights, start):
    """Products added to ``start``."""
    total = start if isinstance(start, Number) else Number(start)
    for number, weight in zip(numbers, weights, strict=True):
        total = total + number * weight
    return total


def held(x, low, high):
    place = x.at_least(low).at_most(high)
    return place, x - place


def splines(x, basis):
    low, high = basis.grid_range
    step = (high - low) / basis.grid
    place, beyond = held(x, low, high)
    u, further = (place - (low - step)) * (1 / step), beyond * (1 / step)
    found = []
    for k in range(basis.num_features):
        v = u - k
        outer = Number(2) - abs(v)
        inner = outer - 1
        outer, inner = outer.at_least(0), inner.at_least(0)
        outer2, inner2 = outer * outer, inner * inner
        value = (outer2 * outer - inner2 * inner * 4) * (1 / 6)
        slope = inner2 * 2 - outer2 * 0.5
        found.append(value + further * slope.call(lambda s, sign=v.value: s if sign >= 0 else -s))
    return found


def gaussians(x, basis):
    place, beyond = held(x, *basis.grid_range)
    slopes = basis.slopes[0 if beyond.value < 0 else 1]
    found = []
    for centre, scale, slope in zip(basis.centres.tolist(), basis.scales.tolist(), slopes.tolist(), strict=True):
        u = (place - centre) * (1 / scale)
        found.append((-(u * u)).call(math.exp) + beyond * slope)
    return found


def harmonics(u, degree):
    cosines, sines = [u.call(math.cos)], [u.call(math.sin)]
    for _ in range(degree - 1):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosines[0] - s * sines[0])
        sines.append(s * cosines[0] + c * sines[0])
    return cosines + sines


def torus(x, weights):
    """Products of {1, cos, sin} of every angle but 1, the last angle fastest."""
    found = []
    for weight in reversed(weights):
        angle = x * weight
        cosine, sine = angle.call(math.cos), angle.call(math.sin)
        found = [*found, cosine, *(f * cosine for f in found), sine, *(f * sine for f in found)]
    return found


def turned(v, axis, cosine, sine):
    x, y, z = v
    if axis == "z":
        return [x * cosine - y * sine, x * sine + y * cosine, z]
    assert axis == "y"
    return [x * cosine + z * sine, y, z * cosine - x * sine]


def circuit(x, gates, theta, frequency):
    v = [Number(1), Number(0), Number(0)]
    for axis, source, value in gates:
        if source == "data":
            angle = x * frequency[int(value)]
            v = turned(v, axis, angle.call(math.cos), angle.call(math.sin))
        else:
            v = turned(v, axis, math.cos(theta[int(value)]), math.sin(theta[int(value)]))
    return v[2]


def features_of(layer, x):
    basis = layer.basis
    if basis.name == "bspline":
        return [splines(number, basis) for number in x]
    if basis.name == "rbf":
        return [gaussians(number, basis) for number in x]
    if basis.name == "fourier":
        return [harmonics(number * 1.0, basis.degree) for number in x]
    if basis.encoding == "fixed":
        return [harmonics(number, basis.degree) for number in x]
    return [torus(number, weights) for number, weights in zip(x, basis.frequency.tolist(), strict=True)]


def evaluate(layer, row):
    """Outputs of a layer for one row, number by number."""
    x = [Number(value) for value in row.tolist()]
    base = [silu(number) for number in x]
    basis = layer.basis
    if basis.name == "daruan" and basis.encoding == "edge":
        found = []
        for o in range(layer.out_features):
            total = dot(base, layer.base_weight[o].tolist(), layer.bias[o])
            for i, number in enumerate(x):
                value = circuit(number, basis.circuit.gates, basis.theta[o, i].tolist(), basis.frequency[o, i].tolist())
                total = total + value * float(layer.scale[o, i])
            found.append(total)
        return found
    features = features_of(layer, x)
    coefficients = basis.coefficients() * layer.scale.unsqueeze(-1)
    bias = layer.bias.clone()
    if basis.name == "daruan":  # the constant feature comes first
        bias, coefficients = bias + coefficients[..., 0].sum(-1), coefficients[..., 1:]
    numbers = [feature for own in features for feature in own]
    return [
        dot(numbers, coefficients[o].flatten().tolist(), dot(base, layer.base_weight[o].tolist(), bias[o]))
        for o in range(layer.out_features)
    ]


LAYERS = [
    ("bspline", {"grid": 5, "k": 3}),
    ("bspline", {"grid": 3, "k": 3, "grid_range": (-2, 2)}),
    ("rbf", {"grid": 8, "grid_range": (-1, 1)}),
    ("fourier", {"degree": 1}),
    ("fourier", {"degree": 4}),
    ("daruan", {"reps": 3}),
    ("daruan", {"reps": 2, "frequencies": "ternary"}),
    ("daruan", {"reps": 3, "encoding": "shared"}),
    ("daruan", {"reps": 3, "encoding": "edge"}),
]


@pytest.mark.parametrize(("name", "options"), LAYERS)
@pytest.mark.parametrize("beyond", [1.0, 2.5])
def test_a_layer_counts_what_textbook_code_does(name, options, beyond):
    layer = KANLayer(3, 2, name, seed=0, **options).double().requires_grad_(False)
    for parameter in (layer.bias, getattr(layer.basis, "frequency", None)):
        if parameter is not None:
            parameter.add_(torch.arange(parameter.numel()).reshape(parameter.shape) / 7)
    row = torch.tensor([-0.9, 0.3, 0.7], dtype=torch.float64) * beyond
    Number.done = 0
    found = evaluate(layer, row)
    torch.testing.assert_close(torch.tensor([number.value for number in found], dtype=torch.float64), layer(row))
    assert counting.row_flops(layer) == Number.done


@pytest.mark.parametrize("activation", ["silu", "bspline"])
def test_a_perceptron_counts_what_textbook_code_does(activation):
    model = MLP([2, 3, 2, 1], activation, seed=0).double().requires_grad_(False)
    row = torch.tensor([0.4, -0.8], dtype=torch.float64)
    Number.done = 0
    x = [Number(value) for value in row.tolist()]
    for place, layer in enumerate(model.linears):
        x = [dot(x, weights, bias) for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)]
        if place == len(model.linears) - 1:
            break
        if activation == "silu":
            x = [silu(number) for number in x]
            continue
        basis = model.activations[place].basis
        x = [dot(splines(number, basis), coef, 0) for number, coef in zip(x, basis.coef[0].tolist(), strict=True)]
    torch.testing.assert_close(torch.tensor([x[0].value], dtype=torch.float64), model(row))
    assert counting.row_flops(model) == Number.done


def test_matrix_products_equal_torch_counter():
    model, rows = MLP([3, 5, 4, 2], "bspline", seed=0), 7
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(rows, 3))
    assert qkan.count(model, rows).flops == counter.get_total_flops()


def test_the_published_rules():
    """By hand: n = 2, m = 3, G = 5, k = 3, so that one spline costs 27 · 9.5 + 10 - 7.5 - 1 = 258."""
    assert counting.kan_parameters(2, 3, 5, 3) == 6 * 10 + 3
    assert counting.kan_parameters(2, 3, 5, 3, shortcut=True) == 6 * 11 + 3
    assert counting.kan_flops(2, 3, 5, 3) == 6 * 260 + 5 * 2 + 12
    assert counting.kan_flops(2, 3, 5, 3, None) == 6 * 260
    assert counting.mlp_parameters(2, 3) == 9
    assert counting.mlp_flops(2, 3) == 12 + 15
    assert counting.mlp_flops(2, 3, "gelu") == 12 + 42
    assert counting.bspline_mlp_parameters(2, 3, 5, 3) == 9 + 24
    assert counting.bspline_mlp_flops(2, 3, 5, 3) == 12 + 3 * 258


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 4)])
def test_rules_for_parameters_hold_here(n, m):
    assert counting.kan_parameters(n, m, 5, 3) == qkan.count(KANLayer(n, m, "bspline", grid=5, k=3)).trainable
    assert counting.mlp_parameters(n, m) == qkan.count(MLP([n, m])).trainable
    learned = qkan.count(MLP([n, m, 1], "bspline", grid=5, k=3)).trainable - counting.mlp_parameters(m, 1)
    assert counting.bspline_mlp_parameters(n, m, 5, 3) == learned


def test_what_is_not_known():
    with pytest.raises(OptionError, match="operations of the basis 'legendre' with these options are not known"):
        counting.row_flops(KANLayer(2, 2, "legendre"))
    with pytest.raises(OptionError, match="'daruan' with these options"):
        counting.row_flops(KANLayer(2, 2, "daruan", readout="amplitude"))
    with pytest.raises(OptionError, match="not of degree k=2"):
        counting.row_flops(KANLayer(2, 2, "bspline", k=2))
    with pytest.raises(OptionError, match="not of extend='clamp'"):
        counting.row_flops(KANLayer(2, 2, "rbf", extend="clamp"))
    moved = KANLayer(1, 1, "bspline", grid=3)
    moved.basis.set_grid(torch.tensor([[-1.0, -0.2, 0.4, 1.0]]))
    with pytest.raises(OptionError, match="not on a grid moved to data"):
        counting.row_flops(moved)
    with pytest.raises(OptionError, match="activation='selu' is not known"):
        counting.mlp_flops(2, 2, "selu")
    with pytest.raises(OptionError, match="activation='selu' is not known"):
        Activation(2, "selu")


def test_activations_alone():
    assert counting.row_flops(Activation(3, "gelu")) == 3 * 14
    assert counting.row_flops(SplineActivation(3)) == 3 * (6 + 19 * 8 + 16)
