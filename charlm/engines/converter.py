"""The engine of a converter: its network on NumPy and threads (learner.py), and what it makes of
sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN, TrainConfig
from charlm.engines import Array, LogProbs, Tally, tally_of
from charlm.engines.learner import WORTH_SHARING, Learner
from charlm.engines.threads import Result
from charlm.engines.weights import unknown_tells_nothing
from charlm.nn import kernel, names
from charlm.nn.attention import Memory
from charlm.nn.converter import ConverterNetwork, ConverterShape, initialize, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params, Shape, State
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch, Ids
from charlm.text.pair_packing import PairChunk, lay_out_sources
from charlm.text.tokenizers import EOS, UNK

_AT_ONCE = 256  # sources that a thread decodes together
_ALIVE = 0.75  # where fewer of the columns are still written, the others are left out

Weights = Params | Panels


class Written(NamedTuple):
    """A target that was written: its ids without EOS, log p in nats of all that was chosen, EOS
    included, and whether EOS ended it, not the limit."""

    ids: Ids
    logprob: float
    ended: bool


class _ConverterBlueprint:
    """Implements `charlm.engines.learner.Blueprint`."""

    def __init__(self, shape: ConverterShape) -> None:
        self._shape = shape

    @property
    def shapes(self) -> dict[str, Shape]:
        return shapes(self._shape)

    def first_weights(self, seed: int) -> Params:
        params = initialize(self._shape, np.random.default_rng([seed, 0]))
        unknown_tells_nothing(params.under(names.ENCODER))
        return unknown_tells_nothing(params)

    def zero_state(self, columns: int) -> State:
        """Return nothing: whole pairs carry no state."""
        return ()

    def network(self) -> ConverterNetwork:
        return ConverterNetwork(self._shape)

    def laid_out(self, params: Params) -> Weights:
        if not kernel.serves(params.flat):
            return params
        return Panels(self._shape.decoder, params, {names.ENCODER: self._shape.encoder})


class ConverterEngine(Learner[ConverterNetwork, PairChunk]):
    """Trains a converter and computes with it; chunks hold whole pairs, and there is no state.

    >>> shape = ConverterShape(ModelConfig(30, bidirectional=True), ModelConfig(41))
    >>> engine = ConverterEngine(shape, threads=2)
    >>> engine.update(make_pair_chunk(pairs), (), 1e-3)  # doctest: +SKIP
    >>> engine.greedy([source for source, _ in pairs], [20] * len(pairs))  # doctest: +SKIP
    """

    def __init__(
        self, shape: ConverterShape, threads: int = 1, train: TrainConfig | None = None
    ) -> None:
        """Draw first weights with the training settings' seed."""
        super().__init__(_ConverterBlueprint(shape), threads, train)
        self.shape = shape

    def log_probs(self, chunk: PairChunk) -> NDArray[np.float64]:
        """Return log p of every token of the targets in nats, pair by pair, [R]: EOS is each one's
        last."""
        parts = self._shared(
            lambda network, weights, part: network.log_probs(weights, chunk.columns(part)),
            chunk.width,
            chunk.read,
        )
        return np.concatenate(parts)

    def shares(self, chunk: PairChunk) -> list[Array]:
        """Return how much each token of each target looks at each of its source, [n, m] each.

        Both have an EOS at their end. A row adds up to 1; without attention it has no columns.
        """
        parts = self._shared(
            lambda network, weights, part: network.shares(weights, chunk.columns(part)),
            chunk.width,
            chunk.read,
        )
        return [share for part in parts for share in part]

    def bound(self, source: Ids) -> BoundConverter:
        """Read one source, given without EOS; return what writes and scores its targets."""
        return BoundConverter(self, self.remembered([source]))

    def remembered(self, sources: Sequence[Ids]) -> Memory:
        """Read sources, given without EOS; there is at least one."""
        laid = lay_out_sources(sources)
        return self.on_one_thread(lambda network, weights: network.encode(weights, laid))

    def greedy(self, sources: Sequence[Ids], limits: Sequence[int]) -> list[Written]:
        """Return a target for each source: at every step the most probable token, the lowest id of
        equals.

        Sources are given without EOS. A target that reaches its limit of tokens is not ended by EOS
        unless EOS comes next. `<unk>` is never chosen. No target depends on the other sources.
        """
        if not sources:
            return []
        order = np.argsort([len(source) for source in sources], kind="stable")
        rising = range(0, len(order), _AT_ONCE)
        several = [*rising[::2], *rising[1::2][::-1]]  # so that threads have as much to do
        results: list[Written] = [Written(np.zeros(0, np.int32), 0.0, False)] * len(order)

        def some(network: ConverterNetwork, weights: Weights, part: slice) -> None:
            for begin in several[part]:
                numbers = order[begin : begin + _AT_ONCE].tolist()
                chosen = [sources[number] for number in numbers]
                memory = network.encode(weights, lay_out_sources(chosen))
                longest = np.array([limits[number] for number in numbers])
                for number, found in zip(
                    numbers, self._best(network, weights, memory, longest), strict=True
                ):
                    results[number] = found

        self._shared(some, len(several), WORTH_SHARING if len(several) > 1 else 0)
        return results

    def _best(
        self, network: ConverterNetwork, weights: Weights, memory: Memory, longest: Array
    ) -> list[Written]:
        """Return what `greedy` does, of the sources of a memory [N], on this thread."""
        count = len(longest)
        ids = np.full((count, int(longest.max(initial=0)) + 1), EOS, np.int32)
        lengths, totals, ended = longest.copy(), np.zeros(count), np.zeros(count, np.bool_)
        going = np.arange(count)  # which source each column writes of
        alive = np.ones(count, np.bool_)  # of the columns
        state = zero_state(self.shape.decoder, count)
        inputs = np.full((1, count), NO_TOKEN, np.int32)
        for t in range(ids.shape[1]):
            top, state = network.step(weights, inputs, None, state, memory, np.arange(len(going)))
            logits = network.logits(weights, top[0])
            token, logp = _most_probable(logits)
            alive &= (t < longest[going]) | (token == EOS)
            totals[going[alive]] += logp[alive]
            ids[going[alive], t] = token[alive]
            ends = alive & (token == EOS)
            ended[going[ends]], lengths[going[ends]] = True, t
            alive &= ~ends
            if not alive.any():
                break
            inputs = token[None].astype(np.int32)  # what an ended one writes is not heeded
            if alive.sum() < _ALIVE * len(alive):
                left = np.flatnonzero(alive)
                memory, state = memory.at(left), tuple(part[:, left] for part in state)
                going, inputs, alive = going[left], inputs[:, left], alive[left]
        return [
            Written(row[:length].copy(), total, end)
            for row, length, total, end in zip(
                ids, lengths.tolist(), totals.tolist(), ended.tolist(), strict=True
            )
        ]

    def _shared(
        self, work: Callable[[ConverterNetwork, Weights, slice], Result], count: int, read: int
    ) -> list[Result]:
        """Call `work` on parts of `count` things, by all threads where reading so many tokens is
        worth it."""
        weights = self.weights()
        if read * self.params.flat.size < WORTH_SHARING:
            return [
                self.on_one_thread(lambda network, weights: work(network, weights, slice(0, count)))
            ]
        return self._each_part(lambda network, _, part, __: work(network, weights, part), count, ())

    def on_one_thread(self, work: Callable[[ConverterNetwork, Weights], Result]) -> Result:
        """Call `work` with a network and the weights, BLAS keeping to one thread: so it sums in the
        same order."""
        weights = self.weights()
        return self._each_part(lambda network, *_: work(network, weights), 1, ())[0]


def _most_probable(logits: Array) -> tuple[Array, Array]:
    """Return the most probable token of each row of logits [N, V] but `<unk>`, and its log p
    [N]."""
    rows = np.arange(len(logits))
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    shifted[:, UNK] = -np.inf
    token = shifted.argmax(axis=1)
    return token, shifted[rows, token] - total


BoundState = tuple[State, Array]
"""The decoder's state, and which source each column writes the target of, [B]."""


class BoundConverter:
    """Implements `charlm.engines.Predictor` for targets of sources that were read: a model of each
    one's.

    A text begins where its input is NO_TOKEN, as `charlm.text.batches.Context()` has it. With
    `zero_state` all columns are of the first source, with `states` each is of the one it is given.
    """

    columns = 64
    normalized = False

    def __init__(self, engine: ConverterEngine, memory: Memory) -> None:
        self._engine, self.memory = engine, memory

    def zero_state(self, batch: int) -> BoundState:
        return self.states(np.zeros(batch, np.int64))

    def states(self, numbers: NDArray[np.int64]) -> BoundState:
        """Return the state before anything was written, column b of the target of source
        `numbers[b]`."""
        return zero_state(self._engine.shape.decoder, len(numbers)), np.asarray(numbers)

    def select(self, state: BoundState, columns: list[int]) -> BoundState:
        decoder, which = state
        return tuple(part[:, columns] for part in decoder), which[columns]

    def evaluate(self, batch: Batch, state: BoundState) -> tuple[Tally, BoundState]:
        found, state = self.log_probs(batch, state)
        return tally_of(found.target, batch), state

    def log_probs(
        self, batch: Batch, state: BoundState, top: int = 0
    ) -> tuple[LogProbs, BoundState]:
        decoder, which = state
        shape, targets = batch.targets.shape, batch.targets.reshape(-1)

        def work(network: ConverterNetwork, weights: Weights) -> tuple[tuple[Array, ...], State]:
            said, after = network.step(
                weights, batch.inputs, batch.reset, decoder, self.memory, which
            )
            rows = said.reshape(-1, said.shape[2])
            if not top:
                return (network.token_log_probs(weights, rows, targets),), after
            most = min(top, self._engine.shape.decoder.vocab_size)
            return network.ranked_log_probs(weights, rows, targets, most), after

        figures, after = self._engine.on_one_thread(work)
        placed = (figure.reshape(*shape, *figure.shape[1:]) for figure in figures)
        return LogProbs(*placed), (after, which)

    def logits(self, inputs: Ids, state: BoundState) -> tuple[Array, BoundState]:
        decoder, which = state

        def work(network: ConverterNetwork, weights: Weights) -> tuple[Array, State]:
            said, after = network.step(weights, inputs, None, decoder, self.memory, which)
            return network.logits(weights, said[-1]), after

        logits, after = self._engine.on_one_thread(work)
        return logits, (after, which)
