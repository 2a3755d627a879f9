"""From drawn tokens to texts: prompts, stop strings, lines, batches of texts in order, and texts that must match.

A text's number and the seed decide it: texts are drawn in batches of bounded width, and come out in order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Predictor
from charlm.errors import UsageError
from charlm.sampling import SamplingConfig, beam_search, generate
from charlm.text.batches import Context, Ids
from charlm.text.tokenizers import EOS, SPECIALS, Tokenizer

_BATCH = 256  # texts drawn side by side


@dataclass(frozen=True)
class Sample:
    """A written text: the prompt and what followed, the drawn ids, their log-probability in nats, why it ended.

    `ended` is eos, length, stop or lines. `ids` and `logprob` are of all drawn tokens, what a stop string cut off too.
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

    A `document` that no prompt begins is never empty: its first token is not EOS, as if that had been drawn again.
    """

    engine: Predictor
    tokenizer: Tokenizer
    context: Context
    prompt: str
    ids: Ids
    document: bool = False

    def stream(self, config: SamplingConfig, seed: int | None) -> Iterator[str]:
        """Write one text, yielding the prompt and then its pieces as they are drawn."""
        yield self.prompt
        start, first = self._start(config)
        text = self._text(config, start)
        yield text.release()
        ended = _Ended({0: text})
        for _ in generate(self.engine, self.context, start, config, _seed(seed), (0,), ended, first):
            yield text.release()

    def samples(self, count: int | None, config: SamplingConfig, seed: int | None) -> Iterator[Sample]:
        """Write `count` texts (None: ever more) in order, each yielded as soon as it and those before it end."""
        if config.length == 0 and count != 1:
            raise UsageError("a text without end (length 0) can only be written alone, and not as JSON")
        base = _seed(seed)
        start, first = self._start(config)
        begun = 0
        while count is None or begun < count:
            numbers = range(begun, begun + (_BATCH if count is None else min(_BATCH, count - begun)))
            texts = {number: self._text(config, start) for number in numbers}
            waiting = begun
            for step in generate(self.engine, self.context, start, config, base, numbers, _Ended(texts), first):
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
        found = 0
        for tried, sample in enumerate(self.samples(None, config, seed), start=1):
            if accept(sample.text):
                found += 1
                yield sample
            if found == count or tried == tries:
                return

    def beam(self, width: int, config: SamplingConfig) -> list[Sample]:
        """Return the most probable texts that a beam of `width` finds, best first."""
        found = []
        for drawn, logprob in beam_search(self.engine, self.context, self.ids, config, width, self._opening()):
            text = self._text(replace(config, length=0), self.ids)
            for token in drawn:
                text.feed(token)
            text.logprob = logprob
            if not text.ended:
                text.end("length")
            found.append(text.sample(self.prompt))
        return found

    def _text(self, config: SamplingConfig, start: Ids) -> _Text:
        return _Text(config, self.tokenizer, start, len(self.ids))

    def _start(self, config: SamplingConfig) -> tuple[Ids, NDArray[np.bool_] | None]:
        """Return the ids to begin after, and which tokens may come first so that the text starts as it must."""
        if not config.starts_with:
            return self.ids, self._opening()
        pieces = self.tokenizer.pieces(config.starts_with)
        forced = self.tokenizer.encode(config.starts_with)
        if self.tokenizer.kind != "word" or config.starts_with[-1].isspace():
            return np.concatenate([self.ids, forced]), None
        names = [self.tokenizer.token(k) for k in range(self.tokenizer.size)]
        first = np.array([k >= len(SPECIALS) and name.startswith(pieces[-1]) for k, name in enumerate(names)])
        if not first.any():
            raise UsageError(f"no word of the model starts with {pieces[-1]!r}: choose another --starts-with")
        return np.concatenate([self.ids, forced[:-1]]), first


    def _opening(self) -> NDArray[np.bool_] | None:
        """Return which tokens may come first [V] so that a document is not empty; None: all may."""
        if not self.document or len(self.ids):
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
        for k, token in enumerate(start.tolist()):
            piece = self._decoder.feed(token)
            if k >= prompt:
                self._pieces.append(piece)

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
    return secrets.randbits(64) if seed is None else seed
