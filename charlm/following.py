"""What the units of a network follow: how their values go with what a person can name in the text.

A unit is chosen by its correlation on the first half of a text and measured on the second, so that
the best of thousands is not taken for better than it is. Correlation is no cause: nothing here says
that the network needs the unit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_QUOTES = frozenset('"“”„«»「」『』')


@dataclass(frozen=True)
class Follower:
    """A unit, by its number, which follows a property; `chosen` and `measured` are its correlations
    on the half of the text by which it was chosen, and on the other.
    """

    unit: int
    chosen: float
    measured: float


def properties(text: str) -> dict[str, Values]:
    """Return the properties of each place in a text, after its character was read: [characters]."""
    return {name: np.array(find(text), np.float64) for name, find in _PROPERTIES.items()}


def followers(values: NDArray[np.floating], wanted: Values, count: int) -> list[Follower]:
    """Return the units of values [T, U] that go best with a property [T]; none where it is the
    same throughout a half of the text.
    """
    half = len(wanted) // 2
    chosen = correlations(values[:half], wanted[:half])
    measured = correlations(values[half:], wanted[half:])
    both = np.flatnonzero(np.isfinite(chosen) & np.isfinite(measured))
    best = both[np.argsort(-np.abs(chosen[both]), kind="stable")[:count]]
    return [Follower(int(k), float(chosen[k]), float(measured[k])) for k in best]


def correlations(values: NDArray[np.floating], wanted: Values) -> Values:
    """Return Pearson's correlation of each column of values [T, U] with `wanted` [T]; nan for one
    that is constant.
    """
    if len(wanted) < 2:
        return np.full(values.shape[1], np.nan)
    centred = wanted - wanted.mean()
    means, deviations = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    together = centred @ values / len(wanted) - centred.mean() * means
    spread = wanted.std() * deviations
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-12, together / spread, np.nan)


def _line_position(text: str) -> list[int]:
    found, place = [], 0
    for character in text:
        place = 0 if character == "\n" else place + 1
        found.append(place)
    return found


def _inside_quotes(text: str) -> list[int]:
    return _inside(text, lambda depth, character: 1 - depth if character in _QUOTES else depth)


def _inside_brackets(text: str) -> list[int]:
    def after(depth: int, character: str) -> int:
        category = "" if character in _QUOTES else unicodedata.category(character)
        return max(0, depth + (category == "Ps") - (category == "Pe"))

    return [min(1, depth) for depth in _inside(text, after)]


def _inside(text: str, after: Callable[[int, str], int]) -> list[int]:
    """Return how deep each place is; a blank line ends whatever was left open."""
    found, depth, before = [], 0, ""
    for character in text:
        depth = 0 if before == character == "\n" else after(depth, character)
        found.append(depth)
        before = character
    return found


def _capitals(text: str) -> list[bool]:
    return [character.isupper() for character in text]


def _word_starts(text: str) -> list[bool]:
    inside = [
        character.isalnum() or unicodedata.category(character)[0] == "M" for character in text
    ]
    return [now and not before for before, now in pairwise([False, *inside])]


_PROPERTIES: dict[str, Callable[[str], list[int] | list[bool]]] = {
    "position in the line": _line_position,
    "inside quotes": _inside_quotes,
    "inside brackets": _inside_brackets,
    "capitals": _capitals,
    "word starts": _word_starts,
}
