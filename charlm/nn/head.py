"""The output: logits W y + b over the vocabulary, softmax and cross-entropy, in chunks of rows.

    nats = -sum_i w_i log p_i       p = softmax(logits)       dlogits_i = w_i (p - onehot(target_i)) * scale

Working in chunks keeps a word model's T·B·V logits from ever existing at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from charlm.nn import kernel, names
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Workspace

_CACHED = 2**18  # logits that a second-level cache holds: small vocabularies gain by staying within
_ROWS = 1024  # large ones gain by fewer chunks, since each adds up V x H gradients anew: so many rows,
_HELD = 2**23  # or as many logits as may take memory

Adjust = Callable[[slice, Array], Array]  # from rows and their log p [n, V] to what takes its place


class SoftmaxHead:
    """Linear map to V logits and the cross-entropy of the targets; tied weights are the embedding's."""

    def __init__(self, vocabulary: int, weight: str = names.HEAD_WEIGHT, bias: str = names.HEAD_BIAS) -> None:
        self.vocabulary, self.weight, self.bias = vocabulary, weight, bias
        self._space = Workspace()

    def logits(self, params: Params | Panels, y: Array) -> Array:
        """Map y [N, H] to logits [N, V]."""
        out = self._space("logits", (len(y), self.vocabulary), y.dtype)
        return params.affine(self.weight, self.bias, y, out)

    def log_probs(self, params: Params | Panels, y: Array, targets: Array) -> Array:
        """Return the natural logarithm of p(target) for y [N, H], targets [N]: float64 [N]."""
        result = np.empty(len(y))
        for rows in row_chunks(len(y), self.vocabulary):
            logits = self.logits(params, y[rows])
            result[rows] = _softmax(logits, targets[rows])
        return result

    def ranked_log_probs(
        self, params: Params | Panels, y: Array, targets: Array, top: int, adjust: Adjust | None = None
    ) -> tuple[Array, ...]:
        """Return what `ranked` does of the rows y [N, H]; `adjust` may change their log p, given a slice of rows."""
        parts = []
        for rows in row_chunks(len(y), self.vocabulary):
            logp = log_softmax(self.logits(params, y[rows]))
            parts.append(ranked(logp if adjust is None else adjust(rows, logp), targets[rows], top))
        return tuple(np.concatenate(figures) for figures in zip(*parts, strict=True))

    def backward(
        self,
        params: Params,
        grads: Params,
        y: Array,
        targets: Array,
        weight: Array,
        scale: float,
        counted: Array | None = None,
    ) -> tuple[float, Array]:
        """Add the gradients of scale * nats for y [N, H]; return nats = -sum(weight * log p) and dy [N, H].

        With `counted` [N] the nats that are returned are -sum(counted * log p); the gradients stay.
        """
        counted = weight if counted is None else counted
        nats = 0.0
        dy = self._space("dy", y.shape, y.dtype)
        dweight = self._space("dweight", grads[self.weight].shape, y.dtype)
        for rows in row_chunks(len(y), self.vocabulary):
            logits = self.logits(params, y[rows])
            logp = _softmax(logits, targets[rows], (weight[rows] * scale).astype(y.dtype))
            nats -= float(logp @ counted[rows])
            grads[self.weight][...] += np.matmul(logits.T, y[rows], out=dweight)
            grads[self.bias][...] += logits.sum(axis=0)
            np.matmul(logits, params[self.weight], out=dy[rows])
        return nats, dy


def row_chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    """Cut rows of so many logits into nearly equal chunks."""
    chunks = -(-rows // max(_CACHED // vocabulary, min(_ROWS, _HELD // vocabulary), 128))
    return (slice(rows * i // chunks, rows * (i + 1) // chunks) for i in range(chunks))


def ranked(logp: Array, targets: Array, top: int) -> tuple[Array, Array, Array, Array]:
    """Return log p(target) [N], its rank from 1 [N], and ids and log p of the `top` most probable [N, top]."""
    target = logp[np.arange(len(logp)), targets]
    rank = 1 + (logp > target[:, None]).sum(axis=1)
    some = np.argpartition(-logp, top - 1, axis=1)[:, :top]
    order = np.argsort(-np.take_along_axis(logp, some, axis=1), axis=1, kind="stable")
    ids = np.take_along_axis(some, order, axis=1)
    return target, rank, ids, np.take_along_axis(logp, ids, axis=1)


def log_softmax(logits: Array) -> Array:
    """Return log p in nats, float64 [N, V], of logits [N, V]."""
    logp: Array = logits.astype(np.float64)
    logp -= logp.max(axis=1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
    return logp


def _softmax(logits: Array, targets: Array, factor: Array | None = None) -> Array:
    """Return log p(target) as float64 [N] of logits [N, V], which become factor * (p - onehot(target)), in place.

    With no `factor` [N] they are used up.
    """
    if kernel.serves(logits):
        result: Array = np.empty(len(logits))
        kernel.call("softmax", *logits.shape, logits, np.ascontiguousarray(targets, np.int64), factor, result)
        return result
    rows = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[rows, targets].astype(np.float64)
    np.exp(logits, out=logits)
    total = logits.sum(axis=1)
    if factor is not None:
        logits *= (factor / total)[:, None]
        logits[rows, targets] -= factor
    return np.asarray(chosen - np.log(total, dtype=np.float64))
