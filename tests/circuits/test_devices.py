"""Bundled devices and the order of their qubits."""

import math
import sys

import pytest
from qiskit.circuit import Measure
from qiskit.circuit.library import RZGate, SXGate, XGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties, Target

from qkan.circuits import devices
from qkan.errors import BackendUnavailable, OptionError


def target(readout, pulse, gate=None):
    made = Target(num_qubits=len(readout))
    gate = gate or SXGate()
    made.add_instruction(gate, {(q,): error and InstructionProperties(error=error[0]) for q, error in enumerate(pulse)})
    made.add_instruction(
        Measure(), {(q,): error and InstructionProperties(error=error[0]) for q, error in enumerate(readout)}
    )
    return made


def test_order_by_readout_and_ten_pulses():
    readout, pulse = [(0.02,), (0.01,), (0.04,), (0.01,)], [(0.0001,), (0.002,), (0.0001,), (0.0001,)]
    assert devices.rank_qubits(target(readout, pulse)) == [3, 0, 1, 2]
    assert devices.rank_qubits(target(readout, pulse), pulses=0) == [1, 3, 0, 2]
    assert devices.rank_qubits(target(readout, pulse, XGate())) == [3, 0, 1, 2]


def test_qubits_without_numbers_come_last():
    readout = [(0.3,), None, (None,), (0.01,), (math.nan,), (0.02,)]
    pulse = [(0.0001,), (0.0001,), (0.0001,), None, (0.0001,), (0.0001,)]
    assert devices.rank_qubits(target(readout, pulse)) == [5, 0, 1, 2, 3, 4]


def test_natural_order_without_calibration():
    plain = Target(num_qubits=3)
    plain.add_instruction(Measure(), {(q,): None for q in range(3)})
    plain.add_instruction(RZGate(0.1), {(q,): None for q in range(3)})
    assert devices.rank_qubits(plain) == [0, 1, 2]
    anywhere = Target(num_qubits=2)
    anywhere.add_instruction(SXGate())
    assert devices.rank_qubits(anywhere) == [0, 1]


def test_bundled_devices():
    sherbrooke = devices.fake("FakeSherbrooke").target
    order = devices.rank_qubits(sherbrooke)
    assert sorted(order) == list(range(127))
    errors = [sherbrooke["measure"][(q,)].error for q in order]
    assert max(errors[:64]) < 0.03 < 0.1 < max(errors[-10:])
    assert devices.rank_qubits(GenericBackendV2(4, seed=1).target)
    assert "FakeManilaV2" in devices.fake_names()
    assert "FakeProviderForBackendV2" not in devices.fake_names()


def test_unknown_names_and_missing_package(monkeypatch):
    with pytest.raises(
        OptionError, match=r"device 'FakeSherbroke' is not bundled; choose one of .*, such as FakeSherbrooke"
    ):
        devices.fake("FakeSherbroke")
    with pytest.raises(OptionError, match=r"fake_names\(\), such as FakeManilaV2, FakeSherbrooke, FakeTorino"):
        devices.fake("FakeProviderForBackendV2")
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    with pytest.raises(BackendUnavailable, match=r"qiskit-ibm-runtime: pip install 'qkan-toolkit\[ibm\]'"):
        devices.fake("FakeManilaV2")
