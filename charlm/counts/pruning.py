"""A smaller table of n-grams, where there is no text to count again: those that say most are kept.

How often an n-gram comes is taken from the table itself, as what it would write in the long run.
With m(s) the share of time at the context s, p backed off as lookups.py has it,

    a(s) = m(s) + sum of a(t) backoff(t) over contexts t whose suffix is s
    flow(s x) = p(x | s) (a(s) - sum of a(t) backoff(t) over such t after which x is listed)

is how often x is written after s by what is listed there; m is what these flows lead to. How often
s x stands in a text is the sum of the flows of all that end in s x, and what its loss costs is the
gain of levels.py, in nats (Stolcke 1998 has p(s) in the place of these, which is wrong of a
Kneser-Ney table, whose shorter n-grams do not say how often they come). What is kept has its p, and
back-off weights follow from it anew:

    backoff(s) = (1 - sum of p(x | s)) / (1 - sum of p(x | s'))        over what is kept
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.counts.labelled import AnyCounts, LabelCounts
from charlm.counts.levels import chosen
from charlm.counts.lookups import Nodes, Trie
from charlm.counts.table import Counts, narrowest
from charlm.text.tokenizers import EOS

Floats = NDArray[np.float64]

_MOST_STEPS = 60  # of the walk in the long run
_SETTLED = 1e-3  # of its share of time moves in a step
_LEAST = 1e-9  # of what is left for unlisted tokens


@dataclass(frozen=True)
class _Edges:
    """The n-grams of a table by node [N + 1], the root first.

    parent: the context that a node's token follows. suffix: the node without the first token.
    """

    trie: Trie
    parent: Nodes
    suffix: Nodes
    p: Floats

    @classmethod
    def of(cls, trie: Trie) -> _Edges:
        M = len(trie.suffix)
        parent = np.repeat(np.arange(M, dtype=np.int32), np.diff(trie.offset))
        suffix = np.zeros(len(parent) + 1, np.int32)
        longer = parent > 0
        suffix[1:][longer] = trie.child(trie.suffix[parent[longer]], trie.token[longer])
        return cls(trie, np.append(np.int32(0), parent), suffix, np.append(1.0, trie.p))

    @property
    def levels(self) -> list[slice]:
        """The nodes of each order, that of the root first."""
        starts = self.trie.starts
        return [slice(*pair) for pair in itertools.pairwise(starts)]


@dataclass(frozen=True)
class _Links:
    """Where the n-grams of a level begin and end among those one shorter."""

    prefix: Nodes
    suffix: Nodes

    def __len__(self) -> int:
        return len(self.prefix)


def pruned(counts: AnyCounts, most: int) -> AnyCounts:
    """Return counts with at most `most` of the n-grams of two tokens and more; those that fit,
    themselves.

    Of several tables each keeps the same share.
    """
    total = sum(counts.ngrams()[1:])
    if total <= most:
        return counts
    if isinstance(counts, Counts):
        return _pruned(counts, most)
    every, *own = (_pruned(its, most * sum(its.ngrams()[1:]) // total) for its in counts.tables)
    return LabelCounts(every, own, counts.share)


def _pruned(counts: Counts, most: int) -> Counts:
    """Return a table with at most `most` n-grams of two tokens and more; one that fits, itself."""
    if sum(counts.ngrams()[1:]) <= most:
        return counts
    edges = _Edges.of(counts.trie)
    gains = _gains(edges)
    levels = edges.levels
    links = [
        _Links(edges.parent[level] - before.start, edges.suffix[level] - before.start)
        for before, level in itertools.pairwise(levels)
    ]
    root = _Links(np.zeros(1, np.int32), np.zeros(1, np.int32))
    kept = chosen([root, *links], [gains[level] for level in levels[2:]], most)
    return _restricted(counts, edges, np.concatenate(kept))


def _gains(edges: _Edges) -> Floats:
    """Return what the loss of each n-gram costs a text, in nats a token [N + 1]."""
    often = _flows(edges)
    for level in reversed(edges.levels[2:]):
        np.add.at(often, edges.suffix[level], often[level])
    backoff = edges.trie.backoff[edges.parent].astype(np.float64)
    gains: Floats = often * np.log(edges.p / (backoff * edges.p[edges.suffix]))
    return gains


def _flows(edges: _Edges) -> Floats:
    """Return how often, in the long run, each n-gram is what writes its last token: shares of 1, [N
    + 1]."""
    trie, M = edges.trie, len(edges.trie.suffix)
    token = np.append(-1, trie.token)
    goes_to = np.where(np.arange(len(token)) < M, np.arange(len(token)), edges.suffix)
    goes_to[token == EOS] = trie.begin
    backoff = trie.backoff.astype(np.float64)
    share: Floats = np.zeros(M)
    share[trie.begin] = 1
    flow: Floats = np.zeros(len(token))
    for _ in range(_MOST_STEPS):
        reached = share.copy()
        for level in reversed(edges.levels[1:-1]):
            np.add.at(reached, trie.suffix[level], reached[level] * backoff[level])
        passed = (reached * backoff)[edges.parent]
        listed: Floats = np.bincount(edges.suffix, passed, len(token)).astype(np.float64)
        flow = np.asarray(edges.p * np.maximum(reached[edges.parent] - listed, 0))
        flow[0] = 0
        flow /= flow.sum()
        after: Floats = np.bincount(goes_to, flow, M).astype(np.float64)
        moved, share = float(np.abs(after - share).sum()), after
        if moved < _SETTLED:
            break
    return flow


def _restricted(counts: Counts, edges: _Edges, kept: NDArray[np.bool_]) -> Counts:
    """Return the table of the nodes that are kept, [N + 1], of which every prefix and suffix is
    one."""
    levels = [level for level in edges.levels if kept[level].any()]
    old = np.flatnonzero(kept[: levels[-1].start])  # what may be a context
    M = len(edges.trie.suffix)
    listed = np.where(kept, edges.p, 0)
    listed[0] = 0
    left = 1 - np.bincount(edges.parent, listed, M)
    shorter = np.where(kept, edges.p[edges.suffix], 0)
    left_shorter = 1 - np.bincount(edges.parent[1:], shorter[1:], M)
    backoff = edges.trie.backoff.astype(np.float64)
    anew = (left_shorter > _LEAST) & (left > 0)
    backoff[anew] = left[anew] / left_shorter[anew]
    backoff[0] = 1
    children = np.bincount(edges.parent[1:][kept[1:]], minlength=M)[old]
    return Counts(
        len(levels) - 1,
        counts.vocab_size,
        counts.begin,
        counts.token[kept[1:]],
        counts.p[kept[1:]],
        children.astype(narrowest(int(children.max()))),
        backoff[old].astype(np.float32),
    )
