"""The diagram of who imports whom, from the code and from the list that tests/project/test_imports.py enforces."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from pathlib import Path
from typing import Any

from public_names import ROOT


def rooms_and_imports() -> tuple[list[list[str]], dict[str, set[str]]]:
    """Floors of rooms from the ground up, and the rooms that each imports, by the list and the scan of the test."""
    spec = importlib.util.spec_from_file_location("import_rules", ROOT / "tests" / "project" / "test_imports.py")
    assert spec is not None
    assert spec.loader is not None
    rules: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    imports: dict[str, set[str]] = defaultdict(set)
    for room, path in rules.modules():
        if room != "__init__":
            imports[room] |= rules.imported_rooms(path) - {room}
    return [sorted(floor) for floor in rules.FLOORS], dict(imports)


def direct(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """The imports that do not follow from others: an arrow from a to c is left out where a -> b -> … -> c is drawn."""

    def reach(room: str) -> set[str]:
        return imports[room].union(*(reach(below) for below in imports[room]))

    return {room: below - set().union(*(reach(other) for other in below)) for room, below in imports.items()}


#: Used nearly everywhere; their arrows would hide the others.
EVERYWHERE = ("errors", "_owner", "_random", "_progress")


def draw(path: Path) -> None:
    """Write the diagram as SVG, without the rooms that are used nearly everywhere."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    floors, imports = rooms_and_imports()
    floors = [floor for floor in ([room for room in rooms if room not in EVERYWHERE] for rooms in floors) if floor]
    imports = {room: below.difference(EVERYWHERE) for room, below in imports.items() if room not in EVERYWHERE}
    figure = Figure(figsize=(8, 6.5))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    place = {}
    for height, floor in enumerate(floors):
        for order, room in enumerate(floor):
            # A lone room is put a little aside, so that no arrow runs through it.
            place[room] = (order + 1) / (len(floor) + 1) + (0.07 * (-1) ** height if len(floor) == 1 else 0), height
    for room, below in direct(imports).items():
        for other in below:
            style = {"arrowstyle": "-|>", "color": "0.55", "shrinkA": 11, "shrinkB": 11}
            axes.annotate("", xy=place[other], xytext=place[room], arrowprops=style)
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#e8eef7", "edgecolor": "#3b5b8c"}
        axes.text(x, y, room, ha="center", va="center", family="monospace", bbox=box)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(floors) - 0.4))
    axes.axis("off")
    figure.savefig(path, metadata={"Date": None})


def table() -> str:
    """All imports as a Markdown table, top floor first."""
    floors, imports = rooms_and_imports()
    text = "| room | imports |\n|---|---|\n"
    for floor in reversed(floors):
        for room in floor:
            text += f"| `{room}` | {', '.join(f'`{name}`' for name in sorted(imports.get(room, ()))) or '–'} |\n"
    return text
