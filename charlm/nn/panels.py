"""Weights laid out for the compiled forward pass: what writing, scoring and evaluating do when they need no gradient.

Laid out once, they serve until the weights change. The whole stack then goes a step at a time, so
that a step's values stay in the cache, and each row is summed in the same order however many rows
stand beside it: a text's figures do not depend on the batch that it is in, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from charlm.cells import CELLS
from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn import kernel, names
from charlm.nn.layers import rows_at
from charlm.nn.params import Array, Params, State

_TABLE_FLOATS = 1 << 21  # the input products of a whole vocabulary are kept up to this size


class Panels(Mapping[str, Array]):
    """A network's parameters with its weights laid out as well, read only: threads may share them.

    reads: whether the compiled loops read with the whole stack, in one direction. width: H, of what
    comes out on top.
    """

    def __init__(
        self, config: ModelConfig, params: Params, parts: Mapping[str, ModelConfig] | None = None,
        vectors: bool = False,
    ) -> None:  # fmt: skip
        """Lay the weights out; networks of other configurations that are `parts` of this one stand
        under prefixes.

        With `vectors` the first layer does not read tokens' embeddings, but other vectors of them.
        """
        kind = CELLS[config.cell]
        self.reads = kind.compiled is not None and not config.bidirectional and not vectors
        self._parts = {
            prefix: Panels(part, params.under(prefix)) for prefix, part in (parts or {}).items()
        }
        self.width = config.hidden
        self._params, self._layers, self._vocabulary = params, config.layers, config.vocab_size
        # A row, or a column, for each token or n-gram:
        gathered = [names.EMBED, names.NGRAMS]
        if not config.embedding and not vectors:
            gathered += [names.weight_ih(0, way) for way in (False, True)]
        self._panels = {
            name: in_panels(value)
            for name, value in params.items()
            if value.ndim == 2
            and (name not in gathered or config.tie)
            and not name.startswith(tuple(self._parts))
        }
        self._zeros = np.zeros(max(map(len, params.values())), np.float32)
        if self.reads:
            self._lay_out(config)

    def __getitem__(self, name: str) -> Array:
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def under(self, prefix: str) -> Panels:
        """Return the weights of the part that stands under a prefix."""
        return self._parts[prefix]

    def affine(self, weight: str, bias: str | None, x: Array, out: Array) -> Array:
        """Write x [N, D] times the transpose of a weight [M, D], plus a bias [M], to `out` [N, M], and return it."""
        added = self._zeros[: out.shape[1]] if bias is None else self._params[bias]
        kernel.call("affine", *x.shape, out.shape[1], x, self._panels[weight], added, out)
        return out

    def read(
        self, ids: Array, state: State, reset: Array | None, y: Array,
        added: tuple[Array, Array] | None = None,
    ) -> State:  # fmt: skip
        """Read ids [T, B] from `state`, write what comes out on top to y [T, B, H], and return the
        state after.

        `added` are steps t·B + b [N] and what is added there to the input product of layer 0, [N,
        G·H].
        """
        after = tuple(np.array(part, order="C") for part in state)
        table, row_of = self._table, ids
        if table is None:
            tokens, row_of = np.unique(ids, return_inverse=True)
            table = self._table_of(tokens)
        else:
            row_of = ids - NO_TOKEN
        if added:
            steps, products = added
            row_of = row_of.reshape(-1)
            own = table[row_of[steps]] + products
            others = table if len(steps) < ids.size else table[:0]
            row_of[steps] = len(others) + np.arange(len(steps))
            table = np.concatenate([others, own])
        dense = None if reset is None else np.ascontiguousarray(reset, np.uint8)
        kernel.call(
            "read", self._number, self._residual, *y.shape, self._layers, np.ascontiguousarray(row_of, np.int32), table,
            dense, self._weights, self._biases, self._gains, self._vectors, after[0],
            after[1] if len(after) == 2 else None, y,
        )  # fmt: skip
        return after

    def _lay_out(self, config: ModelConfig) -> None:
        """Prepare what `read` takes."""
        kind, layers = CELLS[config.cell], range(config.layers)
        self._number = 0 if config.nonlinearity == "relu" else kind.compiled
        self._residual, self._one_hot = config.residual, not config.embedding
        weights = [name(k) for k in layers for name in (names.weight_ih, names.weight_hh)]
        biases = [name(k) for k in layers for name in (names.bias_ih, names.bias_hh)]
        self._weights = kernel.Pointers([self._panels.get(name) for name in weights])
        self._biases = kernel.Pointers([self[name] for name in biases])
        self._gains = kernel.Pointers(
            [self[names.gain_hh(k)] if config.layer_norm else None for k in layers]
        )
        self._vectors = kernel.Pointers(
            [self[names.recurrent(part, k)] for k in layers for part in kind.vectors]
        )
        small = config.inputs * kind.gates * config.hidden <= _TABLE_FLOATS
        self._table = self._table_of(np.arange(NO_TOKEN, config.inputs)) if small else None

    def _table_of(self, tokens: Array) -> Array:
        """Return the input products of layer 0 [R, G·H] for tokens [R]."""
        weight, bias = names.weight_ih(0), self[names.bias_ih(0)]
        if self._one_hot:
            return np.asarray(rows_at(self[weight].T, tokens) + bias)
        rows = rows_at(self[names.EMBED], tokens)
        return self.affine(
            weight, names.bias_ih(0), rows, np.empty((len(tokens), len(bias)), rows.dtype)
        )


def in_panels(weight: Array) -> Array:
    """Lay W [N, K] out as kernel.c multiplies with it: panels of columns of W^T, [panels, K, width], zeros past N."""
    width = kernel.panel()
    rows, depth = weight.shape
    padded = np.zeros((-(-rows // width) * width, depth), weight.dtype)
    padded[:rows] = weight
    return np.ascontiguousarray(padded.reshape(-1, width, depth).transpose(0, 2, 1))
