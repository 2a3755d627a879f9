"""The gated recurrent unit with an update gate alone; Ravanelli et al. (2018) do without the reset gate, too.

    u = sigmoid(z_u + p_u)        n = tanh(z_n + p_n)
    h' = (1 - u) * n + u * h = n + u * (h - n)

z is the input product W_ih x + b_ih, p what the state h tells (recurrence.py), their rows in the
order u, n. Backward, for dh' given:

    dz_u = dh' * (h - n) * u (1 - u)        dz_n = dh' * (1 - u) * (1 - n^2)
    dp = dz                                 dh = dh' * u, and what dp gives
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace
from charlm.nn.recurrence import Recurrent, Steps, sigmoid, sigmoid_slope, tanh_slope


class SimpleGRU:
    """One recurrent layer with an update gate."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.recurrent = Recurrent(config, k, reverse)
        self._space = Workspace()
        self._tape: Tape[tuple[Array, Array, Steps]] = Tape()

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, 2H] from state (h,) of [B, H] to y [T, B, H]; z becomes the gates' values in place."""
        size, (length, batch, _) = z.shape[2] // 2, z.shape
        steps = Steps(self.recurrent, params, z, reset)
        h = self._space("h", (length + 1, batch, size), z.dtype)
        h[0] = state[0]
        if steps.compiled:
            kernel.call("simple_gru_forward", length, batch, size, *steps.forward_arrays, z, h)
        else:
            _run(steps, z, h)
        self._tape.put((z, h, steps))
        return h[1:], (h[-1].copy(),)

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, 2H] and the gradient of the first state."""
        gates, h, steps = self._tape.take()
        dz = self._space("dz", gates.shape, dy.dtype)
        dh = np.zeros_like(dy[0]) if dstate is None else dstate[0].copy()  # [B, H]
        if kernel.serves(dy):
            kernel.call(
                "simple_gru_backward", *dy.shape, *steps.backward_arrays, gates, h, dy, dh, dz
            )
        else:
            _run_back(steps, gates, h, dy, dh, dz)
        steps.add_gradients(grads, dz, h[:-1])
        return dz, (dh,)


def _run(steps: Steps, z: Array, h: Array) -> None:
    """Fill h[1:] from h[0] and z, and turn z into the gates' values."""
    size, product = h.shape[2], np.empty_like(z[0])
    with np.errstate(over="ignore"):
        for t in range(len(z)):
            before = steps.enter(t, h[t])
            z[t] += steps.forward(t, before, out=product)
            u = sigmoid(z[t, :, :size])
            n = np.tanh(z[t, :, size:], out=z[t, :, size:])
            np.subtract(before, n, out=h[t + 1])
            h[t + 1] *= u
            h[t + 1] += n


def _run_back(steps: Steps, gates: Array, h: Array, dy: Array, dh: Array, dz: Array) -> None:
    """Fill dz; dh, the gradient of the last state, becomes that of the first."""
    scratch = np.empty_like(dh)
    for t in reversed(range(len(dy))):
        dh += dy[t]
        _step_back(gates[t], steps.enter(t, h[t]), dh, dz[t], scratch)
        dh += steps.backward(t, dz[t], out=scratch)
        steps.leave(t, dh)


def _step_back(gates: Array, before: Array, dh: Array, dz: Array, scratch: Array) -> None:
    """Write one step's dz [B, 2H], and in place turn dh from the gradient of h' into the part of h that u lets by."""
    size = dh.shape[1]
    u, n, dz_u, dz_n = gates[:, :size], gates[:, size:], dz[:, :size], dz[:, size:]
    np.subtract(before, n, out=scratch)
    scratch *= dh
    np.multiply(sigmoid_slope(u, out=dz_u), scratch, out=dz_u)
    np.subtract(1, u, out=scratch)
    scratch *= dh
    np.multiply(tanh_slope(n, out=dz_n), scratch, out=dz_n)
    dh *= u
