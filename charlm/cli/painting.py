"""Texts and tokens on a terminal: coloured by surprise, straight in columns, with spaces that can
be seen."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from charlm.cli.base import visible

if TYPE_CHECKING:
    from charlm.scoring import Score
    from charlm.text.tokenizers import Tokenizer

# Background and colour of each step, of 256, as in the page; the last two are underlined, too.
_COLOURS = ("", "48;5;230;38;5;16", "48;5;151;38;5;16", "48;5;73;38;5;16", "4;48;5;25;38;5;231",
            "1;4;48;5;17;38;5;231")  # fmt: skip
_NO_WIDTH = frozenset({"Mn", "Me", "Cf"})


def colours_are_welcome() -> bool:
    """Return whether standard output is a terminal, of whose user nobody knows that they want no
    colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Paint:
    """Colours what a model scored; `texts` where they stand, rather than a line for each token."""

    def __init__(self, tokenizer: Tokenizer, texts: bool) -> None:
        from charlm.scoring import surprise_steps

        self.texts = texts
        self._tokenizer, self._steps = tokenizer, surprise_steps(tokenizer.kind)

    def painted(self, shown: str, bits: float) -> str:
        """Return what is shown in the colour of its bits."""
        colour = _COLOURS[bisect_right(self._steps, bits)]
        return f"\x1b[{colour}m{shown}\x1b[0m" if colour else shown

    def text(self, score: Score, one_line: bool) -> str:
        """Return a text with each of its parts in its colour; `one_line` has signs alone for ends
        of lines."""
        from charlm.page.parts import Reading, parts_of

        reading = Reading("", self._tokenizer, [score])
        parts = parts_of([reading])
        bits = parts.sums(0, reading.bits).tolist()
        painted = []
        for shown, cost in zip(parts.shown, bits, strict=True):
            sign = shown.removesuffix("\n")
            end = "" if one_line or sign == shown else "\n"
            painted.append(self.painted(sign, cost) + end)
        return "".join(painted)


def token_shown(token: str) -> str:
    """Return a token on one line, with spaces that can be seen and nothing in it that drives a
    terminal."""
    shown = visible(token, keep="").replace(" ", "␣")
    return f"◌{shown}" if unicodedata.category(shown[:1] or "a")[0] == "M" else shown


def padded(shown: str, columns: int) -> str:
    """Return a text with spaces behind it that fill its columns on a terminal.

    >>> padded("春", 4) + "|"
    '春  |'
    """
    return shown + " " * (columns - width(shown))


def width(shown: str) -> int:
    """Return how many columns of a terminal a text takes: two for wide characters, none for
    marks."""
    if shown.isascii():
        return len(shown)
    from charlm.text.graphemes import ends

    clusters = (shown[a:b] for a, b in pairwise([0, *ends(shown).tolist()]))
    return sum(map(_width, clusters))


def folded(text: str, columns: int, indent: str) -> list[str]:
    """Return a line as lines of at most so many columns, all but the first behind the indent: cut
    between words, and a word that is wider than a line between its characters.

    >>> folded("a text in words", 8, "  ")
    ['a text', '  in', '  words']
    """
    lines, line = [], ""
    for word in re.findall(r"\s*\S+|\s+$", text):
        if width(line + word) <= columns:
            line += word
            continue
        if line.strip():
            lines.append(line)
            line = indent + word.lstrip()
        else:
            line += word
        while width(line) > columns:
            cut = _fitting(line, max(columns, len(indent) + 2))
            lines.append(line[:cut])
            line = indent + line[cut:]
    return [*lines, line]


def _fitting(text: str, columns: int) -> int:
    """Return where to cut a text so that what is before fits into so many columns."""
    from charlm.text.graphemes import ends

    fits = [end for end in ends(text).tolist() if width(text[:end]) <= columns]
    return int(fits[-1]) if fits else len(text)


def _width(cluster: str) -> int:
    if "\u200d" in cluster[1:] or "\ufe0f" in cluster or "\U0001f1e6" <= cluster[0] <= "\U0001f1ff":
        return min(2, len(cluster))  # an emoji in parts, a flag
    return sum(map(_width_of_one, cluster))


def _width_of_one(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
