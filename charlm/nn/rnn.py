"""The plain recurrent layer (Elman 1990).

    h' = act(z + p)        act = tanh, or max(0, .)

z is the input product W_ih x + b_ih, made outside the time loop, p what the state h tells (recurrence.py). Backward,
for dh' given:

    dp = dz = act'(h') * dh'        act' = 1 - h'^2, or [h' > 0]
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace
from charlm.nn.recurrence import Recurrent, Steps, tanh_slope


class RNN:
    """One recurrent layer with the nonlinearity tanh or relu."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.recurrent = Recurrent(config, k, reverse)
        self._tanh = config.nonlinearity == "tanh"
        self._space = Workspace()
        self._tape: Tape[tuple[Array, Steps]] = Tape()

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, H] from state (h,) of [B, H] to y [T, B, H]; where reset [T, B] is true, h starts at zero."""
        steps = Steps(self.recurrent, params, z, reset)
        h = self._space("h", (len(z) + 1, *z.shape[1:]), z.dtype)  # [T+1, B, H]
        h[0] = state[0]
        if steps.compiled:
            kernel.call("rnn_forward", *z.shape, self._tanh, *steps.forward_arrays, z, h)
        else:
            self._run(steps, z, h)
        self._tape.put((h, steps))
        return h[1:], (h[-1].copy(),)

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, H] and the gradient of the first state."""
        h, steps = self._tape.take()
        dz = self._space("dz", dy.shape, dy.dtype)
        dh = np.zeros_like(dy[0]) if dstate is None else dstate[0].copy()  # [B, H]
        if kernel.serves(dy):
            kernel.call("rnn_backward", *dy.shape, self._tanh, *steps.backward_arrays, h, dy, dh, dz)
        else:
            self._run_back(steps, h, dy, dh, dz)
        steps.add_gradients(grads, dz, h[:-1])
        return dz, (dh,)

    def _run(self, steps: Steps, z: Array, h: Array) -> None:
        """Fill h[1:] from h[0] and z."""
        for t in range(len(z)):
            a = steps.forward(t, steps.enter(t, h[t]), out=h[t + 1])
            a += z[t]
            if self._tanh:
                np.tanh(a, out=a)
            else:
                np.maximum(a, 0, out=a)

    def _run_back(self, steps: Steps, h: Array, dy: Array, dh: Array, dz: Array) -> None:
        """Fill dz; dh, the gradient of the last state, becomes that of the first."""
        for t in reversed(range(len(dy))):
            dh += dy[t]
            if self._tanh:
                tanh_slope(h[t + 1], out=dz[t])
            else:
                np.greater(h[t + 1], 0, out=dz[t])
            dz[t] *= dh
            steps.backward(t, dz[t], out=dh)
            steps.leave(t, dh)
