"""Writing text: logits, filters, a draw with `Generator.choice`, and the token fed back, until EOS or a length."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
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
        drawn = []
        for row, text in zip(logits, alive, strict=True):
            logp = log_softmax(row)
            token = int(rngs[text].choice(len(logp), p=probabilities(logp, config)))
            drawn.append(token)
            yield Draw(text, token, float(logp[token]))
        going = [k for k, token in enumerate(drawn) if token != EOS]
        if len(going) < len(alive):
            alive = [alive[k] for k in going]
            state = engine.select(state, going)
        if not alive:
            return
        inputs = np.array([[drawn[k] for k in going]], np.int32)


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Return log p [V] of logits [V], in float64."""
    shifted: NDArray[np.float64] = logits.astype(np.float64) - logits.max()
    shifted -= math.log(np.exp(shifted).sum())
    return shifted


def probabilities(logp: NDArray[np.float64], config: SamplingConfig) -> NDArray[np.float64]:
    """Return what to draw from [V]: temperature first, then <unk> rejected, then top-k, then top-p.

    Drawing again whenever <unk> comes is the same as drawing from the others in proportion, as is done here.
    """
    scores = logp / config.temperature
    if config.unk == "reject":
        scores[UNK] = -math.inf
    if config.top_k is not None and config.top_k < len(scores):
        scores[np.argsort(-scores, kind="stable")[config.top_k :]] = -math.inf
    p = np.exp(scores - scores.max())
    p /= p.sum()
    return p if config.top_p is None else _nucleus(p, config.top_p)


def _nucleus(p: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Keep the fewest most probable tokens that reach `share` together (Holtzman et al. 2020), rescaled."""
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    kept = np.where(before < share, p[order], 0)
    result = np.zeros_like(p)
    result[order] = kept / kept.sum()
    return result
