"""Every error a user can cause. All derive from ``ValueError``, and their message is one plain sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from qkan._owner import check_owner

check_owner()  # every module of the toolkit imports this one


class QKANError(ValueError):
    """Base class: catching it catches every error this toolkit raises on bad input."""


class OptionError(QKANError):
    """An option has a value, or a name, that does not exist."""


class ShapeError(QKANError):
    """A tensor or table does not have the shape the operation needs."""


class DomainError(QKANError):
    """A value lies outside the domain on which a function is defined."""


class RefineError(QKANError):
    """A basis cannot be enlarged without changing the function it represents."""


class NonFiniteError(QKANError):
    """NaN or infinity turned up where finite numbers are needed."""


class DataError(QKANError):
    """A data file or table cannot be used as it is."""


class LeakageError(QKANError):
    """Rows that must be unseen have been seen in training."""


class ModelFileError(QKANError):
    """A saved model is missing, incomplete or of another kind."""


class BackendUnavailable(QKANError):
    """A backend's package, device or account is missing; the message says which and how to get it."""


class JobError(QKANError):
    """A job on a backend failed for good; the message names it."""


class TransientError(QKANError):
    """A job on a backend failed in a way that may pass, such as a lost connection: trying again may help."""


class LedgerError(QKANError):
    """A ledger is in use, damaged, or belongs to another model or other settings."""


class RefineWarning(UserWarning):
    """A refined basis reproduces the old function only approximately."""


class LeakageWarning(UserWarning):
    """A data set is known to reveal its label through its features."""


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise :class:`OptionError` naming the valid choices unless ``value`` is one of them.

    Args:
        name: of the argument, for the message.
        value: what was given.
        choices: the valid values.

    Raises:
        OptionError: ``value`` is none of them.
    """
    valid = list(choices)
    if value not in valid:
        listed = ", ".join(repr(choice) for choice in valid)
        raise OptionError(f"{name}={value!r} is not known; choose one of {listed}.")


def check_positive(name: str, value: object, minimum: int = 1) -> int:
    """Return ``value`` as an int, or raise :class:`OptionError` if it is not a whole number >= minimum.

    Args:
        name: of the argument, for the message.
        value: what was given.
        minimum: the least valid number.

    Raises:
        OptionError: ``value`` is not such a number.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < minimum:
        raise OptionError(f"{name}={value!r} must be a whole number of at least {minimum}.")
    return int(value.__index__())


def check_sizes(name: str, values: object, minimum: int = 1) -> list[int]:
    """Return ``values`` as a list of ints, or raise :class:`OptionError` unless all are whole numbers >= minimum.

    Args:
        name: of the argument, for the message.
        values: what was given.
        minimum: the least valid number.
    """
    if not isinstance(values, (list, tuple)):
        raise OptionError(f"{name}={values!r} must be a list of whole numbers of at least {minimum}.")
    return [check_positive(name, value, minimum) for value in values]


def check_above(name: str, value: object, bound: float) -> float:
    """Return ``value`` as a float, or raise :class:`OptionError` if it is not a finite number > bound.

    Args:
        name: of the argument, for the message.
        value: what was given.
        bound: the number that must be exceeded.

    Raises:
        OptionError: ``value`` is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= bound:
        raise OptionError(f"{name}={value!r} must be a finite number above {bound:g}.")
    return float(value)
