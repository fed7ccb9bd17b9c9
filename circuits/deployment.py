"""Deployment: a trained model's circuits run once on a backend, and the model goes on with what was measured."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan._progress import progress_bar
from qkan.circuits import backends, mitigation, packing, simulate
from qkan.circuits.backends import Backend, Result
from qkan.circuits.circuit import Circuit
from qkan.circuits.deviation import BlockDeviation, DeviationReport, compare_outputs, figure
from qkan.circuits.ledger import Ledger, read
from qkan.circuits.measured import CircuitBlock, MeasuredModel
from qkan.circuits.planning import BlockPlan, Costs, Plan, block_input, blocks_of, choose
from qkan.circuits.submission import Batch, Submission
from qkan.errors import DataError, LedgerError, NonFiniteError, OptionError, QKANError, check_positive


def deploy(
    model: nn.Module,
    backend: str | Backend,
    *,
    shots: int | None = None,
    ledger: str | Path | None = None,
    rows: Any = None,
    readout_mitigation: bool = False,
    fold_factors: Sequence[int] = (1,),
    pack: int | None = None,
    batch_size: int = 300,
    seed: int | None = None,
    dry_run: bool = False,
    progress: bool = True,
    attempts: int = 6,
    delay: float = 1.0,
) -> Deployment:
    r"""Run a trained model's circuits on a backend, each once, and build the model with the measured values::

        run = deploy(model, backends.get("aer", noise="FakeSherbrooke"), shots=4096, ledger="run.sqlite")
        mean, error = run.model(x, return_std=True)
        print(run.plan(), run.report(x), sep="\n")

    A DARUAN edge is measured at its nodes, which fixes it for every input. Other blocks, and edges for which that is
    cheaper, are measured for the ``rows``.

    Args:
        model: any module with :class:`~qkan.circuits.measured.CircuitBlock` parts: DARUAN bases, ``QuantumLayer``.
        backend: a backend or its name.
        shots: per circuit; by default those of the backend.
        ledger: SQLite file that records every batch. If this process ends early, the same call goes on from it:
            nothing is paid for twice. ``None`` keeps it in memory, which a device that costs money does not accept.
        rows: (N, inputs), the input rows that will be asked for; needed by blocks without nodes.
        readout_mitigation: correct readout errors with two calibration circuits per layer. They belong to
            the qubits of their day: on hardware give the backend a ``layout``, so that a run which goes on after the
            device was calibrated anew stays on them. Their own uncertainty is in no stated variance.
        fold_factors: noise factors for extrapolation to zero noise, such as (1, 3); every one is a run of its own.
        pack: runs side by side in one circuit; by default as many as the backend says is worth it, 1 on simulators.
            A ledger goes on as it was started, though a device says otherwise after its next calibration.
        batch_size: circuits in one job at most.
        seed: of the shots; drawn if ``None``. A ledger goes on with its own.
        dry_run: only plan; nothing is sent or written. ``measure()`` goes on.
        progress: show a progress bar.
        attempts: tries of a call that fails in a way that may pass, such as a lost connection.
        delay: seconds before its second try; doubled every time.

    Raises:
        OptionError: the model has no circuits, or an option is out of range.
        BackendUnavailable: the backend's package, device or account is missing.
        NonFiniteError: a parameter or an input is NaN or infinite.
        LedgerError: the ledger is in use, damaged, or of another model or other settings.
        JobError: batches failed for good; all others are kept in the ledger.
    """
    found = backends.get(backend)
    options = Options(
        backend=found if shots is None else found.with_shots(shots),
        ledger=ledger,
        readout_mitigation=bool(readout_mitigation),
        fold_factors=tuple(fold_factors) if isinstance(fold_factors, Iterable) else (fold_factors,),
        pack=None if pack is None else check_positive("pack", pack),
        packing=_packing(found, ledger),
        batch_size=check_positive("batch_size", batch_size),
        seed=seed,
        progress=progress,
        attempts=check_positive("attempts", attempts),
        delay=delay,
    )
    run = Deployment(model, rows, options)
    if not dry_run:
        run.measure()
    return run


@dataclass(frozen=True)
class Options:
    """How a deployment runs; see :func:`deploy`."""

    backend: Backend
    ledger: str | Path | None
    readout_mitigation: bool
    fold_factors: tuple[int, ...]
    pack: int | None
    packing: int
    batch_size: int
    seed: int | None
    progress: bool
    attempts: int
    delay: float

    def __post_init__(self) -> None:
        for factor in self.fold_factors:
            mitigation.fold(Circuit(1), factor)
        if len(set(self.fold_factors)) < len(self.fold_factors):
            raise OptionError(f"fold factors {self.fold_factors} must differ from one another, such as (1, 3).")
        if not (isinstance(self.delay, int | float) and self.delay >= 0):
            raise OptionError(f"delay={self.delay!r} must be a number of seconds, 0 or more.")
        if self.fold_factors != (1,):
            mitigation.zero_noise_weights(self.fold_factors)
        if self.readout_mitigation and self.backend.shots is None and not self.backend.capabilities.noise:
            raise OptionError("readout_mitigation corrects measured bits, but exact values have none: give shots=N.")
        if self.backend.capabilities.network and self.ledger is None:
            raise OptionError(
                f"backend {self.backend.name!r} runs jobs elsewhere: give ledger=PATH, so that none is paid for twice."
            )

    @property
    def calibration_shots(self) -> int | None:
        """More than for a value, because every value leans on them."""
        return None if self.backend.shots is None else 4 * self.backend.shots

    def copies(self, wires: int) -> int:
        """Runs of a circuit packed into one."""
        return max(1, self.packing // wires) if self.pack is None else self.pack

    def costs(self) -> Costs:
        """For planning."""
        calibrations = 2 if self.readout_mitigation else 0
        shots = self.backend.shots
        return Costs(
            self.copies, self.batch_size, shots, len(self.fold_factors), calibrations, self.calibration_shots or 0
        )

    def settings(self) -> dict[str, Any]:
        """What a ledger remembers."""
        return {
            "backend": self.backend.name,
            **self.backend.settings,
            "shots": self.backend.shots,
            "readout_mitigation": self.readout_mitigation,
            "fold_factors": list(self.fold_factors),
            "pack": self.pack,
            "packing": self.packing,
            "batch_size": self.batch_size,
        }


def _packing(backend: Backend, ledger: str | Path | None) -> int:
    """Qubits side by side that are worth using: those with which the ledger was started, else the backend's."""
    if ledger is not None and Path(ledger).is_file():
        with suppress(LedgerError):  # a file that is no ledger is refused where it is opened
            return int(read(ledger)[0]["packing"])
    return backend.packing


class Deployment:
    """A model on its way to a backend; see :func:`deploy`."""

    def __init__(self, model: nn.Module, rows: Any, options: Options):
        self.options = options
        self.trained = copy.deepcopy(model).eval().requires_grad_(False)
        self._blocks = blocks_of(self.trained)
        for block in self._blocks.values():
            if getattr(block, "backend", None) is not None:  # planning and comparing must not run circuits
                block.backend = backends.get("torch")  # type: ignore[attr-defined]
        self._check_parameters()
        self.rows = None if rows is None else self._tensor(rows)
        blocks = choose(self.trained, self._blocks, self.rows, options.costs())
        for plan in blocks:
            options.backend.check_wires(packing.pack(self._blocks[plan.name].block_circuit(), plan.copies))
        count = None if self.rows is None else len(self.rows)
        self._plan = Plan(options.backend.name, count, options.backend.shots, blocks)
        self._model: MeasuredModel | None = None
        self._results: dict[str, tuple[Result, np.ndarray]] = {}

    def plan(self) -> Plan:
        """The cost."""
        return self._plan

    @property
    def model(self) -> MeasuredModel:
        """The model with measured values.

        Raises:
            OptionError: nothing was measured yet.
        """
        if self._model is None:
            raise OptionError("nothing was measured yet (dry_run=True): call measure() first.")
        return self._model

    def measure(self) -> Deployment:
        """Run what is planned, from where the ledger stands; see :func:`deploy` for the errors."""
        if self._model is not None:
            return self
        options = self.options
        seed = secrets.randbits(31) if options.seed is None else check_positive("seed", options.seed, 0)
        with (
            _closed_after(options.backend),
            Ledger(options.ledger, self._fingerprint(), options.settings(), seed) as ledger,
            progress_bar(
                options.progress, "circuits", sum(plan.entries for plan in self._plan.blocks), stderr=True
            ) as advance,
            torch.no_grad(),
        ):
            submission = Submission(options.backend, ledger, options.attempts, options.delay, advance=advance)
            network: nn.Module = copy.deepcopy(self.trained)
            nodes = [plan for plan in self._plan.blocks if plan.route == "nodes"]
            network = self._measure(submission, network, nodes, None)
            for plan in self._plan.blocks:
                if plan.route == "rows":
                    network = self._measure(submission, network, [plan], self._input(network, plan.name))
        self._model = MeasuredModel(network)
        return self

    def report(self, rows: Any = None) -> DeviationReport:
        """How far the measured model is from the trained one, over ``rows`` (those of the deployment by default).

        Raises:
            OptionError: nothing was measured yet.
            DomainError: other rows than those measured, where a block was measured for rows.
        """
        deployed = self.model
        given = self.rows if rows is None else self._tensor(rows)
        names = [plan.name for plan in self._plan.blocks]
        found: dict[str, Any] = {"blocks": {}}
        if given is not None:
            found = compare_outputs(self.trained, deployed, names, given)
        outputs = found.pop("blocks")
        blocks = []
        for plan in self._plan.blocks:
            result, exact = self._results[plan.name]
            rms = float(np.sqrt(np.mean((result.values - exact) ** 2)))
            noise = float(np.sqrt(np.mean(result.variances)))
            blocks.append(BlockDeviation(plan.name, plan.route, plan.circuits, rms, noise, outputs.get(plan.name)))
        return DeviationReport(self._plan.backend, self._plan.shots, tuple(blocks), **found)

    def plot(self) -> Any:
        """Measured against exact expectations of every block, as a matplotlib figure.

        Raises:
            OptionError: nothing was measured yet.
        """
        _ = self.model
        return figure(self._results)

    # -- measuring -----------------------------------------------------------------------------------------------

    def _measure(
        self, submission: Submission, network: nn.Module, plans: Sequence[BlockPlan], x: Tensor | None
    ) -> nn.Module:
        """The network with these blocks measured: by nodes, or for their inputs x."""
        blocks: dict[str, CircuitBlock] = {plan.name: network.get_submodule(plan.name) for plan in plans}  # type: ignore
        tables = {name: block.node_rows() if x is None else block.input_rows(x) for name, block in blocks.items()}
        rows = {name: table.detach().to("cpu", torch.float64).numpy() for name, table in tables.items()}
        circuits = {plan.name: packing.pack(blocks[plan.name].block_circuit(), plan.copies) for plan in plans}
        corrected = self._calibrated(submission, circuits)
        batches = {plan.name: self._batches(plan, corrected[plan.name], rows[plan.name]) for plan in plans}
        results = submission.run(batch for own in batches.values() for per_factor in own for batch in per_factor)
        for plan in plans:
            block, table = blocks[plan.name], rows[plan.name]
            parts = [[results[batch.key] for batch in per_factor] for per_factor in batches[plan.name]]
            found = self._combined(parts, plan.copies, len(table))
            exact = simulate.expectations(block.block_circuit(), torch.from_numpy(table))
            self._results[plan.name] = found, np.broadcast_to(exact.numpy(), found.values.shape)
            made = block.measured(torch.from_numpy(found.values), torch.from_numpy(found.variances), x)
            network = _replaced(network, block, made)
        return network

    def _calibrated(self, submission: Submission, circuits: dict[str, Circuit]) -> dict[str, Circuit]:
        """The circuits with observables that undo readout errors, where that is asked for."""
        if not self.options.readout_mitigation:
            return circuits
        batches, shots = {}, self.options.calibration_shots
        for name, circuit in circuits.items():
            pair = mitigation.calibration_circuits(circuit.wires)
            batches[name] = [
                Batch(f"{name or 'model'}:{word}", one, np.zeros((1, 0)), shots, circuit)
                for word, one in zip(("zeros", "ones"), pair, strict=True)
            ]
        results = submission.run(batch for pair in batches.values() for batch in pair)
        found = {}
        for name, circuit in circuits.items():
            zeros, ones = (results[batch.key].values[0] for batch in batches[name])
            found[name] = mitigation.readout_errors(zeros, ones).corrected(circuit)
        return found

    def _batches(self, plan: BlockPlan, circuit: Circuit, rows: np.ndarray) -> list[list[Batch]]:
        """By fold factor, in order."""
        packed, size = packing.pack_rows(rows, plan.copies), self.options.batch_size
        found = []
        for factor in self.options.fold_factors:
            folded, word = mitigation.fold(circuit, factor), "" if factor == 1 else f":x{factor}"
            like = None if factor == 1 else circuit
            found.append(
                [
                    Batch(
                        f"{plan.name or 'model'}{word}:{first // size:04d}",
                        folded,
                        packed[first : first + size],
                        self.options.backend.shots,
                        like,
                    )
                    for first in range(0, len(packed), size)
                ]
            )
        return found

    def _combined(self, parts: list[list[Result]], copies: int, count: int) -> Result:
        """Batches joined and unpacked, and fold factors extrapolated to zero."""
        factors = self.options.fold_factors
        weights = mitigation.zero_noise_weights(factors) if factors != (1,) else np.ones(1)
        values = [np.concatenate([part.values for part in own]) for own in parts]
        variances = [np.concatenate([part.variances for part in own]) for own in parts]
        mean = sum(weight * one for weight, one in zip(weights, values, strict=True))
        spread = sum(weight**2 * one for weight, one in zip(weights, variances, strict=True))
        return Result(packing.unpack(mean, copies, count), packing.unpack(spread, copies, count))

    def _input(self, network: nn.Module, name: str) -> Tensor:
        """What reaches a block, as (rows, inputs)."""
        seen: list[Tensor] = []
        handle = network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, named: seen.append(block_input(inputs, named)), with_kwargs=True
        )
        try:
            network(self.rows)
        finally:
            handle.remove()
        return seen[0].reshape(seen[0].shape[:-1].numel(), seen[0].shape[-1])

    # -- checks --------------------------------------------------------------------------------------------------

    def _tensor(self, rows: Any) -> Tensor:
        try:
            found = rows if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows))
        except (TypeError, ValueError):
            raise DataError("rows must be a table of numbers, one input row each.") from None
        if found.numel() == 0 and 0 in found.shape[:-1]:
            raise DataError("rows holds no row; leave it out, or give those that will be asked for.")
        found = found.to(next(self.trained.parameters(), found))
        if not bool(torch.isfinite(found).all()):
            raise NonFiniteError("rows hold NaN or infinity, which are no inputs of a circuit.")
        return found

    def _check_parameters(self) -> None:
        for name, value in self.trained.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise NonFiniteError(f"parameter {name} of the model holds NaN or infinity.")

    def _fingerprint(self) -> str:
        """Of the model, and of the rows where a block is measured for them."""
        digest = hashlib.sha256(type(self.trained).__name__.encode())
        for name, block in self._blocks.items():
            digest.update(repr((name, block.block_circuit())).encode())
        by_rows = any(plan.route == "rows" for plan in self._plan.blocks)
        state = {**self.trained.state_dict(), "rows": self.rows if by_rows else None}
        for name, value in sorted(state.items()):
            if value is not None:
                digest.update(f"{name} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().double().numpy().tobytes())
        return digest.hexdigest()


def _replaced(network: nn.Module, old: Any, new: nn.Module) -> nn.Module:
    """The network with a module exchanged wherever it is used."""
    if network is old:
        return new
    for module in network.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
    return network


@contextmanager
def _closed_after(backend: Backend) -> Iterator[None]:
    """Close the backend at the end; what was measured counts, even where closing fails."""
    try:
        yield
    finally:
        with suppress(QKANError):
            backend.close()
