"""Trainable circuits of several wires: layers that entangle all wires, and tensor networks.

Gate orders are those of PennyLane's templates of the same names, so that weights can be exchanged: parameter
``weights[i,j,k]`` stands for entry (i, j, k) of the template's weights; ``Circuit.parameters`` lists them row by row.
The circuits begin with the trainable gates; embed data before them by ``Circuit(n).angle_embedding().then(...)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qkan.circuits.angles import parameter
from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import Z
from qkan.errors import OptionError, check_choice, check_positive


def strongly_entangling(wires: int, layers: int = 1, *, ranges: Sequence[int] | None = None) -> Circuit:
    """Layers of Rot on every wire and of CNOTs to the wire r further on (Schuld et al. 2020, arXiv 1804.00633).

    Parameters ``weights[layer,wire,0..2]``; ⟨Z⟩ of every wire is measured.

    Args:
        wires: number of wires; one wire has no CNOTs.
        layers: number of layers.
        ranges: r of each layer, from 1 to wires - 1; by default 1, 2, …, wires - 1, 1, 2, …

    Raises:
        OptionError: ``wires`` or ``layers`` below 1, or ranges that do not fit.
    """
    check_positive("wires", wires)
    check_positive("layers", layers)
    if ranges is None:
        ranges = [layer % max(wires - 1, 1) + 1 for layer in range(layers)]
    if len(ranges) != layers or (wires > 1 and any(not 0 < r < wires for r in ranges)):
        raise OptionError(f"ranges={list(ranges)} must be {layers} whole numbers from 1 to {wires - 1}.")
    circuit = Circuit(wires)
    for layer, step in enumerate(ranges):
        for wire in range(wires):
            phi, theta, omega = (parameter(f"weights[{layer},{wire},{k}]") for k in range(3))
            circuit = circuit.rot(phi, theta, omega, wire)
        for wire in range(wires if wires > 1 else 0):
            circuit = circuit.cnot(wire, (wire + step) % wires)
    return circuit.measure()


def basic_entangler(wires: int, layers: int = 1, *, rotation: str = "X") -> Circuit:
    """Layers of one rotation on every wire and of a ring of CNOTs.

    Parameters ``weights[layer,wire]``; ⟨Z⟩ of every wire is measured.

    Args:
        wires: number of wires; two have one CNOT per layer, one has none.
        layers: number of layers.
        rotation: "X", "Y" or "Z".

    Raises:
        OptionError: ``wires`` or ``layers`` below 1, or another rotation.
    """
    check_positive("wires", wires)
    check_positive("layers", layers)
    check_choice("rotation", rotation, ("X", "Y", "Z"))
    circuit = Circuit(wires)
    for layer in range(layers):
        for wire in range(wires):
            circuit = circuit.add(f"R{rotation}", [wire], parameter(f"weights[{layer},{wire}]"))
        for wire in range(wires if wires > 2 else wires - 1):
            circuit = circuit.cnot(wire, (wire + 1) % wires)
    return circuit.measure()


def mps(wires: int, block: Circuit | None = None) -> Circuit:
    """A matrix product state: one block after the other, each moved on by half its width (arXiv 1803.11537).

    Args:
        wires: number of wires, a multiple of half the block's width.
        block: gates of one block on an even number of wires, by default CNOT(0, 1), RY on 0 and RY on 1. Its k-th
            parameter becomes ``weights[i,k]`` in the i-th block.

    Returns:
        A circuit that measures ⟨Z⟩ of the last wire.

    Raises:
        OptionError: the numbers of wires do not fit.
    """
    block = _checked(wires, block)
    half = block.wires // 2
    if wires % half:
        raise OptionError(f"wires={wires} must be a multiple of {half}, half the width of a block.")
    places = [tuple(range(first, first + block.wires)) for first in range(0, wires - half, half)]
    return _network(wires, block, places).measure(Z(wires - 1))


def ttn(wires: int, block: Circuit | None = None) -> Circuit:
    """A tree tensor network: blocks join neighbours, then every other wire of those, to the root (arXiv 1803.11537).

    Args:
        wires: the block's width times a power of 2.
        block: as in :func:`mps`.

    Returns:
        A circuit that measures ⟨Z⟩ of the last wire of the last block, the root.

    Raises:
        OptionError: the numbers of wires do not fit.
    """
    block = _checked(wires, block, power=True)
    half = block.wires // 2
    places = []
    width = block.wires
    while width <= wires:
        low, high = width // 2 - half, width - half
        for first in range(0, wires, width):
            places.append((*range(first + low, first + low + half), *range(first + high, first + high + half)))
        width *= 2
    return _network(wires, block, places).measure(Z(places[-1][-1]))


def mera(wires: int, block: Circuit | None = None) -> Circuit:
    """Multi-scale entanglement renormalisation: a tree with disentangling blocks between its levels (quant-ph/0610099).

    Args:
        wires: the block's width times a power of 2.
        block: as in :func:`mps`.

    Returns:
        A circuit that measures ⟨Z⟩ of the last wire of the last block, the root.

    Raises:
        OptionError: the numbers of wires do not fit.
    """
    block = _checked(wires, block, power=True)
    half = block.wires // 2
    level = [tuple(range(block.wires))]  # from the root to the leaves, wires are numbered as they appear
    places = list(level)
    used = block.wires
    while used < wires:
        finer = []
        for wired in level:
            finer.append(wired[:half] + tuple(range(used, used + half)))
            finer.append(tuple(range(used + half, used + 2 * half)) + wired[half:])
            used += 2 * half
        level = finer
        places += level
        level_between = [left[half:] + right[:half] for left, right in zip(level, level[1:] + level[:1], strict=True)]
        places += level_between
        level = level_between
    return _network(wires, block, places[::-1]).measure(Z(places[0][-1]))


def _checked(wires: int, block: Circuit | None, power: bool = False) -> Circuit:
    check_positive("wires", wires, 2)
    if block is None:
        block = Circuit(2).cnot(0, 1).ry(parameter("left"), 0).ry(parameter("right"), 1)
    if block.wires % 2 or block.wires > wires:
        raise OptionError(f"block of {block.wires} wires must have an even number of wires, at most {wires}.")
    ratio = wires // block.wires
    if power and (wires % block.wires or ratio & (ratio - 1)):
        raise OptionError(f"wires={wires} must be {block.wires}, the width of a block, times a power of 2.")
    return block


def _network(wires: int, block: Circuit, places: list[tuple[int, ...]]) -> Circuit:
    """The block on each of the places, with parameters of its own."""
    gates = []
    for number, place in enumerate(places):
        names = {name: f"weights[{number},{k}]" for k, name in enumerate(block.parameters)}
        for gate in block.gates:
            angles = [replace(a, parameters=tuple((names[name], v) for name, v in a.parameters)) for a in gate.angles]
            gates.append(replace(gate, wires=tuple(place[wire] for wire in gate.wires), angles=tuple(angles)))
    return Circuit(wires, tuple(gates))
