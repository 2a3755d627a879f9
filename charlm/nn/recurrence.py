"""What the time loops of all cells share: resets inside a chunk, and the products around the loop."""

from __future__ import annotations

import numpy as np

from charlm.nn import kernel
from charlm.nn.params import Array


class Steps:
    """The resets of one chunk: where a new sequence begins, what came before is zero, and its gradient too."""

    def __init__(self, reset: Array | None, length: int) -> None:
        self._reset = reset
        self._any: list[bool] = [False] * length if reset is None else np.any(reset, axis=1).tolist()

    @property
    def dense(self) -> Array | None:
        """The resets as bytes [T, B] for the compiled loops; None where there are none."""
        return np.ascontiguousarray(self._reset, np.uint8) if any(self._any) else None

    def enter(self, t: int, previous: Array) -> Array:
        """Return the state [B, H] that step t starts from: `previous`, or a copy with the reset rows zeroed."""
        if not self._any[t] or self._reset is None:
            return previous
        return np.where(self._reset[t][:, None], previous.dtype.type(0), previous)

    def leave(self, t: int, dprevious: Array) -> None:
        """Zero, in place, the gradient [B, H] that would flow back through a reset at step t."""
        if self._any[t] and self._reset is not None:
            dprevious[self._reset[t]] = 0

    def entered(self, previous: Array) -> Array:
        """Return the states [T, B, H] that all steps started from."""
        if self._reset is None or not any(self._any):
            return previous
        return np.where(self._reset[:, :, None], previous.dtype.type(0), previous)


def recurrent_weight(weight: Array, length: int) -> Array:
    """Return W_hh^T [H, G·H], contiguous where the loop is long enough to repay the copy."""
    return weight.T if length <= kernel.FEW_STEPS else np.ascontiguousarray(weight.T)


def add_recurrent_gradients(dweight: Array, dbias: Array, da: Array, previous: Array) -> None:
    """Add the gradients of W_hh [G·H, H] and b_hh, from da [T, B, G·H] and the states before each step, in place."""
    rows = da.reshape(-1, da.shape[-1])
    dweight += rows.T @ previous.reshape(len(rows), -1)
    dbias += rows.sum(axis=0)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) in place; exp may overflow to infinity, whose reciprocal is the right zero."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def sigmoid_slope(s: Array, out: Array) -> Array:
    """Return the derivative s (1 - s) of the sigmoid from its output."""
    np.subtract(1, s, out=out)
    out *= s
    return out


def tanh_slope(y: Array, out: Array) -> Array:
    """Return the derivative 1 - y^2 of tanh from its output."""
    np.multiply(y, y, out=out)
    return np.subtract(1, out, out=out)
