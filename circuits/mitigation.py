"""Two cheap corrections for noisy devices: readout errors from calibration circuits, and zero-noise extrapolation.

* Readout. Two circuits, all wires |0⟩ and all wires |1⟩, give every wire's chances p10 = P(1|0) and p01 = P(0|1). A
  measured sign s then has the mean (1 - p01 - p10) ⟨Z⟩ + p01 - p10, so Z is replaced by its inverse image, wire by
  wire (Bravyi et al., Phys. Rev. A 103, 042605 (2021), the tensor-product model). The observable changes, not the
  circuit: the same shots give the corrected value with its larger variance.
* Extrapolation. Every gate G becomes G G† G, which does the same with three times the noise, five times with one pair
  more; a straight line through the results is read off at zero (Temme et al., Phys. Rev. Lett. 119, 180509 (2017);
  gate folding: Giurgica-Tiron et al., arXiv 2005.10921). Where a device needs swaps between gates, a folded circuit may
  get others, and its noise is then only roughly the multiple.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliSum
from qkan.errors import JobError, OptionError


@dataclass(frozen=True)
class ReadoutErrors:
    """Readout errors by wire.

    Attributes:
        p10: chances to read 1 where the wire is 0, (wires,).
        p01: chances to read 0 where the wire is 1, (wires,).
    """

    p10: np.ndarray
    p01: np.ndarray

    def corrected(self, circuit: Circuit) -> Circuit:
        """The circuit whose observables, measured with these errors, have the means of the circuit's own ones."""
        return circuit.measure(*(self._inverse(observable) for observable in circuit.observables))

    def _inverse(self, observable: PauliSum) -> PauliSum:
        slopes, offsets = 1 - self.p01 - self.p10, self.p01 - self.p10
        total = PauliSum(())
        for coefficient, string in observable.terms:
            product = PauliSum(((coefficient, ()),))
            for wire, letter in string:
                slope, offset = float(slopes[wire]), float(offsets[wire])
                product = product @ PauliSum(((1 / slope, ((wire, letter),)), (-offset / slope, ())))
            total = total + product
        return total


def calibration_circuits(wires: int) -> tuple[Circuit, Circuit]:
    """All wires |0⟩ and all wires |1⟩, Z measured on each."""
    zeros = Circuit(wires).measure()
    ones = zeros
    for wire in range(wires):
        ones = ones.x(wire)
    return zeros, ones


def readout_errors(zeros: np.ndarray, ones: np.ndarray) -> ReadoutErrors:
    """From ⟨Z⟩ of every wire (wires,) after the two :func:`calibration_circuits`.

    Args:
        zeros: after preparing 0 on every wire.
        ones: after preparing 1 on every wire.

    Raises:
        JobError: a wire's readings say next to nothing about its state, so that no correction exists.
    """
    errors = ReadoutErrors((1 - zeros) / 2, (1 + ones) / 2)
    slopes = 1 - errors.p01 - errors.p10
    if (slopes < 0.1).any():
        wire = int(slopes.argmin())
        raise JobError(
            f"wire {wire} is read wrong so often (P(1|0) = {errors.p10[wire]:.2f}, P(0|1) = {errors.p01[wire]:.2f}) "
            "that its readings cannot be corrected; choose other qubits with layout=, or fewer copies with pack=."
        )
    return errors


def fold(circuit: Circuit, factor: int) -> Circuit:
    """The same unitary with every gate run ``factor`` times: G (G† G)^((factor-1)/2), barriers in between.

    Embeddings of amplitudes, which have no inverse, are kept as they are.

    Args:
        circuit: any.
        factor: odd.

    Raises:
        OptionError: ``factor`` is not odd and at least 1.
    """
    if not isinstance(factor, int) or factor < 1 or factor % 2 == 0:
        raise OptionError(f"fold factor {factor!r} must be an odd whole number, such as 1, 3 or 5.")
    if factor == 1:
        return circuit
    gates: list = []
    barrier = Circuit(circuit.wires).barrier().gates
    for gate in circuit.gates:
        gates.append(gate)
        if gate.kind.wires:
            inverse = Circuit(circuit.wires, (gate,)).inverse().gates
            for _ in range((factor - 1) // 2):
                gates += [*barrier, *inverse, *barrier, gate]
            gates += barrier
    return replace(circuit, gates=tuple(gates))


def zero_noise_weights(factors: Sequence[int]) -> np.ndarray:
    """Weights (k,) of the results at k noise ``factors`` whose sum is the straight line's value at 0, by least squares.

    Raises:
        OptionError: fewer than two different factors.
    """
    if len(set(factors)) < 2:
        raise OptionError(f"fold factors {tuple(factors)} must hold two different ones or more, such as (1, 3).")
    design = np.stack([np.ones(len(factors)), np.asarray(factors, dtype=float)], axis=1)
    return np.linalg.pinv(design)[0]
