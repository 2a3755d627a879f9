"""The default engine: the language model on NumPy and threads (learner.py), and the figures that only it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Array, LogProbs, Tally, tally_of
from charlm.engines.learner import WORTH_SHARING, Learner, join
from charlm.engines.weights import first_weights
from charlm.nn import kernel
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params, Shape, State
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch, Ids

_Weights = Params | Panels


class _LanguageBlueprint:
    """Implements `charlm.engines.learner.Blueprint`."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config

    @property
    def shapes(self) -> dict[str, Shape]:
        return shapes(self._config)

    def first_weights(self, seed: int) -> Params:
        return first_weights(self._config, seed)

    def zero_state(self, columns: int) -> State:
        return zero_state(self._config, columns)

    def network(self) -> LanguageModel:
        return LanguageModel(self._config)

    def laid_out(self, params: Params) -> _Weights:
        return Panels(self._config, params) if kernel.serves(params.flat) else params


class NumpyEngine(Learner[LanguageModel, Batch]):
    """Implements `charlm.engines.Engine` on NumPy arrays; the state is a tuple of [layers, B, H]."""

    columns = 64
    normalized = False

    def __init__(self, model: ModelConfig, threads: int = 1, train: TrainConfig | None = None) -> None:
        """Draw first weights with the training settings' seed."""
        super().__init__(_LanguageBlueprint(model), threads, train)
        self.config = model

    def select(self, state: State, columns: list[int]) -> State:
        return tuple(part[:, columns] for part in state)

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        logp, state = self.log_probs(batch, state)
        return tally_of(logp.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        if top:
            return self.ranked(batch, state, top)

        def forward(
            network: LanguageModel, weights: _Weights, part: Batch, before: State
        ) -> tuple[Array, State]:
            return network.log_probs(weights, part.inputs, part.targets, part.reset, before)

        results, after = self.each(forward, batch, state)
        return LogProbs(np.concatenate(results, axis=1)), after

    def ranked(
        self, batch: Batch, state: State, top: int, adjust: Callable[[Batch, slice, Array], Array] | None = None
    ) -> tuple[LogProbs, State]:
        """Return log p of the targets with ranks and the `top` most probable tokens, and the state after.

        `adjust` may change log p [n, V] of every token, given the columns of the batch that a thread has, and which
        of their targets, step by step, the rows stand for.
        """
        most = min(top, self.config.vocab_size)

        def forward(
            network: LanguageModel, weights: _Weights, part: Batch, before: State
        ) -> tuple[tuple[Array, ...], State]:
            given = (weights, part.inputs, part.targets, part.reset, before, most)
            return network.ranked_log_probs(*given, adjust and partial(adjust, part))

        results, after = self.each(forward, batch, state)
        figures = (np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))
        return LogProbs(*figures), after

    def read(self, batch: Batch, state: State) -> tuple[NDArray[np.float64], Array, State]:
        def forward(
            network: LanguageModel, weights: _Weights, part: Batch, before: State
        ) -> tuple[tuple[Array, Array], State]:
            logp, y, after = network.read(weights, part.inputs, part.targets, part.reset, before)
            return (logp, y.copy()), after

        results, after = self.each(forward, batch, state)
        logp, y = (np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))
        return logp, y, after

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        weights = self.weights()

        if inputs.size * self.params.flat.size < WORTH_SHARING and isinstance(weights, Panels):
            return self._workers[0].do(lambda network: network.logits(weights, inputs, state))

        def forward(network: LanguageModel, _: int, part: slice, before: State) -> tuple[Array, State]:
            return network.logits(weights, inputs[:, part], before)

        results = self._each_part(forward, inputs.shape[1], state)
        return np.concatenate([logits for logits, _ in results]), join([after for _, after in results])
