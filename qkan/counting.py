"""How large and how expensive a model is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from qkan.errors import check_positive
from qkan.layers import KANLayer


@dataclass(frozen=True)
class Count:
    """Size and cost of a model.

    Attributes:
        trainable: parameters with gradients.
        frozen: parameters without.
        flops: floating-point operations in the matrix products of one forward pass (a multiply-add counts as two),
            the convention of ``torch.utils.flop_counter``; elementwise work such as sines is not in it.
        rows: rows in that pass.
    """

    trainable: int
    frozen: int
    flops: int
    rows: int

    def __str__(self) -> str:
        parameters = f"{self.trainable:,} trainable and {self.frozen:,} frozen parameters"
        return f"{parameters}, {self.flops:,} FLOPs for {self.rows} rows"


def count(model: nn.Module, rows: int = 1) -> Count:
    """Parameters of any module, and FLOPs of its KAN and linear layers for ``rows`` rows.

    Each layer is taken to run once; checked against ``torch.utils.flop_counter``.

    Args:
        model: any module.
        rows: rows in the pass whose FLOPs are counted.
    """
    check_positive("rows", rows, 0)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    flops = 0
    for module in model.modules():
        if isinstance(module, KANLayer):
            flops += module.matmul_flops(rows)
        elif isinstance(module, nn.Linear):
            flops += 2 * rows * module.in_features * module.out_features
    trainable = sum(size for size, needs_grad in sizes if needs_grad)
    return Count(trainable, sum(size for size, _ in sizes) - trainable, flops, rows)
