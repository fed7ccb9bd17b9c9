"""Which names of the package are public, read from the source without importing it.

A module is public if no part of its dotted name begins with an underscore. Its public names are those in ``__all__``,
or without that list the functions, classes and constants it defines whose names do not begin with an underscore.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Folders of the checkout and the packages they are.
FOLDERS = {"kernels": "qkan.kernels", "circuits": "qkan.circuits", "qkan": "qkan"}


@dataclass(frozen=True)
class Module:
    """A public module.

    Attributes:
        name: dotted, as it is imported.
        path: its file.
        tree: the parsed source.
    """

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part after ``qkan``; the package itself and the modules right in it are "qkan"."""
        parts = self.name.split(".")
        is_folder = len(parts) > 2 or self.path.name == "__init__.py"
        return parts[1] if len(parts) > 1 and is_folder else "qkan"

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, as one line."""
        return " ".join((ast.get_docstring(self.tree) or "").split("\n\n")[0].split())

    def defined(self) -> dict[str, str]:
        """Public names that this file defines, in order, with their kinds: "class", "function" or "data"."""
        found: dict[str, str] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = "class"
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = "function"
            elif isinstance(node, ast.Assign):
                found |= {target.id: "data" for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = "data"
        return {name: kind for name, kind in found.items() if not name.startswith("_")}

    def listed(self) -> list[str] | None:
        """The names in ``__all__``."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and "__all__" in (getattr(target, "id", "") for target in node.targets):
                return [str(name) for name in ast.literal_eval(node.value)]
        return None

    def public(self) -> list[str]:
        """Names that users may import from here."""
        listed = self.listed()
        return list(self.defined()) if listed is None else listed


def modules(root: Path = ROOT) -> Iterator[Module]:
    """All public modules of the checkout ``root``, sorted by name."""
    found = []
    for folder, package in FOLDERS.items():
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root / folder).with_suffix("").parts
            if folder == "qkan" and parts[0] in FOLDERS:
                continue  # a link to a folder of its own
            name = ".".join((package, *parts)).removesuffix(".__init__")
            if not any(part.startswith("_") for part in name.split(".")):
                found.append(Module(name, path, ast.parse(path.read_text())))
    yield from sorted(found, key=lambda module: module.name)


def public_names(root: Path = ROOT) -> Iterator[str]:
    """Every public name with its module, such as ``qkan.models.kan.KAN``; one object may have several."""
    for module in modules(root):
        for name in module.public():
            yield f"{module.name}.{name}"
