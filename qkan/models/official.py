"""Weights of the published ``qkan`` package (Jiang et al., arXiv 2509.14026) in this toolkit's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from qkan.circuits.ansatz import ANSATZE
from qkan.errors import ModelFileError, check_choice

_NAMES = ("theta", "preacts_weight", "preacts_bias", "base_weight", "postact_weights", "postact_bias", "mask")


def convert(
    state_dict: Mapping[str, Tensor],
    width: Sequence[int],
    reps: int = 3,
    ansatz: str = "pz",
    *,
    fast_measure: bool = True,
    base: str | None = "silu",
) -> Any:
    """A :class:`~qkan.QKAN` computing what the official network with this state dict computes.

    Args:
        state_dict: of an official ``QKAN(width, reps, ansatz=...)``, grouped or not (tested with version 0.2.3).
        width: its width.
        reps: its repetitions.
        ansatz: its ansatz, "pz", "rpz", "px", "real" or "mix" (an official name such as "pz_encoding" works too).
        fast_measure: its measurement; True, the official default, is the readout "amplitude".
        base: its base activation; ``None`` drops the base branch.

    The official layer is Σ_i mask · [pw (φ + pb) + bw act(x)]: pw becomes ``scale``, Σ mask·pw·pb the bias. Where all
    preactivation weights are 1 the encoding is "fixed", else "edge"; preactivation biases that another gate absorbs
    (pz, rpz, real) are absorbed.

    Raises:
        OptionError: unknown ansatz.
        ModelFileError: the state dict lacks a tensor or does not fit ``width`` and ``reps``.
    """
    from qkan.models.kan import QKAN

    ansatz = ansatz.removesuffix("_encoding")
    check_choice("ansatz", ansatz, ANSATZE)
    official = [_layer_tensors(state_dict, index) for index in range(len(width) - 1)]
    trivial = all(_has_unit_frequency(tensors, ansatz) for tensors in official)
    options: dict[str, Any] = {
        "ansatz": ansatz,
        "encoding": "fixed" if trivial else "edge",
        "readout": "amplitude" if fast_measure else "z",
        "groups": official[0]["theta"].shape[0] if official[0]["theta"].ndim == 3 else None,
    }
    model = QKAN(width, reps=reps, base=base, seed=0, **options)
    for layer, tensors in zip(model.layers, official, strict=True):
        try:
            with torch.no_grad():
                _fill(layer, tensors, ansatz, reps)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelFileError(
                f"the state dict does not fit width={list(width)}, reps={reps}, ansatz={ansatz!r} "
                f"({str(error).splitlines()[0]})."
            ) from None
    return model


def _layer_tensors(state_dict: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    found = {}
    for name in _NAMES:
        key = f"layers.{index}.{name}"
        if key not in state_dict:
            raise ModelFileError(f"the state dict has no tensor {key!r}; it does not come from an official QKAN.")
        found[name] = state_dict[key].detach().float()
    return found


def _has_unit_frequency(tensors: dict[str, Tensor], ansatz: str) -> bool:
    unit = bool((tensors["preacts_weight"] == 1).all())
    absorbed = ansatz in ("pz", "rpz", "real") or bool((tensors["preacts_bias"] == 0).all())
    return unit and absorbed


def _fill(layer: Any, tensors: dict[str, Tensor], ansatz: str, reps: int) -> None:
    basis = layer.basis
    basis.theta.copy_(_angles(tensors["theta"], tensors["preacts_bias"], ansatz, reps))
    if basis.frequency is not None:
        basis.frequency.copy_(tensors["preacts_weight"])
    if basis.shift is not None:
        basis.shift.copy_(tensors["preacts_bias"])
    mask, scale = tensors["mask"], tensors["postact_weights"]
    layer.scale.copy_(scale)
    layer.bias.copy_((mask * scale * tensors["postact_bias"]).sum(-1))
    if layer.base_weight is not None:
        layer.base_weight.copy_(tensors["base_weight"])
    if not bool((mask == 1).all()):
        layer.set_mask(mask)


def _angles(theta: Tensor, shift: Tensor, ansatz: str, reps: int) -> Tensor:
    """Official angles (*g, r or r+1, k) in circuit order (*g, P), preactivation biases absorbed."""
    theta = theta.clone()
    if ansatz == "pz":  # a bias before the next block's RZ adds to its angle
        theta[..., 1:, 0] += shift
    if ansatz == "real":  # RY(b) Z = Z RY(-b)
        theta[..., 0] -= shift
    if ansatz == "rpz":  # the bias is the RZ before the data gate
        blocks = torch.stack([theta[..., :reps, 0], shift], dim=-1).flatten(-2)
        return torch.cat([blocks, theta[..., reps, :]], dim=-1)
    if ansatz == "px":  # the closing RZ commutes with the measurement
        theta = theta[..., :reps, :]
    return theta.flatten(-2)
