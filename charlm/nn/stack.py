"""A stack of recurrent layers from token ids to hidden values: the body that every head shares."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from charlm.config import ModelConfig
from charlm.nn.gru import GRU
from charlm.nn.layers import Dropout, Linear, TokenInput
from charlm.nn.lstm import LSTM
from charlm.nn.params import Array, Params, Shape, State, Workspace
from charlm.nn.rnn import RNN

Cell: TypeAlias = RNN | GRU | LSTM

_CELLS: dict[str, type[RNN] | type[GRU] | type[LSTM]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class Stack:
    """Token input, then for each layer its cell and dropout, with a linear map in between.

    Dropout acts on the non-recurrent connections (Zaremba et al. 2014): on the embedding and on every layer's
    output. In a residual stack each layer but the first adds its values to what it read (He et al. 2016).
    """

    def __init__(self, config: ModelConfig) -> None:
        self.tokens = TokenInput.of(config)
        self.inputs = [Linear(f"rnn.weight_ih_l{k}", f"rnn.bias_ih_l{k}") for k in range(1, config.layers)]
        self.cells = [_cell(config, k) for k in range(config.layers)]
        self.dropouts = [Dropout(config.dropout) for _ in range(config.layers)]
        self._residual, self._space = config.residual, Workspace()

    def forward(
        self,
        params: Params,
        ids: Array,
        state: State,
        reset: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State]:
        """Run ids [T, B] from `state` to hidden values [T, B, H] and the state after; `rng` switches dropout on."""
        y = z = self.tokens.forward(params, ids, rng)
        after: list[State] = []
        for k, cell in enumerate(self.cells):
            h, last = cell.forward(params, z, tuple(part[k] for part in state), reset)
            after.append(last)
            h = self.dropouts[k].forward(h, rng)
            y = np.add(y, h, out=self._space(f"y{k}", h.shape, h.dtype)) if self._residual and k else h
            if k < len(self.inputs):
                z = self.inputs[k].forward(params, y)
        return y, _by_layer(after)

    def backward(self, params: Params, grads: Params, dy: Array, dstate: State | None = None) -> State:
        """Add all gradients, given dy [T, B, H]; return the gradient of the first state, [layers, B, H] each."""
        before: list[State] = []
        for k in reversed(range(len(self.cells))):
            dlast = None if dstate is None else tuple(part[k] for part in dstate)
            passed_on = dy.copy() if self._residual and k else None
            dz, dfirst = self.cells[k].backward(params, grads, self.dropouts[k].backward(dy), dlast)
            before.insert(0, dfirst)
            if k > 0:
                dy = self.inputs[k - 1].backward(params, grads, dz)
            if passed_on is not None:
                dy += passed_on
        self.tokens.backward(params, grads, dz)
        return _by_layer(before)


def stack_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the names and shapes of a stack's parameters, as in PyTorch's `state_dict`, which has no gains."""
    shapes: dict[str, Shape] = {}
    width = config.hidden * gate_count(config)
    if config.embedding:
        shapes["embed.weight"] = (config.vocab_size, config.embedding)
    for k in range(config.layers):
        inputs = (config.embedding or config.vocab_size) if k == 0 else config.hidden
        shapes[f"rnn.weight_ih_l{k}"] = (width, inputs)
        shapes[f"rnn.weight_hh_l{k}"] = (width, config.hidden)
        shapes[f"rnn.bias_ih_l{k}"] = (width,)
        shapes[f"rnn.bias_hh_l{k}"] = (width,)
        if config.layer_norm:
            shapes[f"rnn.gain_hh_l{k}"] = (width,)
    return shapes


def zero_state(config: ModelConfig, batch: int, dtype: type[np.floating] = np.float32) -> State:
    """Return the state before anything was read: zeros [layers, B, H], one for h and, in an LSTM, one for c."""
    shape = (config.layers, batch, config.hidden)
    return tuple(np.zeros(shape, dtype) for _ in range(_CELLS[config.cell].STATES))


def gate_count(config: ModelConfig) -> int:
    """Return G, the number of row blocks in a recurrent weight."""
    return _CELLS[config.cell].GATES


def _cell(config: ModelConfig, index: int) -> Cell:
    if config.cell == "rnn":
        return RNN(index, config.layer_norm, config.nonlinearity)
    return GRU(index, config.layer_norm) if config.cell == "gru" else LSTM(index, config.layer_norm)


def _by_layer(states: list[State]) -> State:
    """Turn a state for each layer into one state of [layers, B, H] arrays."""
    return tuple(np.stack(part) for part in zip(*states, strict=True))
