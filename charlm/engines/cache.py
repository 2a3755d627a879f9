"""The continuous cache (Grave et al. 2017): a model that looks up what came in places of the text like this one.

Each hidden value h_i is kept with the token that came after it, and a token that came where the model stood much as
it stands now becomes more probable:

    p(x) = (1 - share) p_model(x) + share p_cache(x)
    p_cache(x) = sum_{i: x_{i+1} = x} e_i / sum_i e_i        e_i = exp(theta cos(h_t, h_i))

over the last `window` places i < t of the column, so that what is scored was never in the cache before. The paper
has the product h_t . h_i where this has the cosine, with which one theta serves models of all sizes, and better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Array, LogProbs, Reader, State, Tally, tally_of
from charlm.errors import UsageError
from charlm.text.batches import Batch, Ids

_SHARE, _THETA = 0.15, 14.0  # near the best for words and for characters alike
_LARGEST_WINDOW = 100_000


class CacheEngine:
    """Implements `charlm.engines.Evaluator` over a reader; each column has a cache of its own.

    The cache goes on over the ends of sequences, and tokens that do not count enter it too.
    """

    columns = 1

    def __init__(self, reader: Reader, window: int, theta: float = _THETA, share: float = _SHARE) -> None:
        """Keep the last `window` tokens; raises UsageError unless they are 1 to 100,000."""
        if not 1 <= window <= _LARGEST_WINDOW:
            raise UsageError(f"the window of the cache must be 1 to {_LARGEST_WINDOW:,} tokens, not {window:,}")
        self._reader, self._window, self._theta, self._share = reader, window, theta, share

    def zero_state(self, batch: int) -> State:
        return self._reader.zero_state(batch), (), ()

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        """Return the loss of one batch, and the state after."""
        found, after = self.log_probs(batch, state)
        return tally_of(found.target, batch), after

    def log_probs(self, batch: Batch, state: State) -> tuple[LogProbs, State]:
        """Return log p of the targets, and the state after: the reader's own, and the cached h and tokens."""
        inner, cached_h, cached_ids = state
        logp, h, inner = self._reader.read(batch, inner)
        h /= np.maximum(np.linalg.norm(h, axis=2, keepdims=True), np.finfo(h.dtype).tiny)
        every_h = np.concatenate([*cached_h, h])  # [N + T, B, H]
        every_id = np.concatenate([*cached_ids, batch.targets])  # [N + T, B]
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 is right for what the cache has not got
            for k in range(batch.targets.shape[1]):
                logp[:, k] = self._mixed(logp[:, k], every_h[:, k], every_id[:, k])
        return LogProbs(logp), (inner, (every_h[-self._window :],), (every_id[-self._window :],))

    def _mixed(self, logp: NDArray[np.float64], h: Array, ids: Ids) -> NDArray[np.float64]:
        """Return log p [T] of one column's last T tokens, of h [N + T, H] and ids [N + T], given the model's [T]."""
        past = len(ids) - len(logp)
        age = np.arange(past, len(ids))[:, None] - np.arange(len(ids))  # [T, N + T]
        e = np.exp(self._theta * (h[past:] @ h.T).astype(np.float64))
        e *= (age > 0) & (age <= self._window)
        total, found = e.sum(axis=1), (e * (ids == ids[past:, None])).sum(axis=1)
        share = np.where(total > 0, self._share, 0.0)  # at the very first token there is nothing to look up
        cache = np.log(share * found / np.where(total > 0, total, 1.0))
        return np.asarray(np.logaddexp(np.log1p(-share) + logp, cache))
