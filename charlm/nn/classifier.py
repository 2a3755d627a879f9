"""The classifier: one label for a whole text.

    p(label | text) = softmax(W [v, g] + b)        v = dense(pool(y))

y: the recurrent layers' values at all steps of the text, pool: one vector of them, dense: layers
without recurrence, g: the mean vector of the text's n-grams, where they are asked for. A chunk
holds whole texts, so that each begins at a zero state, and nothing is carried from chunk to chunk.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel, names
from charlm.nn.bidirectional import Bidirectional
from charlm.nn.dense import DenseLayers, dense_shapes
from charlm.nn.head import SoftmaxHead, log_softmax
from charlm.nn.layers import Dropout, drop_tokens
from charlm.nn.ngrams import WIDTH, NGrams, ngram_shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State
from charlm.nn.pooling import Places, make_pooling, pooling_shapes
from charlm.nn.stack import Stack, draw, stack_shapes, whole_state


class WholeTexts(Places, Protocol):
    """Whole texts end to end, and the label of each.

    inputs [T, B]: token ids, NO_TOKEN where nothing stands. reset [T, B]: true at each text's first
    step, and at the first unused step of a column. labels [N]: numbers, -1 where none is known.
    weight [N]: of each text's gradient.
    """

    @property
    def inputs(self) -> Array: ...
    @property
    def reset(self) -> Array: ...
    @property
    def labels(self) -> Array: ...
    @property
    def weight(self) -> Array: ...


class ClassifierNetwork:
    """p(label | text) for the N texts of a chunk at a time. Holds buffers, but no parameters.

    An instance serves one thread; parameters may be shared among several. Dropout acts between the
    layers, and on each text's vector instead of on the last recurrent layer's values.
    """

    def __init__(
        self, config: ModelConfig, labels: int, pool: str, ngrams: int = 0, token_dropout: float = 0.0,
        unknown: int = 1,
    ) -> None:  # fmt: skip
        """Take `pool` from `charlm.config.POOLINGS`; with `ngrams` those of up to so many tokens count too.

        In training a token is read as the `unknown` one with the probability `token_dropout`, so
        that it is learnt; ids below it are no tokens.
        """
        self.config = config
        self._body: Bidirectional | Stack = (
            Bidirectional(config) if config.bidirectional else Stack(config)
        )
        self._body.dropouts[-1] = Dropout(0.0)
        self._pool, self._dropout = make_pooling(pool, config), Dropout(config.dropout)
        self._dense, self._head = DenseLayers(config), SoftmaxHead(labels)
        self._ngrams = NGrams(ngrams) if ngrams else None
        self._token_dropout, self._unknown = token_dropout, unknown
        self._ngram_dropout = Dropout(
            config.dropout / 2
        )  # they are fewer, and tell less of each other

    @kernel.flushing()
    def backward(
        self,
        params: Params,
        grads: Params,
        chunk: WholeTexts,
        state: State,
        scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, State]:
        """Add the gradients of scale * sum(weight * -log p(label)); return nats = -sum(log p(label)), not weighted.

        Texts whose label is not known, -1, have neither. `state` is not heeded but returned; `rng`
        switches dropout on.
        """
        known, inputs = (
            chunk.labels >= 0,
            drop_tokens(chunk.inputs, self._token_dropout, self._unknown, rng),
        )
        begin = whole_state(self.config, chunk.inputs.shape[1], params)
        y, _ = self._body.forward(params, inputs, begin, chunk.reset, rng)
        pooled = self._dropout.forward(self._pool.forward(params, y, chunk), rng)
        top = self._dense.forward(params, pooled, rng)
        if self._ngrams:
            vectors = self._ngrams.forward(params, inputs, chunk)
            top = np.concatenate([top, self._ngram_dropout.forward(vectors, rng)], axis=1)
        nats, dtop = self._head.backward(
            params,
            grads,
            top,
            np.maximum(chunk.labels, 0),
            chunk.weight * known,
            scale,
            known.astype(np.float32),
        )
        if self._ngrams:
            dtop, dvectors = (
                np.ascontiguousarray(d) for d in np.split(dtop, [self.config.head_width], axis=1)
            )
            self._ngrams.backward(grads, self._ngram_dropout.backward(dvectors))
        dpooled = self._dropout.backward(self._dense.backward(params, grads, dtop))
        self._body.backward(params, grads, self._pool.backward(params, grads, dpooled))
        return nats, state

    def log_probs(self, params: Params | Panels, chunk: WholeTexts) -> Array:
        """Return log p of every label in nats, float64 [N, L].

        With `Panels` a text's figures do not depend on what else is in the chunk, nor on its place
        there, to the bit.
        """
        begin = whole_state(self.config, chunk.inputs.shape[1], params)
        y, _ = self._body.forward(params, chunk.inputs, begin, chunk.reset)
        top = self._dense.forward(params, self._pool.forward(params, y, chunk))
        if self._ngrams:
            top = np.concatenate([top, self._ngrams.forward(params, chunk.inputs, chunk)], axis=1)
        return log_softmax(self._head.logits(params, top))


def shapes(config: ModelConfig, labels: int, pool: str, ngrams: int = 0) -> dict[str, Shape]:
    """Return the names and shapes of all parameters, in the order in which they are read."""
    width = config.head_width + (WIDTH if ngrams else 0)
    head = {names.HEAD_WEIGHT: (labels, width), names.HEAD_BIAS: (labels,)}
    below = stack_shapes(config) | pooling_shapes(pool, config) | dense_shapes(config)
    return below | ngram_shapes(ngrams) | head


def initialize(
    config: ModelConfig, labels: int, pool: str, rng: np.random.Generator, ngrams: int = 0
) -> Params:
    """Draw first weights as `charlm.nn.stack.draw` says; attention begins with all steps alike."""
    return draw(config, shapes(config, labels, pool, ngrams), rng)
