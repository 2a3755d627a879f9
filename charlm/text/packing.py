"""Whole texts end to end in the columns of a chunk, each from a zero state: nothing is cut and
little stands empty.

A text is fed as its tokens and then one EOS, so an empty one has a step too. Texts of a chunk, the
longest first, each go to the column that they fill best (best-fit decreasing); where the same
columns can be loaded more evenly, each to the emptiest instead (longest processing time first,
Graham 1969), the chunk is shorter and that is taken.
"""

from __future__ import annotations

import bisect
import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.text.batches import Ids
from charlm.text.shuffling import Order
from charlm.text.tokenizers import EOS

_STEPS = 64  # of a chunk that is only read, unless a text is longer
_CHUNK_STEPS = 1 << 14  # steps of all columns together in a chunk that is only read
_AT_ONCE = 1 << 14  # tokens of the batches that are read together: many small reads cost more
_WINDOW = 1 << 12  # texts whose order is computed together, or that are sorted by length together


Item = TypeVar("Item")  # a text, with what belongs to it
Chunk = TypeVar("Chunk")


class Texts(Protocol):
    """Texts as token ids, by their numbers from 0 on, each with a label's number, -1 for none."""

    def __len__(self) -> int: ...

    @property
    def tokens(self) -> int:
        """How many ids a reading of all texts takes, an EOS for each."""

    def texts(self, numbers: NDArray[np.int64]) -> list[Ids]:
        """Return the ids of some, without EOS."""

    def lengths(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids some have, without EOS, [n]."""

    def labels(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the labels of some, [n]."""


class TextList:
    """Texts in memory; without labels, all have -1."""

    def __init__(self, ids: Sequence[Ids], labels: Sequence[int] | None = None) -> None:
        self._ids = ids
        self._lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        self._labels = (
            np.full(len(ids), -1, np.int32) if labels is None else np.asarray(labels, np.int32)
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def tokens(self) -> int:
        """How many ids a reading of all texts takes, an EOS for each."""
        return int(self._lengths.sum()) + len(self._ids)

    def texts(self, numbers: NDArray[np.int64]) -> list[Ids]:
        """Return the ids of some, without EOS."""
        return [self._ids[number] for number in numbers.tolist()]

    def lengths(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids some have, without EOS, [n]."""
        return self._lengths[numbers]

    def labels(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the labels of some, [n]."""
        return self._labels[numbers]


@dataclass(frozen=True)
class TextChunk:
    """N whole texts in T steps of B columns.

    inputs: token ids [T, B], NO_TOKEN where nothing stands. reset [T, B]: where the state is zeroed
    before the step, at each text's first step and at a column's first unused one, so that what lies
    between two resets is a text or the unused end of a column. Of each text, [N]: its column, its
    first step and its length, EOS counted; its label, -1 where none is known; its weight, 0 where
    it does not count.
    """

    inputs: Ids
    reset: NDArray[np.bool_]
    column: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    labels: NDArray[np.int32]
    weight: NDArray[np.float32]

    @property
    def width(self) -> int:
        """B, the number of columns."""
        return int(self.inputs.shape[1])

    @property
    def count(self) -> int:
        """How many texts count."""
        return int(np.count_nonzero(self.weight > 0))

    @property
    def read(self) -> int:
        """How many tokens are the texts' own, EOS counted."""
        return int(self.length.sum())

    def columns(self, part: slice) -> TextChunk:
        """Return some neighbouring columns and the texts in them, in the same order."""
        start, stop, _ = part.indices(self.width)
        inside = (self.column >= start) & (self.column < stop)
        return TextChunk(
            self.inputs[:, part],
            self.reset[:, part],
            self.column[inside] - start,
            self.first[inside],
            self.length[inside],
            self.labels[inside],
            self.weight[inside],
        )


Packed = tuple[NDArray[np.int64], NDArray[np.int64], int, int]


def pack(lengths: NDArray[np.int64], steps: int) -> Packed:
    """Return the column [N] and the first step [N] of texts of these lengths [N], and T and B.

    T is at most `steps`, or the longest text where that is longer.
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order].tolist()
    capacity = max(steps, falling[0])
    places, count = _best_fit(falling, capacity)
    found, even = np.array(places), np.array(_evenly(falling, count))
    used, levelled = (int((placed[:, 1] + falling).max()) for placed in (found, even))
    column, first = np.empty((2, len(lengths)), np.int64)
    column[order], first[order] = (even if levelled < used else found).T
    return column, first, min(used, levelled), count


def deal(lengths: NDArray[np.int64], steps: int) -> Packed:
    """Return what `pack` does, in a hundredth of the time, for very many texts of a few steps each.

    They are dealt out to the columns, the longest first, to and fro, which leaves little empty
    where a column takes several.
    """
    order = np.argsort(-lengths, kind="stable")
    width = -int(-lengths.sum() // max(steps, int(lengths.max())))
    rounds = -(-len(lengths) // width)
    dealt = np.zeros((rounds, width), np.int64)
    dealt.reshape(-1)[: len(lengths)] = lengths[order]
    dealt[1::2] = dealt[1::2, ::-1].copy()
    before = np.cumsum(dealt, axis=0) - dealt
    count = int((before[-1] + dealt[-1]).max())
    columns = np.tile(np.arange(width), (rounds, 1))
    for grid in (before, columns):
        grid[1::2] = grid[1::2, ::-1].copy()
    column, first = np.empty((2, len(lengths)), np.int64)
    column[order], first[order] = (
        columns.reshape(-1)[: len(order)],
        before.reshape(-1)[: len(order)],
    )
    return column, first, count, width


def _best_fit(falling: Sequence[int], capacity: int) -> tuple[list[tuple[int, int]], int]:
    """Return (column, first step) of texts, each in the fullest column with room, and B."""
    room: list[tuple[int, int]] = []  # (free steps, column), rising
    places = []
    for length in falling:
        found = bisect.bisect_left(room, (length, 0))
        free, column = room.pop(found) if found < len(room) else (capacity, len(room))
        places.append((column, capacity - free))
        bisect.insort(room, (free - length, column))
    return places, len(room)


def _evenly(falling: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Put each text into the emptiest of `count` columns; return (column, first step) of each."""
    loads = [(0, column) for column in range(count)]  # a heap
    places = []
    for length in falling:
        load, column = loads[0]
        places.append((column, load))
        heapq.heapreplace(loads, (load + length, column))
    return places


def make_chunk(
    texts: Sequence[Ids], labels: NDArray[np.int32], weight: NDArray[np.float32], steps: int
) -> TextChunk:
    """Pack the ids of N texts, given without EOS, into a chunk; N is 1 or more."""
    length = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    end = np.array([EOS], np.int32)
    ids = np.concatenate([piece for text in texts for piece in (text, end)])
    laid = lay_out(ids, length, steps)
    return TextChunk(laid.inputs, laid.reset, laid.column, laid.first, length, labels, weight)


class Layout(NamedTuple):
    """Where texts stand in the steps of a chunk: as in `TextChunk`."""

    inputs: Ids
    reset: NDArray[np.bool_]
    column: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]


def lay_out(
    ids: Ids,
    length: NDArray[np.int64],
    steps: int,
    packed: Callable[[NDArray[np.int64], int], Packed] | None = None,
) -> Layout:
    """Pack texts, whose ids stand end to end with an EOS after each, by their lengths [N], EOS
    counted.

    `packed` does it, `pack` unless given.
    """
    column, first, count, width = (packed or pack)(length, steps)
    before = np.cumsum(length) - length
    step = np.arange(len(ids)) + np.repeat(first - before, length)
    inputs = np.full((count, width), NO_TOKEN, np.int32)
    inputs[step, np.repeat(column, length)] = ids
    reset = np.zeros((count, width), np.bool_)
    reset[first, column] = True
    used = np.bincount(column, length, width).astype(np.int64)
    short = np.flatnonzero(used < count)
    reset[used[short], short] = True
    return Layout(inputs, reset, column, first, length)


class WholeBatches(ABC, Generic[Item, Chunk]):
    """A training part as chunks of `batch_size` whole texts, the last of an epoch fewer, in an
    order drawn anew.

    The order depends on (seed, epoch) alone. A subclass says how long texts are, reads some and
    packs them.
    """

    _name = "texts"

    def __init__(self, count: int, batch_size: int, steps: int, seed: int) -> None:
        """Prepare for `count` texts; a chunk has `steps` steps unless a text is longer."""
        self.batch_size, self.seq_len = min(batch_size, count), steps
        self.note: str | None = None
        if self.batch_size < batch_size:
            one = f"is only 1 {self._name.removesuffix('s')}"
            few = one if count == 1 else f"are only {count:,} {self._name}"
            self.note = f"there {few} to train on: a batch has no more, not {batch_size:,}"
        self._count, self._seed = count, seed

    @property
    def size(self) -> int:
        """How many tokens a batch has, about."""
        return max(1, round(self._all_steps() * self.batch_size / self._count))

    @property
    def shape(self) -> str:
        """How large a batch is, in words."""
        return f"of {self.batch_size} {self._name}"

    def chunks(self, epoch: int) -> int:
        """Return how many chunks an epoch has: always the same number."""
        return -(-self._count // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of an epoch from chunk `first` on."""
        order = Order(self._count, self._seed, number)
        at_once = self.batch_size * max(1, _WINDOW // self.batch_size)
        for begin in range(first * self.batch_size, len(order), at_once):
            numbers, start = order.at(begin, begin + at_once), 0
            for stop in self._stops(numbers):
                items = self._items(numbers[start:stop])
                for at in range(0, len(items), self.batch_size):
                    yield self._chunk(items[at : at + self.batch_size])
                start = stop

    def _stops(self, numbers: NDArray[np.int64]) -> Iterator[int]:
        """Yield where to cut a row of texts so that the batches of each piece are read at once."""
        sizes = np.add.reduceat(
            self._steps_of(numbers), np.arange(0, len(numbers), self.batch_size)
        )
        for stop in _cuts(sizes.tolist(), _AT_ONCE):
            yield min(stop * self.batch_size, len(numbers))

    @abstractmethod
    def _all_steps(self) -> int:
        """Return how many steps all texts take, EOS counted."""

    @abstractmethod
    def _steps_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many steps some texts take, EOS counted, [n]."""

    @abstractmethod
    def _items(self, numbers: NDArray[np.int64]) -> Sequence[Item]:
        """Return some texts."""

    @abstractmethod
    def _chunk(self, items: Sequence[Item]) -> Chunk:
        """Pack some texts."""


class WholeTextBatches(WholeBatches[tuple[Ids, int], TextChunk]):
    """Labelled texts in batches; `label_weight` [L] is what a text of each label counts, 1 unless
    given.
    """

    def __init__(
        self,
        texts: Texts,
        batch_size: int,
        steps: int,
        seed: int,
        label_weight: NDArray[np.float32] | None = None,
    ) -> None:
        """Prepare; a chunk has `steps` steps unless a text is longer."""
        super().__init__(len(texts), batch_size, steps, seed)
        self._texts, self._label_weight = texts, label_weight

    def _all_steps(self) -> int:
        return self._texts.tokens

    def _steps_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._texts.lengths(numbers) + 1

    def _items(self, numbers: NDArray[np.int64]) -> Sequence[tuple[Ids, int]]:
        labels = self._texts.labels(numbers).tolist()
        return list(zip(self._texts.texts(numbers), labels, strict=True))

    def _chunk(self, items: Sequence[tuple[Ids, int]]) -> TextChunk:
        labels = np.array([label for _, label in items], np.int32)
        weight = (labels >= 0).astype(np.float32)
        if self._label_weight is not None:
            weight *= self._label_weight[labels]
        return make_chunk([ids for ids, _ in items], labels, weight, self.seq_len)


def chunks_of(
    texts: Texts, steps: int = _STEPS, most: int = _CHUNK_STEPS, window: int = _WINDOW
) -> Iterator[tuple[NDArray[np.int64], TextChunk]]:
    """Yield the numbers [N] of some texts and a chunk of them, until all are read; a chunk's texts
    are of like length.

    A chunk has `most` tokens at most, unless a single text has more. Texts are sorted by length
    within each `window`, so that in whatever order they come, answers can be put back into theirs
    by the numbers.
    """
    for some in alike(len(texts), lambda numbers: texts.lengths(numbers) + 1, most, window):
        labels = texts.labels(some)
        yield some, make_chunk(texts.texts(some), labels, (labels >= 0).astype(np.float32), steps)


def alike(
    count: int,
    steps_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    most: int = _CHUNK_STEPS,
    window: int = _WINDOW,
) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of texts of like length, until all are there: `most` steps together, or one
    text.

    `steps_of` returns how many steps texts of some numbers take; they are sorted within each
    `window`.
    """
    for begin in range(0, count, window):
        numbers = np.arange(begin, min(begin + window, count))
        lengths = steps_of(numbers)
        numbers, lengths = numbers[order := np.argsort(lengths, kind="stable")], lengths[order]
        start = 0
        for stop in _cuts(lengths.tolist(), most):
            yield numbers[start:stop]
            start = stop


def _cuts(lengths: Sequence[int], most: int) -> Iterator[int]:
    """Yield where to cut a row of texts so that a piece has `most` tokens at most, or one text."""
    held = 0
    for place, length in enumerate(lengths):
        if held and held + length > most:
            yield place
            held = 0
        held += length
    yield len(lengths)
