"""What is installed and usable on this machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from qkan import bases
from qkan.circuits import backends
from qkan.kernels import dispatch

#: Packages whose versions are shown.
PACKAGES = (
    *("qkan-toolkit", "torch", "numpy", "scipy", "scikit-learn", "pandas", "numba", "mapie", "shap"),
    *("pennylane", "qiskit", "qiskit-aer", "qiskit-ibm-runtime", "cuquantum-python-cu13"),
)


def describe() -> dict[str, list[tuple[str, str]]]:
    """Sections of (name, value) lines: versions, devices, bases, kernels and backends."""
    return {
        "versions": list(versions().items()),
        "devices": _devices(),
        "bases": [(name, ", ".join(bases.options(name))) for name in bases.names()],
        "kernels": [("reference", "plain PyTorch, every device and dtype"), ("compiled", _compiled())],
        "backends": [(name, reason or "ready") for name, reason in backends.describe().items()],
    }


def versions(*more: str) -> dict[str, str]:
    """Of Python, of the packages that results depend on, and of ``more`` packages."""
    return {"python": platform.python_version(), **{name: _version(name) for name in (*PACKAGES, *more)}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _compiled() -> str:
    reason = dispatch.reason_for_reference(torch.float32, torch.device("cpu"))
    return "Numba, CPU, float32 and half precision" if reason is None else f"not used: {reason}"


def _devices() -> list[tuple[str, str]]:
    lines = [("cpu", f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")]
    if not torch.cuda.is_available():
        return [*lines, ("cuda", "not available")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append((f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    return lines
