"""Long short-term memory whose gates see the cell (Gers & Schmidhuber 2000): each unit's gates that unit's own c.

    i = sigmoid(z_i + p_i + w_ci * c)       f = sigmoid(z_f + p_f + w_cf * c)       g = tanh(z_g + p_g)
    c' = f * c + i * g                      o = sigmoid(z_o + p_o + w_co * c')      h' = o * tanh(c')

z is the input product W_ih x + b_ih, p what the state h tells (recurrence.py), the peepholes w are
vectors [H]. Backward, for dh' and dc' given, all of it as in lstm.py but for what flows through the
peepholes:

    do = dh' * tanh(c')                     dz_o = do * o (1 - o)
    dc' += dh' * o * (1 - tanh(c')^2) + dz_o * w_co
    di = dc' * g      df = dc' * c          dg = dc' * i             each times its gate's slope gives dz
    dc = dc' * f + dz_i * w_ci + dz_f * w_cf                         dp = dz
    dw_ci = dz_i * c  dw_cf = dz_f * c      dw_co = dz_o * c'        summed over steps and columns
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.lstm import blocks
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace, rows_of
from charlm.nn.recurrence import Recurrent, Steps, sigmoid, sigmoid_slope, tanh_slope


class PeepholeLSTM:
    """One long short-term memory layer with peepholes."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.recurrent = Recurrent(config, k, reverse)
        self._space = Workspace()
        self._tape: Tape[tuple[Array, Array, Array, Array, Steps]] = Tape()

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, 4H] from state (h, c) of [B, H] to y [T, B, H]; z becomes the gates' values in place."""
        size, (length, batch, _) = z.shape[2] // 4, z.shape
        steps, peepholes = (
            Steps(self.recurrent, params, z, reset),
            self.recurrent.vectors_of(params),
        )
        h = self._space("h", (length + 1, batch, size), z.dtype)
        c = self._space("c", (length + 1, batch, size), z.dtype)
        tanh_c = self._space("tanh_c", (length, batch, size), z.dtype)
        h[0], c[0] = state
        if steps.compiled:
            kernel.call(
                "lstm_forward",
                length,
                batch,
                size,
                *steps.forward_arrays,
                *peepholes,
                z,
                h,
                c,
                tanh_c,
            )
        else:
            _run(steps, peepholes, z, h, c, tanh_c)
        self._tape.put((z, h, c, tanh_c, steps))
        return h[1:], (h[-1].copy(), c[-1].copy())

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, 4H] and the gradients of the first state."""
        gates, h, c, tanh_c, steps = self._tape.take()
        peepholes, dz = self.recurrent.vectors_of(params), self._space("dz", gates.shape, dy.dtype)
        dh, dc = (
            (np.zeros_like(dy[0]), np.zeros_like(dy[0]))
            if dstate is None
            else (d.copy() for d in dstate)
        )
        if kernel.serves(dy):
            arrays = (*steps.backward_arrays, *peepholes)
            kernel.call("lstm_backward", *dy.shape, *arrays, gates, c, tanh_c, dy, dh, dc, dz)
        else:
            _run_back(steps, peepholes, gates, c, tanh_c, dy, dh, dc, dz)
        steps.add_gradients(grads, dz, h[:-1])
        dz_i, dz_f, _, dz_o = blocks(rows_of(dz))
        before, after = rows_of(steps.entered(c[:-1])), rows_of(c[1:])
        pairs = (dz_i, before), (dz_f, before), (dz_o, after)
        for dpeephole, (dgate, seen) in zip(self.recurrent.vectors_of(grads), pairs, strict=True):
            dpeephole += (dgate * seen).sum(axis=0)
        return dz, (dh, dc)


def _run(steps: Steps, peepholes: list[Array], z: Array, h: Array, c: Array, tanh_c: Array) -> None:
    """Fill h[1:], c[1:] and tanh_c from h[0], c[0] and z, and turn z into the gates' values."""
    (w_ci, w_cf, w_co), size, product = peepholes, h.shape[2], np.empty_like(z[0])
    with np.errstate(over="ignore"):
        for t in range(len(z)):
            z[t] += steps.forward(t, steps.enter(t, h[t]), out=product)
            i, f, g, o = blocks(z[t])
            before = steps.enter(t, c[t])
            i += np.multiply(w_ci, before, out=tanh_c[t])
            f += np.multiply(w_cf, before, out=tanh_c[t])
            g *= 2
            sigmoid(z[t, :, : 3 * size])
            g *= 2
            g -= 1
            np.multiply(f, before, out=c[t + 1])
            c[t + 1] += np.multiply(i, g, out=tanh_c[t])
            o += np.multiply(w_co, c[t + 1], out=tanh_c[t])
            sigmoid(o)
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])


def _run_back(
    steps: Steps, peepholes: list[Array], gates: Array, c: Array, tanh_c: Array, dy: Array, dh: Array, dc: Array,
    dz: Array,
) -> None:  # fmt: skip
    """Fill dz; dh and dc, the gradients of the last state, become those of the first."""
    scratch = np.empty_like(dh)
    for t in reversed(range(len(dy))):
        dh += dy[t]
        _step_back(peepholes, gates[t], steps.enter(t, c[t]), tanh_c[t], dh, dc, dz[t], scratch)
        steps.backward(t, dz[t], out=dh)
        steps.leave(t, dh)
        steps.leave(t, dc)


def _step_back(
    peepholes: list[Array],
    gates: Array,
    c: Array,
    tanh_c: Array,
    dh: Array,
    dc: Array,
    dz: Array,
    scratch: Array,
) -> None:
    """Write one step's dz [B, 4H], and in place turn dc from the gradient of c' into that of c."""
    (w_ci, w_cf, w_co), (i, f, g, o), (dz_i, dz_f, dz_g, dz_o) = (
        peepholes,
        blocks(gates),
        blocks(dz),
    )
    tanh_slope(tanh_c, out=scratch)
    scratch *= o
    scratch *= dh
    dc += scratch
    sigmoid_slope(gates, out=dz)
    tanh_slope(g, out=dz_g)
    dz_o *= dh
    dz_o *= tanh_c
    dc += np.multiply(dz_o, w_co, out=scratch)
    dz_f *= dc
    dz_f *= c
    dz_g *= np.multiply(dc, i, out=scratch)
    dz_i *= np.multiply(dc, g, out=scratch)
    dc *= f
    dc += np.multiply(dz_i, w_ci, out=scratch)
    dc += np.multiply(dz_f, w_cf, out=scratch)
