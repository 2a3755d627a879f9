"""Dynamic evaluation (Krause et al. 2018): a model that goes on learning from the text while it is scored.

Each chunk is scored first and learnt from afterwards, so that what is scored was never seen before: the figures are
probabilities like any others, of a model that adapts. After each step the weights w are drawn back to the trained ones:

    w -= lr * g / (rms + eps)        w += decay * (w_trained - w)        g: gradient of the chunk's mean loss

where rms is RMSprop's running root mean square of each gradient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Array, LogProbs, State, Tally, tally_of
from charlm.engines.numpy import NumpyEngine
from charlm.text.batches import Batch

_DECAY = 0.002  # of the distance to the trained weights


class DynamicEngine:
    """Implements `charlm.engines.Reader`, for one column: batches come in the order of the text."""

    columns = 1

    def __init__(self, engine: NumpyEngine, lr: float) -> None:
        """Wrap an engine of its own, which trains without dropout; its weights are those to begin with."""
        self._engine, self._lr = engine, lr
        self._trained: dict[str, Array] = engine.tensors()

    def zero_state(self, batch: int) -> State:
        return self._engine.zero_state(batch)

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        """Return the loss of one batch before learning from it, and the state after."""
        found, after = self.log_probs(batch, state)
        return tally_of(found.target, batch), after

    def log_probs(self, batch: Batch, state: State) -> tuple[LogProbs, State]:
        """Return log p of the targets before learning from them, and the state after."""
        logp, _, after = self.read(batch, state)
        return LogProbs(logp), after

    def read(self, batch: Batch, state: State) -> tuple[NDArray[np.float64], Array, State]:
        """Return what the engine says of one batch before learning from it: log p, hidden values, state after."""
        found = self._engine.read(batch, state)
        if batch.weight.any():
            self._engine.update(batch, state, self._lr)
            learnt = self._engine.tensors()
            self._engine.load({name: w + _DECAY * (self._trained[name] - w) for name, w in learnt.items()})
        return found
