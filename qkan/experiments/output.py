"""Output folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qkan.errors import DataError

#: What ``metrics.json`` calls itself.
FORMAT = "qkan-run"


@dataclass(frozen=True)
class Kind:
    """What a command writes. A folder that holds nothing else, and whose record says so, may be replaced.

    Attributes:
        content: names of the files and folders.
        record: the JSON file among them whose "format" says what the folder is.
        format: the value of "format".
    """

    content: frozenset[str]
    record: str
    format: str


#: The folder that ``qkan train`` writes.
RUN = Kind(frozenset({"metrics.json", "model", "overview.png", "report.html"}), "metrics.json", FORMAT)
#: The folder that ``qkan explain`` writes.
EXPLANATION = Kind(frozenset({"explain.json", "explain.html"}), "explain.json", "qkan-explanation")


@contextmanager
def output_folder(path: str | Path, kind: Kind = RUN) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends without an error.

    An earlier run's folder of the same kind is replaced; any other non-empty folder is refused before the block starts.

    Raises:
        DataError: ``path`` is a file, holds other files, or cannot be written.
    """
    target = Path(os.path.abspath(path))
    if target.exists() and not target.is_dir():
        raise DataError(f"{path} is a file; give --out a folder.")
    if target.is_dir() and any(target.iterdir()) and not _is_own(target, kind):
        raise DataError(f"{path} holds files that are not of an earlier run; choose a new or empty folder.")
    anchor = target.parent
    while not anchor.exists():
        anchor = anchor.parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=anchor))
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}).") from None
    try:
        work = temporary / "new"
        work.mkdir()
        yield work
        _replace(target, work, temporary / "old")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_own(folder: Path, kind: Kind) -> bool:
    """True if the folder holds an earlier run and nothing else, so that replacing it loses nothing."""
    if not {entry.name for entry in folder.iterdir()} <= kind.content:
        return False
    extra = [entry for entry in (folder / "model").glob("*") if entry.suffix not in (".json", ".safetensors")]
    try:
        record = json.loads((folder / kind.record).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not extra and isinstance(record, dict) and record.get("format") == kind.format


def _replace(target: Path, work: Path, old: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.rename(work, target)
        return
    os.rename(target, old)
    try:
        os.rename(work, target)
    except OSError:
        os.rename(old, target)
        raise
