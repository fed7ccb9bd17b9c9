"""Swap the feed-forward blocks of an existing PyTorch model for something smaller."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qkan.errors import OptionError, ShapeError

_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Mish, nn.Hardswish)


@dataclass(frozen=True)
class Replacement:
    """What :func:`replace_mlp` did.

    Attributes:
        names: of the replaced blocks, as in ``model.named_modules()``.
        before: parameters of the model before.
        after: parameters of the model afterwards.
    """

    names: tuple[str, ...]
    before: int
    after: int

    def __str__(self) -> str:
        blocks = "1 block" if len(self.names) == 1 else f"{len(self.names)} blocks"
        kept = f", {100 * self.after / self.before:.1f} % of before" if self.before else ""
        return f"{blocks} replaced; {self.before:,} parameters before, {self.after:,} after{kept}"


def replace_mlp(
    model: nn.Module,
    factory: Callable[[int, int], nn.Module],
    predicate: Callable[[str, nn.Module], bool] | None = None,
) -> Replacement:
    """Replace feed-forward blocks in place, as HQKAN replaces those of GPT-2 (Jiang et al., arXiv 2509.14026).

    Three kinds of block are found: the two linear maps of ``nn.TransformerEncoderLayer`` and
    ``nn.TransformerDecoderLayer`` with the activation and dropout between them; an ``nn.Sequential`` of linear maps
    with activations (and dropouts) between; and the ``MLP`` of ``transformers``' GPT-2, whose last dropout stays.

    Args:
        model: changed in place. If it is such a ``Sequential`` itself, its content is replaced.
        factory: (in_features, out_features) -> the new module, for example
            ``lambda n, m: qkan.HQKAN(n, m, reps=1)``.
        predicate: (name, block) -> whether to replace this block; ``None`` replaces all.

    Returns:
        The names of the blocks, and the model's parameters before and after.

    Raises:
        OptionError: no block was found.
        ShapeError: a new module does not map the block's input width to its output width.
    """
    before = _parameters(model)
    found = [(name, block) for name, block in _blocks(model) if predicate is None or predicate(name, block)]
    if not found:
        raise OptionError("no feed-forward block was found to replace; see replace_mlp for the kinds that are known.")
    for _, block in found:
        _replace(block, factory)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # the encoder's own fast path, which reads them too
    return Replacement(tuple(name for name, _ in found), before, _parameters(model))


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in inside or not (_is_layer(module) or _is_mlp(module) or _is_gpt2(module)):
            continue
        if not _is_layer(module):
            inside.update(id(part) for part in module.modules())
        yield name, module


def _is_layer(module: nn.Module) -> bool:
    kinds = nn.TransformerEncoderLayer, nn.TransformerDecoderLayer
    return isinstance(module, kinds) and isinstance(module.linear1, nn.Linear)


def _is_mlp(module: nn.Module) -> bool:
    if type(module) is not nn.Sequential:
        return False
    parts = [part for part in module if not isinstance(part, (nn.Dropout, nn.Identity))]
    return (
        len(parts) >= 3
        and len(parts) % 2 == 1
        and all(isinstance(part, nn.Linear) for part in parts[::2])
        and all(isinstance(part, _ACTIVATIONS) for part in parts[1::2])
    )


def _is_gpt2(module: nn.Module) -> bool:
    return type(module).__name__ == "GPT2MLP" and hasattr(module, "c_fc") and hasattr(module, "c_proj")


def _replace(block: Any, factory: Callable[[int, int], nn.Module]) -> None:
    if _is_layer(block):
        new = _made(factory, block.linear1.in_features, block.linear2.out_features, block.linear1.weight)
        block.linear1, block.linear2 = new, nn.Identity()
        block.dropout, block.activation = nn.Identity(), nn.Identity()
        block.activation_relu_or_gelu = 0  # closes PyTorch's fast path, which reads the weights of linear1 and linear2
        return
    if _is_gpt2(block):  # its Conv1D holds (in, out)
        new = _made(factory, block.c_fc.weight.shape[0], block.c_proj.weight.shape[1], block.c_fc.weight)
        block.c_fc, block.act, block.c_proj = new, nn.Identity(), nn.Identity()
        return
    linears = [part for part in block if isinstance(part, nn.Linear)]
    new = _made(factory, linears[0].in_features, linears[-1].out_features, linears[0].weight)
    tail = [copy.copy(part) for part in block[-1:] if isinstance(part, nn.Dropout)]
    del block[:]
    block.extend([new, *tail])


def _made(factory: Callable[[int, int], nn.Module], n: int, m: int, like: Tensor) -> nn.Module:
    """A new block where the old one was; its output width is looked at before anything is changed."""
    new = factory(n, m).to(like)
    with torch.no_grad():
        shape = tuple(new(like.new_zeros(1, n)).shape)
    if shape != (1, m):
        raise ShapeError(f"the new block turns (1, {n}) into {shape}; it must return (1, {m}).")
    return new
