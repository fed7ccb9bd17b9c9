"""Layers built from the bases."""

from qkan.layers.attention import ScoreFunctions, SelfAttention
from qkan.layers.group import GroupKANLayer, GroupRational
from qkan.layers.kan_layer import KANLayer

__all__ = ["GroupKANLayer", "GroupRational", "KANLayer", "ScoreFunctions", "SelfAttention"]
