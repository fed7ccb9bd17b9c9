"""Generated tables to try things on, written with a page about them."""

from __future__ import annotations

from pathlib import Path

from qkan.errors import OptionError, check_choice
from qkan.saving import write_atomic

#: Tables that can be generated.
NAMES = ("alloys",)


def write(name: str, path: str | Path, rows: int = 400, seed: int = 0) -> tuple[Path, Path]:
    """Write a generated table as CSV to ``path`` and a page about its columns beside it, NAME-about.md; their paths.

    Args:
        name: "alloys".
        path: of the CSV file.
        rows: of the table.
        seed: of everything random.

    Raises:
        OptionError: the name or a number is not valid, ``path`` does not end in .csv, its folder does not exist, or
            one of the files does.
    """
    check_choice("name", name, NAMES)
    from qkan.data import alloys

    file = Path(path)
    page = file.with_name(f"{file.stem}-about.md")
    if file.suffix.lower() != ".csv" or not file.parent.is_dir():
        raise OptionError(f"--out {file} is not a .csv file in an existing folder.")
    for one in (file, page):
        if one.exists():
            raise OptionError(f"{one} exists already; choose another name.")
    table = alloys.alloys(rows, seed).to_csv(index=False)
    write_atomic(page, alloys.about(rows, seed).encode())
    write_atomic(file, table.encode())
    return file, page
