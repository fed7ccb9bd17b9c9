"""Run the tutorials and write each as a notebook with its outputs beside its source: ``make tutorials``.

The source is ``tutorials/NN_name.py`` in percent format; ``tutorials/NN_name.ipynb`` is what a reader opens. A cell
shows what it prints, draws or returns, except the bare matplotlib objects that drawing calls return.

    python docs/render_tutorials.py                  all
    python docs/render_tutorials.py 03 04            some, by the beginning of their names
    python docs/render_tutorials.py --out DIR 03     into another folder
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "tutorials"
#: Seconds a single cell may take before it counts as hanging; a whole tutorial should take less than 30.
CELL_LIMIT = 90
#: Dots per inch of the pictures, so that a notebook with ten of them stays below 500 kB.
DPI = 80
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class TutorialError(Exception):
    """A tutorial that fails or is not fit to be read."""


def read(source: Path) -> NotebookNode:
    """The cells of a percent-format file, with ids that depend on nothing but their place."""
    notebook = jupytext.read(source, fmt="py:percent")
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{place:02d}", NotebookNode()
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def render(source: Path) -> NotebookNode:
    """The notebook of a tutorial, run from top to bottom in an empty folder that must be empty afterwards.

    Raises:
        TutorialError: a cell fails, writes to stderr or shows a progress bar, or a file is left behind.
    """
    notebook = read(source)
    with tempfile.TemporaryDirectory() as settings, tempfile.TemporaryDirectory() as folder:
        Path(settings, "matplotlibrc").write_text(f"figure.dpi: {DPI}\n")
        client = NotebookClient(
            notebook,
            timeout=CELL_LIMIT,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            ipython_hist_file=":memory:",
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=environment(settings))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise TutorialError(f"{source.name}: {error}") from None
        left = sorted(path.name for path in Path(folder).iterdir())
    if left:
        raise TutorialError(f"{source.name} leaves {', '.join(left)} behind; write into a temporary folder.")
    for place, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_bare_artist(output)]
            for output in cell.outputs:
                check(output, f"{source.name}, cell {place}")
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.validate(notebook)
    return notebook


def environment(settings: str) -> dict[str, str]:
    """Of the kernel: this checkout first, pictures in the notebook, one thread, no files in the home folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": settings,
        "IPYTHONDIR": settings,
        "OMP_NUM_THREADS": "1",
    }


def is_bare_artist(output: NotebookNode) -> bool:
    """Whether an output is only the name of a matplotlib object, such as ``<matplotlib.legend.Legend at 0x7f…>``."""
    if output.output_type != "execute_result" or set(output.data) != {"text/plain"}:
        return False
    return bool(re.search(r"<matplotlib\.\S+ at 0x|<mpl_toolkits\.\S+ at 0x|^Text\(", output.data["text/plain"]))


def check(output: NotebookNode, where: str) -> None:
    """Raise unless an output is clean."""
    text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
    if output.output_type == "stream" and output.name == "stderr":
        raise TutorialError(f"{where} writes to stderr:\n{text}")
    if "━" in text:
        raise TutorialError(f"{where} shows a progress bar; switch it off with progress=False.")
    if re.search(r" at 0x[0-9a-f]{6}", text):
        raise TutorialError(f"{where} shows an address in memory, which differs every time:\n{text}")


def chosen(names: list[str]) -> list[Path]:
    """The sources whose names begin with one of ``names``; all where there are none."""
    sources = sorted(SOURCES.glob("*.py"))
    for name in names:
        if not any(source.name.startswith(name) for source in sources):
            listed = ", ".join(source.stem for source in sources)
            raise TutorialError(f"no tutorial begins with {name!r}; there are {listed}.")
    return [source for source in sources if not names or source.name.startswith(tuple(names))]


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Run tutorials and write them as notebooks.")
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 03; all where none is given")
    parser.add_argument("--out", type=Path, default=SOURCES, help="folder of the notebooks")
    arguments = parser.parse_args()
    try:
        for source in chosen(arguments.names):
            start = time.perf_counter()
            notebook = render(source)
            target = arguments.out / f"{source.stem}.ipynb"
            unfinished = target.with_suffix(".tmp")
            nbformat.write(notebook, unfinished)
            unfinished.replace(target)
            took, size = time.perf_counter() - start, target.stat().st_size / 1000
            print(f"{target.name}: {took:.0f} s, {size:.0f} kB", file=sys.stderr)
    except TutorialError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
