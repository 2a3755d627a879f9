"""The output: logits W y + b over the vocabulary, softmax and cross-entropy, in chunks of rows.

    nats = -sum_i w_i log p_i       p = softmax(logits)       dlogits_i = w_i (p - onehot(target_i)) * scale

Working in chunks keeps a word model's T·B·V logits from ever existing at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charlm.nn import kernel, names
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Workspace

_CACHED = 2**18  # logits that a second-level cache holds: small vocabularies gain by staying within
_ROWS = 1024  # large ones gain by fewer chunks, since each adds up V x H gradients anew: so many rows,
_HELD = 2**23  # or as many logits as may take memory


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
        for rows in self._chunks(len(y)):
            logits = self.logits(params, y[rows])
            result[rows] = _softmax(logits, targets[rows])
        return result

    def ranked_log_probs(
        self, params: Params | Panels, y: Array, targets: Array, top: int
    ) -> tuple[Array, Array, Array, Array]:
        """Return log p(target) [N], its rank from 1 [N], and ids and log p of the `top` most probable [N, top]."""
        logp, best = np.empty(len(y)), np.empty((len(y), top))
        rank, ids = np.empty(len(y), np.int64), np.empty((len(y), top), np.int64)
        for rows in self._chunks(len(y)):
            every = log_softmax(self.logits(params, y[rows]))
            logp[rows] = every[np.arange(len(every)), targets[rows]]
            rank[rows] = 1 + (every > logp[rows, None]).sum(axis=1)
            some = np.argpartition(-every, top - 1, axis=1)[:, :top]
            order = np.argsort(-np.take_along_axis(every, some, axis=1), axis=1, kind="stable")
            ids[rows] = np.take_along_axis(some, order, axis=1)
            best[rows] = np.take_along_axis(every, ids[rows], axis=1)
        return logp, rank, ids, best

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
        for rows in self._chunks(len(y)):
            logits = self.logits(params, y[rows])
            logp = _softmax(logits, targets[rows], (weight[rows] * scale).astype(y.dtype))
            nats -= float(logp @ counted[rows])
            grads[self.weight][...] += np.matmul(logits.T, y[rows], out=dweight)
            grads[self.bias][...] += logits.sum(axis=0)
            np.matmul(logits, params[self.weight], out=dy[rows])
        return nats, dy

    def _chunks(self, rows: int) -> Iterator[slice]:
        """Cut the rows into nearly equal chunks."""
        chunks = -(-rows // max(_CACHED // self.vocabulary, min(_ROWS, _HELD // self.vocabulary), 128))
        return (slice(rows * i // chunks, rows * (i + 1) // chunks) for i in range(chunks))


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
