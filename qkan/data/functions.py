"""Regression data drawn from a formula, with pykan's call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qkan._random import generator
from qkan.errors import NonFiniteError, OptionError, ShapeError, check_choice, check_positive


def create_dataset(
    f: Callable[[Tensor], Tensor],
    n_var: int = 2,
    ranges: Sequence[Any] = (-1, 1),
    train_num: int = 1000,
    test_num: int = 1000,
    *,
    seed: int | None = None,
    normalize_input: bool = False,
    normalize_label: bool = False,
    f_mode: str = "col",
) -> dict[str, Tensor]:
    """Draw inputs uniformly and label them with ``f``.

    Same call as ``kan.utils.create_dataset`` of pykan (Liu et al., arXiv 2404.19756) with three differences:
    the options after ``test_num`` are keywords only, the random numbers are local (``seed=None`` draws fresh
    ones), and both sets are normalised by the mean and standard deviation of the training set, so that
    nothing about the test set enters.

    Args:
        f: maps inputs (N, n_var) to labels (N, 1) or (N,); with ``f_mode="row"``, inputs (n_var, N), so that
            ``x[0]`` is the first variable, to labels (N,), (N, 1) or (1, N).
        n_var: number of variables.
        ranges: one (low, high) for all variables, or one pair per variable.
        train_num: training rows.
        test_num: test rows.
        seed: of a local generator.
        normalize_input: subtract the mean of every variable and divide by its standard deviation.
        normalize_label: the same for the label.
        f_mode: "col" or "row".

    Returns:
        float32 tensors ``train_input`` (train_num, n_var), ``train_label`` (train_num, 1), ``test_input`` and
        ``test_label``.

    Raises:
        OptionError: a count, ``f_mode`` or a range is out of order, ``f`` is no function, or a constant would
            have to be normalised.
        ShapeError: ``ranges`` does not fit ``n_var``, or ``f`` returns another shape.
        NonFiniteError: ``f`` returns NaN or infinity.
    """
    if not callable(f):
        raise OptionError(f"f={f!r} must be a function of a tensor of inputs.")
    check_choice("f_mode", f_mode, ("col", "row"))
    n_var = check_positive("n_var", n_var)
    low, high = _bounds(ranges, n_var)
    local = generator(seed)
    data: dict[str, Tensor] = {}
    for part, rows in (
        ("train", check_positive("train_num", train_num)),
        ("test", check_positive("test_num", test_num)),
    ):
        inputs = low + (high - low) * torch.rand(rows, n_var, generator=local, dtype=torch.float32, device="cpu")
        data[f"{part}_input"] = inputs
        data[f"{part}_label"] = _labels(f, inputs, f_mode)
    if normalize_input:
        _normalize(data, "input")
    if normalize_label:
        _normalize(data, "label")
    return data


def _bounds(ranges: Sequence[Any], n_var: int) -> tuple[Tensor, Tensor]:
    """Lower and upper ends, each (n_var,) float32."""
    try:
        pairs = torch.as_tensor(ranges, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(f"ranges={ranges!r} must be one (low, high) pair or one pair per variable.") from None
    if pairs.shape == (2,):
        pairs = pairs.expand(n_var, 2)
    if pairs.shape != (n_var, 2):
        raise ShapeError(
            f"ranges={ranges!r} has shape {tuple(pairs.shape)}; it must be (low, high) or one such pair for "
            f"each of the {n_var} variables."
        )
    width = pairs[:, 1] - pairs[:, 0]  # infinite, too, where the width overflows float32
    wrong = (~(torch.isfinite(width) & (width > 0))).nonzero()
    if len(wrong):
        number = int(wrong[0])
        low, high = pairs[number].tolist()
        raise OptionError(f"The range ({low:g}, {high:g}) of variable {number} must be finite with low < high.")
    return pairs[:, 0], pairs[:, 1]


def _labels(f: Callable[[Tensor], Tensor], inputs: Tensor, f_mode: str) -> Tensor:
    rows = len(inputs)
    # A copy, so that an f which works in place cannot change the inputs.
    labels = f(inputs.T.clone() if f_mode == "row" else inputs.clone())
    if not isinstance(labels, Tensor):
        raise ShapeError(
            f"f returned {type(labels).__name__}; it must return a tensor of shape ({rows}, 1) or ({rows},)."
        )
    allowed = [(rows, 1), (rows,)] + ([(1, rows)] if f_mode == "row" else [])
    if tuple(labels.shape) not in allowed:
        raise ShapeError(
            f"f returned shape {tuple(labels.shape)} for {rows} inputs; it must return ({rows}, 1) or ({rows},)."
        )
    if labels.is_complex():
        raise OptionError("f returned complex labels; they must be real.")
    labels = labels.detach().to(device="cpu", dtype=torch.float32).reshape(rows, 1)
    bad = inputs[~torch.isfinite(labels).squeeze(1)]
    if len(bad):
        raise NonFiniteError(
            f"f returned NaN or infinity for {len(bad)} of {rows} inputs, first at {bad[0].tolist()}; narrow "
            "the ranges."
        )
    return labels


def _normalize(data: dict[str, Tensor], what: str) -> None:
    train = data[f"train_{what}"]
    # Not by the deviation: rounding can give a constant column one that is not quite zero.
    if bool((train == train[:1]).all(0).any()):
        raise OptionError(f"normalize_{what}=True needs training {what}s that vary, but one is constant.")
    mean, deviation = train.mean(0, keepdim=True), train.std(0, keepdim=True)
    for part in ("train", "test"):
        data[f"{part}_{what}"] = (data[f"{part}_{what}"] - mean) / deviation
