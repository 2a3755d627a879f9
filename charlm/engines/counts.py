"""A model that is counts alone: an n-gram model, without a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charlm.counts.labelled import AnyCounts
from charlm.engines import Array, LogProbs, State, Tally, tally_of
from charlm.engines.weights import check_fit
from charlm.nn.head import ranked, row_chunks
from charlm.text.batches import Batch, Ids


class NoNetwork:
    """What a model has in the place of a network's engine where it has none: no weights, and nothing to compute."""

    description = "no network"

    def tensors(self) -> dict[str, Array]:
        return {}

    def load(self, tensors: Mapping[str, Array]) -> None:
        """Take no weights; raises DataError for any."""
        check_fit(tensors, {})


class CountsEngine:
    """Implements `charlm.engines.Predictor` by counts alone; the state is their nodes [B]."""

    columns, normalized = 64, True

    def __init__(self, counts: AnyCounts) -> None:
        self.counts = counts

    def zero_state(self, batch: int) -> State:
        return self.counts.zero_state(batch)

    def select(self, state: State, columns: list[int]) -> State:
        return state[columns]

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        found, state = self.log_probs(batch, state)
        return tally_of(found.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        nodes = self.counts.walk(batch.inputs, batch.reset, state)
        if not top:
            return LogProbs(np.log(self.counts.targets(nodes, batch.targets))), nodes[-1]
        before, targets, most = (
            nodes.reshape(-1, *nodes.shape[2:]),
            batch.targets.reshape(-1),
            min(top, self.counts.vocab_size),
        )
        parts = [
            ranked(np.log(self.counts.distribution(before[rows])), targets[rows], most)
            for rows in row_chunks(len(before), self.counts.vocab_size)
        ]
        figures = (np.concatenate(each) for each in zip(*parts, strict=True))
        shape = batch.targets.shape
        return LogProbs(*(each.reshape(*shape, *each.shape[1:]) for each in figures)), nodes[-1]

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        """Return log p [B, V] of every next token, and the state after."""
        state = self.counts.walk(inputs, None, state)[-1]
        return np.log(self.counts.distribution(state)), state
