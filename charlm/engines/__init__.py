"""Who computes: the narrow seam between the library and what multiplies its matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Batch, Ids
from charlm.text.tokenizers import UNK

Array = NDArray[Any]
State = Any  # an engine's own value: got from it, given back to it, never looked into
Snapshot = tuple[dict[str, Array], dict[str, Any]]  # arrays by name, and facts that JSON can hold


@dataclass(frozen=True)
class Loss:
    """A sum of -log p in nats over `count` tokens; of these, `unknown` are <unk>, with `unknown_nats`."""

    nats: float = 0.0
    count: int = 0
    unknown_nats: float = 0.0
    unknown: int = 0

    def __add__(self, other: Loss) -> Loss:
        return Loss(
            self.nats + other.nats,
            self.count + other.count,
            self.unknown_nats + other.unknown_nats,
            self.unknown + other.unknown,
        )

    @property
    def mean(self) -> float | None:
        """Nats per token; None over no tokens."""
        return self.nats / self.count if self.count else None

    @property
    def mean_known(self) -> float | None:
        """Nats per token that is not <unk>; None over no such tokens."""
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


def total_loss(logp: NDArray[np.float64], batch: Batch) -> Loss:
    """Sum log-probabilities [T, B] over the targets that count."""
    nats = -logp * batch.weight
    unknown = (batch.targets == UNK) & (batch.weight > 0)
    return Loss(float(nats.sum()), int(batch.weight.sum()), float(nats[unknown].sum()), int(unknown.sum()))


class Evaluator(Protocol):
    """Says how probable texts are, and no more.

    `columns` is in how many columns it likes to read them; 1 where what is read later must know what came before.
    """

    @property
    def columns(self) -> int: ...

    def zero_state(self, batch: int) -> State:
        """Return the state of `batch` columns before anything was read."""

    def evaluate(self, batch: Batch, state: State) -> tuple[Loss, State]:
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

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        """Return the next token's logits [B, V] after inputs [T, B], and the state after."""


class Engine(Predictor, Protocol):
    """Computes with one language model, and trains it."""

    @property
    def description(self) -> str:
        """What computes, in words: threads or device."""

    def update(self, batch: Batch, state: State, lr: float) -> tuple[Loss, float, State]:
        """Train on one batch; return its loss, the gradient's norm before clipping, and the state after.

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
