"""The probability of texts: log-probability, perplexity, bits per character, per token and in total.

    perplexity = exp(-logprob / tokens)        bits_per_char = -logprob / ln 2 / (characters + EOS scored)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Evaluator, LogProbs, Predictor, Tally
from charlm.notebooks import as_table, as_text
from charlm.text.batches import Columns, Context, Ids, StoredIds, evaluation_columns
from charlm.text.tokenizers import EOS, UNK, Tokenizer
from charlm.text.windows import always, windows

_STEPS = 64  # steps of a chunk,
_ADAPTING_STEPS = 32  # and of one that is learnt from when scored
_SURPRISE = (0.5, 1, 2, 4, 8)  # bits of a character from which it is coloured otherwise
_ALTERNATIVES = 3  # the most probable tokens shown beside each token


@dataclass(frozen=True)
class TokenScore:
    """One scored token: as it stands in the text, its id, log p in nats, and whether it is unknown to the model.

    `rank` is 1 where the model found no token more probable; `alternatives` are the most probable tokens and their
    log p, best first.
    """

    token: str
    id: int
    logprob: float
    unknown: bool
    rank: int
    alternatives: tuple[tuple[str, float], ...]

    @property
    def end(self) -> bool:
        """Whether this is the end of the text."""
        return self.id == EOS

    @property
    def bits(self) -> float:
        """The surprisal: -log2 p."""
        return -self.logprob / math.log(2)


@dataclass(frozen=True)
class Score:
    """The score of one text, or a total of several. `float(score)` is the log-probability in nats.

    source: what the text is the target of, None where it is none.
    """

    text: str
    logprob: float
    tokens: int
    unknown: int
    unknown_logprob: float = 0.0
    characters: int = 0
    eos: int = 0
    n_bytes: int | None = None
    lossless: bool = True
    per_token: tuple[TokenScore, ...] = field(default=(), repr=False)
    source: str | None = None

    def __float__(self) -> float:
        return self.logprob

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the score: the text, where its tokens are known, and the
        figures."""
        names, bits = (
            [token.token for token in self.per_token],
            [token.bits for token in self.per_token],
        )
        words = any(
            len(name) > 1 and not name.startswith("\\x") for name in names[: len(names) - self.eos]
        )
        steps = surprise_steps("word" if words else "char")
        text = as_text(self.text, names, bits, bool(self.eos), steps) if names else ""
        rows = [("log-probability", f"{self.logprob:.4f} nats"), ("tokens", f"{self.tokens:,}"),
                ("unknown", f"{self.unknown:,}"),
                ("perplexity", self.perplexity and f"{self.perplexity:,.4f}"),
                ("bits per character", self.bits_per_char and f"{self.bits_per_char:.4f}")]  # fmt: skip
        return text + as_table("Score", rows)

    @property
    def log10(self) -> float:
        """The log-probability to base 10, as kenlm gives it."""
        return self.logprob / math.log(10)

    @property
    def perplexity(self) -> float | None:
        """exp(-logprob / tokens); None over no tokens."""
        return _perplexity(self.logprob, self.tokens)

    @property
    def perplexity_known(self) -> float | None:
        """Perplexity over the tokens that are not unknown; None where there are none."""
        return _perplexity(self.logprob - self.unknown_logprob, self.tokens - self.unknown)

    @property
    def bits_per_char(self) -> float | None:
        """Bits per character, each scored EOS counted as one; None where `why_no_bits` says why."""
        return None if self.why_no_bits else self._bits / (self.characters + self.eos)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte, for byte models only; None for others and over nothing."""
        units = None if self.n_bytes is None else self.n_bytes + self.eos
        return self._bits / units if units else None

    @property
    def why_no_bits(self) -> str | None:
        """Why there are no bits per character, or None where there are."""
        if not self.characters + self.eos:
            return "nothing was scored"
        if not self.lossless:
            return "the tokenizer drops information"
        return "a token is unknown" if self.unknown else None

    @property
    def _bits(self) -> float:
        return -self.logprob / math.log(2)

    def __add__(self, other: Score) -> Score:
        """Return the total of two scores, without text and tokens."""
        both = self.n_bytes is not None and other.n_bytes is not None
        return Score(
            text="",
            logprob=self.logprob + other.logprob,
            tokens=self.tokens + other.tokens,
            unknown=self.unknown + other.unknown,
            unknown_logprob=self.unknown_logprob + other.unknown_logprob,
            characters=self.characters + other.characters,
            eos=self.eos + other.eos,
            n_bytes=(self.n_bytes or 0) + (other.n_bytes or 0) if both else None,
            lossless=self.lossless and other.lossless,
        )


def score_texts(
    engine: Predictor, tokenizer: Tokenizer, context: Context, texts: Iterable[str], eos: bool, per_token: bool = False,
    ready: Callable[[], bool] = always,
) -> Iterator[Score]:  # fmt: skip
    """Score each text by itself, in order, from the zero state; `eos` scores its end too.

    Texts are scored a window at a time, laid end to end in the columns of a batch with resets between, so that
    nothing is padded; no text's figures depend on the others, but for the rounding of float32. A window ends where
    `ready` says that the next text is not there yet.
    """
    for window in windows(texts, tokenizer, ready):
        joined = Joined([ids for _, ids in window])
        figures = joined_log_probs(engine, context, joined, eos, _ALTERNATIVES if per_token else 0)
        yield from scores_of(tokenizer, window, joined, figures, eos, per_token)


def scores_of(
    tokenizer: Tokenizer, window: Sequence[tuple[str, Ids]], joined: Joined, figures: LogProbs, eos: bool,
    per_token: bool = False,
) -> Iterator[Score]:  # fmt: skip
    """Yield the scores of a window of texts with their ids, given what a model thought of every id
    of them joined."""
    unknown = joined.ids == UNK
    parts = np.stack([figures.target, unknown, figures.target * unknown])
    sums = np.add.reduceat(
        parts, joined.starts, axis=1
    ).T.tolist()  # of each text and its EOS, which may be 0
    for (text, ids), start, (logprob, count, unknown_logprob) in zip(
        window, joined.starts, sums, strict=True
    ):
        yield Score(
            text, logprob, len(ids) + eos, int(count), unknown_logprob, len(text), int(eos),
            len(ids) if tokenizer.kind == "byte" else None, tokenizer.lossless,
            _tokens_of(tokenizer, text, ids, eos, figures, start) if per_token else (),
        )  # fmt: skip


def _tokens_of(
    tokenizer: Tokenizer, text: str, ids: Ids, eos: bool, figures: LogProbs, start: int
) -> tuple[TokenScore, ...]:
    names, every = tokenizer.pieces(text), ids.tolist()
    end = ([tokenizer.token(EOS)], [EOS]) if eos else ([], [])
    return tuple(_token_scores(tokenizer, names + end[0], every + end[1], figures, start))


def evaluate(
    engine: Evaluator, stored: StoredIds, context: Context, document: bool, stop: Callable[[], bool] = lambda: False,
    count_eos: bool | None = None,
) -> Tally | None:  # fmt: skip
    """Return the loss over a whole part, scored to its last token; None if `stop` interrupted it.

    Lines are scored whole, each from the zero state, their EOS counted; a document, or lines in a stream, as
    running text (a document's EOS not counted, unless `count_eos` says so). An engine of one
    column reads the text in its own order.
    """
    total = Tally()
    if not len(stored):
        return total
    counted = not document if count_eos is None else count_eos
    columns = evaluation_columns(stored, context, document or context.carry, counted, engine.columns)
    steps = _ADAPTING_STEPS if engine.columns == 1 else _STEPS
    state = engine.zero_state(len(columns.starts))
    for batch in columns.batches(steps):
        if stop():
            return None
        loss, state = engine.evaluate(batch, state)
        total += loss
    return total


def joined_log_probs(
    engine: Predictor, context: Context, joined: Joined, eos: bool, top: int = 0
) -> LogProbs:
    """Return what the model thought of every id of texts that each begin as `context` says; 0 for
    an EOS unless `eos`.
    """
    columns = evaluation_columns(
        joined, context.alone(), running=False, count_eos=eos, most=engine.columns
    )
    return token_log_probs(engine, columns, top)


def token_log_probs(engine: Predictor, columns: Columns, top: int = 0) -> LogProbs:
    """Return what the model thought of every token of the columns' ids [N]; zeros where a token does not count."""
    total = len(columns.stored)
    result: tuple[NDArray[Any], ...] = ()
    state = engine.zero_state(len(columns.starts))
    for k, batch in enumerate(columns.batches(_STEPS)):
        found, state = engine.log_probs(batch, state, top)
        counted = batch.weight > 0
        places = columns.positions(*columns.chunk(k, _STEPS))[counted]
        figures = (found.target, found.rank, found.ids, found.top)[: 4 if top else 1]
        result = result or tuple(np.zeros((total, *figure.shape[2:]), figure.dtype) for figure in figures)
        for whole, figure in zip(result, figures, strict=True):
            whole[places] = figure[counted]
    return LogProbs(*result) if result else LogProbs(np.zeros(total))


class Joined:
    """Texts' ids end to end, an EOS after each: a stored in memory."""

    def __init__(self, texts: Sequence[Ids]) -> None:
        end = np.array([EOS], np.int32)
        self.ids = np.concatenate([part for ids in texts for part in (ids, end)])
        self.starts = list(accumulate((len(ids) + 1 for ids in texts[:-1]), initial=0))

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, count: int) -> Ids:
        return self.ids[start : start + count]


def stream_tokens(
    engine: Predictor, tokenizer: Tokenizer, context: Context, stored: StoredIds, pieces: Iterable[str], eos: bool
) -> Iterator[TokenScore]:
    """Score one text of any length token by token, in memory that does not grow with it.

    `stored` holds its ids and its EOS, `pieces` yields what each id stands for in the text. The figures are those of
    `score_texts`, to the bit: one column from beginning to end, the state carried over.
    """
    columns = Columns(stored, [0], [len(stored)], context.alone(), (), eos)
    names = chain(pieces, [tokenizer.token(EOS)])
    state = engine.zero_state(1)
    for batch in columns.batches(_STEPS):
        found, state = engine.log_probs(batch, state, _ALTERNATIVES)
        count = int(batch.weight.sum())  # all but the end of the text, where that is not scored
        ids = batch.targets[:count, 0].tolist()
        column = LogProbs(found.target[:, 0], found.rank[:, 0], found.ids[:, 0], found.top[:, 0])
        yield from _token_scores(tokenizer, list(islice(names, count)), ids, column, 0)


def _token_scores(
    tokenizer: Tokenizer, names: Sequence[str], ids: Sequence[int], figures: LogProbs, start: int
) -> Iterator[TokenScore]:
    """Yield the scores of tokens by their names and ids; the first one's figures stand at `start`."""
    for k, (name, token_id) in enumerate(zip(names, ids, strict=True), start=start):
        best = map(tokenizer.token, figures.ids[k].tolist())
        others = zip(best, figures.top[k].tolist(), strict=True)
        logprob, rank = float(figures.target[k]), int(figures.rank[k])
        yield TokenScore(name, token_id, logprob, token_id == UNK, rank, tuple(others))


def surprise_steps(kind: str) -> list[float]:
    """Return where each next of six steps of surprise begins, in bits of a token of this kind.

    A word's bits are some twice those of a character, of which it has several.
    """
    return [2 * bits if kind == "word" else bits for bits in _SURPRISE]


def percent(part: int, whole: int) -> str:
    """Return a share as text, in percent: one that is not nothing is never rounded to that, nor to the whole."""
    value = 100 * part / whole if whole else 0.0
    if value < 0.05:
        return f"{value:.2g} %"
    return f"{value if part == whole else min(value, 99.9):.1f} %"


def _perplexity(logprob: float, tokens: int) -> float | None:
    """Return exp(-logprob / tokens), infinite where that is beyond float; None over no tokens."""
    if not tokens:
        return None
    try:
        return math.exp(-logprob / tokens)
    except OverflowError:
        return math.inf
