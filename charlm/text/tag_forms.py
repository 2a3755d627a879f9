"""What files of tags hold: columns, a word a line, or lines `source TAB target`, whose characters
are tagged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from charlm.config import UNITS
from charlm.errors import DataError, UsageError
from charlm.text.character_tags import pair_of, read_pairs
from charlm.text.columns import Layout, Sentence, Survey, read_sentences
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.stream import Lines

WORDS, CHARACTERS = UNITS


@dataclass(frozen=True)
class Form:
    """What is tagged, `unit`: "words" or "characters"; the layout of columns, None for
    characters."""

    unit: str
    layout: Layout | None

    def sentences(self, file: TextFile, encoding: str, size: int = BLOCK) -> Iterator[Sentence]:
        """Yield the sentences of a file, with their tags (DataError where a line is not of this
        form)."""
        if self.layout is None:
            return read_pairs(file, encoding, size)
        return read_sentences(file, self.layout, encoding, size)


def find_form(
    files: Sequence[TextFile],
    encoding: str,
    tags: str | None = None,
    token_column: int | None = None,
    column: int | None = None,
    size: int = BLOCK,
) -> tuple[Form, str]:
    """Return what the files hold and a sentence that says why.

    `tags` is the unit where it is set. Else it is characters where no blank line parts the lines
    and most of them have one tab and equal lengths before and after it; so an odd one among them is
    an error, and does not make all of them a sentence of columns. `token_column` and `column` are
    the numbers of the token's and the tag's, from 1 on or from -1 backwards. Raises UsageError,
    DataError.
    """
    _check(tags, token_column, column)
    survey, pairs = Survey(), _Pairs()
    for file in files:
        for line in Lines(text_blocks(file, encoding, size), lambda: True):
            survey.line(line)
            pairs.line(line)
        survey.end()
        pairs.end()
    if column or token_column:
        tags = tags or WORDS
    unit = tags or (CHARACTERS if pairs.suit else WORDS)
    reason = f"tags: {unit}, {'as set' if tags else pairs.reason(survey.sentences)}"
    if unit == CHARACTERS:
        return Form(unit, None), reason
    if not survey.sentences:
        raise DataError(f"{files[0].name}: holds no token")
    layout, width = survey.layout(token_column, column)
    return Form(unit, layout), f"{reason}; {layout.describe(width)}"


def _check(tags: str | None, token_column: int | None, column: int | None) -> None:
    if tags is not None and tags not in UNITS:
        raise UsageError(f"tags must be {' or '.join(UNITS)}, not {tags!r:.40}")
    for name, value in (("token-column", token_column), ("column", column)):
        if value == 0:
            raise UsageError(f"{name} counts from 1, or from the last, -1, backwards: 0 is none")
        if value is not None and tags == CHARACTERS:
            raise UsageError(
                f"{name} does not go with tags of characters: lines are source TAB target"
            )


class _Pairs:
    """What lines say of whether they are `source TAB target`."""

    def __init__(self) -> None:
        self._lines = self._fit = 0
        self._parted = False  # by a blank line, with others before it and after it
        self._blank = self._begun = False

    def line(self, line: str) -> None:
        """Take a line."""
        if not line.strip():
            self._blank = True
            return
        self._parted |= self._blank and self._begun
        self._blank, self._begun = False, True
        self._lines += 1
        pair = None if self._parted else pair_of(line)
        self._fit += pair is not None and len(pair[0]) == len(pair[1])

    def end(self) -> None:
        """End a file."""
        self._blank = self._begun = False

    @property
    def suit(self) -> bool:
        """Whether they most likely are."""
        return not self._parted and 2 * self._fit > self._lines

    def reason(self, sentences: int) -> str:
        """Return why they are taken for what they are, after `because`; `sentences` is what blank
        lines part."""
        if self._parted:
            return f"because blank lines part {sentences:,} sentences"
        count = f"{self._fit:,} of {self._lines:,} lines"
        if self._fit == self._lines:
            count = "the line" if self._lines == 1 else f"each of {self._lines:,} lines"
        if self.suit:
            verb = "are" if 1 < self._fit < self._lines else "is"
            return f"because {count} {verb} source TAB target of equal length"
        return "because the lines are not source TAB target of equal length"
