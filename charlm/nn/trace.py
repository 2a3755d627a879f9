"""What a network holds at each step of its texts: the states that it hands on, and the values of
its gates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.nn.lstm import blocks
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State
from charlm.nn.stack import Cell, Stack, zero_state

_STEPS = 64  # of a chunk


@dataclass(frozen=True)
class Texts:
    """Texts laid end to end, N steps in all; each array is [N].

    inputs: the id that a step reads, NO_TOKEN for the zero vector. targets: the id that it is to
    predict. begins: the first step of the text that it belongs to.
    """

    inputs: Array
    targets: Array
    begins: Array


@dataclass(frozen=True)
class Trace:
    """What each of N steps left.

    states: h and, in an LSTM, c, each [N, layers, H]. gates: their values, [N, layers, gates, H] in
    the order of `charlm.cells`; a plain RNN has none.
    """

    states: tuple[Array, ...]
    gates: Array

    def before(self, steps: Array, first: Array) -> State:
        """Return the states [layers, B, H] from which steps [B] started: zeros where one is the
        first of its text, `first` [B].
        """
        found = (np.swapaxes(part[steps - 1], 0, 1).copy() for part in self.states)
        return tuple(np.where(first[:, None], part.dtype.type(0), part) for part in found)


def trace(config: ModelConfig, params: Params, texts: Texts) -> Trace:
    """Read texts, each from the zero state, and return what the layers held at each step."""
    stack = Stack(config)
    watched = [_Watched(cell) for cell in stack.cells]
    stack.cells = [*watched]
    bounds = [*np.unique(texts.begins).tolist(), len(texts.inputs)]
    for begin, end in itertools.pairwise(bounds):
        state = zero_state(config, 1, params.flat.dtype.type)
        for ids in _chunks(texts.inputs[begin:end]):
            _, state = stack.forward(params, ids, state)
    h = np.stack([np.concatenate(cell.h) for cell in watched], axis=1)
    count = len(CELLS[config.cell].gate_names)
    if not count:
        return Trace((h,), np.zeros((*h.shape[:2], 0, config.hidden), h.dtype))
    gates = np.stack([np.concatenate(cell.gates) for cell in watched], axis=1)
    states = (h,) if CELLS[config.cell].states == 1 else (h, _memory(gates, texts.begins))
    return Trace(states, gates.reshape(*h.shape[:2], count, config.hidden))


class _Watched:
    """A cell that keeps what it says, [T, H] a chunk, and the values that it turns its input
    products into, [T, G·H].
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.h: list[Array] = []
        self.gates: list[Array] = []

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        y, after = self._cell.forward(params, z, state, reset)
        self.h.append(y[:, 0].copy())
        self.gates.append(z[:, 0].copy())
        return y, after

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        return self._cell.backward(params, grads, dy, dstate)


def _chunks(ids: Array) -> Iterator[Array]:
    """Cut the ids of a text into chunks [T, 1]."""
    return (ids[start : start + _STEPS, None] for start in range(0, len(ids), _STEPS))


def _memory(gates: Array, begins: Array) -> Array:
    """Return c [N, layers, H] of an LSTM with these gates [N, layers, 4H], as lstm.py has it."""
    i, f, g, _ = blocks(gates.reshape(-1, gates.shape[2]))
    shape = (*gates.shape[:2], -1)
    kept, added = f.reshape(shape), (i * g).reshape(shape)
    c = np.empty_like(added)
    for step, begin in enumerate(begins.tolist()):
        c[step] = added[step] if step == begin else kept[step] * c[step - 1] + added[step]
    return c
