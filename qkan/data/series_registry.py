"""The named time series, and one call that loads any of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from qkan.data import generators
from qkan.data._csv import listed
from qkan.data.milan import read_milan
from qkan.data.series import Series
from qkan.data.sunspots import read_sunspots
from qkan.errors import DataError, OptionError


class SeriesEntry(NamedTuple):
    """One line of the list of named series; ``points`` is what a call without options returns, empty for files."""

    name: str
    points: str
    channels: str
    origin: str


_LOADERS: dict[str, tuple[Callable[..., Series], str, str, str]] = {
    "damped_pendulum": (
        generators.damped_pendulum,
        "240",
        "angular_velocity, angle",
        "θ'' = -(b/m) θ' - (g/l) sin θ, computed",
    ),
    "bessel_j2": (partial(generators.bessel, 2), "256", "bessel", "J_2(x) on [2, 100], computed"),
    "narma5": (partial(generators.narma, 5), "300", "output, input", "nonlinear ARMA of order 5, computed"),
    "narma10": (partial(generators.narma, 10), "300", "output, input", "nonlinear ARMA of order 10, computed"),
    "delayed_quantum_control": (
        generators.delayed_quantum_control,
        "2200",
        "response",
        "decaying revivals, computed",
    ),
    "sunspots": (read_sunspots, "", "sunspots", "your copy of SILSO's SN_m_tot_V2.0.csv (path=)"),
    "milan": (read_milan, "", "one activity", "your copy of Telecom Italia's daily files (path=, square=, activity=)"),
}


def series_names() -> tuple[str, ...]:
    """Names that :func:`load_series` knows."""
    return tuple(_LOADERS)


def describe_series() -> list[SeriesEntry]:
    """Name, points, channels and origin of every named series; nothing is computed or read."""
    return [SeriesEntry(name, *entry[1:]) for name, entry in _LOADERS.items()]


def load_series(name: str, **options: Any) -> Series:
    """Compute or read a named series.

    Args:
        name: one of :func:`series_names`.
        options: of its generator or reader: :func:`~qkan.data.generators.damped_pendulum`,
            :func:`~qkan.data.generators.bessel`, :func:`~qkan.data.generators.narma`,
            :func:`~qkan.data.generators.delayed_quantum_control`, :func:`~qkan.data.sunspots.read_sunspots`,
            :func:`~qkan.data.milan.read_milan`.

    Raises:
        DataError: the name is unknown, or the reader finds a fault.
        OptionError: an option is unknown or missing.
    """
    if name not in _LOADERS:
        raise DataError(f"The series {name!r} is not known; choose one of {listed(_LOADERS)}.")
    loader = _LOADERS[name][0]
    fixed = len(loader.args) if isinstance(loader, partial) else 0
    function = loader.func if isinstance(loader, partial) else loader
    parameters = list(inspect.signature(function).parameters.values())[fixed:]
    valid = [parameter.name for parameter in parameters]
    unknown = [option for option in options if option not in valid]
    if unknown:
        raise OptionError(f"{unknown[0]}={options[unknown[0]]!r} is not an option of {name!r}; it has {listed(valid)}.")
    missing = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.name not in options]
    if missing:
        raise OptionError(f"The series {name!r} needs {listed(missing)}.")
    return loader(**options)
