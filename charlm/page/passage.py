"""The beginning of some texts, in the parts in which a page shows it, each with the tokens that it
is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charlm.page.markup import Markup, tag
from charlm.page.parts import shown_part
from charlm.text.spans import spans_of, units_of
from charlm.text.tokenizers import Tokenizer

STEPS = 3  # of colour to each side of nothing, as surprise.css has them: d0 to d6
_LONGEST = 64  # characters of a token that are reckoned with


@dataclass(frozen=True)
class Passage:
    """Texts in parts that split neither a token nor a grapheme cluster.

    `read`: how many tokens have been read at the end of each part, [parts]. `first`: of each token,
    where it begins in the texts joined by newlines, [tokens].
    """

    texts: list[str]
    shown: list[str]
    read: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def joined(self) -> str:
        return "\n".join(self.texts)

    def of_part(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return of the values of tokens [tokens] that of the last token read in each part."""
        return np.append(0, values)[self.read]


def passage_of(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> Passage:
    """Return the beginning of texts, of at most `most` tokens; the last one may be cut."""
    taken: list[str] = []
    parts: list[str] = []
    reads, firsts, tokens, place = [], [], 0, 0
    for text in _beginning(tokenizer, texts, most):
        if taken:
            parts.append("\n")
            reads.append(np.array([tokens]))
        spans = spans_of(tokenizer, text)
        ends = units_of(text, [spans])
        parts += [shown_part(text[a:b]) for a, b in pairwise([0, *ends.tolist()])]
        reads.append(tokens + np.searchsorted(spans.starts, ends))
        firsts.append(place + spans.starts)
        tokens, place = tokens + len(spans.starts), place + len(text) + 1
        taken.append(text)
    none = [np.zeros(0, np.int64)]
    return Passage(taken, parts, np.concatenate(reads or none), np.concatenate(firsts or none))


def _beginning(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> list[str]:
    taken = []
    for text in texts:
        if most <= 0:
            break
        part = text[: most * _LONGEST]
        spans = spans_of(tokenizer, part)
        if len(spans.starts) > most:
            ends = units_of(part, [spans])
            kept = ends[ends <= spans.starts[most]]
            part = part[: int(kept[-1])] if len(kept) else ""
        if part:
            taken.append(part)
        most -= len(spans.starts)
    return taken


def legend(low: str, high: str) -> Markup:
    """Return what the colours of `coloured` mean."""
    samples = (tag("span", {"class": f"d{step}"}, "\u2003") for step in range(2 * STEPS + 1))
    return tag("p", {"class": "legend"}, f"{low} ", *samples, f" {high}")


def coloured(shown: Sequence[str], values: NDArray[np.floating], most: float) -> list[Markup]:
    """Return parts as elements, coloured by values from -most to most: blue, none, orange."""
    return [
        tag("span", {"class": f"d{step}"}, part)
        for part, step in zip(shown, steps_of(values, most).tolist(), strict=True)
    ]


def steps_of(values: NDArray[np.floating], most: float) -> NDArray[np.int64]:
    """Return the step of colour of values, 0 to 6."""
    step = np.round(STEPS * np.clip(values / (most or 1), -1, 1)).astype(np.int64)
    return np.asarray(STEPS + step)
