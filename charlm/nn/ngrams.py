"""A text's n-grams beside what the recurrent layers say of it: a vector each, of which the text has the mean.

    v = mean over the text's n-grams g of E[hash(g)]        n = 1 .. N, a mark before the text and its EOS counted

as fastText reads a text (Joulin et al. 2017); n-grams share the rows of E by a hash. It knows by
heart what recurrent layers must learn to tell, and knows nothing of the order beyond N tokens.
Backward, for dv given, a row of E gets dv / (number of the text's n-grams) for each n-gram that has
it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.nn import names
from charlm.nn.layers import Tape, sum_by_row
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape
from charlm.nn.pooling import Places, Rows

MOST = 8  # tokens of an n-gram
WIDTH = 32  # of a vector
BUCKETS = 1 << 15  # rows of E
_BEGIN, _FIRST_TOKEN = 1, 2  # what the mark before a text and token 0 are in a hash
# SplitMix64's (Steele et al. 2014)
_MIX, _SPREADS = (
    np.uint64(0x9E3779B97F4A7C15),
    (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)),
)


class NGrams:
    """The mean vector [N, WIDTH] of the n-grams of each text, of up to `longest` tokens."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._tape: Tape[tuple[Array, Array, Array]] = Tape()

    def forward(
        self, params: Params | Panels, inputs: Array, places: Places, also: Array | None = None
    ) -> Array:
        """Return the vectors of the texts at `places` of inputs [T, B].

        `also` [T, B] are other ids of the same texts: their n-grams count beside those of `inputs`.
        """
        bucket, text = buckets(inputs, places, self._longest)
        if also is not None:
            pairs = zip((bucket, text), buckets(also, places, self._longest), strict=True)
            bucket, text = (np.concatenate(pair) for pair in pairs)
        table = params[names.NGRAMS]
        count = np.bincount(text, minlength=len(places.length)).astype(table.dtype)
        self._tape.put((bucket, text, count))
        vectors = sum_by_row(table[bucket], text, len(count))
        vectors /= count[:, None]
        return vectors

    def backward(self, grads: Params, dv: Array) -> None:
        """Add the gradient of E, given dv [N, WIDTH]."""
        bucket, text, count = self._tape.take()
        rows, row_of = np.unique(bucket, return_inverse=True)
        share = dv / count[:, None]
        grads[names.NGRAMS][rows] += sum_by_row(share[text], row_of.reshape(-1), len(rows))


def buckets(
    inputs: Array, places: Places, longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of E of every n-gram [G], and the number of its text [G]: all of one token first, then of two."""
    rows = Rows(places, inputs.shape[1])
    length = rows.length + 1  # the mark before a text too
    starts = np.cumsum(length) - length
    text = np.repeat(np.arange(len(length)), length)
    ids = np.full(len(text), _BEGIN, np.uint64)
    own = np.ones(len(text), np.bool_)
    own[starts] = False
    ids[own] = (inputs.reshape(-1)[rows.row] + _FIRST_TOKEN).astype(np.uint64)
    left = np.repeat(starts + length, length) - np.arange(
        len(text)
    )  # tokens from here to the text's end
    found, texts, key = [], [], np.zeros(len(ids), np.uint64)
    for n in range(1, min(longest, len(ids)) + 1):
        key[: len(ids) - n + 1] = _mixed(key[: len(ids) - n + 1], ids[n - 1 :])
        here = np.flatnonzero(left >= n)
        found.append(_spread(key[here]) >> np.uint64(64 - BUCKETS.bit_length() + 1))
        texts.append(text[here])
    return np.concatenate(found).astype(np.int64), np.concatenate(texts)


def ngram_shapes(longest: int) -> dict[str, Shape]:
    """Return the names and shapes of the parameters, of which there are none where `longest` is 0."""
    return {names.NGRAMS: (BUCKETS, WIDTH)} if longest else {}


def _spread(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    spread = (key ^ (key >> np.uint64(30))) * _SPREADS[0]
    return np.asarray((spread ^ (spread >> np.uint64(27))) * _SPREADS[1])


def _mixed(key: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = key * _MIX + ids
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))
