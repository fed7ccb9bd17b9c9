"""Monthly sunspot numbers from the file that SILSO publishes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from qkan.data import _files
from qkan.data._csv import count, read_bytes
from qkan.data.series import Series
from qkan.errors import DataError

#: Name of the file that SILSO publishes.
FILENAME = "SN_m_tot_V2.0.csv"
#: Where it is.
URL = f"https://www.sidc.be/SILSO/DATA/{FILENAME}"
#: Whose numbers they are, and their licence.
SOURCE = "SILSO, Royal Observatory of Belgium, Brussels: monthly mean total sunspot number, version 2.0, CC BY-NC 4.0"


def read_sunspots(path: str | os.PathLike[str] | None = None) -> Series:
    """Monthly mean total sunspot number since January 1749.

    The file has no header and seven columns separated by semicolons: year, month, decimal year of the middle of the
    month, sunspot number (-1 where missing), its standard deviation, number of observations, and 1 for definitive or 0
    for provisional.

    Args:
        path: of ``SN_m_tot_V2.0.csv`` or of the folder that holds it; otherwise ``$QKAN_DATA_DIR`` and the cache folder
            are searched.

    Returns:
        Channel ``sunspots``; ``time`` in decimal years; ``metadata["provisional"]`` counts months not yet definitive.

    Raises:
        DataError: the file is not there (the message says where to get it), a row is not as described, a month is
            missing or comes twice.
    """
    file = _locate(path)
    months: list[int] = []
    years, values, provisional = [], [], 0
    for number, line in enumerate(read_bytes(file).decode("ascii", "replace").splitlines(), 1):
        if not line.strip():
            continue
        month, year, value, definitive = _row(file, number, line)
        if months and month != months[-1] + 1:
            raise DataError(
                f"{file} goes from {_name(months[-1])} to {_name(month)} in row {number}; no month may be missing."
            )
        months.append(month)
        years.append(year)
        values.append(value)
        provisional += not definitive
    return Series(
        name="sunspots",
        values=np.array(values),
        time=np.array(years),
        channels=("sunspots",),
        unit="sunspot number",
        time_unit="years",
        source=SOURCE,
        description="Monthly mean total sunspot number.",
        notes=_notes(provisional),
        metadata={"file": str(file), "provisional": provisional},
    )


def _notes(provisional: int) -> tuple[str, ...]:
    if not provisional:
        return ()
    return (f"{count(provisional, 'month')} {'is' if provisional == 1 else 'are'} provisional and may change.",)


def _locate(path: str | os.PathLike[str] | None) -> Path:
    given = None if path is None else Path(os.path.expanduser(path))
    if given is not None and not given.is_dir():
        if given.exists():
            return given
        found = None
    else:
        found = _files.find(FILENAME, given)
    if found is None:
        raise DataError(
            f"The sunspot file is not at {_files.cache_dir() / FILENAME if given is None else given}; download "
            f"{URL} and give its path, or put it into $QKAN_DATA_DIR."
        )
    return found


def _row(file: Path, number: int, line: str) -> tuple[int, float, float, bool]:
    """Month counted from year 0, decimal year, sunspot number, whether definitive."""
    cells = [cell.strip() for cell in line.split(";")]
    try:
        if len(cells) != 7:
            raise ValueError
        year, month = int(cells[0]), int(cells[1])
        decimal, value, definitive = float(cells[2]), float(cells[3]), int(cells[6])
        if not 1 <= month <= 12 or definitive not in (0, 1) or not math.isfinite(decimal):
            raise ValueError
    except ValueError:
        raise DataError(
            f"Row {number} of {file} reads {line.strip()[:60]!r}; seven cells separated by semicolons are expected, as "
            "in '1749;01;1749.042;  96.7; -1.0;   -1;1'."
        ) from None
    if not value >= 0 or not math.isfinite(value):
        raise DataError(f"{file} has no sunspot number for {year}-{month:02d} (row {number}); cut the file there.")
    return 12 * year + month - 1, decimal, value, bool(definitive)


def _name(month: int) -> str:
    return f"{month // 12}-{month % 12 + 1:02d}"
