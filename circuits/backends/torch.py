"""The exact simulator of this package, with or without shots."""

from __future__ import annotations

import numpy as np
import torch

from qkan.circuits import measurement, simulate, statevector
from qkan.circuits.backends._base import Backend, Capabilities, Result, Task


class TorchBackend(Backend):
    """State vectors in PyTorch; see :func:`qkan.circuits.simulate.expectations`.

    Args:
        shots: ``None`` for exact values, else outcomes are drawn from the exact distribution.
        seed: of the shots.
    """

    name = "torch"
    capabilities = Capabilities(exact=True, shots=True, wires=statevector.MOST_WIRES, gradients=("autograd",))

    def execute(self, task: Task) -> Result:
        rows = torch.from_numpy(np.ascontiguousarray(task.rows, dtype=np.float64))
        if task.shots is None:
            values = simulate.expectations(task.circuit, rows).numpy()
            values = np.broadcast_to(values, (len(rows), values.shape[-1])).copy()
            return Result(values, np.zeros_like(values), {"backend": self.name, "shots": None})
        draw = np.random.default_rng(task.seed)
        bits = measurement.all_bits(task.circuit.wires)
        count = len(task.circuit.observables)
        values, variances = np.zeros((len(rows), count)), np.zeros((len(rows), count))
        for group in measurement.groups(task.circuit.observables):
            psi = statevector.state(group.rotated(task.circuit), rows)
            chances = psi.abs().square().expand(len(rows), -1).numpy()
            counts = draw.multinomial(task.shots, chances / chances.sum(-1, keepdims=True))
            mean, variance = measurement.estimate(group, bits, counts, count)
            values += mean
            variances += variance
        return Result(values, variances, {"backend": self.name, "shots": task.shots})
