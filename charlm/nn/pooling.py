"""From the values at all steps of a text to one vector for the text.

    last         y at the last step; with both directions, the backward one's values are those at the first step
    mean         the mean of y over the steps
    max          the largest value of each unit over the steps; its gradient goes to the first step that has it
    attention    sum_t a_t y_t        a = softmax over the text's steps of y_t . w        w: `pool.weight`

Backward, for the gradient d of the vector: mean dy_t = d / steps, and for attention, with s_t = y_t
. d,

    ds_t = a_t (s_t - sum_j a_j s_j)        dy_t = a_t d + ds_t w        dw = sum_t ds_t y_t

The texts are read where they stand in the chunk, all at once; one text's vector does not depend on
the others.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel, names
from charlm.nn.layers import Tape, sum_by_row
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, Workspace, rows_of


class Places(Protocol):
    """Where the texts of a chunk of whole sequences [T, B] stand: text i is `length[i]` steps of column `column[i]`.

    Its first step is `first[i]`. Arrays of whole numbers [N]; lengths are 1 or more, and texts do
    not overlap.
    """

    @property
    def column(self) -> Array: ...
    @property
    def first(self) -> Array: ...
    @property
    def length(self) -> Array: ...


class Pooling(Protocol):
    """One vector [W] for each of N texts, from the values [T, B, W] of a chunk that holds them whole."""

    def forward(self, params: Params | Panels, y: Array, places: Places) -> Array:
        """Return the vectors [N, W] of the texts, from y [T, B, W]."""

    def backward(self, params: Params, grads: Params, dpooled: Array) -> Array:
        """Add the gradients of the parameters; return dy [T, B, W], given dpooled [N, W]."""


def make_pooling(kind: str, config: ModelConfig) -> Pooling:
    """Return the pooling of a name in `charlm.config.POOLINGS`, for values of a network's recurrent layers."""
    if kind == "last":
        return LastPooling(config.bidirectional)
    if kind == "mean":
        return MeanPooling()
    return MaxPooling() if kind == "max" else AttentionPooling()


def pooling_shapes(kind: str, config: ModelConfig) -> dict[str, Shape]:
    """Return the names and shapes of a pooling's parameters."""
    return {names.POOL_WEIGHT: (config.width,)} if kind == "attention" else {}


class Rows:
    """Where the texts' steps stand among the rows t·B + b of a chunk [T, B].

    row: the rows of all texts [R], text by text and in the order of their steps. text: the number
    of each row's text [R]. starts: where in these each text begins [N].
    """

    def __init__(self, places: Places, columns: int) -> None:
        length = np.asarray(places.length, np.int64)
        self.length, ends = length, np.cumsum(length)
        self.starts = ends - length
        self.text = np.repeat(np.arange(len(length)), length)
        begin = np.asarray(places.first, np.int64) * columns + places.column
        self.row = begin[self.text] + (np.arange(len(self.text)) - self.starts[self.text]) * columns


class LastPooling:
    """What the network says when it has read the whole text; of two directions each has its own end."""

    def __init__(self, bidirectional: bool) -> None:
        self._both = bidirectional
        self._tape: Tape[tuple[tuple[int, ...], list[tuple[Array, slice]]]] = Tape()

    def forward(self, params: Params | Panels, y: Array, places: Places) -> Array:
        columns, width = y.shape[1:]
        first = np.asarray(places.first, np.int64) * columns + places.column
        last = first + (np.asarray(places.length) - 1) * columns
        half = width // 2 if self._both else width
        ends = [(last, slice(0, half)), (first, slice(half, width))]
        self._tape.put((y.shape, ends))
        return np.concatenate([rows_of(y)[row, part] for row, part in ends], axis=1)

    def backward(self, params: Params, grads: Params, dpooled: Array) -> Array:
        shape, ends = self._tape.take()
        dy = np.zeros(shape, dpooled.dtype)
        for row, part in ends:
            rows_of(dy)[row, part] = dpooled[:, part]
        return dy


class MeanPooling:
    """The mean of the values over a text's steps."""

    def __init__(self) -> None:
        self._tape: Tape[tuple[tuple[int, ...], Rows]] = Tape()

    def forward(self, params: Params | Panels, y: Array, places: Places) -> Array:
        rows = Rows(places, y.shape[1])
        self._tape.put((y.shape, rows))
        pooled = sum_by_row(rows_of(y)[rows.row], rows.text, len(rows.length))
        pooled /= rows.length[:, None].astype(y.dtype)
        return pooled

    def backward(self, params: Params, grads: Params, dpooled: Array) -> Array:
        shape, rows = self._tape.take()
        dy = np.zeros(shape, dpooled.dtype)
        rows_of(dy)[rows.row] = (dpooled / rows.length[:, None].astype(dpooled.dtype))[rows.text]
        return dy


class MaxPooling:
    """The largest value of each unit over a text's steps."""

    def __init__(self) -> None:
        self._tape: Tape[tuple[tuple[int, ...], Array]] = Tape()

    def forward(self, params: Params | Panels, y: Array, places: Places) -> Array:
        rows = Rows(places, y.shape[1])
        pooled, place = max_by_row(rows_of(y)[rows.row], rows)
        self._tape.put((y.shape, rows.row[place]))
        return pooled

    def backward(self, params: Params, grads: Params, dpooled: Array) -> Array:
        shape, row = self._tape.take()
        dy = np.zeros(shape, dpooled.dtype)
        np.put_along_axis(rows_of(dy), row, dpooled, axis=0)
        return dy


def max_by_row(values: Array, rows: Rows) -> tuple[Array, Array]:
    """Return the largest of each text's values [R, W], and which of the R rows has it first, [N, W] each."""
    if kernel.serves(values):
        shape = len(rows.starts), values.shape[1]
        pooled = np.full(shape, -np.inf, values.dtype)
        place = np.repeat(rows.starts.astype(np.int32)[:, None], shape[1], axis=1)
        kernel.call("max_rows", *values.shape, rows.text, values, pooled, place)
        return pooled, place
    largest: Array = np.maximum.reduceat(values, rows.starts, axis=0)
    found = np.where(values == largest[rows.text], np.arange(len(values))[:, None], len(values))
    place = np.minimum.reduceat(found, rows.starts, axis=0)
    return largest, np.minimum(place, len(values) - 1)  # NaN has no place


class AttentionPooling:
    """The mean of the values over a text's steps, weighted by how well each goes with a learnt vector."""

    def __init__(self) -> None:
        self._space = Workspace()
        self._tape: Tape[tuple[tuple[int, ...], Rows, Array, Array]] = Tape()

    def forward(self, params: Params | Panels, y: Array, places: Places) -> Array:
        rows = Rows(places, y.shape[1])
        values = rows_of(y)[rows.row]
        share = self._scores(params, values)
        share -= np.maximum.reduceat(share, rows.starts)[rows.text]
        np.exp(share, out=share)
        share /= np.add.reduceat(share, rows.starts)[rows.text]
        self._tape.put((y.shape, rows, values, share))
        return sum_by_row(values * share[:, None], rows.text, len(rows.length))

    def backward(self, params: Params, grads: Params, dpooled: Array) -> Array:
        shape, rows, values, share = self._tape.take()
        dpooled = dpooled[rows.text]  # of each step
        along = np.einsum("rw,rw->r", values, dpooled)
        dscore = share * (along - np.add.reduceat(share * along, rows.starts)[rows.text])
        grads[names.POOL_WEIGHT][...] += dscore @ values
        dpooled *= share[:, None]
        dpooled += dscore[:, None] * params[names.POOL_WEIGHT]
        dy = np.zeros(shape, dpooled.dtype)
        rows_of(dy)[rows.row] = dpooled
        return dy

    def _scores(self, params: Params | Panels, values: Array) -> Array:
        """Return y . w [R] of values [R, W]."""
        scores: Array = np.einsum("rw,w->r", values, params[names.POOL_WEIGHT])
        return scores
