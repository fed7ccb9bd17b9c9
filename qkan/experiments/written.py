"""What every experiment's text and numbers are written with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a header and rows of cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def p_value(value: float) -> str:
    """To three digits, or "< 0.001"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def json_by_entry(content: Mapping[str, Any]) -> str:
    """JSON text with one line for each of ``content["entries"]``: thousands of scores stay readable side by side."""
    head = json.dumps({key: value for key, value in content.items() if key != "entries"}, indent=1)
    lines = ",\n  ".join(json.dumps(entry) for entry in content["entries"])
    return f'{head[:-2]},\n "entries": [\n  {lines}\n ]\n}}\n'
