"""Token ids on disk: the texts of one split of a corpus, end to end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charlm.text.reading import Scratch
from charlm.text.tokenizers import EOS, UNK

_NEAR = 256  # items between two pieces that are read with them: quicker than a further call of the system


@dataclass(frozen=True, eq=False)
class Part:
    """Token ids of one split, in an unlinked temporary file, read by offset.

    Every sequence ends with EOS, so a position begins one if it is 0 or the id before it is EOS.
    `characters` counts code points (bytes, for bytes) of the text as read, without the newlines
    that EOS stands for; `unknown` counts UNK; `digest` is the SHA-256 of the ids as little-endian
    int32, `text_digest` that of the text, the same for every tokenizer.
    """

    sequences: int
    characters: int
    unknown: int
    digest: str
    text_digest: str
    _length: int
    _ids: Scratch
    _dtype: np.dtype[np.generic]

    @staticmethod
    def from_ids(ids: ArrayLike, characters: int | None = None) -> Part:
        """Keep ids [n]; `characters` is the number of those that are not EOS unless given."""
        array = np.ascontiguousarray(ids, np.int32)
        builder = PartBuilder(int(array.max(initial=0)) + 1)
        builder.append(
            array, int(np.count_nonzero(array != EOS)) if characters is None else characters
        )
        return builder.part()

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, count: int) -> NDArray[np.int32]:
        """Return ids [count] from `start` on (IndexError outside the part, StorageError)."""
        if not 0 <= start <= start + count <= self._length:
            raise IndexError(
                f"ids {start} to {start + count} are not within a part of {self._length}"
            )
        data = self._ids.read(start * self._dtype.itemsize, count * self._dtype.itemsize)
        return np.frombuffer(data, self._dtype).astype(np.int32)

    def gather(self, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return pieces of ids end to end in the order given, `counts` [n] from `starts` [n] on (StorageError)."""
        return gather(self._ids, self._dtype, starts, counts).astype(np.int32)


def gather(
    file: Scratch, dtype: np.dtype[Any], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[Any]:
    """Return pieces of an array in a file end to end in the order given; near ones are read together."""
    if not len(starts):
        return np.zeros(0, dtype)
    order = np.argsort(starts, kind="stable")
    begin, furthest = starts[order], np.maximum.accumulate((starts + counts)[order])
    heads = np.flatnonzero(
        np.append(True, begin[1:] > furthest[:-1] + _NEAR)
    )  # of what is read at once
    sizes = furthest[np.append(heads[1:], len(begin)) - 1] - begin[heads]
    runs = zip(
        (begin[heads] * dtype.itemsize).tolist(), (sizes * dtype.itemsize).tolist(), strict=True
    )
    data = np.frombuffer(b"".join(file.read(*run) for run in runs), dtype)
    moved = np.cumsum(sizes) - sizes - begin[heads]  # from a place in the file to one in `data`
    place = np.empty_like(starts)
    place[order] = begin + np.repeat(moved, np.diff(heads, append=len(begin)))
    pieces: NDArray[Any] = data[
        np.arange(counts.sum()) + np.repeat(place - (np.cumsum(counts) - counts), counts)
    ]
    return pieces


class PartBuilder:
    """Writes a part, piece by piece."""

    def __init__(self, vocab_size: int) -> None:
        self._ids = Scratch()
        self._dtype: np.dtype[np.generic] = np.dtype(
            np.uint16 if vocab_size <= 1 << 16 else np.int32
        )
        self._digest, self._text_digest = hashlib.sha256(), hashlib.sha256()
        self._length = self._sequences = self._characters = self._unknown = 0
        self._ended = True  # the last id is EOS, or there is none

    def append(self, ids: NDArray[np.int32], characters: int, text: bytes = b"") -> None:
        """Add ids of so many characters; `text` is what they stand for, of which the digest is made."""
        self._text_digest.update(text)
        self._characters += characters
        if not ids.size:
            return
        self._digest.update(ids.astype("<i4", copy=False).data)
        self._ids.write(ids.astype(self._dtype, copy=False).data)
        self._length += ids.size
        self._sequences += int(np.count_nonzero(ids == EOS))
        self._unknown += int(np.count_nonzero(ids == UNK))
        self._ended = bool(ids[-1] == EOS)

    def end_sequence(self) -> None:
        """End the text in hand with EOS, unless it has ended."""
        self._text_digest.update(b"\xff")  # no byte of UTF-8
        if not self._ended:
            self.append(np.array([EOS], np.int32), 0)

    def part(self) -> Part:
        """Return the whole, to be read."""
        digests = (self._digest.hexdigest(), self._text_digest.hexdigest())
        counts = (self._sequences, self._characters, self._unknown)
        return Part(*counts, *digests, self._length, self._ids, self._dtype)
