"""Mixtures of bases: the contract, gates, and what is left after the choice."""

import copy
import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import qkan
from qkan import bases
from qkan.bases import Mixture, Selected
from qkan.errors import OptionError, ShapeError
from qkan.testing import BasisContract
from qkan.testing.basis_contract import BFLOAT16_UNIT, stratified_normal, uniform

FOURIER = {"basis": "fourier", "degree": 2}
CIRCUIT = {"basis": "daruan", "reps": 2}
WAVELET = {"basis": "wavelet"}


def numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().numpy()


def series(member, x: np.ndarray) -> np.ndarray:
    """Edges (..., m, n) of a Fourier series divided by the root of their expected mean square."""
    c, j = numbers(member.coef), np.arange(1, 3)
    angles = x[..., None, :, None] * j
    edges = (np.cos(angles) * c[..., :2]).sum(-1) + (np.sin(angles) * c[..., 2:]).sum(-1)
    fall = np.exp(-2.0 * j**2)  # E cos² jx = (1 + e^{-2j²})/2 for a standard normal x
    power = np.concatenate([(1 + fall) / 2, (1 - fall) / 2])
    return edges / np.sqrt((c**2 * power).sum(-1) + 1e-12)


def circuit(member, power: torch.Tensor, x: np.ndarray) -> np.ndarray:
    """⟨Z⟩ of H, two times Rz Ry Rz(x), Rz Ry, by complex matrices, divided by the root of that of fresh ones."""

    def turn(axis, angle):
        cos, sin = np.cos(angle / 2), np.sin(angle / 2)
        rows = {"y": [cos, -sin, sin, cos], "z": [cos - 1j * sin, 0 * cos, 0 * cos, cos + 1j * sin]}[axis]
        return np.stack(rows, -1).reshape(*np.shape(angle), 2, 2)

    theta = numbers(member.theta)
    state = np.full((*x.shape[:-1], *theta.shape[:2], 2, 1), 1 / math.sqrt(2), dtype=complex)
    data = np.broadcast_to(x[..., None, :], state.shape[:-2])
    for place, axis in enumerate("zyzyzy"):
        state = turn(axis, theta[..., place]) @ state
        if place in (1, 3):
            state = turn("z", data) @ state
    z = np.abs(state[..., 0, 0]) ** 2 - np.abs(state[..., 1, 0]) ** 2
    return z / math.sqrt(float(power) + 1e-12)


def wavelets(member, power: torch.Tensor, x: np.ndarray) -> np.ndarray:
    shift, c = numbers(member.shift)[..., 0], numbers(member.coef)[..., 0]
    width = 0.01 + np.log1p(np.exp(numbers(member.raw_width)[..., 0]))
    u = (x[..., None, :] - shift) / width
    psi = 2 / np.sqrt(3 * np.sqrt(np.pi)) * (1 - u * u) * np.exp(-u * u / 2)
    return psi * c / np.sqrt(c**2 * float(power) + 1e-12)


def gated(basis: Mixture, edges: list[np.ndarray]) -> torch.Tensor:
    raised = np.exp(numbers(basis.logits) / basis.temperature)
    gates = raised / raised.sum(-1, keepdims=True)
    return torch.as_tensor(sum(gates[..., f] * one for f, one in enumerate(edges)))


class MixtureContract(BasisContract):
    options: ClassVar[dict] = {}
    interior = (-2.0, 2.0)
    anchors = (-2.0, 0.0, 2.0)
    refine_refused = "select a member"

    def make_basis(self, in_features, out_features, **kw):
        return Mixture(in_features, out_features, **self.options, **kw)

    def bfloat16_bound(self, basis, x):
        """Every member is rounded as a basis of its own, and so are its weight, the product and the sum."""
        parts = zip(basis.members, basis.weights(), strict=True)
        return 16 * BFLOAT16_UNIT * sum(self.terms(member, x) * own for member, own in parts)

    @staticmethod
    def terms(member, x):
        if member.name == "wavelet":
            return (member.wavelets(x) * member.coef).abs().sum(-1)
        return torch.einsum("...nk,mnk->...mn", member.features(x).abs(), member.coefficients().abs())


class TestGateOfALayer(MixtureContract):
    options: ClassVar = {"members": [FOURIER, CIRCUIT]}
    layer_options: ClassVar = {"basis": "mixture", **options}

    def dense_reference(self, basis, x):
        first, second = basis.members
        return gated(basis, [series(first, x.numpy()), circuit(second, basis.power_1, x.numpy())])


class TestGatesOfEdges(MixtureContract):
    options: ClassVar = {"members": [FOURIER, WAVELET], "gate": "edge", "temperature": 0.5}
    layer_options: ClassVar = {"basis": "mixture", **options}
    per_edge = True

    def dense_reference(self, basis, x):
        first, second = basis.members
        return gated(basis, [series(first, x.numpy()), wavelets(second, basis.power_1, x.numpy())])


#: One of every kind of parameter: of edges, of inputs, of groups of inputs, of the whole basis.
TAKEN = [
    FOURIER,
    {"basis": "bspline", "grid": 4},
    {"basis": "sine", "grid": 3},
    {"basis": "relu"},
    {"basis": "truncated_power", "trainable": True},
    {"basis": "truncated_power", "trainable": "edge"},
    {"basis": "apc"},
    {"basis": "rational", "groups": 3},
    {"basis": "wavelet", "grid": 2},
    CIRCUIT,
    {"basis": "daruan", "encoding": "shared", "ansatz": "px", "extend": "error"},
    {"basis": "daruan", "encoding": "edge", "readout": "amplitude"},
    {"basis": "daruan", "groups": 2},
]


def make(options: dict, n: int, m: int):
    own = dict(options)
    return bases.get(own.pop("basis"))(n, m, **own, seed=3)


@pytest.mark.parametrize("options", TAKEN, ids=lambda one: "-".join(map(str, one.values())))
def test_taken_edges_are_those_of_the_basis(options):
    basis, x = make(options, 3, 4), uniform((20, 3), -0.9, 0.9).float()
    with torch.no_grad():
        for place, parameter in enumerate(basis.parameters()):  # no two inputs alike
            parameter.add_(uniform(tuple(parameter.shape), -0.05, 0.05, seed=place))
    o, i = torch.tensor([3, 0, 2]), torch.tensor([1, 1, 2])
    taken = basis.take(o, i)
    assert (taken.in_features, taken.out_features) == (3, 1)
    assert_close(taken.edges(x[:, i])[:, 0], basis.edges(x)[:, o, i])


def test_taken_splines_keep_the_grids_of_their_inputs():
    basis, x = make({"basis": "bspline"}, 3, 4), uniform((50, 3), -0.9, 0.9).float() * torch.tensor([1.0, 0.3, 3.0])
    basis.update_grid(x)
    o, i = torch.tensor([3, 0, 2]), torch.tensor([2, 1, 2])
    assert_close(basis.take(o, i).edges(x[:, i])[:, 0], basis.edges(x)[:, o, i])


def test_every_basis_to_choose_can_be_a_member():
    members = [name for name in bases.names() if name != "mixture"]
    layer = qkan.KANLayer(2, 3, "mixture", members=members, gate="edge", seed=0)
    x = uniform((5, 2), -1, 1).float()
    assert bool(layer(x).isfinite().all())
    places = uniform((3, 2, len(members)), 0, 1, seed=4)
    with torch.no_grad():
        layer.basis.logits.copy_(places)
    chosen = layer.select()
    assert bool(chosen(x).isfinite().all())


def test_members_are_normalised_by_their_mean_square():
    """With one member alone every edge has a mean square of 1, however large its coefficients."""
    basis = Mixture(4, 40, members=[FOURIER, CIRCUIT], seed=0).double()
    x = stratified_normal(2000, seed=1).unsqueeze(-1).repeat(1, 4)
    for place, member in enumerate(basis.members):
        with torch.no_grad():
            basis.logits.copy_(torch.where(torch.arange(2) == place, 60.0, 0.0))
        if place == 0:
            before = basis.edges(x)
            with torch.no_grad():
                member.coef.mul_(7.0)
            assert_close(basis.edges(x), before)
        assert 0.9 < float(basis.edges(x).detach().square().mean()) < 1.1


def test_the_entropy_of_gates():
    basis = Mixture(2, 3, members=[FOURIER, CIRCUIT, WAVELET], gate="edge", seed=0)
    assert_close(basis.gate_entropy(), torch.tensor(math.log(3)))
    with torch.no_grad():
        basis.logits[..., 1] = 100.0
    assert float(basis.gate_entropy().detach()) < 1e-30
    assert basis.chosen().tolist() == [[1, 1]] * 3


# -- select --------------------------------------------------------------------------------------------------------


def decided(gate: str, **options) -> qkan.KANLayer:
    """A layer with a mixture, its gates decided to the last digit."""
    members = [FOURIER, {"basis": "bspline", "grid": 4}, CIRCUIT]
    layer = qkan.KANLayer(3, 2, "mixture", members=members, gate=gate, seed=1, **options)
    choice = torch.tensor([[0, 1, 2], [2, 0, 1]]) if gate == "edge" else torch.tensor(2)
    with torch.no_grad():
        layer.basis.logits.copy_(200.0 * torch.nn.functional.one_hot(choice, 3))
        for parameter in layer.parameters():
            if parameter is not layer.basis.logits:
                parameter.add_(uniform(tuple(parameter.shape), -0.2, 0.2))
    return layer


@pytest.mark.parametrize("gate", ["layer", "edge"])
@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"scale": "both"}, {"bias": "edge"}, {"base": None}], ids=str
)
def test_selecting_keeps_a_decided_function(gate, options):
    layer, x = decided(gate, **options), uniform((30, 3), -1.5, 1.5).float()
    chosen = layer.select()
    assert_close(chosen(x), layer(x), rtol=1e-5, atol=1e-5)
    assert_close(chosen.edges(x).sum(-1) + chosen.output_bias(), layer(x), rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad for parameter in chosen.parameters())
    rebuilt = qkan.KANLayer(**json.loads(json.dumps(chosen.config())), seed=9)
    rebuilt.load_state_dict(chosen.state_dict())
    assert torch.equal(rebuilt(x), chosen(x))


def test_a_layer_gate_leaves_a_plain_layer_with_the_same_parameters():
    layer = decided("layer")
    chosen, plain = layer.select(), qkan.KANLayer(3, 2, "daruan", reps=2)
    assert type(chosen.basis) is bases.Daruan
    assert torch.equal(chosen.basis.theta, layer.basis.members[2].theta)
    assert chosen.basis.theta is not layer.basis.members[2].theta
    assert sum(p.numel() for p in chosen.parameters()) == sum(p.numel() for p in plain.parameters())


def test_undecided_gates_leave_what_the_winner_added():
    layer, x = qkan.KANLayer(2, 3, "mixture", members=[FOURIER, CIRCUIT], base=None, seed=0), uniform((9, 2), -1, 1)
    with torch.no_grad():
        layer.basis.logits.copy_(torch.tensor([0.1, 0.0]))
    layer, x = layer.double(), x
    own = layer.basis.weights()[0] * layer.basis.members[0].edges(x) * layer.scale
    assert_close(layer.select().edges(x), own)


def test_edges_cost_their_own_member_only_and_pruned_ones_nothing():
    layer, x = decided("edge", base=None), uniform((12, 3), -1, 1).float()
    layer.set_mask(torch.tensor([[1, 1, 1], [1, 0, 0]]))
    chosen = layer.select()
    own = sum(p.numel() for p in chosen.basis.parameters())
    assert own == 1 * 4 + 1 * 7 + 2 * 6  # one series, one spline, two circuits
    assert torch.equal(chosen.basis.parts["0"].coef[0, 0], layer.basis.members[0].coef[0, 0])
    assert_close(chosen(x), layer(x), rtol=1e-5, atol=1e-5)
    assert bool((chosen.edges(x)[:, 1, 1:] == 0).all())
    assert chosen.matmul_flops(100) < layer.matmul_flops(100) / 2


def test_selected_edges_have_gradients_and_moments():
    basis = decided("edge").select().basis.double()
    x = uniform((4, 3), -1, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: (basis(x, torch.full((2, 3), 0.7).double()), basis.edges(x)), [x])
    points = stratified_normal(20_000, seed=2).unsqueeze(-1).repeat(1, 3)
    assert_close(basis.moments()[0], basis.edges(points).square().mean().detach(), rtol=0.01, atol=0)
    for shape in ((3,), (0, 3), (2, 5, 3)):
        rows = uniform(shape, -1, 1)
        assert basis(rows).shape == (*shape[:-1], 2)
        assert_close(basis.edges(rows).sum(-1), basis(rows))
    assert copy.deepcopy(basis).config() == basis.config()


def test_a_measured_circuit_can_be_a_member(tmp_path):
    """Deployment runs the circuits of a mixture once, and the measured mixture is saved like others."""
    from qkan.circuits import backends, deploy

    model = qkan.KAN([2, 2], "mixture", members=[FOURIER, CIRCUIT], seed=0)
    x = uniform((6, 2), -1, 1).float()
    run = deploy(model, backends.get("torch"), progress=False)
    assert_close(run.model(x), model(x), rtol=1e-4, atol=1e-5)
    run.model.network.save(tmp_path / "m")
    assert torch.equal(qkan.KAN.load(tmp_path / "m")(x), run.model(x))
    edges = qkan.KANLayer(2, 2, "mixture", members=[FOURIER, CIRCUIT], gate="edge", seed=0)
    measured = deploy(edges, backends.get("torch"), progress=False).model.network
    with pytest.raises(OptionError, match="select from the trained model"):
        measured.select()


# -- bad options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": ["fourier"]}, "two or more"),
        ({"members": "fourier"}, "must list bases"),
        ({"members": ["fourier", 3]}, "must be a name or"),
        ({"members": ["fourier", "nothing"]}, "'nothing' is not known"),
        ({"members": ["fourier", "mixture"]}, "a choice of bases itself"),
        ({"members": ["fourier", {"basis": "bspline", "degree": 3}]}, "'degree' is not known"),
        ({"gate": "node"}, "gate='node' is not known"),
        ({"temperature": 0}, "temperature=0 must be"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        Mixture(2, 2, **options)


def test_nothing_can_be_selected_where_every_edge_is_pruned():
    layer = decided("edge")
    layer.set_mask(torch.zeros(2, 3))
    with pytest.raises(OptionError, match="every edge of the layer is pruned"):
        layer.select()


def test_only_mixtures_can_be_selected_from():
    with pytest.raises(OptionError, match="basis='mixture'; this one has 'bspline'"):
        qkan.KANLayer(2, 2, "bspline").select()
    with pytest.raises(OptionError, match="select needs a layer with basis='mixture'"):
        qkan.KAN([2, 2]).select()
    with pytest.raises(ShapeError, match=r"choice of shape \(1, 2\) must be \(2, 2\)"):
        Selected(2, 2, members=["fourier"], choice=[[0, 0]])
    with pytest.raises(OptionError, match="places of the 1 members"):
        Selected(2, 2, members=["fourier"], choice=[[0, 0], [0, 1]])
