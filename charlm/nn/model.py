"""The language model: recurrent layers, dense ones where asked for, and a softmax over the next token."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import names
from charlm.nn.dense import DenseLayers, dense_shapes
from charlm.nn.head import Adjust, SoftmaxHead
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State
from charlm.nn.stack import Stack, draw, stack_shapes


class Chunk(Protocol):
    """T steps of B columns to learn from; every array is [T, B] (`charlm.text.batches.Batch` has the meanings)."""

    @property
    def inputs(self) -> Array: ...

    @property
    def targets(self) -> Array: ...

    @property
    def reset(self) -> Array | None: ...

    @property
    def weight(self) -> Array: ...


class LanguageModel:
    """p(token_t | tokens before it), for T steps of B columns at a time. Holds buffers, but no parameters.

    An instance serves one thread; parameters may be shared among several.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._stack, self._dense = Stack(config), DenseLayers(config)
        self._head = SoftmaxHead(config.vocab_size, names.EMBED if config.tie else names.HEAD_WEIGHT)

    def backward(
        self, params: Params, grads: Params, chunk: Chunk, state: State, scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, State]:  # fmt: skip
        """Add the gradients of scale * nats over one chunk; return nats = -sum(weight * log p) and the state after.

        Gradients stop at the chunk's start; `rng` switches dropout on.
        """
        y, state = self._stack.forward(params, chunk.inputs, state, chunk.reset, rng)
        y = self._dense.forward(params, y, rng)
        rows, targets, weight = y.reshape(-1, y.shape[2]), chunk.targets.reshape(-1), chunk.weight.reshape(-1)
        nats, dy = self._head.backward(params, grads, rows, targets, weight, scale)
        self._stack.backward(params, grads, self._dense.backward(params, grads, dy.reshape(y.shape)))
        return nats, state

    def log_probs(
        self, params: Params | Panels, inputs: Array, targets: Array, reset: Array | None, state: State
    ) -> tuple[Array, State]:
        """Return log p(target) in nats, float64 [T, B], and the state after."""
        logp, _, state = self.read(params, inputs, targets, reset, state)
        return logp, state

    def read(
        self, params: Params | Panels, inputs: Array, targets: Array, reset: Array | None, state: State
    ) -> tuple[Array, Array, State]:
        """Return log p(target) [T, B], what the softmax reads [T, B, W], and the state after.

        The values are valid until the next call.
        """
        y, state = self._hidden(params, inputs, state, reset)
        logp = self._head.log_probs(params, y.reshape(-1, y.shape[2]), targets.reshape(-1))
        return logp.reshape(targets.shape), y, state

    def ranked_log_probs(
        self, params: Params | Panels, inputs: Array, targets: Array, reset: Array | None, state: State, top: int,
        adjust: Adjust | None = None,
    ) -> tuple[tuple[Array, ...], State]:  # fmt: skip
        """Return log p(target), its rank [T, B], ids and log p of the `top` best [T, B, top]; and the state after.

        `adjust` may change log p of every token, of rows in the order of the targets' steps.
        """
        y, state = self._hidden(params, inputs, state, reset)
        figures = self._head.ranked_log_probs(
            params, y.reshape(-1, y.shape[2]), targets.reshape(-1), top, adjust
        )
        return tuple(figure.reshape(*targets.shape, *figure.shape[1:]) for figure in figures), state

    def logits(self, params: Params | Panels, inputs: Array, state: State) -> tuple[Array, State]:
        """Return the next token's logits [B, V] after `inputs` [T, B], and the state after."""
        y, state = self._hidden(params, inputs, state)
        return self._head.logits(params, y[-1]).copy(), state

    def _hidden(
        self, params: Params | Panels, inputs: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Return what the softmax reads [T, B, W], and the state after."""
        y, state = self._stack.forward(params, inputs, state, reset)
        return self._dense.forward(params, y), state


def shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the names and shapes of all parameters, as in PyTorch's `state_dict`; tied weights stand once.

    A model without layers has no network, and no parameters.
    """
    if not config.layers:
        return {}
    result = stack_shapes(config) | dense_shapes(config)
    if not config.tie:
        result[names.HEAD_WEIGHT] = (config.vocab_size, config.head_width)
    return result | {names.HEAD_BIAS: (config.vocab_size,)}


def initialize(config: ModelConfig, rng: np.random.Generator) -> Params:
    """Draw first weights as `charlm.nn.stack.draw` says."""
    return draw(config, shapes(config), rng)
