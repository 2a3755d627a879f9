"""Several models as one: the probabilities of the same vocabulary, mixed with fixed weights.

    p(token | text) = sum_i weight_i p_i(token | text)

Mixing is done at every token, so that a text's probability is again a product of conditional ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Array, LogProbs, Predictor, State, Tally, tally_of
from charlm.errors import UsageError
from charlm.text.batches import Batch, Ids


class MixtureEngine:
    """Implements `charlm.engines.Predictor`; the state is one for each model."""

    normalized = False

    def __init__(self, engines: Sequence[Predictor], weights: Sequence[float]) -> None:
        """Mix; `weights` are positive and add up to 1 (UsageError)."""
        if len(weights) != len(engines) or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
            raise UsageError(f"mix needs {len(engines)} positive weights that add up to 1, not {list(weights)}")
        self._engines, self._log_weights = list(engines), np.log(weights)

    @property
    def columns(self) -> int:
        return min(engine.columns for engine in self._engines)

    def zero_state(self, batch: int) -> State:
        return tuple(engine.zero_state(batch) for engine in self._engines)

    def select(self, state: State, columns: list[int]) -> State:
        return tuple(engine.select(part, columns) for engine, part in zip(self._engines, state, strict=True))

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        logp, state = self.log_probs(batch, state)
        return tally_of(logp.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        if top:
            raise UsageError("a mixture has no ranks: score it without --per-token")
        results = [engine.log_probs(batch, part) for engine, part in zip(self._engines, state, strict=True)]
        return LogProbs(self._mixed([logp.target for logp, _ in results])), tuple(after for _, after in results)

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        results = [engine.logits(inputs, part) for engine, part in zip(self._engines, state, strict=True)]
        normal = [logits.astype(np.float64) for logits, _ in results]
        logp = [each - np.logaddexp.reduce(each, axis=1, keepdims=True) for each in normal]
        return self._mixed(logp), tuple(after for _, after in results)

    def _mixed(self, logp: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        weighted = [weight + each for weight, each in zip(self._log_weights, logp, strict=True)]
        return np.asarray(np.logaddexp.reduce(weighted, axis=0))
