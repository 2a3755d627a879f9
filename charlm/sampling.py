"""Writing text: logits, filters, a draw as by `Generator.choice`, and the token fed back, until EOS or a length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.engines import Array, Predictor, State
from charlm.errors import UsageError
from charlm.text.allowed import Allowed
from charlm.text.batches import Context, Ids
from charlm.text.tokenizers import EOS, UNK

UNKNOWN_POLICIES = ("reject", "keep")
_EXTREME = 1e100  # a larger penalty, or a smaller temperature than its inverse, changes nothing and might overflow
_CHECKS: dict[str, Callable[[str, Any], Any]] = {"int": checks.whole, "float": checks.real, "str": checks.text}


@dataclass(frozen=True)
class SamplingConfig:
    """How a text is drawn, and where it ends; raises TypeError or UsageError for a value that cannot be.

    length: at most so many tokens; 0: however many until EOS. temperature: 0 takes the most probable token.
    top_k, top_p, min_p: which tokens stay candidates. repetition_penalty: what the log-probability of tokens already
    in the text is multiplied with. unk: whether `<unk>` may be drawn. stop: end before this string. lines: end after
    so many lines. starts_with: how the text begins, after the prompt, the rest being drawn as the model has it given
    that.
    """

    length: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    unk: str = "reject"
    stop: str | None = None
    lines: int | None = None
    starts_with: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            kind, _, optional = str(field.type).partition(" | ")
            value = getattr(self, field.name)
            if value is not None or not optional:
                object.__setattr__(self, field.name, _CHECKS[kind](field.name, value))
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.length < 0:
            raise UsageError(f"length must be 0 (no limit) or more, not {self.length}")
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.repetition_penalty < math.inf:
            raise UsageError(f"repetition-penalty must be above 0, not {self.repetition_penalty}")
        for name, value in (("top-k", self.top_k), ("lines", self.lines)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        for name, share in (("top-p", self.top_p), ("min-p", self.min_p)):
            if share is not None and not 0 < share <= 1:
                raise UsageError(f"{name} must be above 0 and at most 1, not {share}")
        if self.unk not in UNKNOWN_POLICIES:
            raise UsageError(f"unk must be one of {', '.join(UNKNOWN_POLICIES)}, not {self.unk!r}")
        if self.stop == "":
            raise UsageError("stop must not be empty: every text has an empty string at once")


class Step(NamedTuple):
    """One token for each text that goes on: its text's number, its id, and log p in nats under the model itself."""

    texts: list[int]
    ids: list[int]
    logprobs: list[float]


def _only_eos(_: int, token: int) -> bool:
    return token == EOS


def generate(
    engine: Predictor, context: Context, prompt: Ids, config: SamplingConfig, seed: int, texts: Sequence[int] = (0,),
    ended: Callable[[int, int], bool] = _only_eos, may: Allowed | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Draw texts, given by their numbers, that go on from `prompt` [n ids], in one batch; yield tokens as they come.

    A text ends where `ended(number, id)`, called once for each token in order, says so, or after `config.length`
    tokens. `may` says which tokens may come. Each text has a generator of its own, made from the
    seed and its number, so that it does not depend on the texts drawn beside it.
    """
    chance, going = _Chance(seed, texts, config.length), list(range(len(texts)))
    read = np.concatenate([[context.first_input], prompt]).astype(np.int32)
    inputs, state = np.repeat(read[:, None], len(texts), axis=1), engine.zero_state(len(texts))
    seen = _Seen(prompt, len(texts)) if config.repetition_penalty != 1 else None
    may = may or Allowed()
    blank = may.begin(prompt, len(texts))
    for t in itertools.count() if config.length == 0 else range(config.length):
        logp, state = next_log_probs(engine, inputs, state)  # [n, V]
        allowed = may.tokens(t == 0, blank)
        drawn = draw(probabilities(logp, config, seen.among(going, logp.shape[1]) if seen else None, allowed),
                     chance(t, going))  # fmt: skip
        ids = drawn.tolist()
        if seen:
            seen.add(going, ids)
        numbers = [texts[row] for row in going]
        left = [k for k, (number, token) in enumerate(zip(numbers, ids, strict=True)) if not ended(number, token)]
        yield Step(numbers, ids, logp[np.arange(len(ids)), drawn].tolist())
        blank = may.after(blank, drawn)
        if len(left) < len(ids):
            if not left:
                return
            going, drawn, blank = (
                [going[k] for k in left],
                drawn[left],
                None if blank is None else blank[left],
            )
            state = engine.select(state, left)
        inputs = drawn[None].astype(np.int32)


class _Seen:
    """Which tokens stand in each text already, its prompt included."""

    def __init__(self, prompt: Ids, count: int) -> None:
        self._texts = [set(prompt.tolist()) for _ in range(count)]

    def add(self, rows: list[int], ids: list[int]) -> None:
        for row, token in zip(rows, ids, strict=True):
            self._texts[row].add(token)

    def among(self, rows: list[int], vocabulary: int) -> NDArray[np.bool_]:
        """Return [n, V]: whether a token stands in each of these texts."""
        result = np.zeros((len(rows), vocabulary), np.bool_)
        for k, row in enumerate(rows):
            result[k, list(self._texts[row])] = True
        return result


class _Chance:
    """The uniform numbers that `Generator.choice` would take, from a generator for each text, drawn in advance."""

    _AHEAD = 64

    def __init__(self, seed: int, texts: Sequence[int], length: int) -> None:
        self._rngs = [np.random.default_rng([seed, number]) for number in texts]
        self._ahead = min(length or self._AHEAD, self._AHEAD)
        self._numbers = np.empty((len(texts), self._ahead))

    def __call__(self, t: int, rows: list[int]) -> NDArray[np.float64]:
        """Return number t of each of the texts that stand in `rows`; t counts up from 0."""
        if t % self._ahead == 0:
            for row in rows:
                self._rngs[row].random(out=self._numbers[row])
        column = self._numbers[:, t % self._ahead]
        return column if len(rows) == len(column) else column[rows]


def draw(p: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.intp]:
    """Draw a token for each row of p [n, V]: what `rng.choice(V, p=row)` draws where `rng.random()` gives `uniform`."""
    cumulated = p.cumsum(axis=1)
    cumulated /= cumulated[:, -1:]
    tokens: NDArray[np.intp] = np.add.reduce(cumulated <= uniform[:, None], axis=1)
    return tokens


def next_log_probs(
    engine: Predictor, inputs: Ids, state: State
) -> tuple[NDArray[np.float64], State]:
    """Return log p [B, V] of the next token after inputs [T, B], and the state after."""
    logits, state = engine.logits(inputs, state)
    return (logits if engine.normalized else log_softmax(logits)), state


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Return log p [..., V] of logits [..., V], in float64."""
    shifted: NDArray[np.float64] = logits.astype(np.float64)
    shifted -= np.maximum.reduce(shifted, axis=-1, keepdims=True)
    shifted -= np.log(np.add.reduce(np.exp(shifted), axis=-1, keepdims=True))
    return shifted


def probabilities(
    logp: NDArray[np.float64], config: SamplingConfig, seen: NDArray[np.bool_] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Return what to draw from [..., V], given log p [..., V].

    In this order: the repetition penalty on tokens `seen`, what is `allowed`, `<unk>` rejected, temperature, top-k,
    top-p, min-p. Drawing again whenever <unk> comes is the same as drawing from the others in proportion, as here.
    """
    scores = logp / max(config.temperature or 1.0, 1 / _EXTREME)
    if seen is not None:
        scores[seen] *= min(config.repetition_penalty, _EXTREME)
    if allowed is not None:
        scores[np.broadcast_to(~allowed, scores.shape)] = -math.inf
    if config.unk == "reject":
        scores[..., UNK] = -math.inf
    if config.temperature == 0:
        certain = np.zeros_like(scores)
        np.put_along_axis(certain, scores.argmax(axis=-1, keepdims=True), 1.0, axis=-1)
        return certain
    if config.top_k is not None and config.top_k < scores.shape[-1]:
        np.put_along_axis(scores, np.argsort(-scores, axis=-1, kind="stable")[..., config.top_k :], -math.inf, axis=-1)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    p: NDArray[np.float64] = np.exp(scores, out=scores)
    p /= np.add.reduce(p, axis=-1, keepdims=True)
    if config.top_p is not None:
        p = _nucleus(p, config.top_p)
    if config.min_p is not None:  # Nguyen et al. 2024
        p[p < config.min_p * p.max(axis=-1, keepdims=True)] = 0
        p /= p.sum(axis=-1, keepdims=True)
    return p


def beam_search(
    engine: Predictor, context: Context, prompt: Ids, config: SamplingConfig, width: int,
    is_over: Callable[[list[int]], bool], may: Allowed | None = None,
) -> list[tuple[list[int], float]]:  # fmt: skip
    """Return the `width` most probable ways on from `prompt` that a beam so wide finds: ids and log p, best first.

    A way ends where `is_over(ids)` says so or after `config.length` tokens; ended ones compete with those under way.
    `<unk>` is left out unless `config.unk` keeps it. `may` says which tokens may come.
    """
    if config.length == 0:
        raise UsageError("a beam needs an end: give a length of 1 or more")
    read = np.concatenate([[context.first_input], prompt]).astype(np.int32)
    logp, state = next_log_probs(engine, read[:, None], engine.zero_state(1))
    beam = _Beam(width, is_over)
    may = may or Allowed()
    blank = may.begin(prompt, 1)
    for t in range(config.length):
        allowed = may.tokens(t == 0, blank)
        if allowed is not None:
            logp[np.broadcast_to(~allowed, logp.shape)] = -math.inf
        if config.unk == "reject":
            logp[:, UNK] = -math.inf
        kept = beam.grow(logp)
        if not kept:
            break
        if blank is not None:
            blank = may.after(blank[kept], beam.last.astype(np.int64))
        state = engine.select(state, kept)
        logp, state = next_log_probs(engine, beam.last[None], state)
    return beam.best


def beam_searches(
    engine: Predictor, context: Context, state: State, lengths: Sequence[int], width: int
) -> list[list[tuple[list[int], float]]]:
    """Return what `beam_search` finds for each of several texts, until EOS, all of them a step at a
    time.

    `state` has a column for each, before anything was read; a text has at most so many tokens as
    its length says, EOS counted, 1 or more. `<unk>` is left out. No text depends on the others.
    """
    beams = [_Beam(width, _ends) for _ in lengths]
    going = list(range(len(beams)))  # those that are under way, whose ways stand side by side
    inputs = np.full((1, len(beams)), context.first_input, np.int32)
    for t in itertools.count(1):
        logp, state = next_log_probs(engine, inputs, state)
        logp[:, UNK] = -math.inf
        start, kept, left = 0, [], []
        for number in going:
            beam = beams[number]
            stop = start + len(beam.going)
            rows = beam.grow(logp[start:stop])
            if rows and t < lengths[number]:
                left.append(number)
                kept += [start + row for row in rows]
            start = stop
        going = left
        if not going:
            break
        state = engine.select(state, kept)
        inputs = np.concatenate([beams[number].last for number in going])[None]
    return [beam.best for beam in beams]


def _ends(ids: list[int]) -> bool:
    return ids[-1] == EOS


class _Beam:
    """The `width` most probable ways on from a text so far, those that are over and those under
    way: ids and log p.
    """

    def __init__(self, width: int, is_over: Callable[[list[int]], bool]) -> None:
        self._width, self._is_over = width, is_over
        self.going: list[tuple[list[int], float]] = [([], 0.0)]
        self.ended: list[tuple[list[int], float]] = []

    def grow(self, logp: NDArray[np.float64]) -> list[int]:
        """Go a token further, given log p [n, V] of the next of each way; return which of them go
        on, in order.
        """
        totals = logp + np.array([[total] for _, total in self.going])
        best = np.argsort(-totals, axis=None, kind="stable")[: self._width]
        rows, tokens = np.unravel_index(best[totals.ravel()[best] > -math.inf], totals.shape)
        found = zip(rows.tolist(), tokens.tolist(), totals[rows, tokens].tolist(), strict=True)
        ways = [([*self.going[row][0], token], total, row) for row, token, total in found]
        over = [self._is_over(ids) for ids, _, _ in ways]
        self.ended += [
            (ids, total) for (ids, total, _), ends in zip(ways, over, strict=True) if ends
        ]
        self.ended = sorted(self.ended, key=lambda way: -way[1])[: self._width]
        under_way = itertools.compress(ways, [not ends for ends in over])
        full = len(self.ended) == self._width
        left = [way for way in under_way if not full or way[1] > self.ended[-1][1]]
        self.going = [(ids, total) for ids, total, _ in left]
        return [row for _, _, row in left]

    @property
    def last(self) -> Ids:
        """The last token of each way under way, [n]."""
        return np.array([ids[-1] for ids, _ in self.going], np.int32)

    @property
    def best(self) -> list[tuple[list[int], float]]:
        """The ways that were found, best first."""
        return sorted(self.ended + self.going, key=lambda way: -way[1])[: self._width]


def _nucleus(p: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Keep the fewest most probable tokens that reach `share` together (Holtzman et al. 2020), rescaled."""
    order = np.argsort(-p, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=-1)
    kept = np.where(np.cumsum(sorted_p, axis=-1) - sorted_p < share, sorted_p, 0)
    result = np.zeros_like(p)
    np.put_along_axis(result, order, kept / kept.sum(axis=-1, keepdims=True), axis=-1)
    return result
