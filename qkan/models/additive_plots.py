"""Pictures of an additive model: the function of a feature, and one row against its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from qkan.errors import OptionError, ShapeError
from qkan.models.dcnn import class_probabilities

if TYPE_CHECKING:
    from qkan.models.additive import KAAM

#: A radar with fewer spokes has no area, and one with more cannot be read (arXiv 2509.16750 shows 3 to 10).
SPOKES = (3, 10)


def dependence(
    model: KAAM,
    feature: int,
    *,
    row: Tensor | np.ndarray | None = None,
    neighbours: Tensor | np.ndarray | None = None,
    reference: Tensor | np.ndarray | None = None,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    origin: float = 0.0,
    unit: float = 1.0,
) -> Any:
    """The function of one feature, with a row and its neighbours marked on it.

    Args:
        model: the additive model.
        feature: its number.
        row: (inputs,) to mark.
        neighbours: (k, inputs) to mark, those of :meth:`~qkan.models.KAAM.nearest` for instance.
        reference: rows that give range and mean; the inputs of the last fit if ``None``.
        name: of the feature, for the axis.
        classes: names of the classes.
        origin: of the axis: where the feature is 0, in units of the table it comes from.
        unit: length of 1 of the feature in those units, its standard deviation for instance.

    Returns:
        A matplotlib ``Figure``; nothing is shown or written.
    """
    from matplotlib.figure import Figure

    values, curves = model.shape_curve(feature, reference)
    labels = _classes(model, classes)
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    marks = [(neighbours, 18, "o"), (None if row is None else _one(row), 60, "*")]
    for output, label in enumerate(labels[-1:] if model.classes == 2 else labels):
        (line,) = axes.plot(origin + unit * values.cpu(), curves[:, output].cpu(), label=label)
        for rows, size, marker in marks:
            if rows is not None:
                heights = model.contributions(rows, reference)[:, output, feature].cpu()
                axes.scatter(
                    origin + unit * rows[:, feature], heights, s=size, marker=marker, color=line.get_color(), zorder=3
                )
    axes.axhline(0.0, color="grey", lw=0.6)
    axes.set(xlabel=name or f"feature {feature}", ylabel="contribution to the logit")
    if model.classes > 2 or classes is not None:
        axes.legend(frameon=False)
    return figure


def radar(
    model: KAAM,
    row: Tensor | np.ndarray,
    features: Sequence[int] | None = None,
    *,
    neighbours: Tensor | np.ndarray | None = None,
    target: int = 1,
    reference: Tensor | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """One row against its neighbours and the average: a spoke per feature, see :meth:`~qkan.models.KAAM.spokes`.

    Args:
        model: the additive model.
        row: (inputs,).
        features: numbers of the 3 to 10 features to show; the most important ones if ``None``.
        neighbours: (k, inputs); the mean of their spokes is drawn.
        target: class whose probability the spokes give.
        reference: rows that give the average; the inputs of the last fit if ``None``.
        names: of all features.

    Returns:
        A matplotlib ``Figure``; nothing is shown or written.

    Raises:
        OptionError: fewer than 3 or more than 10 features, or no such class.
    """
    from matplotlib.figure import Figure

    if not 0 <= target < model.classes:
        raise OptionError(f"target={target} must be a class from 0 to {model.classes - 1}.")
    chosen = _strongest(model, reference) if features is None else list(features)
    if not SPOKES[0] <= len(chosen) <= SPOKES[1]:
        raise OptionError(f"a radar has {SPOKES[0]} to {SPOKES[1]} features, not {len(chosen)}.")
    angles = np.linspace(0, 2 * np.pi, len(chosen), endpoint=False)
    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    constant = model.contributions(_one(row), reference)[0, :, -1]
    average = class_probabilities(constant)[target].expand(len(chosen))
    lines = [("this row", model.spokes(_one(row), reference)[0, chosen, target])]
    if neighbours is not None:
        lines.append(("neighbours", model.spokes(neighbours, reference)[:, chosen, target].mean(0)))
    lines.append(("average", average))
    for label, heights in lines:
        closed = np.append(heights.cpu().numpy(), float(heights[0]))
        axes.plot(np.append(angles, angles[0]), closed, label=label)
    shown = [f"feature {i}" for i in range(model.in_features)] if names is None else list(names)
    axes.set_xticks(angles, [shown[i] for i in chosen])
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.15, 1.1))
    return figure


def _strongest(model: KAAM, reference: Tensor | np.ndarray | None) -> list[int]:
    order = model.importance(reference).sum(0).argsort(descending=True).tolist()
    return sorted(order[: SPOKES[1]])


def _one(row: Tensor | np.ndarray) -> Tensor:
    found = torch.as_tensor(row)
    if found.ndim != 1:
        raise ShapeError(f"a row of shape {tuple(found.shape)} must be one-dimensional, (inputs,).")
    return found.unsqueeze(0)


def _classes(model: KAAM, names: Sequence[str] | None) -> list[str]:
    found = [f"class {number}" for number in range(model.classes)] if names is None else [str(one) for one in names]
    if len(found) != model.classes:
        raise OptionError(f"classes has {len(found)} names, but there are {model.classes}.")
    return found
