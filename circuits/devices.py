"""Facts about quantum devices, read from what their makers publish: which are bundled, and which qubits are best."""

from __future__ import annotations

import difflib
import math
from typing import Any

from qkan.errors import BackendUnavailable, OptionError

#: Pulses that :func:`rank_qubits` weighs against one measurement; three to five re-uploading layers have so many.
PULSES = 10

_GOOD = ("FakeManilaV2", "FakeSherbrooke", "FakeTorino", "FakeFez")


def fake_names() -> list[str]:
    """Class names of the devices that are bundled with their calibration data, such as "FakeSherbrooke".

    Raises:
        BackendUnavailable: qiskit-ibm-runtime is not installed.
    """
    from qiskit.providers import BackendV2

    kinds = vars(_provider())
    return sorted(
        name
        for name, kind in kinds.items()
        if name.startswith("Fake") and isinstance(kind, type) and issubclass(kind, BackendV2)
    )


def fake(name: str) -> Any:
    """A bundled device: a Qiskit backend with the qubits, gates and errors of a real one, which needs no network.

    Args:
        name: one of :func:`fake_names`.

    Raises:
        OptionError: the name is unknown.
        BackendUnavailable: qiskit-ibm-runtime is not installed.
    """
    known = fake_names()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 2, 0.7)
        listed = ", ".join(dict.fromkeys([*near, *(good for good in _GOOD if good in known)]))
        raise OptionError(
            f"device {name!r} is not bundled; choose one of qkan.circuits.devices.fake_names(), such as {listed}."
        )
    return getattr(_provider(), name)()


def _provider() -> Any:
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError as error:
        raise BackendUnavailable(
            "devices and their noise need the package qiskit-ibm-runtime: pip install 'qkan-toolkit[ibm]'."
        ) from error
    return fake_provider


def rank_qubits(target: Any, pulses: float = PULSES) -> list[int]:
    """Physical qubits, best first.

    The order is by readout error + ``pulses`` · error of the sx gate (or x, where sx has none): to first order the
    chance that a circuit of so many pulses goes wrong on that qubit. Qubits for which either is missing or no number
    come last, and qubits that are alike in number order, which is the natural order where there is no calibration
    at all.

    Args:
        target: of a Qiskit backend, ``backend.target``.
        pulses: of one-qubit gates for each measurement.
    """
    readout = _errors(target, "measure")
    gates = next((found for name in ("sx", "x") if (found := _errors(target, name))), {})
    tables = [(1.0, readout), (float(pulses), gates)]
    score = {}
    for qubit in range(target.num_qubits or 0):
        known = [factor * table.get(qubit, math.inf) for factor, table in tables if table]
        score[qubit] = sum(known)
    return sorted(score, key=lambda qubit: (score[qubit], qubit))


def good_qubits(target: Any, worst: float = 0.05) -> int:
    """How many qubits are read wrong in less than ``worst`` of all cases; all where no readout errors are published.

    Args:
        target: of a Qiskit device.
        worst: readout error from which on a qubit does not count.
    """
    readout = _errors(target, "measure")
    return sum(error < worst for error in readout.values()) if readout else int(target.num_qubits or 1)


def _errors(target: Any, name: str) -> dict[int, float]:
    """Qubit to published error of one gate; empty where none is published."""
    found = {}
    for qubits, properties in (target[name] if name in target.operation_names else {}).items():
        error = getattr(properties, "error", None)
        if qubits is not None and len(qubits) == 1 and error is not None and math.isfinite(error):
            found[qubits[0]] = float(error)
    return found
