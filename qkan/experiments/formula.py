"""``qkan formula``: a saved model as formulas of the table's columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qkan.data import read_rows
from qkan.errors import OptionError, check_positive
from qkan.models import KAN
from qkan.tabular import TabularModel


def write_formula(
    path: str | Path, rows: str | Path | None = None, threshold: float = 0.9, digits: int = 4, reorder: bool = False
) -> str:
    """The model's logits, one line each, and how far they are from those of the network.

    Args:
        path: model folder of a network of KAN layers.
        rows: CSV file with the model's columns, on which functions are fitted to the edges; ``None`` takes the rows
            kept in the folder.
        threshold: least R² of a function that replaces an edge.
        digits: significant digits.
        reorder: match columns by name in any order.

    Raises:
        OptionError: the network is no KAN, or an edge fits no function of the library well enough.
    """
    import sympy

    check_positive("digits", digits)
    model = TabularModel.load(path)
    network = model.pipeline[-1].network_
    if not isinstance(network, KAN):
        raise OptionError(
            f"a {type(network).__name__} has no formula; train with --model kan, qkan, kaam or logistic-kan."
        )
    frame = model.background if rows is None else model.conform(read_rows(rows), reorder)
    assert frame is not None
    inputs = model.inputs(frame)
    report = network.auto_symbolic(inputs, r2_threshold=threshold)
    if not report.complete:
        poor = report.edges[report.edges["function"].isna()]
        raise OptionError(
            f"{len(poor)} of {len(report.edges)} edges fit no function of the library with R² of {threshold:g} (the "
            f"worst reaches {poor['r2'].min():.2f}); lower --threshold, or train a model with fewer edges."
        )
    names, means, scales = _inputs_of(model)
    formulas = report.model.symbolic_formula(names, digits, (means, scales))
    exact, found = network.predict(inputs), report.model.predict(inputs)
    share = float(np.sqrt(((found - exact) ** 2).mean() / max(exact.var(0).mean(), 1e-300)))
    classes = [str(label) for label in model.classes]
    heads = [f"log-odds of {classes[1]}"] if len(formulas) == 1 else [f"logit of {name}" for name in classes]
    lines = [f"{head} = {sympy.sstr(one)}" for head, one in zip(heads, formulas, strict=True)]
    return "\n\n".join(
        [*lines, f"RMS difference from the network on {len(frame)} rows: {100 * share:.2g} % of its spread"]
    )


def _inputs_of(model: TabularModel) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Name, mean and scale of every input of the network: of numeric columns as they are, of others 0/1."""
    classifier, preprocessor = model.pipeline[-1], model.pipeline[0]
    outputs = [name.split("__", 1) for name in preprocessor.get_feature_names_out()]
    means, scales = np.zeros(len(outputs)), np.ones(len(outputs))
    if model.numeric:
        scaler = preprocessor.named_transformers_["numeric"]["scale"]
        means[: len(model.numeric)], scales[: len(model.numeric)] = scaler.mean_, scaler.scale_
    names = [name.replace("\0", "") for _, name in outputs]
    # Of x: ((x - mean)/scale - own mean)/own scale.
    return names, means + scales * classifier.mean_, scales * classifier.scale_
