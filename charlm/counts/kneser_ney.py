"""Modified Kneser-Ney smoothing in its interpolated form (Chen and Goodman 1999) over the n-grams that are kept.

With c the adjusted counts (charlm.counts.counting), s' the context s without its first token and V tokens,

    p(x | s) = (c(s x) - D(c(s x))) / c(s) + b(s) p(x | s')        where s x is kept; p(x) rests on 1 / V
    p(x | s) = b(s) p(x | s')                                      where it is not
    c(s) b(s) = the sum of D(c(s x)) over what is kept + the count of what follows s and is left out

c(s) counts all that follows s. What is left out counts as often as it was seen, which for n-grams seen once is their
adjusted count. The discounts D(1), D(2), D(3 and more) follow from how many n-grams of that length have adjusted
counts 1 to 4, those left out too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.counts.counting import Grams, Ints, count_ngrams
from charlm.counts.records import CHUNK, Records
from charlm.counts.table import Counts
from charlm.text.batches import StoredIds
from charlm.text.tokenizers import EOS

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

NGRAMS = 700_000  # of two tokens and more that a table keeps
LEAST_DISCOUNT = 0.1  # so that what never followed a context still may
_TOKEN_BITS = 32


def count_text(
    stored: StoredIds,
    vocab_size: int,
    order: int,
    begin: int | None,
    most: int = NGRAMS,
    tokens: int | None = None,
    chunk: int = CHUNK,
) -> Counts:
    """Count the n-grams of a text up to `order`, 1 to 10, and smooth them.

    Every id is a target, EOS too, after what precedes it in its sequence. `begin` is the token whose 1-gram is the
    context at a sequence's beginning (None: none is); only EOS is counted there. `tokens`: read no more than that.
    At most `most` n-grams of two tokens and more are kept, and the order is that of the longest of them. Memory stays
    below 100 MiB whatever the text, with a little more for each million of words in a vocabulary; `chunk`, how many
    targets are sorted at a time, changes nothing else. Raises StorageError where temporary files cannot be written.
    """
    count = len(stored) if tokens is None else min(tokens, len(stored))
    counted = count_ngrams(Records(stored, vocab_size, order, begin == EOS, count, chunk), most)
    levels = _levels(counted.grams, vocab_size)
    p: Floats = np.full(1, 1 / vocab_size)
    smoothed = []
    for shorter, level, seen, floor in zip(
        levels, levels[1:], counted.seen, counted.floors, strict=False
    ):
        p, backoff = _smoothed(shorter, level, _discounts(seen), p, floor > 1)
        smoothed.append((p.astype(np.float32), backoff.astype(np.float32)))
    return _table(levels, smoothed, begin)


@dataclass(frozen=True)
class _Level:
    """N-grams of one length [n], sorted by their tokens, the last one first.

    `suffix` and `prefix` are places among those one shorter, in this order; `place` is that among its own length, the
    first token sorted first; `first` and `last` are tokens.
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


def _levels(grams: list[Grams], vocab_size: int) -> list[_Level]:
    """Link n-grams to what they begin and end with: levels 0, the empty one, to the longest that has any.

    `grams` is emptied meanwhile.
    """
    none, tokens = np.zeros(vocab_size, np.int32), np.arange(vocab_size, dtype=np.int32)
    shorter = grams.pop(0)
    raw, adjusted = none.astype(np.int64), none.astype(np.int64)
    raw[shorter["first"]], adjusted[shorter["first"]] = shorter["raw"], shorter["adjusted"]
    zero = np.zeros(1, np.int32)
    root = _Level(zero, zero, zero, zero, zero, raw.sum(keepdims=True), zero)
    levels = [root, _Level(none, none, tokens, tokens, tokens, raw, adjusted)]
    places: Ints = shorter["first"]  # of the n-grams one shorter
    while grams and len(grams[0]):
        found = grams.pop(0)
        suffix = places[np.searchsorted(shorter["number"], found["suffix"])].astype(np.int32)
        levels.append(_linked(levels[-1], suffix, found))
        shorter, places = found, np.arange(len(found), dtype=np.int32)
    return levels


def _linked(shorter: _Level, suffix: Ints, found: Grams) -> _Level:
    """Return the level of n-grams whose suffixes are known."""
    first, last = found["first"].astype(np.int32), shorter.last[suffix]
    key = _joined(shorter.suffix, shorter.first)
    prefix = np.searchsorted(key, _joined(shorter.prefix[suffix], first)).astype(np.int32)
    place = np.empty(len(found), np.int32)
    place[np.argsort(_joined(shorter.place[prefix], last))] = np.arange(len(found))
    return _Level(suffix, prefix, first, last, place, found["raw"].copy(), found["adjusted"].copy())


def _joined(places: Ints, tokens: Ints) -> NDArray[np.int64]:
    """Return numbers in the order of places and then tokens."""
    return places.astype(np.int64) << _TOKEN_BITS | tokens


def _discounts(seen: NDArray[np.int64]) -> Floats:
    """Return what is taken from adjusted counts of 0, 1, 2, and 3 and more, [4]; `seen` [6] is how many have which.

    Where the estimate is not above 0, or no n-gram has that count, it is replaced.
    """
    y = seen[1] / max(1, seen[1] + 2 * seen[2])
    usual = [k - (k + 1) * y * seen[k + 1] / seen[k] if seen[k] else 0.5 for k in (1, 2, 3)]
    return np.array([0.0, *(max(LEAST_DISCOUNT, d) for d in usual)])


def _smoothed(
    shorter: _Level, level: _Level, discounts: Floats, below: Floats, pruned: bool
) -> tuple[Floats, Floats]:
    """Return p [n] of a level, and the back-off weights of the level below it, whose p is `below`.

    Where the level is `pruned`, what ends the text is taken to be followed by something left out, as nothing tells.
    """
    discount = discounts[np.minimum(level.adjusted, 3)]
    parents = len(shorter)
    raw, adjusted, taken = (
        np.bincount(level.prefix, counts, parents)
        for counts in (level.raw, level.adjusted, discount)
    )
    left_out = np.maximum(shorter.raw - raw, 0.0) if pruned else np.zeros(parents)
    total = np.maximum(adjusted + left_out, 1)
    backoff = np.where(adjusted > 0, (taken + left_out) / total, 1.0)
    return (level.adjusted - discount) / total[level.prefix] + backoff[level.prefix] * below[
        level.suffix
    ], backoff


def _table(
    levels: list[_Level], smoothed: list[tuple[Singles, Singles]], begin: int | None
) -> Counts:
    """Return the levels in the order of a trie."""
    token, p, children, backoff = [], [], [], []
    for shorter, level, (of_level, of_shorter) in zip(levels, levels[1:], smoothed, strict=False):
        forward = np.argsort(level.place)
        token.append(level.last[forward])
        p.append(np.maximum(of_level[forward], np.finfo(np.float32).tiny))
        children.append(np.bincount(shorter.place[level.prefix], minlength=len(shorter)))
        backoff.append(of_shorter[np.argsort(shorter.place)])
    backoff[0][:] = 1  # of the empty context: every token is its child
    counts = np.concatenate(children)
    vocab_size = len(levels[1])
    return Counts(
        len(levels) - 1,
        vocab_size,
        begin,
        np.concatenate(token).astype(_narrow(vocab_size - 1)),
        np.concatenate(p),
        counts.astype(_narrow(int(counts.max()))),
        np.concatenate(backoff),
    )


def _narrow(largest: int) -> np.dtype[np.generic]:
    """Return the type of the file for numbers up to `largest`."""
    return np.dtype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.int32)
