"""Layers built from the bases."""

from qkan.layers.activation import Activation, SplineActivation
from qkan.layers.attention import ScoreFunctions, SelfAttention
from qkan.layers.group import GroupKANLayer, GroupRational
from qkan.layers.kan_layer import KANLayer

__all__ = [
    "Activation",
    "GroupKANLayer",
    "GroupRational",
    "KANLayer",
    "ScoreFunctions",
    "SelfAttention",
    "SplineActivation",
]
