"""The default engine: NumPy, with the batch's columns shared out over threads.

Columns never meet except in the sum of their gradients, so each thread runs forward and backward on its share
with buffers of its own, while BLAS keeps to one thread. The shares and the order of the sum depend on the
number of threads alone, so a run with a fixed number repeats to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Array, LogProbs, Loss, Snapshot, total_loss
from charlm.engines.threads import Result, Threads
from charlm.engines.weights import check_fit, divergence, first_weights, fitting
from charlm.nn import kernel
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.optim import Optimizer, clip_by_norm, make_optimizer
from charlm.nn.panels import Panels
from charlm.nn.params import Params, State
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch, Ids

_WORTH_SHARING = 1 << 25  # multiplications: below, waking another thread and waiting for it costs more than it saves


class _Worker:
    """What one share of the columns needs of its own: buffers, a gradient, a random generator for dropout.

    Each of several calls at once has buffers to itself; the gradient and the generator are those of the one call that
    trains.
    """

    def __init__(self, config: ModelConfig, seed: list[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self._config = config
        self._grads: Params | None = None
        self._idle: list[LanguageModel] = []

    def do(self, work: Callable[[LanguageModel], Result]) -> Result:
        """Call `work` with a model whose buffers nobody else uses, kept for the next call unless this one fails."""
        try:
            model = self._idle.pop()
        except IndexError:
            model = LanguageModel(self._config)
        result = work(model)
        self._idle.append(model)
        return result

    @property
    def grads(self) -> Params:
        if self._grads is None:
            self._grads = Params(shapes(self._config))
        return self._grads


class NumpyEngine:
    """Implements `charlm.engines.Engine` on NumPy arrays; the state is a tuple of [layers, B, H].

    Any number of threads may score and write with one engine at once; nothing may train or load it meanwhile.
    """

    columns = 64

    def __init__(self, model: ModelConfig, threads: int = 1, train: TrainConfig | None = None) -> None:
        """Draw first weights with the training settings' seed."""
        self.config, self._train = model, train or TrainConfig()
        seed = self._train.seed
        self.params = first_weights(model, seed)
        self._threads = Threads(threads)
        self._workers = [_Worker(model, [seed, 1, k]) for k in range(threads)]
        self._panels: Panels | None = None

    @property
    def description(self) -> str:
        return f"{len(self._workers)} threads ({kernel.target})"

    @cached_property
    def _optimizer(self) -> Optimizer:
        return make_optimizer(self._train, self.params.shapes, self._do_all)

    def zero_state(self, batch: int) -> State:
        return zero_state(self.config, batch)

    def select(self, state: State, columns: list[int]) -> State:
        return tuple(part[:, columns] for part in state)

    def update(self, batch: Batch, state: State, lr: float) -> tuple[Loss, float, State]:
        count = int(batch.weight.sum())

        def backward(model: LanguageModel, k: int, part: slice, before: State) -> tuple[float, State]:
            share, worker = batch.columns(part), self._workers[k]
            worker.grads.flat[:] = 0
            return model.backward(
                self.params, worker.grads, share.inputs, share.targets, share.weight, share.reset, before,
                1 / max(1, count), worker.rng if self.config.dropout else None,
            )  # fmt: skip

        results = self._share_out(backward, batch.targets.shape[1], state)
        gradient = self._workers[0].grads
        loss = Loss(sum(nats for nats, _ in results), count)
        with _overflowing():
            for worker in self._workers[1 : len(results)]:
                gradient.flat += worker.grads.flat
            norm = clip_by_norm(gradient.flat, self._train.clip)
        if not math.isfinite(norm) or not math.isfinite(loss.nats):
            raise divergence({name: bool(np.isfinite(value).all()) for name, value in gradient.items()})
        self._panels = None
        self._optimizer.step(self.params.flat, gradient.flat, lr)
        return loss, norm, _join([after for _, after in results])

    def evaluate(self, batch: Batch, state: State) -> tuple[Loss, State]:
        logp, state = self.log_probs(batch, state)
        return total_loss(logp.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        weights = self._weights()

        def forward(model: LanguageModel, _: int, part: slice, before: State) -> tuple[tuple[Array, ...], State]:
            share = batch.columns(part)
            given = (weights, share.inputs, share.targets, share.reset, before)
            if top:
                return model.ranked_log_probs(*given, min(top, self.config.vocab_size))
            logp, after = model.log_probs(*given)
            return (logp,), after

        results = self._share_out(forward, batch.targets.shape[1], state)
        figures = (np.concatenate(parts, axis=1) for parts in zip(*(figures for figures, _ in results), strict=True))
        return LogProbs(*figures), _join([after for _, after in results])

    def read(self, batch: Batch, state: State) -> tuple[NDArray[np.float64], Array, State]:
        weights = self._weights()

        def forward(model: LanguageModel, _: int, part: slice, before: State) -> tuple[Array, Array, State]:
            share = batch.columns(part)
            logp, y, after = model.read(weights, share.inputs, share.targets, share.reset, before)
            return logp, y.copy(), after

        logp, y, after = zip(*self._share_out(forward, batch.targets.shape[1], state), strict=True)
        return np.concatenate(logp, axis=1), np.concatenate(y, axis=1), _join(list(after))

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        weights = self._weights()

        if inputs.size * self.params.flat.size < _WORTH_SHARING and isinstance(weights, Panels):
            return self._workers[0].do(lambda model: model.logits(weights, inputs, state))

        def forward(model: LanguageModel, _: int, part: slice, before: State) -> tuple[Array, State]:
            return model.logits(weights, inputs[:, part], before)

        results = self._share_out(forward, inputs.shape[1], state)
        return np.concatenate([logits for logits, _ in results]), _join([after for _, after in results])

    def _weights(self) -> Params | Panels:
        """Return the weights for forward passes, laid out anew where they have changed."""
        panels = self._panels
        if panels is None and kernel.serves(self.params.flat):
            with _overflowing():
                panels = self._panels = Panels(self.config, self.params)
        return panels or self.params

    def tensors(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self.params.items()}

    def load(self, tensors: Mapping[str, Array]) -> None:
        check_fit(tensors, self.params.shapes)
        self._panels = None
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
            moment[:] = fitting(arrays, f"optimizer.{name}", moment.shape)
        self._optimizer.steps = facts["optimizer_steps"]
        for worker, generator in zip(self._workers, facts["dropout_generators"], strict=False):
            worker.rng.bit_generator.state = generator
        shapes = [part.shape for part in zero_state(self.config, arrays["state.0"].shape[1])]
        return tuple(fitting(arrays, f"state.{i}", shape) for i, shape in enumerate(shapes))

    def _share_out(
        self, work: Callable[[LanguageModel, int, slice, State], Result], columns: int, state: State
    ) -> list[Result]:
        """Call `work` on each worker's share of the columns, the first on this thread; results in order."""
        shares = min(len(self._workers), columns)
        bounds = [columns * k // shares for k in range(shares + 1)]

        def run(k: int) -> Result:
            part = slice(bounds[k], bounds[k + 1])
            before = tuple(value[:, part] for value in state)
            with _overflowing():
                return self._workers[k].do(lambda model: work(model, k, part, before))

        return self._threads.run(run, shares)

    def _do_all(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Do all jobs, shared out over the threads."""
        threads = min(len(self._workers), len(jobs))

        def run(k: int) -> None:
            for job in jobs[k::threads]:
                job()

        self._threads.run(run, threads)


def _overflowing() -> np.errstate:
    """Let infinities arise without a warning: `update` looks for them. The setting is the calling thread's own."""
    return np.errstate(over="ignore", invalid="ignore")


def _join(states: list[State]) -> State:
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True))
