"""A device as a simulator needs it: its target, and the noise of only those qubits that a circuit uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qkan.circuits import devices
from qkan.errors import OptionError


class Device:
    """A Qiskit backend with calibration data.

    Attributes:
        name: of the device.
        target: its gates, qubits and errors.

    Noise is what ``qiskit_aer.noise.NoiseModel.from_backend`` makes of these: depolarisation and relaxation with each
    gate, and misread bits. It has no crosstalk.
    """

    def __init__(self, backend: Any):
        self.name = str(backend.name)
        self.target = backend.target
        self.noise = lru_cache(maxsize=1024)(self._noise)
        self.misread = lru_cache(maxsize=1024)(self._misread)

    @cached_property
    def qubits(self) -> int:
        """Their number."""
        return int(self.target.num_qubits or 0)

    def _noise(self, physical: tuple[int, ...]) -> Any:
        """The noise model of some physical qubits, relabelled 0, 1, …: a whole device's costs each run a second."""
        from qiskit_aer.noise import NoiseModel
        from qiskit_aer.noise.device.models import basic_device_gate_errors, basic_device_readout_errors

        target = reduced_target(self.target, physical)
        found = NoiseModel()
        for name, qubits, error in basic_device_gate_errors(target=target):
            found.add_quantum_error(error, name, qubits)
        for qubits, error in basic_device_readout_errors(target=target):
            found.add_readout_error(error, qubits)
        return found

    def _misread(self, qubit: int) -> np.ndarray:
        """(2, 2) chances: row for the bit that is, column for the bit that is read."""
        from qiskit_aer.noise.device.models import basic_device_readout_errors

        found = basic_device_readout_errors(target=reduced_target(self.target, (qubit,)))
        return np.array(found[0][1].probabilities) if found else np.eye(2)


def device(noise: Any) -> Device | None:
    """The device that an option names: a bundled one's name, a Qiskit backend, or ``None``.

    Raises:
        OptionError: it is none of these.
        BackendUnavailable: the package with the bundled devices is missing.
    """
    if noise is None:
        return None
    if isinstance(noise, str):
        return _bundled(noise)
    if getattr(getattr(noise, "target", None), "num_qubits", None) is None:
        raise OptionError(
            f"noise={noise!r} must be the name of a bundled device, such as 'FakeSherbrooke', or a Qiskit backend."
        )
    return Device(noise)


@lru_cache(maxsize=8)
def _bundled(name: str) -> Device:
    return Device(devices.fake(name))


def reduced_target(target: Any, physical: Sequence[int]) -> Any:
    """The target of some physical qubits alone, in the order given, with what is not known left out."""
    from qiskit.transpiler import InstructionProperties, QubitProperties, Target

    place = {qubit: index for index, qubit in enumerate(physical)}
    known = target.qubit_properties or {}
    kept = [(known[qubit] if known else None) or QubitProperties() for qubit in physical]
    found = Target(num_qubits=len(physical), qubit_properties=kept, dt=target.dt)
    for name, table in target.items():
        entries = {}
        for qubits, properties in (table or {}).items():
            if qubits is None or any(qubit not in place for qubit in qubits):
                continue
            error = getattr(properties, "error", None)
            if properties is not None and (error is None or not math.isfinite(error)):
                # An unknown readout error would be an error in Python, and an unknown gate error still relaxes.
                properties = None if name == "measure" else InstructionProperties(duration=properties.duration)
            entries[tuple(place[qubit] for qubit in qubits)] = properties
        if entries:
            found.add_instruction(target.operation_from_name(name), entries, name=name)
    return found
