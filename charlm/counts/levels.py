"""N-grams of each length linked with what they begin and end with, and the choice of those that are kept.

An n-gram's gain is what the text loses, in nats, where its probability is what the shorter context
gives:

    gain(s x) = raw(s x) log(p(x | s) / (b(s) p(x | s')))

Left out are those that gain least, but none that a longer one which is kept begins or ends with.
Without that, of n-grams seen as seldom as each other all or none would be kept, which for words and
Chinese characters wastes much of the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.counts.counting import Grams, Ints

Mask = NDArray[np.bool_]
_TOKEN_BITS = 32
_HALVINGS = 40


class Linked(Protocol):
    """N-grams of one length, each with its places among those one shorter: what it ends and begins
    with."""

    @property
    def suffix(self) -> Ints: ...

    @property
    def prefix(self) -> Ints: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Level:
    """N-grams of one length [n], sorted by their tokens, the last one first.

    `suffix` and `prefix` are places among those one shorter, in this order; `place` is that among
    its own length, the first token sorted first; `first` and `last` are tokens.
    """

    suffix: Ints
    prefix: Ints
    first: Ints
    last: Ints
    place: Ints
    raw: Ints
    adjusted: Ints

    def __len__(self) -> int:
        return len(self.suffix)


def levels_of(grams: list[Grams], vocab_size: int) -> list[Level]:
    """Link n-grams to what they begin and end with: levels 0, the empty one, to the longest that has any.

    `grams` is emptied meanwhile.
    """
    none, tokens = np.zeros(vocab_size, np.int32), np.arange(vocab_size, dtype=np.int32)
    shorter = grams.pop(0)
    raw, adjusted = none.astype(np.int64), none.astype(np.int64)
    raw[shorter["first"]], adjusted[shorter["first"]] = shorter["raw"], shorter["adjusted"]
    zero = np.zeros(1, np.int32)
    root = Level(zero, zero, zero, zero, zero, raw.sum(keepdims=True), zero)
    levels = [root, Level(none, none, tokens, tokens, tokens, raw, adjusted)]
    places: Ints = shorter["first"]  # of the n-grams one shorter
    while grams and len(grams[0]):
        found = grams.pop(0)
        suffix = places[np.searchsorted(shorter["number"], found["suffix"])].astype(np.int32)
        levels.append(_linked(levels[-1], suffix, found))
        shorter, places = found, np.arange(len(found), dtype=np.int32)
    return levels


def _linked(shorter: Level, suffix: Ints, found: Grams) -> Level:
    """Return the level of n-grams whose suffixes are known."""
    first, last = found["first"].astype(np.int32), shorter.last[suffix]
    key = _joined(shorter.suffix, shorter.first)
    prefix = np.searchsorted(key, _joined(shorter.prefix[suffix], first)).astype(np.int32)
    place = np.empty(len(found), np.int32)
    place[np.argsort(_joined(shorter.place[prefix], last))] = np.arange(len(found))
    return Level(suffix, prefix, first, last, place, found["raw"].copy(), found["adjusted"].copy())


def _joined(places: Ints, tokens: Ints) -> NDArray[np.int64]:
    """Return numbers in the order of places and then tokens."""
    return places.astype(np.int64) << _TOKEN_BITS | tokens


def chosen(
    levels: Sequence[Linked], gains: Sequence[NDArray[np.float64]], most: int
) -> list[Mask]:
    """Return which n-grams of each level are kept, at most `most` of two tokens and more, and all shorter ones.

    `gains` [n] are those of levels 2 and up; infinite ones, of which there are not more, stay.
    """
    low, high = 0.0, 1.0 + max(gain.max(where=gain < np.inf, initial=0) for gain in gains)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        kept = _above(levels, gains, middle)
        if sum(int(mask.sum()) for mask in kept[2:]) > most:
            low = middle
        else:
            high = middle
    return _above(levels, gains, high)


def _above(
    levels: Sequence[Linked], gains: Sequence[NDArray[np.float64]], least: float
) -> list[Mask]:
    """Return which n-grams of each level gain `least`, or stand in one that does."""
    kept = [np.ones(len(level), np.bool_) for level in levels[:2]]
    kept += [gain >= least for gain in gains]
    for k in range(len(levels) - 1, 2, -1):
        kept[k - 1][levels[k].prefix[kept[k]]] = True
        kept[k - 1][levels[k].suffix[kept[k]]] = True
    return kept


def restricted(levels: Sequence[Level], kept: Sequence[Mask]) -> list[Level]:
    """Return the levels of the n-grams that are kept, up to the longest."""
    found = [levels[0]]
    moved = np.zeros(1, np.int32)  # from a place among the shorter to that among those kept
    for level, mask in zip(levels[1:], kept[1:], strict=True):
        if not mask.any():
            break
        by_place = np.empty(len(level), np.bool_)
        by_place[level.place] = mask
        place = (np.cumsum(by_place, dtype=np.int32) - 1)[level.place[mask]]
        links = moved[level.suffix[mask]], moved[level.prefix[mask]]
        counts = level.raw[mask], level.adjusted[mask]
        found.append(Level(*links, level.first[mask], level.last[mask], place, *counts))
        moved = np.cumsum(mask, dtype=np.int32) - 1
    return found
