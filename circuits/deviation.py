"""How far a deployed model is from the trained one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkan.circuits.backends import Result
from qkan.circuits.measured import MeasuredModel, prediction


@dataclass(frozen=True)
class BlockDeviation:
    """One block.

    Attributes:
        name: its path in the model.
        route: "nodes" or "rows".
        circuits: that were measured.
        rms: of measured minus exact expectations.
        noise: root mean square of the standard errors: what the shots alone explain.
        output_rms: of the block's outputs, deployed minus trained, over the rows; ``None`` without rows.
    """

    name: str
    route: str
    circuits: int
    rms: float
    noise: float
    output_rms: float | None


@dataclass(frozen=True)
class DeviationReport:
    """A deployed model beside the trained one. ``print`` shows it.

    Attributes:
        backend: where it was measured.
        shots: per circuit; ``None`` where values are exact.
        blocks: each block's deviation.
        rows: input rows compared; 0 without rows.
        output_rms: of the model's outputs over the rows.
        output_scale: root mean square of the trained model's outputs.
        standard_error: root mean square of the outputs' standard errors from the shots.
        changed: rows whose prediction differs: the largest output, or the sign of a single one.
    """

    backend: str
    shots: int | None
    blocks: tuple[BlockDeviation, ...]
    rows: int = 0
    output_rms: float | None = None
    output_scale: float | None = None
    standard_error: float | None = None
    changed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{'block':24}{'route':8}{'circuits':>10}{'rms error':>11}{'shot noise':>12}{'output rms':>12}"]
        for block in self.blocks:
            output = "" if block.output_rms is None else f"{block.output_rms:.2e}"
            numbers = f"{block.circuits:>10,}{block.rms:>11.2e}{block.noise:>12.2e}{output:>12}"
            lines.append(f"{block.name or 'model':24}{block.route:8}{numbers}")
        if self.rows:
            share = f"{self.output_rms:.2e} rms (trained outputs {self.output_scale:.2e})"
            lines.append(f"outputs over {self.rows:,} rows differ by {share}, {self.standard_error:.2e} from shots")
            lines.append(f"predictions changed: {self.changed:,} of {self.rows:,}")
        return "\n".join(lines)


def compare_outputs(trained: nn.Module, deployed: MeasuredModel, names: list[str], rows: Tensor) -> dict[str, Any]:
    """Deviations over input rows: of the outputs, by block under "blocks", and of the predictions.

    Args:
        trained: the model before deployment.
        deployed: the same with measured values.
        names: of its blocks.
        rows: (N, inputs).
    """
    with torch.no_grad():
        before = _outputs(trained, names, rows)
        after = _outputs(deployed.network, names, rows)
        exact = before.pop(None)
        found, error = deployed(rows, return_std=True)
    exact, found = exact.reshape(len(rows), -1), found.reshape(len(rows), -1)
    return {
        "blocks": {name: _rms(torch.cat(after[name]) - torch.cat(before[name])) for name in before if before[name]},
        "rows": len(rows),
        "output_rms": _rms(found - exact),
        "output_scale": _rms(exact),
        "standard_error": _rms(error),
        "changed": int((_predicted(found) != _predicted(exact)).sum()),
    }


def figure(results: dict[str, tuple[Result, np.ndarray]]) -> Any:
    """Measured against exact expectations, one panel per block, as a matplotlib figure.

    Args:
        results: (measured, exact) by block.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(1 + 3.4 * len(results), 3.6), layout="constrained")
    panels = drawn.subplots(1, len(results), squeeze=False)[0]
    for panel, (name, (result, exact)) in zip(panels, results.items(), strict=True):
        low, high = min(-1.05, exact.min()), max(1.05, exact.max())
        panel.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
        bars = 2 * np.sqrt(result.variances.ravel())
        style = {"fmt": "o", "markersize": 2.5, "elinewidth": 0.6, "color": "#1f5fa8", "alpha": 0.6}
        panel.errorbar(exact.ravel(), result.values.ravel(), yerr=bars, **style)
        panel.set(xlabel="exact expectation", ylabel="measured, ± 2 standard errors", title=name or "model")
        panel.set_aspect("equal")
    return drawn


def _outputs(model: nn.Module, names: list[str], rows: Tensor) -> dict[Any, Any]:
    """Flat outputs of the named blocks, call by call, and of the model under ``None``."""
    found: dict[Any, Any] = {name: [] for name in names}

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: found[name].append(output.detach().flatten())

    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        found[None] = prediction(model(rows))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _predicted(outputs: Tensor) -> Tensor:
    return outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0


def _rms(values: Tensor | np.ndarray) -> float:
    return float(torch.as_tensor(values).double().square().mean().sqrt())
