"""A stack of recurrent layers from token ids to hidden values: the body that every head shares."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from charlm.cells import CELLS
from charlm.config import ModelConfig
from charlm.nn import names
from charlm.nn.layers import Dropout, Linear, TokenInput, TokenVectors
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, State, Workspace


class Cell(Protocol):
    """The time loop of one layer in one direction, on its input products; a class of it is made as `make_cell` does."""

    def forward(
        self, params: Params | Panels, z: Array, state: State, reset: Array | None = None
    ) -> tuple[Array, State]:
        """Run z [T, B, G·H], used up, from state [B, H] each to y [T, B, H]; at `reset` [T, B] the state is zero."""

    def backward(
        self, params: Params, grads: Params, dy: Array, dstate: State | None = None
    ) -> tuple[Array, State]:
        """Add the recurrent gradients; return dz [T, B, G·H] and the gradient of the first state."""


class Stack:
    """Token input, then for each layer its cell and dropout, with a linear map in between.

    Dropout acts on the non-recurrent connections (Zaremba et al. 2014): on the embedding and on every layer's
    output. In a residual stack each layer but the first adds its values to what it read (He et al. 2016).
    """

    def __init__(self, config: ModelConfig, vectors: TokenVectors | None = None) -> None:
        """Read the embedding of tokens, unless other `vectors` of them are given."""
        self.tokens = TokenInput.of(config, vectors)
        self.inputs = [Linear(names.weight_ih(k), names.bias_ih(k)) for k in range(1, config.layers)]
        self.cells = [make_cell(config, k) for k in range(config.layers)]
        self.dropouts = [Dropout(config.dropout) for _ in range(config.layers)]
        self._residual, self._space = config.residual, Workspace()

    def forward(
        self,
        params: Params | Panels,
        ids: Array,
        state: State,
        reset: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, State]:
        """Run ids [T, B] from `state` to hidden values [T, B, H] and the state after; `rng` switches dropout on."""
        if isinstance(params, Panels) and params.reads:
            y = self._space("y", (*ids.shape, params.width), np.float32)
            return y, params.read(ids, state, reset, y)
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


def stack_shapes(config: ModelConfig, inputs: int | None = None) -> dict[str, Shape]:
    """Return the names and shapes of a stack's parameters; vectors of tokens are `inputs` wide, or
    embeddings.
    """
    shapes: dict[str, Shape] = (
        {names.EMBED: (config.inputs, config.embedding)} if config.embedding else {}
    )
    below = inputs or config.embedding or config.inputs
    for k in range(config.layers):
        for way in ways(config):
            shapes |= layer_shapes(config, k, config.width if k else below, way)
    return shapes


def ways(config: ModelConfig) -> tuple[bool, ...]:
    """Return the directions that a network reads in, each as whether it is the reverse one."""
    return (False, True) if config.bidirectional else (False,)


def layer_shapes(config: ModelConfig, k: int, inputs: int, reverse: bool = False) -> dict[str, Shape]:
    """Return the names and shapes of the parameters of layer k, which reads `inputs` values a step."""
    kind = CELLS[config.cell]
    width = kind.gates * config.hidden
    shapes: dict[str, Shape] = {
        names.weight_ih(k, reverse): (width, inputs),
        names.weight_hh(k, reverse): (width, config.hidden),
        names.bias_ih(k, reverse): (width,),
        names.bias_hh(k, reverse): (width,),
    }
    if config.layer_norm:
        shapes[names.gain_hh(k, reverse)] = (width,)
    return shapes | {names.recurrent(part, k, reverse): (config.hidden,) for part in kind.vectors}


def zero_state(config: ModelConfig, batch: int, dtype: type[np.floating] = np.float32) -> State:
    """Return the state before anything was read: zeros [layers, B, H], one for h and, in an LSTM, one for c."""
    shape = (config.layers, batch, config.hidden)
    return tuple(np.zeros(shape, dtype) for _ in range(CELLS[config.cell].states))


def whole_state(config: ModelConfig, columns: int, params: Params | Panels) -> State:
    """Return the state before columns of whole sequences; both directions have zeros of their own,
    and take none.
    """
    if config.bidirectional:
        return ()
    dtype = params.flat.dtype.type if isinstance(params, Params) else np.float32
    return zero_state(config, columns, dtype)


def draw(config: ModelConfig, shapes: Mapping[str, Shape], rng: np.random.Generator) -> Params:
    """Draw first weights; biases, peepholes and what weighs the steps of a pooling are 0, forget gates and gains 1.

    Recurrent layers are uniform in ±1/sqrt(H), the softmax in ±1/sqrt(W) of the W values that it reads, as PyTorch's
    are; layers on top in ±sqrt(6/W), which keeps the variance through relu (He et al. 2015). Embeddings are standard
    normal, but as small as the softmax where they are its weights too. Peepholes drawn as
    weights are led to the same losses.
    """
    params = Params(shapes)
    for name, value in params.items():
        if name == names.EMBED and not config.tie:
            value[...] = rng.standard_normal(value.shape)
        elif names.is_gain(name):
            value[...] = 1
        elif value.ndim == 2:
            bound = _bound(name, value, config)
            value[...] = rng.uniform(-bound, bound, value.shape)
    kind = CELLS[config.cell]
    for k, way in itertools.product(range(config.layers), ways(config)):
        if kind.forget is not None:
            params[names.bias_ih(k, way)].reshape(kind.gates, -1)[kind.forget] = 1
    return params


def _bound(name: str, value: Array, config: ModelConfig) -> float:
    """Return the largest first weight of a matrix [rows, W]."""
    if names.is_recurrent(name):
        return float(config.hidden**-0.5)
    if name == names.NGRAMS:  # as fastText's
        return float(1 / value.shape[1])
    return float((value.shape[1] / 6 if names.is_dense(name) else value.shape[1]) ** -0.5)


def make_cell(config: ModelConfig, k: int, reverse: bool = False) -> Cell:
    """Return the cell of layer k; its class is imported here, so that the table of cells needs no NumPy."""
    module, _, name = CELLS[config.cell].layer.partition(".")
    cell: Cell = getattr(importlib.import_module(f"charlm.nn.{module}"), name)(config, k, reverse)
    return cell


def _by_layer(states: list[State]) -> State:
    """Turn a state for each layer into one state of [layers, B, H] arrays."""
    return tuple(np.stack(part) for part in zip(*states, strict=True))
