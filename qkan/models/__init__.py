"""Networks built from the layers."""

from qkan.models.kan import KAN, QKAN, load

__all__ = ["KAN", "QKAN", "load"]
