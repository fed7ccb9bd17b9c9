"""DARUAN: a one-qubit data re-uploading circuit as a learnable activation (arXiv 2509.14026)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan._random import generator
from qkan.bases._base import Basis, FeatureBasis, normal_nodes, register, slopes_of
from qkan.circuits import backends, gradients
from qkan.circuits.ansatz import ANSATZE, daruan
from qkan.circuits.backends import Backend
from qkan.circuits.circuit import Circuit
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import DomainError, OptionError, RefineError, ShapeError, check_choice, check_positive
from qkan.kernels import dispatch, node_matrix, node_ops, program, spectral
from qkan.kernels.reference import accumulation_dtype, amplitude_readout, arccos_angle, expectation_z

#: More nodes per edge than this would make coefficient tensors of hundreds of megabytes at ordinary widths.
MAX_NODES = 4096
#: Ansätze whose preactivation bias no trainable gate can absorb; they get one where the weight is trainable.
_BIASED = ("mix", "px")
_BASE_FREQUENCY = {"unit": 1, "binary": 2, "ternary": 3}


@register("daruan")
class Daruan(FeatureBasis):
    """φ_oi(x) = ⟨Z⟩ of a one-qubit circuit with ``reps`` data gates, one circuit per edge.

    Args:
        in_features: number n of inputs.
        out_features: number m of outputs.
        reps: repetitions L.
        ansatz: gate order, "pz" (default), "rpz", "px", "real" or "mix" (see :mod:`qkan.circuits.ansatz`).
        encoding: where the weight w of the data angle w x + b lives. "fixed" (default): w_l is a constant, the
            circuit is evaluated at 2Σw_l+1 nodes and the layer is one matrix product. "shared": trainable w_il per
            input, 3^L torus nodes, still one matrix product. "edge": trainable w_oil per edge, as published with
            trainable preactivation; per-edge evaluation.
        frequencies: w_l = 1 ("unit", as published), 2^l ("binary") or 3^l ("ternary"), l = 0 … L-1; initial values
            where w is trainable. Degree of the spectrum for L = 3: 3, 7, 13.
        readout: "z" (default) is ⟨Z⟩, what hardware returns; "amplitude" is |α|-|β| = g(⟨Z⟩), the published code's
            default, evaluated per edge.
        groups: number of circuits shared by all outputs and, in turn, by the inputs (input i uses circuit
            i mod groups), as in the published grouped QKAN; ``None`` gives every edge its own. With few groups the
            edges' means add up over the inputs, so the output has an offset that grows with n.
        shift: trainable preactivation bias b where w is trainable. ``None`` (default) has one where no gate absorbs it
            ("mix" and "px"); the published code has one everywhere, which ``True`` gives.
        backend: where the circuits run, a name or a backend of :mod:`qkan.circuits.backends`. ``None`` (default) is the
            compiled exact path. Others evaluate the nodes (every row for encoding "edge") and train by the
            parameter-shift rule, with shots too; they are not saved with the layer.
        extend: for "px", whose data angle is arccos x: "clamp" (default) holds |x| > 1 to ±1, "error" raises
            :class:`DomainError`. The others are "periodic" by nature.
        seed: of a local generator; ``None`` draws fresh entropy.

    Parameters: ``theta`` (m, n, P) or (groups, P), the trainable angles in circuit order; ``frequency`` and, for
    "mix" and "px", ``shift``, shape (n, L) for "shared" and (m, n, L) or (groups, L) for "edge". Angles start
    uniformly in (-π, π): every circuit then uses its whole spectrum from the first step.

    Redundant parameters of the published code are left out: in "pz" and "real" a preactivation bias is absorbed by
    another gate, in "rpz" it is the RZ before the data gate, and in "px" the closing RZ commutes with Z.

    Raises:
        OptionError: an option is unknown or out of range, or needs more than 4096 nodes per edge.
    """

    node_angles: Tensor
    transform: Tensor

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        *,
        reps: int = 3,
        ansatz: str = "pz",
        encoding: str = "fixed",
        frequencies: str = "unit",
        readout: str = "z",
        groups: int | None = None,
        extend: str | None = None,
        shift: bool | None = None,
        backend: str | Backend | None = None,
        seed: int | None = None,
    ):
        super().__init__(in_features, out_features)
        self.backend = None if backend is None else backends.get(backend)
        self.reps = check_positive("reps", reps)
        check_choice("ansatz", ansatz, ANSATZE)
        check_choice("encoding", encoding, ("fixed", "shared", "edge"))
        check_choice("frequencies", frequencies, _BASE_FREQUENCY)
        check_choice("readout", readout, ("z", "amplitude"))
        extensions = ("clamp", "error") if ansatz == "px" else ("periodic",)
        check_choice("extend", extend or extensions[0], extensions)
        self.ansatz, self.encoding, self.frequencies, self.readout = ansatz, encoding, frequencies, readout
        self.groups = None if groups is None else check_positive("groups", groups)
        self.extend = extend or extensions[0]
        self.circuit = daruan(self.reps, ansatz)
        weights = self.initial_frequencies()
        self.degree = int(weights.sum())
        self._gates = program.encode(self.circuit.gates)
        fixed = weights.tolist() if encoding == "fixed" else None
        self._recipe = node_ops.recipe(self._gates, fixed, self.reps)
        self.num_features = self._count_nodes()
        edge_shape = (out_features, in_features) if self.groups is None else (self.groups,)
        self.theta = nn.Parameter(torch.empty(*edge_shape, self.circuit.num_parameters))
        leading = edge_shape if encoding == "edge" else (in_features,)
        has_frequency = encoding != "fixed"
        if shift and not has_frequency:
            raise OptionError("shift=True needs trainable data weights: use encoding='shared' or 'edge'.")
        has_shift = has_frequency and (ansatz in _BIASED if shift is None else shift)
        self.frequency = nn.Parameter(torch.empty(*leading, self.reps)) if has_frequency else None
        self.shift = nn.Parameter(torch.empty(*leading, self.reps)) if has_shift else None
        self.build_constants()
        self.reset_parameters(seed)

    # -- construction ------------------------------------------------------------------------------------

    def initial_frequencies(self) -> np.ndarray:
        """w_l for l = 0 … L-1, shape (L,)."""
        return _BASE_FREQUENCY[self.frequencies] ** np.arange(self.reps)

    def _count_nodes(self) -> int:
        nodes = 2 * self.degree + 1 if self.encoding == "fixed" else 3**self.reps
        if self.encoding != "edge" and nodes > MAX_NODES:
            raise OptionError(
                f"reps={self.reps} with encoding={self.encoding!r} and frequencies={self.frequencies!r} needs {nodes} "
                f"nodes per edge; at most {MAX_NODES} are supported, so lower reps or use encoding='edge'."
            )
        return nodes

    def constants(self) -> dict[str, np.ndarray]:
        if self.encoding == "edge":
            return {}
        if self.encoding == "fixed":
            nodes = spectral.circle_nodes(self.degree)[:, None] * self.initial_frequencies()
            return {"node_angles": nodes, "transform": spectral.circle_transform(self.degree)}
        return {"node_angles": spectral.torus_nodes(self.reps), "transform": spectral.torus_transform(self.reps)}

    def reset_parameters(self, seed: int | None = None) -> None:
        """Draw fresh angles, and set the frequencies and shifts to their initial values."""
        with torch.no_grad():
            noise = torch.rand(self.theta.shape, generator=generator(seed), device="cpu")
            self.theta.copy_((2 * noise - 1) * math.pi)
            if self.frequency is not None:
                self.frequency.copy_(torch.as_tensor(self.initial_frequencies()).expand_as(self.frequency))
            if self.shift is not None:
                self.shift.zero_()

    def config(self) -> dict[str, Any]:
        keys = ("reps", "ansatz", "encoding", "frequencies", "readout", "groups", "extend")
        own_shift = (self.shift is not None) != (self.frequency is not None and self.ansatz in _BIASED)
        return {key: getattr(self, key) for key in keys} | ({"shift": self.shift is not None} if own_shift else {})

    # -- features times coefficients ---------------------------------------------------------------------

    def evaluate(self, x: Tensor) -> Tensor:
        """Harmonics of the data angles (…, n, K); see :mod:`qkan.kernels.spectral`.

        Raises:
            OptionError: for encoding "edge", whose data angles differ from edge to edge.
        """
        if self.encoding == "fixed":
            return dispatch.harmonics(self._encode(x), self.degree)
        if self.encoding == "shared":
            return spectral.torus_harmonics(self.data_angles(x))
        raise OptionError("encoding='edge' has no features shared between edges; call edges(x) instead.")

    def node_values(self) -> Tensor:
        """⟨Z⟩ of every edge's circuit at its K nodes, shape (m, n, K): all that the layer needs to know of it.

        Raises:
            OptionError: for encoding "edge".
        """
        self._need_nodes()
        values = self._circuits(self.theta.unsqueeze(-2), self.node_angles)
        return self._per_edge(values.to(self.theta.dtype))

    def _circuits(self, theta: Tensor, angles: Tensor) -> Tensor:
        """⟨Z⟩ for trainable angles (..., P) and data angles (..., L), leading shapes broadcast: one circuit each."""
        if self.backend is None:
            return expectation_z(self.circuit.gates, theta, angles)
        return gradients.expectations(self.backend, self.circuit.circuit, angles, theta)[..., 0]

    def _need_nodes(self) -> None:
        if self.encoding == "edge":
            raise OptionError("encoding='edge' has no nodes shared between edges; use encoding='shared' or 'fixed'.")

    def coefficients(self) -> Tensor:
        """Fourier coefficients of ⟨Z⟩ on every edge, shape (m, n, K), in the order of the features."""
        self._need_nodes()
        found = dispatch.coefficients(self.theta, self._recipe) if self.backend is None else None
        if found is None:
            found = self._circuits(self.theta.unsqueeze(-2), self.node_angles) @ self.transform
        return self._per_edge(found.to(self.theta.dtype))

    def matrix(
        self, weight: Tensor | None = None, base: Tensor | None = None, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The layer as one product with all features but the constant: matrix (K', n, m) and bias (m,).

        Args:
            weight: (m, n) edge weights, or ``None`` for 1.
            base: (m, n) weights of one more feature, the base branch, or ``None``.
            bias: (m,), to which the constant feature's part is added, or ``None``.

        Raises:
            OptionError: for encoding "edge".
        """
        self._need_nodes()
        shape = self.out_features, self.in_features
        found = None
        if self.backend is None:
            found = dispatch.node_matrix(self.theta, weight, base, bias, shape, self._recipe)
        return found or node_matrix.from_coefficients(self.coefficients(), weight, base, bias, shape)

    @property
    def folds(self) -> bool:  # type: ignore[override]
        """Whether the layer is features times coefficients: ⟨Z⟩ with data angles that all outputs share."""
        return self.readout == "z" and self.encoding != "edge"

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Σ_i weight_oi φ_oi(x_i); see :meth:`qkan.bases.Basis.forward`.

        ``theta`` may carry the leading dimensions of ``x`` in front of (m, n, P), put there by
        ``torch.func.functional_call``: every row then has circuits of its own, as fast-weight models need.

        Raises:
            OptionError: input and parameters are on different devices.
            ShapeError: ``theta`` carries other leading dimensions.
        """
        theta = self.theta
        if x.device != theta.device:
            raise OptionError(f"the input is on {x.device}, the layer on {theta.device}; move one of them with .to().")
        per_row = self._per_row(self.check_input(x), theta)
        by_nodes = self.folds and not per_row
        if self._reason_for_reference(x, theta, per_row) is not None:
            return super().forward(x, weight) if by_nodes else Basis.forward(self, x, weight)
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        if by_nodes:
            work = rows if rows.dtype == torch.float32 else rows.to(torch.float32)
            u = self._encode(work) if self.encoding == "fixed" else self.data_angles(work)
            y = dispatch.node_layer(u, theta, weight, self.out_features, self._recipe)
        else:
            y = self._edge_sum(rows, weight, per_row)
        y = y if y.dtype == x.dtype else y.to(x.dtype)
        return y if rows is x else y.reshape(*x.shape[:-1], self.out_features)

    def _per_row(self, x: Tensor, theta: Tensor) -> bool:
        """Whether ``theta`` differs from row to row."""
        if theta.dim() == (3 if self.groups is None else 2):
            return False
        expected = (*x.shape[:-1], self.out_features, self.in_features, self.circuit.num_parameters)
        if self.groups is not None or tuple(theta.shape) != expected:
            raise ShapeError(
                f"theta of shape {tuple(theta.shape)} must be {expected[-3:]}, or {expected} for circuits of "
                "every row's own, without groups."
            )
        return True

    def _edge_sum(self, rows: Tensor, weight: Tensor | None, per_row: bool) -> Tensor:
        m, n = self.out_features, self.in_features
        theta = self.theta.reshape(-1, *self.theta.shape[-3:]) if per_row else self._per_edge(self.theta)
        one = theta.new_ones(())
        arccos = self.ansatz == "px" and self.encoding != "fixed"
        if self.encoding == "fixed":  # w arccos x, where the others take arccos(w x + b)
            rows = self._encode(rows.to(torch.float32))
            frequency = torch.as_tensor(self.initial_frequencies(), dtype=theta.dtype, device=theta.device)
        else:
            frequency = self._data_parameter(self.frequency)
        shift = 0 * one if self.shift is None else self._data_parameter(self.shift)
        shape = (m, n, self.reps)
        weight = one.expand(m, n) if weight is None else weight
        data = frequency.expand(shape), shift.expand(shape)
        return dispatch.edge_sum(self._gates, rows, theta, *data, weight, self.readout, arccos)

    def route(self, x: Tensor) -> tuple[str, str | None]:
        """How ``forward`` treats x (..., n): the route's name, and why plain PyTorch runs it, ``None`` for a kernel."""
        per_row = self._per_row(x, self.theta)
        reason = self._reason_for_reference(x, self.theta, per_row)
        if self.folds and not per_row:
            return "nodes: features times coefficients", reason
        if reason is None and not per_row and self.encoding == "edge":
            rows, arccos = x.reshape(-1, self.in_features), self.ansatz == "px"
            theta, frequency = self._per_edge(self.theta), self._data_parameter(self.frequency)
            nodes = dispatch.edge_nodes(rows, theta, frequency, self.readout, arccos)
            if nodes:
                return f"per edge: interpolated between {nodes} nodes in the range of the batch", reason
        return "per edge: every circuit on every row", reason

    def _reason_for_reference(self, x: Tensor, theta: Tensor, per_row: bool) -> str | None:
        if self.backend is not None:
            return f"its circuits run on the backend {self.backend.name!r}"
        if self.extend == "error":
            return "extend='error' looks at every data angle"
        dtype = x.dtype if x.dtype == theta.dtype else torch.promote_types(x.dtype, theta.dtype)
        on_cuda = x.is_cuda and not self.folds and not per_row
        return dispatch.reason_for_reference(dtype, x.device, on_cuda=on_cuda)

    def edges(self, x: Tensor) -> Tensor:
        self.check_input(x)
        per_row = self._per_row(x, self.theta)
        if per_row or self.encoding == "edge":
            angles = self.data_angles(x.to(accumulation_dtype(x.dtype)))
            if self.encoding != "edge":
                angles = angles.unsqueeze(-3)
            theta = self.theta if per_row else self._per_edge(self.theta)
            z = self._circuits(theta, angles).to(x.dtype)
        else:
            z = super().edges(x)
        return amplitude_readout(z) if self.readout == "amplitude" else z

    def matmul_flops(self, rows: int) -> int:
        """Node values to coefficients once per pass, then features times coefficients for every row."""
        n, m, size = self.in_features, self.out_features, self.num_features
        if self.encoding == "edge":
            return 0
        circuits = m * n if self.groups is None else self.groups
        return 2 * circuits * size * size + 2 * rows * n * size * m

    # -- data angles -------------------------------------------------------------------------------------

    def data_angles(self, x: Tensor) -> Tensor:
        """φ of every data gate in radians: (..., n, L), or (..., m, n, L) for encoding "edge"."""
        if self.encoding == "fixed":
            frequencies = torch.as_tensor(self.initial_frequencies(), dtype=x.dtype, device=x.device)
            return self._encode(x).unsqueeze(-1) * frequencies
        if self.encoding == "edge":
            x = x.unsqueeze(-2)
        # Made as (…, L, n) and seen as (…, n, L), so that inner loops run along the inputs.
        angles = x.unsqueeze(-2) * self._data_parameter(self.frequency).transpose(-1, -2).contiguous()
        if self.shift is not None:
            angles = angles + self._data_parameter(self.shift).transpose(-1, -2).contiguous()
        return self._encode(angles.transpose(-1, -2))

    def _data_parameter(self, values: Tensor | None) -> Tensor:
        assert values is not None, "encoding='fixed' has no trainable data parameters"
        return self._per_edge(values) if self.encoding == "edge" else values

    def _encode(self, u: Tensor) -> Tensor:
        """The argument of RX in "px" is arccos u; elsewhere the data angle is u itself."""
        if self.ansatz != "px":
            return u
        if self.extend == "error" and bool((u.abs() > 1).any()):
            worst = float(u.detach().abs().max())
            raise DomainError(f"px encodes arccos x and needs |x| <= 1, but got {worst:g}; use extend='clamp'.")
        return arccos_angle(u)

    def _per_edge(self, values: Tensor) -> Tensor:
        """(m, n, K), from (groups, K) where circuits are shared."""
        return values if self.groups is None else node_ops.per_edge(values, self.in_features, self.out_features)

    # -- deployment: see qkan.circuits.measured.CircuitBlock ---------------------------------------------

    def block_circuit(self) -> Circuit:
        return by_angle(self.circuit.circuit)

    def node_count(self) -> int:
        """One run per circuit and node; for encoding "edge" the nodes are those of the torus."""
        size = self.num_features if self.encoding != "edge" else 3**self.reps
        return size * math.prod(self.theta.shape[:-1])

    def node_rows(self) -> Tensor:
        nodes = torch.as_tensor(spectral.torus_nodes(self.reps)) if self.encoding == "edge" else self.node_angles
        return self._runs(self.theta.unsqueeze(-2), nodes)

    def row_count(self, rows: int) -> int:
        return rows * self.in_features * (self.out_features if self.groups is None else 1)

    def input_rows(self, x: Tensor) -> Tensor:
        angles = self.data_angles(self.check_input(x))  # (rows, n, L) or (rows, m, n, L)
        if self.groups is None:
            return self._runs(self.theta, angles if self.encoding == "edge" else angles.unsqueeze(-3))
        theta = self.theta[torch.arange(self.in_features, device=x.device) % self.groups]
        return self._runs(theta, angles[..., 0, :, :] if self.encoding == "edge" else angles)

    def _runs(self, theta: Tensor, angles: Tensor) -> Tensor:
        rows = rows_of(self.circuit.circuit, angles.detach().double(), theta.detach().double())
        return rows.reshape(-1, rows.shape[-1])

    def measured(self, values: Tensor, variances: Tensor, x: Tensor | None = None) -> Basis:
        from qkan.bases.measured import MeasuredDaruan, MeasuredDaruanRows

        if x is None:
            return MeasuredDaruan.of(self, values, variances)
        return MeasuredDaruanRows(self, values, variances, x)

    # -- analysis ----------------------------------------------------------------------------------------

    def moments(self, max_edges: int = 256) -> tuple[Tensor, Tensor]:
        """E[φ²] and E[φ'²] (float64 scalars) over a standard normal input and the edges of the present circuits.

        With more than ``max_edges`` edges an evenly spaced sample of them is taken. E[φ'²] is infinite for "px", whose
        slope grows like 1/√(1-x²) towards ±1.
        """
        total = self.out_features * self.in_features
        index = torch.linspace(0, total - 1, min(total, max_edges), device="cpu").round().long().unique()
        sample = self._row_of_edges(index // self.in_features, index % self.in_features)
        points, weights = normal_nodes(400)
        points = points.unsqueeze(-1).repeat(1, len(index))

        def edges(x: Tensor) -> Tensor:
            z = expectation_z(self.circuit.gates, sample.theta[0], sample.data_angles(x).reshape(*x.shape, -1))
            return amplitude_readout(z) if self.readout == "amplitude" else z

        values, slopes = slopes_of(edges, points)
        steepness = (weights @ slopes**2).mean()
        return (weights @ values**2).mean(), steepness.new_tensor(math.inf) if self.ansatz == "px" else steepness

    def take(self, outputs: Tensor, inputs: Tensor) -> Daruan:
        """See :meth:`qkan.bases.Basis.take`; with ``groups`` every edge receives a circuit of its own."""
        taken = self._row_of_edges(outputs.cpu(), inputs.cpu(), self.extend).to(self.theta)
        taken.backend = self.backend
        return taken

    def _row_of_edges(self, o: Tensor, i: Tensor, extend: str | None = None) -> Daruan:
        """The edges (o_j, i_j) as a float64 basis on the CPU with one input per edge and one output."""
        # A normal variable leaves the domain of "px": the averages are those of the clamped function.
        row = Daruan(len(i), 1, **{**self.config(), "groups": None, "extend": extend}, seed=0).double()
        own = (o, i) if self.groups is None else (i % self.groups,)
        place = own if self.encoding == "edge" else (i,)
        with torch.no_grad():
            row.theta.copy_(self.theta.detach().cpu()[own].unsqueeze(0))
            for mine, its in ((self.frequency, row.frequency), (self.shift, row.shift)):
                if mine is not None and its is not None:
                    its.copy_(mine.detach().cpu()[place].reshape(its.shape))
        return row

    # -- extension ---------------------------------------------------------------------------------------

    def refine(self, size: int) -> Daruan:
        """The same functions with ``size`` repetitions ("layer extension").

        The old closing rotation moves to the first new repetition and the remaining new angles are zero. In "pz" and
        "rpz" the new data gates commute with Z, so the function is kept whatever their weight. In "mix" and "real"
        it is kept if the new weights are zero, hence only where weights are trainable. In "px" the neutral data
        angle arccos 1 has no finite gradient, so it is refused.

        Raises:
            RefineError: the function cannot be preserved, or ``size`` is not larger.
        """
        if check_positive("reps", size) <= self.reps:
            raise RefineError(f"reps={size} must be larger than the present {self.reps}.")
        neutral_frequency = None if self.ansatz in ("pz", "rpz") else 0.0
        if self.ansatz == "px":
            raise RefineError("px cannot be extended: its neutral data angle arccos 1 has no finite gradient.")
        if neutral_frequency is not None and self.frequency is None:
            raise RefineError(
                f"{self.ansatz} with encoding='fixed' cannot be extended: its new data gates do not commute with the "
                "measurement, and their frequency is not zero; use encoding 'shared' or 'edge', "
                "or ansatz 'pz' or 'rpz'."
            )
        larger = Daruan(self.in_features, self.out_features, **{**self.config(), "reps": size}, seed=0).to(self.theta)
        larger.backend = self.backend
        with torch.no_grad():
            self._fill_extension(larger, neutral_frequency)
        return larger

    def _fill_extension(self, larger: Daruan, neutral_frequency: float | None) -> None:
        larger.theta.zero_()
        if self.ansatz == "real":
            larger.theta.fill_(-math.pi)  # X, RY(-π), Z in sequence act as the identity
        larger.theta[..., : self.circuit.num_parameters] = self.theta
        for mine, its in ((self.frequency, larger.frequency), (self.shift, larger.shift)):
            if mine is not None and its is not None:
                if neutral_frequency is not None:
                    its.fill_(neutral_frequency)
                its[..., : self.reps] = mine
