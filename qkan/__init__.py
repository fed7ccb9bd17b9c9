"""Hybrid quantum-classical Kolmogorov-Arnold networks in PyTorch.

>>> import torch, qkan
>>> model = qkan.QKAN([4, 3, 2], reps=3, seed=0)
>>> model(torch.zeros(5, 4)).shape
torch.Size([5, 2])
"""

from __future__ import annotations

import re
from importlib.metadata import packages_distributions


def _check_owner() -> None:
    """Refuse to run beside the PyPI package ``qkan``: both install under one import name and overwrite each other."""
    owners = {re.sub(r"[-_.]+", "-", name).lower() for name in packages_distributions().get("qkan", [])}
    foreign = sorted(owners - {"qkan-toolkit"})
    if foreign:
        raise ImportError(
            f"The import name 'qkan' is also provided by the installed package {', '.join(map(repr, foreign))}; "
            "uninstall it or use a separate environment for qkan-toolkit."
        )


_check_owner()

from qkan import bases, errors  # noqa: E402
from qkan.count import Count, count  # noqa: E402
from qkan.data import create_dataset  # noqa: E402
from qkan.layers import KANLayer  # noqa: E402
from qkan.models import KAN, QKAN, load  # noqa: E402
from qkan.training import fit  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "KAN",
    "QKAN",
    "Count",
    "KANLayer",
    "bases",
    "count",
    "create_dataset",
    "errors",
    "fit",
    "load",
]
