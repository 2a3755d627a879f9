"""Who computes: the narrow seam between the library and what multiplies its matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Batch, Ids
from charlm.text.tokenizers import UNK

Array = NDArray[Any]
State = Any  # an engine's own value: got from it, given back to it, never looked into
Chunk = TypeVar("Chunk", contravariant=True)  # what a network learns from at a time
Snapshot = tuple[dict[str, Array], dict[str, Any]]  # arrays by name, and facts that JSON can hold


@dataclass(frozen=True)
class Tally:
    """Sums over what was read, which add up: a figure is a ratio of sums, never a mean of figures.

    nats: the sum of -log p over `count` targets. read: the tokens that were read. sums: further ones by name, numbers
    or arrays; `unknown` and `unknown_nats` are of the targets that are <unk>.
    """

    nats: float = 0.0
    count: int = 0
    read: int = 0
    sums: Mapping[str, Any] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        names = [*self.sums, *(name for name in other.sums if name not in self.sums)]
        sums = {name: self.sums.get(name, 0) + other.sums.get(name, 0) for name in names}
        return Tally(self.nats + other.nats, self.count + other.count, self.read + other.read, sums)

    @property
    def mean(self) -> float | None:
        """Nats per target; None over no targets."""
        return self.nats / self.count if self.count else None

    @property
    def unknown(self) -> int:
        """How many of the targets are <unk>."""
        return int(self.sums.get("unknown", 0))

    @property
    def unknown_nats(self) -> float:
        """The nats of the targets that are <unk>."""
        return float(self.sums.get("unknown_nats", 0.0))

    @property
    def mean_known(self) -> float | None:
        """Nats per target that is not <unk>; None over no such targets."""
        known = self.count - self.unknown
        return (self.nats - self.unknown_nats) / known if known else None


@dataclass(frozen=True)
class LogProbs:
    """What a model thought of each target: log p in nats, float64 [T, B].

    Where they were asked for: the target's rank (1: the most probable) [T, B], and the ids and log p of the most
    probable tokens [T, B, top], best first; else these arrays are empty.
    """

    target: NDArray[np.float64]
    rank: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    top: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def tally_of(logp: NDArray[np.float64], batch: Batch) -> Tally:
    """Add up log-probabilities [T, B] over the targets that count."""
    nats = -logp * batch.weight
    unknown = (batch.targets == UNK) & (batch.weight > 0)
    sums = {"unknown": int(unknown.sum()), "unknown_nats": float(nats[unknown].sum())}
    return Tally(float(nats.sum()), batch.count, batch.read, sums)


class Evaluator(Protocol):
    """Says how probable texts are, and no more.

    `columns` is in how many columns it likes to read them; 1 where what is read later must know what came before.
    """

    @property
    def columns(self) -> int: ...

    def zero_state(self, batch: int) -> State:
        """Return the state of `batch` columns before anything was read."""

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        """Return the loss of one batch, without dropout, and the state after."""


class Reader(Evaluator, Protocol):
    """Also shows what stands under the softmax."""

    def read(self, batch: Batch, state: State) -> tuple[NDArray[np.float64], Array, State]:
        """Return log p of the targets [T, B] in nats, the last layer's values [T, B, H], and the state after.

        Both arrays are copies.
        """


class Predictor(Evaluator, Protocol):
    """Says what comes next: all that writing and scoring need. NumPy arrays in and out; the state is opaque."""

    def select(self, state: State, columns: list[int]) -> State:
        """Return the state of some columns, in the order given; a column may be named several times."""

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        """Return log p of the targets, with ranks and the `top` most probable tokens if top > 0; and the state after.

        Tokens are at most all of the vocabulary.
        """

    @property
    def normalized(self) -> bool:
        """Whether its logits are log p already, so that their softmax need not be taken."""

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        """Return the next token's logits [B, V] after inputs [T, B], and the state after."""


class Trainable(Protocol[Chunk]):
    """Learns from chunks of one kind, whatever its network; NumPy arrays in and out, its state opaque to callers."""

    @property
    def description(self) -> str:
        """What computes, in words: threads or device."""

    def zero_state(self, batch: int) -> State:
        """Return the state of `batch` columns before anything was read."""

    def update(self, batch: Chunk, state: State, lr: float) -> tuple[Tally, float, State]:
        """Train on one chunk; return its tally, the gradient's norm before clipping, and the state after.

        Raises DivergedError, the weights still those before, where the loss or a gradient is not finite.
        """

    def tensors(self) -> dict[str, Array]:
        """Return copies of the weights, under PyTorch's names."""

    def load(self, tensors: Mapping[str, Array]) -> None:
        """Replace the weights; raises DataError where names, shapes or types do not fit."""

    def snapshot(self, state: State) -> Snapshot:
        """Return all that going on from here needs: weights, moments, state, random states."""

    def restore(self, snapshot: Snapshot) -> State:
        """Put a snapshot back and return its state."""


class Engine(Predictor, Trainable[Batch], Protocol):
    """Computes with one language model, and trains it."""
