"""DARUAN against a simulation with complex 2×2 matrices, and its closed forms."""

import itertools
import math
import re
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

from qkan.bases import Daruan
from qkan.testing import BasisContract
from qkan.testing.basis_contract import BFLOAT16_UNIT, uniform

#: Gates of one repetition and closing gates, first gate first; θ counts within the repetition, φ is the data angle.
GATE_TABLE = {
    "pz": ("Rz(θ0) Ry(θ1) Rz(φ)", "Rz(θ0) Ry(θ1)"),
    "rpz": ("Ry(θ0) Rz(θ1) Rz(φ)", "Ry(θ0)"),
    "px": ("Rz(θ0) Rx(φ)", ""),
    "real": ("X Ry(θ0) Z Ry(φ)", ""),
    "mix": ("Rz(θ0) Rx(θ1) Ry(φ)", "Rz(θ0) Rx(θ1)"),
}
ANSATZE = list(GATE_TABLE)
PAULI = {"X": [[0, 1], [1, 0]], "Z": [[1, 0], [0, -1]]}


def rotation(axis: str, angle: torch.Tensor) -> torch.Tensor:
    """exp(-i angle σ/2) as complex matrices (..., 2, 2)."""
    cos, sin = torch.cos(angle / 2) + 0j, torch.sin(angle / 2) + 0j
    rows = {
        "x": [cos, -1j * sin, -1j * sin, cos],
        "y": [cos, -sin, sin, cos],
        "z": [cos - 1j * sin, 0 * cos, 0 * cos, cos + 1j * sin],
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (2, 2))


def final_state(ansatz: str, theta: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
    """(α, β), shape (..., 2), from trainable angles (..., P) and data angles (..., L)."""
    block, closing = (gates.split() for gates in GATE_TABLE[ansatz])
    block_size = len(re.findall("θ", GATE_TABLE[ansatz][0]))
    reps = phi.shape[-1]
    shape = torch.broadcast_shapes(theta.shape[:-1], phi.shape[:-1])
    state = torch.full((*shape, 2, 1), 1 / math.sqrt(2), dtype=torch.complex128)  # H|0⟩
    for rep, gates in enumerate([block] * reps + [closing]):
        for gate in gates:
            if gate in PAULI:
                matrix = torch.tensor(PAULI[gate], dtype=torch.complex128)
            elif "φ" in gate:
                matrix = rotation(gate[1], phi[..., rep])
            else:
                matrix = rotation(gate[1], theta[..., rep * block_size + int(gate[4])])
            state = matrix @ state
    return state.squeeze(-1)


def z_of(state: torch.Tensor) -> torch.Tensor:
    return state[..., 0].abs() ** 2 - state[..., 1].abs() ** 2


def per_edge(basis: Daruan, values: torch.Tensor) -> torch.Tensor:
    """Parameters of every edge, (m, n, ...): input i uses circuit i mod groups."""
    values = values.detach()
    if basis.groups is None:
        return values
    row = torch.stack([values[i % basis.groups] for i in range(basis.in_features)])
    return torch.stack([row] * basis.out_features)


def dense_angles(basis: Daruan, x: torch.Tensor) -> torch.Tensor:
    """Data angles (..., m, n, L) of every edge."""
    x = x[..., None, :, None].expand(*x.shape[:-1], basis.out_features, -1, 1)
    if basis.encoding == "fixed":
        base = {"unit": 1, "binary": 2, "ternary": 3}[basis.frequencies]
        weight = torch.tensor([float(base**rep) for rep in range(basis.reps)], dtype=torch.float64)
        return weight * (torch.acos(x.clamp(-1, 1)) if basis.ansatz == "px" else x)
    shift = torch.zeros_like(basis.frequency) if basis.shift is None else basis.shift
    weight, shift = (p.detach() if basis.encoding == "shared" else per_edge(basis, p) for p in (basis.frequency, shift))
    u = weight * x + shift
    return torch.acos(u.clamp(-1, 1)) if basis.ansatz == "px" else u


def dense_edges(basis: Daruan, x: torch.Tensor) -> torch.Tensor:
    state = final_state(basis.ansatz, per_edge(basis, basis.theta), dense_angles(basis, x))
    return z_of(state) if basis.readout == "z" else state[..., 0].abs() - state[..., 1].abs()


class DaruanContract(BasisContract):
    options: ClassVar = {}
    interior = (-math.pi, math.pi)
    anchors = (-math.pi, -2 * math.pi / 3, 0.0, 2 * math.pi / 3, math.pi)

    def __init_subclass__(cls, **kw):
        super().__init_subclass__(**kw)
        cls.layer_options = {"basis": "daruan", **cls.options}

    def make_basis(self, in_features, out_features, **kw):
        return Daruan(in_features, out_features, **self.options, **kw)

    def dense_reference(self, basis, x):
        return dense_edges(basis, x)

    def bfloat16_bound(self, basis, x):
        """Node values, transform, features and products are rounded; for "edge", the data angles are."""
        if basis.encoding == "edge":
            return BFLOAT16_UNIT * (1 + dense_angles(basis, x).abs().sum(-1))
        sums = basis.node_values().abs() @ basis.transform.abs()
        bound = 2 * BFLOAT16_UNIT * torch.einsum("...nk,mnk->...mn", basis.features(x).abs(), sums)
        if basis.readout == "z":
            return bound
        z = z_of(final_state(basis.ansatz, basis.theta, dense_angles(basis, x)))
        ends = [magnitude_difference((z + sign * bound).clamp(-1, 1)) for sign in (-1, 1)]
        return ends[1] - ends[0] + BFLOAT16_UNIT


def magnitude_difference(z: torch.Tensor) -> torch.Tensor:
    """|α| - |β| for |α|² - |β|² = z."""
    return torch.sqrt((1 + z) / 2) - torch.sqrt((1 - z) / 2)


class TestFixedUnitPz(DaruanContract):
    options: ClassVar = {}
    refine_size = 5


class TestFixedTernaryRpz(DaruanContract):
    options: ClassVar = {"ansatz": "rpz", "frequencies": "ternary"}
    refine_size = 4


class TestSharedBinaryPz(DaruanContract):
    options: ClassVar = {"encoding": "shared", "frequencies": "binary"}
    refine_size = 4


class TestEdgeMix(DaruanContract):
    options: ClassVar = {"ansatz": "mix", "encoding": "edge", "reps": 2}
    refine_size = 3
    per_edge = True


class TestClampedPx(DaruanContract):
    options: ClassVar = {"ansatz": "px"}
    interior = (-0.95, 0.95)
    anchors = (-1.0, -0.5, 0.0, 0.5, 1.0)
    anchor_tolerance = 1e-6  # arccos is taken one rounding unit inside ±1, which is √(2 eps) = 2e-8 in angle
    refine_refused = "arccos 1 has no finite gradient"
    slope_has_moment = False  # (d arccos x / dx)² = 1 / (1 - x²) is not integrable


class TestReal(DaruanContract):
    options: ClassVar = {"ansatz": "real", "frequencies": "binary"}
    refine_refused = "do not commute with the measurement"


class TestGrouped(DaruanContract):
    options: ClassVar = {"groups": 3, "reps": 2, "frequencies": "binary"}
    refine_size = 3


class TestAmplitudeReadout(DaruanContract):
    options: ClassVar = {"readout": "amplitude", "reps": 2}
    refine_size = 3
    per_edge = True


# -- every combination against the complex simulation --------------------------------------------------------------


def randomised(seed: int = 0, **options: object) -> Daruan:
    """A float64 basis 5 -> 3 with random weights and shifts, such that px stays inside its domain."""
    basis = Daruan(5, 3, seed=seed, **options).double()
    with torch.no_grad():
        for place, parameter in enumerate(p for p in (basis.frequency, basis.shift) if p is not None):
            parameter.copy_(uniform(tuple(parameter.shape), 0.1, 0.5, seed=seed + 1 + place))
    return basis


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("readout", ["z", "amplitude"])
@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_edges_agree_with_complex_matrices(ansatz, encoding, readout, groups):
    basis = randomised(reps=2, ansatz=ansatz, encoding=encoding, readout=readout, groups=groups, frequencies="ternary")
    x = uniform((11, 5), -0.9, 0.9, seed=4)
    expected = dense_edges(basis, x)
    assert_close(basis.edges(x), expected, rtol=0, atol=1e-12)
    assert_close(basis(x), expected.sum(-1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("frequencies", ["unit", "binary", "ternary"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_node_values_on_the_circle_are_expectations_at_the_nodes(ansatz, frequencies):
    basis = Daruan(2, 3, ansatz=ansatz, frequencies=frequencies, seed=1).double()
    weights = torch.tensor([{"unit": 1, "binary": 2, "ternary": 3}[frequencies] ** rep for rep in range(3)])
    count = 2 * int(weights.sum()) + 1
    phi = 2 * math.pi * torch.arange(count, dtype=torch.float64).unsqueeze(-1) / count * weights
    expected = z_of(final_state(ansatz, basis.theta.detach().unsqueeze(-2), phi))
    assert expected.shape == (3, 2, count)
    assert_close(basis.node_values(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_node_values_on_the_torus_are_expectations_at_the_nodes(ansatz):
    basis = Daruan(2, 3, ansatz=ansatz, encoding="shared", seed=1).double()
    third = 2 * math.pi / 3
    phi = torch.tensor(list(itertools.product([0, third, 2 * third], repeat=3)), dtype=torch.float64)
    expected = z_of(final_state(ansatz, basis.theta.detach().unsqueeze(-2), phi))
    assert expected.shape == (3, 2, 27)
    assert_close(basis.node_values(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("frequencies", ["unit", "ternary"])
def test_bfloat16_circuits_are_evaluated_in_float32(frequencies):
    basis = Daruan(4, 4, frequencies=frequencies, seed=1).bfloat16()
    twin = Daruan(4, 4, frequencies=frequencies, seed=1).double()
    twin.load_state_dict({name: value.double() for name, value in basis.state_dict().items()})
    assert_close(basis.node_values().double(), twin.node_values(), rtol=0, atol=BFLOAT16_UNIT)


def test_bfloat16_data_angles_of_edges_are_evaluated_in_float32():
    basis = Daruan(4, 4, encoding="edge", frequencies="ternary", seed=1).bfloat16()
    twin = Daruan(4, 4, encoding="edge", frequencies="ternary", seed=1).double()
    twin.load_state_dict({name: value.double() for name, value in basis.state_dict().items()})
    x = uniform((50, 4), -3, 3).bfloat16()
    assert_close(basis.edges(x).double(), twin.edges(x.double()), rtol=0, atol=BFLOAT16_UNIT)


# -- closed forms --------------------------------------------------------------------------------------------------


def test_one_repetition_of_pz_has_the_known_closed_form():
    basis = Daruan(2, 3, reps=1, seed=2).double()
    x = uniform((9, 2), -4, 4)
    a, b, c, d = basis.theta.detach().unbind(-1)
    p = x.unsqueeze(-2) + c
    inner = torch.cos(a) * torch.cos(b) * torch.cos(p) - torch.sin(a) * torch.sin(p)
    expected = -torch.sin(d) * inner - torch.cos(d) * torch.cos(a) * torch.sin(b)
    assert_close(basis.edges(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("reps", [1, 2, 3, 4])
@pytest.mark.parametrize("frequencies", ["unit", "binary"])
def test_real_is_a_single_cosine(reps, frequencies):
    basis = Daruan(2, 3, reps=reps, ansatz="real", frequencies=frequencies, seed=2).double()
    x = uniform((9, 2), -4, 4)
    total = reps if frequencies == "unit" else 2**reps - 1
    phase = math.pi / 2 - reps * math.pi - basis.theta.detach().sum(-1)
    assert_close(basis.edges(x), torch.cos(phase + total * x.unsqueeze(-2)), rtol=0, atol=1e-12)


# -- amplitude readout ---------------------------------------------------------------------------------------------


def test_amplitude_readout_is_the_published_function_of_z():
    options = {"reps": 3, "frequencies": "binary", "seed": 3}
    x = uniform((200, 2), -4, 4)
    z = Daruan(2, 2, **options).double().edges(x)
    amplitude = Daruan(2, 2, readout="amplitude", **options).double()
    state = final_state("pz", amplitude.theta.detach(), dense_angles(amplitude, x))
    published = torch.sign(z) * torch.sqrt(1 - torch.sqrt(1 - z**2))
    assert_close(amplitude.edges(x), state[..., 0].abs() - state[..., 1].abs(), rtol=0, atol=1e-12)
    assert_close(amplitude.edges(x), published, rtol=0, atol=1e-7)  # the published form cancels at Z = 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("angle", "value"), [(-math.pi / 2, 1.0), (math.pi / 2, -1.0), (0.0, 0.0)])
def test_amplitude_readout_has_finite_gradients_at_its_kinks(dtype, angle, value):
    basis = Daruan(1, 1, readout="amplitude", seed=0).to(dtype)
    with torch.no_grad():
        basis.theta.zero_()
        basis.theta[..., 1] = angle  # the first RY turns |+⟩ to a pole or not at all; the data gates do nothing
    x = torch.linspace(-3, 3, 13, dtype=dtype).unsqueeze(-1).requires_grad_()
    y = basis(x)
    # The slope is cut off where 1 - Z² is below eps, hence by √eps in 1 - |g|.
    assert_close(y, torch.full_like(y, value), rtol=0, atol=2 * torch.finfo(dtype).eps ** 0.5)
    gradients = torch.autograd.grad(y.sum(), [x, basis.theta])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


# -- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reps", [1, 3])
@pytest.mark.parametrize(
    ("ansatz", "one", "three"), [("pz", 4, 8), ("rpz", 3, 7), ("px", 1, 3), ("real", 1, 3), ("mix", 4, 8)]
)
def test_bare_parameter_counts_per_edge(ansatz, one, three, reps):
    basis = Daruan(5, 4, reps=reps, ansatz=ansatz, seed=0)
    assert sum(p.numel() for p in basis.parameters()) == 20 * (one if reps == 1 else three)
    assert basis.theta.shape == (4, 5, basis.circuit.num_parameters)


@pytest.mark.parametrize(("ansatz", "biased"), [("pz", 0), ("rpz", 0), ("px", 1), ("real", 0), ("mix", 1)])
@pytest.mark.parametrize(
    ("encoding", "groups", "leading"), [("shared", None, (5,)), ("edge", None, (4, 5)), ("edge", 2, (2,))]
)
def test_trainable_weights_live_where_the_encoding_says(ansatz, biased, encoding, groups, leading):
    basis = Daruan(5, 4, ansatz=ansatz, encoding=encoding, groups=groups, seed=0)
    assert basis.frequency.shape == (*leading, 3)
    assert (basis.shift is not None) == bool(biased)
    assert not biased or basis.shift.shape == (*leading, 3)


@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_no_parameter_is_dead(ansatz, encoding):
    basis = randomised(ansatz=ansatz, encoding=encoding)
    gradients = torch.autograd.grad(basis(uniform((20, 5), -0.9, 0.9)).square().sum(), list(basis.parameters()))
    for gradient in gradients:
        assert float(gradient.abs().min()) > 1e-9
