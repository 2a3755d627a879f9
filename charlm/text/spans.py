"""Where tokens stand in their text, and which parts of it are shown as one: tokens and grapheme
clusters whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.text import graphemes
from charlm.text.tokenizers import Tokenizer, code_points, word_regex

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Where tokens begin and end in a text, in code points: each [tokens], neither ever falling.

    A token may be less than a character, as bytes are: several then have the same place.
    """

    starts: Places
    ends: Places


def spans_of(tokenizer: Tokenizer, text: str) -> Spans:
    """Return where each token of `tokenizer.encode(text)` stands in the text."""
    settings = tokenizer.to_dict()
    lowercase = bool(settings.get("lowercase"))
    if tokenizer.kind != "word":
        each = (
            _lowered(text) if lowercase else utf8_lengths(text) if tokenizer.kind == "byte" else 1
        )
        starts = np.repeat(np.arange(len(text)), each)
        return Spans(starts, starts + 1)
    read = text if tokenizer.newline is not None else text.replace("\n", " ")
    regex = word_regex(settings["word_pattern"], settings["punctuation"])
    found = [match.span() for match in regex.finditer(read.lower() if lowercase else read)]
    places = np.array(found, np.int64).reshape(-1, 2)
    if lowercase:  # back from the lowered text, in which some characters have become two
        of_lowered = np.repeat(np.arange(len(text)), _lowered(text))
        places = np.column_stack([of_lowered[places[:, 0]], of_lowered[places[:, 1] - 1] + 1])
    return Spans(places[:, 0], places[:, 1])


def units_of(text: str, every: Sequence[Spans]) -> Places:
    """Return where each unit of a text ends, rising: [units].

    A unit is the least that parts neither a grapheme cluster nor a token of any of several
    tokenizers; what no token covers, such as the space between words, is one unit from token to
    token.
    """
    inside, covered = np.zeros(len(text) + 1, bool), np.zeros(len(text) + 1, bool)
    for spans in every:
        inside |= _within(spans.starts + 1, spans.ends, len(text))
        covered |= _within(spans.starts, spans.ends, len(text))
    ends = graphemes.ends(text)
    beside = covered[ends - 1] | covered[ends] | (ends == len(text))
    kept: Places = ends[beside & ~inside[ends]]
    return kept


def utf8_lengths(text: str) -> Places:
    """Return how many bytes each character is in UTF-8 [characters]; one that stands for a byte
    that is none is that byte."""
    points = code_points(text).astype(np.int64)
    count = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    lone = (points >= 0xDC80) & (points <= 0xDCFF)
    return np.where(lone, 1, count).astype(np.int64)


def _within(starts: Places, ends: Places, length: int) -> NDArray[np.bool_]:
    """Return which places [length + 1] are at or after some start and before its end."""
    begun, ended = (np.bincount(places, minlength=length + 1) for places in (starts, ends))
    inside: NDArray[np.bool_] = np.cumsum(begun - ended) > 0
    return inside


def _lowered(text: str) -> Places:
    """Return how many code points each character has in small letters."""
    return np.fromiter((len(character.lower()) for character in text), np.int64, len(text))
