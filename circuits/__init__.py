"""One-qubit re-uploading circuits: their gates, drawings and bridges to PennyLane and Qiskit."""

from qkan.circuits.ansatz import ANSATZE, DaruanCircuit, daruan

__all__ = ["ANSATZE", "DaruanCircuit", "daruan"]
