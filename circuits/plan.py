"""What can be prepared once for a circuit: gates merged, arranged in layers and written as sums of sines.

A plan is a start, then steps, then weights for the observables. Three things make it fast:

* consecutive gates of one wire are one block, and all blocks come from one sine (:mod:`qkan.circuits.trig`);
* CNOT, SWAP and CZ are index permutations and signs; those at the end are taken into the observables;
* a product-state embedding is Σ_k sin(f_k·x + b_k) v_k with fixed vectors v_k, as amplitudes are Σ_k x_k |k⟩. Layers
  without data act on the vectors v_k, whose number does not grow with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qkan.circuits import trig
from qkan.circuits.circuit import Circuit
from qkan.circuits.gates import Gate
from qkan.circuits.trig import Trig

#: Up to this many wires, layers without data are unitaries over all wires.
FOLDED_WIRES = 6
#: Largest number of sines of an embedding: beyond, its gates act one by one.
_MOST_FEATURES = 256
#: Sines in a merged block: a chain of gates on one wire is cut where it would need more.
_MOST_SINES = 8


@dataclass
class Blocks:
    """Matrices that are evaluated together, each a sum of sines of angles."""

    matrices: list[Trig] = field(default_factory=list)

    def add(self, matrix: Trig) -> int:
        """Its place."""
        self.matrices.append(matrix)
        return len(self.matrices) - 1


@dataclass(frozen=True)
class Layer:
    """One-wire blocks side by side; ``blocks`` are places among those that are, or are not, the same for all rows."""

    shared: bool
    wires: tuple[int, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """A gate with angles on two wires."""

    shared: bool
    wires: tuple[int, int]
    block: int


@dataclass(frozen=True)
class Monomial:
    """New amplitude k is sign[k] · old amplitude source[k]; both (2^wires,)."""

    source: np.ndarray
    sign: np.ndarray

    @staticmethod
    def of(gate: Gate, wires: int) -> Monomial:
        """CNOT, CZ or SWAP.

        Args:
            gate: one of these.
            wires: of the circuit.
        """
        index = np.arange(2**wires)
        first, second = (wires - 1 - wire for wire in gate.wires)
        both = (index >> first) & (index >> second) & 1
        if gate.name == "CZ":
            return Monomial(index, 1 - 2 * both)
        if gate.name == "CNOT":
            return Monomial(index ^ (((index >> first) & 1) << second), np.ones_like(index))
        differ = ((index >> first) ^ (index >> second)) & 1
        return Monomial(index ^ (differ << first) ^ (differ << second), np.ones_like(index))

    def then(self, other: Monomial) -> Monomial:
        """Both, this one first."""
        return Monomial(self.source[other.source], other.sign * self.sign[other.source])


#: A step of a plan.
Step = Layer | Pair | Monomial


@dataclass
class Plan:
    """A compiled circuit, in numbers only.

    Attributes:
        embedding: "none", "sines" (product state as a sum of sines), "columns" (product state wire by wire) or
            "amplitudes".
        start: of "sines", the polynomial of the product state, as (2^n, 1) matrices.
        columns: of "columns", each wire's place among the blocks by row.
        amplitudes: of "amplitudes", (columns of the data, place of each in the state).
        steps: in order.
        blocks: one-wire blocks by (shared, number of wires 1 or 2).
        last: the monomial at the end, for the observables.
    """

    circuit: Circuit
    embedding: str = "none"
    start: Trig = field(default_factory=dict)
    columns: tuple[int, ...] = ()
    amplitudes: list[tuple[tuple[int, ...], np.ndarray]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    blocks: dict[tuple[bool, int], Blocks] = field(
        default_factory=lambda: {(shared, size): Blocks() for shared in (True, False) for size in (1, 2)}
    )
    last: Monomial | None = None


def compile_plan(circuit: Circuit) -> Plan:
    """The plan of a circuit."""
    plan = Plan(circuit)
    for gate in circuit.gates:
        if gate.name == "AmplitudeEmbedding":
            plan.embedding = "amplitudes"
            places = [sum(1 << (circuit.wires - 1 - wire) for wire in _ones(gate, k)) for k in range(len(gate.columns))]
            plan.amplitudes.append((gate.columns, np.array(places)))
    stages = _stages(circuit)
    for place, (chains, entangling) in enumerate(stages):
        rounds = _rounds(chains)
        if place == 0 and plan.embedding == "none" and rounds and not rounds[0][0]:
            rounds = _embed(plan, rounds)
        for shared, blocks in rounds:
            _add_layer(plan, shared, blocks)
        for gate, slots in entangling:
            _add_entangling(plan, gate, slots)
    if plan.steps and isinstance(plan.steps[-1], Monomial):
        plan.last = plan.steps.pop()  # type: ignore[assignment]
    return plan


def _ones(gate: Gate, k: int) -> list[int]:
    """Wires of an embedding that are 1 in its basis state k."""
    return [wire for place, wire in enumerate(gate.wires) if (k >> (len(gate.wires) - 1 - place)) & 1]


# A chain is [shared, matrix]; "shared" is None as long as it holds constants only.
_Chains = dict[int, list[list]]
_Entangling = list[tuple[Gate, list]]


def _stages(circuit: Circuit) -> list[tuple[_Chains, _Entangling]]:
    """Gates in as few stages as their order on each wire allows: chains of one-wire gates, then entangling gates."""
    stages: list[tuple[_Chains, _Entangling]] = []
    depth = [0] * circuit.wires
    closed = [False] * circuit.wires
    slot = 0
    for gate in circuit.gates:
        slots = [slot + k if a.data or a.parameters else a.constant for k, a in enumerate(gate.angles)]
        slot += len(gate.angles)
        if gate.columns or gate.name == "Barrier":
            continue
        if len(gate.wires) == 1:
            (wire,) = gate.wires
            depth[wire] += closed[wire]
            closed[wire] = False
        stage = max(depth[wire] for wire in gate.wires)
        while len(stages) <= stage:
            stages.append(({}, []))
        if len(gate.wires) == 1:
            shared = None if all(isinstance(value, float) for value in slots) else not gate.depends_on_data
            _extend(stages[stage][0].setdefault(wire, []), shared, trig.gate(gate.name, slots))
        else:
            stages[stage][1].append((gate, slots))
            for wire in gate.wires:
                depth[wire], closed[wire] = stage, True
    return stages


def _extend(chains: list[list], shared: bool | None, matrix: Trig) -> None:
    """One more gate on a wire: merged with the last where both depend on data or both do not."""
    if chains and (shared is None or chains[-1][0] in (None, shared)):
        merged = trig.product(matrix, chains[-1][1])
        if len(merged) <= _MOST_SINES:
            chains[-1] = [chains[-1][0] if shared is None else shared, merged]
            return
    chains.append([shared, matrix])


def _rounds(chains: _Chains) -> list[tuple[bool, dict[int, Trig]]]:
    """Chains of all wires as layers that either depend on data (even places) or do not (odd places)."""
    found: dict[int, dict[int, Trig]] = {}
    for wire, parts in chains.items():
        place = -1
        for shared, matrix in parts:
            place += 1
            place += place % 2 != (shared is not False)
            found.setdefault(place, {})[wire] = matrix
    return [(place % 2 == 1, found[place]) for place in sorted(found)]


def _embed(plan: Plan, rounds: list[tuple[bool, dict[int, Trig]]]) -> list[tuple[bool, dict[int, Trig]]]:
    """Take the first round, which depends on data, as the start; the rounds that are left."""
    wires = plan.circuit.wires
    first = rounds[0][1]
    identity = trig.constant(np.eye(2, dtype=complex))
    matrices = [first.get(wire, identity) for wire in range(wires)]
    if wires > FOLDED_WIRES:
        plan.embedding = "columns"
        plan.columns = tuple(plan.blocks[False, 1].add(matrix) for matrix in matrices)
        return rounds[1:]
    if np.prod([float(len(matrix)) for matrix in matrices]) > _MOST_FEATURES:
        return rounds
    plan.embedding = "sines"
    plan.start = trig.constant(np.ones((1, 1), dtype=complex))
    for matrix in matrices:
        column = {frequency: part[:, :1] for frequency, part in matrix.items()}
        plan.start = trig.kron(plan.start, column)
    return rounds[1:]


def _add_layer(plan: Plan, shared: bool, matrices: dict[int, Trig]) -> None:
    wires = plan.circuit.wires
    used = tuple(sorted(matrices))
    if shared and wires <= FOLDED_WIRES:  # a unitary over all wires
        used = tuple(range(wires))
    identity = trig.constant(np.eye(2, dtype=complex))
    group = plan.blocks[shared, 1]
    plan.steps.append(Layer(shared, used, tuple(group.add(matrices.get(wire, identity)) for wire in used)))


def _add_entangling(plan: Plan, gate: Gate, slots: list) -> None:
    if gate.angles:
        shared = not gate.depends_on_data
        block = plan.blocks[shared, 2].add(trig.gate(gate.name, slots))
        plan.steps.append(Pair(shared, (gate.wires[0], gate.wires[1]), block))
        return
    monomial = Monomial.of(gate, plan.circuit.wires)
    if plan.steps and isinstance(plan.steps[-1], Monomial):
        monomial = plan.steps.pop().then(monomial)  # type: ignore[union-attr]
    plan.steps.append(monomial)


def observable_weights(plan: Plan) -> list[tuple[np.ndarray | None, np.ndarray]]:
    """Observables of the state before ``plan.last``, Pauli strings with equal flips together.

    Returns:
        (partner, weights) pairs: expectations are Σ_j Re(conj ψ_j ψ_partner[j] weights[j, observable]) summed over the
        pairs. The partner None is j itself: only squared amplitudes are needed.
    """
    circuit = plan.circuit
    index = np.arange(2**circuit.wires)
    last = plan.last or Monomial(index, np.ones_like(index))
    place = np.argsort(last.source)  # old index j is new index place[j]
    found: dict[int, np.ndarray] = {}
    for column, observable in enumerate(circuit.observables):
        for coefficient, string in observable.terms:
            flips, factors = 0, np.full(len(index), coefficient, dtype=complex)
            for wire, letter in string:
                bit = circuit.wires - 1 - wire
                sign = 1 - 2 * ((index >> bit) & 1)
                flips |= (letter != "Z") << bit
                factors *= {"X": 1, "Y": -1j * sign, "Z": sign}[letter]
            weights = found.setdefault(flips, np.zeros((len(index), len(circuit.observables)), dtype=complex))
            weights[:, column] += (last.sign * factors * last.sign[index ^ flips])[place]
    if not found:  # every observable is an empty sum
        found[0] = np.zeros((len(index), len(circuit.observables)), dtype=complex)
    return [(None if not flips else last.source[place ^ flips], weights) for flips, weights in found.items()]
