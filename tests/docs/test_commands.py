"""Commands on the pages exist with their options, and run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from qkan.cli import app
from qkan.data import load

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


def run_all(page: str, folder: Path) -> None:
    """Run the commands of a page as they are written, but those that need an account with IBM."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for arguments in commands(ROOT / page):
        if "ibm" in arguments:
            continue
        command = [sys.executable, "-c", "from qkan.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A folder with ``table.csv`` and ``new_rows.csv``: real rows, few columns, so that the commands are quick."""
    folder = tmp_path_factory.mktemp("tables")
    table = load("breast_cancer")
    some = table.features.iloc[:240, :5].assign(diagnosis=table.target)
    some.to_csv(folder / "table.csv", index=False)
    table.features.iloc[240:252, :5].to_csv(folder / "new_rows.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(tables) -> Path:
    """That folder after the commands of the README."""
    run_all("README.md", tables)
    return tables


def test_the_quickstart_runs_as_written(tmp_path):
    run_all("docs/quickstart.md", tmp_path)
    assert (tmp_path / "runs" / "alloys" / "report.html").is_file()


def test_the_readme_runs_as_written(trained):
    assert (trained / "runs" / "mine" / "report.html").is_file()
    assert (trained / "runs" / "why" / "explain.html").is_file()
    assert (trained / "run.sqlite").is_file()


@pytest.mark.parametrize("page", ["own_table", "explain", "deploy"])
def test_guides_run_as_written(page, trained, tmp_path):
    for name in ("table.csv", "new_rows.csv", *(["runs/mine"] if page != "own_table" else [])):
        copy = shutil.copytree if (trained / name).is_dir() else shutil.copy
        copy(trained / name, tmp_path / name)
    run_all(f"docs/how_to/{page}.md", tmp_path)
    made = {"own_table": "predictions.csv", "explain": "runs/why/explain.html", "deploy": "run.sqlite"}[page]
    assert (tmp_path / made).is_file()


def test_other_pages_only_repeat_what_runs_elsewhere():
    """Experiments run small in ``tests/experiments``; their full size takes up to an hour."""
    run = {"README.md", "quickstart.md", "own_table.md", "explain.md", "deploy.md"}
    assert {arguments[0] for page, arguments in WRITTEN if page.name not in run} == {"reproduce"}
