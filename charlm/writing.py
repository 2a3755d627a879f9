"""From drawn tokens to texts: prompts, stop strings, lines, batches of texts in order, and texts that must match.

A text's number and the seed decide it: texts are drawn in batches of bounded width, and come out in order.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.engines import Predictor
from charlm.errors import UsageError
from charlm.sampling import SamplingConfig, beam_search, generate
from charlm.text.allowed import Allowed
from charlm.text.batches import Context, Ids
from charlm.text.possible import Possible
from charlm.text.sequences import LINE, Kind
from charlm.text.tokenizers import EOS, SPECIALS, UNK, Tokenizer

_BATCH = 256  # texts drawn side by side
_OF_DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # settings that a beam has no use for


@dataclass(frozen=True)
class Sample:
    """A written text: the prompt and what followed, the drawn ids, their log-probability in nats, why it ended.

    `ended` is eos, length, stop or lines. `ids` and `logprob` are of all drawn tokens, what a stop string cut off too.
    A byte that is part of no character is a lone surrogate in `text`, so that `text.encode("utf-8", "surrogateescape")`
    gives the model's own bytes, and scoring the text its own score.
    """

    text: str
    ids: tuple[int, ...]
    logprob: float
    ended: str

    @property
    def tokens(self) -> int:
        """The number of tokens drawn, EOS included."""
        return len(self.ids)


@dataclass(frozen=True)
class Writer:
    """Writes with one model after one prompt, whose tokens are `ids` [n]; `context` says what a text begins with.

    A document that no prompt begins is never empty: its first token is not EOS, as if that had been
    drawn again. A paragraph has no blank line, and does not end on one, for the same reason.
    """

    engine: Predictor
    tokenizer: Tokenizer
    context: Context
    prompt: str
    ids: Ids
    kind: Kind = LINE

    def possible(self, config: SamplingConfig) -> Possible:
        """Return what tells whether a string can stand in what is written."""
        return Possible(self.tokenizer, self.kind, config.unk == "keep")

    def stream(self, config: SamplingConfig, seed: int | None, number: int = 0) -> Iterator[str]:
        """Write one text, the one of that number among those of a seed: yield the prompt, then pieces as drawn."""
        (start, may), base = self._start(config), _seed(seed)
        return self._stream(self._text(config, start), config, base, number, start, may)

    def series(self, config: SamplingConfig, seed: int | None) -> Iterator[Iterator[str]]:
        """Write one text after another, each as its pieces, which must be taken before the next text.

        There is no end but by `stop` or `lines`, the lines of all texts counted together.
        """
        (start, may), base = self._start(config), _seed(seed)
        return self._series(config, base, start, may)

    def _series(
        self, config: SamplingConfig, seed: int, start: Ids, may: Allowed
    ) -> Iterator[Iterator[str]]:
        for number in itertools.count():
            text = self._text(config, start)
            yield self._stream(text, config, seed, number, start, may)
            if text.ended in ("stop", "lines") or text.lines_left == 0:
                return
            config = replace(config, lines=text.lines_left)

    def _stream(
        self, text: _Text, config: SamplingConfig, seed: int, number: int, start: Ids, may: Allowed
    ) -> Iterator[str]:
        yield self.prompt
        yield text.release()
        ended = _Ended({number: text})
        for _ in generate(self.engine, self.context, start, config, seed, (number,), ended, may):
            yield text.release()

    def samples(self, count: int | None, config: SamplingConfig, seed: int | None) -> Iterator[Sample]:
        """Write `count` texts (None: ever more) in order, each yielded as soon as it and those before it end."""
        count = None if count is None else checks.whole("count", count, 1)
        if config.length == 0 and count != 1:
            raise UsageError("a text without end (length 0) can only be written alone: give the texts a length")
        (start, may), base = self._start(config), _seed(seed)
        return self._samples(count, config, base, start, may)

    def _samples(
        self, count: int | None, config: SamplingConfig, seed: int, start: Ids, may: Allowed
    ) -> Iterator[Sample]:
        begun = 0
        while count is None or begun < count:
            numbers = range(begun, begun + (_BATCH if count is None else min(_BATCH, count - begun)))
            texts = {number: self._text(config, start) for number in numbers}
            waiting = begun
            for step in generate(
                self.engine, self.context, start, config, seed, numbers, _Ended(texts), may
            ):
                for number, logprob in zip(step.texts, step.logprobs, strict=True):
                    texts[number].logprob += logprob
                while waiting in texts and texts[waiting].ended:
                    yield texts.pop(waiting).sample(self.prompt)
                    waiting += 1
            begun = numbers.stop

    def matching(
        self, count: int, accept: Callable[[str], bool], tries: int, config: SamplingConfig, seed: int | None
    ) -> Iterator[Sample]:
        """Write texts until `count` of them are accepted, or `tries` are written: exact, by rejection."""
        count, tries = checks.whole("count", count, 1), checks.whole("tries", tries, 1)
        if not callable(accept):
            raise TypeError(f"accept must be a function of a text, not {type(accept).__name__}")
        if config.temperature == 0:
            raise UsageError("at temperature 0 every text is the same: choose a higher one, so that some may match")
        written = itertools.islice(self.samples(None, config, seed), tries)
        return itertools.islice((sample for sample in written if accept(sample.text)), count)

    def beam(self, width: int, config: SamplingConfig) -> list[Sample]:
        """Return the most probable texts that a beam of `width` finds, best first; nothing is drawn for it."""
        width, usual = checks.whole("width", width, 1), SamplingConfig()
        useless = [name for name in _OF_DRAWING if getattr(config, name) != getattr(usual, name)]
        if useless:
            raise UsageError(f"a beam draws nothing: leave {useless[0].replace('_', '-')} out")
        start, may = self._start(config)

        def written(ids: list[int]) -> _Text:
            text = self._text(replace(config, length=0), start)
            for token in ids:
                text.feed(token)
            return text

        def is_over(ids: list[int]) -> bool:
            return ids[-1] == EOS or (bounded and bool(written(ids).ended))

        bounded = config.stop is not None or config.lines is not None
        found = []
        for drawn, logprob in beam_search(
            self.engine, self.context, start, config, width, is_over, may
        ):
            text = written(drawn)
            text.logprob = logprob
            if not text.ended:
                text.end("length")
            found.append(text.sample(self.prompt))
        return found

    def _text(self, config: SamplingConfig, start: Ids) -> _Text:
        return _Text(config, self.tokenizer, start, len(self.ids))

    def _start(self, config: SamplingConfig) -> tuple[Ids, Allowed]:
        """Return the ids to begin after, and which tokens may come so that the text starts as it
        must.
        """
        self._refuse_impossible(config)
        may = Allowed(self.tokenizer, self.kind)
        if not config.starts_with:
            may.first = self._opening()
            return self.ids, may
        start, may.first = self._forced(config)
        stopped = config.stop is not None and config.stop in config.starts_with
        if stopped or self._text(config, start).ended:
            raise UsageError(f"starts-with {config.starts_with!r} goes beyond where stop or lines end the text")
        return start, may

    def _refuse_impossible(self, config: SamplingConfig) -> None:
        """Raise UsageError for a string that no text of the model can have where it is wanted."""
        if config.starts_with:
            reason = self.possible(config).why_not(config.starts_with, begins=True)
            if not self.prompt and config.starts_with[0] == " " and self._spelt(config.starts_with)[:1] != " ":
                reason = reason or "the model has spaces between words alone"
            if reason:
                raise UsageError(f"no text can start with {config.starts_with!r}: {reason}")
        if config.stop is not None:
            reason = self.possible(config).why_not(config.stop)
            if reason:
                raise UsageError(f"stop {config.stop!r} can never come: {reason}")

    def _forced(self, config: SamplingConfig) -> tuple[Ids, NDArray[np.bool_] | None]:
        """Return `_start` of a text that starts as it must; the word that it breaks off in is any that begins so."""
        text, tokenizer = config.starts_with, self.tokenizer
        if tokenizer.kind != "word" or text[-1].isspace():
            return np.concatenate([self.ids, tokenizer.encode(text)]), None
        lowest = UNK if config.unk == "keep" else len(SPECIALS)
        names = [tokenizer.token(k) if k >= lowest else "" for k in range(tokenizer.size)]
        for cut in range(text.rfind(" ") + 1, len(text)):  # "don'" begins "don't", though it is two words by itself
            first = np.array([name.startswith(text[cut:]) for name in names])
            before = tokenizer.encode(text[:cut])
            if first.any() and tokenizer.decode([*before.tolist(), int(first.argmax())]).startswith(text.lstrip(" ")):
                return np.concatenate([self.ids, before]), first
        raise UsageError(f"no text can start with {text!r}: give whole words, a space after the last")

    def _spelt(self, text: str) -> str:
        """Return a text as the model writes it."""
        return self.tokenizer.decode(self.tokenizer.encode(text).tolist())

    def _opening(self) -> NDArray[np.bool_] | None:
        """Return which tokens may come first [V] so that a document is not empty; None: all may."""
        if not self.kind.document or len(self.ids):
            return None
        allowed = np.arange(self.tokenizer.size) != EOS
        return allowed if self.tokenizer.size > len(SPECIALS) else None


class _Ended(dict[int, "_Text"]):
    """Feeds each token to its text and tells whether that ended it."""

    def __call__(self, number: int, token: int) -> bool:
        text = self[number]
        text.feed(token)
        return bool(text.ended)


class _Text:
    """One text on its way: what of it may be shown, and whether it has ended."""

    def __init__(self, config: SamplingConfig, tokenizer: Tokenizer, start: Ids, prompt: int) -> None:
        """Begin after the ids `start`, the first `prompt` of which are the prompt's and shown by the caller."""
        self.ids: list[int] = []
        self.logprob = 0.0
        self.ended = ""
        self._config, self._decoder = config, tokenizer.decoder()
        self._lines = config.lines
        self._pieces: list[str] = []
        self._tokens = 0
        self._held = ""  # the end of the text that may yet become the stop string
        for token in start[:prompt].tolist():
            self._decoder.feed(token)
        self._decoder.finish()  # the prompt is shown as given, a character that it breaks off too
        for token in start[prompt:].tolist():
            self._add(self._decoder.feed(token))

    def feed(self, token: int) -> None:
        """Take a drawn token."""
        self.ids.append(token)
        self._tokens += 1
        self._add(self._decoder.feed(token))
        if not self.ended and (token == EOS or self._tokens == self._config.length):
            self.end("eos" if token == EOS else "length")

    def end(self, why: str) -> None:
        """Show what was held back, and note why the text ended."""
        self._add(self._decoder.finish())
        if not self.ended:
            self._pieces.append(self._held)
            self.ended = why

    def release(self) -> str:
        """Return what can be shown by now, and forget it: a stream may have no end."""
        fresh = "".join(self._pieces)
        self._pieces.clear()
        self.ids.clear()
        return fresh

    @property
    def lines_left(self) -> int | None:
        """How many lines may still follow once the text has ended, which ends its last line."""
        return None if self._lines is None else self._lines - 1

    def sample(self, prompt: str) -> Sample:
        return Sample(prompt + "".join(self._pieces), tuple(self.ids), self.logprob, self.ended)

    def _add(self, piece: str) -> None:
        """Add to the text, as far as the stop string and the number of lines let it."""
        if self.ended:
            return
        text, stop = self._held + piece, self._config.stop
        if stop is not None and stop in text:
            text, self.ended = text[: text.index(stop)], "stop"
        keep = 0 if stop is None or self.ended else _overlap(text, stop)
        self._held = text[len(text) - keep :] if keep else ""
        self._show(text[: len(text) - keep])

    def _show(self, text: str) -> None:
        if self._lines is not None and text.count("\n") >= self._lines:
            kept = text.split("\n")[: self._lines]
            text, self.ended, self._held = "\n".join(kept), "lines", ""
        elif self._lines is not None:
            self._lines -= text.count("\n")
        self._pieces.append(text)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    return next((k for k in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:k])), 0)


def _seed(seed: int | None) -> int:
    return secrets.randbits(64) if seed is None else checks.whole("seed", seed, 0)
