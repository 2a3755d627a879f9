"""What the time loops of all cells share: resets inside a chunk, and what the state before tells a step.

    p = W_hh h + b_hh

With layer normalisation (Ba et al. 2016) of the product, over its G·H values:

    p = gain * n + b_hh        n = (a - mean a) / sqrt(var a + eps)        a = W_hh h

Backward, for dp given, with d = dp * gain; without normalisation da = dp:

    da = (d - mean d - n * mean(d * n)) / sqrt(var a + eps)        dh = da W_hh        dgain = dp * n        db_hh = dp
"""

from __future__ import annotations

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.nn import kernel, names
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Workspace, rows_of

_EPS = 1e-5  # as kernel.c's and PyTorch's


class Recurrent:
    """The recurrent parameters of layer k by name, and the memory for what normalising saves."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.weight, self.bias = names.weight_hh(k, reverse), names.bias_hh(k, reverse)
        self.gain = names.gain_hh(k, reverse) if config.layer_norm else None
        self._vectors = [names.recurrent(part, k, reverse) for part in CELLS[config.cell].vectors]
        self.space = Workspace()

    def vectors_of(self, params: Params | Panels) -> list[Array]:
        """Return the cell's further vectors [H], in the order of the table of cells."""
        return [params[name] for name in self._vectors]


class _Norm:
    """The normalisation of one chunk's products."""

    def __init__(self, gain: Array, z: Array, space: Workspace) -> None:
        self.gain, self.dgain = gain, np.zeros_like(gain)
        self.normed = space("normed", z.shape, z.dtype)  # n, and once backward has been there da
        self.inverse = space("inverse", z.shape[:2], z.dtype)  # 1 / sqrt(var a + eps)

    def forward(self, t: int, a: Array) -> None:
        """Turn a [B, G·H] into gain * n, in place."""
        a -= a.mean(axis=1, keepdims=True)
        self.inverse[t] = 1 / np.sqrt(np.mean(a * a, axis=1) + _EPS)
        np.multiply(a, self.inverse[t][:, None], out=self.normed[t])
        np.multiply(self.normed[t], self.gain, out=a)

    def backward(self, t: int, dp: Array) -> Array:
        """Return da [B, G·H]."""
        n: Array = self.normed[t]
        d = dp * self.gain
        self.dgain += (dp * n).sum(axis=0)
        n *= -np.mean(d * n, axis=1, keepdims=True)
        n += d
        n -= d.mean(axis=1, keepdims=True)
        n *= self.inverse[t][:, None]
        return n


class Steps:
    """The steps of one chunk, of input products z [T, B, G·H].

    Where a new sequence begins, at `reset` [T, B], what came before is zero, and its gradient too. `forward` goes from
    the first step to the last, `backward` back, and `add_gradients` ends it; instead of the first two, kernel.c's loops
    take `forward_arrays` and `backward_arrays`. With `Panels`, which predict, each row is summed in one order however
    many there are.
    """

    def __init__(self, recurrent: Recurrent, params: Params | Panels, z: Array, reset: Array | None) -> None:
        self._names, self._reset = recurrent, reset
        self._any: list[bool] = [False] * len(z) if reset is None else np.any(reset, axis=1).tolist()
        self._weight, self._bias = params[recurrent.weight], params[recurrent.bias]
        self._panels = params if isinstance(params, Panels) else None
        self.compiled = kernel.serves(z) and (len(z) > kernel.FEW_STEPS or self._panels is not None)
        # Made when they are asked for, but not with cached_property, whose lock is one for all threads in Python 3.11,
        # and stays locked in a child that is forked while another thread holds it.
        self._dense: Array | None = None
        self._transposed: Array | None = None
        self._norm = None if recurrent.gain is None else _Norm(params[recurrent.gain], z, recurrent.space)

    @property
    def forward_arrays(self) -> tuple[Array | None, ...]:
        norm = self._norm
        arrays = (norm.gain, norm.normed, norm.inverse) if norm else (None, None, None)
        return self._resets(), self._weight, self._bias, *arrays

    @property
    def backward_arrays(self) -> tuple[Array | None, ...]:
        norm = self._norm
        arrays = (norm.gain, norm.normed, norm.inverse, norm.dgain) if norm else (None, None, None, None)
        return self._resets(), self._weight, *arrays

    def _resets(self) -> Array | None:
        """Return the resets as bytes [T, B]; None where there are none."""
        if self._dense is None and any(self._any):
            self._dense = np.ascontiguousarray(self._reset, np.uint8)
        return self._dense

    def _transposed_weight(self) -> Array:
        """Return W_hh^T [H, G·H], contiguous where the loop is long enough to repay the copy."""
        if self._transposed is None:
            few = len(self._any) <= kernel.FEW_STEPS
            self._transposed = self._weight.T if few else np.ascontiguousarray(self._weight.T)
        return self._transposed

    def enter(self, t: int, previous: Array) -> Array:
        """Return the state [B, H] that step t starts from: `previous`, or a copy with the reset rows zeroed."""
        if not self._any[t] or self._reset is None:
            return previous
        return np.where(self._reset[t][:, None], previous.dtype.type(0), previous)

    def entered(self, previous: Array) -> Array:
        """Return what all steps start from: the states before each [T, B, H], or a copy with the reset rows zeroed."""
        if self._reset is None or not any(self._any):
            return previous
        entered = previous.copy()
        entered[self._reset] = 0  # a third of the time of np.where, as few rows are concerned
        return entered

    def forward(self, t: int, entered: Array, out: Array) -> Array:
        """Write p [B, G·H] of the state [B, H] that step t starts from to `out`, and return it."""
        if self._panels:
            self._panels.affine(self._names.weight, None, entered, out)
        else:
            np.matmul(entered, self._transposed_weight(), out=out)
        if self._norm:
            self._norm.forward(t, out)
        out += self._bias
        return out

    def backward(self, t: int, dp: Array, out: Array) -> Array:
        """Write dh [B, H], of the state that step t started from, to `out`, and return it."""
        return np.matmul(self._norm.backward(t, dp) if self._norm else dp, self._weight, out=out)

    def leave(self, t: int, dprevious: Array) -> None:
        """Zero, in place, the gradient [B, H] that would flow back through a reset at step t."""
        if self._any[t] and self._reset is not None:
            dprevious[self._reset[t]] = 0

    def add_gradients(self, grads: Params, dp: Array, previous: Array) -> None:
        """Add the parameters' gradients, from dp [T, B, G·H] and the states before each step [T, B, H]."""
        previous = self.entered(previous)
        da = self._norm.normed if self._norm else dp
        grads[self._names.weight][...] += rows_of(da).T @ rows_of(previous)
        grads[self._names.bias][...] += rows_of(dp).sum(axis=0)
        if self._norm and self._names.gain is not None:
            grads[self._names.gain][...] += self._norm.dgain


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
