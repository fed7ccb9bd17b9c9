"""Gates as trigonometric polynomials of their angles, multiplied symbolically when a circuit is compiled.

Every gate's matrix is Σ_f C_f exp(i f·φ) over the angles φ that it takes, and so is a product of gates. In real form it
is Σ_k A_k sin(f_k·φ + b_k) with complex matrices A_k: one sine and one matrix product evaluate any number of gates.

Products of gates are trigonometric polynomials of the angles: Schuld, Sweke and Meyer, Phys. Rev. A 103, 032430 (2021).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qkan.circuits.gates import FIXED, PAULI

#: (angle slot, factor) pairs by increasing slot; () for what is constant.
Frequency = tuple[tuple[int, float], ...]
#: A matrix as {frequency: coefficient matrix}.
Trig = dict[Frequency, np.ndarray]


def constant(value: np.ndarray) -> Trig:
    """A matrix (d, d), or a column (d, 1), that depends on no angle."""
    return {(): value}


def gate(name: str, slots: list[int | float]) -> Trig:
    """A gate whose angles are slots (int) or known numbers (float), by the name of its kind."""
    if name in FIXED:
        return constant(np.array(FIXED[name], dtype=complex))
    if name == "Rot":
        phi, theta, omega = slots
        return product(gate("RZ", [omega]), product(gate("RY", [theta]), gate("RZ", [phi])))
    if name == "PhaseShift":
        return _turning({0.0: np.diag([1, 0]), 1.0: np.diag([0, 1])}, slots[0])
    if name.startswith("CR"):
        lower = np.diag([0, 0, 1, 1]) / 2
        generator = np.kron(np.diag([0, 1]), np.array(PAULI[name[2]])) / 2
        return _turning({0.0: np.diag([1, 1, 0, 0]), -0.5: lower + generator, 0.5: lower - generator}, slots[0])
    operator = np.ones((1, 1))
    for letter in name.removeprefix("Ising").removeprefix("R"):
        operator = np.kron(operator, np.array(PAULI[letter]))
    half = np.eye(len(operator)) / 2
    return _turning({-0.5: half + operator / 2, 0.5: half - operator / 2}, slots[0])


def _turning(parts: dict[float, np.ndarray], slot: int | float) -> Trig:
    """Σ part · exp(i factor · angle)."""
    if isinstance(slot, float):
        return constant(np.array(sum(np.exp(1j * factor * slot) * part for factor, part in parts.items())))
    return {((slot, factor),) if factor else (): part.astype(complex) for factor, part in parts.items()}


def _joined(first: Frequency, second: Frequency) -> Frequency:
    found: dict[int, float] = {}
    for slot, factor in (*first, *second):
        found[slot] = found.get(slot, 0.0) + factor
    return tuple(sorted((slot, factor) for slot, factor in found.items() if factor))


def product(left: Trig, right: Trig) -> Trig:
    """The product left @ right: the right one acts first."""
    return _combined(left, right, np.matmul)


def kron(left: Trig, right: Trig) -> Trig:
    """The product left ⊗ right: the left one has the more significant bits."""
    return _combined(left, right, np.kron)


def _combined(left: Trig, right: Trig, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Trig:
    total: Trig = {}
    for first, a in left.items():
        for second, b in right.items():
            key = _joined(first, second)
            total[key] = total.get(key, 0.0) + operation(a, b)
    return total


def sines(trig: Trig) -> list[tuple[Frequency, float, np.ndarray]]:
    """As Σ_k matrix_k sin(frequency_k · angles + offset_k): frequency, offset in radians, complex (d, d) or (d, 1)."""
    found = []
    done: set[Frequency] = set()
    for frequency, matrix in trig.items():
        opposite = tuple((slot, -factor) for slot, factor in frequency)
        if frequency in done:
            continue
        done |= {frequency, opposite}
        if not frequency:
            found.append((frequency, np.pi / 2, matrix))
            continue
        mirrored = trig.get(opposite, np.zeros_like(matrix))
        found.append((frequency, np.pi / 2, matrix + mirrored))  # cos
        found.append((frequency, 0.0, 1j * (matrix - mirrored)))
    return [part for part in found if np.any(part[2])]
