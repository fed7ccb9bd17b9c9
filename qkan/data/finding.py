"""One line of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How serious a finding is.
Level = Literal["ok", "info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        level: "ok", a check that passed; "info", a fact; "warning", something that can spoil results;
            "error", something that loading refuses.
        message: one plain sentence.
    """

    level: Level
    message: str
