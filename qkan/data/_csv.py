"""Reading a CSV file as text, strictly, and deciding what each column holds."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from qkan.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING_CODES = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "?", "."})
"""Cells read as missing, in any case. "None" and "-" are not: they can be a symptom and a Rhesus factor."""
_LONGEST_CODE = max(map(len, MISSING_CODES))

Kind = Literal["empty", "numeric", "categorical", "mixed"]


@dataclass(frozen=True, eq=False)
class RawCSV:
    """A CSV file as text.

    Attributes:
        path: of the file.
        frame: (rows, columns) of stripped strings, object dtype, NaN where missing.
        rows: (rows,) line of the file on which each row starts; the header is row 1.
        sha256: of the file's bytes, hexadecimal.
    """

    path: Path
    frame: pd.DataFrame
    rows: np.ndarray
    sha256: str


@dataclass(frozen=True, eq=False)
class Column:
    """What a text column holds: its kind, its numbers (NaN where not a number) and where it is not one."""

    kind: Kind
    numbers: pd.Series
    not_numbers: np.ndarray


def listed(names: Iterable[object], limit: int = 20) -> str:
    """``'a', 'b', ...`` for a message, cut after ``limit`` names."""
    every = [repr(name) for name in names]
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest


def count(number: int, thing: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or a :class:`DataError` saying in one sentence why there are none."""
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; give the path of a CSV file.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"The file {path} does not exist.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"The file {str(path)!r} cannot be read ({reason}).") from None
    if not data.strip():
        raise DataError(f"The file {path} is empty; a header row and data rows are needed.")
    return data


def _decode(path: Path, data: bytes) -> str:
    if b"\0" in data:
        raise DataError(f"{path} is not a text file (it holds zero bytes); save the table as CSV in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte 0x{data[error.start]:02x} at position {error.start}); "
            "save it as CSV in UTF-8."
        ) from None


def _records(path: Path, text: str) -> tuple[list[int], list[list[str]]]:
    """Every non-blank record and the line it starts on; all have as many cells as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[int] = []
    records: list[list[str]] = []
    start = 1
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                lines.append(start)
                records.append([cell.strip() for cell in cells])
                if len(cells) != len(records[0]):
                    raise DataError(
                        f"{path} is not a readable CSV file: row {start} has {count(len(cells), 'cell')}, "
                        f"the header has {len(records[0])}."
                    )
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file: {error} (row {start}).") from None
    return lines, records


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and (separator := next((s for s in ";\t" if s in header[0]), None)):
        raise DataError(f"{path} separates its columns with {separator!r}; save it with commas.")
    numbers = [not math.isnan(number(name)) for name in header]
    if any(numbers) and all(n or _is_missing(name) for n, name in zip(numbers, header, strict=True)):
        raise DataError(f"{path} starts with a row of numbers; the first row must hold the column names.")
    nameless = [str(i + 1) for i, name in enumerate(header) if not name]
    if nameless:
        raise DataError(f"{path} has no name in the header for column {nameless[0]}; name it or remove the column.")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} uses a column name more than once: {listed(repeated)}; names must differ.")


def _is_missing(cell: str) -> bool:
    return len(cell) <= _LONGEST_CODE and cell.casefold() in MISSING_CODES


def number(text: object) -> float:
    """The finite or infinite number that ``text`` writes, else NaN.

    Not ``pandas.to_numeric``: before pandas 3 it rounds the last digit of some numbers.
    """
    if not isinstance(text, str) or "_" in text or not text.isascii():
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_raw(path: str | os.PathLike[str]) -> RawCSV:
    """Read a comma-separated UTF-8 file with a header row, every cell as text.

    Raises:
        DataError: the file is missing, a folder, empty, not text, not UTF-8 or not CSV; rows differ in
            length; a column name is missing or repeated; there are no data rows.
    """
    import pandas as pd

    file = Path(os.path.expanduser(path))
    data = read_bytes(file)
    lines, records = _records(file, _decode(file, data))
    if not records:
        raise DataError(f"The file {file} is empty; a header row and data rows are needed.")
    header = records[0]
    _check_header(file, header)
    if len(records) == 1:
        raise DataError(f"{file} has a header but no data rows.")
    cells = [[np.nan if _is_missing(cell) else cell for cell in row] for row in records[1:]]
    frame = pd.DataFrame(cells, columns=pd.Index(header, dtype=object), dtype=object)
    return RawCSV(file, frame, np.array(lines[1:]), hashlib.sha256(data).hexdigest())


def parse(column: pd.Series) -> Column:
    """Decide what a text column holds.

    ``mixed`` means that more than half of the present cells are numbers (or numbers with a decimal comma) and
    the others are not: most likely typing errors, which must not turn a measurement into a category.
    """
    import pandas as pd

    present = column.notna().to_numpy()
    numbers = pd.Series([number(cell) for cell in column], index=column.index, name=column.name, dtype="float64")
    bad = present & numbers.isna().to_numpy()
    if not present.any():
        return Column("empty", numbers, bad)
    if not bad.any():
        return Column("numeric", numbers, bad)
    comma = column[bad].astype(str).str.fullmatch(r"[+-]?\d+,\d+").to_numpy(dtype=bool)
    number_like = int(present.sum()) - int(bad.sum()) + int(comma.sum())
    kind: Kind = "mixed" if 2 * number_like > present.sum() else "categorical"
    return Column(kind, numbers, bad)


def identifier_like(column: pd.Series) -> bool:
    """True for a text column filled in at least half of the rows whose values all differ."""
    present = int(column.notna().sum())
    return 2 * present >= len(column) and present > 1 and column.nunique() == present
