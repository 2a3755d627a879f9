"""The engine of a classifier: its network on NumPy and threads (learner.py), and log p of every label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.config import ModelConfig, TrainConfig
from charlm.engines.learner import WORTH_SHARING, Learner
from charlm.engines.weights import unknown_tells_nothing
from charlm.nn import kernel, names
from charlm.nn.classifier import ClassifierNetwork, initialize, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State
from charlm.text.packing import TextChunk
from charlm.text.tokenizers import UNK


class _ClassifierBlueprint:
    """Implements `charlm.engines.learner.Blueprint`."""

    def __init__(
        self, config: ModelConfig, labels: int, pool: str, ngrams: int, token_dropout: float,
        embedding_scale: float,
    ) -> None:  # fmt: skip
        self._given, self._token_dropout = (config, labels, pool, ngrams), token_dropout
        self._embedding_scale = np.float32(embedding_scale)

    @property
    def shapes(self) -> dict[str, Shape]:
        return shapes(*self._given)

    def first_weights(self, seed: int) -> Params:
        config, labels, pool, ngrams = self._given
        rng = np.random.default_rng([seed, 0])
        params = initialize(config, labels, pool, rng, ngrams)
        if names.EMBED in params:
            params[names.EMBED][...] *= self._embedding_scale
        return unknown_tells_nothing(params)

    def zero_state(self, columns: int) -> State:
        """Return nothing: whole texts carry no state."""
        return ()

    def network(self) -> ClassifierNetwork:
        return ClassifierNetwork(*self._given, self._token_dropout, UNK)

    def laid_out(self, params: Params) -> Params | Panels:
        return Panels(self._given[0], params) if kernel.serves(params.flat) else params


class ClassifierEngine(Learner[ClassifierNetwork, TextChunk]):
    """Trains a classifier and computes with it; chunks hold whole texts, and there is no state."""

    def __init__(
        self, model: ModelConfig, labels: int, pool: str, threads: int = 1, train: TrainConfig | None = None,
        ngrams: int = 0, token_dropout: float = 0.0, embedding_scale: float = 1.0,
    ) -> None:  # fmt: skip
        """Draw first weights with the training settings' seed, the embedding times `embedding_scale`.

        Tokens that training shows once or twice keep nearly what was drawn, which another text then
        reads as if it meant something: the smaller, the less so.
        """
        super().__init__(
            _ClassifierBlueprint(model, labels, pool, ngrams, token_dropout, embedding_scale),
            threads,
            train,
        )
        self.config, self.labels = model, labels

    def log_probs(self, chunk: TextChunk) -> NDArray[np.float64]:
        """Return log p of every label in nats [N, L] for the texts of a chunk."""
        weights = self.weights()

        if chunk.read * self.params.flat.size < WORTH_SHARING:
            return self._workers[0].do(lambda network: network.log_probs(weights, chunk))

        def forward(
            network: ClassifierNetwork, _: int, part: slice, __: State
        ) -> tuple[Array, Array]:
            inside = np.flatnonzero((chunk.column >= part.start) & (chunk.column < part.stop))
            return inside, network.log_probs(weights, chunk.columns(part))

        result = np.empty((len(chunk.length), self.labels))
        for inside, logp in self._each_part(forward, chunk.width, ()):
            result[inside] = logp
        return result
