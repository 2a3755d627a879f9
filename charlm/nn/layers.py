"""The layers without a time loop: the token input, the linear map between recurrent layers, dropout.

A layer's output is valid until its next forward. `backward` adds to `grads` and uses up what `forward`
saved, so a second one raises RuntimeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn import kernel, names
from charlm.nn.params import Array, Params, Workspace, rows_of

if TYPE_CHECKING:
    from charlm.nn.panels import Panels

# Below this many distinct rows a product with a one-hot matrix beats sorting (measured: break-even near 160).
_DENSE_SCATTER_ROWS = 160

Saved = TypeVar("Saved")


class Tape(Generic[Saved]):
    """Holds what one forward pass saves for the one backward pass that may follow."""

    def __init__(self) -> None:
        self._saved: Saved | None = None

    def put(self, saved: Saved) -> None:
        self._saved = saved

    def take(self) -> Saved:
        saved, self._saved = self._saved, None
        if saved is None:
            raise RuntimeError("backward without a forward before it")
        return saved


class Linear:
    """z = x W^T + b, the input product of every recurrent layer but the first; there may be no b.
    """

    def __init__(self, weight: str, bias: str | None) -> None:
        self.weight, self.bias = weight, bias
        self._space = Workspace()
        self._tape: Tape[Array] = Tape()

    def forward(self, params: Params | Panels, x: Array) -> Array:
        """Map x [T, B, D] to z [T, B, G·H]."""
        z = self._space("z", (*x.shape[:-1], len(params[self.weight])), x.dtype)
        params.affine(self.weight, self.bias, rows_of(x), out=rows_of(z))
        self._tape.put(x)
        return z

    def backward(self, params: Params, grads: Params, dz: Array) -> Array:
        """Add the gradients of W and b; return dx [T, B, D]."""
        x, weight = self._tape.take(), params[self.weight]
        grads[self.weight][...] += rows_of(dz).T @ rows_of(x)
        if self.bias is not None:
            grads[self.bias][...] += rows_of(dz).sum(axis=0)
        dx = self._space("dx", x.shape, x.dtype)
        np.matmul(rows_of(dz), weight, out=rows_of(dx))
        return dx


class Distinct(NamedTuple):
    """The tokens of a chunk, each once: their ids [R], the one of each step [T, B], and their embeddings [R, D].

    Without an embedding (`--embedding 0`) a token is one-hot, and there are none.
    """

    tokens: Array
    row_of: Array
    x: Array | None

    def turned(self, turn: Array) -> Distinct:
        """Return the same tokens for steps in another order: row `turn` [T·B] takes the place of each."""
        return self._replace(row_of=self.row_of.reshape(-1)[turn].reshape(self.row_of.shape))


class TokenVectors(Protocol):
    """What makes the vectors of a chunk's tokens, each token's once: an `Embedding`, or one that
    reads words.
    """

    def forward(
        self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None
    ) -> Distinct:
        """Return the distinct tokens of ids [T, B] and their vectors; `rng` switches dropout on."""

    def backward(self, params: Params, grads: Params, dx: Array | None) -> None:
        """Add all gradients, given dx [R, D], which may be used up."""


class Embedding:
    """Token ids to the rows of E that occur, in training each with a dropout mask. NO_TOKEN has a zero row of E."""

    def __init__(self, weight: str | None, dropout: float) -> None:
        self.weight = weight
        self._dropout = Dropout(dropout if weight else 0.0)
        self._tape: Tape[Array] = Tape()

    @classmethod
    def of(cls, config: ModelConfig) -> Embedding:
        """Return the embedding of a model."""
        return cls(names.EMBED if config.embedding else None, config.dropout)

    def forward(self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None) -> Distinct:
        """Find the distinct tokens of ids [T, B] and their rows; `rng` switches dropout on."""
        tokens, row_of = np.unique(ids, return_inverse=True)
        x = None if self.weight is None else self._dropout.forward(rows_at(params[self.weight], tokens), rng)
        self._tape.put(tokens)
        return Distinct(tokens, row_of.reshape(ids.shape), x)

    def backward(self, params: Params, grads: Params, dx: Array | None) -> None:
        """Add the gradient of E, given dx [R, D]."""
        tokens = self._tape.take()
        if self.weight is not None and dx is not None:
            real = tokens != NO_TOKEN
            grads[self.weight][tokens[real]] += self._dropout.backward(dx)[real]


class TokenProduct:
    """The input product of the first recurrent layer: z = E[ids] W^T + b, E being the identity for one-hot tokens.

    It is made once for each *distinct* token of the chunk and then gathered, which is exact, since equal tokens have
    equal products, and saves most of the multiplications.
    """

    def __init__(self, weight: str, bias: str) -> None:
        self.weight, self.bias = weight, bias
        self._space = Workspace()
        self._tape: Tape[Distinct] = Tape()

    def forward(self, params: Params | Panels, distinct: Distinct) -> Array:
        """Return z [T, B, G·H]."""
        tokens, row_of, x = distinct
        if x is None:
            rows = rows_at(params[self.weight].T, tokens) + params[self.bias]
        else:
            rows = np.empty((len(x), len(params[self.bias])), x.dtype)
            params.affine(self.weight, self.bias, x, out=rows)
        z = self._space("z", (*row_of.shape, rows.shape[1]), rows.dtype)
        np.take(rows, row_of.reshape(-1), axis=0, out=rows_of(z), mode="clip")  # "clip" only spares NumPy a buffer
        self._tape.put(distinct)
        return z

    def backward(self, params: Params, grads: Params, dz: Array) -> Array | None:
        """Add the gradients of W and b; return that of the rows of E, dx [R, D]."""
        tokens, row_of, x = self._tape.take()
        dtable = sum_by_row(rows_of(dz), row_of.reshape(-1), len(tokens))  # [R, GH]
        grads[self.bias][...] += dtable.sum(axis=0)
        if x is None:
            real = tokens != NO_TOKEN
            grads[self.weight].T[tokens[real]] += dtable[real]
            return None
        grads[self.weight][...] += dtable.T @ x
        return np.asarray(dtable @ params[self.weight])


class TokenInput:
    """Token ids straight to the input product of the first recurrent layer, in one direction."""

    def __init__(self, weight: str, bias: str, vectors: TokenVectors) -> None:
        self._vectors, self._product = vectors, TokenProduct(weight, bias)

    @classmethod
    def of(cls, config: ModelConfig, vectors: TokenVectors | None = None) -> TokenInput:
        """Return the input of a model's first layer, which reads the embedding unless other vectors
        are given.
        """
        return cls(names.weight_ih(0), names.bias_ih(0), vectors or Embedding.of(config))

    def forward(self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None) -> Array:
        """Map ids [T, B] to z [T, B, G·H]; `rng` switches dropout on."""
        return self._product.forward(params, self._vectors.forward(params, ids, rng))

    def backward(self, params: Params, grads: Params, dz: Array) -> None:
        """Add the gradients of W, b and what makes the vectors."""
        self._vectors.backward(params, grads, self._product.backward(params, grads, dz))


class Dropout:
    """Zeroes each element with probability p and scales the rest by 1/(1-p) (Srivastava et al. 2014).

    Values in time, [T, B, H], are dropped alike at all steps of a chunk (Gal & Ghahramani 2016).
    """

    def __init__(self, p: float) -> None:
        self.p = p
        self._space = Workspace()
        self._tape: Tape[tuple[Array | None]] = Tape()

    def forward(self, x: Array, rng: np.random.Generator | None) -> Array:
        """Drop from x of any shape; with no `rng`, or p = 0, return x itself."""
        if rng is None or self.p == 0:
            self._tape.put((None,))
            return x
        mask = self._space("mask", (1, *x.shape[1:]) if x.ndim == 3 else x.shape, x.dtype)
        rng.random(out=mask, dtype=x.dtype.type)
        np.greater_equal(mask, self.p, out=mask)
        mask *= 1 / (1 - self.p)
        self._tape.put((mask,))
        return np.multiply(x, mask, out=self._space("y", x.shape, x.dtype))

    def backward(self, dy: Array) -> Array:
        """Return dx; in place on dy."""
        (mask,) = self._tape.take()
        if mask is not None:
            dy *= mask
        return dy


def drop_tokens(
    ids: Array, share: float | Array, unknown: int, rng: np.random.Generator | None
) -> Array:
    """Return ids with some read as the `unknown` one, so that training learns what it means.

    Each id above it is so with the probability `share`, one for all or of each id, [V]; those below
    it are no tokens. Without `rng` all stay.
    """
    if rng is None or not np.any(share):
        return ids
    wanted = share[ids] if isinstance(share, np.ndarray) else share
    dropped = rng.random(ids.shape, np.float32) < wanted
    return np.where(dropped & (ids > unknown), ids.dtype.type(unknown), ids)


def rows_at(matrix: Array, tokens: Array) -> Array:
    """Return the rows [R, D] of a matrix for tokens [R], a zero row for NO_TOKEN."""
    rows: Array = matrix[tokens]
    rows[tokens == NO_TOKEN] = 0
    return rows


def sum_by_row(values: Array, row_of: Array, rows: int) -> Array:
    """Sum the rows of `values` [N, D] that share a row number; every number below `rows` must occur."""
    if kernel.serves(values):
        result = np.zeros((rows, values.shape[1]), values.dtype)
        kernel.call("add_rows", *values.shape, np.ascontiguousarray(row_of, np.int64), values, result)
        return result
    if rows <= _DENSE_SCATTER_ROWS:
        one_hot = np.zeros((rows, len(values)), values.dtype)
        one_hot[row_of, np.arange(len(values))] = 1
        return one_hot @ values
    order = np.argsort(row_of, kind="stable")
    starts = np.searchsorted(row_of[order], np.arange(rows))
    return np.add.reduceat(values[order], starts, axis=0)
