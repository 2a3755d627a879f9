"""From a run of token ids to batches [T, B]: parallel columns, read a chunk at a time, nothing padded.

Every sequence ends with EOS in the ids, so a sequence starts at position 0 and after every EOS. What is fed at
a start is the context's matter:

    sequence   the state is zero and the input is the zero vector
    newline    the state is zero and the input is the newline, so that a document begins as its lines do
    stream     the state and the EOS carry over; only a column's own first step starts from zero, fed EOS
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.errors import UsageError
from charlm.text.tokenizers import EOS

Ids = NDArray[np.int32]

WARM_UP = 256  # tokens fed unscored before a column that starts inside a running text
_RUNNING_COLUMNS = 32  # at most so many columns for a running text
_RUNNING_COLUMN_LENGTH = 1024  # and none shorter than this
_SEQUENCE_COLUMNS = 64
_MOST_AT_ONCE = 1 << 16  # ids in which a start is looked for at a time
_LOOK_FOR_LINES = 1 << 20  # tokens of a text within which a line must end, or it is not one of lines


class StoredIds(Protocol):
    """Token ids that can be read by offset, each sequence ended by EOS."""

    def __len__(self) -> int: ...

    def read(self, start: int, count: int) -> Ids: ...


@runtime_checkable
class Begun(StoredIds, Protocol):
    """Token ids whose sequences say by themselves what is fed where they start: their labels."""

    def firsts(self, start: int, count: int) -> Ids:
        """Return for each of `count` ids from `start` on what is fed where its sequence starts."""


@dataclass(frozen=True)
class Batch:
    """T steps of B columns; every array is [T, B].

    inputs: ids fed in, NO_TOKEN for the zero vector, those past the vocabulary for a label.
    targets: the ids to be predicted. reset: where the state is zeroed before the step. weight: 1
    where the target counts, 0 where it does not.
    """

    inputs: Ids
    targets: Ids
    reset: NDArray[np.bool_]
    weight: NDArray[np.float32]

    @property
    def width(self) -> int:
        """How many columns there are: B."""
        return int(self.targets.shape[1])

    @property
    def count(self) -> int:
        """How many targets count."""
        return int(self.weight.sum())

    @property
    def read(self) -> int:
        """How many tokens are read."""
        return self.targets.size

    def columns(self, part: slice) -> Batch:
        """Return some of the columns."""
        return Batch(self.inputs[:, part], self.targets[:, part], self.reset[:, part], self.weight[:, part])


@dataclass(frozen=True)
class Context:
    """What is fed where a sequence starts: the first input, and whether the state carries over.

    `inside`: a column that begins inside a text is fed the token before it, not what a text begins with.
    """

    first_input: int = NO_TOKEN
    carry: bool = False
    inside: bool = False

    @classmethod
    def of(cls, name: str, newline: int | None = None) -> Context:
        """Return the context of running text, by its name in the settings; `newline` is the id of that token."""
        if name == "newline" and newline is not None:
            return cls(newline, inside=True)
        return cls(EOS, carry=True) if name == "stream" else cls()

    def alone(self) -> Context:
        """Return the context of a text scored by itself: the same first input, nothing carried over."""
        return replace(self, carry=False)


def context_for(wanted: str, stored: StoredIds, newline: int | None) -> str:
    """Return the context's name for a training part; `newline` is None for lines, and where no such token is.

    "auto" is newline where a line of the text begins after one, else sequence (UsageError: newline without any).
    """
    if wanted == "auto":
        return "newline" if newline is not None and _has_lines(stored, newline) else "sequence"
    if wanted == "newline" and newline is None:
        raise UsageError("context newline needs a document of several lines: leave it out or give --sequences document")
    return wanted


def _has_lines(stored: StoredIds, newline: int) -> bool:
    ids = stored.read(0, min(len(stored), _LOOK_FOR_LINES))
    return bool(((ids[:-1] == newline) & (ids[1:] != EOS)).any())


@dataclass(frozen=True)
class Columns:
    """Where B columns begin and how many targets each reads; positions past the end go on at the beginning.

    `unscored[k]` targets at the head of column k have weight 0; so have EOS targets unless `count_eos`, and all
    after a column's own length while longer ones go on.
    """

    stored: StoredIds
    starts: Sequence[int]
    lengths: Sequence[int]
    context: Context
    unscored: Sequence[int] = ()
    count_eos: bool = True

    def chunks(self, steps: int) -> int:
        """Return into how many nearly equal chunks of at most `steps` the longest column is cut."""
        return -(-max(self.lengths, default=0) // steps)

    def chunk(self, number: int, steps: int) -> tuple[int, int]:
        """Return the first step of a chunk, and that after its last: computed, as a list would grow with the text."""
        longest, chunks = max(self.lengths, default=0), self.chunks(steps)
        return round(number * longest / chunks), round((number + 1) * longest / chunks)

    def batches(self, steps: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of at most `steps` steps, from chunk number `first` on."""
        return (self._batch(*self.chunk(number, steps)) for number in range(first, self.chunks(steps)))

    def positions(self, begin: int, end: int) -> NDArray[np.int64]:
        """Return the places in the stored of the targets of steps begin:end, [T, B]."""
        steps = np.arange(begin, end)[:, None]
        return (np.asarray(self.starts)[None, :] + steps) % max(1, len(self.stored))

    def _batch(self, begin: int, end: int) -> Batch:
        ids = np.empty((end - begin + 1, len(self.starts)), np.int32)  # one before, then the targets
        for k, start in enumerate(self.starts):
            ids[:, k] = _read_ring(self.stored, start + begin - 1, len(ids))
        previous, targets = ids[:-1], ids[1:]
        reset = np.zeros(targets.shape, np.bool_) if self.context.carry else previous == EOS
        if begin == 0:
            reset[0] = True
        inputs = np.where(
            self._fed(begin, previous, reset), self._first_inputs(begin, targets), previous
        )
        return Batch(inputs, targets, reset, self._weight(begin, targets))

    def _first_inputs(self, begin: int, targets: Ids) -> Ids | np.int32:
        """Return what is fed where a sequence starts: the same everywhere, or [T, B] where they
        have labels.
        """
        if not isinstance(self.stored, Begun):
            return np.int32(self.context.first_input)
        firsts = np.empty_like(targets)
        for k, start in enumerate(self.starts):
            firsts[:, k] = _around(self.stored.firsts, len(self.stored), start + begin, len(firsts))
        return firsts

    def _fed(self, begin: int, previous: Ids, reset: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where the context's first input is fed, [T, B]: where the state is reset, or texts alone begin."""
        if not self.context.inside:
            return reset
        fed: NDArray[np.bool_] = previous == EOS
        if begin == 0:
            fed[0] |= np.asarray(self.starts) % max(1, len(self.stored)) == 0
        return fed

    def _weight(self, begin: int, targets: Ids) -> NDArray[np.float32]:
        step = np.arange(begin, begin + len(targets))[:, None]
        counted = step < np.asarray(self.lengths)[None, :]
        if len(self.unscored):
            counted &= step >= np.asarray(self.unscored)[None, :]
        if not self.count_eos:
            counted &= targets != EOS
        return counted.astype(np.float32)


class TrainingBatches:
    """The training ids as B columns cut anew each epoch, at an offset drawn from (seed, epoch).

    A column begins at the first start at or after its cut: of a sequence, or of a line in documents (at the cut
    itself where no line starts within T tokens). All columns run as long as the longest, so a few tokens are
    read twice and none is skipped. A corpus too small for B x T shrinks them; `note` says so.
    """

    def __init__(
        self, stored: StoredIds, batch_size: int, seq_len: int, seed: int, context: Context,
        sequences: int | None = None, newline: int | None = None,
    ) -> None:  # fmt: skip
        """Prepare; `sequences` is their number where columns must begin at one, None for documents."""
        self.seq_len = min(seq_len, len(stored))
        self.batch_size = min(batch_size, max(1, len(stored) // self.seq_len), sequences or batch_size)
        self.note: str | None = None
        if (self.batch_size, self.seq_len) != (batch_size, seq_len):
            self.note = (
                f"the training text is short ({len(stored):,} tokens): batches are {self.batch_size} columns of "
                f"{self.seq_len} steps, not {batch_size} of {seq_len}"
            )
        self._stored, self._seed, self._context = stored, seed, context
        self._starts_after = (EOS,) if sequences is not None or newline is None else (EOS, newline)
        self._reach = len(stored) if sequences is not None else self.seq_len
        self._laid_out: tuple[int, Columns] | None = None

    @property
    def size(self) -> int:
        """How many tokens a batch has."""
        return self.batch_size * self.seq_len

    @property
    def shape(self) -> str:
        """How large a batch is, in words."""
        return f"{self.batch_size}x{self.seq_len}"

    def chunks(self, epoch: int) -> int:
        """Return how many batches an epoch has (it may differ by one from epoch to epoch)."""
        return self._columns(epoch).chunks(self.seq_len)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from chunk `first` on."""
        return self._columns(number).batches(self.seq_len, first)

    def _columns(self, epoch: int) -> Columns:
        if self._laid_out is None or self._laid_out[0] != epoch:
            self._laid_out = epoch, self._lay_out(epoch)
        return self._laid_out[1]

    def _lay_out(self, epoch: int) -> Columns:
        rng = np.random.default_rng([self._seed, epoch])
        total = len(self._stored)
        offset = int(rng.integers(total))
        cuts = [offset + k * total // self.batch_size for k in range(self.batch_size)]
        starts = [_next_start(self._stored, cut, self._starts_after, self._reach) for cut in cuts]
        longest = int(np.diff([*starts, starts[0] + total]).max())
        order = rng.permutation(self.batch_size)
        return Columns(self._stored, [starts[k] for k in order], [longest] * self.batch_size, self._context)


def evaluation_columns(
    stored: StoredIds, context: Context, running: bool, count_eos: bool = True, most: int = _SEQUENCE_COLUMNS
) -> Columns:
    """Lay out a whole part so that every target is scored once, in at most `most` columns.

    Sequences stay whole. A running text (a document, or sequences with carried state) is cut into at most 32
    columns, each but the first fed the 256 tokens before it unscored.
    """
    total = len(stored)
    if running:
        count = max(1, min(most, _RUNNING_COLUMNS, total // _RUNNING_COLUMN_LENGTH))
        cuts = [k * total // count for k in range(count + 1)]
        warm = [min(WARM_UP, cut) for cut in cuts[:-1]]
        lengths = [end - cut + extra for cut, end, extra in zip(cuts[:-1], cuts[1:], warm, strict=True)]
        starts = [cut - extra for cut, extra in zip(cuts[:-1], warm, strict=True)]
        return Columns(stored, starts, lengths, context, warm, count_eos)
    found: list[int] = []
    for place in sorted({k * total // most for k in range(most)}):  # of a short text, fewer
        if not found or place > found[-1]:  # else inside a sequence whose end was just found
            found.append(min(total, _next_start(stored, place, (EOS,), total)))
    starts = [start for start in found if start < total]
    return Columns(stored, starts, np.diff([*starts, total]).tolist(), context, (), count_eos)


def _next_start(stored: StoredIds, cut: int, after: tuple[int, ...], reach: int, block: int = 256) -> int:
    """Return the first position at or after `cut` that follows a token of `after`; `cut` if none within `reach`.

    Positions go round: the ids' end is followed by their beginning, and counts as a start.
    """
    total, begin, end = len(stored), cut, cut + reach
    while begin < end:
        count = min(block, end - begin)
        previous = _read_ring(stored, begin - 1, count)
        found = np.flatnonzero(np.isin(previous, after) | ((begin + np.arange(count)) % total == 0))
        if len(found):
            return begin + int(found[0])
        begin, block = begin + count, min(2 * block, _MOST_AT_ONCE)  # a line may have millions of tokens
    return cut


def _read_ring(stored: StoredIds, start: int, count: int) -> NDArray[Any]:
    """Read `count` ids from `start` on, where the end is followed by the beginning."""
    return _around(stored.read, len(stored), start, count)


def _around(read: Callable[[int, int], Ids], total: int, start: int, count: int) -> NDArray[Any]:
    start %= total
    parts = []
    while count > 0:
        parts.append(read(start, min(count, total - start)))
        count -= len(parts[-1])
        start = 0
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
