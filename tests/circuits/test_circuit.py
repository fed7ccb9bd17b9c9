"""Circuits as descriptions: building, angles, observables, inverses and drawings."""

import copy
import dataclasses
import pickle

import pytest
import torch

from qkan.circuits import Circuit, PauliSum, X, Y, Z, data, parameter, parameters
from qkan.circuits.angles import Angle
from qkan.circuits.gates import KINDS, matrix
from qkan.errors import OptionError, ShapeError


def example() -> Circuit:
    """Two wires, two parameters, one data column."""
    a, b = parameters("a", 2)
    return Circuit(2).h(0).ry(2 * data(0) + a, 1).cnot(0, 1).rot(a, 0.5 * b, 0.25, 0).measure(Z(0) @ Z(1), X(1))


def test_angles_are_affine():
    a = parameter("a")
    assert 2 * (a + data(1)) - 0.5 == Angle(-0.5, (("a", 2.0),), ((1, 2.0),))
    assert 1 - a == Angle(1.0, (("a", -1.0),))
    assert a + a == 2 * a
    assert a - a == Angle()
    assert not (data(0) - data(0)).depends_on_data
    assert (0 * data(0) + a).data == ()
    assert -a == -1 * a
    assert sum(parameters("t", 3)) == Angle(0.0, (("t[0]", 1.0), ("t[1]", 1.0), ("t[2]", 1.0)))


def test_angles_print_as_formulas():
    assert str(2 * data(3) - parameter("w") + 0.5) == "-w + 2·x[3] + 0.5"
    assert str(data(0) - 1) == "x[0] - 1"
    assert str(Angle()) == "0"


@pytest.mark.parametrize("bad", ["0.5", None, float("nan"), float("inf"), 1j, torch.ones(1)])
def test_other_values_are_no_angles(bad):
    with pytest.raises(OptionError, match="must be a finite number, a parameter"):
        Circuit(1).rx(bad, 0)
    with pytest.raises(OptionError, match="must be a finite number"):
        data(0) * bad


def test_products_of_angles_are_refused():
    with pytest.raises(OptionError, match="the product of two angles is not affine"):
        data(0) * parameter("a")


@pytest.mark.parametrize("bad", [-1, 0.5, "x", True])
def test_columns_and_wires_are_whole_numbers(bad):
    with pytest.raises(OptionError, match=r"column=.* must be a whole number of at least 0"):
        data(bad)
    with pytest.raises(OptionError, match=r"wire=.* must be a whole number of at least 0"):
        Z(bad)


def test_counts_and_order_of_parameters():
    circuit = example()
    assert circuit.parameters == ("a[0]", "a[1]")
    assert (circuit.num_parameters, circuit.num_columns, circuit.num_angles) == (2, 1, 4)
    assert (Circuit(3).num_parameters, Circuit(3).num_columns, Circuit(3).num_angles) == (0, 0, 0)
    assert Circuit(2).amplitude_embedding(columns=3, start=1).num_columns == 4


def test_angle_map_gives_the_angles_and_their_gradients():
    circuit = example()
    x = torch.tensor([[0.3], [1.1]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)
    found = circuit.angles(x, theta)
    expected = torch.tensor([[1.3, 0.7, -0.2, 0.25], [2.9, 0.7, -0.2, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    by_x, by_theta = torch.autograd.grad(found.sum(), (x, theta))
    torch.testing.assert_close(by_x, torch.full_like(x, 2.0))
    torch.testing.assert_close(by_theta, torch.tensor([4.0, 1.0], dtype=torch.float64))


def test_angles_have_the_wider_type():
    circuit = example()
    assert circuit.angles(torch.ones(1), torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert circuit.angles(torch.ones(1, dtype=torch.int64), torch.ones(2)).dtype == torch.float32
    assert circuit.angles(torch.ones(5, 1), torch.ones(3, 1, 2)).shape == (3, 5, 4)
    assert Circuit(1).rx(0.5, 0).angles().tolist() == [0.5]


@pytest.mark.parametrize("shape", [(), (2,), (3, 0)])
def test_data_of_another_width_are_refused(shape):
    with pytest.raises(ShapeError, match=r"data of shape .* must have 1 as the last dimension"):
        example().angles(torch.zeros(shape), torch.zeros(2))


def test_missing_parameters_are_noticed():
    with pytest.raises(ShapeError, match=r"parameters of shape \(0,\) must have 2 as the last dimension"):
        example().angles(torch.zeros(1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(0), "wires=0 must be a whole number of at least 1"),
        (lambda: Circuit(2).add("RU", [0], 0.1), "gate='RU' is not known; choose one of 'H', 'X'"),
        (lambda: Circuit(2).cnot(0, 0), r"CNOT needs 2 different wires, but got \(0, 0\)"),
        (lambda: Circuit(2).h(2), r"H on wires \(2,\) needs wires from 0 to 1"),
        (lambda: Circuit(2).h(-1), r"H on wires \(-1,\) needs wires from 0 to 1"),
        (lambda: Circuit(2).add("RX", [0]), "RX needs 1 angles, but got 0"),
        (lambda: Circuit(2).measure(Z(2)), "observable Z2 acts on a wire beyond the last, 1"),
        (lambda: Circuit(2).measure("Z0"), "observable 'Z0' must be made of X"),
        (lambda: Circuit(2, observables=()), "a circuit needs one observable or more"),
        (lambda: Circuit(2).h(0).amplitude_embedding(), "must be the first gate on each of them"),
        (lambda: Circuit(2).amplitude_embedding(columns=5), "on 2 wires takes 1 to 4 columns, but got 5"),
        (lambda: Circuit(2).angle_embedding(rotation="W"), "rotation='W' is not known; choose one of 'X', 'Y', 'Z'"),
        (lambda: Circuit(2).then(Circuit(3)), "circuits of 2 and 3 wires cannot follow each other"),
        (lambda: Circuit(2).amplitude_embedding().inverse(), "has no inverse; invert the part after it"),
        (lambda: Circuit(1).draw("png"), "style='png' is not known; choose one of 'text', 'mpl'"),
        (lambda: Z(0) @ X(0), "needs different wires in its factors"),
        (lambda: Z(0) * Z(1), "products are @"),
        (lambda: PauliSum.from_strings({"ZQ": 1.0}), "'ZQ' may hold only the letters I, X, Y and Z"),
    ],
)
def test_mistakes_are_one_sentence(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_circuits_are_immutable_and_hashable():
    circuit = example()
    with pytest.raises(dataclasses.FrozenInstanceError):
        circuit.wires = 3
    longer = circuit.x(0)
    assert len(longer.gates) == len(circuit.gates) + 1
    assert len({circuit, example(), longer}) == 2
    assert hash(Circuit(1, [], [Z(0)])) == hash(Circuit(1))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_equal_and_leave_cached_values_behind(clone):
    circuit = example()
    hash(circuit)
    twin = clone(circuit)
    assert "_hash" not in vars(twin)
    assert twin == circuit
    assert hash(twin) == hash(circuit)


def test_then_takes_the_observables_of_the_second():
    both = Circuit(2).h(0).then(Circuit(2).x(1).measure(Y(1)))
    assert [gate.name for gate in both.gates] == ["H", "X"]
    assert both.observables == (Y(1),)
    assert Circuit(2).measure().observables == (Z(0), Z(1))


def test_observables_add_up():
    total = 0.5 * Z(0) @ Z(1) + X(2) - 0.25 * Z(1) @ Z(0)
    assert total == PauliSum.from_strings({"ZZI": 0.25, "IIX": 1.0})
    assert total.wires == (0, 1, 2)
    assert not total.is_diagonal
    assert (Z(0) - 2 * Z(1)).is_diagonal
    assert str(-Z(0) @ Z(1) + 0.5 * X(2)) == "-Z0⊗Z1 + 0.5·X2"


def test_every_gate_is_undone_by_its_inverse():
    for name, kind in KINDS.items():
        if not kind.wires:
            continue
        circuit = Circuit(2).add(name, range(kind.wires), *(0.3, -1.2, 2.1)[: kind.angles])
        product = torch.eye(2**kind.wires, dtype=torch.complex128)
        for part in (circuit, circuit.inverse()):
            (gate,) = part.gates
            angles = torch.tensor([angle.constant for angle in gate.angles], dtype=torch.float64)
            product = matrix(gate.name, angles, product) @ product
        torch.testing.assert_close(product, torch.eye(2**kind.wires, dtype=torch.complex128), msg=name)


def test_inverse_reverses_the_order():
    a = parameter("a")
    undone = Circuit(2).h(0).crx(a, 0, 1).inverse()
    assert [gate.name for gate in undone.gates] == ["CRX", "H"]
    assert undone.gates[0].angles == (-a,)


def test_text_drawings():
    assert str(example()) == (
        "0: |0⟩──────────H──────────●──Rot(a[0], 0.5·a[1], 0.25)──\n"
        "1: |0⟩──RY(a[0] + 2·x[0])──X─────────────────────────────\n"
        "measured: ⟨Z0⊗Z1⟩, ⟨X1⟩"
    )
    wide = Circuit(3).amplitude_embedding([0, 1]).cz(0, 2).swap(1, 2).ising_zz(data(4), 0, 1)
    assert wide.draw() == (
        "0: |0⟩──Amplitudes(x[0…3])──●─────ZZ(x[4])──\n"
        "1: |0⟩──Amplitudes(x[0…3])──│──×──ZZ(x[4])──\n"
        "2: |0⟩──────────────────────Z──×────────────\n"
        "measured: ⟨Z0⟩"
    )
    assert str(Circuit(1).h(0).rx(data(0), 0)) == "0: |0⟩──H──RX(x[0])──⟨Z0⟩"
    assert Circuit(3).ry(0.5, 0).barrier().cnot(2, 0).draw() == (
        "0: |0⟩──RY(0.5)──│──X──\n1: |0⟩───────────│──│──\n2: |0⟩───────────│──●──\nmeasured: ⟨Z0⟩"
    )


def test_pictures_show_barriers():
    import matplotlib.pyplot as plt

    plain, barred = (one.cnot(0, 1).draw("mpl") for one in (Circuit(2).h(0), Circuit(2).h(0).barrier()))
    try:
        count = [sum(len(axes.collections) for axes in one.axes) for one in (plain, barred)]
        assert count[1] > count[0]
    finally:
        plt.close(plain)
        plt.close(barred)


def test_pictures_are_matplotlib_figures():
    import matplotlib.figure
    import matplotlib.pyplot as plt

    circuit = example().s(0).t(1).cz(0, 1).swap(0, 1).crx(0.1, 1, 0).ising_xx(data(0), 0, 1)
    before = dict(plt.rcParams)
    figure = Circuit(2).amplitude_embedding().then(circuit).draw("mpl")
    try:
        assert isinstance(figure, matplotlib.figure.Figure)
        labels = {text.get_text() for text in figure.axes[0].texts}
        long = {"RY(\na[0]\n+ 2·x[0])", "Rot(\na[0],\n0.5·a[1],\n0.25)", "Amplitudes(\nx[0…3])"}
        assert long | {"XX(x[0])"} <= labels
        assert dict(plt.rcParams) == before
    finally:
        plt.close(figure)
