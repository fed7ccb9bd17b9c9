"""The reader of the Milan grid: both published formats, gaps, damage, and memory that does not grow."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from qkan.data import load_series, read_milan
from qkan.errors import DataError, OptionError

CET = timezone(timedelta(hours=1))
ACTIVITIES = ("sms_in", "sms_out", "call_in", "call_out", "internet")
COUNTRIES = (0, 39, 33)
Row = tuple[int, datetime, int, tuple[float | None, ...]]


def value(square: int, slot: int, country: int, activity: int) -> float | None:
    """Any number, the same every time; some cells are empty, as in the files."""
    cell = (square * 31 + slot * 17 + country * 7 + activity * 3) % 23
    return None if cell == 0 else cell / 7


def rows(day: str, squares: Iterable[int], minutes: int = 10) -> list[Row]:
    """Every square, slot and country of a day."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=CET)
    return [
        (
            square,
            midnight + timedelta(minutes=minutes * slot),
            country,
            tuple(value(square, slot, country, a) for a in range(5)),
        )
        for square in squares
        for slot in range(24 * 60 // minutes)
        for country in COUNTRIES
    ]


def txt(table: Iterable[Row]) -> str:
    """As published: no header, tabs, milliseconds since 1970 UTC, empty cells."""
    lines = []
    for square, time, country, cells in table:
        shown = ["" if cell is None else repr(cell) for cell in cells]
        lines.append("\t".join([str(square), str(int(time.timestamp()) * 1000), str(country), *shown]))
    return "\n".join(lines) + "\n"


def csv(table: Iterable[Row]) -> str:
    """As published again: header, commas, local time."""
    lines = ["datetime,CellID,countrycode,smsin,smsout,callin,callout,internet"]
    for square, time, country, cells in table:
        shown = ["" if cell is None else repr(cell) for cell in cells]
        lines.append(",".join([time.strftime("%Y-%m-%d %H:%M:%S"), str(square), str(country), *shown]))
    return "\n".join(lines) + "\n"


def write(folder: Path, day: str, text: str, end: str = "txt") -> Path:
    file = folder / f"sms-call-internet-mi-{day}.{end}"
    if end.endswith("gz"):
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text, newline="")
    return file


def expected(square: int, activity: str, slots: int = 144) -> np.ndarray:
    index = ACTIVITIES.index(activity)
    return np.array([sum(value(square, slot, c, index) or 0.0 for c in COUNTRIES) for slot in range(slots)])


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_published_txt(tmp_path, activity):
    # Square 39 is also a country code and 1 a part of other ids: only the cell of the square counts.
    for day in ("2013-11-02", "2013-11-01"):
        write(tmp_path, day, txt(rows(day, (1, 11, 39, 5161))))
    (tmp_path / "README.txt").write_text("not a daily file")
    for square in (1, 11, 39, 5161):
        series = read_milan(tmp_path, square, activity)
        np.testing.assert_allclose(series.values[:, 0], np.tile(expected(square, activity), 2), rtol=1e-14)
    assert series.channels == (activity,)
    assert series.time[0] == 1383260400  # 2013-11-01 00:00 in Milan, as in the published file
    np.testing.assert_array_equal(np.diff(series.time), 600)
    assert series.metadata["files"] == ("sms-call-internet-mi-2013-11-01.txt", "sms-call-internet-mi-2013-11-02.txt")
    assert series.metadata["start"] == "2013-11-01 00:00"
    assert series.metadata["end"] == "2013-11-03 00:00"
    assert series.metadata["silent_slots"] == ()
    assert not series.notes


@pytest.mark.parametrize("minutes", [10, 60])
def test_published_csv(tmp_path, minutes):
    table = rows("2013-11-01", (1, 39, 5161), minutes)
    table.sort(key=lambda row: row[1])  # by time, not by square
    write(tmp_path, "2013-11-01", csv(table), "csv")
    series = read_milan(tmp_path, 39, "internet")
    np.testing.assert_allclose(series.values[:, 0], expected(39, "internet", 1440 // minutes), rtol=1e-14)
    assert series.time[0] == 1383260400
    np.testing.assert_array_equal(np.diff(series.time), 60 * minutes)
    assert series.metadata["minutes"] == minutes


def test_both_formats_and_gzip_give_the_same(tmp_path):
    table = rows("2013-11-04", (7, 8))
    found = []
    for end, form in (("txt", txt), ("csv", csv), ("txt.gz", txt), ("csv.gz", csv)):
        folder = tmp_path / end
        folder.mkdir()
        found.append(read_milan(write(folder, "2013-11-04", form(table), end), 8))
    assert len({series.sha256 for series in found}) == 1
    windows_lines = write(tmp_path, "2013-11-04", csv(table).replace("\n", "\r\n"), "csv")
    assert read_milan([windows_lines], 8).sha256 == found[0].sha256
    assert load_series("milan", path=windows_lines, square=8).sha256 == found[0].sha256


def test_columns_are_found_by_name(tmp_path):
    table = rows("2013-11-04", (7,))
    lines = [line.split(",") for line in csv(table).splitlines()]
    shuffled = "\n".join(",".join(line[i] for i in (7, 2, 0, 1, 3, 4, 5, 6)) for line in lines)
    file = write(tmp_path, "2013-11-04", shuffled, "csv")
    np.testing.assert_allclose(read_milan(file, 7, "internet").values[:, 0], expected(7, "internet"), rtol=1e-14)


def test_rows_that_end_early_and_nan_cells_are_no_activity(tmp_path):
    text = txt(rows("2013-11-04", (7,)))
    stripped = "\n".join(line.rstrip("\t") for line in text.splitlines())
    one = read_milan(write(tmp_path, "2013-11-04", stripped), 7, "internet")
    (tmp_path / "csv").mkdir()
    nan = csv(rows("2013-11-04", (7,))).replace(",,", ",nan,").replace(",,", ",nan,")
    assert read_milan(write(tmp_path / "csv", "2013-11-04", nan, "csv"), 7, "internet").sha256 == one.sha256


def test_start_and_end(tmp_path):
    for day in ("2013-11-01", "2013-11-02", "2013-11-03"):
        write(tmp_path, day, txt(rows(day, (5,))))
    series = read_milan(tmp_path, 5, start="2013-11-01 12:00", end="2013-11-03")
    np.testing.assert_allclose(series.values[:, 0], np.tile(expected(5, "sms_in"), 2)[72:], rtol=1e-14)
    series = read_milan(tmp_path, 5, start=datetime(2013, 11, 2).date())
    assert len(series) == 288
    assert series.metadata["files"][0] == "sms-call-internet-mi-2013-11-02.txt"
    with pytest.raises(DataError, match=r"reach from 2013-11-01 to 2013-11-03, but 2013-10-31 to 2013-11-03 is asked"):
        read_milan(tmp_path, 5, start="2013-10-31")
    with pytest.raises(OptionError, match="start='2013-11-03' must lie before end='2013-11-02'"):
        read_milan(tmp_path, 5, start="2013-11-03", end="2013-11-02")
    for bad in ("yesterday", 5, "2013-11-02T00:00+01:00"):
        with pytest.raises(OptionError, match="start="):
            read_milan(tmp_path, 5, start=bad)


def test_silent_slots_are_zero_and_named(tmp_path):
    table = rows("2013-11-01", (3, 4))
    silent = table[3 * 20][1]
    write(tmp_path, "2013-11-01", txt(row for row in table if row[:2] != (3, silent)))
    series = read_milan(tmp_path, 3)
    want = expected(3, "sms_in")
    want[20] = 0
    np.testing.assert_allclose(series.values[:, 0], want, rtol=1e-14)
    assert series.metadata["silent_slots"] == (int(silent.timestamp()),)
    assert series.notes == ("0 stands in 1 slot without a record of this square: no record, no activity.",)


def test_lost_slots_are_an_error_unless_zero_is_asked_for(tmp_path):
    table = rows("2013-11-01", (3, 4))
    lost = table[3 * 20][1]
    write(tmp_path, "2013-11-01", txt(row for row in table if row[1] != lost))
    message = "1 slot of 10 minutes, from 2013-11-01 03:20 to 2013-11-01 03:20, cannot be known for square 3"
    with pytest.raises(DataError, match=message):
        read_milan(tmp_path, 3)
    series = read_milan(tmp_path, 3, lost="zero")
    assert series.metadata["lost_slots"] == (int(lost.timestamp()),)
    assert "not what was measured" in series.notes[0]
    assert len(read_milan(tmp_path, 3, start="2013-11-01 03:30")) == 123


def test_a_missing_day_and_a_file_cut_short_are_lost(tmp_path):
    for day in ("2013-11-01", "2013-11-03"):
        write(tmp_path, day, txt(rows(day, (3, 4))))
    with pytest.raises(DataError, match="144 slots of 10 minutes, from 2013-11-02 00:00 to 2013-11-02 23:50"):
        read_milan(tmp_path, 3)
    with pytest.raises(DataError, match="There is no file for the days from 2013-11-02 00:00 to 2013-11-03 00:00"):
        read_milan(tmp_path, 3, start="2013-11-02", end="2013-11-03")
    write(tmp_path, "2013-11-02", txt(rows("2013-11-02", (3,))))  # sorted by square, it ends before square 4
    assert len(read_milan(tmp_path, 3)) == 432
    with pytest.raises(DataError, match=r"144 slots .* cannot be known for square 4"):
        read_milan(tmp_path, 4)


def damaged(change: Callable[[str], str]) -> str:
    return change(txt(rows("2013-11-01", (3, 4))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            damaged(lambda text: text + text.splitlines()[0] + "\n"),
            r"holds square 3, time '1383260400000' and .* twice",
        ),
        (
            damaged(lambda text: text.replace("3\t1383260400000\t0\t", "3\t1383260400000\t0\tx", 1)),
            "not a number of at",
        ),
        (
            damaged(lambda text: text.replace("3\t1383260400000\t0\t", "3\t1383260400000\t0\t-", 1)),
            "not a number of at",
        ),
        (damaged(lambda text: text.replace("3\t1383260400000", "3\t1383260400001", 1)), "has no time that can be read"),
        (damaged(lambda text: text.replace("3\t1383260400000", "3\tsoon", 1)), "has no time that can be read"),
        (damaged(lambda text: text.replace("3\t1383260400000", "3\t1383260460000", 1)), "does not begin a slot of 10"),
        (txt(rows("2013-11-02", (3, 4))), "does not begin a slot of 10 minutes of 2013-11-01"),
        ("", "is empty"),
        ("datetime,CellID,countrycode,smsin,smsout,callin,callout\n", "lacks 'internet'"),
        ("datetime,CellID,countrycode,smsin,smsout,callin,callout,internet\n", "has a header but no rows"),
    ],
)
def test_damage_is_one_sentence(tmp_path, text, message):
    write(tmp_path, "2013-11-01", text)
    with pytest.raises(DataError, match=message) as caught:
        read_milan(tmp_path, 3)
    assert "\n" not in str(caught.value)


def test_wrong_requests(tmp_path):
    write(tmp_path, "2013-11-01", txt(rows("2013-11-01", (3, 4, 250))))
    with pytest.raises(DataError, match=r"square=99 does not occur .* holds squares from 3 to 250\."):
        read_milan(tmp_path, 99)
    with pytest.raises(OptionError, match="activity='sms' is not known; choose one of 'sms_in', 'sms_out'"):
        read_milan(tmp_path, 3, "sms")
    with pytest.raises(OptionError, match="square=0"):
        read_milan(tmp_path, 0)
    with pytest.raises(OptionError, match="lost='nan'"):
        read_milan(tmp_path, 3, lost="nan")
    write(tmp_path, "2013-11-01", csv(rows("2013-11-01", (3,))), "csv")
    with pytest.raises(DataError, match="hold the same day; remove one of them"):
        read_milan(tmp_path, 3)
    (tmp_path / "sms-call-internet-mi-2013-11-01.csv").unlink()
    write(tmp_path, "2013-11-02", csv(rows("2013-11-02", (3,), 60)), "csv")
    with pytest.raises(DataError, match="have slots of different length"):
        read_milan(tmp_path, 3)


def test_no_files(tmp_path):
    message = r"get 'Telecommunications - SMS, Call, Internet - MI' from Harvard Dataverse .*10\.7910/DVN/EGZHFV"
    with pytest.raises(DataError, match=f"There is no sms-call-internet-mi-YYYY-MM-DD file in .*; {message}"):
        read_milan(tmp_path, 3)
    with pytest.raises(DataError, match=f"does not exist; {message}"):
        read_milan(tmp_path / "none", 3)
    for name in ("data.txt", "sms-call-internet-mi-2013-13-01.txt"):
        (tmp_path / name).write_text("1\n")
        with pytest.raises(DataError, match="is not named like a daily file"):
            read_milan(tmp_path / name, 3)
        (tmp_path / name).unlink()
    whole = gzip.compress(txt(rows("2013-11-01", (3,))).encode())
    (tmp_path / "sms-call-internet-mi-2013-11-01.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a whole gzip file"):
        read_milan(tmp_path, 3)


def test_progress_bar(tmp_path, capsys):
    write(tmp_path, "2013-11-01", txt(rows("2013-11-01", (3,))))
    read_milan(tmp_path, 3, progress=True)
    assert "reading" in capsys.readouterr().out
    read_milan(tmp_path, 3)
    assert capsys.readouterr() == ("", "")


def peak(folder: Path, square: int) -> int:
    tracemalloc.start()
    try:
        read_milan(folder, square)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", ["txt", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, end):
    """3 MB and 40 MB need the same; the bound in the docstring is 8 MiB."""
    body = (txt if end == "txt" else csv)(rows("2013-11-01", range(100, 200)))
    head, _, body = body.partition("\n") if end == "csv" else ("", "", body)
    peaks = []
    for name, copies in (("small", 1), ("large", 14)):
        folder = tmp_path / name
        folder.mkdir()
        with open(folder / f"sms-call-internet-mi-2013-11-01.{end}", "w") as file:
            file.write(head + "\n" if head else "")
            for copy in range(copies):  # other squares each time: 100 becomes 1000100, 1001100, …
                separator = "\t" if end == "txt" else ","
                if copy == 0:
                    file.write(body)
                else:
                    prefix = f"{100 + copy}"
                    lines = (line.split(separator) for line in body.splitlines())
                    column = 0 if end == "txt" else 1
                    file.writelines(
                        separator.join([*line[:column], prefix + line[column], *line[column + 1 :]]) + "\n"
                        for line in lines
                    )
        peaks.append(peak(folder, 150))
    size = (tmp_path / "large" / f"sms-call-internet-mi-2013-11-01.{end}").stat().st_size
    assert size > 2.5e7
    print(f"peak memory {peaks[0]} and {peaks[1]} bytes; file {size}")
    assert peaks[1] < 8 * 2**20
    assert peaks[1] < 1.1 * peaks[0]
