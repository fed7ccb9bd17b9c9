"""A stand-in for ``cuquantum.bindings.custatevec`` that reads and writes host memory by address.

It takes exactly the arguments that the bindings take, checks their number, types and ranges, and computes with NumPy by
its own reading of the library's conventions.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

import numpy as np


class DataType(IntEnum):
    CUDA_C_32F = 4
    CUDA_C_64F = 5


#: Arguments as the bindings of cuQuantum 26.9.0 declare them.
_LAYOUT = "int sv_data_type, uint32 n_index_bits, uint32 n_svs, int64 sv_stride"
_MATRICES = "pointer matrices, int matrix_data_type, int layout"
_SPACE = "int compute_type, pointer extra_workspace, size extra_workspace_size_in_bytes"
_MAPPED = f"int map_type, ints matrix_indices, {_MATRICES}, int32 adjoint, uint32 n_matrices"
SIGNATURES = {
    "create": "",
    "destroy": "pointer handle",
    "set_stream": "pointer handle, pointer stream_id",
    "apply_matrix_batched_get_workspace_size": (
        f"pointer handle, {_LAYOUT}, {_MAPPED}, uint32 n_targets, uint32 n_controls, int compute_type"
    ),
    "apply_matrix_batched": (
        f"pointer handle, pointer batched_sv, {_LAYOUT}, {_MAPPED}, ints targets, uint32 n_targets, ints controls, "
        f"ints control_bit_values, uint32 n_controls, {_SPACE}"
    ),
    "compute_expectation_batched_get_workspace_size": (
        f"pointer handle, {_LAYOUT}, {_MATRICES}, uint32 n_matrices, uint32 n_basis_bits, int compute_type"
    ),
    "compute_expectation_batched": (
        f"pointer handle, pointer batched_sv, {_LAYOUT}, pointer expectation_values, {_MATRICES}, uint32 n_matrices, "
        f"ints basis_bits, uint32 n_basis_bits, {_SPACE}"
    ),
}
COUNTS = {name: len([part for part in text.split(", ") if part]) for name, text in SIGNATURES.items()}
_RANGES = {
    "int": (-(2**31), 2**31),
    "int32": (-(2**31), 2**31),
    "uint32": (0, 2**32),
    "int64": (-(2**63), 2**63),
    "size": (0, 2**64),
    "pointer": (0, 2**63),
}


def _check(kind: str, name: str, value: object) -> None:
    if kind == "ints" and not isinstance(value, int):
        assert isinstance(value, (tuple, list)), name
        assert all(type(part) is int for part in value), name
        return
    low, high = _RANGES["pointer" if kind == "ints" else kind]
    assert isinstance(value, int), f"{name} is {value!r}"
    assert not isinstance(value, bool), name
    assert low <= value < high, name


def _array(address: int, count: int, dtype: type) -> np.ndarray:
    assert address, "a null pointer is read"
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype=dtype)


def _ints(value: object, count: int) -> list[int]:
    """A sequence, or an array of int32 by its address."""
    if isinstance(value, int):
        return _array(value, count, np.int32).tolist() if count else []
    assert len(value) == count
    return list(value)


class Bindings:
    """The module."""

    class MatrixLayout(IntEnum):
        COL = 0
        ROW = 1

    class ComputeType(IntEnum):
        COMPUTE_DEFAULT = 0
        COMPUTE_32F = 4
        COMPUTE_64F = 16

    class MatrixMapType(IntEnum):
        BROADCAST = 0
        MATRIX_INDEXED = 1

    def __init__(self) -> None:
        self.handles: set[int] = set()
        self.asked: dict | None = None
        self.calls: list[tuple[str, dict]] = []

    def __getattr__(self, name: str):
        if name not in SIGNATURES:
            raise AttributeError(name)

        def call(*values):
            assert len(values) == COUNTS[name], f"{name} takes {COUNTS[name]} arguments, but got {len(values)}"
            given = {}
            for part, value in zip(filter(None, SIGNATURES[name].split(", ")), values, strict=True):
                kind, argument = part.split()
                _check(kind, argument, value)
                given[argument] = value
            if "handle" in given:
                assert given["handle"] in self.handles
            self.calls.append((name, given))
            return getattr(self, f"_{name}")(given)

        return call

    def _create(self, given: dict) -> int:
        self.handles.add(1000 + len(self.calls))
        return 1000 + len(self.calls)

    def _destroy(self, given: dict) -> None:
        self.handles.remove(given["handle"])

    def _set_stream(self, given: dict) -> None:
        """Host memory has no streams."""

    def _ask(self, given: dict) -> int:
        self.asked = given
        return 0 if given["n_svs"] == 1 else 24 * given["n_svs"]

    _apply_matrix_batched_get_workspace_size = _compute_expectation_batched_get_workspace_size = _ask

    def _prepare(self, given: dict) -> tuple[np.ndarray, np.ndarray]:
        """States (N, stride) as a view and matrices (M, 2^k, 2^k); the workspace is overwritten."""
        for argument, value in self.asked.items():
            assert given[argument] == value, f"the size was asked for another {argument}"
        assert given["extra_workspace_size_in_bytes"] >= self._ask(self.asked)
        if given["extra_workspace_size_in_bytes"]:
            ctypes.memset(given["extra_workspace"], 0xFF, given["extra_workspace_size_in_bytes"])
        types = {DataType.CUDA_C_32F: np.complex64, DataType.CUDA_C_64F: np.complex128}
        allowed = {DataType.CUDA_C_32F: (0, 4), DataType.CUDA_C_64F: (0, 16)}
        assert given["compute_type"] in allowed[given["sv_data_type"]]
        assert given["sv_stride"] >= 2 ** given["n_index_bits"]
        dtype = types[given["sv_data_type"]]
        states = _array(given["batched_sv"], given["n_svs"] * given["sv_stride"], dtype)
        k = given["n_targets"] if "n_targets" in given else given["n_basis_bits"]
        matrices = _array(given["matrices"], given["n_matrices"] * 4**k, types[given["matrix_data_type"]])
        matrices = matrices.reshape(-1, 2**k, 2**k)
        if given["layout"] == self.MatrixLayout.COL:
            matrices = matrices.transpose(0, 2, 1)
        return states.reshape(given["n_svs"], given["sv_stride"]), matrices

    def _places(self, bits: list[int], given: dict) -> np.ndarray:
        """Indices (2^(n-k), 2^k): each row is one subspace, bit j of the column being bit bits[j] of the index."""
        n = given["n_index_bits"]
        assert len(set(bits)) == len(bits)
        assert all(0 <= bit < n for bit in bits)
        start = np.array([index for index in range(2**n) if not any(index >> bit & 1 for bit in bits)])
        column = np.arange(2 ** len(bits))
        return start[:, None] + sum((column >> j & 1) << bit for j, bit in enumerate(bits))

    def _apply_matrix_batched(self, given: dict) -> None:
        states, matrices = self._prepare(given)
        if given["adjoint"]:
            matrices = matrices.conj().transpose(0, 2, 1)
        chosen = [0] * len(states)
        if given["map_type"] == self.MatrixMapType.MATRIX_INDEXED:
            chosen = _ints(given["matrix_indices"], len(states))
        else:
            assert len(matrices) == 1
        places = self._places(_ints(given["targets"], given["n_targets"]), given)
        controls = _ints(given["controls"], given["n_controls"])
        values = _ints(given["control_bit_values"], given["n_controls"]) or [1] * len(controls)
        for control, value in zip(controls, values, strict=True):
            places = places[(places[:, 0] >> control & 1) == value]
        for state, index in zip(states, chosen, strict=True):
            assert 0 <= index < len(matrices)
            state[places] = state[places] @ matrices[index].T

    def _compute_expectation_batched(self, given: dict) -> None:
        states, matrices = self._prepare(given)
        places = self._places(_ints(given["basis_bits"], given["n_basis_bits"]), given)
        found = _array(given["expectation_values"], len(states) * len(matrices), np.complex128)
        for i, state in enumerate(states):
            for m, matrix in enumerate(matrices):
                parts = state[places].astype(np.complex128)
                found[i * len(matrices) + m] = np.sum(parts.conj() * (parts @ matrix.T))
