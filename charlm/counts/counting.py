"""From sorted records to the n-grams of every length: how often each was seen, and after how many different tokens.

N-grams that end alike are neighbours among the records, so one pass finds, for every length k,

    raw       how often an n-gram was seen: the sum of its records
    kinds     after how many different tokens: the (k + 1)-grams that begin within its records
    adjusted  what Kneser and Ney count: raw for the longest and for those that begin where a text does, else kinds

Those seen too seldom are left out while they are counted, so that memory is bounded; what is left
out in the end depends on the whole text alone. An n-gram is never seen more often than what it
begins or ends with, and the least count asked for rises with the length: so each n-gram that is
kept has all that it begins and ends with kept too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.counts.records import Records, Rows
from charlm.text.tokenizers import EOS

Ints = NDArray[np.integer[Any]]
# N-grams of one length, sorted by their tokens, the last one first. Fields: `number` counts all n-grams of
# that length, those left out too; `suffix` is the number of the n-gram without its first token, `first`;
# `raw` and `adjusted` are counts.
Grams = NDArray[np.void]

_HIGHEST = (
    1 << 14
)  # the highest count below which n-grams are left out; if that does not do, whole lengths are


@dataclass
class Counted:
    """The n-grams that are kept, of length 1 first, and how many n-grams of each length have adjusted counts 0 to 5.

    `seen` is [order, 6], over all n-grams; its last column stands for 5 and more. `floors` are the
    least raw counts of what is here, `safe` those with which no more would be than were asked for.
    """

    grams: list[Grams]
    seen: NDArray[np.int64]
    floors: list[int]
    safe: list[int]


@dataclass
class _Length:
    """What is known of the n-grams of one length so far; `number` is that of the last one begun, `open` that one."""

    open: Grams
    kept: list[Grams] = field(default_factory=list)
    number: int = -1


def count_ngrams(records: Records, most: int, candidates: int) -> Counted:
    """Count the n-grams up to the records' order.

    All tokens are kept, and at most `candidates` n-grams of two and more, from which `most` are
    chosen.
    """
    counter = _Counter(records, candidates)
    for rows in records.blocks():
        counter.add(rows)
    return counter.counted(most)


class _Counter:
    """Reads blocks of records; the last n-gram of each length stays open until another begins."""

    def __init__(self, records: Records, most: int) -> None:
        self._records, self._most, self._order = records, most, records.order
        wide = np.int32 if records.count < 1 << 31 else np.int64
        self._dtype = np.dtype(
            [(name, wide) for name in ("number", "suffix", "first", "raw", "adjusted")]
        )
        self._lengths = [_Length(np.zeros(1, self._dtype)) for _ in range(records.order)]
        self._before: Rows | None = None  # the last record [1, W + 1]
        self._seen = np.zeros((records.order, 6), np.int64)
        self._raws = np.zeros((records.order, _HIGHEST + 1), np.int64)
        self._floors = [1] * records.order
        self._held = 0  # n-grams of two tokens and more

    def add(self, rows: Rows) -> None:
        """Count the next records [n, W + 1]."""
        counts = np.append(0, np.cumsum(rows[:, -1].astype(np.int64)))  # [n + 1]
        longer, here = None, self._begun(rows, self._order)
        for k in range(self._order, 0, -1):
            shorter = self._begun(rows, k - 1)
            self._close(k, self._split(k, rows, counts, longer, here, shorter))
            longer, here = here, shorter
            self._lengths[k - 1].number += int(longer[-1])
        self._before = rows[-1:]

    def counted(self, most: int) -> Counted:
        """Return what was counted."""
        for k, length in enumerate(self._lengths, start=1):
            self._close(k, length.open)
        self._leave_out()
        grams = []
        for length in self._lengths:
            grams.append(np.concatenate([np.zeros(0, self._dtype), *length.kept]))
            length.kept.clear()
            grams[-1]["first"] = self._records.tokens[grams[-1]["first"] - 1]
        return Counted(grams, self._seen, self._floors, floors(self._raws, most))

    def _begun(self, rows: Rows, k: int) -> Ints:
        """Return how many k-grams began in a block before each of its records and after the last, [n + 1]."""
        begun = np.zeros(len(rows) + 1, np.int32)
        if k > 0:
            np.cumsum(self._begins(rows, k), out=begun[1:])
        return begun

    def _begins(self, rows: Rows, k: int) -> NDArray[np.bool_]:
        """Return which records [n] differ from that before them in the k most recent tokens."""
        found = np.zeros(len(rows), np.bool_)
        last, shift = self._records.place(k)
        for word in range(last + 1):
            codes = rows[:, word] >> shift if word == last else rows[:, word]
            found[1:] |= codes[1:] != codes[:-1]
            if self._before is not None:
                before = self._before[0, word]
                found[0] |= codes[0] != (before >> shift if word == last else before)
        if self._before is None:
            found[0] = True
        return found

    def _split(
        self, k: int, rows: Rows, counts: Ints, longer: Ints | None, here: Ints, shorter: Ints
    ) -> Grams:
        """Return the k-grams that end in a block; the last that began is left open."""
        length = self._lengths[k - 1]
        heads = np.flatnonzero(here[1:] != here[:-1])
        grams = np.zeros(1 + len(heads), self._dtype)
        grams[0] = length.open[0]
        begun = grams[1:]
        begun["number"] = length.number + 1 + np.arange(len(heads))
        begun["suffix"] = shorter[heads + 1] + (self._lengths[k - 2].number if k > 1 else 0)
        begun["first"] = self._records.codes(rows, heads, k)
        edges = np.concatenate([[0], heads, [len(rows)]])
        grams["raw"] += np.diff(counts[edges]).astype(grams["raw"].dtype)
        if longer is not None:
            grams["adjusted"] += np.diff(longer[edges])
        length.open = grams[-1:].copy()
        return grams[:-1]

    def _close(self, k: int, grams: Grams) -> None:
        """Count finished k-grams; those whose first token is none are too short."""
        grams = grams[grams["first"] > 0]
        if k == self._order:
            grams["adjusted"] = grams["raw"]
        elif k > 1:
            grams["adjusted"] = np.where(grams["first"] == EOS + 1, grams["raw"], grams["adjusted"])
        self._seen[k - 1] += np.bincount(np.minimum(grams["adjusted"], 5), minlength=6)
        self._raws[k - 1] += np.bincount(np.minimum(grams["raw"], _HIGHEST), minlength=_HIGHEST + 1)
        if self._floors[k - 1] > 1:
            grams = grams[grams["raw"] >= self._floors[k - 1]]
        self._lengths[k - 1].kept.append(grams)
        self._held += len(grams) if k > 1 else 0
        if self._held > 5 * self._most // 4:
            self._leave_out()

    def _leave_out(self) -> None:
        """Leave out what so far would not be kept: of a longer text, more still would not be."""
        self._floors = floors(self._raws, self._most)
        for length, floor in zip(self._lengths, self._floors, strict=True):
            length.kept = [piece[piece["raw"] >= floor] for piece in length.kept]
        self._held = sum(len(piece) for length in self._lengths[1:] for piece in length.kept)


def floors(raws: Ints, most: int) -> list[int]:
    """Return how often n-grams of each length must have been seen, so that at most `most` of two and more are kept.

    `raws` [order, C + 1] is how many of each length were seen how often (C: that often and more).
    First those seen once are left out, of the greatest length, then of the next down to 3; then
    those seen twice; and so on. The least count for 2 tokens is one less than that for 3 at the end
    of a turn.
    """
    order, highest = len(raws), raws.shape[1]
    kept = np.cumsum(raws[:, ::-1], axis=1)[:, ::-1]  # [order, C + 1]: seen that often and more
    kept = np.append(kept, np.zeros((order, 1), np.int64), axis=1)
    lowest = np.ones((highest, order), np.int64)  # [turns, order]
    lowest[:, 2:] = np.arange(1, highest + 1)[:, None]
    if order > 1:
        lowest[:, 1] = np.maximum(1, np.arange(highest))
        lowest[-1, 1] = highest
    sizes = np.take_along_axis(kept.T, lowest, axis=0)[:, 1:].sum(axis=1)  # [turns]
    turn = int(np.argmax(sizes <= most))
    for k in range(order - 1, 0, -1) if turn > 0 else ():
        part = [*lowest[turn - 1, :k].tolist(), *lowest[turn, k:].tolist()]
        if sum(kept[j, part[j]] for j in range(1, order)) <= most:
            return part
    return [int(floor) for floor in lowest[turn]]
