"""KANs for classes whose answers can be read: with hidden layers, or as a sum over the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qkan.bases import Basis
from qkan.errors import OptionError, ShapeError, check_choice, check_positive
from qkan.models.base import Array, saved_as_own_kind
from qkan.models.dcnn import class_probabilities, cross_entropy
from qkan.models.kan import KAN, Rows


@saved_as_own_kind
class LogisticKAN(KAN):
    """A KAN whose outputs are logits (Logistic-KAN, arXiv 2509.16750).

    Args:
        inputs: number of features.
        classes: two or more. Two classes share one output, the logit of class 1: a second would add parameters, but no
            functions.
        hidden: nodes of the hidden layers.
        basis: any basis; "daruan" makes the edges circuits.
        **options: of :class:`~qkan.KAN` and the basis.

    Shapes: x (..., inputs) -> logits (..., 1) for two classes, (..., classes) for more.

    Raises:
        OptionError: an option is not valid.
    """

    def __init__(
        self,
        inputs: int,
        classes: int = 2,
        hidden: Sequence[int] = (5,),
        basis: str | type[Basis] = "bspline",
        **options: Any,
    ):
        self.classes = check_positive("classes", classes, 2)
        super().__init__([inputs, *hidden, 1 if classes == 2 else classes], basis, **options)

    def fit(self, dataset: Any, *, class_weight: str | None = None, **options: Any) -> dict[str, Any]:
        """Train in place by cross-entropy; labels are classes counted from 0, (rows,) of whole numbers.

        Args:
            dataset: as in :func:`qkan.training.fit`.
            class_weight: "balanced" weighs class c by N / (classes · N_c) of the training labels, so that rare classes
                count as much as frequent ones; it needs labels at hand, no loader. Probabilities are then those of
                balanced classes.
            **options: of :func:`qkan.training.fit`.

        Raises:
            OptionError: an option is not valid, or a class has no rows to weigh it by.
        """
        check_choice("class_weight", class_weight, ("balanced", None))
        if class_weight is not None:
            options.setdefault("loss_fn", weighted_cross_entropy(_balanced(dataset, self.classes)))
        options.setdefault("loss_fn", cross_entropy)
        return super().fit(dataset, **options)

    def predict_proba(self, x: Array) -> Array:
        """Class probabilities: (rows, inputs) -> (rows, classes), array type as given."""
        found = class_probabilities(torch.as_tensor(self.predict(x)))
        return found.numpy() if isinstance(x, np.ndarray) else found

    def config(self) -> dict[str, Any]:
        found = super().config()
        width = found.pop("width")
        return {"inputs": width[0], "classes": self.classes, "hidden": width[1:-1], **found}


@saved_as_own_kind
class KAAM(LogisticKAN):
    """A generalised additive model: logit_c(x) = constant_c + Σ_j g_cj(x_j) (arXiv 2509.16750).

    A KAN without hidden layers. Each g_cj is one edge in any basis, so it can be drawn and read; circuits are as
    readable as splines. It has no interactions between features.

    Args:
        inputs: number of features.
        classes: two or more; two share one output.
        basis: any basis.
        **options: of :class:`~qkan.KAN` and the basis.

    The methods below take the contribution of feature j relative to its mean over reference rows, with all the means in
    the constant; otherwise a constant could move freely between features. References are the inputs of the last
    :meth:`fit` (up to 500 of them) unless given. A loaded model needs them given.
    """

    def __init__(self, inputs: int, classes: int = 2, basis: str | type[Basis] = "bspline", **options: Any):
        super().__init__(inputs, classes, (), basis, **options)

    def config(self) -> dict[str, Any]:
        found = super().config()
        found.pop("hidden")
        return found

    def contributions(self, x: Rows, reference: Rows = None) -> Tensor:
        """What every feature adds to every logit: x (rows, inputs) -> (rows, outputs, inputs + 1), the constant last.

        Summed over the last dimension they are the logits.

        Raises:
            OptionError: no reference rows, and the model has not been fitted.
            ShapeError: x has another shape.
        """
        rows, known = self._inputs(x), self._inputs(self._rows(reference, "contributions"))
        layer = self.layers[0]
        with torch.no_grad():
            means = layer.edges(known).mean(0)
            own = layer.edges(rows) - means
            constant = means.sum(-1)
            bias = layer.output_bias()
            constant = constant if bias is None else constant + bias
        return torch.cat([own, constant.expand(len(rows), -1).unsqueeze(-1)], -1)

    def importance(self, reference: Rows = None) -> Tensor:
        """Variance of every feature's contribution over reference rows, (outputs, inputs); it depends on those rows."""
        rows = self._rows(reference, "importance")
        return self.contributions(rows, rows)[..., :-1].var(0, correction=0)

    def shape_curve(self, feature: int, reference: Rows = None, points: int = 101) -> tuple[Tensor, Tensor]:
        """The function of one feature: values (points,) over its range in the reference rows, and (points, outputs).

        Raises:
            OptionError: there is no such feature.
        """
        check_positive("points", points, 2)
        known = self._inputs(self._rows(reference, "shape_curve"))
        if not isinstance(feature, int) or not 0 <= feature < self.in_features:
            raise OptionError(f"feature={feature!r} must be a whole number from 0 to {self.in_features - 1}.")
        column = known[:, feature]
        values = torch.linspace(
            float(column.min()), float(column.max()), points, dtype=known.dtype, device=known.device
        )
        rows = known[:1].repeat(points, 1)
        rows[:, feature] = values
        return values, self.contributions(rows, known)[..., feature]

    def nearest(self, x: Rows, pool: Rows = None, count: int = 5) -> tuple[Tensor, Tensor]:
        """The rows of ``pool`` whose contributions are nearest to those of each row of x.

        Distances are Euclidean over all features and outputs, so that features count as far as the model uses them.

        Args:
            x: rows (rows, inputs), patients for instance.
            pool: rows to search, by default the inputs of the last :meth:`fit`.
            count: neighbours per row; 5 as in the paper.

        Returns:
            Row numbers in ``pool``, nearest first, and distances, both (rows, count).

        Raises:
            OptionError: the pool has fewer than ``count`` rows.
        """
        known = self._inputs(self._rows(pool, "nearest"))
        if check_positive("count", count) > len(known):
            raise OptionError(f"count={count} neighbours need a pool of as many rows; it has {len(known)}.")
        own, others = (self.contributions(rows, known)[..., :-1].flatten(1) for rows in (self._inputs(x), known))
        found = torch.cdist(own, others).topk(count, largest=False)
        return found.indices, found.values

    def spokes(self, x: Rows, reference: Rows = None) -> Tensor:
        """Class probabilities with one feature of the row and average contributions of all others.

        The average is that of contributions over the reference rows, not that of a patient with average features, who
        may be impossible.

        Args:
            x: one row (inputs,), or several (rows, inputs).
            reference: rows whose average contributions fill the others' places; those of the last fit if ``None``.

        Returns:
            (rows, inputs, classes), for radar plots.
        """
        found = self.contributions(x, reference)
        return class_probabilities((found[..., :-1] + found[..., -1:]).transpose(1, 2))

    def plot_dependence(self, feature: int, **options: Any) -> Any:
        """The function of one feature as a matplotlib Figure; see :func:`qkan.models.additive_plots.dependence`."""
        from qkan.models.additive_plots import dependence

        return dependence(self, feature, **options)

    def plot_radar(self, row: Tensor | np.ndarray, features: Sequence[int] | None = None, **options: Any) -> Any:
        """One row against its neighbours and the average; see :func:`qkan.models.additive_plots.radar`."""
        from qkan.models.additive_plots import radar

        return radar(self, row, features, **options)

    def _inputs(self, x: Any) -> Tensor:
        rows = torch.as_tensor(x).to(next(self.parameters()))
        if rows.ndim != 2 or rows.shape[1] != self.in_features or len(rows) == 0:
            raise ShapeError(f"rows of shape {tuple(rows.shape)} must be (rows, {self.in_features}), one or more.")
        return rows


def _balanced(dataset: Any, classes: int) -> Tensor:
    """Weight of every class, N / (classes · N_c)."""
    if isinstance(dataset, dict):
        labels = dataset.get("train_label")
    else:
        labels = dataset[1] if isinstance(dataset, (tuple, list)) and len(dataset) == 2 else None
    if labels is None:
        raise OptionError("class_weight='balanced' needs the labels: pass a dict with train_label or a pair (x, y).")
    counts = torch.bincount(torch.as_tensor(labels).flatten().long(), minlength=classes).double()
    if len(counts) > classes or not bool((counts > 0).all()):
        raise OptionError(
            f"class_weight='balanced' needs rows of all {classes} classes; there are {counts.int().tolist()}."
        )
    return counts.sum() / (classes * counts)


def weighted_cross_entropy(weights: Tensor) -> Any:
    """Cross-entropy with weights (C,) of classes, for outputs (N, C), or logits (N, 1) of two classes."""

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        scaled = weights.to(outputs)
        if outputs.shape[-1] > 1:
            return functional.cross_entropy(outputs, labels, weight=scaled)
        each = functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs), reduction="none")
        own = scaled[labels.long()]
        return (each * own).sum() / own.sum()

    return loss
