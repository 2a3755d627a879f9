"""Pairs of a source and a target on disk: the token ids of one part of a corpus, read pair by pair
in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Ids
from charlm.text.labelled_part import encode_texts
from charlm.text.parts import Part, PartBuilder, gather
from charlm.text.reading import Scratch
from charlm.text.tokenizers import Tokenizer

_ROW = np.dtype([
    ("source", np.int64), ("target", np.int64),  # where their ids begin
    ("source_length", np.int32), ("target_length", np.int32),  # EOS not counted
    ("hash", np.uint64),
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class PairPart:
    """Implements `charlm.text.pair_packing.Pairs`.

    sources, targets: all ids end to end, an EOS after each text. longest: of the sources with n
    tokens, how many a target has at most, -1 where there are none, by n. left_out: pairs that had
    more tokens than are read. `digest` identifies the ids.
    """

    sources: Part
    targets: Part
    longest: NDArray[np.int64]
    same_length: int
    left_out: int
    digest: str
    _index: Scratch  # a row for each pair

    def __len__(self) -> int:
        return self.sources.sequences

    @property
    def tokens(self) -> int:
        """How many ids a reading of all pairs takes, an EOS for each source and each target."""
        return len(self.sources) + len(self.targets)

    def pairs(self, numbers: NDArray[np.int64]) -> list[tuple[Ids, Ids]]:
        """Return the ids of some, without EOS."""
        rows = self._rows(numbers)
        both = (
            _cut(part, rows[name], rows[f"{name}_length"].astype(np.int64))
            for part, name in ((self.sources, "source"), (self.targets, "target"))
        )
        return list(zip(*both, strict=True))

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids the sources and the targets of some have, without EOS, [n, 2]."""
        rows = self._rows(numbers)
        return np.stack([rows["source_length"], rows["target_length"]], axis=1).astype(np.int64)

    def hashes(self) -> NDArray[np.uint64]:
        """Return the hash of each source, [n]: equal ones have equal sources."""
        found: NDArray[np.uint64] = self._rows(np.arange(len(self)))["hash"].copy()
        return found

    def _rows(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        return gather(self._index, _ROW, numbers, np.ones_like(numbers))


class PairPartBuilder:
    """Writes a part, some pairs at a time."""

    def __init__(self, source: Tokenizer, target: Tokenizer, longest: int | None) -> None:
        """Prepare; pairs that have more than `longest` tokens on a side are left out."""
        self._tokenizers, self._most = (source, target), longest
        self._ids = PartBuilder(source.size), PartBuilder(target.size)
        self._index = Scratch()
        self._starts = [0, 0]
        self._longest = np.full(1, -1, np.int64)
        self._same = self._left_out = 0

    def add(
        self, sources: Sequence[str], targets: Sequence[str], hashes: NDArray[np.uint64]
    ) -> None:
        """Add pairs, and the hash [n] of each source."""
        sides = [
            _Side(*encode_texts(tokenizer, [as_read(text, tokenizer) for text in texts]))
            for tokenizer, texts in zip(self._tokenizers, (sources, targets), strict=True)
        ]
        kept = np.ones(len(sources), np.bool_)
        if self._most is not None:
            kept = (sides[0].length <= self._most) & (sides[1].length <= self._most)
            self._left_out += int(np.count_nonzero(~kept))
            sides = [side.only(kept) for side in sides]
        self._write(sides, hashes[kept])

    def part(self) -> PairPart:
        """Return the whole, to be read."""
        sources, targets = (ids.part() for ids in self._ids)
        digest = hashlib.sha256(f"{sources.digest} {targets.digest}".encode()).hexdigest()
        counts = self._longest, self._same, self._left_out
        return PairPart(sources, targets, *counts, digest, self._index)

    def _write(self, sides: Sequence[_Side], hashes: NDArray[np.uint64]) -> None:
        rows = np.empty(len(hashes), _ROW)
        rows["hash"] = hashes
        for k, (name, side) in enumerate(zip(("source", "target"), sides, strict=True)):
            after = np.cumsum(side.length + 1)
            rows[name] = self._starts[k] + after - side.length - 1
            rows[f"{name}_length"] = side.length
            self._starts[k] += len(side.ids)
            self._ids[k].append(side.ids, int(side.length.sum()))
        self._index.write(rows.tobytes())
        source, target = (side.length for side in sides)
        self._same += int(np.count_nonzero(source == target))
        room = int(source.max(initial=0)) + 1 - len(self._longest)
        self._longest = np.pad(self._longest, (0, max(0, room)), constant_values=-1)
        np.maximum.at(self._longest, source, target)


class _Side:
    """Texts of one side: their ids [r], an EOS after each, and how many each has without it,
    [n]."""

    def __init__(self, ids: Ids, lengths: NDArray[np.int64]) -> None:
        self.ids, self.length = ids, lengths - 1

    def only(self, kept: NDArray[np.bool_]) -> _Side:
        """Return those that are kept [n]."""
        every = self.length + 1
        return _Side(self.ids[np.repeat(kept, every)], every[kept])


def as_read(text: str, tokenizer: Tokenizer) -> str:
    """Return a text as `encode_texts` takes it: of bytes, it is in Latin-1."""
    if tokenizer.kind != "byte":
        return text
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _cut(part: Part, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[Ids]:
    ids, after = part.gather(starts, lengths), np.cumsum(lengths).tolist()
    return [ids[start:end] for start, end in zip([0, *after], after, strict=False)]
