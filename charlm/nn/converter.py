"""The converter: an encoder reads a source, a decoder writes a target of another length.

    p(target | source) = product over t of softmax(W dense(o_t) + b)[target_t]

    m = encoder(source)        read in both directions, or onwards
    y = decoder(target)        each step reads the token before it
    o_t = attention of y_t over m, or y_t itself without it

The decoder begins at a zero state. At its first step, where no token stands before, it reads what
the encoder said last, of two directions each at its own end: its first input product is

    z_0 = b_ih + S s        s = [m_last forward, m_first backward]

so that the first step makes a state of the source, by the gates of whatever cell and through all
layers (Vinyals et al. 2015). Sutskever et al. 2014 hand on the state itself; beside attention both
learn alike. Without it the decoder does not look back, and S s is added at every step, as Cho et
al. 2014 do: a state alone has to remember what it was begun with, and learns more slowly. A chunk
holds whole pairs, and nothing is carried over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from charlm.config import NO_TOKEN, ModelConfig
from charlm.errors import UsageError
from charlm.nn import kernel, names
from charlm.nn.attention import Attention, Meeting, Memory, attention_shapes
from charlm.nn.bidirectional import Bidirectional
from charlm.nn.dense import DenseLayers, dense_shapes
from charlm.nn.head import SoftmaxHead
from charlm.nn.layers import Embedding, Linear, TokenInput, sum_by_row
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State, Workspace, rows_of
from charlm.nn.pooling import LastPooling, Places, Rows
from charlm.nn.stack import Stack, draw, stack_shapes, whole_state


@dataclass(frozen=True)
class ConverterShape:
    """What a converter's network is: what reads sources, what writes targets, and how they meet.

    >>> ConverterShape(ModelConfig(30, bidirectional=True), ModelConfig(41))
    """

    encoder: ModelConfig
    decoder: ModelConfig
    attention: bool = True

    def __post_init__(self) -> None:
        """Raise UsageError where the parts cannot be what they are to be."""
        if self.decoder.bidirectional:
            raise UsageError("a decoder cannot be bidirectional: it writes its text onwards")
        if not (self.encoder.layers and self.decoder.layers):
            raise UsageError("layers must be 1 or more in the encoder and in the decoder")
        if self.encoder.head_layers or self.encoder.tie:
            raise UsageError("head-layers and tie are the decoder's: an encoder has no softmax")


class Placed(Places, Protocol):
    """Whole texts end to end: ids [T, B], NO_TOKEN where nothing stands; `reset` [T, B] at each
    start."""

    @property
    def inputs(self) -> Array: ...
    @property
    def reset(self) -> Array: ...


class Pairs(Protocol):
    """N whole pairs (`charlm.text.pair_packing.PairChunk`).

    source, target: how both are laid out; a target's inputs are the tokens before each, and
    NO_TOKEN at its first step. targets: the tokens to be predicted, pair by pair [R].
    """

    @property
    def source(self) -> Placed: ...
    @property
    def target(self) -> Placed: ...
    @property
    def targets(self) -> Array: ...


class _Heard(NamedTuple):
    """At which steps t·B + b the decoder reads which source, [n] each, and the sources' products
    [N, G·H]."""

    steps: Array
    which: Array
    products: Array

    @property
    def added(self) -> Array:
        """What is added to the input product at these steps, [n, G·H]."""
        return np.asarray(self.products[self.which])


class _OpenedInput(TokenInput):
    """Tokens to the first layer's input product, to which the source's is added at some steps."""

    heard: _Heard
    dproducts: Array  # the gradient of the sources' products [N, G·H]

    def forward(
        self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None
    ) -> Array:
        z = super().forward(params, ids, rng)
        rows_of(z)[self.heard.steps] += self.heard.added
        return z

    def backward(self, params: Params, grads: Params, dz: Array) -> None:
        steps, which, products = self.heard
        self.dproducts = sum_by_row(rows_of(dz)[steps], which, len(products))
        super().backward(params, grads, dz)


class _Said(NamedTuple):
    """What the softmax reads for each token [R, W], the shares of attention, both in the order of
    the meeting; and the decoder's values [T, B, H]."""

    top: Array
    shares: Array | None
    meeting: Meeting
    y: Array


class ConverterNetwork:
    """p(target | source) for the N pairs of a chunk at a time. Holds buffers, but no parameters.

    An instance serves one thread; parameters may be shared among several. Dropout acts as in other
    networks: on embeddings and on what each recurrent layer of encoder and decoder says.
    """

    def __init__(self, shape: ConverterShape) -> None:
        self.shape, decoder = shape, shape.decoder
        both = shape.encoder.bidirectional
        self._encoder: Bidirectional | Stack = (Bidirectional if both else Stack)(shape.encoder)
        self._last, self._source = LastPooling(both), Linear(names.SOURCE_WEIGHT, None)
        self._stack = Stack(decoder)
        self._stack.tokens = self._input = _OpenedInput(
            names.weight_ih(0), names.bias_ih(0), Embedding.of(decoder)
        )
        self._attention = Attention() if shape.attention else None
        self._dense = DenseLayers(decoder)
        self._head = SoftmaxHead(
            decoder.vocab_size, names.EMBED if decoder.tie else names.HEAD_WEIGHT
        )
        self._space = Workspace()

    @kernel.flushing()
    def backward(
        self, params: Params, grads: Params, chunk: Pairs, state: State, scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, State]:  # fmt: skip
        """Add the gradients of scale * nats; return nats = -sum(log p(token)) over all targets.

        `state` is not heeded but returned; `rng` switches dropout on.
        """
        said = self._said(params, chunk, rng)
        tokens = chunk.targets[_tokens(chunk, said.meeting)]
        weight = np.ones(len(tokens), np.float32)
        nats, dtop = self._head.backward(params, grads, said.top, tokens, weight, scale)
        drows, dknown = self._dense.backward(params, grads, dtop), None
        if self._attention:
            drows, dknown = self._attention.backward(params, grads, drows)
        dy = self._space("dy", said.y.shape, said.y.dtype)
        dy[...] = 0
        rows_of(dy)[said.meeting.target.row] = drows
        self._stack.backward(params, grads, dy)
        dsummary = self._source.backward(params, grads, self._input.dproducts)
        own, into = params.under(names.ENCODER), grads.under(names.ENCODER)
        dmemory = self._last.backward(own, into, dsummary)
        if dknown is not None:
            rows_of(dmemory)[said.meeting.source.row] += dknown
        self._encoder.backward(own, into, dmemory)
        return nats, state

    def log_probs(self, params: Params | Panels, chunk: Pairs) -> Array:
        """Return log p of the targets' tokens in nats, pair by pair, float64 [R].

        With `Panels` a pair's figures do not depend on what else is in the chunk, nor on its place
        there, to the bit.
        """
        said = self._said(params, chunk)
        tokens = _tokens(chunk, said.meeting)
        result = np.empty(len(tokens))
        result[tokens] = self._head.log_probs(params, said.top, chunk.targets[tokens])
        return result

    def shares(self, params: Params | Panels, chunk: Pairs) -> list[Array]:
        """Return how much each step of a target looks at each of its source, [n, m] of each pair.

        Both have an EOS at their end. Without attention the arrays have no columns.
        """
        said = self._said(params, chunk)
        if said.shares is None:
            return [np.zeros((n, 0), np.float32) for n in chunk.target.length.tolist()]
        return said.meeting.each_pair(said.shares.copy())

    def encode(self, params: Params | Panels, source: Placed) -> Memory:
        """Return what is known of whole sources once they are read."""
        y, summary = self._read(params.under(names.ENCODER), source)
        products, length = self._source.forward(params, summary).copy(), source.length
        begin = np.cumsum(length) - length
        if not self._attention:
            return Memory(products, None, None, begin, length)
        known = rows_of(y)[Rows(source, y.shape[1]).row]
        keys, values = self._attention.known(params, known)
        return Memory(products, keys.copy(), values.copy(), begin, length)

    def step(
        self, params: Params | Panels, inputs: Array, reset: Array | None, state: State,
        memory: Memory, which: Array,
    ) -> tuple[Array, State]:  # fmt: skip
        """Return what the softmax reads [T, B, W] after inputs [T, B], and the state after.

        The former is valid until the next call. Column b writes the target of source `which[b]`,
        and begins where its input is NO_TOKEN.
        """
        steps = np.arange(inputs.size)
        if self._attention:
            steps = np.flatnonzero(inputs.reshape(-1) == NO_TOKEN)
        heard = _Heard(steps, which[steps % inputs.shape[1]], memory.products)
        y, state = self._decoded(params, inputs, state, reset, heard)
        if self._attention:
            y = self._attention.step(params, y, memory, which)
        return self._dense.forward(params, y), state

    def logits(self, params: Params | Panels, top: Array) -> Array:
        """Return the logits [N, V] of what `step` returned, of some of its rows [N, W]."""
        return self._head.logits(params, np.ascontiguousarray(top)).copy()

    def token_log_probs(self, params: Params | Panels, top: Array, targets: Array) -> Array:
        """Return log p of targets [N] in nats, float64 [N]."""
        return self._head.log_probs(params, top, targets)

    def ranked_log_probs(
        self, params: Params | Panels, top: Array, targets: Array, most: int
    ) -> tuple[Array, ...]:
        """Return log p of targets [N], ranks and the `most` probable tokens, as `SoftmaxHead`
        does."""
        return self._head.ranked_log_probs(params, top, targets, most)

    def _said(
        self, params: Params | Panels, chunk: Pairs, rng: np.random.Generator | None = None
    ) -> _Said:
        """Read all sources and all targets of a chunk; `rng` switches dropout on."""
        memory, summary = self._read(params.under(names.ENCODER), chunk.source, rng)
        y = self._written(params, chunk.target, self._source.forward(params, summary), rng)
        meeting, shares = _meeting(chunk), None
        top = rows_of(y)[meeting.target.row]
        if self._attention:
            known = rows_of(memory)[meeting.source.row]
            top, shares = self._attention.forward(params, top, known, meeting)
        return _Said(self._dense.forward(params, top, rng), shares, meeting, y)

    def _read(
        self, params: Params | Panels, source: Placed, rng: np.random.Generator | None = None
    ) -> tuple[Array, Array]:
        """Return the encoder's values [T, B, W], and its last ones for each source [N, W]."""
        begin = whole_state(self.shape.encoder, source.inputs.shape[1], params)
        y, _ = self._encoder.forward(params, source.inputs, begin, source.reset, rng)
        return y, self._last.forward(params, y, source)

    def _written(
        self, params: Params | Panels, target: Placed, products: Array,
        rng: np.random.Generator | None = None,
    ) -> Array:  # fmt: skip
        """Return the decoder's values [T, B, H] over whole targets, given their sources' [N,
        G·H]."""
        columns = target.inputs.shape[1]
        begin = whole_state(self.shape.decoder, columns, params)
        rows = Rows(target, columns)
        heard = _Heard(rows.row, rows.text, products)
        if self._attention:
            heard = _Heard(rows.row[rows.starts], np.arange(len(products)), products)
        return self._decoded(params, target.inputs, begin, target.reset, heard, rng)[0]

    def _decoded(
        self, params: Params | Panels, inputs: Array, state: State, reset: Array | None,
        heard: _Heard, rng: np.random.Generator | None = None,
    ) -> tuple[Array, State]:  # fmt: skip
        """Return the decoder's values [T, B, H] and the state after."""
        if isinstance(params, Panels) and params.reads:
            y = self._space("y", (*inputs.shape, params.width), np.float32)
            added = (heard.steps, heard.added) if len(heard.steps) else None
            return y, params.read(inputs, state, reset, y, added)
        self._input.heard = heard
        return self._stack.forward(params, inputs, state, reset, rng)


def _meeting(chunk: Pairs) -> Meeting:
    source, target = chunk.source, chunk.target
    return Meeting(target, target.inputs.shape[1], source, source.inputs.shape[1])


def _tokens(chunk: Pairs, meeting: Meeting) -> Array:
    """Return which token of the chunk's targets each row of the meeting's is, [R]."""
    begin = np.cumsum(chunk.target.length) - chunk.target.length
    rows = meeting.target
    place = np.arange(len(rows.row)) - rows.starts[rows.text]
    return np.asarray(begin[meeting.order][rows.text] + place)


def shapes(shape: ConverterShape) -> dict[str, Shape]:
    """Return the names and shapes of all parameters, in the order in which they are read."""
    encoder, decoder = shape.encoder, shape.decoder
    read = {names.ENCODER + name: size for name, size in stack_shapes(encoder).items()}
    body = stack_shapes(decoder)
    source = {names.SOURCE_WEIGHT: (*body[names.bias_ih(0)], encoder.width)}
    attention = attention_shapes(encoder.width, decoder.hidden) if shape.attention else {}
    head: dict[str, Shape] = {names.HEAD_BIAS: (decoder.vocab_size,)}
    if not decoder.tie:
        head = {names.HEAD_WEIGHT: (decoder.vocab_size, decoder.head_width)} | head
    return read | body | source | attention | dense_shapes(decoder) | head


def initialize(shape: ConverterShape, rng: np.random.Generator) -> Params:
    """Draw first weights as `charlm.nn.stack.draw` says, the encoder's as of a network of its
    own."""
    params = Params(shapes(shape))
    read = params.under(names.ENCODER)
    read.flat[:] = draw(shape.encoder, read.shapes, rng).flat
    own = {name: size for name, size in params.shapes.items() if not name.startswith(names.ENCODER)}
    for name, value in draw(shape.decoder, own, rng).items():
        params[name][...] = value
    return params
