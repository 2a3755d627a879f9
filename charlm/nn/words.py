"""A word's vector: what is known of the word itself, and of its characters, side by side.

    x = [E[word], f, b, g]

E: an embedding of whole words. f, b: the last values of recurrent layers that read the word's
characters and an EOS, onwards and backwards (Ling et al. 2015, Lample et al. 2016). g: the mean
vector of its hashed n-grams (ngrams.py): of its characters, and of their kinds (a capital, a small
letter, a digit), which tell a name that was never seen. Each may be missing. A word of a chunk is
made once, however often it occurs there.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn import names
from charlm.nn.bidirectional import Bidirectional
from charlm.nn.layers import Distinct, Dropout, Tape, drop_tokens, sum_by_row
from charlm.nn.ngrams import WIDTH, NGrams, ngram_shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape
from charlm.nn.pooling import LastPooling, Places
from charlm.nn.stack import stack_shapes


class Spelling(Places, Protocol):
    """Words as whole texts of their characters: ids [T, B], and where each begins, `reset` [T,
    B]."""

    @property
    def inputs(self) -> Array: ...
    @property
    def reset(self) -> Array: ...


class WordList(Protocol):
    """A chunk's different words: the id of each [R], and how it is spelt."""

    @property
    def ids(self) -> Array: ...
    @property
    def packed(self) -> Spelling: ...


class WordVectors:
    """Implements `charlm.nn.layers.TokenVectors` for chunks whose inputs are numbers of a list of
    words.

    The list is given to `take` before each `forward`. Dropout acts on the whole vector of each
    word.
    """

    def __init__(
        self, model: ModelConfig, characters: ModelConfig | None, ngrams: int = 0,
        token_dropout: float | Array = 0.0, unknown: int = 1, kinds: Array | None = None,
    ) -> None:  # fmt: skip
        """Read characters as `characters` says, if at all, and n-grams of up to `ngrams` of them.

        In training each of a chunk's words is read as the `unknown` one, with its own characters,
        with the probability `token_dropout`: one for all, or one for each id [V]. `kinds`: for each
        character's id another one that stands for its kind, whose n-grams count too.
        """
        self._embedded, self._token_dropout, self._unknown = (
            model.embedding > 0,
            token_dropout,
            unknown,
        )
        self._body = Bidirectional(characters) if characters else None
        self._last = LastPooling(True)
        self._kinds = kinds
        self._ngrams = NGrams(ngrams) if ngrams else None
        self._dropout = Dropout(model.dropout)
        self._words: WordList | None = None
        self._tape: Tape[tuple[Array, list[int]]] = Tape()

    def take(self, words: WordList) -> None:
        """Say which words the numbers of the next chunk mean; every one of them occurs there."""
        self._words = words

    def forward(
        self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None
    ) -> Distinct:
        """Return the words and their vectors for numbers [T, B]; `rng` switches dropout on."""
        words, self._words = self._words, None
        if words is None:
            raise RuntimeError("forward without a list of words before it")
        heard, parts = drop_tokens(words.ids, self._token_dropout, self._unknown, rng), []
        if self._embedded:
            parts.append(params[names.EMBED][heard])
        if self._body:
            spelt, own = words.packed, params.under(names.CHARACTERS)
            y, _ = self._body.forward(own, spelt.inputs, (), spelt.reset, rng)
            parts.append(self._last.forward(own, y, spelt))
        if self._ngrams:
            spelt = words.packed  # an unused step has any kind: no n-gram reads it
            kinds = None if self._kinds is None else self._kinds[spelt.inputs]
            parts.append(self._ngrams.forward(params, spelt.inputs, spelt, kinds))
        x = self._dropout.forward(np.concatenate(parts, axis=1), rng)
        self._tape.put((heard, [part.shape[1] for part in parts]))
        unused = ids == NO_TOKEN
        if unused.any():
            x = np.concatenate([x, np.zeros_like(x[:1])])
        return Distinct(np.arange(len(x)), np.where(unused, len(words.ids), ids), x)

    def backward(self, params: Params, grads: Params, dx: Array | None) -> None:
        """Add all gradients, given dx [R, D] or, where there are unused steps, [R + 1, D]; it is
        used up."""
        heard, widths = self._tape.take()
        assert dx is not None  # there always is a vector
        dx = self._dropout.backward(dx[: len(heard)])
        parts = [np.ascontiguousarray(d) for d in np.split(dx, np.cumsum(widths)[:-1], axis=1)]
        if self._ngrams:
            self._ngrams.backward(grads, parts.pop())
        if self._body:
            own, into = params.under(names.CHARACTERS), grads.under(names.CHARACTERS)
            self._body.backward(own, into, self._last.backward(own, into, parts.pop()))
        if self._embedded:
            tokens, row_of = np.unique(heard, return_inverse=True)
            grads[names.EMBED][tokens] += sum_by_row(parts.pop(), row_of.reshape(-1), len(tokens))


def word_width(model: ModelConfig, characters: ModelConfig | None, ngrams: int) -> int:
    """Return how many values a word's vector has."""
    return model.embedding + (characters.width if characters else 0) + (WIDTH if ngrams else 0)


def word_shapes(characters: ModelConfig | None, ngrams: int) -> dict[str, Shape]:
    """Return the names and shapes of the parameters of words' vectors, but for the embedding of
    whole words."""
    spelt = stack_shapes(characters) if characters else {}
    return {names.CHARACTERS + name: shape for name, shape in spelt.items()} | ngram_shapes(ngrams)
