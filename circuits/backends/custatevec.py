"""State vectors on an NVIDIA GPU through cuStateVec: ``get("custatevec", precision="single")``."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qkan.circuits import gates, statevector
from qkan.circuits.backends._base import Backend, Capabilities, Result, Task
from qkan.circuits.circuit import Circuit
from qkan.circuits.observables import PauliString, PauliSum
from qkan.circuits.rows import is_free
from qkan.errors import BackendUnavailable, JobError, check_choice

#: Complex type of the states, and how cudaDataType and ComputeType call it.
_PRECISIONS = {
    "double": (torch.complex128, "CUDA_C_64F", "COMPUTE_64F"),
    "single": (torch.complex64, "CUDA_C_32F", "COMPUTE_32F"),
}
#: Strings on more wires are no matrices any more, whose size grows as 4^wires.
_WIDEST_MATRIX = 6
#: Rows in one call at most: grids of CUDA have 65535 blocks along two of their three axes.
_MOST_ROWS = 2**15
#: Part of the free memory that states may take; strings without a matrix need two more copies of them.
_SHARE = 0.25


class Driver:
    """The few calls of cuStateVec that the backend makes, on memory that PyTorch holds.

    Args:
        bindings: the module ``cuquantum.bindings.custatevec``.
        data_types: ``cuquantum.cudaDataType``.
        precision: "double" or "single".
        device: where states live.

    Bits are those of a state's index, 0 the least significant; of the bits that a matrix acts on, the first is the
    least significant one of the matrix's index.
    """

    def __init__(self, bindings: Any, data_types: Any, precision: str = "double", device: str | torch.device = "cuda"):
        self.bindings, self.precision, self.device = bindings, precision, torch.device(device)
        self.dtype, data_type, compute = _PRECISIONS[precision]
        self.data_type = int(getattr(data_types, data_type))
        self.compute = int(getattr(bindings.ComputeType, compute))
        self.row_major = int(bindings.MatrixLayout.ROW)
        self.handle = bindings.create()
        # Not at exit, when CUDA may be gone before.
        weakref.finalize(self, bindings.destroy, self.handle).atexit = False

    @classmethod
    def on_gpu(cls, precision: str) -> Driver:
        """The driver of PyTorch's current GPU."""
        from cuquantum import cudaDataType
        from cuquantum.bindings import custatevec

        return cls(custatevec, cudaDataType, precision, torch.device("cuda", torch.cuda.current_device()))

    @contextmanager
    def running(self) -> Iterator[None]:
        """On the driver's GPU, in the stream in which PyTorch allocates and computes."""
        if self.device.type != "cuda":
            yield
            return
        with torch.cuda.device(self.device):
            self.bindings.set_stream(self.handle, torch.cuda.current_stream().cuda_stream)
            yield

    def free_bytes(self) -> int:
        """Memory that is free, that which PyTorch keeps for reuse included."""
        if self.device.type != "cuda":
            return 2**30
        free, _ = torch.cuda.mem_get_info(self.device)
        return free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)

    def apply(self, states: Tensor, matrices: Tensor, bits: Sequence[int]) -> None:
        """Replace every state by its product with a matrix.

        Args:
            states: (N, 2^n), contiguous.
            matrices: (N, 2^k, 2^k), one per state, or (1, 2^k, 2^k), one for all; contiguous.
            bits: k of them.
        """
        kind, indices = self.bindings.MatrixMapType.BROADCAST, None
        if len(matrices) > 1:
            kind = self.bindings.MatrixMapType.MATRIX_INDEXED
            indices = torch.arange(len(states), dtype=torch.int32, device=self.device)
        index = 0 if indices is None else indices.data_ptr()
        how = (int(kind), index, matrices.data_ptr(), self.data_type, self.row_major, 0, len(matrices))
        size = self.bindings.apply_matrix_batched_get_workspace_size(
            self.handle, *self._layout(states), *how, len(bits), 0, self.compute
        )
        with self._workspace(size) as space:
            self.bindings.apply_matrix_batched(
                *(self.handle, states.data_ptr(), *self._layout(states), *how),
                *(tuple(bits), len(bits), (), (), 0, self.compute, *space),
            )

    def expectations(self, states: Tensor, matrices: Tensor, bits: Sequence[int]) -> Tensor:
        """⟨ψ|A|ψ⟩ of every state and every matrix.

        Args:
            states: (N, 2^n), contiguous.
            matrices: (M, 2^k, 2^k), Hermitian, contiguous.
            bits: k of them.

        Returns:
            (N, M) float64.
        """
        # Always complex128, whatever the states are, and with the states outermost.
        found = torch.empty(len(states), len(matrices), dtype=torch.complex128, device=self.device)
        how = (matrices.data_ptr(), self.data_type, self.row_major, len(matrices))
        size = self.bindings.compute_expectation_batched_get_workspace_size(
            self.handle, *self._layout(states), *how, len(bits), self.compute
        )
        with self._workspace(size) as space:
            self.bindings.compute_expectation_batched(
                *(self.handle, states.data_ptr(), *self._layout(states), found.data_ptr(), *how),
                *(tuple(bits), len(bits), self.compute, *space),
            )
        return found.real

    def _layout(self, states: Tensor) -> tuple[int, int, int, int]:
        """Type, bits, number and distance (in elements) of the states."""
        count, size = states.shape
        return self.data_type, size.bit_length() - 1, count, size

    @contextmanager
    def _workspace(self, size: int) -> Iterator[tuple[int, int]]:
        """Address and size of memory for one call; the stream orders its reuse."""
        memory = torch.empty(size, dtype=torch.uint8, device=self.device)
        yield (memory.data_ptr() if size else 0), size


class CuStateVecBackend(Backend):
    """Exact state vectors of many rows at once on a GPU.

    Args:
        shots: ``None``, the only choice.
        seed: not used, as nothing is random.
        precision: of the states, "double" or "single".
        driver: of another library or device, with a precision of its own; by default that of PyTorch's current GPU.

    Raises:
        OptionError: unknown ``precision``, or ``shots``.
        BackendUnavailable: PyTorch sees no GPU, or cuQuantum is not installed or does not start.
    """

    name = "custatevec"
    extra = "gpu"
    #: 28 wires in double precision take 4 GiB per row.
    capabilities = Capabilities(exact=True, shots=False, wires=28)

    def __init__(
        self,
        shots: int | None = None,
        seed: int | None = None,
        precision: str = "double",
        driver: Driver | None = None,
    ):
        super().__init__(shots, seed)
        check_choice("precision", precision, _PRECISIONS)
        if driver is None:
            self.require()
            try:
                driver = Driver.on_gpu(precision)
            except Exception as error:  # libraries that are not found, a driver that is too old, …
                reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
                raise BackendUnavailable(f"backend 'custatevec' does not start: {reason}.") from error
        self.driver, self.precision = driver, driver.precision

    @classmethod
    def require(cls, device: str = "") -> None:
        """Raise :class:`~qkan.errors.BackendUnavailable` unless there is a GPU and cuQuantum is installed.

        Raises:
            BackendUnavailable: the package or a CUDA device is missing.
        """
        # cuQuantum can be imported without any GPU: only the device tells.
        missing = [] if torch.cuda.is_available() else ["an NVIDIA GPU that PyTorch can use"]
        missing += [] if find_spec("cuquantum") else ["cuQuantum (pip install 'qkan-toolkit[gpu]')"]
        if missing:
            raise BackendUnavailable(f"backend 'custatevec' needs {' and '.join(missing)}.")

    def execute(self, task: Task) -> Result:
        rows = torch.from_numpy(np.ascontiguousarray(task.rows, dtype=np.float64)).to(self.driver.device)
        chunk = self._rows_in_a_chunk(task.circuit.wires)
        try:
            with self.driver.running():
                values = torch.cat([self._values(task.circuit, part) for part in rows.split(chunk)]).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise JobError(
                f"the GPU has no room for circuits of {task.circuit.wires} wires in {self.precision} precision."
            ) from error
        metadata = {"backend": self.name, "shots": None, "precision": self.precision}
        return Result(values, np.zeros_like(values), metadata)

    def _rows_in_a_chunk(self, wires: int) -> int:
        bytes_per_row = 2**wires * self.driver.dtype.itemsize
        return max(1, min(_MOST_ROWS, int(_SHARE * self.driver.free_bytes()) // bytes_per_row))

    def _values(self, circuit: Circuit, rows: Tensor) -> Tensor:
        """(N, observables) float64."""
        states = _initial(circuit, rows, self.driver.dtype)
        self._run(states, circuit, rows)
        found = self._strings(states, circuit)
        values = torch.zeros(len(rows), len(circuit.observables), dtype=torch.float64, device=rows.device)
        for place, observable in enumerate(circuit.observables):
            for coefficient, string in observable.terms:
                values[:, place] += coefficient * found[string]
        return values

    def _run(self, states: Tensor, circuit: Circuit, rows: Tensor) -> None:
        """Apply all gates but embeddings to the states, in place."""
        angles = circuit.angles(rows)
        like = states.new_empty((), dtype=torch.complex128)
        first = 0
        for gate in circuit.gates:
            chosen = angles[:, first : first + len(gate.angles)]
            first += len(gate.angles)
            if gate.columns or gate.name == "Barrier":
                continue
            if not any(is_free(angle) for angle in gate.angles):
                chosen = chosen[:1]
            matrices = gates.matrix(gate.name, chosen, like).to(states.dtype).contiguous()
            self.driver.apply(states, matrices, _bits(gate.wires, circuit.wires))

    def _strings(self, states: Tensor, circuit: Circuit) -> dict[PauliString, Tensor]:
        """The expectation (N,) of every Pauli string; those on the same wires are asked for together."""
        together: dict[tuple[int, ...], list[PauliString]] = {}
        for string in dict.fromkeys(string for one in circuit.observables for _, string in one.terms):
            together.setdefault(tuple(wire for wire, _ in string), []).append(string)
        found: dict[PauliString, Tensor] = {}
        for wires, strings in together.items():
            if not wires:
                found[()] = torch.ones(len(states), dtype=torch.float64, device=states.device)
            elif len(wires) > _WIDEST_MATRIX:
                for string in strings:
                    one = statevector.expectation(states, PauliSum(((1.0, string),)), circuit.wires)
                    found[string] = one.double()
            else:
                letters = ["".join(letter for _, letter in string) for string in strings]
                matrices = torch.stack([gates.pauli(word, states) for word in letters])
                columns = self.driver.expectations(states, matrices, _bits(wires, circuit.wires))
                found |= zip(strings, columns.unbind(-1), strict=True)
        return found


def _bits(wires: Sequence[int], count: int) -> list[int]:
    """Bits of the index on which a matrix acts, least significant first: wire 0 is the most significant bit of a
    state's index, and a gate's first wire that of its matrix's index.
    """
    return [count - 1 - wire for wire in reversed(wires)]


def _initial(circuit: Circuit, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """States (N, 2^wires) before the first gate: |0…0⟩, or the embedded amplitudes.

    Raises:
        DomainError: a row of amplitudes is zero.
    """
    values = torch.ones(len(rows), 1, dtype=torch.float64, device=rows.device)
    places = torch.zeros(1, dtype=torch.int64, device=rows.device)
    for gate in circuit.gates:
        if gate.columns:
            amplitudes = statevector.normalised(statevector.chosen(rows, gate.columns))
            index = torch.arange(len(gate.columns), device=rows.device)
            offsets = torch.zeros_like(index)
            for position, bit in enumerate(_bits(gate.wires, circuit.wires)):
                offsets += ((index >> position) & 1) << bit
            values = (values[:, :, None] * amplitudes[:, None, :]).flatten(1)
            places = (places[:, None] + offsets).flatten()
    states = torch.zeros(len(rows), 2**circuit.wires, dtype=dtype, device=rows.device)
    states[:, places] = values.to(dtype)
    return states
