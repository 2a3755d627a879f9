"""Scored texts in the parts in which a page shows them, and what each model says of each part."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.model import Model
from charlm.scoring import Score, TokenScore
from charlm.text.spans import spans_of, units_of
from charlm.text.tokenizers import Tokenizer

LINE_END, TEXT_END = "↵", "¶"
_BLOCK, _LONG_BLOCK = 1000, 4000  # characters from which it ends with a line, or after a space
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WRITTEN_OUT = {" ": "space", "\n": "end of line", "\t": "tab"}


@dataclass(frozen=True)
class Reading:
    """What one model says of texts: their scores in order, with `per_token`."""

    name: str
    tokenizer: Tokenizer
    scores: Sequence[Score]

    @cached_property
    def tokens(self) -> list[TokenScore]:
        """All tokens of all texts."""
        return list(chain.from_iterable(score.per_token for score in self.scores))

    @cached_property
    def bits(self) -> NDArray[np.float64]:
        """The bits of each of them."""
        return np.array([token.bits for token in self.tokens])

    @cached_property
    def total(self) -> Score:
        """The score of all texts together, of which there is one at least."""
        return sum(self.scores[1:], self.scores[0])


def read_by(
    names: Sequence[str], models: Sequence[Model], texts: Sequence[str], eos: bool
) -> list[Reading]:
    """Return what each model, by its name, says of the texts; `eos` scores their ends too."""
    return [
        Reading(name, model.tokenizer, list(model.scores(texts, eos, per_token=True)))
        for name, model in zip(names, models, strict=True)
    ]


@dataclass(frozen=True)
class Parts:
    """Texts in parts: how each is shown, and how many tokens of each reading it is, [readings,
    parts].

    The end of a line is shown as ↵ and the end of a text, where it was scored, as ¶, with a newline
    behind; a part of no tokens was not scored, as the space between words is not.
    """

    shown: list[str]
    counts: NDArray[np.int64]

    @cached_property
    def blocks(self) -> list[int]:
        """The first part of each of the blocks that a browser lays out one by one.

        A block ends with a line where it can.
        """
        firsts, size = [0], 0
        for k, part in enumerate(self.shown, start=1):
            size += len(part)
            ends = part.endswith("\n") or (size >= _LONG_BLOCK and part.isspace())
            if size >= _BLOCK and (ends or size >= 2 * _LONG_BLOCK):
                firsts.append(k)
                size = 0
        return firsts if size else firsts[:-1]

    def sums(self, reading: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the values of the tokens in each part: [parts]."""
        part_of_token = np.repeat(np.arange(len(self.shown)), self.counts[reading])
        sums: NDArray[Any] = np.bincount(part_of_token, values, len(self.shown))
        return sums


def parts_of(readings: Sequence[Reading]) -> Parts:
    """Return the parts of texts that each of the readings scored."""
    shown: list[str] = []
    counts: list[NDArray[np.int64]] = []
    last = len(readings[0].scores) - 1
    for number, score in enumerate(readings[0].scores):
        spans = [spans_of(reading.tokenizer, score.text) for reading in readings]
        ends = units_of(score.text, spans)
        every = [np.searchsorted(ends, each.starts, "right") for each in spans]
        found = np.array([np.bincount(places, minlength=len(ends)) for places in every])
        bounds = pairwise([0, *ends.tolist()])
        scored = (found.sum(axis=0) > 0).tolist()
        shown += [
            shown_part(score.text[a:b], of) for (a, b), of in zip(bounds, scored, strict=True)
        ]
        counts.append(found)
        if score.eos or number < last:
            shown.append(f"{TEXT_END}\n" if score.eos else "\n")
            counts.append(np.full((len(readings), 1), score.eos))
    return Parts(shown, np.concatenate(counts, axis=1).astype(np.int64))


def shown_part(part: str, scored: bool = True) -> str:
    """Return a part of a text as it is shown, with signs for what cannot be seen."""
    if part == " " or part.isalnum():  # most of them
        return part
    if scored:
        part = part.replace("\n", f"{LINE_END}\n")
    return _CONTROLS.sub(_picture, part)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"


def name_of(token: str, end: bool = False) -> str:
    """Return how a token is named in a sentence: in quotes, or by a word where nothing is to be
    seen.

    >>> name_of("e"), name_of(" "), name_of("\\n", end=False)
    ('“e”', 'space', 'end of line')
    """
    if end:
        return "end of text"
    if token in _WRITTEN_OUT:
        return _WRITTEN_OUT[token]
    if len(token) == 1:
        category = unicodedata.category(token)
        if category[0] in "CZ":
            return f"U+{ord(token):04X}"
        if category[0] == "M":
            return f"“◌{token}”"
    shown = _CONTROLS.sub(_picture, token)
    return f"“{shown}”" if len(shown) <= 60 else f"“{shown[:1]}…” ({len(shown):,} characters)"


def hundredths(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return values in hundredths, the greatest that 16 bits hold for any above."""
    return np.minimum(np.round(100 * np.nan_to_num(values, posinf=1e9)), 0xFFFF).astype(np.uint16)


def smallest(values: Any) -> NDArray[Any]:
    """Return whole numbers, none negative, in the smallest type that holds them and a page
    unpacks."""
    array = np.asarray(values, np.int64)
    most = int(array.max(initial=0))
    return array.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)
