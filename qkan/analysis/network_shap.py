"""SHAP values from inside a network: in closed form where it is additive, expected gradients for any other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qkan._random import generator
from qkan.analysis.explain import GAP, Explanation, checked
from qkan.errors import NonFiniteError, OptionError, ShapeError, check_positive
from qkan.models import KAN
from qkan.models.base import Network
from qkan.models.dcnn import class_probabilities

#: Rows of interpolated inputs that go through the network at once.
BATCH = 8192


def is_additive(network: object) -> bool:
    """Whether the outputs are sums of functions of single inputs: a KAN without a hidden layer."""
    return isinstance(network, KAN) and len(network.layers) == 1


def logits(outputs: Tensor) -> Tensor:
    """Softmax inputs (..., classes) -> log p_c minus the mean of the other classes' log p; two classes: the log-odds.

    Softmax inputs themselves are defined up to a common shift only, which these are free of. A single output is the
    log-odds of class 1 of two.
    """
    classes = outputs.shape[-1]
    if classes == 1:  # the log-odds of class 1 of two
        return torch.cat([-outputs, outputs], -1)
    return (outputs - outputs.mean(-1, keepdim=True)) * (classes / (classes - 1))


def additive_values(
    network: KAN, background: np.ndarray, rows: np.ndarray, groups: np.ndarray, table: pd.DataFrame
) -> Explanation:
    """Shapley values of an additive classifier's logits, exact and at the cost of one evaluation.

    For a sum of functions f_i(x_i), the value of input i is f_i(x_i) minus the mean of f_i over the background
    (Lundberg and Lee 2017, for linear models); inputs that come from one column are added up.

    Args:
        network: a KAN without a hidden layer, with one output per class, or one for two classes.
        background: (b, p) network inputs.
        rows: (n, p) network inputs.
        groups: (p,) number of the table's column that each input comes from.
        table: the rows as a table (n, d).

    Raises:
        OptionError: the network has a hidden layer.
        ShapeError: sizes do not fit.
        NonFiniteError: additivity is violated by more than 1e-6.
    """
    if not is_additive(network):
        raise OptionError("method='additive' needs a KAN or QKAN without a hidden layer; use 'auto' for this one.")
    _check(background, rows, groups, table)
    seen, own = _tensor(network, background), _tensor(network, rows)
    layer = network.layers[0]
    with torch.no_grad():
        unknown = logits(layer.edges(seen).transpose(-1, -2)).mean(0)
        inputs = logits(layer.edges(own).transpose(-1, -2)) - unknown  # (n, p, classes)
        base = logits(network(seen)).mean(0)
        outputs = logits(network(own))
    values = _grouped(inputs.cpu().numpy(), groups, table.shape[1])
    found = Explanation(values, base.cpu().numpy(), table.reset_index(drop=True), "additive", np.nan, "logit")
    return checked(found, outputs.cpu().numpy())


def expected_gradients(
    network: Network,
    background: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    table: pd.DataFrame,
    *,
    samples: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Explanation:
    """Expected gradients of the class probabilities (Erion et al., Nature Machine Intelligence 3, 2021).

    The mean over background rows b and uniform α of (x - b) · ∂p(b + α (x - b)), summed over the inputs of each column.
    A fast estimate of Aumann-Shapley values: another way of sharing interactions than SHAP's, equal to it for additive
    outputs. On the way from b to x one-hot inputs take values between 0 and 1, which no row has.

    Args:
        network: any network of a classifier.
        background: (b, p) network inputs.
        rows: (n, p) network inputs.
        groups: (p,) number of the table's column that each input comes from.
        table: the rows as a table (n, d).
        samples: pairs (b, α) per row: every background row equally often, at least twice, α stratified.
        seed: of α.
        progress: called with the number of rows done.

    Returns:
        An explanation whose ``additivity_gap`` is not zero and shrinks with ``samples``; ``gap_error`` is the standard
        error expected of it, an overestimate because stratification is left out of account.

    Raises:
        ShapeError: sizes do not fit.
        NonFiniteError: the gap exceeds six standard errors, so the gradients are not those of the outputs.
    """
    check_positive("samples", samples)
    _check(background, rows, groups, table)
    seen, own = _tensor(network, background), _tensor(network, rows)
    each = max(2, -(-samples // len(seen)))
    local, was_training = generator(seed), network.training
    network.eval()
    found, errors = [], []
    for row in own:
        pull = (torch.arange(each) + torch.rand(len(seen), each, generator=local)) / each
        inputs, spread = _mean_gradient(network, seen, row, pull.to(seen))
        found.append(inputs)
        errors.append(spread)
        if progress is not None:
            progress(1)
    with torch.no_grad():
        base, outputs = class_probabilities(network(seen)).mean(0), class_probabilities(network(own))
    network.train(was_training)
    values = _grouped(torch.stack(found).cpu().numpy(), groups, table.shape[1])
    gaps = np.abs(base.cpu().numpy() + values.sum(1) - outputs.cpu().numpy())
    error = torch.stack(errors).cpu().numpy()
    if not (gaps < 6 * error + GAP).all():
        raise NonFiniteError(
            f"expected gradients miss the model's output by {gaps.max():.2g}, more than six standard errors."
        )
    frame = table.reset_index(drop=True)
    return Explanation(
        values, base.cpu().numpy(), frame, "expected_gradients", float(gaps.max()), gap_error=float(error.max())
    )


def _mean_gradient(network: Network, seen: Tensor, row: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of (x - b) · ∂p over background rows and pull (b, each): (p, classes), and the standard error of its sum."""
    way = row - seen  # (b, p)
    points = (seen[:, None] + pull[..., None] * way[:, None]).flatten(0, 1)
    slopes = torch.cat([_gradients(network, part) for part in points.split(BATCH)])  # (b · each, p, classes)
    parts = slopes.unflatten(0, pull.shape) * way[:, None, :, None]
    # α is the only thing drawn: the background rows all take part.
    variance = parts.sum(2).var(1).mean(0) / pull.numel()
    return parts.mean((0, 1)), variance.sqrt()


def _gradients(network: Network, points: Tensor) -> Tensor:
    """∂p_c / ∂x, (m, p) -> (m, p, classes). Probabilities sum to 1, so the first class has minus the others' sum."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        probabilities = class_probabilities(network(points)).sum(0)
        others = [
            torch.autograd.grad(value, points, retain_graph=place < len(probabilities) - 2)[0]
            for place, value in enumerate(probabilities[1:])
        ]
    return torch.stack([-torch.stack(others).sum(0), *others], -1)


def _grouped(inputs: np.ndarray, groups: np.ndarray, columns: int) -> np.ndarray:
    """(n, p, classes) summed over the inputs of each column: (n, columns, classes)."""
    values = np.zeros((len(inputs), columns, inputs.shape[2]))
    for place, column in enumerate(groups):
        values[:, column] += inputs[:, place]
    return values


def _tensor(network: Network, inputs: np.ndarray) -> Tensor:
    like = next(network.parameters())
    return torch.as_tensor(inputs, dtype=like.dtype, device=like.device)


def _check(background: np.ndarray, rows: np.ndarray, groups: np.ndarray, table: pd.DataFrame) -> None:
    if not len(background) or not len(rows) or len(table) != len(rows):
        raise ShapeError("background and rows must be non-empty, and the table must have the rows' number of rows.")
    if not background.shape[1] == rows.shape[1] == len(groups) or max(groups) >= table.shape[1]:
        raise ShapeError(
            f"background of shape {background.shape}, rows of shape {rows.shape} and groups of length {len(groups)} "
            f"do not belong to one table of {table.shape[1]} columns."
        )
