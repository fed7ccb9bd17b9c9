"""One page of the API reference for every public module, and every public name in the object inventory."""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from public_names import Module, modules
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry
from sphinx.environment import BuildEnvironment

#: Rooms in the order of the reference, with what each is for; others follow under their own names.
ROOMS = {
    "qkan": "The package and its single modules",
    "layers": "Layers",
    "bases": "Bases",
    "models": "Models",
    "analysis": "Analysis",
    "sklearn": "Estimators for scikit-learn",
    "data": "Data",
    "circuits": "Circuits, backends and deployment",
    "kernels": "Kernels",
    "testing": "Contract tests for your own bases and backends",
    "experiments": "Experiments and the work behind the commands",
}
_OPTIONS = {"class": "   :members:\n   :undoc-members:\n   :show-inheritance:\n", "function": "", "data": ""}


def write_api(folder: Path) -> None:
    """Write ``folder``/index.rst and a page for every public module."""
    folder.mkdir(parents=True, exist_ok=True)
    rooms: dict[str, list[Module]] = defaultdict(list)
    for module in modules():
        rooms[module.room].append(module)
    titles = {room: title for room, title in ROOMS.items() if room in rooms}
    titles |= {room: f"qkan.{room}" for room in rooms if room not in ROOMS}
    text = _title("API reference", "=") + _INTRODUCTION
    for room, title in titles.items():
        text += _title(title, "-")
        for module in rooms[room]:
            (folder / f"{module.name}.rst").write_text(_page(module))
            text += f":doc:`{module.name}`\n   {_plain(module.summary)}\n\n"
    (folder / "index.rst").write_text(text)


def _plain(text: str) -> str:
    return "\n".join(_escaped([text]))


_INTRODUCTION = """Generated from the docstrings. The names most programs need are those of :mod:`qkan`,
:mod:`qkan.bases`, :mod:`qkan.circuits`, :mod:`qkan.models`, :mod:`qkan.sklearn` and :mod:`qkan.data`; the others are
what these are made of. A module or name that begins with an underscore is private.

"""


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _page(module: Module) -> str:
    # No page of a module is in the tree of pages: a tree of 150 entries beside every page takes half of the build.
    text = ":orphan:\n\n" + _title(module.name, "=") + f".. automodule:: {module.name}\n   :no-members:\n\n"
    text += f".. currentmodule:: {module.name}\n\n"
    here, elsewhere = _split(module)
    if elsewhere:
        text += "Also importable from here:\n\n"
        text += "".join(f"* :py:obj:`{name} <{target}>`\n" for name, target in elsewhere) + "\n"
    for name, kind in here.items():
        text += f".. auto{kind}:: {module.name}.{name}\n{_OPTIONS[kind]}\n"
    return text


def _split(module: Module) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Public names described on this page with their kinds, and (name, target) of those described on another."""
    defined, here, elsewhere = module.defined(), {}, []
    for name in module.public():
        if name in defined:
            here[name] = defined[name]
            continue
        target = _home(importlib.import_module(module.name), name)
        if any(part.startswith("_") for part in target.split(".")):
            here[name] = "class" if inspect.isclass(getattr(importlib.import_module(module.name), name)) else "function"
        else:
            elsewhere.append((name, target))
    return here, elsewhere


def _home(module: Any, name: str) -> str:
    """Full name of a re-exported object where it is defined."""
    value = getattr(module, name)
    if inspect.ismodule(value):
        return value.__name__
    if hasattr(value, "__module__") and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    for other in modules():  # a constant does not know its module
        if name in other.defined() and getattr(importlib.import_module(other.name), name) is value:
            return f"{other.name}.{name}"
    raise ValueError(f"{module.__name__}.{name} is defined in no public module")


def add_aliases(app: Sphinx, env: BuildEnvironment) -> Iterable[str]:
    """Let every public name, and what is in it, lead to the place where its object is described."""
    objects = env.domains.python_domain.objects
    for module in modules():
        for name, target in _split(module)[1]:
            alias = f"{module.name}.{name}"
            inside = [full for full in objects if full.startswith(f"{target}.")]  # methods and attributes
            for full in [target, *inside]:
                again = alias + full.removeprefix(target)
                if again not in objects and full in objects:
                    found = objects[full]
                    objects[again] = ObjectEntry(found.docname, found.node_id, found.objtype, aliased=True)
    return ()


#: Beginnings of PyTorch's texts about methods that every class here overrides; they say nothing of the class at hand.
_INHERITED = ("Define the computation performed", "Define the forward of the custom", "Define a formula for diff")


def tidy(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Drop inherited texts of other packages; take bars as absolute values and (*shape) as Python does."""
    text = "\n".join(lines)
    of_type = type(value).__doc__
    if what == "data" and isinstance(of_type, str) and text.startswith(inspect.cleandoc(of_type).split("\n")[0]):
        lines[:] = []  # a dictionary's docstring is that of dict
    elif text.startswith(_INHERITED):
        lines[:] = ["Shapes are in the description of the class.", ""]
    lines[:] = list(_escaped(lines))


def _escaped(lines: list[str]) -> Iterator[str]:
    literal: int | None = None  # indentation of the line that a literal block follows
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None and not line.lstrip().startswith(">>>"):
            parts = line.split("``")
            parts[::2] = [part.replace("|", r"\|").replace("(*", r"(\*") for part in parts[::2]]
            line = "``".join(parts)
        yield line
        if literal is None and line.rstrip().endswith("::"):
            literal = indent


def skip_foreign(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out methods that scikit-learn adds to its estimators."""
    return True if str(getattr(value, "__module__", "")).startswith("sklearn.") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the hooks; the pages are written by ``generated_pages``."""
    app.connect("env-updated", add_aliases)
    app.connect("autodoc-process-docstring", tidy, priority=900)  # after napoleon
    app.connect("autodoc-skip-member", skip_foreign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
