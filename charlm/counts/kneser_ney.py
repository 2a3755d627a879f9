"""Modified Kneser-Ney smoothing in its interpolated form (Chen and Goodman 1999) over the n-grams that are kept.

With c the adjusted counts (charlm.counts.counting), s' the context s without its first token and V
tokens,

    p(x | s) = (c(s x) - D(c(s x))) / c(s) + b(s) p(x | s')        where s x is kept; p(x) rests on 1 / V
    p(x | s) = b(s) p(x | s')                                      where it is not
    c(s) b(s) = the sum of D(c(s x)) over what is kept + the count of what follows s and is left out

c(s) counts all that follows s. N-grams that were left out while counting count as often as they
were seen, which for those seen once is their adjusted count. The discounts D(1), D(2), D(3 and
more) follow from how many n-grams of that length have adjusted counts 1 to 4, those left out too.

Half as many more n-grams than are kept are counted and smoothed. Those seen so often that all such
n-grams would fit are kept, and of the others those that gain most (charlm.counts.levels).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.counts.counting import count_ngrams
from charlm.counts.levels import Level, chosen, levels_of, restricted
from charlm.counts.records import CHUNK, Records
from charlm.counts.table import Counts, narrowest
from charlm.text.batches import StoredIds
from charlm.text.tokenizers import EOS

Floats = NDArray[np.float64]
_Smoothed = tuple[Floats, Floats]  # p of a level, and the back-off weights of the level below it

BYTES = 8_000_000  # that a table takes in a file unless told otherwise, but for large vocabularies' 1-grams
_FLOAT = 4  # bytes
LEAST_DISCOUNT = 0.1  # so that what never followed a context still may
CANDIDATES = 1.5  # times as many as are kept are smoothed before the choice


def count_text(
    stored: StoredIds,
    vocab_size: int,
    order: int,
    begin: int | None,
    most: int | None = None,
    tokens: int | None = None,
    chunk: int = CHUNK,
) -> Counts:
    """Count the n-grams of a text up to `order`, 1 to 10, and smooth them.

    Every id is a target, EOS too, after what precedes it in its sequence. `begin` is the token
    whose 1-gram is the context at a sequence's beginning (None: none is); only EOS is counted
    there. `tokens`: read no more than that. At most `most` n-grams of two tokens and more are kept
    (None: what `budget` says), and the order is that of the longest of them. Memory stays below 150
    MiB whatever the text, by default, and grows with the vocabulary; `chunk`, how many targets are
    sorted at a time, changes nothing else. Raises StorageError where temporary files cannot be
    written.
    """
    count = len(stored) if tokens is None else min(tokens, len(stored))
    most = budget(vocab_size) if most is None else most
    records = Records(stored, vocab_size, order, begin == EOS, count, chunk)
    counted = count_ngrams(records, most, int(CANDIDATES * most))
    levels = levels_of(counted.grams, vocab_size)
    discounts = [_discounts(seen) for seen in counted.seen]
    pruned = [floor > 1 for floor in counted.floors]
    totals = [_total(*of) for of in zip(levels, levels[1:], pruned, strict=False)]
    smoothed = _smoothed(levels, totals, discounts)
    if sum(map(len, levels[2:])) > most:
        kept = chosen(levels, _gains(levels, smoothed, counted.safe), most)
        totals = [total[mask] for total, mask in zip(totals, kept, strict=False)]
        levels = restricted(levels, kept)
        smoothed = _smoothed(levels, totals, discounts)
    return _table(levels, smoothed, begin)


def budget(vocab_size: int) -> int:
    """Return how many n-grams of two tokens and more a table keeps unless told otherwise."""
    children = narrowest(vocab_size)  # the empty context has V
    return BYTES // (2 * _FLOAT + children.itemsize + narrowest(vocab_size - 1).itemsize)


def _gains(levels: list[Level], smoothed: list[_Smoothed], safe: list[int]) -> list[Floats]:
    """Return the gains of the n-grams of levels 2 and up: infinite for those seen often enough to be `safe`."""
    gains = []
    parts = zip(levels[2:], smoothed[:-1], smoothed[1:], safe[1:], strict=False)
    for level, (below, _), (p, backoff), floor in parts:
        gain = level.raw * np.log(p / (backoff[level.prefix] * below[level.suffix]))
        gains.append(np.where(level.raw >= floor, np.inf, gain))
    return gains


def _discounts(seen: NDArray[np.int64]) -> Floats:
    """Return what is taken from adjusted counts of 0, 1, 2, and 3 and more, [4]; `seen` [6] is how many have which.

    Where the estimate is not above 0, or no n-gram has that count, it is replaced.
    """
    y = seen[1] / max(1, seen[1] + 2 * seen[2])
    usual = [k - (k + 1) * y * seen[k + 1] / seen[k] if seen[k] else 0.5 for k in (1, 2, 3)]
    return np.array([0.0, *(max(LEAST_DISCOUNT, d) for d in usual)])


def _total(shorter: Level, level: Level, pruned: bool) -> Floats:
    """Return the adjusted count of all that follows each n-gram of the shorter level.

    Where the level is `pruned`, what ends the text is taken to be followed by something left out,
    as nothing tells.
    """
    raw, adjusted = (
        np.bincount(level.prefix, counts, len(shorter)) for counts in (level.raw, level.adjusted)
    )
    left_out = np.maximum(shorter.raw - raw, 0.0) if pruned else 0.0
    return np.maximum(adjusted + left_out, 1.0)


def _smoothed(
    levels: list[Level], totals: list[Floats], discounts: list[Floats]
) -> list[_Smoothed]:
    """Return p [n] of each level from 1 on, and the back-off weights of the level below it."""
    found = []
    p: Floats = np.full(1, 1 / len(levels[1]))
    for shorter, level, total, by_count in zip(levels, levels[1:], totals, discounts, strict=False):
        discount = by_count[np.minimum(level.adjusted, 3)]
        own = level.adjusted - discount
        backoff = 1 - np.bincount(level.prefix, own, len(shorter)) / total
        p = own / total[level.prefix] + backoff[level.prefix] * p[level.suffix]
        found.append((p, backoff))
    return found


def _table(levels: list[Level], smoothed: list[_Smoothed], begin: int | None) -> Counts:
    """Return the levels in the order of a trie."""
    token, p, children, backoff = [], [], [], []
    for shorter, level, (of_level, of_shorter) in zip(levels, levels[1:], smoothed, strict=False):
        forward = np.argsort(level.place)
        token.append(level.last[forward])
        p.append(np.maximum(of_level[forward].astype(np.float32), np.finfo(np.float32).tiny))
        children.append(np.bincount(shorter.place[level.prefix], minlength=len(shorter)))
        backoff.append(of_shorter[np.argsort(shorter.place)].astype(np.float32))
    backoff[0][:] = 1  # of the empty context: every token is its child
    counts = np.concatenate(children)
    vocab_size = len(levels[1])
    return Counts(
        len(levels) - 1,
        vocab_size,
        begin,
        np.concatenate(token).astype(narrowest(vocab_size - 1)),
        np.concatenate(p),
        counts.astype(narrowest(int(counts.max()))),
        np.concatenate(backoff),
    )
