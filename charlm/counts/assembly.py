"""From lists of n-grams to the table: sorted, with the prefixes and suffixes that are missing put in.

An ARPA file of another program may lack the prefix or the suffix of an n-gram, where it was pruned.
What is put in changes no probability: the p of an n-gram s x that the file does not list is

    p(x | s) = backoff(s) * p(x | s without its first token)

and its own back-off weight is 1, as of a context that the file does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.counts.table import Counts, narrowest
from charlm.errors import DataError

MOST = 5_000_000  # n-grams, each some 200 bytes while they are read
_LEAST_P = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Level:
    """N-grams of one order k, in any order: ids int32 [n, k], p and back-off weights float64 [n]."""

    ids: NDArray[np.int32]
    p: NDArray[np.float64]
    backoff: NDArray[np.float64]


def assemble(levels: list[Level], vocab_size: int, begin: int | None) -> Counts:
    """Return the table of n-grams of orders 1, 2, ...; all tokens must be 1-grams, once and in order.

    Probabilities and back-off weights below what float32 has become its smallest. Raises DataError
    for an n-gram that stands there twice, and where `Counts` does.
    """
    while len(levels) > 1 and not len(levels[-1].p):
        levels = levels[:-1]
    levels = _closed(levels)
    table = _Nodes(vocab_size)
    for level in levels:
        table.add(level)
    p = np.concatenate(table.p[1:])
    below_highest = len(p) + 1 - len(table.p[-1])
    children = np.concatenate([[vocab_size], *table.children])
    return Counts(
        len(levels),
        vocab_size,
        begin,
        np.concatenate([level.ids[:, -1] for level in levels]).astype(narrowest(vocab_size - 1)),
        np.clip(p, _LEAST_P, 1).astype(np.float32),
        children.astype(narrowest(int(children.max()))),
        np.maximum(np.concatenate(table.backoff)[:below_highest], _LEAST_P).astype(np.float32),
    )


def _closed(levels: list[Level]) -> list[Level]:
    """Return sorted levels in which every prefix and suffix is, those put in with a p of NaN."""
    closed: list[Level] = []
    needed = np.empty((0, len(levels)), np.int32)
    size = 0
    for level in reversed(levels):
        closed.append(_sorted(level, needed))
        size += len(closed[-1].p)
        if size > MOST:
            raise DataError(
                f"has more than {MOST:,} n-grams, with their prefixes and suffixes: prune it first"
            )
        needed = np.concatenate([closed[-1].ids[:, :-1], closed[-1].ids[:, 1:]])
    return closed[::-1]


def _sorted(level: Level, needed: NDArray[np.int32]) -> Level:
    """Return the n-grams of a level and those needed beside them [m, k], each once, sorted."""
    listed, put_in = len(level.p), len(needed)
    ids = np.concatenate([level.ids, needed])
    order = np.lexsort(ids.T[::-1])  # stable: an n-gram that is listed comes first
    ids = ids[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    twice = order[~first]
    if (twice < listed).any():
        raise TwiceError(int(twice[twice < listed].min()), level.ids.shape[1])
    kept = order[first]
    p = np.concatenate([level.p, np.full(put_in, np.nan)])[kept]
    return Level(ids[first], p, np.concatenate([level.backoff, np.ones(put_in)])[kept])


class TwiceError(DataError):
    """An n-gram stands there twice: number `row` of those of order `order`."""

    def __init__(self, row: int, order: int) -> None:
        super().__init__(f"an n-gram of order {order} stands in it twice")
        self.row, self.order = row, order


class _Nodes:
    """The table as it grows order by order, the root first: values by node, in a piece for each order."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.p, self.backoff = [np.ones(1)], [np.ones(1)]
        self.children: list[NDArray[np.int64]] = []  # of orders 1, 2, ... but for the highest
        self._keys: list[NDArray[np.int64]] = []  # parent and last token in one number, by order
        self._starts = [0]  # the first node of each order, the root's being 0

    def add(self, level: Level) -> None:
        """Add the next order, sorted, its p computed where it is NaN."""
        parent = self._find(level.ids[:, :-1])
        missing = np.flatnonzero(np.isnan(level.p))
        if len(missing):
            suffix = self._find(level.ids[missing, 1:])
            backoff, p = np.concatenate(self.backoff), np.concatenate(self.p)
            level.p[missing] = backoff[parent[missing]] * p[suffix]
        if len(self.p) > 1:
            start, count = self._starts[-1], len(self.p[-1])
            self.children.append(np.bincount(parent - start, minlength=count))
        self._starts.append(self._starts[-1] + len(self.p[-1]))
        self._keys.append(parent * self.vocab_size + level.ids[:, -1])
        self.p.append(level.p)
        self.backoff.append(level.backoff)

    def _find(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the nodes [n] of n-grams [n, k], which are all there; of none, the root."""
        node = np.zeros(len(ids), np.int64)
        for k in range(ids.shape[1]):
            key = node * self.vocab_size + ids[:, k]
            node = self._starts[k + 1] + np.searchsorted(self._keys[k], key)
        return node
