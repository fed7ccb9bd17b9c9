"""The daily files of the Milan data set: finding them, and reading them in bounded memory."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from qkan.data._csv import listed
from qkan.errors import DataError

BLOCK = 1 << 20
"""Bytes read at a time; what is held is this block, the unfinished line before it, and both joined."""
SLOT = 600
"""Seconds of a slot as published; copies by the hour have six times as many."""
HOW_TO_GET = (
    "get 'Telecommunications - SMS, Call, Internet - MI' from Harvard Dataverse "
    "(https://doi.org/10.7910/DVN/EGZHFV; 62 files, 20 GB; the days you need are enough) and give the folder"
)
_NAME = re.compile(r"sms-call-internet-mi-(\d{4}-\d{2}-\d{2})\.(?:txt|csv)(?:\.gz)?", re.IGNORECASE)
_FIELDS = ("square", "time", "country", "smsin", "smsout", "callin", "callout", "internet")
_ALIASES = {"cellid": "square", "squareid": "square", "datetime": "time", "timeinterval": "time"} | {
    "countrycode": "country",
    "internettraffic": "internet",
    "internettrafficactivity": "internet",
}
_CET_SECONDS = 3600
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class DayFile:
    """A daily file and its layout.

    Attributes:
        path: of the file.
        date: local day in its name.
        size: bytes on disk.
        separator: one byte between cells.
        columns: for each of square, time, country and the five activities, the index of its cell.
        header: whether the first line holds names.
        hourly: whether every time in the first block falls on a full hour.
    """

    path: Path
    date: date
    size: int
    separator: bytes
    columns: tuple[int, ...]
    header: bool
    hourly: bool

    @property
    def midnight(self) -> int:
        """First second of the day, since 1970 UTC."""
        return int((datetime(self.date.year, self.date.month, self.date.day) - _EPOCH).total_seconds()) - _CET_SECONDS


def find_days(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[DayFile]:
    """The daily files at ``path`` in the order of their days.

    Raises:
        DataError: there are none, a name is not a published one, a day comes twice, or the layout is another.
    """
    given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    files = [file for place in given for file in _files_at(Path(os.path.expanduser(place)))]
    if not files:
        raise DataError(f"There is no sms-call-internet-mi-YYYY-MM-DD file in {_shown(given)}; {HOW_TO_GET}.")
    by_day: dict[date, Path] = {}
    for file in files:
        day = _day(file)
        if day in by_day:
            raise DataError(f"{by_day[day]} and {file} hold the same day; remove one of them.")
        by_day[day] = file
    days = [_layout(by_day[day], day) for day in sorted(by_day)]
    other = next((day for day in days if day.hourly != days[0].hourly), None)
    if other is not None:
        raise DataError(f"{days[0].path} and {other.path} have slots of different length; take both from one source.")
    return days


def _shown(given: Sequence[Any]) -> str:
    return str(given[0]) if len(given) == 1 else f"[{listed(str(place) for place in given)}]"


def _files_at(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(file for file in place.iterdir() if _NAME.fullmatch(file.name))
    if not place.exists():
        raise DataError(f"{place} does not exist; {HOW_TO_GET}.")
    return [place]


def _day(file: Path) -> date:
    match = _NAME.fullmatch(file.name)
    try:
        if match is None:
            raise ValueError
        return date.fromisoformat(match[1])
    except ValueError:
        raise DataError(
            f"{file} is not named like a daily file, sms-call-internet-mi-YYYY-MM-DD.txt or .csv, optionally .gz."
        ) from None


def _layout(file: Path, day: date) -> DayFile:
    with _opened(file) as (read, _):
        lines = read(BLOCK).splitlines()
    if not lines:
        raise DataError(f"{file} is empty; get it again.")
    first = lines[0]
    separator = b"\t" if b"\t" in first else b","
    names = [re.sub(r"[^a-z]", "", cell.decode("latin-1").lower()) for cell in first.split(separator)]
    names = [_ALIASES.get(name, name) for name in names]
    header = "square" in names or "time" in names
    if header and (lacking := [field for field in _FIELDS if field not in names]):
        raise DataError(f"The header of {file} lacks {listed(lacking)}; it reads {first.decode('latin-1')[:100]!r}.")
    columns = tuple(names.index(field) for field in _FIELDS) if header else tuple(range(len(_FIELDS)))
    # The last line of the block may be cut; it is left out unless it is the only one.
    rows = lines[header : -1 if len(lines) > 1 + header else None]
    if not rows:
        raise DataError(f"{file} has a header but no rows; get it again.")
    hourly = all(_time(file, row, row.split(separator), columns[1]) % (6 * SLOT) == 0 for row in rows)
    return DayFile(file, day, file.stat().st_size, separator, columns, header, hourly)


def sums(day: DayFile, square: int, activity: int, bar: Callable[[int], None]) -> dict[int, float]:
    """Second at which a slot begins -> activity of the square summed over country codes.

    Raises:
        DataError: a row of the square is damaged, lies outside the day or off the slots, or comes twice.
    """
    total: dict[int, float] = {}
    seen: set[tuple[int, bytes]] = set()
    step = 6 * SLOT if day.hourly else SLOT
    for line, cells in _rows_of(day, square, bar):
        time = _time(day.path, line, cells, day.columns[1])
        if not day.midnight <= time < day.midnight + 86400 or time % step:
            raise DataError(
                f"The row {_text(line)} of {day.path} does not begin a slot of {step // 60} minutes of {day.date}, "
                "local time; the file is damaged or has another name than it should."
            )
        country = _cell(cells, day.columns[2])
        if (time, country) in seen:
            raise DataError(
                f"{day.path} holds square {square}, time {_text(_cell(cells, day.columns[1]))} and country code "
                f"{_text(country)} twice; get the file again."
            )
        seen.add((time, country))
        total[time] = total.get(time, 0.0) + _value(day, line, _cell(cells, day.columns[3 + activity]))
    return total


def slots_present(day: DayFile, slots: set[int]) -> list[int]:
    """Which of ``slots`` any square has; reading stops as soon as all are found."""
    pending = set(slots)
    for block in _blocks(day, lambda _: None):
        for line in block.split(b"\n"):
            if line:
                pending.discard(_time(day.path, line, line.split(day.separator), day.columns[1]))
        if not pending:
            break
    return sorted(slots - pending)


def square_range(day: DayFile) -> tuple[int, int]:
    """Smallest and largest square id of a file."""
    low, high, column = math.inf, -math.inf, day.columns[0]
    for block in _blocks(day, lambda _: None):
        for line in filter(None, block.split(b"\n")):
            cell = _cell(line.split(day.separator), column)
            if not cell.isdigit():
                raise DataError(f"The row {_text(line)} of {day.path} has no square id; get the file again.")
            low, high = min(low, int(cell)), max(high, int(cell))
    return int(low), int(high)


def _rows_of(day: DayFile, square: int, bar: Callable[[int], None]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Lines of one square and their cells.

    The id is searched as bytes, which is faster than splitting every line by two orders of magnitude; a hit counts only
    if it is the cell of the square.
    """
    column = day.columns[0]
    needle = (b"\n" if column == 0 else day.separator) + str(square).encode() + day.separator
    for block in _blocks(day, bar):
        text = b"\n" + block
        at = text.find(needle)
        while at >= 0:
            begin = at + 1 if column == 0 else text.rfind(b"\n", 0, at) + 1
            end = text.find(b"\n", begin)
            end = len(text) if end < 0 else end
            line = text[begin:end]
            cells = line.split(day.separator)
            if _cell(cells, column) == str(square).encode():
                yield line, cells
                at = text.find(needle, end)
            else:
                at = text.find(needle, at + 1)


def _blocks(day: DayFile, bar: Callable[[int], None]) -> Iterator[bytes]:
    """Whole lines, about 1 MiB at a time, without the header, ended by line feeds alone."""
    rest, header = b"", day.header
    with _opened(day.path) as (read, position):
        while True:
            piece = read(BLOCK)
            bar(position())
            cut = piece.rfind(b"\n") + 1 if piece else 0
            if piece and not cut:
                rest += piece
                if len(rest) > BLOCK:
                    raise DataError(f"{day.path} has a line of more than {len(rest)} bytes; it is no daily file.")
                continue
            block = rest + piece[:cut]
            rest = piece[cut:]
            if header:
                block, header = block.partition(b"\n")[2], False
            if block:
                yield block.replace(b"\r", b"") if b"\r" in block else block
            if not piece:
                return


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Callable[[int], bytes], Callable[[], int]]]:
    """``read(bytes)`` and the position in the file on disk; errors of the file in one sentence."""
    try:
        with open(file, "rb") as raw:
            if file.suffix.lower() == ".gz":
                with gzip.open(raw) as unpacked:
                    yield unpacked.read, raw.tell
            else:
                yield raw.read, raw.tell
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is not a whole gzip file ({error}); get it again.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}).") from None


def _time(file: Path, line: bytes, cells: list[bytes], column: int) -> int:
    """Seconds since 1970 UTC of a cell of milliseconds or of local date and time."""
    cell = _cell(cells, column)
    try:
        if cell.isdigit():
            if int(cell) % 1000:
                raise ValueError
            return int(cell) // 1000
        local = datetime.fromisoformat(cell.decode("ascii"))
        seconds = (local - _EPOCH).total_seconds() - _CET_SECONDS
        if seconds != int(seconds):
            raise ValueError
        return int(seconds)
    except (ValueError, TypeError):  # TypeError: with an offset from UTC
        raise DataError(
            f"The row {_text(line)} of {file} has no time that can be read; milliseconds since 1970 or a local date "
            "and time such as 2013-11-01 00:00:00 are expected."
        ) from None


def _cell(cells: list[bytes], column: int) -> bytes:
    """A cell without quotes and blanks; empty where a row ends early, as rows with nothing behind may."""
    return cells[column].strip(b' "\r') if column < len(cells) else b""


def _value(day: DayFile, line: bytes, cell: bytes) -> float:
    if not cell or cell.lower() == b"nan":  # empty cells are no activity; pandas writes them as nan
        return 0.0
    try:
        value = float(cell)
        if not 0 <= value < math.inf:
            raise ValueError
    except ValueError:
        raise DataError(
            f"The row {_text(line)} of {day.path} holds {_text(cell)}, not a number of at least 0."
        ) from None
    return value


def _text(raw: bytes) -> str:
    return repr(raw.decode("latin-1")[:120])


class Progress:
    """A Rich bar over the bytes of all files, or nothing; called with the position in the present file."""

    def __init__(self, show: bool, total: int):
        self.show, self.total = show, total
        self.done = self.last = 0
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if self.show:
            from rich import progress

            columns = (progress.TextColumn("reading"), progress.BarColumn(), progress.DownloadColumn())
            self.bar = progress.Progress(*columns, progress.TimeRemainingColumn()).__enter__()
            self.task = self.bar.add_task("reading", total=self.total)
        return self

    def __call__(self, position: int) -> None:
        if position < self.last:  # the next file has begun
            self.done += self.last
        self.last = position
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + position)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.__exit__(*error)
