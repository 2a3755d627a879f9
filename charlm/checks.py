"""Checks at the door: what a Python caller gives, by the argument's name, before anything is computed from it.

A wrong type is a TypeError, as in Python itself; a value out of range is a UsageError. Numbers of NumPy are numbers;
True and False are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from charlm.errors import UsageError


def text(name: str, value: object) -> str:
    """Return a text; raises TypeError for all else, bytes too."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {_kind(value)}{_advice(value)}")
    return value


def texts(name: str, value: Any) -> Iterator[str]:
    """Return texts one by one; raises TypeError at once for a single text, and at one that is no str as it comes."""
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{name} must be several texts, such as a list of str, not one {_kind(value)}")
    every = several(name, value, "texts, such as a list of str")
    return (
        one if type(one) is str else text(f"{name}[{number}]", one)
        for number, one in enumerate(every)
    )


def several(name: str, value: Any, what: str) -> Iterator[Any]:
    """Return an iterator over values that are `what`; raises TypeError at once for what has none."""
    try:
        return iter(value)
    except TypeError:
        raise TypeError(f"{name} must be several {what}, not {_kind(value)}") from None


def flag(name: str, value: object) -> bool:
    """Return True or False; raises TypeError for all else, 0 and 1 too."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {_kind(value)}")
    return bool(value)


def whole(name: str, value: object, low: int | None = None) -> int:
    """Return a whole number; raises TypeError for all else, 2.0 too, and UsageError for one below `low`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int, not {_kind(value)}")
    if low is not None and value < low:
        raise UsageError(f"{name} must be {low} or more, not {value}")
    return int(value)


def real(name: str, value: object) -> float:
    """Return a number as a float, infinite beyond its range; raises TypeError for all else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, not {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def instance(name: str, value: object, kind: type) -> None:
    """Raise TypeError unless a value is of a class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {_kind(value)}")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _advice(value: object) -> str:
    return ': decode it first, .decode("utf-8", "surrogateescape")' if isinstance(value, bytes | bytearray) else ""
