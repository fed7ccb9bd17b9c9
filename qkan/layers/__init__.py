"""Layers built from the bases."""

from qkan.layers.activation import Activation, SplineActivation
from qkan.layers.kan_layer import KANLayer

__all__ = ["Activation", "KANLayer", "SplineActivation"]
