"""Pages made from the code and from committed files at the start of every build, in ``docs/generated``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cost_tables
import import_diagram
from api_pages import write_api
from public_names import ROOT
from sphinx.application import Sphinx

#: Committed results: folder of the checkout, title of the page that lists them, what it says first.
RESULTS = {
    "benchmarks": ("Benchmarks", "Speed and memory, as `make bench` and its companions wrote them."),
    "experiments": ("Reproductions", "Tables of the literature under one protocol, as `qkan reproduce` wrote them."),
}

#: Pages in docs/ that a command wrote too: listed with the results of that folder where they have been written.
MEASURED = {"benchmarks": ("bases",)}


def write_pages(app: Sphinx) -> None:
    """Write all generated pages anew."""
    folder = Path(app.srcdir) / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    write_api(folder / "api")
    for name, (title, text) in RESULTS.items():
        measured = [f"/{page}" for page in MEASURED.get(name, ()) if (Path(app.srcdir) / f"{page}.md").is_file()]
        write_results(folder / name, ROOT / name / "results", title, text, measured)
    write_tutorials(folder / "tutorials", ROOT / "tutorials")
    write_command_line(folder / "cli.md")
    import_diagram.draw(folder / "imports.svg")
    (folder / "imports.md").write_text(import_diagram.table(), encoding="utf-8")
    cost_tables.draw(folder / "cost.svg")
    (folder / "cost.md").write_text(cost_tables.table(), encoding="utf-8")
    (folder / "plan.txt").write_text(f"{cost_tables.example()}\n", encoding="utf-8")


def write_results(folder: Path, source: Path, title: str, text: str, further: Sequence[str] = ()) -> None:
    """Copy every Markdown file of results with the files it links to; list these and further pages on an index page."""
    folder.mkdir(parents=True)
    pages = sorted(source.glob("*.md"))
    for page in pages:
        content = page.read_text(encoding="utf-8")
        (folder / page.name).write_text(content, encoding="utf-8")
        for name in re.findall(r"\]\(([\w.-]+)\)", content):
            if (source / name).is_file():
                shutil.copy(source / name, folder / name)
    text = f"# {title}\n\n{text} The pages are the committed files, unchanged.\n"
    (folder / "index.md").write_text(text + _toctree([*(page.stem for page in pages), *further]), encoding="utf-8")


def write_tutorials(folder: Path, source: Path) -> None:
    """Copy every committed notebook and list them on an index page."""
    folder.mkdir(parents=True)
    notebooks = sorted(source.glob("*.ipynb"))
    for notebook in notebooks:
        shutil.copy(notebook, folder / notebook.name)
    text = "# Tutorials\n\nNotebooks with outputs, run by `make tutorials` from the Python files in `tutorials/`.\n"
    (folder / "index.md").write_text(text + _toctree(notebook.stem for notebook in notebooks), encoding="utf-8")


def _toctree(names: Any) -> str:
    listed = "\n".join(names)
    return f"\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n" if listed else ""


def write_command_line(path: Path) -> None:
    """Describe every command as the program itself does."""
    import typer
    from typer.cli import get_docs_for_click

    from qkan.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="qkan", title="Command line")
    for name, inner in getattr(command, "commands", {}).items():  # the list of commands cuts their sentences off
        sentence = (inner.help or "").split("\n")[0].replace("\\", r"\\")
        text = re.sub(rf"^\* `{name}`: .*\.\.\.$", f"* `{name}`: {sentence}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the hook."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
