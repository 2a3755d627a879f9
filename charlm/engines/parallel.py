"""One training run on several ranks: rank 0 leads, the others follow, each with its share of a batch's columns.

Rank 0 reads the corpus, decides, evaluates, logs and saves, as a run on one rank does. For a step it sends every rank
its columns; gradients are added up by PyTorch's DistributedDataParallel, so that all ranks take the same step. A
rank keeps the state of its columns; rank 0 asks for it only to save it.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Array, LogProbs, Snapshot, State, Tally
from charlm.errors import CharlmError, DivergedError, UsageError
from charlm.text.batches import Batch, Ids

if TYPE_CHECKING:
    from charlm.engines.torch import TorchEngine
    from charlm.engines.torch_ranks import Ranks


@dataclass(frozen=True)
class _Step:
    """What a rank is told to do: learn from its columns, whose state is given where it is not the one it has."""

    batch: Batch
    lr: float
    count: int
    state: list[Array] | None


class _Show:
    """A rank is asked for the state of its columns."""


@dataclass(frozen=True)
class _Share:
    """The state after a step: rank 0's columns here, the others' with the ranks that compute them."""

    own: State


def rank() -> int:
    """Return which of several processes this one is, as torchrun tells it; 0 if it is the only one."""
    return int(os.environ.get("RANK", "0")) if rank_count() > 1 else 0


def rank_count() -> int:
    """Return how many processes torchrun started for this run."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "MASTER_ADDR" in os.environ else 1


def ranks_here() -> int:
    """Return how many of them share this machine's processors."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if rank_count() > 1 else 1


@functools.cache
def ranks() -> Ranks:
    """Meet the other ranks, once; raises UsageError without PyTorch."""
    with needing_torch():
        from charlm.engines.torch_ranks import Ranks
    return Ranks()


@contextlib.contextmanager
def needing_torch() -> Iterator[None]:
    """Import PyTorch inside; raises UsageError, saying how to get it, where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise UsageError("engine torch needs PyTorch, which is not installed: pip install torch") from None


def follow() -> NoReturn:
    """Do what rank 0 says until it is done; signals are rank 0's to answer, which saves before it ends the run."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from charlm.engines.torch import TorchEngine

    group = ranks()
    settings = group.scatter()
    if settings is not None:
        model, train, snapshot = settings
        engine = TorchEngine(model, train, group)
        state = engine.restore(snapshot)
        while (order := group.scatter()) is not None:
            state = _obey(engine, group, order, state)
    group.leave()
    os._exit(0)  # all is said and saved elsewhere, and PyTorch's own threads do not always survive Python's last steps


def _obey(engine: TorchEngine, group: Ranks, order: _Step | _Show, state: State) -> State:
    if isinstance(order, _Show):
        group.gather(engine.shown(state))
        return state
    with contextlib.suppress(DivergedError):  # rank 0 sees the same, and decides
        before = state if order.state is None else engine.taken(order.state)
        _, _, state = engine.learn(order.batch, before, order.lr, order.count)
    return state


class ParallelEngine:
    """Implements `charlm.engines.Engine` on rank 0; all but training steps is computed there alone.

    The state of a training run is a `_Share` after a step, and rank 0's own with all columns before.
    """

    normalized = False

    def __init__(self, model: ModelConfig, train: TrainConfig) -> None:
        """Lead the ranks; raises UsageError where the columns cannot be shared out evenly."""
        from charlm.engines.torch import TorchEngine

        self._ranks = ranks()
        self._check(train.batch_size)
        self._settings = model, train
        self._own = TorchEngine(model, train, self._ranks)
        self._begun = False
        atexit.register(self._end)

    @property
    def columns(self) -> int:
        return self._own.columns

    @property
    def description(self) -> str:
        return self._own.description

    def update(self, batch: Batch, state: State, lr: float) -> tuple[Tally, float, State]:
        count, columns = int(batch.weight.sum()), batch.targets.shape[1]
        self._check(columns)
        if not self._begun:
            snapshot = self._own.snapshot(self._own.zero_state(1))
            self._ranks.scatter([(*self._settings, snapshot)] * self._ranks.count)
            self._begun = True
        parts = [slice(k * columns // self._ranks.count, (k + 1) * columns // self._ranks.count)
                 for k in range(self._ranks.count)]  # fmt: skip
        held = None if isinstance(state, _Share) else self._own.shown(state)
        orders = [
            _Step(batch.columns(part), lr, count, held and [value[:, part] for value in held]) for part in parts
        ]
        own = self._ranks.scatter(orders)
        before = state.own if isinstance(state, _Share) else self._own.taken(own.state)
        loss, norm, after = self._own.learn(own.batch, before, lr, count)
        return dataclasses.replace(loss, read=batch.read), norm, _Share(after)

    def snapshot(self, state: State) -> Snapshot:
        arrays, facts = self._own.snapshot(self._whole(state))
        return arrays, facts | {"ranks": self._ranks.count}

    def restore(self, snapshot: Snapshot) -> State:
        return self._own.restore(snapshot)

    def _whole(self, state: State) -> State:
        """Return a state with all columns."""
        if not isinstance(state, _Share):
            return state
        self._ranks.scatter([_Show()] * self._ranks.count)
        parts = self._ranks.gather(self._own.shown(state.own))
        return self._own.taken([np.concatenate(values, axis=1) for values in zip(*parts, strict=True)])

    def _check(self, columns: int) -> None:
        if columns % self._ranks.count:
            raise UsageError(
                f"{columns} columns cannot be shared out evenly to {self._ranks.count} ranks: choose a --batch-size "
                "that they divide"
            )

    def _end(self) -> None:
        """Let the others go, however this process ends; those that are lost need no word."""
        with contextlib.suppress(CharlmError):
            self._ranks.scatter([None] * self._ranks.count)
            self._ranks.leave()

    def zero_state(self, batch: int) -> State:
        return self._own.zero_state(batch)

    def select(self, state: State, columns: list[int]) -> State:
        return self._own.select(state, columns)

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        return self._own.evaluate(batch, state)

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        return self._own.log_probs(batch, state, top)

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        return self._own.logits(inputs, state)

    def tensors(self) -> dict[str, Array]:
        return self._own.tensors()

    def load(self, tensors: Mapping[str, Array]) -> None:
        self._own.load(tensors)
