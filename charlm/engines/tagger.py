"""The engine of a tagger: its network on NumPy and threads (learner.py), log p of every tag, and
the best tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.config import TrainConfig
from charlm.engines.learner import WORTH_SHARING, Learner, overflowing
from charlm.engines.weights import unknown_tells_nothing
from charlm.nn import kernel, names
from charlm.nn.crf import Transitions
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State
from charlm.nn.tagger import (
    Judgement,
    TaggerNetwork,
    TaggerShape,
    best_tags,
    in_turn,
    initialize,
    judge,
    shapes,
)
from charlm.text.tag_packing import TagChunk
from charlm.text.tokenizers import UNK

Allowed = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
"""Which tags may begin a sentence [L], follow one another [L, L], from the row's to the column's,
and end it [L]."""


class _TaggerBlueprint:
    """Implements `charlm.engines.learner.Blueprint`."""

    def __init__(
        self, shape: TaggerShape, token_dropout: float | Array, embedding_scale: float,
        kinds: Array | None,
    ) -> None:  # fmt: skip
        self._shape, self._token_dropout, self._kinds = shape, token_dropout, kinds
        self._embedding_scale = np.float32(embedding_scale)

    @property
    def shapes(self) -> dict[str, Shape]:
        return shapes(self._shape)

    def first_weights(self, seed: int) -> Params:
        params = initialize(self._shape, np.random.default_rng([seed, 0]))
        if names.EMBED in params:
            params[names.EMBED][...] *= self._embedding_scale
        if self._shape.spelling:
            unknown_tells_nothing(params.under(names.CHARACTERS))
        return unknown_tells_nothing(params)

    def zero_state(self, columns: int) -> State:
        """Return nothing: whole sentences carry no state."""
        return ()

    def network(self) -> TaggerNetwork:
        return TaggerNetwork(self._shape, self._token_dropout, UNK, self._kinds)

    def laid_out(self, params: Params) -> Params | Panels:
        if not kernel.serves(params.flat):
            return params
        spelling = self._shape.spelling
        parts = {names.CHARACTERS: spelling} if spelling else {}
        return Panels(self._shape.model, params, parts, self._shape.words)


class TaggerEngine(Learner[TaggerNetwork, TagChunk]):
    """Trains a tagger and computes with it; chunks hold whole sentences, and there is no state."""

    def __init__(
        self, shape: TaggerShape, threads: int = 1, train: TrainConfig | None = None,
        token_dropout: float | NDArray[np.float32] = 0.0, embedding_scale: float = 1.0,
        kinds: Array | None = None,
    ) -> None:  # fmt: skip
        """Draw first weights with the training settings' seed, the embedding times
        `embedding_scale`.

        `token_dropout`: how probably training reads a token as unknown, one for all or of each id,
        [V]. `kinds`: the kind of each character (`charlm.text.kinds`), whose n-grams count beside
        the characters' own.
        """
        super().__init__(
            _TaggerBlueprint(shape, token_dropout, embedding_scale, kinds), threads, train
        )
        self.shape = shape

    def judge(self, chunk: TagChunk, allowed: Allowed | None = None) -> Judgement:
        """Return log p of all tags, the best tags and the nats of the right ones, as the methods
        below do."""
        chain = None if allowed is None else Transitions.allowed(*allowed)
        return Judgement(
            *self._figures(
                lambda scores, part: judge(self.params, self.shape, scores, part, chain), chunk
            )
        )

    def log_probs(self, chunk: TagChunk) -> NDArray[np.float64]:
        """Return log p of every tag of every place in nats, [N, L]; of a chain over all tags of the
        other places."""
        return self.judge(chunk).logp

    def nats(self, chunk: TagChunk) -> NDArray[np.float64]:
        """Return -log p of the known tags in nats, 0 where none is known: [N], or of a chain's
        sentences, [S]."""
        return self.judge(chunk).nats

    def decode(self, chunk: TagChunk, allowed: Allowed | None = None) -> NDArray[np.int32]:
        """Return the best tags of all places, [N]: the most probable sequence of those allowed.

        Without a chain and where everything is allowed, that is the most probable tag of each
        place.
        """
        chain = None if allowed is None else Transitions.allowed(*allowed)
        (tags,) = self._figures(
            lambda scores, part: (best_tags(self.params, self.shape, scores, part, chain),), chunk
        )
        return tags

    def in_turn(self, chunk: TagChunk) -> NDArray[np.float64]:
        """Return log p of each known tag given those before it in its sentence, in nats, [N]; 0
        where one is not known.

        Without a chain those before it tell nothing.
        """
        (logp,) = self._figures(
            lambda scores, part: (in_turn(self.params, self.shape, scores, part),), chunk
        )
        return logp

    def _figures(
        self, work: Callable[[Array, TagChunk], Sequence[Array]], chunk: TagChunk
    ) -> list[Array]:
        """Return what `work` makes of the scores [N, L] of a chunk, by all threads where that is
        worth it.

        Its arrays have an entry for each place, but the third, where a chain is learnt, one for
        each sentence.
        """
        weights = self.weights()
        if chunk.read * self.params.flat.size < WORTH_SHARING:
            with overflowing():
                return self._workers[0].do(
                    lambda network: list(work(network.scores(weights, chunk), chunk))
                )

        def forward(
            network: TaggerNetwork, _: int, part: slice, __: State
        ) -> tuple[Array, Sequence[Array]]:
            own = (chunk.sentence_column >= part.start) & (chunk.sentence_column < part.stop)
            some = chunk.columns(part)
            return own, work(network.scores(weights, some), some)

        parts = self._each_part(forward, chunk.width, ())
        sentences = np.argsort(np.concatenate([np.flatnonzero(own) for own, _ in parts]))
        lengths = np.diff(chunk.starts)
        places = np.argsort(
            np.concatenate([np.flatnonzero(np.repeat(own, lengths)) for own, _ in parts])
        )
        return [
            np.concatenate(each)[sentences if k == 2 and self.shape.crf else places]
            for k, each in enumerate(zip(*(figures for _, figures in parts), strict=True))
        ]
