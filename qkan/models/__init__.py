"""Networks built from the layers."""

from qkan.models.additive import KAAM, LogisticKAN
from qkan.models.base import load
from qkan.models.dcnn import KACQDCNN
from qkan.models.distillation import distil
from qkan.models.jhcg import HQKAN, JHCGNet
from qkan.models.kan import KAN, QKAN
from qkan.models.kat import KATBlock, ViT
from qkan.models.lstm import (
    HQKANGRU,
    HQKANLSTM,
    QKANGRU,
    QKANLSTM,
    HQKANGRUCell,
    HQKANLSTMCell,
    QKANGRUCell,
    QKANLSTMCell,
)
from qkan.models.mixture import fit_mixture
from qkan.models.mlp import MLP
from qkan.models.qckan import QCKANNet
from qkan.models.replace import Replacement, replace_mlp
from qkan.models.tensor_network import TensorNetworkQNN

__all__ = [
    "HQKAN",
    "HQKANGRU",
    "HQKANLSTM",
    "KAAM",
    "KACQDCNN",
    "KAN",
    "MLP",
    "QKAN",
    "QKANGRU",
    "QKANLSTM",
    "HQKANGRUCell",
    "HQKANLSTMCell",
    "JHCGNet",
    "KATBlock",
    "LogisticKAN",
    "QCKANNet",
    "QKANGRUCell",
    "QKANLSTMCell",
    "Replacement",
    "TensorNetworkQNN",
    "ViT",
    "distil",
    "fit_mixture",
    "load",
    "replace_mlp",
]
