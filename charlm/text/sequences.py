"""What a sequence is: a line, a paragraph or a document; and all that follows from it.

    line        each line that is not blank; the newline after it is no token
    paragraph   the lines between blank ones; the newlines inside are tokens
    document    a whole file; all its newlines are tokens

A line is blank where only white space stands in it. An EOS ends each sequence. Of lines and
paragraphs a file holds many, so their ends are learnt and scored, and what is held out is drawn
among them; a document ends once.

file -> `reading.text_blocks` characters -> `Kind.parted` -> `Kind.encode` ids
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.text.reading import nonblank_lines
from charlm.text.tokenizers import EOS, UNK, Tokenizer

_BLANK = re.compile(r"\n\s*\n")  # blank lines, with the end of the line before them
_BLANK_AT_FIRST = re.compile(r"(?:\s*\n)?")
_PARAGRAPH_END = "\n\n"


@dataclass(frozen=True)
class Kind:
    """A kind of sequence. A text is `parted` where `end` ends each of its sequences, and stands
    nowhere else.

    `name` is what settings and files call it; `end` is empty for a document, which the file's own
    end ends.
    """

    name: str
    end: str

    @property
    def document(self) -> bool:
        """Whether one is a whole file: its end is not scored, and it is read as running text."""
        return not self.end

    @property
    def newline(self) -> bool:
        """Whether a newline may stand in one, and is a token there."""
        return self.end != "\n"

    def parted(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield a file's text, given in pieces, as one that is parted; no piece ends inside an
        `end`."""
        if self.document:
            return iter(texts)
        return paragraphs(texts) if self.newline else nonblank_lines(texts)

    def of(self, text: str) -> list[str]:
        """Return the sequences of a whole text, of which blank lines are some where lines are."""
        if self.document:
            return [text]
        if self.newline:
            return "".join(paragraphs([text])).split(self.end)[:-1]
        return text.split(self.end)

    def inside(self, text: str) -> list[str]:
        """Return what a piece of a parted text has in its sequences; of lines it is the piece, ends
        and all."""
        return text.split(self.end) if self.end == _PARAGRAPH_END else [text]

    def characters(self, text: str) -> int:
        """Return how many characters of a piece of a parted text the sequences have."""
        return len(text) - len(self.end) * (text.count(self.end) if self.end else 0)

    def encode(self, tokenizer: Tokenizer, text: str | bytes) -> NDArray[np.int32]:
        """Return the ids [n] of a piece of a parted text, an EOS for each `end` in it."""
        if self.document:
            return tokenizer.encode(text)
        if not self.newline:
            return tokenizer.encode_lines(text)
        if tokenizer.kind != "word" or isinstance(text, bytes):
            return _with_newlines(tokenizer.encode_lines(text), tokenizer.newline)
        end, each = np.array([EOS], np.int32), map(tokenizer.encode, text.split(self.end))
        pieces = [piece for ids in each for piece in (ids, end)]  # no pattern sees the next one
        return np.concatenate(pieces[:-1])

    def why_not(self, text: str, before: str = "", begins: bool = False) -> str:
        """Return why no sequence that begins with `before` has `text` in it; "" where one may.

        `begins`: it should stand right after `before`.
        """
        if self.document:
            return ""
        if not self.newline:
            return "the model writes single lines" if "\n" in text and "\n" not in before else ""
        found = _BLANK.search(f"\n{before}{text}" if begins else text)
        return "a paragraph has no blank line inside" if found else ""


LINE = Kind("line", "\n")
PARAGRAPH = Kind("paragraph", _PARAGRAPH_END)
DOCUMENT = Kind("document", "")
KINDS = {kind.name: kind for kind in (LINE, PARAGRAPH, DOCUMENT)}


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Put two newlines after each paragraph of a text given in pieces, in place of blank lines and
    the last line's end.

    No piece ends between two newlines; one may end inside a paragraph, however long that is.
    """
    begun = False  # inside a paragraph
    # White space that may turn out to be a blank line, after the end of the line before it if
    # `begun`:
    held = ""
    for text in texts:
        text = held + text
        if not begun and (blank := _BLANK_AT_FIRST.match(text)):
            text = text[blank.end() :]
        text = _BLANK.sub(_PARAGRAPH_END, text)
        shown = len(text.rstrip())
        begun = begun or shown > 0
        cut = text.find("\n", shown) if begun else 0
        if cut < 0:
            cut = len(text)
        yield text[:cut]
        held = text[cut:]
        if begun and held.startswith(_PARAGRAPH_END):
            yield _PARAGRAPH_END
            begun, held = False, held.removeprefix(_PARAGRAPH_END)
    if begun:
        yield _PARAGRAPH_END


def _with_newlines(ids: NDArray[np.int32], newline: int | None) -> NDArray[np.int32]:
    """Return ids [m] of paragraphs, given those of their lines [n]: two EOS are the end of one, one
    is a newline."""
    ends = ids == EOS
    second = np.zeros_like(ends)
    second[1:] = ends[1:] & ends[:-1]
    first = np.append(second[1:], False)[: len(ids)]
    ids[ends] = UNK if newline is None else newline
    ids[second] = EOS
    kept: NDArray[np.int32] = ids[~first]
    return kept
