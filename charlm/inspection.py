"""Texts as the network of a language model reads them, open to the inside: what its units hold,
what it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charlm.config import ModelConfig
from charlm.engines.threads import BLAS
from charlm.errors import UsageError
from charlm.model import Model
from charlm.nn.model import shapes
from charlm.nn.params import Params
from charlm.nn.recall import Recall, recall
from charlm.nn.trace import Texts, Trace, trace
from charlm.text.tokenizers import EOS

MOST_BACK = 200  # steps that are looked back
MOST_TOKENS = 200  # of which the gradients are taken
QUARTILES = (0.25, 0.5, 0.75)
_FEWEST = 10  # tokens that a median is taken of


@dataclass(frozen=True)
class Inspection:
    """Texts laid end to end with what the network held at each step of them.

    A text of n tokens has n + 1 steps: each reads what stands before a token, and the last, which
    has read the whole, predicts the end of the text.
    """

    config: ModelConfig
    params: Params
    texts: Texts
    trace: Trace

    @property
    def tokens(self) -> NDArray[np.int64]:
        """The steps that predict a token of the texts, none that predicts an end."""
        return np.flatnonzero(self.texts.targets != EOS)

    @property
    def read(self) -> NDArray[np.int64]:
        """The steps that have just read a token of the texts: those after `tokens`."""
        return self.tokens + 1

    def recall(self, steps: NDArray[np.int64], most: int = MOST_BACK) -> Recall:
        """Return what bears on the targets of steps [n], as `charlm.nn.recall.recall` does."""
        work = partial(recall, self.config, self.params, self.texts, self.trace, steps, most)
        return BLAS.during(work)


def inspect(model: Model, texts: Sequence[str]) -> Inspection:
    """Read texts with the network of a model, each by itself; counts beside it have no part in
    this.

    Raises UsageError for a model without a network, and for a mixture.

    >>> inspected = inspect(charlm.load("dinosaurs"), ["Tyrannosaurus"])
    >>> inspected.trace.states[0][inspected.read].shape  # tokens, layers, units
    (13, 1, 256)
    """
    if not model.config.layers:
        raise UsageError("this model is counts alone: it has no network to look into")
    params = Params(shapes(model.config))
    for name, value in model.trained.tensors().items():
        params[name][...] = value
    every = [model.tokenizer.encode(text) for text in texts]
    begins = np.cumsum([0, *(len(ids) + 1 for ids in every)])
    first, end = [model.language.start.first_input], [EOS]
    laid = Texts(
        np.concatenate([part for ids in every for part in (first, ids)]).astype(np.int32),
        np.concatenate([part for ids in every for part in (ids, end)]).astype(np.int32),
        np.repeat(begins[:-1], np.diff(begins)),
    )
    seen = BLAS.during(partial(trace, model.config, params, laid))
    return Inspection(model.config, params, laid, seen)


@dataclass(frozen=True)
class Memory:
    """How strongly the loss of a token still depends on the state k = 1, 2, ... steps before.

    quartiles: of the gradient's length, in nats per unit of the state, [3, K]; the second is the
    median. tokens: how many had so much before them, [K].
    """

    quartiles: NDArray[np.float64]
    tokens: NDArray[np.int64]


def memory_of(slope: NDArray[np.float64], fewest: int = _FEWEST) -> Memory:
    """Sum up the gradients of several tokens, [n, K], as far back as `fewest` of them go."""
    tokens = np.isfinite(slope).sum(axis=0)
    far = int(np.count_nonzero(tokens >= fewest))
    found = slope[:, :far]
    quartiles = np.nanquantile(found, QUARTILES, axis=0) if far else np.zeros((len(QUARTILES), 0))
    return Memory(quartiles, tokens[:far])


def spread(steps: NDArray[np.int64], most: int = MOST_TOKENS) -> NDArray[np.int64]:
    """Return `most` of some steps, evenly spread over them, or all where they are not so many."""
    if len(steps) <= most:
        return steps
    return steps[(2 * np.arange(most) + 1) * len(steps) // (2 * most)]


def steps_learnt(model: Model) -> int | None:
    """Return after how many steps training cut the gradients (`seq_len`); None where the file does
    not say.
    """
    found = model.facts.get("settings", {}).get("seq_len")
    return found if type(found) is int and found > 0 else None
