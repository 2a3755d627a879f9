"""Layers without recurrence between what the recurrent layers say and the softmax.

    y = max(0, x W^T + b), then dropout

PyTorch has no module of this kind. Under the names of these parameters stands an `nn.ModuleList` of
`nn.Linear`, with relu and dropout after each.
"""

from __future__ import annotations

import numpy as np

from charlm.config import ModelConfig
from charlm.nn import names
from charlm.nn.layers import Dropout, Linear, Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape


class DenseLayers:
    """The layers on top of a network, none or several; dropout as everywhere, alike at all steps of values in time."""

    def __init__(self, config: ModelConfig) -> None:
        depth = range(config.head_layers)
        self.maps = [Linear(names.dense_weight(k), names.dense_bias(k)) for k in depth]
        self.dropouts = [Dropout(config.dropout) for _ in depth]
        self._tape: Tape[list[Array]] = Tape()

    def forward(
        self, params: Params | Panels, x: Array, rng: np.random.Generator | None = None
    ) -> Array:
        """Map x [..., W] to [..., head_hidden]; with no layers return x itself; `rng` switches dropout on."""
        active = []
        for layer, dropout in zip(self.maps, self.dropouts, strict=True):
            y = layer.forward(params, x)
            np.maximum(y, 0, out=y)
            active.append(y)
            x = dropout.forward(y, rng)
        self._tape.put(active)
        return x

    def backward(self, params: Params, grads: Params, dy: Array) -> Array:
        """Add the gradients; return dx; dy is used up."""
        active = self._tape.take()
        for layer, dropout, y in reversed(list(zip(self.maps, self.dropouts, active, strict=True))):
            dy = dropout.backward(dy)
            dy *= y > 0
            dy = layer.backward(params, grads, dy)
        return dy


def dense_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the names and shapes of the parameters of the layers on top."""
    shapes: dict[str, Shape] = {}
    for k in range(config.head_layers):
        inputs = config.head_width if k else config.width
        shapes |= {
            names.dense_weight(k): (config.head_width, inputs),
            names.dense_bias(k): (config.head_width,),
        }
    return shapes
