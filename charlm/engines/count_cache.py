"""The count cache: n-grams of the text so far, beside whatever else says how probable its next
token is.

    p(x) = (1 - w) p_model(x) + w p_cache(x)

with p_cache of `charlm.counts.online`, which each token enters once it is scored. How far the cache
can be trusted depends on the text and on how much of the context has come before, so there is a
weight w for each length of the longest known context, and one more where a single token has ever
followed it. Each is learnt from the tokens before, as the share that the cache had in what came
true:

    w = (20 * 0.05 + sum of shares) / (20 + n)        share = w p_cache(x) / p(x)

over the n tokens that were judged by it: a step of expectation and maximisation (Dempster, Laird &
Rubin 1977) a token, which begins as if 20 tokens had been seen with a share of 0.05. So no weight
was chosen on the text that is scored, and what is scored is a probability like any other.
"""

from __future__ import annotations

import numpy as np

from charlm.counts.online import OnlineCounts
from charlm.counts.table import MOST_ORDER
from charlm.engines import LogProbs, State, Tally, tally_of
from charlm.engines.blend import Log, Scorer
from charlm.errors import UsageError
from charlm.text.batches import Batch, Ids

ORDER = 6  # near the best for characters, bytes and words alike
_FIRST_SHARE, _FIRST_TOKENS = 0.05, 20.0


class CountCacheEngine:
    """Implements `charlm.engines.blend.Scorer` over another; each column has a cache of its own.

    The cache goes on over the ends of sequences, and tokens that do not count enter it too. Its
    state changes in place: each is given back once, in the order of the text.
    """

    columns = 1

    def __init__(self, scorer: Scorer, vocab_size: int, order: int = ORDER) -> None:
        """Keep n-grams of up to `order` tokens; raises UsageError unless they are 1 to 10."""
        if not 1 <= order <= MOST_ORDER:
            raise UsageError(f"the order of the count cache must be 1 to {MOST_ORDER}, not {order}")
        self._scorer, self._vocab_size, self._order = scorer, vocab_size, order

    def zero_state(self, batch: int) -> State:
        caches = tuple(_Cache(self._vocab_size, self._order) for _ in range(batch))
        return self._scorer.zero_state(batch), caches

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        """Return the loss of one batch, and the state after."""
        found, after = self.log_probs(batch, state)
        return tally_of(found.target, batch), after

    def log_probs(self, batch: Batch, state: State) -> tuple[LogProbs, State]:
        """Return log p of the targets, and the state after: the scorer's own, and the caches."""
        inner, caches = state
        found, inner = self._scorer.log_probs(batch, inner)
        columns = [
            cache.mixed(found.target[:, k], batch.targets[:, k]) for k, cache in enumerate(caches)
        ]
        return LogProbs(np.stack(columns, axis=1)), (inner, caches)


class _Cache:
    """What was counted in one column, and the weights that this has earned."""

    def __init__(self, vocab_size: int, order: int) -> None:
        self._counts = OnlineCounts(vocab_size, order)
        kinds = 2 * order + 1
        self._shares, self._tokens = [_FIRST_TOKENS * _FIRST_SHARE] * kinds, [_FIRST_TOKENS] * kinds

    def mixed(self, logp: Log, ids: Ids) -> Log:
        """Return log p [T] of tokens [T] whose log p [T] without the cache is given, and learn from
        them."""
        result = logp.copy()
        chances, kinds = self._counts.read(ids.tolist())
        for t, (p, q, kind) in enumerate(zip(np.exp(logp).tolist(), chances, kinds, strict=True)):
            if kind:  # else nothing has come that could be looked up
                cached = q * self._shares[kind] / self._tokens[kind]
                both = cached + p * (1 - self._shares[kind] / self._tokens[kind])
                self._shares[kind] += cached / both
                self._tokens[kind] += 1
                result[t] = np.log(both)
        return result
