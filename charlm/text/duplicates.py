"""Labelled texts that stand in a corpus more than once, with one label or with several.

Texts are compared by 64-bit hashes on disk. Of very many, those whose hash is drawn are compared,
in memory that does not grow with their number, and a note says "about".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.text.reading import Scratch

_MOST_TEXTS = 1 << 17  # that are compared at a time
_AT_A_TIME = 1 << 16


class Called(NamedTuple):
    """How notes call texts, one and many, and what is said of those whose labels differ or do
    not."""

    one: str = "text"
    many: str = "texts"
    several: str = "under several labels"
    same: str = "the label too"


TEXTS = Called()


class TextHashes:
    """The hashes of the texts of a part, and the numbers of their labels."""

    def __init__(self) -> None:
        self.count = 0
        self._file = Scratch()

    def add(self, hashes: NDArray[np.uint64], labels: NDArray[np.int32]) -> None:
        """Take hashes [n] and labels [n]."""
        self._file.write(np.stack([hashes.view(np.int64), labels.astype(np.int64)], axis=1).data)
        self.count += len(hashes)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yield [n, 2] hashes and labels, in order."""
        for start in range(0, self.count, _AT_A_TIME):
            count = min(_AT_A_TIME, self.count - start)
            yield np.frombuffer(self._file.read(16 * start, 16 * count), np.int64).reshape(-1, 2)

    def drawn(self) -> tuple[NDArray[np.int64], int]:
        """Return sorted hashes and labels [n, 2] of a text in `2 ** step`, drawn, and that step."""
        step = max(0, (max(1, self.count) - 1).bit_length() - _MOST_TEXTS.bit_length() + 1)
        mask = (1 << step) - 1
        none = np.zeros((0, 2), np.int64)
        rows = np.concatenate([none, *(block[block[:, 0] & mask == 0] for block in self.blocks())])
        return rows[np.lexsort((rows[:, 1], rows[:, 0]))], step


def duplicate_notes(parts: Sequence[TextHashes], called: Called = TEXTS) -> Iterator[str]:
    """Yield what of a corpus stands in it twice, given its parts, that of training first."""
    repeated = texts = steps = 0
    for number, part in enumerate(parts):
        rows, step = part.drawn()
        same = (rows[1:] == rows[:-1]).all(axis=1)
        repeated += int(same.sum()) << step
        texts, steps = texts + part.count, max(steps, step)
        if number == 0 and (ambiguous := _ambiguous(rows) << step):
            count = f"{_about(step)}{_texts(ambiguous, called)} of the training part"
            yield f"{count} {'stands' if ambiguous == 1 else 'stand'} there {called.several}"
    if repeated:
        verb = "repeats" if repeated == 1 else "repeat"
        count = f"{_about(steps)}{repeated:,} of {_texts(texts, called)}"
        yield f"{count} {verb} another, {called.same}"


def _ambiguous(rows: NDArray[np.int64]) -> int:
    """Return how many texts of sorted rows [n, 2] have several labels."""
    same = rows[1:, 0] == rows[:-1, 0]
    other = same & (rows[1:, 1] != rows[:-1, 1])
    return len(np.unique(rows[1:][other][:, 0]))


def shared_note(
    train: TextHashes, held: TextHashes, part: str, called: Called = TEXTS
) -> str | None:
    """Return how many texts of a part stand in the training part too, None for none."""
    rows, step = held.drawn()
    seen = np.zeros(len(rows), np.bool_)
    for block in train.blocks():
        seen |= np.isin(rows[:, 0], block[:, 0])
    if not (shared := int(seen.sum())):
        return None
    share = f"{100 * shared / len(rows):.3g} %"
    verb = "stands" if shared << step == 1 else "stand"
    count = f"{_about(step)}{shared << step:,} of {held.count:,} {part} {called.many} {verb}"
    return f"{count} in the training part too ({share}): that share is not new text"


def _about(step: int) -> str:
    return "about " if step else ""


def _texts(count: int, called: Called) -> str:
    return f"1 {called.one}" if count == 1 else f"{count:,} {called.many}"
