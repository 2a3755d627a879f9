"""How what was read bears on a token to come: the gradient of its loss with respect to earlier
states and inputs.

    L = -log p(token)        of each token in question, by back-propagation one step at a time
    ds_k = dL / ds_k         s_k the state, of all layers, that was handed on k steps before
    de_k = dL / de_k         e_k the vector that was read k steps before
    worth_k = -de_k · e_k    to first order what log p would lose without it (gradient times input)

|ds_k| over k is what vanishes or explodes (Hochreiter 1991; Bengio et al. 1994; Pascanu et al.
2013). Gradient times input is of Shrikumar et al. (2016) and Denil et al. (2014).

One backward pass gives all k of a token; those of several tokens go side by side, as columns. A
step is computed anew from the state before it when its turn comes (Chen et al. 2016), so that no
more than the states of the text is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn import kernel, names
from charlm.nn.dense import DenseLayers
from charlm.nn.head import SoftmaxHead
from charlm.nn.layers import Distinct, rows_at
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, State
from charlm.nn.stack import Stack
from charlm.nn.trace import Texts, Trace


@dataclass(frozen=True)
class Recall:
    """What bears on n tokens from 1 to K steps before, [n, K]; nan before the beginning of a text.

    nats: of each token, [n]. slope: |ds_k|, the gradient's length, in nats per unit of the state.
    worth: in nats, positive where what was read made the token more probable.
    """

    nats: Array
    slope: Array
    worth: Array


class _Columns:
    """Vectors of tokens in which each column has its own, and its own gradient.

    One-hot tokens are vectors, too. Implements `charlm.nn.layers.TokenVectors`.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._embedded, self._inputs = bool(config.embedding), config.inputs
        self._x = np.zeros((0, 0))
        self.worth = np.zeros(0)  # [B], of the last step

    def forward(
        self, params: Params | Panels, ids: Array, rng: np.random.Generator | None = None
    ) -> Distinct:
        tokens = ids[0]
        if self._embedded:
            self._x = rows_at(params[names.EMBED], tokens)
        else:
            self._x = np.zeros((len(tokens), self._inputs), params[names.weight_ih(0)].dtype)
            real = np.flatnonzero(tokens != NO_TOKEN)
            self._x[real, tokens[real]] = 1
        return Distinct(tokens, np.arange(len(tokens))[None], self._x)

    def backward(self, params: Params, grads: Params, dx: Array | None) -> None:
        if dx is not None:
            self.worth = -np.einsum("bd,bd->b", dx, self._x)


def recall(
    config: ModelConfig, params: Params, texts: Texts, seen: Trace, steps: Array, most: int
) -> Recall:
    """Return what bears on the targets of steps [n], up to `most` steps before each; `seen` is the
    texts' trace.
    """
    vectors, dense = _Columns(config), DenseLayers(config)
    stack, scrap = Stack(config, vectors), params.twin()
    head = SoftmaxHead(config.vocab_size, names.EMBED if config.tie else names.HEAD_WEIGHT)
    age = steps - texts.begins[steps]  # how many steps of its text came before
    slope, worth = (np.full((len(steps), most), np.nan) for _ in range(2))
    columns = np.arange(len(steps))
    dstate: State | None = None
    with kernel.flushing(), np.errstate(over="ignore"):
        for k in range(most):
            alive = age[columns] >= k
            columns = columns[alive]
            if not len(columns):
                break
            at = steps[columns] - k
            y, _ = stack.forward(params, texts.inputs[at][None], seen.before(at, age[columns] == k))
            if dstate is None:
                nats, dy = _through_the_head(head, dense, params, scrap, y, texts.targets[steps])
            else:
                dstate = tuple(np.ascontiguousarray(part[:, alive]) for part in dstate)
                dy = np.zeros_like(y)
            dstate = stack.backward(params, scrap, dy, dstate)
            worth[columns, k] = vectors.worth
            squares = sum(np.square(part, dtype=np.float64).sum(axis=(0, 2)) for part in dstate)
            slope[columns, k] = np.where(age[columns] == k, np.nan, np.sqrt(squares))
    return Recall(nats, slope, worth)


def _through_the_head(
    head: SoftmaxHead,
    dense: DenseLayers,
    params: Params,
    scrap: Params,
    y: Array,
    targets: Array,
) -> tuple[Array, Array]:
    """Return the nats [n] of targets [n] under y [1, n, W], and the gradient of their sum, dy."""
    read = dense.forward(params, y)
    rows = read.reshape(-1, read.shape[2])
    nats = -head.log_probs(params, rows, targets)
    _, dy = head.backward(params, scrap, rows, targets, np.ones(len(targets)), 1.0)
    return nats, dense.backward(params, scrap, dy.reshape(read.shape))
