"""The default engine: NumPy, with the batch's columns shared out over threads.

Columns never meet except in the sum of their gradients, so each thread runs forward and backward on its share
with buffers of its own, while BLAS keeps to one thread. The shares and the order of the sum depend on the
number of threads alone, so a run with a fixed number repeats to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Array, LogProbs, Loss, Snapshot, total_loss
from charlm.engines.weights import check_fit, divergence, first_weights
from charlm.nn import kernel
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.optim import Optimizer, clip_by_norm, make_optimizer
from charlm.nn.packed import Packed
from charlm.nn.params import Params, State
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch, Ids

Result = TypeVar("Result")

_WORTH_SHARING = 1 << 25  # multiplications: below, waking another thread and waiting for it costs more than it saves


class _Worker:
    """What one thread needs of its own: the model's buffers, a gradient, a random generator for dropout."""

    def __init__(self, config: ModelConfig, seed: list[int]) -> None:
        self.model = LanguageModel(config)
        self.rng = np.random.default_rng(seed)
        self._shapes = shapes(config)

    @cached_property
    def grads(self) -> Params:
        return Params(self._shapes)


class NumpyEngine:
    """Implements `charlm.engines.Engine` on NumPy arrays; the state is a tuple of [layers, B, H]."""

    columns = 64

    def __init__(self, model: ModelConfig, threads: int = 1, train: TrainConfig | None = None) -> None:
        """Draw first weights with the training settings' seed."""
        self.config, self._train = model, train or TrainConfig()
        seed = self._train.seed
        self.params = first_weights(model, seed)
        self._workers = [_Worker(model, [seed, 1, k]) for k in range(threads)]
        self._packed: Packed | None = None

    @property
    def description(self) -> str:
        return f"{len(self._workers)} threads ({kernel.target})"

    @cached_property
    def _optimizer(self) -> Optimizer:
        return make_optimizer(self._train, self.params.shapes, self._do_all)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(len(self._workers) - 1, "charlm")

    @cached_property
    def _blas(self) -> ThreadpoolController:
        return ThreadpoolController()

    def zero_state(self, batch: int) -> State:
        return zero_state(self.config, batch)

    def select(self, state: State, columns: list[int]) -> State:
        return tuple(part[:, columns] for part in state)

    def update(self, batch: Batch, state: State, lr: float) -> tuple[Loss, float, State]:
        count = int(batch.weight.sum())

        def backward(worker: _Worker, part: slice, before: State) -> tuple[float, State]:
            share = batch.columns(part)
            worker.grads.flat[:] = 0
            return worker.model.backward(
                self.params, worker.grads, share.inputs, share.ids, share.weight, share.reset, before,
                1 / max(1, count), worker.rng if self.config.dropout else None,
            )  # fmt: skip

        results = self._share_out(backward, batch.ids.shape[1], state)
        gradient = self._workers[0].grads
        loss = Loss(sum(nats for nats, _ in results), count)
        with _overflowing():
            for worker in self._workers[1 : len(results)]:
                gradient.flat += worker.grads.flat
            norm = clip_by_norm(gradient.flat, self._train.clip)
        if not math.isfinite(norm) or not math.isfinite(loss.nats):
            raise divergence({name: bool(np.isfinite(value).all()) for name, value in gradient.items()})
        self._packed = None
        self._optimizer.step(self.params.flat, gradient.flat, lr)
        return loss, norm, _join([after for _, after in results])

    def evaluate(self, batch: Batch, state: State) -> tuple[Loss, State]:
        logp, state = self.log_probs(batch, state)
        return total_loss(logp.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        weights = self._weights()

        def forward(worker: _Worker, part: slice, before: State) -> tuple[tuple[Array, ...], State]:
            share = batch.columns(part)
            given = (weights, share.inputs, share.ids, share.reset, before)
            if top:
                return worker.model.ranked_log_probs(*given, min(top, self.config.vocab_size))
            logp, after = worker.model.log_probs(*given)
            return (logp,), after

        results = self._share_out(forward, batch.ids.shape[1], state)
        figures = (np.concatenate(parts, axis=1) for parts in zip(*(figures for figures, _ in results), strict=True))
        return LogProbs(*figures), _join([after for _, after in results])

    def read(self, batch: Batch, state: State) -> tuple[NDArray[np.float64], Array, State]:
        weights = self._weights()

        def forward(worker: _Worker, part: slice, before: State) -> tuple[Array, Array, State]:
            share = batch.columns(part)
            return worker.model.read(weights, share.inputs, share.ids, share.reset, before)

        logp, y, after = zip(*self._share_out(forward, batch.ids.shape[1], state), strict=True)
        return np.concatenate(logp, axis=1), np.concatenate(y, axis=1), _join(list(after))

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        weights = self._weights()

        if inputs.size * self.params.flat.size < _WORTH_SHARING and isinstance(weights, Packed):
            return self._workers[0].model.logits(weights, inputs, state)

        def forward(worker: _Worker, part: slice, before: State) -> tuple[Array, State]:
            return worker.model.logits(weights, inputs[:, part], before)

        results = self._share_out(forward, inputs.shape[1], state)
        return np.concatenate([logits for logits, _ in results]), _join([after for _, after in results])

    def _weights(self) -> Params | Packed:
        """Return the weights for forward passes, laid out anew where they have changed."""
        if self._packed is None and kernel.serves(self.params.flat):
            with _overflowing():
                self._packed = Packed(self.config, self.params)
        return self._packed or self.params

    def tensors(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self.params.items()}

    def load(self, tensors: Mapping[str, Array]) -> None:
        check_fit(tensors, self.params.shapes)
        self._packed = None
        for name, value in tensors.items():
            self.params[name][...] = value

    def snapshot(self, state: State) -> Snapshot:
        arrays = self.tensors()
        arrays |= {f"optimizer.{name}": moment.copy() for name, moment in self._optimizer.moments.items()}
        arrays |= {f"state.{i}": part.copy() for i, part in enumerate(state)}
        facts: dict[str, Any] = {
            "optimizer_steps": self._optimizer.steps,
            "dropout_generators": [worker.rng.bit_generator.state for worker in self._workers],
        }
        return arrays, facts

    def restore(self, snapshot: Snapshot) -> State:
        arrays, facts = snapshot
        self.load({name: value for name, value in arrays.items() if not name.startswith(("optimizer.", "state."))})
        for name, moment in self._optimizer.moments.items():
            moment[:] = arrays[f"optimizer.{name}"]
        self._optimizer.steps = facts["optimizer_steps"]
        for worker, generator in zip(self._workers, facts["dropout_generators"], strict=False):
            worker.rng.bit_generator.state = generator
        return tuple(arrays[f"state.{i}"] for i in range(len(zero_state(self.config, 1))))

    def _share_out(
        self, work: Callable[[_Worker, slice, State], Result], columns: int, state: State
    ) -> list[Result]:
        """Call `work` on each worker's share of the columns, the first on this thread; results in order."""
        shares = min(len(self._workers), columns)
        bounds = [columns * k // shares for k in range(shares + 1)]

        def run(k: int) -> Result:
            part = slice(bounds[k], bounds[k + 1])
            with _overflowing():
                return work(self._workers[k], part, tuple(value[:, part] for value in state))

        return self._on_threads(run, shares)

    def _do_all(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Do all tasks, shared out over the threads."""
        threads = min(len(self._workers), len(tasks))

        def run(k: int) -> None:
            for task in tasks[k::threads]:
                task()

        self._on_threads(run, threads)

    def _on_threads(self, run: Callable[[int], Result], count: int) -> list[Result]:
        """Call run(0), the first on this thread, to run(count - 1) at once; results in order.

        BLAS keeps to one thread in each: with its own, steps of Muon took a third longer (GRU of 480, two cores).
        """
        with self._blas.limit(limits=1):
            others = [self._pool.submit(run, k) for k in range(1, count)]
            return [run(0), *(other.result() for other in others)]


def _overflowing() -> np.errstate:
    """Let infinities arise without a warning: `update` looks for them. The setting is the calling thread's own."""
    return np.errstate(over="ignore", invalid="ignore")


def _join(states: list[State]) -> State:
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True))
