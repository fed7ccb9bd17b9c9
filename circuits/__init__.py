"""Quantum circuits: descriptions, drawings, exact simulation, backends, deployment, and bridges to other packages."""

from qkan.circuits.angles import Angle, data, parameter, parameters
from qkan.circuits.ansatz import ANSATZE, DaruanCircuit, basic_entangler, daruan, mera, mps, strongly_entangling, ttn
from qkan.circuits.circuit import Circuit
from qkan.circuits.deployment import deploy
from qkan.circuits.observables import PauliSum, X, Y, Z
from qkan.circuits.parallel import ParallelCircuits
from qkan.circuits.quantum_layer import QuantumLayer
from qkan.circuits.simulate import expectations

__all__ = [
    "ANSATZE",
    "Angle",
    "Circuit",
    "DaruanCircuit",
    "ParallelCircuits",
    "PauliSum",
    "QuantumLayer",
    "X",
    "Y",
    "Z",
    "basic_entangler",
    "daruan",
    "data",
    "deploy",
    "expectations",
    "mera",
    "mps",
    "parameter",
    "parameters",
    "strongly_entangling",
    "ttn",
]
