"""Random circuits of all gates, and inputs for them."""

from __future__ import annotations

import random
from typing import Any

import torch

from qkan.circuits import Circuit, PauliSum, data, parameter
from qkan.circuits.gates import KINDS

#: Names of the gates that act on a fixed number of wires.
GATES = [name for name, kind in KINDS.items() if kind.wires]


def random_angle(draw: random.Random) -> Any:
    """A constant, a parameter, a column, or a sum of all."""
    terms: list[Any] = [
        draw.uniform(-3, 3),
        parameter(f"p{draw.randrange(4)}"),
        draw.choice([1, -0.7]) * data(draw.randrange(3)),
    ]
    return draw.choice([*terms, sum(terms)])


def random_observable(draw: random.Random, wires: int) -> PauliSum:
    """One to three Pauli strings on that many wires, as the generator ``draw`` has it."""
    strings = {
        "".join(draw.choice("IXYZ") for _ in range(wires)): draw.uniform(-2, 2) for _ in range(draw.randint(1, 3))
    }
    return PauliSum.from_strings(strings)


def random_circuit(seed: int, wires: int, length: int, diagonal: bool = False) -> Circuit:
    """Gates of all kinds, sometimes after an embedding of amplitudes.

    Args:
        seed: decides the circuit.
        wires: how many.
        length: number of gates after the embedding.
        diagonal: measure Z on every wire in the place of random observables.
    """
    draw = random.Random(seed)
    circuit = Circuit(wires)
    if draw.random() < 0.3:
        chosen = draw.sample(range(wires), draw.randint(1, wires))
        circuit = circuit.amplitude_embedding(chosen, columns=draw.randint(1, 2 ** len(chosen)))
    elif draw.random() < 0.5:
        circuit = circuit.angle_embedding(rotation=draw.choice("XYZ"))
    for _ in range(length):
        name = draw.choice([name for name in GATES if KINDS[name].wires <= wires])
        chosen = draw.sample(range(wires), KINDS[name].wires)
        circuit = circuit.add(name, chosen, *(random_angle(draw) for _ in range(KINDS[name].angles)))
    if diagonal:
        return circuit.measure()
    return circuit.measure(*(random_observable(draw, wires) for _ in range(draw.randint(1, 3))))


def random_inputs(circuit: Circuit, *lead: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Data ``(*lead, D)`` and parameters (P,) for a circuit, float64, from a local generator with the seed."""
    local = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(*lead, circuit.num_columns, generator=local, dtype=torch.float64) - 2
    return x, 6 * torch.rand(circuit.num_parameters, generator=local, dtype=torch.float64) - 3
