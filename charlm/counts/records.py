"""What each target of a text came after, as sorted records: memory is bounded whatever the text.

A record is a target and up to order - 1 tokens before it, the most recent first, so that n-grams
which end alike are neighbours once the records are sorted. A token is written as a code, its place
among those that the text has, plus 1; 0 stands where no token is. As many codes as 64 bits hold
share a word, the target's in the highest bits.

chunk of targets -> distinct records and how often each came -> a sorted run in a file -> blocks of
the merged runs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import StoredIds
from charlm.text.reading import Scratch
from charlm.text.tokenizers import EOS

Words = NDArray[np.uint64]
Rows = NDArray[np.uint64]  # [n, W + 1]: the words of distinct records, then how often each came

CHUNK = (
    1 << 19
)  # targets that are sorted at a time, and about as many records as a merged block has
_NEXT_SAMPLE = 1 << 11  # records from one whose key stays in memory to the next
_WORD = 64  # bits


class Records:
    """The records of the first `count` ids of a text; `begins`: a sequence's beginning is a token before it, EOS.

    `tokens` are those that the text has, rising; the code of tokens[i] is i + 1.
    """

    def __init__(
        self,
        stored: StoredIds,
        vocab_size: int,
        order: int,
        begins: bool,
        count: int,
        chunk: int = CHUNK,
    ) -> None:
        """Find out which tokens there are; the records are counted when `blocks` is called."""
        self.order = order
        self.count = count
        self._stored, self._begins, self._chunk = stored, begins, chunk
        seen = np.zeros(vocab_size, np.bool_)
        seen[EOS] = True  # before a text's beginning
        for start in range(0, count, chunk):
            seen[stored.read(start, min(chunk, count - start))] = True
        self.tokens = np.flatnonzero(seen)
        self._codes = np.cumsum(seen).astype(np.uint64)
        self.bits = len(self.tokens).bit_length()
        self.per_word = _WORD // self.bits
        self.words = -(-order // self.per_word)

    def blocks(self) -> Iterator[Rows]:
        """Yield the distinct records, each once, rising from block to block (StorageError)."""
        chunks = range(0, self.count, self._chunk)
        if len(chunks) == 1:
            yield distinct(self._of_chunk(0))
            return
        runs = _Runs(self.words + 1)
        for start in chunks:
            runs.add(distinct(self._of_chunk(start)))
        yield from runs.merged(self._chunk)

    def place(self, k: int) -> tuple[int, np.uint64]:
        """Return the word in which the k-th most recent code stands (from 1 on), and how far it is shifted there."""
        word, inside = divmod(k - 1, self.per_word)
        return word, np.uint64(_WORD - self.bits * (inside + 1))

    def codes(self, rows: Rows, chosen: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Return the k-th most recent codes of some rows."""
        word, shift = self.place(k)
        codes: Words = rows[chosen, word] >> shift & np.uint64((1 << self.bits) - 1)
        return codes.astype(np.int64)

    def _of_chunk(self, start: int) -> list[Words]:
        """Return the records of the targets from `start` on, word by word [n]."""
        before = self.order - 1
        first = max(0, start - before)
        end = min(start + self._chunk, self.count)
        ids = self._stored.read(first, end - first)
        ids = np.concatenate(
            [np.full(before - (start - first), EOS, ids.dtype), ids]
        )  # [order - 1 + n]
        codes, ends = self._codes[ids], ids == EOS
        words = [np.zeros(end - start, np.uint64) for _ in range(self.words)]
        words[0] |= codes[before:] << self.place(1)[1]
        inside = np.ones(
            end - start, np.bool_
        )  # whether all between is of the target's own sequence
        for k in range(2, self.order + 1):
            there = slice(self.order - k, len(ids) - k + 1)
            own = inside & ~ends[there]
            word, shift = self.place(k)
            words[word] |= (codes[there] * (inside if self._begins else own)) << shift
            inside = own
        return words


def distinct(words: Sequence[Words], counts: NDArray[np.uint64] | None = None) -> Rows:
    """Return sorted distinct records and the sum of what each counts (`counts` [n]; None: 1 each)."""
    n = len(words[0])
    if len(words) == 1 and counts is None:
        words = [np.sort(words[0])]
    else:
        order = np.argsort(words[0]) if len(words) == 1 else np.lexsort(words[::-1])
        words = [word[order] for word in words]
        counts = None if counts is None else counts[order]
    new = np.zeros(n, np.bool_)
    new[:1] = True
    for word in words:
        new[1:] |= word[1:] != word[:-1]
    heads = np.flatnonzero(new)
    rows = np.empty((len(heads), len(words) + 1), np.uint64)
    for column, word in enumerate(words):
        rows[:, column] = word[heads]
    rows[:, -1] = np.diff(heads, append=n) if counts is None else np.add.reduceat(counts, heads)
    return rows


class _Runs:
    """Sorted runs of rows in a file, of which every so many a key stays in memory."""

    def __init__(self, columns: int) -> None:
        self._file, self._columns, self._size = Scratch(), columns, 0
        self._runs: list[tuple[int, int]] = []  # where each begins, and its length
        self._samples: list[NDArray[np.bytes_]] = []

    def add(self, rows: Rows) -> None:
        self._file.write(rows.data)
        self._runs.append((self._size, len(rows)))
        self._size += len(rows)
        self._samples.append(_keys(rows[::_NEXT_SAMPLE]))

    def merged(self, block: int) -> Iterator[Rows]:
        """Yield the distinct rows of all runs in blocks: about `block` rows are read for one."""
        pool = np.sort(np.concatenate(self._samples))
        step = max(1, block // _NEXT_SAMPLE)
        done = [0] * len(self._runs)
        for key in [*np.unique(pool[step::step]), None]:
            upto = [self._below(run, key) for run in range(len(self._runs))]
            rows = np.concatenate(
                [self._read(*piece) for piece in zip(range(len(upto)), done, upto, strict=True)]
            )
            if len(rows):
                yield distinct(
                    [rows[:, column] for column in range(self._columns - 1)], rows[:, -1]
                )
            done = upto

    def _below(self, run: int, key: np.bytes_ | None) -> int:
        """Return how many rows of a run lie below a key (None: all)."""
        length = self._runs[run][1]
        if key is None:
            return length
        sample = int(np.searchsorted(self._samples[run], key))
        if sample == 0:
            return 0
        begin = (sample - 1) * _NEXT_SAMPLE
        rows = self._read(run, begin, min(begin + _NEXT_SAMPLE, length))
        return begin + int(np.searchsorted(_keys(rows), key))

    def _read(self, run: int, begin: int, end: int) -> Rows:
        wide = self._columns * 8
        data = self._file.read((self._runs[run][0] + begin) * wide, (end - begin) * wide)
        return np.frombuffer(data, np.uint64).reshape(-1, self._columns)


def _keys(rows: Rows) -> NDArray[np.bytes_]:
    """Return the records [n] as bytes, whose order is that of the words."""
    words = np.ascontiguousarray(rows[:, :-1], ">u8")
    return words.view(f"S{8 * words.shape[1]}").ravel()
