"""Quantum circuits: descriptions, drawings, exact simulation, and bridges to PennyLane and Qiskit."""

from qkan.circuits.angles import Angle, data, parameter, parameters
from qkan.circuits.ansatz import ANSATZE, DaruanCircuit, daruan
from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliSum, X, Y, Z

__all__ = [
    "ANSATZE",
    "Angle",
    "Circuit",
    "DaruanCircuit",
    "PauliSum",
    "X",
    "Y",
    "Z",
    "daruan",
    "data",
    "parameter",
    "parameters",
]
