"""Whole pairs of a source and a target as an encoder and a decoder read them, each packed end to
end.

A source is fed as its tokens and then one EOS, so an empty one has a step too. A target is to be
predicted with its EOS; what is fed is the token before, and NO_TOKEN at its first step, which
begins with what the encoder said. Sources and targets have different lengths, so each are
laid out in a grid of their own; pair i is text i of both. They are laid out when they are asked
for: a thread that is given some of the pairs lays out those alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.text.batches import Ids
from charlm.text.packing import Layout, WholeBatches, alike, lay_out
from charlm.text.tokenizers import EOS

_STEPS = 32  # of a chunk that is only read, unless a text is longer


class Pairs(Protocol):
    """Pairs of a source's and a target's token ids, by their numbers from 0 on."""

    def __len__(self) -> int: ...

    @property
    def tokens(self) -> int:
        """How many ids a reading of all pairs takes, an EOS for each source and each target."""

    def pairs(self, numbers: NDArray[np.int64]) -> list[tuple[Ids, Ids]]:
        """Return the ids of some, without EOS."""

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids the sources and the targets of some have, without EOS, [n, 2]."""


class PairList:
    """Pairs in memory."""

    def __init__(self, pairs: Sequence[tuple[Ids, Ids]]) -> None:
        self._pairs = pairs
        self._sizes = np.array([(len(source), len(target)) for source, target in pairs], np.int64)
        self._sizes = self._sizes.reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def tokens(self) -> int:
        """How many ids a reading of all pairs takes, an EOS for each source and each target."""
        return int(self._sizes.sum()) + 2 * len(self._pairs)

    def pairs(self, numbers: NDArray[np.int64]) -> list[tuple[Ids, Ids]]:
        """Return the ids of some, without EOS."""
        return [self._pairs[number] for number in numbers.tolist()]

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids the sources and the targets of some have, without EOS, [n, 2]."""
        return np.asarray(self._sizes[numbers])


class PairChunk:
    """N whole pairs. `sources` and `targets` are all ids end to end, an EOS after each text.

    source_length, target_length [N]: how many are each one's, EOS counted. steps: how many steps
    the grids have, unless a text is longer.
    """

    def __init__(
        self, sources: Ids, source_length: NDArray[np.int64], targets: Ids,
        target_length: NDArray[np.int64], steps: int,
    ) -> None:  # fmt: skip
        self.sources, self.source_length = sources, source_length
        self.targets, self.target_length = targets, target_length
        self.steps = steps
        self._source: Layout | None = None
        self._target: Layout | None = None

    @property
    def width(self) -> int:
        """N, the number of pairs: what threads share out."""
        return len(self.source_length)

    @property
    def count(self) -> int:
        """How many targets' tokens there are, EOS counted; all count."""
        return len(self.targets)

    @property
    def read(self) -> int:
        """How many tokens are read, of sources and targets, EOS counted."""
        return len(self.sources) + len(self.targets)

    @property
    def source(self) -> Layout:
        """The sources in the columns of a grid."""
        if self._source is None:
            self._source = lay_out(self.sources, self.source_length, self.steps)
        return self._source

    @property
    def target(self) -> Layout:
        """The targets in the columns of a grid; a step's input is the token before."""
        if self._target is None:
            before = np.roll(self.targets, 1)
            before[np.cumsum(self.target_length) - self.target_length] = NO_TOKEN
            self._target = lay_out(before, self.target_length, self.steps)
        return self._target

    def columns(self, part: slice) -> PairChunk:
        """Return some neighbouring pairs, in the same order."""
        start, stop, _ = part.indices(self.width)
        if (start, stop) == (0, self.width):
            return self
        return PairChunk(
            _some(self.sources, self.source_length, start, stop), self.source_length[start:stop],
            _some(self.targets, self.target_length, start, stop), self.target_length[start:stop],
            self.steps,
        )  # fmt: skip


def _some(ids: Ids, length: NDArray[np.int64], start: int, stop: int) -> Ids:
    """Return the ids of texts `start` to `stop`."""
    begin = int(length[:start].sum())
    return ids[begin : begin + int(length[start:stop].sum())]


def joined(texts: Sequence[Ids]) -> tuple[Ids, NDArray[np.int64]]:
    """Return the ids of texts end to end, an EOS after each, and their lengths [N], EOS counted."""
    length = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    end = np.array([EOS], np.int32)
    pieces = [piece for text in texts for piece in (text, end)]
    return np.concatenate(pieces).astype(np.int32), length


def make_pair_chunk(pairs: Sequence[tuple[Ids, Ids]], steps: int = _STEPS) -> PairChunk:
    """Join the ids of pairs, given without EOS, into a chunk; there is at least one."""
    sources, targets = (joined(texts) for texts in zip(*pairs, strict=True))
    return PairChunk(*sources, *targets, steps)


def lay_out_sources(sources: Sequence[Ids], steps: int = _STEPS) -> Layout:
    """Lay sources out that have no targets yet; they are given without EOS, and there is at least
    one."""
    return lay_out(*joined(sources), steps)


class WholePairBatches(WholeBatches[tuple[Ids, Ids], PairChunk]):
    """A training part as chunks of `batch_size` whole pairs, in an order drawn anew each epoch."""

    _name = "pairs"

    def __init__(self, pairs: Pairs, batch_size: int, steps: int, seed: int) -> None:
        """Prepare; the grids of a chunk have `steps` steps unless a text is longer."""
        super().__init__(len(pairs), batch_size, steps, seed)
        self._pairs = pairs

    def _all_steps(self) -> int:
        return self._pairs.tokens

    def _steps_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return _steps_of(self._pairs, numbers)

    def _items(self, numbers: NDArray[np.int64]) -> Sequence[tuple[Ids, Ids]]:
        return self._pairs.pairs(numbers)

    def _chunk(self, items: Sequence[tuple[Ids, Ids]]) -> PairChunk:
        return make_pair_chunk(items, self.seq_len)


def pair_chunks(pairs: Pairs, steps: int = _STEPS) -> Iterator[tuple[NDArray[np.int64], PairChunk]]:
    """Yield the numbers [N] of some pairs of like length and a chunk of them, until all are
    read."""
    for some in alike(len(pairs), lambda numbers: _steps_of(pairs, numbers)):
        yield some, make_pair_chunk(pairs.pairs(some), steps)


def _steps_of(pairs: Pairs, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many steps some pairs take, both EOS counted, [n]."""
    return np.asarray(pairs.sizes(numbers).sum(axis=1) + 2)
