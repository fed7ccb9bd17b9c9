"""Let a KAN choose the basis of its edges: train with all members, let the gates decide, keep the winners (S-KAN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qkan.bases import Mixture
from qkan.errors import OptionError, check_positive
from qkan.models.kan import KAN

if TYPE_CHECKING:
    import pandas as pd

#: The stages of S-KAN (arXiv 2408.08338) in order.
STAGES = ("full", "selective", "pruned")


@dataclass(frozen=True)
class Choice:
    """What :func:`fit_mixture` found.

    Attributes:
        model: the network of chosen bases, trained further.
        mixture: the network with all members as it was when they were chosen.
        gates: one line per set of gates: ``layer``, ``output`` and ``input`` (``None`` for gates of a whole layer), the
            ``basis`` chosen, its ``gate`` and the ``runner_up``'s; near ties say that the data do not tell them apart.
        histories: stage -> what :func:`qkan.training.fit` returned.
    """

    model: KAN
    mixture: KAN
    gates: pd.DataFrame
    histories: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        counts = self.gates["basis"].value_counts()
        least = self.gates["gate"].min()
        return ", ".join(f"{name}: {number}" for name, number in counts.items()) + f"; least gate kept {least:.2f}"


def fit_mixture(
    model: KAN, dataset: Any, *, steps: Sequence[int] = (300, 300, 300), lamb_gate: float = 0.1, **options: Any
) -> Choice:
    """Train in three stages and return the smaller network; ``model`` keeps all members, trained.

    "full": all members and gates by the loss alone. "selective": the loss plus ``lamb_gate`` times the entropy of the
    gates, which ends at one member per gate. "pruned": :meth:`qkan.KAN.select`, then training of what is left. Every
    stage starts with a fresh optimiser, as the moments of Adam belong to a network that is no longer there.

    The stages are those of S-KAN (arXiv 2408.08338); how long they last and how the gates are made to decide is our own
    reading, since we know no figures of the paper: equal lengths, and an entropy penalty of a tenth of the variance of
    standardised labels.

    Args:
        model: a KAN with ``basis="mixture"`` in a layer.
        dataset: as in :func:`qkan.training.fit`.
        steps: of the three stages; 0 leaves out the last.
        lamb_gate: weight of the entropy in the selective stage, in units of the loss.
        **options: of :func:`qkan.training.fit`, for every stage; of the model's own ``fit`` where it has more.

    Raises:
        OptionError: no layer has gates, or an option is not valid.
    """
    if not any(isinstance(layer.basis, Mixture) for layer in model.layers):
        raise OptionError("fit_mixture needs a network with basis='mixture' in a layer.")
    if len(steps) != len(STAGES):
        raise OptionError(f"steps={tuple(steps)} must be three numbers, of the stages {', '.join(STAGES)}.")
    for least, own in zip((1, 1, 0), steps, strict=True):
        check_positive("steps", own, least)
    if not lamb_gate > 0:
        raise OptionError(f"lamb_gate={lamb_gate!r} must be a positive number, or the gates need not decide.")
    histories = {
        "full": model.fit(dataset, steps=steps[0], **options),
        "selective": model.fit(dataset, steps=steps[1], lamb_gate=lamb_gate, **options),
    }
    chosen = model.select()
    if steps[2]:
        histories["pruned"] = chosen.fit(dataset, steps=steps[2], **options)
    return Choice(chosen, model, _gates(model), histories)


def _gates(model: KAN) -> pd.DataFrame:
    import pandas as pd

    lines = []
    for level, layer in enumerate(model.layers):
        basis = layer.basis
        if not isinstance(basis, Mixture):
            continue
        gates = basis.gates().detach().cpu()
        whole = gates.dim() == 1
        for output, source in [(None, None)] if whole else layer.active().nonzero().tolist():
            own = gates if whole else gates[output, source]
            best, second = own.topk(2).values.tolist()
            name = basis.members[int(own.argmax())].name
            lines.append((level, output, source, name, best, second))
    return pd.DataFrame(lines, columns=["layer", "output", "input", "basis", "gate", "runner_up"])
