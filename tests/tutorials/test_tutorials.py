"""Every tutorial runs from top to bottom, and its committed notebook is what the source gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "tutorials").glob("*.py"))
RENDERER = ROOT / "docs" / "render_tutorials.py"
#: Seconds a tutorial may take, with one thread; written to take less than 30.
LIMIT = 90
#: Bytes of a committed notebook.
LARGEST = 500_000
HAS_DATA = "QKAN_DATA_DIR" in os.environ

each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def committed(source: Path) -> NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def kinds(cell: NotebookNode) -> list[str]:
    """What a cell shows: text, pictures and tables, in order."""
    return [
        kind for output in cell.get("outputs", []) for kind in sorted(output.get("data", {output.output_type: None}))
    ]


def run(*arguments: object, temporary: Path) -> subprocess.CompletedProcess:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # no network
    environment = {**os.environ, **nowhere, "no_proxy": "localhost,127.0.0.1", "TMPDIR": str(temporary)}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, str(RENDERER), *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=temporary, capture_output=True, text=True, timeout=3 * LIMIT)


@each
def test_tutorial_runs_in_time_and_gives_its_notebook(source, tmp_path):
    fresh, temporary = tmp_path / "out", tmp_path / "temporary"
    fresh.mkdir()
    temporary.mkdir()
    tree_before = sorted(source.parent.iterdir())
    start = time.monotonic()
    done = run("--out", fresh, source.stem, temporary=temporary)
    took = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert took < LIMIT
    # The compiler's cache is PyTorch's own business; all else that a tutorial writes must be gone.
    assert [path for path in temporary.iterdir() if not path.name.startswith("torchinductor")] == []
    assert sorted(source.parent.iterdir()) == tree_before

    found, expected = nbformat.read(fresh / f"{source.stem}.ipynb", as_version=4), committed(source)
    assert [(cell.id, cell.cell_type, cell.source) for cell in expected.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in found.cells
    ], f"run: make tutorials TUTORIAL={source.stem}"
    if HAS_DATA or "QKAN_DATA_DIR" not in source.read_text():
        assert [kinds(cell) for cell in expected.cells] == [kinds(cell) for cell in found.cells]


@each
def test_notebook_is_fit_to_be_read(source):
    path, notebook = source.with_suffix(".ipynb"), committed(source)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    assert notebook.metadata.kernelspec.name == "python3"
    shown = outputs(notebook)
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in shown)
    assert any("image/png" in output.get("data", {}) for output in shown), "a tutorial shows pictures"
    text = "\n".join(str(output.get("text", "")) + str(output.get("data", "")) for output in shown)
    for place in {str(ROOT), tempfile.gettempdir() + "/", "/home/", "/root/", "/work/", "/Users/"}:
        assert place not in text, f"an output names {place}"
    assert not re.search(r" at 0x[0-9a-f]{6}", text)


@each
def test_tutorial_begins_with_a_title_and_ends_with_something_to_try_and_references(source):
    pages = [cell.source for cell in committed(source).cells if cell.cell_type == "markdown"]
    assert committed(source).cells[0].source.startswith("# ")
    end = "\n".join(pages[-2:])
    trying, references = re.search(r"^## Try it\n\S", end, re.M), re.search(r"^(## |\*\*)References", end, re.M)
    assert trying
    assert references
    assert trying.start() < references.start()
    assert re.search(r"arXiv \d{4}\.\d{4,5}", end[references.start() :])


def test_every_notebook_has_a_source():
    assert SOURCES
    assert [path.stem for path in sorted((ROOT / "tutorials").glob("*.ipynb"))] == [path.stem for path in SOURCES]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings\nwarnings.warn('odd')", "cell 2 writes to stderr"),
        ("open('left.txt', 'w').close()", "leaves left.txt behind"),
        ("object()", "an address in memory"),
    ],
)
def test_a_tutorial_that_fails_or_is_untidy_is_refused(cell, message, tmp_path):
    """The renderer, given a tutorial of its own, says what is wrong and writes nothing."""
    sources = tmp_path / "tutorials"
    sources.mkdir()
    (sources / "01_bad.py").write_text(f"# %% [markdown]\n# # Title\n\n# %%\n{cell}\n")
    code = f"import sys; sys.path.insert(0, {str(RENDERER.parent)!r}); import render_tutorials as r, pathlib; "
    code += f"r.SOURCES = pathlib.Path({str(sources)!r}); sys.argv = ['render', '--out', {str(tmp_path)!r}]; "
    code += "sys.exit(r.main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(tmp_path.glob("*.ipynb"))


def test_an_unknown_tutorial_is_refused(tmp_path):
    done = run("--out", tmp_path, "99", temporary=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("no tutorial begins with '99'; there are 01_one_edge")


def test_readme_commands_exist():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", text, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for path in re.findall(r"\]\(([\w./]+)\)", text):
        assert (ROOT / path).exists(), path
