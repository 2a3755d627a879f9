"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000).

    i, f, o = sigmoid(.)   g = tanh(.)      of the four row blocks i, f, g, o of  z + p
    c' = f * c + i * g                      h' = o * tanh(c')

z is the input product W_ih x + b_ih, p what the state h tells (recurrence.py). tanh(x) = 2 sigmoid(2x) - 1, so that
one exp serves all four gates. Backward, for dh' and dc' given:

    dc' += dh' * o * (1 - tanh(c')^2)       do = dh' * tanh(c')
    di = dc' * g      df = dc' * c          dg = dc' * i             each times its gate's slope gives dz
    dc = dc' * f                            dp = dz
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace
from charlm.nn.recurrence import Recurrent, Steps, sigmoid, sigmoid_slope, tanh_slope

_NO_PEEPHOLES = (None, None, None)  # kernel.c's loops serve lstm_peephole.py, too


class LSTM:
    """One long short-term memory layer."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.recurrent = Recurrent(config, k, reverse)
        self._space = Workspace()
        self._tape: Tape[tuple[Array, Array, Array, Array, Steps]] = Tape()

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, 4H] from state (h, c) of [B, H] to y [T, B, H]; z becomes the gates' values in place."""
        size, (length, batch, _) = z.shape[2] // 4, z.shape
        steps = Steps(self.recurrent, params, z, reset)
        h = self._space("h", (length + 1, batch, size), z.dtype)
        c = self._space("c", (length + 1, batch, size), z.dtype)
        tanh_c = self._space("tanh_c", (length, batch, size), z.dtype)
        h[0], c[0] = state
        if steps.compiled:
            kernel.call("lstm_forward", length, batch, size, *steps.forward_arrays, *_NO_PEEPHOLES, z, h, c, tanh_c)
        else:
            _run(steps, z, h, c, tanh_c)
        self._tape.put((z, h, c, tanh_c, steps))
        return h[1:], (h[-1].copy(), c[-1].copy())

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, 4H] and the gradients of the first state."""
        gates, h, c, tanh_c, steps = self._tape.take()
        dz = self._space("dz", gates.shape, dy.dtype)
        dh, dc = (np.zeros_like(dy[0]), np.zeros_like(dy[0])) if dstate is None else (d.copy() for d in dstate)
        if kernel.serves(dy):
            arrays = (*steps.backward_arrays, *_NO_PEEPHOLES)
            kernel.call("lstm_backward", *dy.shape, *arrays, gates, c, tanh_c, dy, dh, dc, dz)
        else:
            _run_back(steps, gates, c, tanh_c, dy, dh, dc, dz)
        steps.add_gradients(grads, dz, h[:-1])
        return dz, (dh, dc)


def _run(steps: Steps, z: Array, h: Array, c: Array, tanh_c: Array) -> None:
    """Fill h[1:], c[1:] and tanh_c from h[0], c[0] and z, and turn z into the gates' values."""
    product = np.empty_like(z[0])
    with np.errstate(over="ignore"):
        for t in range(len(z)):
            z[t] += steps.forward(t, steps.enter(t, h[t]), out=product)
            i, f, g, o = _gates(z[t])
            np.multiply(f, steps.enter(t, c[t]), out=c[t + 1])
            c[t + 1] += np.multiply(i, g, out=tanh_c[t])
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])


def _run_back(
    steps: Steps, gates: Array, c: Array, tanh_c: Array, dy: Array, dh: Array, dc: Array, dz: Array
) -> None:
    """Fill dz; dh and dc, the gradients of the last state, become those of the first."""
    scratch = np.empty_like(dh)
    for t in reversed(range(len(dy))):
        dh += dy[t]
        _step_back(gates[t], steps.enter(t, c[t]), tanh_c[t], dh, dc, dz[t], scratch)
        steps.backward(t, dz[t], out=dh)
        steps.leave(t, dh)
        steps.leave(t, dc)


def blocks(x: Array) -> tuple[Array, Array, Array, Array]:
    """Return the four gates' views of x [B, 4H]."""
    size = x.shape[1] // 4
    return x[:, :size], x[:, size : 2 * size], x[:, 2 * size : 3 * size], x[:, 3 * size :]


def _gates(z: Array) -> tuple[Array, Array, Array, Array]:
    """Turn the arguments z [B, 4H] into the values of i, f, g, o, in place, and return them."""
    i, f, g, o = blocks(z)
    g *= 2
    sigmoid(z)
    g *= 2
    g -= 1
    return i, f, g, o


def _step_back(gates: Array, c: Array, tanh_c: Array, dh: Array, dc: Array, dz: Array, scratch: Array) -> None:
    """Write one step's dz [B, 4H], and in place turn dc from the gradient of c' into that of c."""
    i, f, g, o = blocks(gates)
    di, df, dg, do = blocks(dz)
    tanh_slope(tanh_c, out=scratch)
    scratch *= o
    scratch *= dh
    dc += scratch
    sigmoid_slope(gates, out=dz)
    tanh_slope(g, out=dg)
    do *= dh
    do *= tanh_c
    df *= dc
    df *= c
    dc_i = np.multiply(dc, i, out=scratch)
    dg *= dc_i
    di *= np.multiply(dc, g, out=scratch)
    dc *= f
