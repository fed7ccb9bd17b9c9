"""Commands on the pages exist with their options; those of the quickstart run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from qkan.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "how_to").glob("*.md"))


def commands(page: Path) -> list[list[str]]:
    """Arguments of the lines of a page's blocks that call ``qkan``."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if language in ("", "sh") for line in block.splitlines()]
    calls = [re.match(r"(?:\S*/)?qkan (.*)", line) for line in lines]
    return [shlex.split(call[1], comments=True) for call in calls if call]


WRITTEN = [(page, arguments) for page in PAGES for arguments in commands(page)]


def parse(arguments: list[str]) -> None:
    """Raise the program's error where a command or an option does not exist; nothing runs."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("qkan", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(arguments), parent=context)


def test_pages_have_commands():
    assert {arguments[0] for _, arguments in WRITTEN} >= {
        "train", "predict", "explain", "submit", "jobs", "reproduce", "data",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [one for _, one in WRITTEN], ids=[f"{page.name}: {' '.join(one)[:40]}" for page, one in WRITTEN]
)
def test_commands_and_options_exist(arguments):
    parse(arguments)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trains", "No such command"),
        ("train --epoch 3", "No such option"),
        ("data lists", "No such command"),
        ("predict model", "Missing parameter: rows"),
    ],
)
def test_what_does_not_exist_is_found(line, message):
    with pytest.raises(Exception, match=message):
        parse(line.split())


def test_the_quickstart_runs_as_written(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for arguments in commands(ROOT / "docs" / "quickstart.md"):
        command = [sys.executable, "-c", "from qkan.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs" / "alloys" / "report.html").is_file()
