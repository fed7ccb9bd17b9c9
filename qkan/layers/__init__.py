"""Layers built from the bases."""

from qkan.layers.kan_layer import KANLayer

__all__ = ["KANLayer"]
