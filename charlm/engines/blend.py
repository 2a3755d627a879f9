"""A network and the counts of its text as one model: their probabilities, blended with one weight.

    p(x | text) = (1 - weight) p_network(x | text) + weight p_counts(x | text)

Blending is done at every token, so that a text's probability is again a product of conditional
ones. The counts' context is part of the state, and follows the rules of the text alone: what a
batch holds beside does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.counts.labelled import SHARES, AnyCounts, LabelCounts
from charlm.engines import Array, Evaluator, LogProbs, Predictor, State, Tally, tally_of
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.text.batches import Batch, Ids
from charlm.text.tokenizers import UNK

GRID = np.arange(33) / 32  # the weights that validation tries
USUAL_WEIGHT = {"char": 0.35, "byte": 0.35, "word": 0.3}  # where there is no validation part

Log = NDArray[np.float64]


class Scorer(Evaluator, Protocol):
    """Says how probable each target of a batch is: an engine, or one that adapts to what it scores.
    """

    def log_probs(self, batch: Batch, state: State) -> tuple[LogProbs, State]: ...


def blended(logp: Log, p: Log, weight: float) -> Log:
    """Return log of (1 - weight) exp(logp) + weight p, of arrays of one shape."""
    if weight == 0:
        return logp
    mixed = np.exp(logp)
    mixed *= 1 - weight
    mixed += weight * p
    return np.asarray(np.log(mixed, out=mixed))


def softmax(logits: Array) -> Log:
    """Return p [B, V] of logits [B, V], in float64."""
    p: Log = logits.astype(np.float64)
    p -= np.maximum.reduce(p, axis=1, keepdims=True)
    np.exp(p, out=p)
    p /= np.add.reduce(p, axis=1, keepdims=True)
    return p


class BlendScorer:
    """Implements `Scorer` over another; the state is its own, and the counts' nodes [B]."""

    def __init__(self, scorer: Scorer, counts: AnyCounts, weight: float) -> None:
        self._scorer, self.counts, self.weight = scorer, counts, weight

    @property
    def columns(self) -> int:
        return self._scorer.columns

    def zero_state(self, batch: int) -> State:
        return self._scorer.zero_state(batch), self.counts.zero_state(batch)

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        network, p, after = self.both(batch, state)
        return tally_of(blended(network, p, self.weight), batch), after

    def log_probs(self, batch: Batch, state: State) -> tuple[LogProbs, State]:
        network, p, after = self.both(batch, state)
        return LogProbs(blended(network, p, self.weight)), after

    def both(self, batch: Batch, state: State) -> tuple[Log, Log, State]:
        """Return the scorer's log p of the targets [T, B], the counts' p of them [T, B], and the state after."""
        inner, place = state
        found, inner = self._scorer.log_probs(batch, inner)
        nodes = self.counts.walk(batch.inputs, batch.reset, place)
        return found.target, self.counts.targets(nodes, batch.targets), (inner, nodes[-1])


class GridScorer(BlendScorer):
    """Evaluates under all weights of the grid at once, for the best to be chosen."""

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        """Return the network's tally; its sums have the nats under each weight, and those of
        unknown targets.

        Where labels have counts of their own it is so for each of SHARES, one after the other.
        """
        inner, place = state
        found, inner = self._scorer.log_probs(batch, inner)
        nodes = self.counts.walk(batch.inputs, batch.reset, place)
        tally = tally_of(found.target, batch)
        counts = batch.weight > 0
        unknown = batch.targets[counts] == UNK
        by_share = self._by_share(nodes, batch.targets)
        nats = np.concatenate([_grid(found.target[counts], p[counts]) for p in by_share], axis=1)
        sums = {"grid": nats.sum(axis=0), "unknown_grid": nats[unknown].sum(axis=0)}
        after = inner, nodes[-1]
        return Tally(tally.nats, tally.count, tally.read, {**tally.sums, **sums}), after

    def _by_share(self, nodes: NDArray[np.int32], targets: Ids) -> Log:
        """Return p of the targets under each share of the labels' own counts, [S, T, B]."""
        if isinstance(self.counts, LabelCounts):
            return self.counts.targets_by_share(nodes, targets)
        return self.counts.targets(nodes, targets)[None]


def _grid(network: Log, p: Log) -> Log:
    """Return the nats of targets [n] under each weight, [n, grid], by log p of the network and p of
    the counts."""
    network, p = network[:, None], p[:, None]
    q = np.exp(network)
    between = -np.log(q + GRID[1:-1] * (p - q))
    return np.concatenate([-network, between, -np.log(p)], axis=1)


def fitted(tally: Tally) -> Tally:
    """Return the tally of the blend under the best weight, from one of `GridScorer`: of several, the smallest.

    Its sums keep what the network alone and the counts alone reach, and the weight; the share too
    where labels have counts of their own. Unknown targets have no say.
    """
    grids, unknowns = (tally.sums[name].reshape(-1, len(GRID)) for name in ("grid", "unknown_grid"))
    row, best = divmod(int(np.argmin(grids - unknowns)), len(GRID))
    grid, unknown = grids[row], unknowns[row]
    sums = {
        "unknown": tally.unknown, "unknown_nats": float(unknown[best]), "weight": float(GRID[best]),
        "network_nats": float(grid[0]), "network_unknown_nats": float(unknown[0]), "counts_nats": float(grid[-1]),
        **({"share": SHARES[row]} if len(grids) > 1 else {}),
    }  # fmt: skip
    return Tally(float(grid[best]), tally.count, tally.read, sums)


@dataclass(frozen=True)
class _PlacedBatch(Batch):
    """A batch, and where the counts stand before each target: nodes [T, B], or of labels [T, B,
    2]."""

    nodes: NDArray[np.int32]

    def columns(self, part: slice) -> _PlacedBatch:
        some = super().columns(part)
        return _PlacedBatch(some.inputs, some.targets, some.reset, some.weight, self.nodes[:, part])


class BlendEngine(BlendScorer):
    """Implements `charlm.engines.Predictor`."""

    normalized = True

    def __init__(self, engine: Predictor, counts: AnyCounts, weight: float) -> None:
        super().__init__(engine, counts, weight)
        self._engine = engine

    def select(self, state: State, columns: list[int]) -> State:
        inner, place = state
        return self._engine.select(inner, columns), place[columns]

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        if not top:
            return super().log_probs(batch, state)
        if not isinstance(self._engine, NumpyEngine):
            raise UsageError(
                "ranks of a network with counts need --engine numpy: leave --engine out, or --no-counts"
            )
        inner, place = state
        nodes = self.counts.walk(batch.inputs, batch.reset, place)
        placed = _PlacedBatch(batch.inputs, batch.targets, batch.reset, batch.weight, nodes)
        found, inner = self._engine.ranked(placed, inner, top, self._blended_some)
        return found, (inner, nodes[-1])

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        """Return log p [B, V] of every next token, and the state after."""
        inner, place = state
        logits, inner = self._engine.logits(inputs, inner)
        place = self.counts.walk(inputs, None, place)[-1]
        mixed = self.counts.distribution(place)
        mixed *= self.weight
        p = softmax(logits)
        p *= 1 - self.weight
        mixed += p
        with np.errstate(
            divide="ignore"
        ):  # with no weight of the counts, what the network finds impossible is so
            return np.log(mixed, out=mixed), (inner, place)

    def _blended_some(self, part: Batch, rows: slice, logp: Log) -> Log:
        assert isinstance(part, _PlacedBatch)
        nodes = part.nodes.reshape(-1, *part.nodes.shape[2:])[rows]
        return blended(logp, self.counts.distribution(nodes), self.weight)
