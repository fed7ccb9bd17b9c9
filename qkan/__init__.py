"""Hybrid quantum-classical Kolmogorov-Arnold networks in PyTorch.

>>> import torch, qkan
>>> model = qkan.QKAN([4, 3, 2], reps=3, seed=0)
>>> model(torch.zeros(5, 4)).shape
torch.Size([5, 2])
"""

#: Marks this package for :mod:`qkan._owner`.
TOOLKIT = "qkan-toolkit"

from qkan import bases, errors
from qkan.counting import Count, count
from qkan.data import create_dataset
from qkan.layers import GroupKANLayer, KANLayer
from qkan.models import HQKAN, HQKANGRU, HQKANLSTM, KACQDCNN, KAN, QKAN, QKANGRU, QKANLSTM, JHCGNet, load, replace_mlp
from qkan.training import fit

__version__ = "0.1.0"

__all__ = [
    "HQKAN",
    "HQKANGRU",
    "HQKANLSTM",
    "KACQDCNN",
    "KAN",
    "QKAN",
    "QKANGRU",
    "QKANLSTM",
    "Count",
    "GroupKANLayer",
    "JHCGNet",
    "KANLayer",
    "bases",
    "count",
    "create_dataset",
    "errors",
    "fit",
    "load",
    "replace_mlp",
]
