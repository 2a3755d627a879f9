"""Optimizers over one flat vector, with the formulas and defaults of PyTorch's, and the learning-rate schedules.

An optimizer's `moments` are twins of the parameters' vector, so that saving and resuming it is copying them.
All steps are in place, in blocks that stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from charlm.config import TrainConfig
from charlm.nn import kernel, names
from charlm.nn.params import Array, Shape, places

_BLOCK = 1 << 14
_MOMENTUM = 0.95
_FACTOR = 0.2  # about the root mean square of Adam's steps, in learning rates
_MOST_ROWS, _LEAST_ROWS = 128, 48
_QUINTIC, _ROUNDS = (3.4445, -4.7750, 2.0315), 5  # bring singular values of 0.005 to 1 to between 0.7 and 1.2

DoAll: TypeAlias = Callable[[Sequence[Callable[[], None]]], None]


def _one_by_one(jobs: Sequence[Callable[[], None]]) -> None:
    for job in jobs:
        job()


class Adam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
    w -= lr * decay * w          w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def __init__(self, size: int, decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.decay, self.betas, self.eps = decay, betas, 1e-8
        self.moments = {"m": np.zeros(size, np.float32), "v": np.zeros(size, np.float32)}
        self.steps = 0

    def step(self, weights: Array, gradient: Array, lr: float) -> None:
        """Move `weights` [P] by one step along `gradient` [P], which is used up."""
        self.steps += 1
        self._move(weights, gradient, lr, slice(None))

    def _move(self, weights: Array, gradient: Array, lr: float, part: slice) -> None:
        """Move the weights of `part`; `steps` counts the present step already."""
        vectors = [vector[part] for vector in (weights, gradient, self.moments["m"], self.moments["v"])]
        b1, b2 = self.betas
        rate = lr / (1 - b1**self.steps)
        root = 1 / math.sqrt(1 - b2**self.steps)
        kept = 1 - lr * self.decay
        if kernel.serves(weights):
            kernel.call("adam", len(vectors[0]), *vectors, kept, 1 - b1, 1 - b2, rate, root, self.eps)
            return
        for w, g, m, v in _blocks(*vectors):
            w *= kept
            m += (1 - b1) * (g - m)
            g *= g
            v += (1 - b2) * (g - v)
            np.sqrt(v, out=g)
            g *= root
            g += self.eps
            np.divide(m, g, out=g)
            g *= rate
            w -= g


class Muon(Adam):
    """Muon (Jordan et al. 2024) for the weights of the recurrent layers, Adam for all else.

    m = b m + (1 - b) g        u = b m + (1 - b) g = U S V^T          (Nesterov's momentum, and its singular values)
    w -= lr * decay * w        w -= lr * 0.2 sqrt(max(rows, columns)) * U V^T

    A step of Adam moves a matrix mostly along the few directions in which its gradients are large; here all directions
    of its momentum count alike. With the factor of Liu et al. (2025) an element moves about as far as in Adam, so that
    one learning rate serves both. Each block of a gate's rows is a matrix of its own: gates share an input and nothing
    else, and blocks of some hundred rows learn more than whole gates of 320, at a quarter of the cost. Where there is a
    matrix, the moment v is not used.
    """

    def __init__(self, shapes: Mapping[str, Shape], decay: float = 0.0, do_all: DoAll = _one_by_one) -> None:
        """Prepare for parameters of these names and shapes, in the order of the flat vector.

        `do_all` is given the blocks' steps, to be done in any order or at once.
        """
        super().__init__(sum(map(math.prod, shapes.values())), decay)
        where, blocks = places(shapes), block_shapes(shapes)
        self._matrices = [(where[name], shape) for name, shape in blocks.items()]
        self._rest = [part for name, part in where.items() if name not in blocks]
        self._do_all = do_all

    def step(self, weights: Array, gradient: Array, lr: float) -> None:
        """Move `weights` [P] by one step along `gradient` [P], which is used up."""
        self.steps += 1
        for part in self._rest:
            self._move(weights, gradient, lr, part)
        vectors = (weights, gradient, self.moments["m"])
        stacks = [[vector[part].reshape(shape) for vector in vectors] for part, shape in self._matrices]
        self._do_all([
            partial(move_blocks, w[k : k + 1], g[k : k + 1], m[k : k + 1], lr, self.decay)
            for w, g, m in stacks for k in range(len(w))
        ])  # fmt: skip


def block_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return, for each weight of the recurrent layers, its shape as a stack of blocks [blocks, rows, inputs]."""
    matrices = [name for name, shape in shapes.items() if names.is_recurrent(name) and len(shape) == 2]
    hidden = {name: shapes[names.state_weight(name)][1] for name in matrices}
    rows = {name: _block_rows(size) for name, size in hidden.items()}
    return {name: (shapes[name][0] // size, size, shapes[name][1]) for name, size in rows.items()}


def _block_rows(hidden: int) -> int:
    """Return the rows of a block: they divide a gate evenly, which stays whole where no fitting number does."""
    return next((rows for rows in range(_MOST_ROWS, _LEAST_ROWS - 1, -1) if hidden % rows == 0), hidden)


def move_blocks(w: Any, g: Any, m: Any, lr: float, decay: float) -> None:
    """Do a step of Muon in place on weights, gradient (used up) and momentum [blocks, rows, inputs].

    They are arrays of NumPy or tensors of PyTorch.
    """
    m += (1 - _MOMENTUM) * (g - m)
    g += _MOMENTUM * (m - g)
    w *= 1 - lr * decay
    w -= lr * _FACTOR * math.sqrt(max(w.shape[1:])) * orthogonal(g)


def orthogonal(x: Any) -> Any:
    """Return, nearly, U V^T of each x = U S V^T [..., rows, columns], by the iteration of Newton and Schulz."""
    if x.shape[-2] > x.shape[-1]:
        return orthogonal(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    a, b, c = _QUINTIC
    x = x / ((x * x).sum((-2, -1))[..., None, None] ** 0.5 + 1e-30)
    for _ in range(_ROUNDS):
        square = x @ x.swapaxes(-1, -2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


class SGD:
    """Gradient descent with momentum:  g += decay * w,  m = momentum * m + g,  w -= lr * m."""

    def __init__(self, size: int, decay: float = 0.0, momentum: float = 0.9) -> None:
        self.decay, self.momentum = decay, momentum
        self.moments = {"m": np.zeros(size, np.float32)}
        self.steps = 0

    def step(self, weights: Array, gradient: Array, lr: float) -> None:
        """Move `weights` [P] by one step along `gradient` [P], which is used up."""
        self.steps += 1
        for w, g, m in _blocks(weights, gradient, self.moments["m"]):
            g += self.decay * w
            m *= self.momentum
            m += g
            w -= lr * m


class RMSprop:
    """RMSprop (Tieleman & Hinton 2012) with char-rnn's smoothing of 0.95:

    g += decay * w               v = alpha v + (1 - alpha) g^2               w -= lr * g / (sqrt(v) + eps)
    """

    def __init__(self, size: int, decay: float = 0.0, alpha: float = 0.95) -> None:
        self.decay, self.alpha, self.eps = decay, alpha, 1e-8
        self.moments = {"v": np.zeros(size, np.float32)}
        self.steps = 0

    def step(self, weights: Array, gradient: Array, lr: float) -> None:
        """Move `weights` [P] by one step along `gradient` [P], which is used up."""
        self.steps += 1
        for w, g, v in _blocks(weights, gradient, self.moments["v"]):
            g += self.decay * w
            v *= self.alpha
            v += (1 - self.alpha) * (g * g)
            g /= np.sqrt(v) + self.eps
            w -= lr * g


Optimizer: TypeAlias = Adam | Muon | SGD | RMSprop


def make_optimizer(config: TrainConfig, shapes: Mapping[str, Shape], do_all: DoAll = _one_by_one) -> Optimizer:
    """Return the optimizer that the settings name, for parameters of these names and shapes.

    `do_all` does jobs that may be shared out over threads.
    """
    if config.optimizer == "muon":
        return Muon(shapes, config.weight_decay, do_all)
    size = sum(map(math.prod, shapes.values()))
    if config.optimizer == "adam":
        return Adam(size, config.weight_decay)
    if config.optimizer == "sgd":
        return SGD(size, config.weight_decay, config.momentum)
    return RMSprop(size, config.weight_decay)


def clip_by_norm(gradient: Array, limit: float) -> float:
    """Rescale `gradient` [P] in place to a Euclidean norm of at most `limit`; return the norm it had."""
    norm = math.sqrt(float(np.dot(gradient, gradient)))
    if norm > limit:
        gradient *= limit / norm
    return norm


def learning_rate(config: TrainConfig, step: int, progress: float, epoch: float, plateaus: int) -> float:
    """Return the learning rate of a step.

    `step` counts from 0, `progress` in [0, 1] is the share of the whole run done, `epoch` the number of epochs
    read, `plateaus` how often validation has stopped improving. Warm-up rises linearly over `warmup` steps.
    """
    rate = config.lr
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    elif config.schedule == "linear":
        rate *= 1 - min(1.0, progress)
    elif config.schedule == "step":
        rate *= config.lr_decay ** max(0, math.floor(epoch) + 1 - config.lr_decay_after)
    elif config.schedule == "plateau":
        rate *= config.lr_decay**plateaus
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def _blocks(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    for start in range(0, len(vectors[0]), _BLOCK):
        yield tuple(vector[start : start + _BLOCK] for vector in vectors)
