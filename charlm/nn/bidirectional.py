"""Recurrent layers that read each sequence from both ends (Schuster & Paliwal 1997), for chunks of whole sequences.

    y = [h, h~]        h~: the values of a cell that was fed the sequence last step first, put back in place

A sequence that is turned round within its own place begins where it began. So the resets serve both
directions, the cells are those of a stack that reads onwards, and turning twice is doing nothing.
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import names
from charlm.nn.layers import Dropout, Embedding, Linear, Tape, TokenProduct, TokenVectors
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State, Workspace, rows_of
from charlm.nn.stack import make_cell, ways, zero_state


class Bidirectional:
    """What `Stack` is to one direction: both at every layer, each reading all that the layer below says, [T, B, 2H].

    Sequences are whole, so that each begins at a zero state and nothing is carried from chunk to
    chunk. The dropout masks of the embedding and of a layer's values are those of `Stack`; both
    directions share the embedding's.
    """

    def __init__(self, config: ModelConfig, vectors: TokenVectors | None = None) -> None:
        """Read the embedding of tokens, unless other `vectors` of them are given."""
        self.embedding: TokenVectors = vectors or Embedding.of(config)
        self.tokens = [
            TokenProduct(names.weight_ih(0, way), names.bias_ih(0, way)) for way in ways(config)
        ]
        self.inputs = [
            [Linear(names.weight_ih(k, way), names.bias_ih(k, way)) for way in ways(config)]
            for k in range(1, config.layers)
        ]
        self.cells = [
            [make_cell(config, k, way) for way in ways(config)] for k in range(config.layers)
        ]
        self.dropouts = [Dropout(config.dropout) for _ in range(config.layers)]
        self._config, self._space = config, Workspace()
        self._tape: Tape[Array] = Tape()

    def forward(
        self,
        params: Params | Panels,
        ids: Array,
        state: State,
        reset: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State]:
        """Run ids [T, B], of which `reset` marks the starts, to values [T, B, 2H]; `rng` switches dropout on.

        Each column begins a sequence. `state` is not heeded, but returned.
        """
        reset = np.zeros(ids.shape, np.bool_) if reset is None else reset
        turn = turned_rows(reset)
        self._tape.put(turn)
        once = self.embedding.forward(params, ids, rng)
        z = [
            self.tokens[0].forward(params, once),
            self.tokens[1].forward(params, once.turned(turn)),
        ]
        y = self.dropouts[0].forward(self._both(params, 0, z, reset, turn), rng)
        for k, (onward, back) in enumerate(self.inputs, 1):
            z = [onward.forward(params, y), back.forward(params, self._taken(f"x{k}", y, turn))]
            h = self.dropouts[k].forward(self._both(params, k, z, reset, turn), rng)
            y = (
                np.add(y, h, out=self._space(f"y{k}", h.shape, h.dtype))
                if self._config.residual
                else h
            )
        return y, state

    def backward(self, params: Params, grads: Params, dy: Array) -> None:
        """Add all gradients, given dy [T, B, 2H], which is used up."""
        turn = self._tape.take()
        for k in reversed(range(len(self.cells))):
            passed_on = dy.copy() if self._config.residual and k else None
            onward, back = self._both_back(params, grads, k, self.dropouts[k].backward(dy), turn)
            if k > 0:
                dy = self.inputs[k - 1][0].backward(params, grads, onward)
                dy += self._taken("dx", self.inputs[k - 1][1].backward(params, grads, back), turn)
            if passed_on is not None:
                dy += passed_on
        dx = self.tokens[0].backward(params, grads, onward)
        dback = self.tokens[1].backward(params, grads, back)
        self.embedding.backward(params, grads, dx if dx is None or dback is None else dx + dback)

    def _both(
        self, params: Params | Panels, k: int, z: list[Array], reset: Array, turn: Array
    ) -> Array:
        """Run layer k's cells over their input products, the second's turned round, to [h, h~] [T, B, 2H]."""
        begin = tuple(part[0] for part in zero_state(self._config, z[0].shape[1], z[0].dtype.type))
        (h, _), (turned, _) = (
            cell.forward(params, part, begin, reset)
            for cell, part in zip(self.cells[k], z, strict=True)
        )
        both = self._space(f"both{k}", (*h.shape[:2], 2 * h.shape[2]), h.dtype)
        both[:, :, : h.shape[2]] = h
        rows_of(both)[:, h.shape[2] :] = rows_of(turned)[turn]
        return both

    def _both_back(
        self, params: Params, grads: Params, k: int, dy: Array, turn: Array
    ) -> tuple[Array, Array]:
        """Return the gradients of layer k's input products [T, B, G·H], the second turned round."""
        size = dy.shape[2] // 2  # of dy [T, B, 2H]
        dh = self._space("dh", (*dy.shape[:2], size), dy.dtype)
        dh[...] = dy[:, :, :size]
        dturned = rows_of(dy)[turn, size:].reshape(dh.shape)
        onward, back = self.cells[k]
        return onward.backward(params, grads, dh)[0], back.backward(params, grads, dturned)[0]

    def _taken(self, name: str, x: Array, turn: Array) -> Array:
        """Return x [T, B, D] turned round."""
        out = self._space(name, x.shape, x.dtype)
        np.take(
            rows_of(x), turn, axis=0, out=rows_of(out), mode="clip"
        )  # "clip" only spares NumPy a buffer
        return out


def turned_rows(reset: Array) -> Array:
    """Return which of the rows t·B + b takes the place of each, [T·B], when sequences are turned round in place."""
    steps, columns = reset.shape
    step = np.broadcast_to(np.arange(steps)[:, None], reset.shape)
    begin = np.maximum.accumulate(np.where(reset, step, 0), axis=0)
    before_next = np.where(np.concatenate([reset[1:], np.ones_like(reset[:1])]), step, steps)
    last = np.minimum.accumulate(before_next[::-1], axis=0)[::-1]
    return np.asarray(((begin + last - step) * columns + np.arange(columns)).reshape(-1))
