"""Exact expectations of circuits by state vectors in PyTorch: batched, differentiable, on any device."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.circuits import statevector, trig
from qkan.circuits.circuit import Circuit
from qkan.circuits.plan import FOLDED_WIRES, Layer, Monomial, Pair, Plan, Step, compile_plan, observable_weights
from qkan.circuits.trig import Trig

#: Up to so many sines, the blocks of two wires are evaluated as one: fewer operations, each of them still small.
_PAIR_SINES = 64
#: Up to this many wires, weights of all basis states for all observables are kept.
_WEIGHED_WIRES = 10


def expectations(circuit: Circuit, data: Tensor | None = None, parameters: Tensor | None = None) -> Tensor:
    """Exact expectations of the circuit's observables, differentiable in data and parameters.

    Args:
        circuit: of up to 20 wires.
        data: (..., D), angles in radians or amplitudes; may be left out where the circuit reads none.
        parameters: (..., P) in radians in the order of ``circuit.parameters``; may be left out where it has none.
            Leading shapes of both broadcast, so every row may bring parameters of its own.

    Returns:
        (..., number of observables), float64 for float64 inputs, else float32.

    Raises:
        OptionError: more than 20 wires.
        ShapeError: a last dimension is not D or P.
        DomainError: a row of amplitudes is zero or not finite.
    """
    statevector.check_wires(circuit)
    data, parameters = circuit.check_inputs(data, parameters)
    lead = torch.broadcast_shapes(data.shape[:-1], parameters.shape[:-1])
    run = _prepared(circuit, data.dtype, data.device)
    found = run(_rows(data, lead, circuit.num_columns > 0), _rows(parameters, lead, parameters.shape[:-1].numel() != 1))
    return found.expand(lead.numel(), -1).reshape(*lead, len(circuit.observables))


def parallel(circuit: Circuit, data: Tensor, parameters: Tensor) -> Tensor:
    """Expectations of c circuits of one shape side by side, each with data and parameters of its own.

    The same as :func:`expectations` with the leading shapes broadcast, which keeps parameters for every row. Where no
    data come after the first trainable gate, the circuits are folded into c unitaries instead, whatever the batch.

    Args:
        circuit: of up to 20 wires.
        data: (..., c, D).
        parameters: (c, P).

    Returns:
        (..., c, number of observables).

    Raises:
        OptionError, ShapeError, DomainError: as :func:`expectations`.
    """
    statevector.check_wires(circuit)
    data, parameters = circuit.check_inputs(data, parameters)
    run = _prepared(circuit, data.dtype, data.device)
    if not run.folds_parallel or data.dim() < 2 or parameters.dim() != 2 or data.shape[-2] != parameters.shape[0]:
        return expectations(circuit, data, parameters)
    found = run.parallel(data.reshape(-1, *data.shape[-2:]), parameters)
    return found.reshape(*data.shape[:-1], found.shape[-1])


def _rows(value: Tensor, lead: torch.Size, many: bool) -> Tensor:
    """As a matrix: (rows, last) if there are ``many``, else (1, last)."""
    if not many:
        return value.expand(1, -1) if value.dim() == 1 else value.new_zeros(1, 0) if not value.numel() else value[:1]
    return value.expand(*lead, -1).reshape(lead.numel(), value.shape[-1])


@lru_cache(maxsize=64)
def _prepared(circuit: Circuit, dtype: torch.dtype, device: torch.device) -> _Program:
    # Constants made in inference mode could not take part in training later.
    with torch.inference_mode(False):
        return _Program(compile_plan(circuit), dtype, device)


class _Sines:
    """Σ_k A_k sin(f_k·angles + b_k) for matrices of one size: one affine map, one sine, one matrix product."""

    def __init__(self, matrices: list[Trig], program: _Program):
        constants, by_parameter, by_column = program.plan.circuit.angle_map
        parts = [trig.sines(matrix) for matrix in matrices]
        self.terms = max(len(part) for part in parts)
        self.count = len(parts)
        self.shape = parts[0][0][2].shape
        frequencies = np.zeros((self.count, self.terms, len(constants)))
        offsets = np.zeros((self.count, self.terms))
        values = np.zeros((self.count, self.terms, *self.shape), dtype=complex)
        for row, part in enumerate(parts):
            for column, (frequency, offset, matrix) in enumerate(part):
                for slot, factor in frequency:
                    frequencies[row, column, slot] = factor
                offsets[row, column] = offset
                values[row, column] = matrix
        flat = frequencies.reshape(self.count * self.terms, len(constants))
        self.offsets = program.real(offsets.reshape(-1) + flat @ constants)
        self.by_parameter = program.real((flat @ by_parameter).T) if np.any(flat @ by_parameter) else None
        self.by_column = program.real((flat @ by_column).T) if np.any(flat @ by_column) else None
        self.values = program.real(values.view(float).reshape(self.count, self.terms, -1))

    def features(self, data: Tensor, parameters: Tensor) -> Tensor:
        """The sines, (rows or 1, count · terms)."""
        phases = self.offsets.expand(1, -1)
        if self.by_parameter is not None:
            phases = torch.addmm(phases, parameters, self.by_parameter)
        if self.by_column is not None:
            phases = torch.addmm(phases, data, self.by_column)
        return phases.sin()

    def matrices(self, data: Tensor, parameters: Tensor) -> Tensor:
        """(count, rows or 1, *shape), complex."""
        features = self.features(data, parameters)
        rows = features.shape[0]
        spread = features.view(rows, self.count, self.terms).transpose(0, 1)
        return torch.view_as_complex(torch.bmm(spread, self.values).view(self.count, rows, *self.shape, 2))


class _Program:
    """A plan with its constants as tensors of one type on one device."""

    def __init__(self, plan: Plan, dtype: torch.dtype, device: torch.device):
        self.plan, self.dtype, self.device = plan, dtype, device
        self.complex = statevector.complex_type(dtype)
        self.wires = plan.circuit.wires
        self.folds = self.wires <= FOLDED_WIRES
        self.groups = {key: _Sines(blocks.matrices, self) for key, blocks in plan.blocks.items() if blocks.matrices}
        self.folding = self._folding()
        self.start = _Sines([plan.start], self) if plan.embedding == "sines" else None
        self.basis = self._basis()
        unit = torch.eye(2**self.wires if self.folds else 1, dtype=self.complex, device=self.device)
        self.unit_rows = torch.equal(self.basis, unit[: len(self.basis)])
        self.runs = [(shared, list(steps)) for shared, steps in groupby(plan.steps, _is_shared)]
        self.moves = {id(step): self._move(step.source, step.sign) for step in plan.steps if isinstance(step, Monomial)}
        self.places = [(columns, self.index(places)) for columns, places in plan.amplitudes]
        self.weights = self._weights() if self.wires <= _WEIGHED_WIRES else None
        self.folds_parallel = (
            self.folding is not None
            and (len(plan.amplitudes) == 1 or (self.start is not None and self.start.by_parameter is None))
            and all(isinstance(step, Monomial) or (isinstance(step, Layer) and step.shared) for step in plan.steps)
        )

    def _folding(self) -> _Sines | None:
        """What layers folded into unitaries are made of: blocks of two wires, or of one where those would be large.

        They are transposed, because states are rows.
        """
        blocks = [{key: part.T for key, part in block.items()} for block in self.plan.blocks[True, 1].matrices]
        if not (self.folds and blocks):
            return None
        if self.wires % 2 == 0:
            pairs = [trig.kron(left, right) for left, right in zip(blocks[::2], blocks[1::2], strict=True)]
            if max(len(pair) for pair in pairs) <= _PAIR_SINES:
                return _Sines(pairs, self)
        return _Sines(blocks, self)

    def real(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=self.dtype, device=self.device)

    def index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    def _move(self, source: np.ndarray, sign: np.ndarray) -> tuple[Tensor, Tensor | None]:
        return self.index(source), None if np.all(sign == 1) else self.real(sign)

    def _basis(self) -> Tensor:
        """Fixed vectors whose weighted sum is the embedded state, (number, 2^wires); |0⟩ where nothing is embedded."""
        plan, size = self.plan, 2**self.wires
        if self.start is not None:
            return torch.view_as_complex(self.start.values[0].view(-1, size, 2))
        places = np.zeros(1, dtype=int)
        if self.folds:
            for _, more in plan.amplitudes:
                places = (places[:, None] + more).reshape(-1)
        basis = torch.zeros(len(places), size, dtype=self.complex, device=self.device)
        basis[torch.arange(len(places)), self.index(places)] = 1
        return basis

    def _weights(self) -> list[tuple[Tensor | None, Tensor]]:
        found: list[tuple[Tensor | None, Tensor]] = []
        for partner, weights in observable_weights(self.plan):
            if partner is None:  # |ψ|² = Re² + Im²
                found.append((None, self.real(np.repeat(weights.real, 2, axis=0))))
            else:
                both = np.stack([weights.real, -weights.imag], axis=1).reshape(2 * len(weights), -1)
                found.append((self.index(partner), self.real(both)))
        return found

    # -- running -------------------------------------------------------------------------------------------------

    def __call__(self, data: Tensor, parameters: Tensor) -> Tensor:
        """(rows or 1, D) and (rows or 1, P) to (rows or 1, number of observables)."""
        folded = self.folds and parameters.shape[0] == 1
        matrices: dict[tuple[bool, int], Any] = {
            key: group.matrices(data, parameters)
            for key, group in self.groups.items()
            if not (folded and key == (True, 1))
        }
        runs = self.runs
        if folded and self.folding is not None:
            matrices[True, 0] = tuple(layer.squeeze(0) for layer in self._unitaries(self.folding, data, parameters))
        basis = self.basis
        if folded and runs and runs[0][0]:
            basis, runs = self._evolve(basis, runs[0][1], matrices, self.unit_rows), runs[1:]
        psi = self._embedded(basis, data, parameters, matrices)
        for shared, steps in runs:
            if shared and folded and len(steps) > 1 and psi.shape[0] > psi.shape[1]:
                eye = torch.eye(psi.shape[1], dtype=self.complex, device=self.device)
                psi = psi @ self._evolve(eye, steps, matrices, True)
            else:
                psi = self._evolve(psi, steps, matrices, False)
        return self._measured(psi)

    def parallel(self, data: Tensor, parameters: Tensor) -> Tensor:
        """(rows, c, D) and (c, P) to (rows, c, number of observables), where ``folds_parallel``."""
        assert self.folding is not None
        rows, count, _ = data.shape
        if self.start is not None:
            weights = self.start.features(data.flatten(0, 1), parameters[:1]).unflatten(0, (rows, count))
        else:
            weights = statevector.normalised(statevector.chosen(data, self.places[0][0]))
        unitaries = self._unitaries(self.folding, data, parameters)
        basis = self._evolve(self.basis, self.plan.steps, {(True, 0): unitaries}, self.unit_rows)
        parts = torch.view_as_real(basis).flatten(-2).expand(count, -1, -1)
        psi = torch.bmm(weights.transpose(0, 1), parts)
        psi = torch.view_as_complex(psi.reshape(count * rows, 2**self.wires, 2))
        return self._measured(psi).unflatten(0, (count, rows)).transpose(0, 1)

    def _unitaries(self, folding: _Sines, data: Tensor, parameters: Tensor) -> tuple[Tensor, ...]:
        """Every layer as a unitary for each row of parameters (c, P), as (c, 2^wires, 2^wires)."""
        blocks = folding.matrices(data, parameters)
        size = blocks.shape[-1]
        layers = blocks.unflatten(0, (-1, 2 * self.wires // size)).transpose(0, 1)
        whole = _kron(layers.flatten(1, 2)).unflatten(0, layers.shape[1:3])
        return whole.unbind(0)

    def _embedded(self, basis: Tensor, data: Tensor, parameters: Tensor, matrices: dict) -> Tensor:
        """The state, (rows or 1, 2^wires)."""
        kind = self.plan.embedding
        if kind == "none":
            return basis
        if kind == "columns":
            columns = matrices[False, 1][list(self.plan.columns)][..., 0]
            psi = columns[0]
            for column in columns[1:]:
                psi = (psi[:, :, None] * column[:, None, :]).flatten(1)
            return psi
        if self.start is not None:
            weights = self.start.features(data, parameters)
        else:
            weights, places = data.new_ones(1, 1), torch.zeros(1, dtype=torch.long, device=data.device)
            for columns, more in self.places:
                factor = statevector.normalised(statevector.chosen(data, columns))
                weights = factor if len(self.places) == 1 else (weights[:, :, None] * factor[:, None, :]).flatten(1)
                places = (places[:, None] + more).flatten()
            if not self.folds:
                psi = weights.new_zeros(weights.shape[0], 2**self.wires)
                return psi.index_copy(1, places, weights).to(self.complex)
        parts = weights @ torch.view_as_real(basis).flatten(1)
        return torch.view_as_complex(parts.view(weights.shape[0], 2**self.wires, 2))

    def _evolve(self, psi: Tensor, steps: list[Step], matrices: dict, identity: bool) -> Tensor:
        """Steps on every row; ``identity`` says that the rows are the first rows of a unit matrix."""
        for step in steps:
            if isinstance(step, Layer):
                if step.shared and (True, 0) in matrices:
                    whole = matrices[True, 0][step.blocks[0] // self.wires]
                    psi = whole[..., : psi.shape[-2], :] if identity else psi @ whole
                else:
                    blocks = matrices[step.shared, 1][step.blocks[0] : step.blocks[-1] + 1]
                    psi = self._side_by_side(psi, step.wires, blocks)
            elif isinstance(step, Pair):
                psi = statevector.apply(psi, matrices[step.shared, 2][step.block], step.wires, self.wires)
            else:
                source, sign = self.moves[id(step)]
                psi = psi.index_select(-1, source)
                psi = psi if sign is None else psi * sign
            identity = False
        return psi

    def _side_by_side(self, psi: Tensor, wires: tuple[int, ...], blocks: Tensor) -> Tensor:
        """One-wire blocks (number, rows or 1, 2, 2), neighbours together: four where rows share them, else two."""
        most = 4 if blocks.shape[1] == 1 else 2
        first = 0
        while first < len(wires):
            last = first + 1
            while last < len(wires) and last - first < most and wires[last] == wires[first] + last - first:
                last += 1
            block = _kron(blocks[first:last])
            size = 2 ** wires[first]
            shape = (psi.shape[0], size, block.shape[-1], 2**self.wires // (size * block.shape[-1]))
            if len(block) == 1 and shape[-1] < block.shape[-1]:  # one product of matrices, not one per row
                parts = psi.reshape(shape).transpose(2, 3)
                psi = (parts @ block[0].T).transpose(2, 3).flatten(1)
            else:
                psi = (block[:, None] @ psi.reshape(shape)).flatten(1)
            first = last
        return psi

    def _measured(self, psi: Tensor) -> Tensor:
        """(rows, number of observables)"""
        if self.weights is None:
            if self.plan.last is not None:
                source, sign = self._move(self.plan.last.source, self.plan.last.sign)
                psi = psi.index_select(1, source) if sign is None else psi.index_select(1, source) * sign
            observables = self.plan.circuit.observables
            return torch.stack([statevector.expectation(psi, one, self.wires) for one in observables], dim=-1)
        total: Tensor | None = None
        for partner, weights in self.weights:
            if partner is None:
                parts = torch.view_as_real(psi).square()
            else:
                parts = torch.view_as_real(psi.conj() * psi.index_select(1, partner))
            found = parts.flatten(1) @ weights
            total = found if total is None else total + found
        assert total is not None
        return total


def _is_shared(step: Step) -> bool:
    return isinstance(step, Monomial) or step.shared


def _kron(blocks: Tensor) -> Tensor:
    """Square matrices (number, rows, d, d) to their Kronecker product (rows, d^number, d^number), in pairs."""
    if len(blocks) == 1:
        return blocks[0]
    if len(blocks) % 2:
        return _outer(_kron(blocks[:-1]), blocks[-1])
    left, right = blocks.unflatten(0, (-1, 2)).unbind(1)
    return _kron(_outer(left, right))


def _outer(left: Tensor, right: Tensor) -> Tensor:
    size = left.shape[-1] * right.shape[-1]
    product = left[..., :, None, :, None] * right[..., None, :, None, :]
    return product.reshape(*product.shape[:-4], size, size)
