"""Time series with checks: the record every loader and generator returns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from qkan.data._csv import count, listed
from qkan.errors import DataError

MIN_POINTS = 3
"""Fewer cannot hold one window, its target and a check of the spacing."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values of one or more channels at increasing times.

    Attributes:
        name: short name for reports.
        values: (T, channels) float64, finite; (T,) is read as one channel. A read-only copy of what was given.
        time: (T,) float64, finite and strictly increasing; in ``time_unit``. A read-only copy as well.
        channels: one name per channel; the first channel is what windows predict unless they are told otherwise.
        unit: of the values.
        time_unit: of ``time``.
        source: where the numbers come from: a formula with its reference, a file or a citation.
        description: one sentence on what is measured.
        notes: facts a reader of the results should know, one sentence each.
        metadata: what the loader counted or was asked for.

    Raises:
        DataError: shapes do not fit; fewer than 3 points; a value or a time is NaN or infinite; a time does not
            come after the one before it.
    """

    name: str
    values: np.ndarray
    time: np.ndarray
    channels: tuple[str, ...] = ("value",)
    unit: str = ""
    time_unit: str = ""
    source: str = ""
    description: str = ""
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values, time = (
            _floats(self.name, what, given) for what, given in (("values", self.values), ("time", self.time))
        )
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or time.shape != values.shape[:1] or values.shape[1] != len(self.channels):
            raise DataError(
                f"The series {self.name!r} has values of shape {np.shape(self.values)}, time of shape {time.shape} and "
                f"{count(len(self.channels), 'channel name')}; they must be (T, channels), (T,) and one per channel."
            )
        if len(time) < MIN_POINTS or values.shape[1] == 0:
            raise DataError(
                f"The series {self.name!r} has values of shape {values.shape}; give at least {MIN_POINTS} points."
            )
        _check_finite(self.name, values, time, self.channels)
        _check_increasing(self.name, time)
        for array in (values, time):
            array.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __len__(self) -> int:
        """Number of points T."""
        return len(self.time)

    @property
    def sha256(self) -> str:
        """Hash of times and values as little-endian float64, hexadecimal: the same numbers give the same hash."""
        digest = hashlib.sha256()
        for array in (self.time, self.values):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()

    def channel(self, name: str) -> int:
        """Index of a channel.

        Raises:
            DataError: there is no channel of that name.
        """
        if name not in self.channels:
            raise DataError(
                f"The series {self.name!r} has no channel {name!r}; its channels are {listed(self.channels)}."
            )
        return self.channels.index(name)


def _floats(name: str, what: str, given: Any) -> np.ndarray:
    """A float64 copy, so that freezing it does not freeze the caller's array."""
    try:
        return np.array(given, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"The {what} of the series {name!r} are not numbers ({error}).") from None


def _check_finite(name: str, values: np.ndarray, time: np.ndarray, channels: tuple[str, ...]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, channel = (int(i) for i in bad[0])
        raise DataError(
            f"The series {name!r} holds {values[row, channel]} at position {row} (counted from 0) of channel "
            f"{channels[channel]!r}, {count(len(bad), 'such value')} in all; fill or cut out what is missing."
        )
    wrong = np.flatnonzero(~np.isfinite(time))
    if len(wrong):
        raise DataError(f"The series {name!r} has the time {time[wrong[0]]} at position {wrong[0]} (counted from 0).")


def _check_increasing(name: str, time: np.ndarray) -> None:
    back = np.flatnonzero(np.diff(time) <= 0)
    if len(back):
        at = int(back[0]) + 1
        raise DataError(
            f"The times of the series {name!r} must increase, but {float(time[at])!r} at position {at} (counted from "
            f"0) does not come after {float(time[at - 1])!r}; sort the rows and remove duplicates."
        )
