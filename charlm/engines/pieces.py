"""Chunks cut at their resets, for kernels that run whole sequences and know no resets.

A column that resets inside a chunk is several pieces of text. Each piece becomes a sequence of its own, the longest
first, and step k of all pieces that are so long stands together, as in PyTorch's PackedSequence: nothing is
padded and nothing computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pieces:
    """The N pieces of a chunk of T steps and B columns, and the order in which their steps are computed.

    order: the place t * B + b of each computed row [T * B]; None where the rows stand as in the chunk, all pieces
    being whole columns. sizes: how many pieces have a step k. columns: the column of each piece [N]. carried: whether
    it goes on from the column's state [N]. last: the piece that each column ends with [B].
    """

    order: NDArray[np.int64] | None
    sizes: NDArray[np.int64]
    columns: NDArray[np.int64]
    carried: NDArray[np.bool_]
    last: NDArray[np.int64]

    def in_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values [T, B] as rows [T * B] in the order of computing."""
        rows = values.reshape(-1)
        return rows if self.order is None else rows[self.order]

    def in_place(self, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return rows [T * B, ...] where they stand in the chunk, [T, B, ...]."""
        placed = rows
        if self.order is not None:
            placed = np.empty_like(rows)
            placed[self.order] = rows
        return placed.reshape(*shape, *rows.shape[1:])


def cut(reset: NDArray[np.bool_]) -> Pieces:
    """Cut a chunk where `reset` [T, B] says that a new sequence begins."""
    steps, columns = reset.shape
    if not reset[1:].any():
        every = np.arange(columns)
        return Pieces(None, np.full(steps, columns), every, ~reset[0], every)
    starts = reset.copy()
    starts[0] = True
    column, begin = np.nonzero(starts.T)  # by column, and in it by time
    length = np.diff(column * steps + begin, append=steps * columns)
    longest_first = np.argsort(-length, kind="stable")
    column, begin, length = column[longest_first], begin[longest_first], length[longest_first]
    sizes = np.searchsorted(-length, -np.arange(length[0]), side="left")  # pieces longer than k
    step = np.repeat(np.arange(length[0]), sizes)
    piece = np.arange(steps * columns) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    ending = np.flatnonzero(begin + length == steps)
    return Pieces(
        order=(begin[piece] + step) * columns + column[piece],
        sizes=sizes,
        columns=column,
        carried=(begin == 0) & ~reset[0, column],
        last=ending[np.argsort(column[ending])],
    )
