"""Writing text: logits, filters, a draw as by `Generator.choice`, and the token fed back, until EOS or a length."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Array, Engine
from charlm.errors import UsageError
from charlm.text.batches import Context, Ids
from charlm.text.tokenizers import EOS, UNK

UNKNOWN_POLICIES = ("reject", "keep")


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn: at most `length` of them, from which of the candidates, how boldly."""

    length: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    unk: str = "reject"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"length must be 1 or more, not {self.length}")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"temperature must be above 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k must be 1 or more, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p must be above 0 and at most 1, not {self.top_p}")
        if self.unk not in UNKNOWN_POLICIES:
            raise UsageError(f"unk must be one of {', '.join(UNKNOWN_POLICIES)}, not {self.unk!r}")


class Step(NamedTuple):
    """One token for each text that goes on: its text's number, its id, and log p in nats under the model itself."""

    texts: list[int]
    ids: list[int]
    logprobs: list[float]


def generate(
    engine: Engine, context: Context, prompt: Ids, config: SamplingConfig, seed: int | None, count: int = 1
) -> Iterator[Step]:
    """Draw `count` texts that go on from `prompt` [n ids], all in one batch, and yield the tokens as they come.

    A text ends with its EOS, which is yielded, or after `config.length` tokens. Each text has a generator of its
    own, made from the seed and its number, so that it does not depend on the texts drawn beside it.
    """
    chance = _Chance(secrets.randbits(64) if seed is None else seed, count, config.length)
    texts = list(range(count))
    inputs = np.repeat(np.concatenate([[context.first_input], prompt]).astype(np.int32)[:, None], count, axis=1)
    state = engine.zero_state(count)
    for t in range(config.length):
        logits, state = engine.logits(inputs, state)
        logp = log_softmax(logits)  # [n, V]
        drawn = draw(probabilities(logp, config), chance(t, texts))
        ids = drawn.tolist()
        yield Step(texts, ids, logp[np.arange(len(ids)), drawn].tolist())
        if EOS in ids:
            going = np.flatnonzero(drawn).tolist()
            if not going:
                return
            texts, drawn = [texts[row] for row in going], drawn[going]
            state = engine.select(state, going)
        inputs = drawn[None].astype(np.int32)


class _Chance:
    """The uniform numbers that `Generator.choice` would take, from a generator for each text, drawn in advance."""

    _AHEAD = 64

    def __init__(self, seed: int, count: int, length: int) -> None:
        self._rngs = [np.random.default_rng([seed, k]) for k in range(count)]
        self._ahead = min(length, self._AHEAD)
        self._numbers = np.empty((count, self._ahead))

    def __call__(self, t: int, texts: list[int]) -> NDArray[np.float64]:
        """Return number t of each of the texts; t counts up from 0."""
        if t % self._ahead == 0:
            for text in texts:
                self._rngs[text].random(out=self._numbers[text])
        column = self._numbers[:, t % self._ahead]
        return column if len(texts) == len(column) else column[texts]


def draw(p: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.intp]:
    """Draw a token for each row of p [n, V]: what `rng.choice(V, p=row)` draws where `rng.random()` gives `uniform`."""
    cumulated = p.cumsum(axis=1)
    cumulated /= cumulated[:, -1:]
    tokens: NDArray[np.intp] = np.add.reduce(cumulated <= uniform[:, None], axis=1)
    return tokens


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Return log p [..., V] of logits [..., V], in float64."""
    shifted: NDArray[np.float64] = logits.astype(np.float64)
    shifted -= np.maximum.reduce(shifted, axis=-1, keepdims=True)
    shifted -= np.log(np.add.reduce(np.exp(shifted), axis=-1, keepdims=True))
    return shifted


def probabilities(logp: NDArray[np.float64], config: SamplingConfig) -> NDArray[np.float64]:
    """Return what to draw from [..., V]: temperature first, then <unk> rejected, then top-k, then top-p.

    Drawing again whenever <unk> comes is the same as drawing from the others in proportion, as is done here.
    """
    scores = logp / config.temperature
    if config.unk == "reject":
        scores[..., UNK] = -math.inf
    if config.top_k is not None and config.top_k < scores.shape[-1]:
        np.put_along_axis(scores, np.argsort(-scores, axis=-1, kind="stable")[..., config.top_k :], -math.inf, axis=-1)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    p: NDArray[np.float64] = np.exp(scores, out=scores)
    p /= np.add.reduce(p, axis=-1, keepdims=True)
    return p if config.top_p is None else _nucleus(p, config.top_p)


def _nucleus(p: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Keep the fewest most probable tokens that reach `share` together (Holtzman et al. 2020), rescaled."""
    order = np.argsort(-p, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=-1)
    kept = np.where(np.cumsum(sorted_p, axis=-1) - sorted_p < share, sorted_p, 0)
    result = np.zeros_like(p)
    np.put_along_axis(result, order, kept / kept.sum(axis=-1, keepdims=True), axis=-1)
    return result
