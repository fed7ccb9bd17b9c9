"""cuStateVec: the argument forms and the arithmetic on the CPU, everything on a GPU where there is one."""

import gc
import sys
import types

import numpy as np
import pytest
import torch
from custatevec_mock import COUNTS, Bindings, DataType

from qkan.circuits import Circuit, PauliSum, X, Y, Z, data, parameter, statevector, strongly_entangling
from qkan.circuits.backends import custatevec, get
from qkan.circuits.backends.custatevec import CuStateVecBackend, Driver
from qkan.errors import BackendUnavailable, DomainError, JobError, OptionError
from qkan.testing import BackendContract, random_circuit, random_inputs


def missing() -> str:
    """Why there is no GPU test here, or ""."""
    try:
        CuStateVecBackend.require()
    except BackendUnavailable as error:
        return str(error)
    return ""


NO_GPU = missing()


def through_mock(precision: str = "double", **options) -> CuStateVecBackend:
    driver = Driver(Bindings(), DataType, precision, "cpu")
    return get("custatevec", driver=driver, **options)


def on_gpu(precision: str = "double", **options) -> CuStateVecBackend:
    return get("custatevec", precision=precision, **options)


PLACES = [
    pytest.param(through_mock, id="mock"),
    pytest.param(on_gpu, id="gpu", marks=pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU or "a GPU is here")),
]


class TestThroughMock(BackendContract):
    kind = CuStateVecBackend.capabilities
    tolerance = 1e-10

    def make(self, **options):
        return through_mock(**options)


@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU or "a GPU is here")
class TestOnGPU(BackendContract):
    kind = CuStateVecBackend.capabilities
    tolerance = 1e-10

    def make(self, **options):
        return on_gpu(**options)


def agrees(backend: CuStateVecBackend, circuit: Circuit, rows: int = 3, limit: float = 1e-10) -> None:
    x, theta = random_inputs(circuit, rows, seed=1)
    expected = statevector.expectations(circuit, x, theta).expand(rows, -1)
    found = backend.expectations(circuit, x, theta)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=limit)
    assert found.values.dtype == np.float64


@pytest.mark.parametrize("make", PLACES)
def test_random_circuits_agree_with_the_simulator(make):
    for seed in range(25):
        agrees(make(), random_circuit(seed, 1 + seed % 5, 12))


@pytest.mark.parametrize("make", PLACES)
def test_single_precision(make):
    """Rounding of complex64 adds up over some 30 gates, to 1e-6 or so."""
    for seed in range(6):
        agrees(make("single"), random_circuit(seed, 1 + seed % 4, 30), limit=5e-6)


@pytest.mark.parametrize("make", PLACES)
def test_circuits_that_test_one_thing_each(make):
    agrees(make(), Circuit(3).x(0).cnot(0, 2).measure())  # wire 0 is the most significant bit, here not in cuStateVec
    agrees(make(), Circuit(3).ry(data(0), 2).crx(0.7, 2, 0).measure(Z(0) @ Y(2), Y(0), X(0) @ Z(2)))
    agrees(make(), Circuit(2).ry(data(0), 0).barrier().cnot(0, 1).measure(PauliSum(()), 0.5 * Z(1), Z(0) - Z(0)))
    agrees(make(), Circuit(2).measure(PauliSum.from_strings({"II": 0.5, "ZI": 1.0})))
    agrees(make(), Circuit(4).amplitude_embedding([3, 1], columns=3).amplitude_embedding([0], start=3).cnot(0, 2))
    agrees(make(), Circuit(3).ry(data(0), 0).amplitude_embedding([2, 1], columns=4, start=1).cnot(0, 1).measure())
    agrees(make(), Circuit(1).rx(parameter("a"), 0).measure(Y(0)), rows=1)


@pytest.mark.parametrize("make", PLACES)
def test_strings_too_long_for_a_matrix(make):
    strings = {"XYZXYZXY": 1.0, "ZZZZZZZI": -0.5, "IIXYIIII": 2.0}
    circuit = Circuit(8).angle_embedding().then(strongly_entangling(8, 1))
    agrees(make(), circuit.measure(PauliSum.from_strings(strings), Z(7)), rows=2)


@pytest.mark.parametrize("make", PLACES)
def test_chunks_leave_no_trace(make, monkeypatch):
    backend = make()
    monkeypatch.setattr(backend.driver, "free_bytes", lambda: 4 * 2 * 16 * 2**3)
    assert backend._rows_in_a_chunk(3) == 2
    agrees(backend, random_circuit(4, 3, 10), rows=5)
    monkeypatch.setattr(custatevec, "_MOST_ROWS", 1)
    assert backend._rows_in_a_chunk(3) == 1
    monkeypatch.setattr(backend.driver, "free_bytes", lambda: 0)
    agrees(backend, Circuit(1).ry(data(0), 0))


@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU or "a GPU is here")
def test_wide_circuits_and_many_rows_on_a_gpu():
    backend = on_gpu()
    circuit = Circuit(14).angle_embedding().then(strongly_entangling(14, 2))
    agrees(backend, circuit.measure(Z(0), X(3) @ Y(12), PauliSum.from_strings({"Z" * 14: 1.0})), rows=4)
    agrees(backend, Circuit(2).angle_embedding().then(strongly_entangling(2, 2)), rows=100_000)
    with torch.cuda.stream(torch.cuda.Stream()):
        agrees(backend, random_circuit(3, 5, 30), rows=50)


def test_calls_have_the_form_of_the_bindings():
    assert [COUNTS[name] for name in COUNTS if name.startswith(("apply", "compute"))] == [15, 21, 11, 16]
    driver = Driver(Bindings(), DataType, "double", "cpu")
    circuit = Circuit(3).h(2).ry(data(0), 1).cnot(0, 2).measure(Z(0) @ X(2), Y(0) @ Z(2), Z(1))
    get("custatevec", driver=driver).expectations(circuit, torch.zeros(5, 1))
    applied = [given for name, given in driver.bindings.calls if name == "apply_matrix_batched"]
    assert [(given["targets"], given["n_matrices"]) for given in applied] == [((0,), 1), ((1,), 5), ((0, 2), 1)]
    assert [int(given["map_type"]) for given in applied] == [0, 1, 0]
    measured = [given for name, given in driver.bindings.calls if name == "compute_expectation_batched"]
    assert [(given["basis_bits"], given["n_matrices"]) for given in measured] == [((0, 2), 2), ((1,), 1)]


def test_the_handle_is_given_back():
    bindings = Bindings()
    driver = Driver(bindings, DataType, "single", "cpu")
    assert bindings.handles == {driver.handle}
    del driver
    gc.collect()
    assert not bindings.handles


def test_what_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setattr(custatevec, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu, package = "an NVIDIA GPU that PyTorch can use", "cuQuantum (pip install 'qkan-toolkit[gpu]')"
    assert missing() == f"backend 'custatevec' needs {gpu} and {package}."
    with pytest.raises(BackendUnavailable, match="needs an NVIDIA GPU"):
        get("custatevec")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert missing() == f"backend 'custatevec' needs {package}."
    monkeypatch.setattr(custatevec, "find_spec", lambda name: object())
    assert missing() == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert missing() == f"backend 'custatevec' needs {gpu}."


def test_a_library_that_does_not_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(CuStateVecBackend, "require", classmethod(lambda cls, device="": None))
    monkeypatch.setitem(sys.modules, "cuquantum", types.ModuleType("cuquantum"))
    with pytest.raises(BackendUnavailable, match=r"^backend 'custatevec' does not start: cannot import name .*[^.]\.$"):
        get("custatevec")


def test_mistakes_of_its_own_are_one_sentence(monkeypatch):
    with pytest.raises(OptionError, match="precision='half' is not known; choose one of 'double', 'single'"):
        get("custatevec", precision="half")
    with pytest.raises(OptionError, match="takes no shots, but got shots=100"):
        through_mock(shots=100)
    with pytest.raises(DomainError, match="all zero"):
        through_mock().expectations(Circuit(1).amplitude_embedding(), torch.zeros(1, 2))
    backend = through_mock()

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(backend.driver, "apply", full)
    with pytest.raises(JobError, match="no room for circuits of 2 wires in double precision"):
        backend.expectations(Circuit(2).h(0))
