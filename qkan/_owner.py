"""The import name ``qkan`` has two possible owners: this toolkit and the PyPI package ``qkan``.

Installed together, the files of one overwrite those of the other. Whichever came last, the first import of a module of
this toolkit says so in one sentence.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions


def check_owner() -> None:
    """Raise :class:`ImportError` unless this toolkit is the only owner of the import name ``qkan``."""
    owners = {re.sub(r"[-_.]+", "-", name).lower() for name in packages_distributions().get("qkan", [])}
    foreign = sorted(owners - {"qkan-toolkit"})
    if foreign or not hasattr(sys.modules["qkan"], "TOOLKIT"):
        others = ", ".join(map(repr, foreign or ["qkan"]))
        raise ImportError(
            f"The import name 'qkan' is also provided by the installed package {others}; "
            "uninstall it or use a separate environment for qkan-toolkit."
        )
