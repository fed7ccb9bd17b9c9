"""Every Python block in the README, the contributor's guide and the pages of the site runs, and its types are right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for path in sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
    if "generated" not in path.parts
}
WITH_EXAMPLES = [page for page, blocks in PAGES.items() if blocks]


def script(page: str) -> str:
    """The blocks of a page as one program; later blocks use the names of earlier ones."""
    return "\n\n".join(PAGES[page])


def test_pages_have_examples():
    assert {"README.md", "CONTRIBUTING.md", "docs/quickstart.md", "docs/concepts.md", "docs/migration.md"} <= set(
        WITH_EXAMPLES
    )
    written = sum((ROOT / page).read_text().count("```python") for page in PAGES)
    assert written == sum(map(len, PAGES.values())), "a block is not closed, or is indented"


#: Runs every page with a folder and names of its own, but all in one process: importing takes most of the time.
RUNNER = """
import json, os, sys, traceback, warnings
warnings.simplefilter("ignore")
pages, folder, found = json.load(sys.stdin), sys.argv[1], {}
for number, (page, code) in enumerate(pages.items()):
    os.makedirs(f"{folder}/{number}")
    os.chdir(f"{folder}/{number}")
    try:
        exec(compile(code, page, "exec"), {"__name__": "__main__"})
        found[page] = ""
    except Exception:
        found[page] = traceback.format_exc()
json.dump(found, open(f"{folder}/found.json", "w"))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What each page raised, "" for nothing."""
    folder = tmp_path_factory.mktemp("pages")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(folder)],
        input=json.dumps({page: script(page) for page in WITH_EXAMPLES}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_examples_run(page, outcomes):
    assert outcomes[page] == ""


def test_examples_are_typed(tmp_path):
    """mypy sees each page and each tutorial as one module, with the same settings as the package."""
    for page in WITH_EXAMPLES:
        name = re.sub(r"\W", "_", page.removesuffix(".md").lower())
        (tmp_path / f"{name}.py").write_text(script(page))
    # Notebook-like blocks may use a name for values of several types.
    command = [sys.executable, "-m", "mypy", "--allow-redefinition", "--check-untyped-defs", str(tmp_path)]
    command += map(str, sorted((ROOT / "tutorials").glob("*.py")))
    command += ["--cache-dir", str(ROOT / ".mypy_cache"), "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
