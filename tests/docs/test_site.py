"""The site builds without a warning; its links lead somewhere; every public name and command is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from public_names import public_names
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).resolve().parents[2]
VOID = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built from a copy of docs/, beside which everything else is linked: generated pages stay out of the checkout."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("generated", "__pycache__"))
    for path in ROOT.iterdir():
        if path.name not in ("docs", "build", ".git"):
            (root / path.name).symlink_to(path)
    out = root / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # no network
    environment = {**os.environ, **nowhere, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """Anchors of a page, where it links to, what it loads, and its words."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.data: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join("".join(self.data).translate(str.maketrans("“”‘’", "\"\"''")).split())

    def handle_data(self, data: str) -> None:
        self.data.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in VOID and VOID[tag] in found:
            self.loaded.append(found[VOID[tag]])


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def broken(page: Path, content: Page, pages: dict[Path, Page]) -> list[str]:
    """Links and files of a page that do not exist, local ones only."""
    found = []
    for link in content.links + content.loaded:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        anchor = unquote(parts.fragment)
        if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids):
            found.append(link)
    return found


def test_links_lead_somewhere(pages):
    assert len(pages) > 150
    wrong = {str(path.name): found for path, page in pages.items() if (found := broken(path, page, pages))}
    assert wrong == {}


def test_checker_finds_broken_links(tmp_path):
    place = tmp_path / "page.html"
    place.write_text(
        '<a href="gone.html">x</a><a href="#nowhere">y</a><a href="#here" id="here">z</a><img src="no.png">'
    )
    assert broken(place, Page(place), {place: Page(place)}) == ["gone.html", "#nowhere", "no.png"]


def test_pages_load_nothing_from_elsewhere(pages):
    outside = {link for page in pages.values() for link in page.loaded if urlsplit(link).netloc}
    assert outside == set()


def test_every_public_name_is_in_the_inventory(site):
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind, objects in inventory.data.items() if kind.startswith("py:") for name in objects}
    names = set(public_names())
    assert {"qkan.KAN", "qkan.models.kan.KAN", "qkan.circuits.deploy", "qkan.errors.check_choice"} <= names
    assert names - known == set()


def commands(command, name: str):
    """(full name, command) of a Typer command and all below it."""
    yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from commands(inner, f"{name} {inner.name}")


def test_every_command_and_option_is_described(site, pages):
    import typer

    from qkan.cli import app

    text = pages[site / "generated" / "cli.html"].text
    for name, command in commands(typer.main.get_command(app), "qkan"):
        assert f"$ {name} [" in text, name
        for parameter in command.params:
            assert parameter.opts[-1] in text, f"{name} {parameter.opts}"


def test_results_and_tutorials_are_included(site, pages):
    for folder in ("benchmarks", "experiments"):
        for result in (ROOT / folder / "results").glob("*.md"):
            title = result.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            assert title.replace("`", "") in pages[site / "generated" / folder / f"{result.stem}.html"].text
    for notebook in (ROOT / "tutorials").glob("*.ipynb"):
        assert (site / "generated" / "tutorials" / f"{notebook.stem}.html").is_file()
