"""Simulators and devices behind one protocol: ``get("aer", shots=4096, noise="FakeSherbrooke")``."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from qkan.circuits.backends._base import Backend, Capabilities, Job, Result, Task
from qkan.errors import BackendUnavailable, OptionError

__all__ = ["Backend", "Capabilities", "Job", "Result", "Task", "available", "describe", "get"]

#: Name -> (module, class). What stands behind a colon in a name is the class's option ``device``.
_CLASSES = {
    "torch": ("qkan.circuits.backends.torch", "TorchBackend"),
    "pennylane": ("qkan.circuits.backends.pennylane", "PennyLaneBackend"),
    "aer": ("qkan.circuits.backends.aer", "AerBackend"),
    "ibm": ("qkan.circuits.backends.ibm", "IBMBackend"),
    "custatevec": ("qkan.circuits.backends.custatevec", "CuStateVecBackend"),
}
#: What a plain name means, and what ``describe`` tries.
_DEFAULT_DEVICES = {"pennylane": "default.qubit"}


def get(name: str | Backend, **options: Any) -> Backend:
    """The backend of that name.

    Args:
        name: "torch", "pennylane:<device>" (such as "pennylane:lightning.qubit"), "aer", "ibm", "custatevec", or a
            backend, which is returned as it is.
        **options: of the backend's class, such as ``shots``, ``seed``, ``noise`` or ``method``.

    Raises:
        OptionError: unknown name or option, or a value out of range.
        BackendUnavailable: its package, device or account is missing.
    """
    if isinstance(name, Backend):
        if options:
            raise OptionError(f"options {', '.join(options)} are given where the backend is made, not with a backend.")
        return name
    kind, _, device = str(name).partition(":")
    if kind not in _CLASSES or (device and kind not in _DEFAULT_DEVICES):
        listed = ", ".join([*_CLASSES, "pennylane:<device>"])
        raise OptionError(f"backend {name!r} is not known; choose one of {listed}.")
    module, class_name = _CLASSES[kind]
    cls = getattr(importlib.import_module(module), class_name)
    if kind in _DEFAULT_DEVICES:
        options["device"] = device or options.get("device", _DEFAULT_DEVICES[kind])
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    takes_all = "options" in known
    for option in options:
        if option not in known and not takes_all:
            raise OptionError(f"backend {kind!r} has no option {option!r}; its options are {', '.join(known)}.")
    return cls(**options)


def describe() -> dict[str, str]:
    """Every backend by name, with "" where it is ready to use and else the reason why it is not."""
    found = {}
    for name in ("torch", "pennylane:default.qubit", "pennylane:lightning.qubit", "aer", "ibm", "custatevec"):
        module, class_name = _CLASSES[name.partition(":")[0]]
        try:
            getattr(importlib.import_module(module), class_name).require(name.partition(":")[2])
            found[name] = ""
        except BackendUnavailable as error:
            found[name] = str(error)
    return found


def available() -> list[str]:
    """Names of the backends that are ready to use."""
    return [name for name, reason in describe().items() if not reason]
