"""Imports run one way, cost little, and the name clash with the PyPI package is reported."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Rooms from the ground floor up. A module may import from rooms below its own and from its own, never from above;
#: rooms on one floor do not import each other.
FLOORS = [
    {"_owner"},
    {"errors"},
    {"_random", "_progress"},
    {"kernels"},
    {"circuits"},
    {"bases"},
    {"layers"},
    {"counting", "training", "saving", "data"},
    {"models", "preprocessing"},
    {"analysis", "sklearn", "report", "testing"},
    {"tabular"},
    {"tabular_regression"},
    {"experiments"},
    {"cli"},
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[tuple[str, Path]]:
    """(room, file) of every module."""
    found = [("kernels", p) for p in (ROOT / "kernels").rglob("*.py")]
    found += [("circuits", p) for p in (ROOT / "circuits").rglob("*.py")]
    for path in sorted((ROOT / "qkan").rglob("*.py")):
        parts = path.relative_to(ROOT / "qkan").parts
        if parts[0] not in ("kernels", "circuits"):
            found.append((parts[0].removesuffix(".py"), path))
    return found


def imported_rooms(path: Path) -> set[str]:
    """Rooms of qkan that a file imports anywhere in it, inside functions too (type-checking imports excepted)."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "qkan":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("qkan."):
                found.add(node.module.split(".")[1])
            assert node.level == 0, f"{path} uses a relative import"
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("qkan.")}
    return found


@pytest.mark.parametrize(
    ("room", "path"), modules(), ids=lambda value: value.name if isinstance(value, Path) else value
)
def test_imports_run_one_way(room, path):
    if room == "__init__":
        return
    for other in imported_rooms(path) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{path.name} in {room} imports {other}"


def test_every_room_has_a_floor():
    assert {room for room, _ in modules()} - {"__init__"} == set(FLOOR)


def run_python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


def test_import_qkan_loads_no_optional_package():
    heavy = "pandas sklearn scipy matplotlib shap mapie pennylane qiskit numba rich typer safetensors triton cuquantum"
    code = "import sys, torch; before = set(sys.modules); import qkan; "
    code += f"print(set({heavy.split()!r}) & (set(sys.modules) - before))"
    assert run_python(code, check=True).stdout.strip() == "set()"


SENTENCE = "ImportError: The import name 'qkan' is also provided by the installed package 'qkan'"


def test_clash_with_the_published_package_is_one_sentence(tmp_path):
    """A second distribution that owns the import name ``qkan``, as pip would record it."""
    info = tmp_path / "qkan-0.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: qkan\nVersion: 0.2.3\n")
    (info / "RECORD").write_text("qkan/__init__.py,,\n")
    (info / "top_level.txt").write_text("qkan\n")
    done = run_python(f"import sys; sys.path.append({str(tmp_path)!r}); import qkan", cwd=ROOT)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(SENTENCE)
    assert "separate environment" in last


def test_clash_is_noticed_when_the_other_package_came_last(tmp_path):
    """Its __init__.py has replaced ours; our other modules are still there."""
    package = tmp_path / "qkan"
    shutil.copytree(ROOT / "qkan", package, symlinks=False)
    (package / "__init__.py").write_text("class QKAN: ...\n")
    done = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import qkan.bases", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(SENTENCE)
