"""Circuits to and from OpenQASM 3, Qiskit and PennyLane, for hardware and for independent checks."""

from qkan.circuits.pennylane_bridge import from_pennylane, to_pennylane
from qkan.circuits.qiskit_bridge import from_openqasm3, from_qiskit, to_openqasm3, to_qiskit

__all__ = ["from_openqasm3", "from_pennylane", "from_qiskit", "to_openqasm3", "to_pennylane", "to_qiskit"]
