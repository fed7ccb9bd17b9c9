"""DARUAN: what its spectrum allows, which tensors it makes, how it grows, and what it refuses."""

import math

import pytest
import torch
from basis_contract import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qkan.bases import Daruan
from qkan.errors import DomainError, OptionError, QKANError, RefineError
from qkan.kernels import spectral

BASES = {"unit": 1, "binary": 2, "ternary": 3}
FREQUENCIES = list(BASES)


def spectrum(basis: Daruan, points: int = 64) -> torch.Tensor:
    """Largest FFT amplitude over all edges at 0, 1, 2 … cycles per 2π."""
    x = 2 * math.pi * torch.arange(points, dtype=torch.float64).unsqueeze(-1) / points
    values = basis.edges(x.expand(-1, basis.in_features)).detach().flatten(1)
    return torch.fft.rfft(values, dim=0).abs().amax(1) / points


# -- spectrum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frequencies", "degree"), [("unit", 3), ("binary", 7), ("ternary", 13)])
@pytest.mark.parametrize("ansatz", ["pz", "rpz", "mix"])
def test_the_spectrum_ends_at_the_sum_of_the_weights(ansatz, frequencies, degree):
    basis = Daruan(3, 3, ansatz=ansatz, frequencies=frequencies, seed=0).double()
    amplitudes = spectrum(basis)
    assert basis.degree == degree
    assert basis.num_features == 2 * degree + 1
    assert float(amplitudes[degree + 1 :].max()) < 1e-14
    assert float(amplitudes[: degree + 1].min()) > 1e-3  # every allowed frequency is used


@pytest.mark.parametrize("encoding", ["shared", "edge"])
def test_the_spectrum_holds_sums_of_weights_only(encoding):
    basis = Daruan(2, 3, reps=2, encoding=encoding, seed=0).double()
    with torch.no_grad():
        basis.frequency.copy_(torch.tensor([1.0, 5.0]).expand_as(basis.frequency))
    amplitudes = spectrum(basis)
    allowed = {abs(one + 5 * five) for one in (-1, 0, 1) for five in (-1, 0, 1)}
    assert allowed == {0, 1, 4, 5, 6}
    for frequency, amplitude in enumerate(amplitudes.tolist()):
        assert (amplitude > 1e-3) == (frequency in allowed), frequency
        assert amplitude > 1e-3 or amplitude < 1e-14


def test_the_amplitude_readout_has_a_wider_spectrum():
    basis = Daruan(2, 2, readout="amplitude", seed=0).double()
    assert float(spectrum(basis)[4:].max()) > 1e-4


@settings(deadline=None, max_examples=50)
@given(
    x=st.floats(-1e3, 1e3),
    ansatz=st.sampled_from(["pz", "rpz", "px", "real", "mix"]),
    encoding=st.sampled_from(["fixed", "shared", "edge"]),
    readout=st.sampled_from(["z", "amplitude"]),
    seed=st.integers(0, 1000),
)
def test_edge_functions_lie_between_minus_one_and_one(x, ansatz, encoding, readout, seed):
    basis = Daruan(1, 4, ansatz=ansatz, encoding=encoding, readout=readout, reps=2, seed=seed).double()
    assert float(basis.edges(torch.tensor([x], dtype=torch.float64)).detach().abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("frequencies", FREQUENCIES)
def test_cardinal_functions_interpolate_the_node_values_exactly(frequencies):
    basis = Daruan(2, 3, frequencies=frequencies, seed=0).double()
    x = uniform((50, 2), -9, 9)
    interpolated = torch.einsum("...nk,mnk->...mn", spectral.dirichlet(x, basis.degree), basis.node_values())
    assert_close(basis.edges(x), interpolated, rtol=0, atol=1e-12)


def test_cardinal_functions_of_the_torus_interpolate_the_node_values_exactly():
    basis = Daruan(2, 3, encoding="shared", frequencies="binary", seed=0).double()
    with torch.no_grad():
        basis.frequency.copy_(uniform((2, 3), -2, 2))
    x = uniform((50, 2), -9, 9)
    cardinal = spectral.torus_dirichlet(basis.data_angles(x))
    interpolated = torch.einsum("...nk,mnk->...mn", cardinal, basis.node_values())
    assert_close(basis.edges(x), interpolated, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(x=st.floats(-50, 50), frequencies=st.sampled_from(FREQUENCIES), seed=st.integers(0, 100))
def test_noise_in_node_values_is_not_amplified(x, frequencies, seed):
    """Independent unit noise at the nodes has unit variance at every x, as the squares of the weights sum to 1."""
    degree = Daruan(1, 1, frequencies=frequencies, seed=seed).degree
    weights = spectral.dirichlet(torch.tensor(x, dtype=torch.float64), degree)
    assert float(weights.square().sum()) == pytest.approx(1, abs=1e-12)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


# -- memory --------------------------------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements in any tensor made while it is active."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def largest_tensors(**options: object) -> tuple[int, int]:
    """Elements of the largest tensor made and of the largest saved, in a forward and backward pass."""
    basis = Daruan(17, 41, seed=0, **options)
    x = torch.randn(64, 17, generator=torch.Generator().manual_seed(0), requires_grad=True)
    saved = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with LargestTensor() as made, saved_tensors_hooks(note, lambda tensor: tensor):
        basis(x).square().sum().backward()
    assert x.grad is not None
    return made.elements, max(saved)


PER_EDGE = 64 * 17 * 41  # batch x n x m; with K = 27, features have 64·17·27 and node values 41·17·27 elements


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"frequencies": "ternary"}, {"encoding": "shared"}, {"encoding": "shared", "ansatz": "px"}],
    ids=lambda options: "-".join(options.values()) or "default",
)
def test_the_fast_routes_make_nothing_of_size_batch_by_edges(options, groups):
    made, saved = largest_tensors(groups=groups, **options)
    features = 64 * 17 * Daruan(17, 41, **options).num_features
    assert features <= made < PER_EDGE
    assert saved < PER_EDGE


@pytest.mark.parametrize("options", [{"encoding": "edge"}, {"readout": "amplitude"}], ids=["edge", "amplitude"])
def test_the_per_edge_routes_do(options):
    made, saved = largest_tensors(**options)
    assert made >= PER_EDGE
    assert saved >= PER_EDGE


def test_the_layer_weights_keep_the_fast_route():
    basis = Daruan(17, 41, seed=0)
    with LargestTensor() as made:
        basis(torch.zeros(64, 17), torch.ones(41, 17)).sum().backward()
    assert made.elements < PER_EDGE


# -- groups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
def test_inputs_of_a_group_and_all_outputs_share_one_circuit(encoding):
    basis = Daruan(7, 4, groups=3, encoding=encoding, seed=0).double()
    x = uniform((6, 1), -3, 3).expand(6, 7)
    edges = basis.edges(x)
    assert basis.theta.shape == (3, 8)
    for i in range(7):
        assert_close(edges[:, :, i], edges[:, :1, i % 3].expand(6, 4), rtol=0, atol=1e-13)
    assert not torch.allclose(edges[:, 0, 0], edges[:, 0, 1])


def test_groups_gather_the_gradients_of_their_edges():
    basis = Daruan(5, 2, groups=2, seed=0).double()
    basis(uniform((6, 5), -3, 3))[:, 0].sum().backward()
    alone = Daruan(5, 2, seed=0).double()
    with torch.no_grad():
        alone.theta.copy_(basis.theta[torch.arange(5) % 2].expand(2, 5, 8))
    alone(uniform((6, 5), -3, 3))[:, 0].sum().backward()
    expected = torch.stack([alone.theta.grad[:, [0, 2, 4]].sum((0, 1)), alone.theta.grad[:, [1, 3]].sum((0, 1))])
    assert_close(basis.theta.grad, expected, rtol=0, atol=1e-12)


# -- refinement ----------------------------------------------------------------------------------------------------


def perturbed(**options: object) -> Daruan:
    basis = Daruan(3, 2, reps=2, seed=0, **options).double()
    with torch.no_grad():
        for place, parameter in enumerate(p for p in (basis.frequency, basis.shift) if p is not None):
            parameter.add_(uniform(tuple(parameter.shape), -0.3, 0.3, seed=place))
    return basis


REFINABLE = [(ansatz, encoding) for ansatz in ("pz", "rpz") for encoding in ("fixed", "shared", "edge")]
REFINABLE += [(ansatz, encoding) for ansatz in ("mix", "real") for encoding in ("shared", "edge")]


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("readout", ["z", "amplitude"])
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize(("ansatz", "encoding"), REFINABLE)
def test_more_repetitions_keep_the_function(ansatz, encoding, size, readout, groups):
    basis = perturbed(ansatz=ansatz, encoding=encoding, readout=readout, groups=groups)
    x = uniform((60, 3), -3, 3)
    finer = basis.refine(size)
    assert finer.reps == size
    assert finer.config() == {**basis.config(), "reps": size}
    assert_close(finer.edges(x), basis.edges(x), rtol=0, atol=1e-6)
    assert_close(finer(x), basis(x), rtol=0, atol=3e-6)


@pytest.mark.parametrize(("ansatz", "encoding"), REFINABLE)
def test_the_new_repetitions_can_learn(ansatz, encoding):
    finer = perturbed(ansatz=ansatz, encoding=encoding).refine(3)
    y = finer(uniform((20, 3), -3, 3))
    theta_gradient, *_ = torch.autograd.grad(y.square().sum(), list(finer.parameters()))
    new_block = theta_gradient[..., 2 * finer.circuit.block_size : 3 * finer.circuit.block_size]
    assert float(new_block.abs().max()) > 1e-6


@pytest.mark.parametrize("ansatz", ["mix", "real"])
def test_fixed_frequencies_cannot_be_extended_where_data_gates_do_not_commute(ansatz):
    with pytest.raises(RefineError, match=rf"{ansatz} with encoding='fixed' cannot be extended.*'shared' or 'edge'"):
        Daruan(2, 2, ansatz=ansatz, seed=0).refine(4)


@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
def test_px_cannot_be_extended(encoding):
    with pytest.raises(RefineError, match="arccos 1 has no finite gradient"):
        Daruan(2, 2, ansatz="px", encoding=encoding, seed=0).refine(4)


@pytest.mark.parametrize("size", [1, 3])
def test_refining_needs_more_repetitions(size):
    with pytest.raises(RefineError, match=f"reps={size} must be larger than the present 3"):
        Daruan(2, 2, seed=0).refine(size)


# -- px and options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["fixed", "shared", "edge"])
def test_px_clamps_or_refuses_inputs_outside_its_domain(encoding):
    options = {"ansatz": "px", "encoding": encoding, "seed": 0}
    inside, outside = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5, 1.75]])
    clamped = Daruan(2, 3, **options)
    strict = Daruan(2, 3, extend="error", **options)
    assert_close(clamped(outside), clamped(inside))
    assert_close(strict(inside), clamped(inside))
    with pytest.raises(DomainError, match=r"\|x\| <= 1, but got 1\.75; use extend='clamp'"):
        strict(outside)


@pytest.mark.parametrize("options", [{"reps": 8, "frequencies": "ternary"}, {"reps": 8, "encoding": "shared"}])
def test_too_many_nodes_are_refused_before_memory_is_taken(options):
    with pytest.raises(OptionError, match=r"needs 65\d\d nodes per edge; at most 4096"):
        Daruan(2, 2, **options)
    assert Daruan(2, 2, **{**options, "encoding": "edge"}, seed=0)(torch.zeros(1, 2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("ansatz", "ry", "'pz', 'rpz', 'px', 'real', 'mix'"),
        ("encoding", "none", "'fixed', 'shared', 'edge'"),
        ("frequencies", "prime", "'unit', 'binary', 'ternary'"),
        ("readout", "x", "'z', 'amplitude'"),
        ("extend", "clamp", "'periodic'"),
    ],
)
def test_unknown_option_values_list_the_valid_ones(option, value, valid):
    with pytest.raises(OptionError, match=f"{option}='{value}' is not known; choose one of {valid}"):
        Daruan(2, 2, **{option: value})


@pytest.mark.parametrize(("option", "value"), [("reps", 0), ("reps", 1.5), ("groups", 0), ("in_features", 0)])
def test_counts_must_be_whole_and_positive(option, value):
    with pytest.raises(OptionError, match=f"{option}={value} must be a whole number of at least 1"):
        Daruan(**{"in_features": 2, "out_features": 2, option: value})


@pytest.mark.parametrize("call", ["features", "node_values"])
def test_edge_encoding_says_that_it_has_no_shared_features(call):
    basis = Daruan(2, 2, encoding="edge", seed=0)
    arguments = (torch.zeros(1, 2),) if call == "features" else ()
    with pytest.raises(QKANError, match="encoding='edge' has no"):
        getattr(basis, call)(*arguments)
