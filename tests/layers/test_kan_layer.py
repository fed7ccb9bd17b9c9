"""The layer against its formula, one edge at a time, and its switches."""

import copy
import inspect
import json
import math
import re

import pytest
import torch
from torch.testing import assert_close

import qkan
from qkan.bases import Basis, ClassicalBasis, _base
from qkan.bases._base import RESERVED
from qkan.errors import OptionError, RefineError, ShapeError
from qkan.testing.basis_contract import uniform

KANLayer = qkan.KANLayer

BUILT_IN = ["bspline", "chebyshev", "daruan", "fourier", "rbf"]
ROUTES = [(name, {}) for name in BUILT_IN] + [
    ("daruan", {"encoding": "edge", "reps": 2}),
    ("daruan", {"readout": "amplitude", "reps": 2}),
]
ACTIVATION = {
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "relu": lambda x: x * (x > 0),
    "tanh": lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    "identity": lambda x: x,
}
CHECKERBOARD = torch.tensor([[1, 0, 1], [0, 1, 1]])


def layer_of(*args, **kw) -> KANLayer:
    """A float64 layer 3 -> 2 whose own parameters are random."""
    layer = KANLayer(3, 2, *args, seed=0, **kw).double()
    with torch.no_grad():
        for place, parameter in enumerate(p for p in (layer.scale, layer.base_weight, layer.bias) if p is not None):
            parameter.copy_(uniform(tuple(parameter.shape), -2, 2, seed=place))
    return layer


def by_hand(layer: KANLayer, x: torch.Tensor) -> torch.Tensor:
    """The documented sum, edge by edge, for x (batch, 3)."""
    phi = layer.basis.edges(x).detach()
    y = torch.zeros(len(x), layer.out_features, dtype=torch.float64)
    for row in range(len(x)):
        for o in range(layer.out_features):
            for i in range(layer.in_features):
                edge = phi[row, o, i] * (1 if layer.scale is None else layer.scale[o, i].detach())
                if layer.base is not None:
                    edge = edge + layer.base_weight[o, i].detach() * ACTIVATION[layer.base](x[row, i])
                y[row, o] += edge * (1 if layer.mask is None else layer.mask[o, i])
            y[row, o] += 0 if layer.bias is None else layer.bias[o].detach()
    return y


# -- formula -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, CHECKERBOARD], ids=["dense", "pruned"])
@pytest.mark.parametrize(("basis", "options"), ROUTES, ids=str)
def test_output_is_the_documented_sum(basis, options, mask):
    layer = layer_of(basis, mask=mask, **options)
    x = uniform((4, 3), -2, 2, seed=5)
    assert_close(layer(x), by_hand(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("base", list(ACTIVATION))
def test_every_base_activation(base):
    layer = layer_of("fourier", base=base)
    x = uniform((4, 3), -2, 2, seed=5)
    assert_close(layer(x), by_hand(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", [None, CHECKERBOARD], ids=["dense", "pruned"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("base", ["silu", None])
def test_switches_leave_out_terms_and_parameters(base, scale, bias, mask):
    layer = layer_of("daruan", base=base, scale=scale, bias=bias, mask=mask)
    x = uniform((4, 3), -2, 2, seed=5)
    assert_close(layer(x), by_hand(layer, x), rtol=0, atol=1e-12)
    own = 6 * scale + 6 * (base is not None) + 2 * bias
    assert sum(p.numel() for p in layer.parameters()) == 6 * 8 + own
    found = [name for name in ("scale", "base_weight", "bias") if getattr(layer, name) is not None]
    assert found == [n for n, on in (("scale", scale), ("base_weight", base is not None), ("bias", bias)) if on]


def test_ten_by_ten_pz_has_the_counts_of_the_published_layer():
    bare = KANLayer(10, 10, base=None, scale=False, bias=False, seed=0)
    based = KANLayer(10, 10, scale=False, bias=False, seed=0)
    assert [sum(p.numel() for p in layer.parameters()) for layer in (bare, based)] == [800, 900]


@pytest.mark.parametrize(("basis", "options"), ROUTES, ids=str)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (0,)], ids=str)
def test_edges_and_bias_sum_to_the_output_for_any_leading_shape(leading, basis, options):
    layer = layer_of(basis, mask=CHECKERBOARD, **options)
    x = uniform((*leading, 3), -2, 2, seed=5)
    assert layer.edges(x).shape == (*leading, 2, 3)
    assert_close(layer(x), layer.edges(x).sum(-1) + layer.bias, rtol=0, atol=1e-12)
    flat = layer(x.reshape(-1, 3))
    assert_close(layer(x).reshape(-1, 2), flat, rtol=0, atol=1e-13)


def test_a_wrong_input_width_is_named():
    with pytest.raises(ShapeError, match=r"\(7, 4\) must have 3 as its last dimension"):
        layer_of("rbf")(torch.zeros(7, 4, dtype=torch.float64))


# -- pruning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("basis", "options"), ROUTES, ids=str)
def test_pruned_edges_contribute_nothing_and_receive_no_gradient(basis, options):
    layer = layer_of(basis, mask=CHECKERBOARD, **options)
    x = uniform((6, 3), -2, 2, seed=5).requires_grad_()
    assert float(layer.edges(x)[:, CHECKERBOARD == 0].detach().abs().max()) == 0
    layer(x)[:, 0].sum().backward()
    assert float(x.grad[:, 1].abs().max()) == 0  # input 1 reaches output 1 only
    assert float(x.grad[:, [0, 2]].abs().min()) > 0
    layer(x).square().sum().backward()
    for parameter in (layer.scale, layer.base_weight, *layer.basis.parameters()):
        per_edge = parameter.grad.reshape(2, 3, -1).abs().sum(-1)
        assert float(per_edge[CHECKERBOARD == 0].max()) == 0
        assert float(per_edge[CHECKERBOARD == 1].min()) > 0


def test_the_mask_can_be_set_and_removed():
    layer = layer_of("rbf")
    x = uniform((6, 3), -2, 2, seed=5)
    full = layer(x)
    layer.set_mask(CHECKERBOARD.bool())
    assert not torch.allclose(layer(x), full)
    assert layer.mask.dtype == torch.float64
    layer.set_mask(None)
    assert torch.equal(layer(x), full)


def test_a_mask_of_the_wrong_shape_or_content_is_refused():
    with pytest.raises(ShapeError, match=r"mask of shape \(3, 2\) must be \(2, 3\)"):
        KANLayer(3, 2, mask=CHECKERBOARD.T)
    layer = layer_of("rbf")
    for bad in (0.5, float("nan"), -1.0):
        with pytest.raises(OptionError, match="only 0"):
            layer.set_mask(torch.full((2, 3), bad))


def test_repr_tells_sizes_switches_and_pruned_edges():
    shown = repr(KANLayer(3, 2, "rbf", scale=False, bias=False, mask=CHECKERBOARD, seed=0))
    assert "KANLayer(\n  3 -> 2, base='silu', scale=False, bias=False, 2 of 6 edges pruned" in shown
    assert "(basis): RBF(3 -> 2, grid=8" in shown
    assert "pruned" not in repr(KANLayer(3, 2, "rbf", seed=0))
    assert "base=None" in repr(KANLayer(3, 2, "rbf", base=None, seed=0))


# -- refinement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("basis", "size", "options"),
    [
        ("bspline", 10, {}),
        ("chebyshev", 9, {}),
        ("fourier", 6, {}),
        ("daruan", 5, {}),
        ("daruan", 5, {"base": None, "scale": False, "bias": False}),
        ("daruan", 3, {"ansatz": "mix", "encoding": "edge", "reps": 2}),
        ("daruan", 3, {"ansatz": "real", "encoding": "shared", "reps": 2, "readout": "amplitude"}),
    ],
)
def test_refining_keeps_function_mask_and_switches(basis, size, options):
    layer = layer_of(basis, mask=CHECKERBOARD, **options)
    x = uniform((50, 3), -3, 3, seed=5)
    finer = layer.refine(size)
    assert_close(finer(x), layer(x), rtol=0, atol=5e-6)
    assert torch.equal(finer.mask, layer.mask)
    assert {k: v for k, v in finer.config().items() if layer.config()[k] != v}.keys() <= {"grid", "degree", "reps"}
    assert {p.dtype for p in finer.parameters()} == {torch.float64}


def test_refining_a_float64_layer_keeps_its_own_parameters_exactly():
    layer = layer_of("fourier")
    finer = layer.refine(6)
    assert torch.equal(finer.scale, layer.scale)
    assert torch.equal(finer.base_weight, layer.base_weight)
    assert torch.equal(finer.bias, layer.bias)


def test_a_basis_that_cannot_be_refined_says_why():
    with pytest.raises(RefineError, match="do not commute with the measurement"):
        layer_of("daruan", ansatz="real", frequencies="binary").refine(12)


# -- names and options ---------------------------------------------------------------------------------------------


def test_an_unknown_basis_lists_the_known_ones():
    assert set(BUILT_IN) <= set(qkan.bases.names())
    listed = re.escape(f"is not known; choose one of {', '.join(qkan.bases.names())}.")
    for bad in ("spline", 3, None, torch.nn.Linear):
        with pytest.raises(OptionError, match=listed):
            KANLayer(3, 2, bad)


def test_an_unknown_option_lists_the_valid_ones():
    message = "basis 'bspline' has no option 'reps'; its options are grid, k, grid_range, extend"
    with pytest.raises(OptionError, match=message):
        KANLayer(3, 2, "bspline", reps=3)


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("base", "swish", "'silu', 'gelu', 'relu', 'tanh', 'identity', None"),
        ("init", "xavier", "'variance', 'power', None"),
    ],
)
def test_unknown_values_list_the_valid_ones(option, value, valid):
    with pytest.raises(OptionError, match=f"{option}='{value}' is not known; choose one of {valid}"):
        KANLayer(3, 2, **{option: value})


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_basis_class_may_stand_for_its_name(name):
    by_class, by_name = KANLayer(3, 2, qkan.bases.get(name), seed=4), KANLayer(3, 2, name, seed=4)
    x = uniform((5, 3), -1, 1).float()
    assert torch.equal(by_class(x), by_name(x))


@pytest.fixture
def registry():
    """The registry of bases, restored afterwards."""
    before = dict(_base._REGISTRY)
    yield _base._REGISTRY
    _base._REGISTRY.clear()
    _base._REGISTRY.update(before)


def test_a_registered_basis_of_ones_own_works_in_a_layer(registry):
    @qkan.bases.register("parabola")
    class Parabola(Basis):
        """φ_oi(x) = (x - c_oi)²."""

        def __init__(self, in_features=1, out_features=1, *, centre=0.5, seed=None):
            super().__init__(in_features, out_features)
            self.centre = torch.nn.Parameter(torch.full((out_features, in_features), centre))

        def config(self):
            return {"centre": 0.5}

        def edges(self, x):
            return (self.check_input(x).unsqueeze(-2) - self.centre) ** 2

        def moments(self):
            return torch.tensor(3.5), torch.tensor(5.0)

    assert "parabola" in qkan.bases.names()
    layer = layer_of("parabola", mask=CHECKERBOARD)
    x = uniform((4, 3), -2, 2)
    assert_close(layer(x), by_hand(layer, x), rtol=0, atol=1e-12)
    assert isinstance(KANLayer(**layer.config()).basis, Parabola)
    with pytest.raises(OptionError, match="its options are centre"):
        KANLayer(3, 2, "parabola", center=1)
    with pytest.raises(RefineError, match="a parabola basis cannot be refined to 4"):
        layer.refine(4)


def test_a_feature_basis_of_ones_own_is_calibrated():
    class Powers(ClassicalBasis):
        """tanh x and its square, unregistered."""

        def __init__(self, in_features=1, out_features=1, *, seed=None):
            super().__init__(in_features, out_features, 2, seed)

        def config(self):
            return {}

        def evaluate(self, x):
            return torch.stack([torch.tanh(x), torch.tanh(x) ** 2], dim=-1)

    layer = KANLayer(64, 64, Powers, seed=0)
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    assert float(layer(x).detach().std()) == pytest.approx(1, abs=0.15)


# -- initialisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("basis", "features", "init"), [("bspline", 8, None), ("bspline", 8, "power"), ("rbf", 8, "power")]
)
def test_power_initialisation_follows_the_documented_law(basis, features, init):
    layer = KANLayer(30, 40, basis, init=init, seed=0)
    fan = 30 * (features + 1)
    # 9,600 coefficients and 1,200 base weights: one standard error is 0.7 % and 2 %.
    assert float(layer.basis.coef.detach().std()) == pytest.approx(fan**-1.0, rel=0.04)
    assert float(layer.base_weight.detach().std()) == pytest.approx(fan**-0.25, rel=0.08)


@pytest.mark.parametrize("basis", BUILT_IN)
def test_variance_initialisation_gives_each_branch_half(basis):
    layer = KANLayer(64, 64, basis, init="variance", bias=False, seed=0)
    x = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        base = torch.nn.functional.silu(x) @ layer.base_weight.T
        circuits = layer(x) - base
        assert float(base.square().mean()) == pytest.approx(0.5, rel=0.25)
        assert float(circuits.square().mean()) == pytest.approx(0.5, rel=0.25)


def test_layers_without_a_base_branch_are_calibrated_too():
    for basis in BUILT_IN:
        layer = KANLayer(64, 64, basis, init="variance", base=None, seed=0)
        x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
        assert float(layer(x).detach().std()) == pytest.approx(1, abs=0.15)


def test_bias_starts_at_zero_and_seeds_decide_everything_else():
    one, same, other = (KANLayer(3, 2, "rbf", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.bias, torch.zeros(2))
    assert all(torch.equal(mine, its) for mine, its in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.base_weight, other.base_weight)
    assert not torch.equal(one.basis.coef, other.basis.coef)


# -- copies --------------------------------------------------------------------------------------------------------


def test_a_deep_copy_is_independent():
    layer = layer_of("daruan", mask=CHECKERBOARD)
    x = uniform((4, 3), -2, 2)
    before = layer(x).detach().clone()
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), before)
    twin.set_mask(None)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.3)
    assert not torch.allclose(twin(x), before)
    assert torch.equal(layer(x), before)


@pytest.mark.parametrize("switches", [{}, {"base": None}, {"scale": False, "bias": False, "base": "tanh"}], ids=str)
@pytest.mark.parametrize(("basis", "options"), ROUTES, ids=str)
def test_config_is_json_and_rebuilds_the_layer(basis, options, switches):
    layer = layer_of(basis, mask=CHECKERBOARD, **options, **switches)
    rebuilt = KANLayer(**json.loads(json.dumps(layer.config())), seed=9).double()
    assert rebuilt.config() == layer.config()
    rebuilt.set_mask(torch.ones(2, 3))  # the config leaves the mask to the state
    rebuilt.load_state_dict(layer.state_dict())
    x = uniform((4, 3), -2, 2)
    assert torch.equal(rebuilt(x), layer(x))


# -- corners -------------------------------------------------------------------------------------------------------


def test_a_state_dict_brings_its_mask_along():
    pruned = qkan.KANLayer(3, 2, seed=0, mask=torch.tensor([[1.0, 0, 1], [1, 1, 1]]))
    whole = qkan.KANLayer(3, 2, seed=1)
    whole.load_state_dict(pruned.state_dict())
    assert torch.equal(whole.mask, pruned.mask)
    whole.load_state_dict(qkan.KANLayer(3, 2, seed=2).state_dict())
    assert whole.mask is None


def test_refining_keeps_frozen_parameters_frozen():
    layer = qkan.KANLayer(3, 2, "bspline", seed=0)
    layer.scale.requires_grad_(False)
    layer.basis.coef.requires_grad_(False)
    finer = layer.refine(10)
    assert {name for name, p in finer.named_parameters() if not p.requires_grad} == {"scale", "basis.coef"}


def test_power_law_needs_free_coefficients():
    with pytest.raises(OptionError, match="which the basis 'daruan' has not"):
        qkan.KANLayer(3, 2, init="power")


def test_whole_number_input_is_refused():
    with pytest.raises(OptionError, match=r"torch\.int64 must be floating point"):
        qkan.KANLayer(3, 2, seed=0)(torch.zeros(5, 3, dtype=torch.long))


def test_a_taken_basis_name_is_refused():
    with pytest.raises(OptionError, match="'fourier' is taken by Fourier"):

        @qkan.bases.register("fourier")
        class Impostor(qkan.bases.Fourier):
            pass


@pytest.mark.parametrize("option", ["width", "scale", "mask", "device", "symbolic"])
def test_options_called_like_arguments_are_refused(option, registry):
    def constructor(self, in_features=1, out_features=1, *, seed=None, **options):
        pass

    parameters = [*inspect.signature(constructor).parameters.values()][:-1]
    parameters.append(inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=1))
    constructor.__signature__ = inspect.Signature(parameters)
    kind = type("Mine", (qkan.bases.Basis,), {"__init__": constructor})
    with pytest.raises(OptionError, match=f"the option '{option}' of Mine is called like an argument of KANLayer"):
        qkan.bases.register("mine")(kind)
    assert "mine" not in qkan.bases.names()


def test_the_reserved_names_are_the_arguments_of_layers_and_networks():
    passed_on = {"self", "in_features", "out_features", "seed", "grid", "k", "basis_options"}
    arguments = {name for cls in (qkan.KANLayer, qkan.KAN) for name in inspect.signature(cls.__init__).parameters}
    assert set(RESERVED) == arguments - passed_on


def test_an_unregistered_basis_class_is_not_saved_as_its_parent(tmp_path):
    class Mine(qkan.bases.Fourier):
        pass

    model = qkan.KAN([2, 1], Mine, seed=0)
    with pytest.raises(qkan.errors.ModelFileError, match="Mine is not registered"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("basis", ["bspline", "daruan"])
def test_one_scale_may_multiply_both_branches(basis):
    layer = KANLayer(5, 4, basis, scale="both", seed=0).double()
    x = torch.randn(400, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    edges = (layer.basis.edges(x) + torch.nn.functional.silu(x).unsqueeze(-2)) * layer.scale
    torch.testing.assert_close(layer(x), edges.sum(-1) + layer.bias)
    torch.testing.assert_close(layer.edges(x), edges)
    torch.testing.assert_close(layer.features(x).flatten(-2) @ layer.coefficients().flatten(-2).T, layer(x))
    torch.testing.assert_close(layer.freeze()(x), layer(x))
    assert layer.base_weight is None
    assert layer.config()["scale"] == "both"
    assert "scale='both'" in repr(layer)
    if basis == "bspline":  # as tfkan's DenseKAN counts: in · out · (G + k + 1) + out
        assert sum(p.numel() for p in layer.parameters()) == 5 * 4 * (5 + 3 + 1) + 4
    with pytest.raises(OptionError, match="base=None leaves it out"):
        KANLayer(2, 2, basis, scale="both", base=None)
    with pytest.raises(OptionError, match="scale='edge' is not known"):
        KANLayer(2, 2, basis, scale="edge")


@pytest.mark.parametrize("basis", ["bspline", "daruan", "fourier"])
def test_a_common_scale_keeps_the_size_of_outputs(basis):
    layer = KANLayer(64, 64, basis, scale="both", init="variance", seed=0)
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(1))
    assert 0.8 < layer(x).std().item() < 1.25
