"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and PyTorch: reset after the product.

    r = sigmoid(z_r + p_r)        u = sigmoid(z_u + p_u)
    n = tanh(z_n + r * a)         a = p_n
    h' = (1 - u) * n + u * h = n + u * (h - n)

z is the input product W_ih x + b_ih, p what the state h tells (recurrence.py), their rows in the order r, u (PyTorch's
z), n. Backward, for dh' given:

    du = dh' * (h - n)                      dn = dh' * (1 - u) * (1 - n^2)
    dz_r = dn * a * r (1 - r)               dz_u = du * u (1 - u)            dz_n = dn
    dp = [dz_r, dz_u, dn * r]               dh = dh' * u, and what dp gives
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace
from charlm.nn.recurrence import Recurrent, Steps, sigmoid, sigmoid_slope, tanh_slope


class GRU:
    """One gated recurrent layer."""

    def __init__(self, config: ModelConfig, k: int, reverse: bool = False) -> None:
        self.recurrent = Recurrent(config, k, reverse)
        self._space = Workspace()
        self._tape: Tape[tuple[Array, Array, Array, Steps]] = Tape()

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, 3H] from state (h,) of [B, H] to y [T, B, H]; z becomes the gates' values in place."""
        size, (length, batch, _) = z.shape[2] // 3, z.shape
        steps = Steps(self.recurrent, params, z, reset)
        h = self._space("h", (length + 1, batch, size), z.dtype)
        a = self._space("a", (length, batch, size), z.dtype)
        h[0] = state[0]
        if steps.compiled:
            kernel.call("gru_forward", length, batch, size, *steps.forward_arrays, z, h, a)
        else:
            _run(steps, z, h, a)
        self._tape.put((z, h, a, steps))
        return h[1:], (h[-1].copy(),)

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, 3H] and the gradient of the first state."""
        gates, h, a, steps = self._tape.take()
        size = dy.shape[2]
        dp = self._space("dp", gates.shape, dy.dtype)
        dz_n = self._space("dz_n", dy.shape, dy.dtype)
        dh = np.zeros_like(dy[0]) if dstate is None else dstate[0].copy()  # [B, H]
        if kernel.serves(dy):
            kernel.call("gru_backward", *dy.shape, *steps.backward_arrays, gates, h, a, dy, dh, dp, dz_n)
        else:
            _run_back(steps, gates, h, a, dy, dh, dp, dz_n)
        steps.add_gradients(grads, dp, h[:-1])
        dp[:, :, 2 * size :] = dz_n  # from here on it is the gradient of the input product
        return dp, (dh,)


def _run(steps: Steps, z: Array, h: Array, a: Array) -> None:
    """Fill h[1:] and a from h[0] and z, and turn z into the gates' values."""
    size, product = h.shape[2], np.empty_like(z[0])
    with np.errstate(over="ignore"):
        for t in range(len(z)):
            before = steps.enter(t, h[t])
            steps.forward(t, before, out=product)
            a[t] = product[:, 2 * size :]
            _gates(z[t], product, size)
            np.subtract(before, z[t, :, 2 * size :], out=h[t + 1])
            h[t + 1] *= z[t, :, size : 2 * size]
            h[t + 1] += z[t, :, 2 * size :]


def _run_back(
    steps: Steps, gates: Array, h: Array, a: Array, dy: Array, dh: Array, dp: Array, dz_n: Array
) -> None:
    """Fill dp and dz_n; dh, the gradient of the last state, becomes that of the first."""
    size, scratch = dh.shape[1], np.empty_like(dh)
    for t in reversed(range(len(dy))):
        dh += dy[t]
        _step_back(gates[t], steps.enter(t, h[t]), a[t], dh, dp[t], dz_n[t], scratch)
        dh *= gates[t, :, size : 2 * size]
        dh += steps.backward(t, dp[t], out=scratch)
        steps.leave(t, dh)


def _gates(z: Array, product: Array, size: int) -> None:
    """Turn z [B, 3H] into the values of r, u and n, in place; `product` [B, 3H] is p."""
    r, n = z[:, :size], z[:, 2 * size :]
    ru = z[:, : 2 * size]
    ru += product[:, : 2 * size]
    sigmoid(ru)
    n += np.multiply(r, product[:, 2 * size :], out=product[:, 2 * size :])
    np.tanh(n, out=n)


def _step_back(gates: Array, before: Array, a: Array, dh: Array, dp: Array, dn: Array, scratch: Array) -> None:
    """Write the gradients of one step's arguments into dp [B, 3H] and dn [B, H] (dz_n)."""
    size = a.shape[1]
    r, u, n = gates[:, :size], gates[:, size : 2 * size], gates[:, 2 * size :]
    dp_r, dp_u, dp_n = dp[:, :size], dp[:, size : 2 * size], dp[:, 2 * size :]
    np.subtract(1, u, out=dn)
    dn *= dh
    dn *= tanh_slope(n, out=scratch)
    np.subtract(before, n, out=scratch)
    scratch *= dh
    np.multiply(sigmoid_slope(u, out=dp_u), scratch, out=dp_u)
    sigmoid_slope(r, out=dp_r)
    dp_r *= dn
    dp_r *= a
    np.multiply(dn, r, out=dp_n)
