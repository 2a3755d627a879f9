"""Weights laid out for the compiled forward pass: what writing, scoring and evaluating do when they need no gradient.

Laid out once, they serve until the weights change. The whole stack then goes a step at a time, so that a step's
values stay in the cache, and each row is summed in the same order however many rows stand beside it: a text's
figures do not depend on the batch that it is in, to the bit.
"""

from __future__ import annotations

import numpy as np

from charlm.cells import CELLS
from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn import kernel, names
from charlm.nn.layers import TokenInput
from charlm.nn.params import Array, Params, State

_TABLE_FLOATS = 1 << 21  # the input products of a whole vocabulary are kept up to this size


class Panels:
    """A model's weights for the compiled loops, read only: threads may share them."""

    def __init__(self, config: ModelConfig, params: Params) -> None:
        self._params, self._layers, self._vocabulary = params, config.layers, config.vocab_size
        kind = CELLS[config.cell]
        self._kind = 0 if config.nonlinearity == "relu" else kind.compiled
        self._residual, self._input = config.residual, TokenInput.of(config)
        layers = range(config.layers)
        matrices = [name(k) for k in layers for name in (names.weight_ih, names.weight_hh)]
        one_hot = None if config.embedding else names.weight_ih(0)
        weights = [None if name == one_hot else pack(params[name]) for name in matrices]
        self._first, self._weights = weights[0], kernel.Pointers(weights)
        small = config.vocab_size * kind.gates * config.hidden <= _TABLE_FLOATS
        self._table = self._table_of(np.arange(NO_TOKEN, config.vocab_size))[1:] if small else None  # row -1: NO_TOKEN
        self._biases = kernel.Pointers([params[name(k)] for k in layers for name in (names.bias_ih, names.bias_hh)])
        self._gains = kernel.Pointers([params[names.gain_hh(k)] if config.layer_norm else None for k in layers])
        self._head = pack(params[names.EMBED if config.tie else names.HEAD_WEIGHT])

    def read(self, ids: Array, state: State, reset: Array | None, y: Array) -> State:
        """Read ids [T, B] from `state`, write what comes out on top to y [T, B, H], and return the state after."""
        after = tuple(np.array(part, order="C") for part in state)
        table, row_of = self._table, ids
        if table is None:
            tokens, row_of = np.unique(ids, return_inverse=True)
            table = self._table_of(tokens)
        dense = None if reset is None else np.ascontiguousarray(reset, np.uint8)
        kernel.call(
            "read", self._kind, self._residual, *y.shape, self._layers, np.ascontiguousarray(row_of, np.int32), table,
            dense, self._weights, self._biases, self._gains, after[0], after[1] if len(after) == 2 else None, y,
        )  # fmt: skip
        return after

    def logits(self, y: Array, out: Array) -> Array:
        """Map y [N, H] to logits [N, V] in `out`, and return it."""
        kernel.call("affine", *y.shape, out.shape[1], y, self._head, self._params[names.HEAD_BIAS], out)
        return out

    def _table_of(self, tokens: Array) -> Array:
        """Return the input products of layer 0 [R, G·H] for tokens [R]."""
        rows, bias = self._input.rows(self._params, tokens), self._params[self._input.bias]
        if self._first is None:
            return np.asarray(rows + bias)
        table = np.empty((len(tokens), len(bias)), rows.dtype)
        kernel.call("affine", *rows.shape, len(bias), rows, self._first, bias, table)
        return table


def pack(weight: Array) -> Array:
    """Lay W [N, K] out as kernel.c multiplies with it: panels of columns of W^T, [panels, K, width], zeros past N."""
    width = kernel.panel()
    rows, depth = weight.shape
    padded = np.zeros((-(-rows // width) * width, depth), weight.dtype)
    padded[:rows] = weight
    return np.ascontiguousarray(padded.reshape(-1, width, depth).transpose(0, 2, 1))
