"""What is in the tree is in the wheel, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tree_packages() -> set[str]:
    """Packages that exist as folders, by import name."""
    found = {"qkan"}
    for folder, name in (("qkan", "qkan"), ("circuits", "qkan.circuits"), ("kernels", "qkan.kernels")):
        for init in (ROOT / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(ROOT / folder)
            if not any(
                (ROOT / folder / Path(*relative.parts[: i + 1])).is_symlink() for i in range(len(relative.parts))
            ):
                found.add(".".join((name, *relative.parts)))
    return found


def test_every_package_is_listed():
    assert set(CONFIG["tool"]["setuptools"]["packages"]) == tree_packages()


def test_links_are_relative_and_lead_to_the_rooms():
    for room in ("circuits", "kernels"):
        link = ROOT / "qkan" / room
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{room}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    # Build from a copy: building leaves a build/ folder behind.
    subprocess.run(["git", "-C", str(ROOT), "checkout-index", "-a", f"--prefix={source}/"], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(source)]
    subprocess.run(command, check=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_holds_the_tree(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        path = Path(name)
        if path.parts[0] in ("circuits", "kernels") and path.suffix == ".py":
            expected.add(f"qkan/{name}")
        elif path.parts[0] == "qkan" and path.suffix in (".py", ".j2", ".typed") and not (ROOT / path).is_symlink():
            expected.add(name)
    assert inside == expected


def test_generic_names_do_not_land_at_top_level(wheel):
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name} == {"qkan"}


def test_names_and_licence(wheel):
    metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert "Name: qkan-toolkit" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_constraints_pin_every_direct_dependency():
    pins = dict(
        line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert pins["torch"] == "2.13.0"
    wanted = CONFIG["project"]["dependencies"] + CONFIG["project"]["optional-dependencies"]["dev"]
    names = {re.split(r"[\[>=]", requirement)[0].lower() for requirement in wanted}
    assert names <= set(pins)
