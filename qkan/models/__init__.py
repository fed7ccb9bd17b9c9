"""Networks built from the layers."""

from qkan.models.base import load
from qkan.models.jhcg import HQKAN, JHCGNet
from qkan.models.kan import KAN, QKAN
from qkan.models.replace import Replacement, replace_mlp

__all__ = ["HQKAN", "KAN", "QKAN", "JHCGNet", "Replacement", "load", "replace_mlp"]
