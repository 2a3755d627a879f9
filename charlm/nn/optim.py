"""Optimizers over one flat vector, with the formulas and defaults of PyTorch's, and the learning-rate schedules.

An optimizer's `moments` are twins of the parameters' vector, so that saving and resuming it is copying them.
All steps are in place, in blocks that stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from charlm.config import TrainConfig
from charlm.nn import kernel
from charlm.nn.params import Array

_BLOCK = 1 << 14


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
        b1, b2 = self.betas
        rate = lr / (1 - b1**self.steps)
        root = 1 / math.sqrt(1 - b2**self.steps)
        kept = 1 - lr * self.decay
        if kernel.serves(weights):
            vectors = (weights, gradient, self.moments["m"], self.moments["v"])
            kernel.call("adam", len(weights), *vectors, kept, 1 - b1, 1 - b2, rate, root, self.eps)
            return
        for w, g, m, v in _blocks(weights, gradient, self.moments["m"], self.moments["v"]):
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


Optimizer: TypeAlias = Adam | SGD | RMSprop


def make_optimizer(config: TrainConfig, size: int) -> Optimizer:
    """Return the optimizer that the settings name, for `size` parameters."""
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
    elif config.schedule == "step":
        rate *= config.lr_decay ** max(0, math.floor(epoch) + 1 - config.lr_decay_after)
    elif config.schedule == "plateau":
        rate *= config.lr_decay**plateaus
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def _blocks(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    for start in range(0, len(vectors[0]), _BLOCK):
        yield tuple(vector[start : start + _BLOCK] for vector in vectors)
