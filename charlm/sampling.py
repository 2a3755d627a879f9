"""Writing text: logits, filters, a draw as by `Generator.choice`, and the token fed back, until EOS or a length."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Draw:
    """One drawn token: of which text, its id, and log p in nats under the model itself, unfiltered."""

    text: int
    id: int
    logprob: float


def generate(
    engine: Engine, context: Context, prompt: Ids, config: SamplingConfig, seed: int | None, count: int = 1
) -> Iterator[Draw]:
    """Draw `count` texts that go on from `prompt` [n ids], all in one batch, and yield the tokens as they come.

    A text ends with its EOS, which is yielded, or after `config.length` tokens. Each text has a generator of its
    own, made from the seed and its number, so that it does not depend on the texts drawn beside it.
    """
    first = secrets.randbits(64) if seed is None else seed
    rngs = [np.random.default_rng([first, k]) for k in range(count)]
    alive = list(range(count))
    inputs = np.repeat(np.concatenate([[context.first_input], prompt]).astype(np.int32)[:, None], count, axis=1)
    state = engine.zero_state(count)
    for _ in range(config.length):
        logits, state = engine.logits(inputs, state)
        logp = log_softmax(logits)  # [n, V]
        drawn = draw(probabilities(logp, config), [rngs[text] for text in alive])
        for row, text in enumerate(alive):
            yield Draw(text, drawn[row], float(logp[row, drawn[row]]))
        going = [row for row, token in enumerate(drawn) if token != EOS]
        if len(going) < len(alive):
            alive = [alive[row] for row in going]
            state = engine.select(state, going)
        if not alive:
            return
        inputs = np.array([[drawn[row] for row in going]], np.int32)


def draw(p: NDArray[np.float64], rngs: Sequence[np.random.Generator]) -> list[int]:
    """Draw a token for each row of p [n, V] with its own generator: exactly what `rng.choice(V, p=row)` draws."""
    cumulated = p.cumsum(axis=1)
    cumulated /= cumulated[:, -1:]
    uniform = np.array([rng.random() for rng in rngs])
    tokens: list[int] = (cumulated <= uniform[:, None]).sum(axis=1).tolist()
    return tokens


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Return log p [..., V] of logits [..., V], in float64."""
    shifted: NDArray[np.float64] = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
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
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p if config.top_p is None else _nucleus(p, config.top_p)


def _nucleus(p: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Keep the fewest most probable tokens that reach `share` together (Holtzman et al. 2020), rescaled."""
    order = np.argsort(-p, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=-1)
    kept = np.where(np.cumsum(sorted_p, axis=-1) - sorted_p < share, sorted_p, 0)
    result = np.zeros_like(p)
    np.put_along_axis(result, order, kept / kept.sum(axis=-1, keepdims=True), axis=-1)
    return result
