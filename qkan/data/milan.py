"""Telecommunication activity over Milan: one square and activity out of gigabytes of daily files.

The data set (Barlacchi et al., *A multi-source dataset of urban life in the city of Milan and the Province of
Trentino*, Scientific Data 2, 150055, 2015) divides Milan into 100 × 100 squares and counts, for every 10 minutes from
1 November 2013 to 1 January 2014, call detail records per square and country code, times one undisclosed constant.
There are 62 files of about 300 MB, one per local day. A row exists only where something happened, and a cell is empty
where that activity was none: both mean zero.

Formats read, plain or gzipped (``.gz``), the separator and the header being recognised by themselves:

* ``.txt`` as published on Harvard Dataverse: no header, tabs; square, start of the slot in ms since 1970 UTC, country
  code, SMS in, SMS out, call in, call out, internet;
* ``.csv`` as published again on Kaggle: header ``datetime,CellID,countrycode,smsin,smsout,callin,callout,internet``,
  commas, local date and time, slots of one hour (or of ten minutes, which is recognised).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from qkan.data._csv import count
from qkan.data._milan_files import HOW_TO_GET, SLOT, DayFile, Progress, find_days, slots_present, square_range, sums
from qkan.data.series import Series
from qkan.errors import DataError, OptionError, check_choice, check_positive

#: Activities to choose from, in the order of their columns, which follow square, time and country code.
ACTIVITIES = ("sms_in", "sms_out", "call_in", "call_out", "internet")
#: Where the files are from, and their licence.
SOURCE = (
    "Telecom Italia (2015), Telecommunications - SMS, Call, Internet - MI, Harvard Dataverse, "
    "doi:10.7910/DVN/EGZHFV, ODbL 1.0; Barlacchi et al., Sci. Data 2, 150055 (2015)"
)
_CET = timedelta(hours=1)
"""Milan's offset from UTC over the whole of the data set, which no change to or from summer time touches."""
_EPOCH = datetime(1970, 1, 1)


def read_milan(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    square: int,
    activity: str = "sms_in",
    start: str | date | None = None,
    end: str | date | None = None,
    *,
    lost: str = "error",
    progress: bool = False,
) -> Series:
    """Activity of one square per slot, summed over country codes.

    Memory does not grow with the size of the files: they are read in blocks of 1 MiB, and beside a few copies of one
    block only the sums of the slots and the (slot, country) pairs of one day are kept: below 8 MiB in all.

    A slot in which the square has no row while other squares do is a silent one: its value is 0, and
    ``metadata["silent_slots"]`` lists it (seconds since 1970 UTC). A slot that no square has, a day without a file, or
    a day on which the square has no row at all, is lost: an error by default, because a zero would be an invention.

    Args:
        path: a folder, a daily file, or several of them. Files are recognised by their published names
            ``sms-call-internet-mi-YYYY-MM-DD.txt`` or ``.csv``, and ``.gz`` of these.
        square: id of the square, 1 … 10000 (``CellID`` in the CSV files).
        activity: "sms_in", "sms_out", "call_in", "call_out" or "internet".
        start: first slot, in Milan's local time: "2013-11-04", "2013-11-04 12:00", a date or a datetime; otherwise the
            beginning of the first file's day.
        end: slots before it are read, in the same forms; otherwise up to the end of the last file's day.
        lost: "error", or "zero" to fill lost slots with 0 as well and list them in ``metadata["lost_slots"]``.
        progress: show a progress bar (Rich).

    Returns:
        One channel, named like the activity; ``time`` in seconds since 1970-01-01 UTC at the beginning of each slot,
        600 or 3600 apart. Values are proportional to numbers of records, by an undisclosed factor.

    Raises:
        DataError: no such files (the message says how to obtain them), two files for one day, a damaged row, a row that
            comes twice, an unknown square (the message names the range found), or lost slots.
        OptionError: ``activity``, ``square``, ``start``, ``end`` or ``lost`` is not as above.
    """
    check_choice("activity", activity, ACTIVITIES)
    check_choice("lost", lost, ("error", "zero"))
    square = check_positive("square", square)
    days = find_days(path)
    first, last = _range(days, start, end)
    days = [day for day in days if day.midnight < last and day.midnight + 86400 > first]
    if not days:
        raise DataError(f"There is no file for the days from {_local(first)} to {_local(last)}; {HOW_TO_GET}.")
    found: dict[int, float] = {}
    with Progress(progress, sum(day.size for day in days)) as bar:
        for day in days:
            found.update(sums(day, square, ACTIVITIES.index(activity), bar))
    if not found:
        low, high = square_range(days[0])
        raise DataError(
            f"square={square} does not occur in the files from {days[0].date} to {days[-1].date}; "
            f"{days[0].path.name} holds squares from {low} to {high}."
        )
    step = SLOT * 6 if days[0].hourly else SLOT
    time = np.arange(-(-first // step) * step, last, step)
    silent, gone = _missing(days, time, found)
    if gone and lost == "error":
        raise DataError(_lost_sentence(square, gone, step))
    return _series(square, activity, days, time, found, silent, gone)


def _range(days: list[DayFile], start: Any, end: Any) -> tuple[int, int]:
    """First second and the second after the last, from the options or the days of the files."""
    have = (days[0].midnight, days[-1].midnight + 86400)
    first = have[0] if start is None else _moment("start", start)
    last = have[1] if end is None else _moment("end", end)
    if not first < last:
        raise OptionError(f"start={str(start)!r} must lie before end={str(end)!r}.")
    if first < have[0] or last > have[1]:
        raise DataError(
            f"The files reach from {days[0].date} to {days[-1].date}, but {start or days[0].date} to "
            f"{end or days[-1].date} is asked for; get the files of the other days, or narrow start and end."
        )
    return first, last


def _moment(name: str, value: Any) -> int:
    try:
        moment = value if isinstance(value, date) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name}={value!r} must be a date such as '2013-11-04' or '2013-11-04 12:00'.") from None
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        raise OptionError(f"{name}={str(value)!r} must be in Milan's local time, without an offset.")
    return _seconds(moment)


def _seconds(local: date) -> int:
    """Seconds since 1970 UTC of a local date (its midnight) or datetime."""
    moment = local if isinstance(local, datetime) else datetime(local.year, local.month, local.day)
    return int((moment - _CET - _EPOCH).total_seconds())


def _local(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=int(seconds)) + _CET).strftime("%Y-%m-%d %H:%M")


def _missing(days: list[DayFile], time: np.ndarray, found: dict[int, float]) -> tuple[list[int], list[int]]:
    """Slots without a row of the square: those that other squares have, and those that are lost."""
    absent = [int(t) for t in time if int(t) not in found]
    by_day = {day.midnight: day for day in days}
    silent: list[int] = []
    midnights = sorted({_midnight(t) for t in absent})
    for midnight in midnights:
        own = {t for t in absent if _midnight(t) == midnight}
        day = by_day.get(midnight)
        # A whole day without a row is a file cut short, not a silent square: every square is active every day.
        if day is not None and any(_midnight(t) == midnight for t in found):
            silent.extend(slots_present(day, own))
    silent.sort()
    return silent, sorted(set(absent) - set(silent))


def _midnight(seconds: int) -> int:
    shift = int(_CET.total_seconds())
    return (seconds + shift) // 86400 * 86400 - shift


def _lost_sentence(square: int, gone: list[int], step: int) -> str:
    return (
        f"{count(len(gone), 'slot')} of {step // 60} minutes, from {_local(gone[0])} to {_local(gone[-1])}, "
        f"cannot be known for square {square}: no file, a file cut short, or no row of any square; get the files "
        "again, choose start and end around the gap, or fill it with lost='zero'."
    )


def _series(
    square: int,
    activity: str,
    days: list[DayFile],
    time: np.ndarray,
    found: dict[int, float],
    silent: list[int],
    gone: list[int],
) -> Series:
    minutes = int(time[1] - time[0]) // 60 if len(time) > 1 else 10
    notes = []
    if silent:
        notes.append(
            f"0 stands in {count(len(silent), 'slot')} without a record of this square: no record, no activity."
        )
    if gone:
        notes.append(f"0 stands in {count(len(gone), 'slot')} lost from the files, which is not what was measured.")
    return Series(
        name=f"milan_{square}_{activity}",
        values=np.array([found.get(int(t), 0.0) for t in time]),
        time=time,
        channels=(activity,),
        unit="proportional to the number of records",
        time_unit="s since 1970-01-01 UTC",
        source=SOURCE,
        description=f"Activity {activity} in square {square} of Milan per {minutes} minutes, over all country codes.",
        notes=tuple(notes),
        metadata={
            "square": square,
            "activity": activity,
            "minutes": minutes,
            "start": _local(time[0]),
            "end": _local(time[-1] + 60 * minutes),
            "files": tuple(day.path.name for day in days),
            "silent_slots": tuple(silent),
            "lost_slots": tuple(gone),
        },
    )
