"""Trains any network on NumPy, with the columns of a chunk shared out over threads.

Columns never meet except in the sum of their gradients, so each thread runs forward and backward on
its part with buffers of its own, while BLAS keeps to one thread. The parts and the order of the sum
depend on the number of threads alone, so a run with a fixed number repeats to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from charlm.config import TrainConfig
from charlm.engines import Array, Snapshot, Tally
from charlm.engines.threads import Result, Threads
from charlm.engines.weights import check_fit, divergence, fitting
from charlm.nn import kernel
from charlm.nn.optim import Optimizer, clip_by_norm, make_optimizer
from charlm.nn.params import Params, Shape, State


class Chunk(Protocol):
    """What a network reads at a time: columns that know nothing of each other."""

    @property
    def width(self) -> int:
        """How many columns there are."""

    @property
    def count(self) -> int:
        """How many targets count."""

    @property
    def read(self) -> int:
        """How many tokens are read."""

    def columns(self, part: slice) -> Self:
        """Return some of the columns."""


WORTH_SHARING = (
    1 << 25
)  # multiplications: below, waking another thread and waiting for it costs more than it saves

C = TypeVar("C", bound=Chunk)
C_in = TypeVar("C_in", bound=Chunk, contravariant=True)


class Network(Protocol[C_in]):
    """Holds buffers, but no parameters; an instance serves one thread."""

    def backward(
        self, params: Params, grads: Params, chunk: C_in, state: State, scale: float,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, State]:  # fmt: skip
        """Add the gradients of scale * nats over one chunk; return nats and the state after.

        `rng` switches dropout on.
        """


N = TypeVar("N", bound=Network[Any])
N_out = TypeVar("N_out", bound=Network[Any], covariant=True)


class Blueprint(Protocol[N_out]):
    """What a network is, before there is one."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """The names and shapes of its parameters."""

    def first_weights(self, seed: int) -> Params:
        """Draw the weights that training starts from."""

    def zero_state(self, columns: int) -> State:
        """Return the state of columns before anything was read."""

    def network(self) -> N_out:
        """Return one more network, with buffers of its own."""

    def laid_out(self, params: Params) -> Any:
        """Return weights as forward passes without a gradient take them."""


class _Worker(Generic[N]):
    """What one part of the columns needs of its own: buffers, a gradient, a random generator for dropout.

    Each of several calls at once has buffers to itself; the gradient and the generator are those of
    the one call that trains.
    """

    def __init__(self, blueprint: Blueprint[N], seed: list[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self._blueprint = blueprint
        self._grads: Params | None = None
        self._idle: list[N] = []

    def do(self, work: Callable[[N], Result]) -> Result:
        """Call `work` with a network whose buffers nobody else uses, kept for the next call unless this one fails."""
        try:
            network = self._idle.pop()
        except IndexError:
            network = self._blueprint.network()
        result = work(network)
        self._idle.append(network)
        return result

    @property
    def grads(self) -> Params:
        if self._grads is None:
            self._grads = Params(self._blueprint.shapes)
        return self._grads


class Learner(Generic[N, C]):
    """Implements `charlm.engines.Trainable` for the networks of one blueprint.

    Any number of threads may read with one learner at once; nothing may train or load it meanwhile.
    """

    def __init__(
        self, blueprint: Blueprint[N], threads: int = 1, train: TrainConfig | None = None
    ) -> None:
        """Draw first weights with the training settings' seed."""
        self._blueprint, self._train = blueprint, train or TrainConfig()
        seed = self._train.seed
        self.params = blueprint.first_weights(seed)
        self._threads = Threads(threads)
        self._workers = [_Worker(blueprint, [seed, 1, k]) for k in range(threads)]
        self._laid_out: Any = None

    @property
    def description(self) -> str:
        count = len(self._workers)
        return f"{count} thread{'s' if count > 1 else ''} ({kernel.target})"

    @cached_property
    def _optimizer(self) -> Optimizer:
        return make_optimizer(self._train, self.params.shapes, self._do_all)

    def zero_state(self, batch: int) -> State:
        return self._blueprint.zero_state(batch)

    def update(self, batch: C, state: State, lr: float) -> tuple[Tally, float, State]:
        count = batch.count

        def backward(network: N, k: int, part: slice, before: State) -> tuple[float, State]:
            worker = self._workers[k]
            worker.grads.flat[:] = 0
            chunk, scale = batch.columns(part), 1 / max(1, count)
            return network.backward(self.params, worker.grads, chunk, before, scale, worker.rng)

        results = self._each_part(backward, batch.width, state)
        gradient = self._workers[0].grads
        tally = Tally(sum(nats for nats, _ in results), count, batch.read)
        with overflowing():
            for worker in self._workers[1 : len(results)]:
                gradient.flat += worker.grads.flat
            norm = clip_by_norm(gradient.flat, self._train.clip)
        if not math.isfinite(norm) or not math.isfinite(tally.nats):
            raise divergence(
                {name: bool(np.isfinite(value).all()) for name, value in gradient.items()}
            )
        self._laid_out = None
        self._optimizer.step(self.params.flat, gradient.flat, lr)
        return tally, norm, join([after for _, after in results])

    def each(
        self, work: Callable[[N, Any, C, State], tuple[Result, State]], batch: C, state: State
    ) -> tuple[list[Result], State]:
        """Call work(network, weights, columns, their state) on parts of a chunk; results in order, and the state after.

        The weights are as forward passes without a gradient take them.
        """
        weights = self.weights()

        def forward(network: N, _: int, part: slice, before: State) -> tuple[Result, State]:
            return work(network, weights, batch.columns(part), before)

        results = self._each_part(forward, batch.width, state)
        return [result for result, _ in results], join([after for _, after in results])

    def weights(self) -> Any:
        """Return the weights for forward passes, laid out anew where they have changed."""
        found = self._laid_out  # taken once: another thread may lay them out meanwhile
        if found is None:
            with overflowing():
                found = self._laid_out = self._blueprint.laid_out(self.params)
        return found

    def tensors(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in self.params.items()}

    def load(self, tensors: Mapping[str, Array]) -> None:
        check_fit(tensors, self.params.shapes)
        self._laid_out = None
        for name, value in tensors.items():
            self.params[name][...] = value

    def snapshot(self, state: State) -> Snapshot:
        arrays = self.tensors()
        arrays |= {
            f"optimizer.{name}": moment.copy() for name, moment in self._optimizer.moments.items()
        }
        arrays |= {f"state.{i}": part.copy() for i, part in enumerate(state)}
        facts: dict[str, Any] = {
            "optimizer_steps": self._optimizer.steps,
            "dropout_generators": [worker.rng.bit_generator.state for worker in self._workers],
        }
        return arrays, facts

    def restore(self, snapshot: Snapshot) -> State:
        arrays, facts = snapshot
        self.load(
            {
                name: value
                for name, value in arrays.items()
                if not name.startswith(("optimizer.", "state."))
            }
        )
        for name, moment in self._optimizer.moments.items():
            moment[:] = fitting(arrays, f"optimizer.{name}", moment.shape)
        self._optimizer.steps = facts["optimizer_steps"]
        for worker, generator in zip(self._workers, facts["dropout_generators"], strict=False):
            worker.rng.bit_generator.state = generator
        columns = arrays["state.0"].shape[1] if self.zero_state(1) else 1
        shapes = [part.shape for part in self.zero_state(columns)]
        return tuple(fitting(arrays, f"state.{i}", shape) for i, shape in enumerate(shapes))

    def _each_part(
        self, work: Callable[[N, int, slice, State], Result], columns: int, state: State
    ) -> list[Result]:
        """Call `work` on each worker's part of the columns, the first on this thread; results in order."""
        parts = min(len(self._workers), columns)
        bounds = [columns * k // parts for k in range(parts + 1)]

        def run(k: int) -> Result:
            part = slice(bounds[k], bounds[k + 1])
            before = tuple(value[:, part] for value in state)
            with overflowing():
                return self._workers[k].do(lambda network: work(network, k, part, before))

        return self._threads.run(run, parts)

    def _do_all(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Do all jobs, shared out over the threads."""
        threads = min(len(self._workers), len(jobs))

        def run(k: int) -> None:
            for job in jobs[k::threads]:
                job()

        self._threads.run(run, threads)


def overflowing() -> np.errstate:
    """Let infinities arise without a warning: `update` looks for them. The setting is the calling thread's own."""
    return np.errstate(over="ignore", invalid="ignore")


def join(states: list[State]) -> State:
    """Put the states of parts of the columns side by side."""
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*states, strict=True))
