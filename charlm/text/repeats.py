"""Lines that stand in the training part and in a part held out alike: their figure tells what is known by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.text.reading import Scratch
from charlm.text.sequences import Kind

_PIECE = 1 << 12  # characters of a long line that are hashed at a time
_MOST_LINES = 1 << 17  # of a part that are compared: of a longer one, those whose hash is drawn
_AT_A_TIME = 1 << 16
_TELLING = 0.1  # share of a document's text: short lines come again in any


class LineHashes:
    """Hashes and lengths of the lines of a text given in pieces, on disk; blank lines are none.

    Where two newlines are the `end`, they are those of paragraphs.
    """

    def __init__(self, end: str = "\n") -> None:
        self.count = 0
        self._file, self._end = Scratch(), end
        self._tail, self._before = "", 0  # of the unfinished line: its last characters, the hash of those before
        self._length = 0

    def add(self, text: str) -> None:
        """Take a piece of text."""
        first, *lines = text.split(self._end)
        self._extend(first)
        if not lines:
            return
        last = lines.pop()
        self.end()
        lines = [line for line in lines if line.strip()]
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        if lengths.max(initial=0) <= _PIECE:
            self._keep(np.fromiter(map(hash, lines), np.int64, len(lines)), lengths)
        else:
            for line in lines:
                self._extend(line)
                self.end()
        self._extend(last)

    def end(self) -> None:
        """End the line."""
        if self._length > len(self._tail) or self._tail.strip():
            whole = hash((self._before, self._tail)) if self._length > len(self._tail) else hash(self._tail)
            self._keep(np.array([whole], np.int64), np.array([self._length], np.int64))
        self._tail, self._before, self._length = "", 0, 0

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yield [n, 2] hashes and lengths, in order."""
        for start in range(0, self.count, _AT_A_TIME):
            count = min(_AT_A_TIME, self.count - start)
            yield np.frombuffer(self._file.read(16 * start, 16 * count), np.int64).reshape(-1, 2)

    def _extend(self, text: str) -> None:
        self._length += len(text)
        self._tail += text
        if len(self._tail) > _PIECE:
            cut = (len(self._tail) - 1) // _PIECE * _PIECE
            for start in range(0, cut, _PIECE):
                self._before = hash((self._before, self._tail[start : start + _PIECE]))
            self._tail = self._tail[cut:]

    def _keep(self, hashes: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        if len(hashes):
            self._file.write(np.stack([hashes, lengths], axis=1).data)
            self.count += len(hashes)


@dataclass(frozen=True)
class Repeats:
    """What of a part held out stands in the training part: lines and characters, `compared` of all its lines."""

    part: str
    lines: int
    compared: int
    share: float  # of the characters
    drawn: bool

    def note(self, kind: Kind) -> str | None:
        """Return what to tell the user, None where it says nothing about the figures."""
        about = "about " if self.drawn else ""
        if not kind.document and self.lines:
            share = f"{100 * self.lines / self.compared:.3g} %"
            count = f"{share} of the" if self.drawn else f"{self.lines:,} of {self.compared:,}"
            verb = "stands" if self.lines == 1 and not self.drawn else "stand"
            tail = "" if self.drawn else f" ({share})"
            found = f"{about}{count} {self.part} {kind.name}s {verb} in the training part too{tail}"
            return f"{found}: that share is not new text"
        if kind.document and self.share >= _TELLING:
            share = f"{about}{100 * self.share:.0f} % of the {self.part} text"
            return f"{share} is in lines that stand in the training part too: that share is not new text"
        return None


def repeats_of(train: LineHashes, held: LineHashes, part: str) -> Repeats:
    """Compare the lines of two parts, in memory that does not grow with either."""
    step = max(0, (max(1, held.count) - 1).bit_length() - _MOST_LINES.bit_length() + 1)
    mask = (1 << step) - 1
    rows = np.concatenate([block[block[:, 0] & mask == 0] for block in held.blocks()] or [np.zeros((0, 2), np.int64)])
    known, place = np.unique(rows[:, 0], return_inverse=True)
    seen = np.zeros(len(known) + 1, np.bool_)
    for block in train.blocks():
        found = np.searchsorted(known, block[:, 0])
        seen[np.where(np.append(known, 0)[found] == block[:, 0], found, len(known))] = True
    repeated = seen[:-1][place]
    characters = max(1, int(rows[:, 1].sum()))
    return Repeats(part, int(repeated.sum()), len(rows), int(rows[repeated, 1].sum()) / characters, step > 0)


def repeat_notes(parts: Sequence[LineHashes], kind: Kind) -> Iterator[str]:
    """Yield a note on each part held out, given after the training part, that has lines of it."""
    for held, name in zip(parts[1:], ("validation", "test"), strict=True):
        if held.count and (note := repeats_of(parts[0], held, name).note(kind)):
            yield note
