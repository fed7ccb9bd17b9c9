"""Gate orders, parameter counts and drawings of the DARUAN circuits."""

import dataclasses
import math

import pytest

from qkan.circuits import ANSATZE, daruan
from qkan.errors import OptionError

#: Two repetitions, gate by gate: t is a trainable, d a data and c a constant angle.
EXPECTED = {
    "pz": "z:t0 y:t1 z:d0 z:t2 y:t3 z:d1 z:t4 y:t5",
    "rpz": "y:t0 z:t1 z:d0 y:t2 z:t3 z:d1 y:t4",
    "px": "z:t0 x:d0 z:t1 x:d1",
    "real": "x:c y:t0 z:c y:d0 x:c y:t1 z:c y:d1",
    "mix": "z:t0 x:t1 y:d0 z:t2 x:t3 y:d1 z:t4 x:t5",
}
COUNTS = {  # trainable angles for reps = 1, 2, 3, 5
    "pz": (4, 6, 8, 12),
    "rpz": (3, 5, 7, 11),
    "px": (1, 2, 3, 5),
    "real": (1, 2, 3, 5),
    "mix": (4, 6, 8, 12),
}


def short(gate: tuple[str, str, float]) -> str:
    axis, source, value = gate
    return f"{axis}:c" if source == "const" else f"{axis}:{source[0]}{value}"


def test_there_are_the_five_published_ansatze():
    assert list(ANSATZE) == ["pz", "rpz", "px", "real", "mix"]


@pytest.mark.parametrize("ansatz", EXPECTED)
def test_gate_order(ansatz):
    assert " ".join(map(short, daruan(2, ansatz).gates)) == EXPECTED[ansatz]


def test_constant_gates_are_half_turns():
    constants = [value for _, source, value in daruan(3, "real").gates if source == "const"]
    assert constants == [math.pi] * 6


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("ansatz", COUNTS)
def test_parameter_counts(ansatz, place):
    reps = (1, 2, 3, 5)[place]
    circuit = daruan(reps, ansatz)
    trainable = [value for _, source, value in circuit.gates if source == "theta"]
    data = [value for _, source, value in circuit.gates if source == "data"]
    assert circuit.num_parameters == COUNTS[ansatz][place]
    assert circuit.num_parameters == reps * circuit.block_size + circuit.closing_size
    assert trainable == list(range(circuit.num_parameters))
    assert data == list(range(reps))


def test_drawings():
    assert str(daruan(1, "pz")) == "|0⟩──H──RZ(θ0)──RY(θ1)──RZ(φ0)──RZ(θ2)──RY(θ3)──⟨Z⟩"
    assert str(daruan(1, "rpz")) == "|0⟩──H──RY(θ0)──RZ(θ1)──RZ(φ0)──RY(θ2)──⟨Z⟩"
    assert str(daruan(2, "px")) == "|0⟩──H──RZ(θ0)──RX(φ0)──RZ(θ1)──RX(φ1)──⟨Z⟩"
    assert str(daruan(1, "real")) == "|0⟩──H──X──RY(θ0)──Z──RY(φ0)──⟨Z⟩"
    assert str(daruan(1, "mix")) == "|0⟩──H──RZ(θ0)──RX(θ1)──RY(φ0)──RZ(θ2)──RX(θ3)──⟨Z⟩"


def test_three_repetitions_of_pz_are_the_default():
    assert daruan() == daruan(3, "pz")
    assert daruan(3, "pz") != daruan(3, "mix")


def test_circuits_are_immutable_and_hashable():
    circuit = daruan(2, "rpz")
    with pytest.raises(dataclasses.FrozenInstanceError):
        circuit.reps = 3
    assert len({circuit, daruan(2, "rpz"), daruan(3, "rpz")}) == 2


def test_an_unknown_ansatz_lists_the_known_ones():
    with pytest.raises(OptionError, match="ansatz='ry' is not known; choose one of 'pz', 'rpz', 'px', 'real', 'mix'"):
        daruan(3, "ry")


@pytest.mark.parametrize("reps", [0, -1, 2.0, True, "3", None])
def test_repetitions_must_be_a_positive_whole_number(reps):
    with pytest.raises(OptionError, match=r"reps=.* must be a whole number of at least 1"):
        daruan(reps)
