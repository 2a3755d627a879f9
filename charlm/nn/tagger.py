"""The tagger: a tag for every place of a sentence, which is a word or a character.

    p(tags | sentence) = softmax(W dense(pool(y)) + b) at each place,
                         or a linear chain of these scores (crf.py)

y: the recurrent layers' values at all steps of the sentence, read in both directions or onwards.
pool: the values of a place's last step, and of both directions the backward ones at its first: a
word that is read by its characters ends where it ends, and begins where it begins (Kuru et al.
2016). Where a step is a word, words.py makes its vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import UsageError
from charlm.nn import kernel, names
from charlm.nn.bidirectional import Bidirectional
from charlm.nn.crf import (
    FORBIDDEN,
    Transitions,
    chain_backward,
    chain_figures,
    chain_in_turn,
    crf_shapes,
    viterbi,
)
from charlm.nn.dense import DenseLayers, dense_shapes
from charlm.nn.head import SoftmaxHead, log_softmax
from charlm.nn.layers import Dropout, drop_tokens
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State
from charlm.nn.pooling import LastPooling, Places
from charlm.nn.stack import Stack, draw, stack_shapes, whole_state
from charlm.nn.words import WordList, WordVectors, word_shapes, word_width


@dataclass(frozen=True)
class TaggerShape:
    """What a tagger's network is.

    model: its recurrent layers, dense ones, and the embedding of what it reads, `vocab_size` of
    words or characters. tags: how many there are. words: whether a step is a word, whose vector
    then also has what `char_hidden` units in each direction say of its characters, of which there
    are `characters`, embedded in `char_embedding` values, and its n-grams of up to `ngrams`
    characters; 0 for none. crf: whether transitions between tags are learnt.

    >>> words = ModelConfig(5000, bidirectional=True)
    >>> TaggerShape(words, 17, words=True, characters=90, char_hidden=32)
    """

    model: ModelConfig
    tags: int
    words: bool = False
    characters: int = 0
    char_hidden: int = 0
    char_embedding: int = 32
    ngrams: int = 0
    crf: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError where words are read and nothing is known of them, or parts of words
        where none are."""
        beside = self.char_hidden or self.ngrams
        if not self.words and beside:
            raise UsageError("char-hidden and ngrams are for taggers that read words")
        if self.words and not (self.model.embedding or beside):
            raise UsageError(
                "a word needs an embedding, char-hidden or ngrams: all three of them are 0"
            )

    @property
    def spelling(self) -> ModelConfig | None:
        """The network that reads a word's characters; None without."""
        if not self.char_hidden:
            return None
        return replace(
            self.model, vocab_size=self.characters, hidden=self.char_hidden, layers=1, dropout=0.0,
            embedding=self.char_embedding, bidirectional=True, residual=False, tie=False,
            head_layers=0, head_hidden=None,
        )  # fmt: skip

    @property
    def width(self) -> int:
        """How many values the first recurrent layer reads at a step; 0 for an embedding's."""
        return word_width(self.model, self.spelling, self.ngrams) if self.words else 0


class Sentences(Places, Protocol):
    """Whole sentences end to end, and the tag of each of their places
    (`charlm.text.tag_packing.TagChunk`)."""

    @property
    def inputs(self) -> Array: ...
    @property
    def reset(self) -> Array: ...
    @property
    def tags(self) -> Array: ...
    @property
    def starts(self) -> Array: ...
    @property
    def words(self) -> WordList | None: ...
    @property
    def kept(self) -> Array | None: ...


class Judgement(NamedTuple):
    """What a tagger says of the N places of S sentences: log p of every tag [N, L], the best tags
    [N], and
    -log p in nats of the right ones, [N], or where transitions are learnt of those of a sentence,
    [S]."""

    logp: Array
    tags: Array
    nats: Array


class TaggerNetwork:
    """p(tags | sentence) for the sentences of a chunk at a time. Holds buffers, but no parameters.

    An instance serves one thread; parameters may be shared among several. Dropout acts on words'
    vectors or the embedding, between the layers, and on each place's vector instead of on the last
    recurrent layer's values.
    """

    def __init__(
        self,
        shape: TaggerShape,
        token_dropout: float | Array = 0.0,
        unknown: int = 1,
        kinds: Array | None = None,
    ) -> None:
        """In training a token is read as the `unknown` one with the probability `token_dropout`,
        one for all or of each id, [V]; ids below it are no tokens. Where words are read, their
        characters are read all the same. `kinds` are what `charlm.text.kinds.kinds_of` returns, or
        None."""
        self.shape, self.config = shape, (model := shape.model)
        self._token_dropout, self._unknown = token_dropout, unknown
        self._vectors = (
            WordVectors(model, shape.spelling, shape.ngrams, token_dropout, unknown, kinds)
            if shape.words
            else None
        )
        self._body: Bidirectional | Stack = (Bidirectional if model.bidirectional else Stack)(
            model, self._vectors
        )
        self._body.dropouts[-1] = Dropout(0.0)
        self._pool, self._dropout = LastPooling(model.bidirectional), Dropout(model.dropout)
        self._dense, self._head = DenseLayers(model), SoftmaxHead(shape.tags)

    @kernel.flushing()
    def backward(
        self, params: Params, grads: Params, chunk: Sentences, state: State, scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, State]:  # fmt: skip
        """Add the gradients of scale * nats over the sentences; return nats = -log p(known tags).

        `state` is not heeded but returned; `rng` switches dropout on.
        """
        top = self._read(params, chunk, rng)
        if self.shape.crf:
            nats, dtop = self._chain(params, grads, top, chunk, scale)
        else:
            known = (chunk.tags >= 0).astype(top.dtype)
            tags = np.maximum(chunk.tags, 0)
            nats, dtop = self._head.backward(params, grads, top, tags, known, scale)
        dpooled = self._dropout.backward(self._dense.backward(params, grads, dtop))
        self._body.backward(params, grads, self._pool.backward(params, grads, dpooled))
        return nats, state

    def scores(self, params: Params | Panels, chunk: Sentences) -> Array:
        """Return the scores of every tag of every place, float64 [N, L]; without a chain they are
        log p in nats.

        With `Panels` a sentence's figures do not depend on what else is in the chunk, nor on its
        place there, to the bit.
        """
        logits = self._head.logits(params, self._read(params, chunk))
        return logits.astype(np.float64) if self.shape.crf else log_softmax(logits)

    def _chain(
        self, params: Params, grads: Params, top: Array, chunk: Sentences, scale: float
    ) -> tuple[float, Array]:
        logits = self._head.logits(params, top)
        nats, d = chain_backward(params, grads, logits, chunk.tags, chunk.starts, scale)
        grads[names.HEAD_WEIGHT][...] += d.T @ top
        grads[names.HEAD_BIAS][...] += d.sum(axis=0)
        return nats, d @ params[names.HEAD_WEIGHT]

    def _read(
        self, params: Params | Panels, chunk: Sentences, rng: np.random.Generator | None = None
    ) -> Array:
        """Return what the softmax reads of each place, [N, W]."""
        inputs = chunk.inputs
        if self._vectors is None:
            inputs = drop_tokens(inputs, self._token_dropout, self._unknown, rng)
        elif chunk.words is None:
            raise ValueError("the chunk has no words, which this tagger reads")
        else:
            self._vectors.take(chunk.words)
        begin = whole_state(self.config, inputs.shape[1], params)
        y, _ = self._body.forward(params, inputs, begin, chunk.reset, rng)
        pooled = self._dropout.forward(self._pool.forward(params, y, chunk), rng)
        return self._dense.forward(params, pooled, rng)


def judge(
    params: Params, shape: TaggerShape, scores: Array, chunk: Sentences,
    allowed: Transitions | None,
) -> Judgement:  # fmt: skip
    """Return what a tagger with these scores of places says; tags follow one another as is
    `allowed`, if given."""
    if not shape.crf:
        known = np.flatnonzero(chunk.tags >= 0)
        nats = np.zeros(len(scores))
        nats[known] = -scores[known, chunk.tags[known]]
        tags = best_tags(params, shape, scores, chunk, allowed)
        return Judgement(scores, tags, nats)
    logp, nats = chain_figures(params, scores, chunk.tags, chunk.starts)
    return Judgement(logp, best_tags(params, shape, scores, chunk, allowed), nats)


def in_turn(params: Params, shape: TaggerShape, scores: Array, chunk: Sentences) -> Array:
    """Return log p of each known tag given those before it in its sentence, [N]; arguments as of
    `judge`."""
    if shape.crf:
        return chain_in_turn(params, scores, chunk.tags, chunk.starts)
    tags = np.maximum(chunk.tags, 0)
    return np.where(chunk.tags >= 0, scores[np.arange(len(tags)), tags], 0.0)


def best_tags(
    params: Params, shape: TaggerShape, scores: Array, chunk: Sentences,
    allowed: Transitions | None,
) -> Array:  # fmt: skip
    """Return the best tags of all places, int32 [N]; arguments as of `judge`.

    Places that are `kept` have tag 0: of a character that training has not, only itself is a likely
    target.
    """
    if chunk.kept is not None:
        scores = np.array(scores)
        scores[chunk.kept, 1:] = FORBIDDEN
    if shape.crf:
        chain = Transitions.of(params)
        return viterbi(scores, chunk.starts, chain.plus(allowed) if allowed else chain)
    if allowed is None:
        return np.asarray(scores.argmax(axis=1), np.int32)
    return viterbi(scores, chunk.starts, allowed)


def shapes(shape: TaggerShape) -> dict[str, Shape]:
    """Return the names and shapes of all parameters, in the order in which they are read."""
    model = shape.model
    body = stack_shapes(model, shape.width or None)
    embed = {name: body.pop(name) for name in (names.EMBED,) if name in body}
    head = {names.HEAD_WEIGHT: (shape.tags, model.head_width), names.HEAD_BIAS: (shape.tags,)}
    words = word_shapes(shape.spelling, shape.ngrams) if shape.words else {}
    return (
        embed
        | words
        | body
        | dense_shapes(model)
        | head
        | (crf_shapes(shape.tags) if shape.crf else {})
    )


def initialize(shape: TaggerShape, rng: np.random.Generator) -> Params:
    """Draw first weights as `charlm.nn.stack.draw` says, those of the characters as of a network of
    their own; no transition is better than another."""
    params = Params(shapes(shape))
    apart = (names.CHARACTERS, *crf_shapes(shape.tags))
    own = {name: size for name, size in params.shapes.items() if not name.startswith(apart)}
    for name, value in draw(shape.model, own, rng).items():
        params[name][...] = value
    if shape.spelling:
        spelt = params.under(names.CHARACTERS)
        spelt.flat[:] = draw(shape.spelling, spelt.shapes, rng).flat
    return params
