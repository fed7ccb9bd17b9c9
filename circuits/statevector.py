"""Plain simulation, one gate after the other: the definition the fast path is tested against.

Nielsen and Chuang, Quantum Computation and Quantum Information (2010), chapter 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import matrix, pauli
from qkan.circuits.observables import PauliSum
from qkan.errors import DomainError, OptionError

#: A state of 20 wires in complex128 takes 16 MiB per row.
MOST_WIRES = 20


def check_wires(circuit: Circuit) -> None:
    """Raise :class:`qkan.errors.OptionError` for a circuit of more than :data:`MOST_WIRES` wires.

    Raises:
        OptionError: there are too many for memory.
    """
    if circuit.wires > MOST_WIRES:
        raise OptionError(
            f"a state vector of {circuit.wires} wires does not fit; exact simulation takes up to {MOST_WIRES} wires."
        )


def complex_type(dtype: torch.dtype) -> torch.dtype:
    """complex128 for float64, else complex64."""
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def normalised(amplitudes: Tensor) -> Tensor:
    """Rows of amplitudes (..., K) divided by their norms.

    Raises:
        DomainError: a row is zero or not finite, so that it is no state.
    """
    norms = torch.linalg.vector_norm(amplitudes, dim=-1, keepdim=True)
    least, most = (part.item() for part in torch.aminmax(norms.detach())) if norms.numel() else (1, 1)
    if not (least > 0 and most < torch.inf):
        raise DomainError("amplitudes of a row are all zero or not finite; they must be finite and not all zero.")
    return amplitudes / norms


def chosen(data: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Columns of data (..., D); neighbours are a view, whose gradient costs less.

    Args:
        data: (..., D).
        columns: which.
    """
    if columns == tuple(range(columns[0], columns[-1] + 1)):
        return data[..., columns[0] : columns[-1] + 1]
    return data[..., list(columns)]


def apply(state: Tensor, gate: Tensor, wires: tuple[int, ...], count: int) -> Tensor:
    """A matrix on some wires of a state.

    Args:
        state: (..., 2^count).
        gate: (..., 2^k, 2^k), leading shapes broadcast with those of the state.
        wires: k of them, the first most significant.
        count: of all wires.

    Returns:
        (..., 2^count)
    """
    lead = state.shape[:-1]
    k = len(wires)
    others = [wire for wire in range(count) if wire not in wires]
    order = [*wires, *others]
    axes = range(len(lead), len(lead) + count)
    moved = state.reshape(*lead, *count * [2]).permute(*range(len(lead)), *(axes[wire] for wire in order))
    result = gate @ moved.reshape(*lead, 2**k, 2 ** (count - k))
    lead = result.shape[:-2]
    axes = range(len(lead), len(lead) + count)
    back = sorted(range(count), key=lambda place: order[place])
    result = result.reshape(*lead, *count * [2]).permute(*range(len(lead)), *(axes[place] for place in back))
    return result.reshape(*lead, 2**count)


def state(circuit: Circuit, data: Tensor | None = None, parameters: Tensor | None = None) -> Tensor:
    """The state after all gates.

    Args:
        circuit: of up to 20 wires.
        data: (..., D).
        parameters: (..., P), leading shapes broadcast.

    Returns:
        (..., 2^wires), complex128 for float64 inputs, else complex64; wire 0 is the most significant bit.

    Raises:
        OptionError: more than 20 wires.
        ShapeError: a last dimension is not D or P.
        DomainError: a row of amplitudes is zero.
    """
    check_wires(circuit)
    data, parameters = circuit.check_inputs(data, parameters)
    angles = circuit.angles(data, parameters)
    lead = angles.shape[:-1]
    psi = torch.zeros(*lead, 2**circuit.wires, dtype=complex_type(data.dtype), device=data.device)
    psi[..., 0] = 1
    first = 0
    for gate in circuit.gates:
        if gate.name == "Barrier":
            continue
        if gate.columns:
            # The wires are |0⟩, so a matrix with the amplitudes as first column prepares them.
            column = normalised(chosen(data, gate.columns))
            size = 2 ** len(gate.wires)
            full = torch.nn.functional.pad(column, (0, size - column.shape[-1]))[..., None]
            unitary = torch.nn.functional.pad(full, (0, size - 1)).to(psi.dtype)
        else:
            unitary = matrix(gate.name, angles[..., first : first + len(gate.angles)], psi)
        psi = apply(psi, unitary, gate.wires, circuit.wires)
        first += len(gate.angles)
    return psi


def expectation(psi: Tensor, observable: PauliSum, wires: int) -> Tensor:
    """⟨ψ|O|ψ⟩ of states (..., 2^wires), of shape (...).

    Args:
        psi: (..., 2^wires), complex.
        observable: a sum of Pauli strings.
        wires: their number.
    """
    total = torch.zeros(psi.shape[:-1], dtype=psi.real.dtype, device=psi.device)
    for coefficient, string in observable.terms:
        turned = psi
        for wire, letter in string:
            turned = apply(turned, pauli(letter, psi), (wire,), wires)
        total = total + coefficient * (psi.conj() * turned).sum(-1).real
    return total


def expectations(circuit: Circuit, data: Tensor | None = None, parameters: Tensor | None = None) -> Tensor:
    """Expectations of all observables, (..., number of observables), as :func:`qkan.circuits.simulate.expectations`."""
    psi = state(circuit, data, parameters)
    return torch.stack([expectation(psi, observable, circuit.wires) for observable in circuit.observables], dim=-1)
