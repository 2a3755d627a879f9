"""The figures of a converter over sources with their right targets: ratios of sums, which add up
over any number of chunks.

    exact match         sources whose best target is one of their references / sources
    word error rate     the other sources / sources: a target as a whole is the word
    symbol error rate   edits from the best target to the nearest reference / tokens of those
                        references
    nats                -log p of the references' tokens and ends / how many those are, of what
                        training has

A source is counted once however many references it has. Edits are insertions, deletions and
substitutions of one token (Levenshtein distance); of references that are equally near the shortest
counts, so that the figure does not depend on their order and is never flattered. A reference with
a token that the converter does not have is never met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Tally
from charlm.text.batches import Ids
from charlm.text.tokenizers import UNK

_CELLS = 1 << 18  # of the tables of distances that are filled at a time
_NEVER = -1, -2  # tokens of a reference that no target has, and of no reference


def convert_tally(
    said: Sequence[Ids], gold: Sequence[Sequence[Ids]], nats: float, targets: int, read: int
) -> Tally:
    """Add up what a converter said of S distinct sources.

    said: the ids of each source's best target, EOS left out. gold: those of its references, one or
    more. nats: -log p of all references. targets: over how many tokens, EOS counted; those that
    training has not are in neither. read: how many tokens were read.
    """
    edits, lengths, _ = nearest(said, gold)
    sums = {
        "sources": len(said),
        "right": int(np.count_nonzero(edits == 0)),
        "edits": int(edits.sum()),
        "symbols": int(lengths.sum()),
        "unseen": sum(all(UNK in ids for ids in references) for references in gold),
    }
    return Tally(nats, targets, read, sums)


def nearest(
    said: Sequence[Ids], gold: Sequence[Sequence[Ids]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how many edits each target is away from the nearest of its references, how long that
    one is and which it is, [S] each."""
    of = np.repeat(np.arange(len(gold)), [len(references) for references in gold])
    every = [ids for references in gold for ids in references]
    lengths = np.array([len(ids) for ids in every], np.int64)
    edits = distances([said[source] for source in of.tolist()], every)
    order = np.lexsort((lengths, edits, of))
    starts = np.searchsorted(of, np.arange(len(gold)))  # `of` is in order before and after
    first = order[starts]
    return edits[first], lengths[first], first - starts


def distances(said: Sequence[Ids], gold: Sequence[Ids]) -> NDArray[np.int64]:
    """Return the Levenshtein distance of each two sequences of ids, [N]; UNK in `gold` equals
    nothing."""
    found = np.zeros(len(said), np.int64)
    pairs = list(zip(said, gold, strict=True))
    sizes = [max(len(ours), len(theirs)) + 1 for ours, theirs in pairs]
    differ = [
        number
        for number, (ours, theirs) in enumerate(pairs)
        if not np.array_equal(ours, theirs) or UNK in theirs
    ]
    differ.sort(key=sizes.__getitem__)
    while differ:
        longest = sizes[differ[-1]]
        some = differ[-max(1, _CELLS // longest) :]
        found[some] = _table([pairs[number] for number in some])
        del differ[-len(some) :]
    return found


def _table(pairs: Sequence[tuple[Ids, Ids]]) -> NDArray[np.int64]:
    """Return the distances of pairs, which are computed side by side, one row of all their tables
    (Wagner and Fischer 1974) after another.

    The rule of a row, d[j] = min(above[j] + 1, above[j - 1] + (0 or 1), d[j - 1] + 1), looks back
    at itself in its last term only: that one is the least of all d[k] - k before, plus j.
    """
    ours, theirs = [len(of) for of, _ in pairs], [len(of) for _, of in pairs]
    said, gold = _padded([of for of, _ in pairs]), _padded([of for _, of in pairs])
    gold[gold == UNK] = _NEVER[0]
    columns = np.arange(gold.shape[1] + 1)
    row = np.tile(columns, (len(pairs), 1))
    found = row[np.arange(len(pairs)), theirs]  # of those without a token of ours
    for number, token in enumerate(said.T, 1):
        last = np.empty_like(row)
        last[:, 0] = number
        last[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (gold != token[:, None]))
        row = np.minimum.accumulate(last - columns, axis=1) + columns
        ended = np.flatnonzero(np.equal(ours, number))
        found[ended] = row[ended, np.array(theirs)[ended]]
    return found


def _padded(every: Sequence[Ids]) -> NDArray[np.int64]:
    """Return sequences as rows, [N, length of the longest]."""
    rows = np.full((len(every), max(map(len, every))), _NEVER[1], np.int64)
    for row, ids in zip(rows, every, strict=True):
        row[: len(ids)] = ids
    return rows


@dataclass(frozen=True)
class ConvertFigures:
    """The figures of a tally made by `convert_tally`.

    >>> one = np.array([4, 5, 6])
    >>> ConvertFigures(convert_tally([one], [[one[:2]]], 3.0, 3, 6)).symbol_error_rate
    0.5
    """

    tally: Tally

    @property
    def right(self) -> int:
        """How many sources were given one of their references."""
        return self._sum("right")

    @property
    def sources(self) -> int:
        """How many different sources there are."""
        return self._sum("sources")

    @property
    def unseen(self) -> int:
        """How many of them have no reference that the converter could write."""
        return self._sum("unseen")

    @property
    def exact_match(self) -> float | None:
        """right / sources; None over no sources."""
        return _ratio(self.right, self.sources)

    @property
    def word_error_rate(self) -> float | None:
        """The share of the sources that were given another target; None over no sources."""
        return _ratio(self.sources - self.right, self.sources)

    @property
    def symbol_error_rate(self) -> float | None:
        """Edits to the nearest references / tokens of these; None where they have none."""
        return _ratio(self._sum("edits"), self._sum("symbols"))

    @property
    def nats(self) -> float | None:
        """-log p of a token of the references, their ends counted, in nats; None over none."""
        return self.tally.mean

    @property
    def merit(self) -> tuple[int, int]:
        """What weights are chosen by, the exact match, as a ratio of whole numbers: (right, of)."""
        return self.right, self.sources

    def _sum(self, name: str) -> int:
        return int(self.tally.sums.get(name, 0))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
