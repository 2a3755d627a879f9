"""Columns as CoNLL has them: a line a token, one column its tag, and a blank line after a sentence.

Columns part at tabs where every line of a token has one, else at white space. Some lines are no
tokens and pass: `-DOCSTART-` lines, and **comments**, which begin with `#` and stand before the
first token of a sentence. As a token may be `#` or `#hashtag`, they are comments only in CoNLL-U;
where columns part at tabs and the line has a space but no tab; or where every sentence of a file
begins with such a line `# ...`. In CoNLL-U, ten columns or more of which the first counts, the
lines of ranges (`3-4`) and of empty nodes (`5.1`) pass too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from charlm.errors import DataError
from charlm.text.labels import is_label
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.stream import Lines

_SPACES = re.compile(r"[ \t\r\f\v]+")  # others, such as a no-break space, may stand in a token
_BLANKS = " \t\r\f\v"
_DOCUMENT = re.compile(r"-DOCSTART-(?:\s|$)")
_CONLLU = 10  # columns, or more where some were added
_USUAL, _USUAL_CONLLU = (1, -1), (2, 4)  # columns of token and tag
_MOST_KNOWN, _LONG = 1 << 14, 100  # of lines that come again and again, and their characters
_NODE = re.compile(r"\d+(?:[-.]\d+)?\t")
_NO_NODE = re.compile(r"\d+[-.]\d+\t")  # a range or an empty node


@dataclass(frozen=True)
class Layout:
    """How lines part into columns, and which of them hold the token and its tag.

    token, tag: numbers of columns from 1 on, or from the last, -1, backwards. conllu: whether it is
    CoNLL-U. heads: with how many comments every sentence begins, where they could be tokens.
    """

    tabs: bool
    token: int = 1
    tag: int = -1
    conllu: bool = False
    heads: int = 0

    @property
    def separator(self) -> str:
        """What to put between columns."""
        return "\t" if self.tabs else " "

    def cells(self, line: str) -> list[str]:
        """Return the columns of a line."""
        return line.split("\t") if self.tabs else _SPACES.split(line.strip(_BLANKS))

    def of_conllu(self) -> Layout:
        """Return it for a file in CoNLL-U, which has second and fourth what others have first and
        last."""
        usual = (self.token, self.tag) == _USUAL
        token, tag = _USUAL_CONLLU if usual else (self.token, self.tag)
        return replace(self, tabs=True, conllu=True, token=token, tag=tag)

    def describe(self, width: int) -> str:
        """Return a sentence on it, for lines of so many columns."""
        if self.conllu:
            told = f"CoNLL-U, the token in column {self.token}, the tag in column {self.tag}"
        else:
            token, tag = _place(self.token, width), _place(self.tag, width)
            parted = "tabs" if self.tabs else "white space"
            told = f"parted by {parted}, the token in column {token}, the tag in column {tag}"
        more = ""
        if self.heads:
            what = "a line, # ..., is" if self.heads == 1 else f"{self.heads} lines, # ..., are"
            more = f"; before each sentence {what} no token"
        return f"columns: {told} of {width}{more}"


@dataclass(frozen=True)
class Sentence:
    """A sentence as it is read.

    tokens, tags: [n], the tags as the file has them, none where they are not read. lines: all its
    lines without their ends, also those that are no tokens, and the blank one that ends it; each
    line of a file is in one sentence, so some have no token. places [n]: which of them the tokens
    are.
    """

    tokens: Sequence[str]
    tags: Sequence[str]
    lines: Sequence[str] = ()
    places: Sequence[int] = ()


class Sentences:
    """The sentences of lines in order, each as soon as the line that ends it is there.

    `ready` says whether the next can be had at once.
    """

    def __init__(self, lines: Lines, layout: Layout, where: str, tagged: bool = True) -> None:
        """Read lines, which messages call `where`; if not `tagged`, tokens alone are looked for."""
        self._lines, self._take = lines, _Reader(layout, where, tagged)
        self._found = deque[Sentence]()
        self._over = False

    def __iter__(self) -> Iterator[Sentence]:
        return self

    def __next__(self) -> Sentence:
        """Return the next one; raises DataError for a line that has too few columns."""
        while not self._found:
            if self._over:
                raise StopIteration
            self._step()
        return self._found.popleft()

    def ready(self) -> bool:
        """Return whether the next sentence, or the end, is there already (DataError)."""
        while not self._found and not self._over and self._lines.ready():
            self._step()
        return bool(self._found) or self._over

    def _step(self) -> None:
        line = next(self._lines, None)
        if line is None:
            self._over = True
            found = self._take.end()
        else:
            found = self._take.line(line)
        if found is not None:
            self._found.append(found)


def read_sentences(
    file: TextFile, layout: Layout, encoding: str, size: int = BLOCK
) -> Iterator[Sentence]:
    """Yield the sentences of a file that have tokens, with their tags, a block of it at a time.

    Raises DataError, which names file and line, for a line of too few columns or without token or
    tag.
    """
    lines = Lines(text_blocks(file, encoding, size), lambda: True)
    return (sentence for sentence in Sentences(lines, layout, file.name) if sentence.tokens)


class _Row(NamedTuple):
    token: int
    tag: int


@dataclass
class _Reader:
    """Makes sentences of lines."""

    layout: Layout
    where: str
    tagged: bool
    _number: int = 0
    _first: tuple[int, int] | None = None  # the number of the first token's line, and its columns
    _lines: list[str] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)
    _tokens: list[str] = field(default_factory=list)
    _tags: list[str] = field(default_factory=list)
    _heads: int = 0
    _rows: dict[int, _Row] = field(default_factory=dict)  # by the number of columns
    _known: dict[str, tuple[str, str]] = field(default_factory=dict)  # token and tag by the line
    _waiting: list[str] = field(default_factory=list)
    _judged: bool = False  # whether it is known if these lines are CoNLL-U, whatever training had

    def __post_init__(self) -> None:
        self._judged = self.tagged

    def line(self, line: str) -> Sentence | None:
        """Take a line; return the sentence that ends with it, if one does."""
        if self._judged:
            return self._read(line)
        if line.startswith("#"):  # a comment, or a token: what is below it tells
            self._waiting.append(line)
            return None
        if line.strip() and not _DOCUMENT.match(line):
            self._judged, conllu = True, in_conllu(line)
            if not conllu or self.layout.conllu:
                tabs = conllu or self.layout.tabs
                self.layout = replace(self.layout, tabs=tabs, conllu=conllu)
            else:
                self.layout = self.layout.of_conllu()
        self._go_on()
        return self._read(line)

    def _go_on(self) -> None:
        """Read the lines that are waiting."""
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self._read(line)

    def _read(self, line: str) -> Sentence | None:
        self._number += 1
        if (known := self._known.get(line)) is not None:
            self._append(*known)
            self._lines.append(line)
            return None
        if not line.strip():
            self._lines.append(line)
            return self._ended()
        if not self._passes(line):
            self._token(line)
        self._lines.append(line)
        return None

    def end(self) -> Sentence | None:
        """Return the sentence in hand, None where there is not a line of one."""
        self._go_on()
        return self._ended()

    def _ended(self) -> Sentence | None:
        if not self._lines:
            return None
        found = Sentence(self._tokens, self._tags, self._lines, self._places)
        self._lines, self._places, self._tokens, self._tags, self._heads = [], [], [], [], 0
        return found

    def _passes(self, line: str) -> bool:
        """Tell whether a line is no token."""
        if line.startswith("#") and not self._tokens and self._comment(line):
            return True
        if _DOCUMENT.match(line):
            return True
        return self.layout.conllu and in_conllu(line) and _NO_NODE.match(line) is not None

    def _comment(self, line: str) -> bool:
        if self.layout.conllu:
            return True
        if line.startswith("# ") and self._heads < self.layout.heads:
            self._heads += 1
            return True
        return self.layout.tabs and "\t" not in line and " " in line

    def _token(self, line: str) -> None:
        cells = self.layout.cells(line)
        row = self._rows.get(len(cells)) or self._row(len(cells))
        token, tag = cells[row.token].strip(_BLANKS) or cells[row.token], ""
        if not token:
            raise self._error(f"has an empty token (column {row.token + 1})")
        if self.tagged:
            tag = cells[row.tag].strip(_BLANKS)
            if not _is_tag(tag):
                what = f"a tag that cannot be shown, {tag!r:.40}," if tag else "an empty tag"
                raise self._error(f"has {what} (column {row.tag + 1})")
        if len(self._known) < _MOST_KNOWN and len(line) < _LONG and line[0] != "#":
            self._known[line] = token, tag
        self._append(token, tag)

    def _append(self, token: str, tag: str) -> None:
        self._tokens.append(token)
        if self.tagged:
            self._tags.append(tag)
        self._places.append(len(self._lines))

    def _row(self, width: int) -> _Row:
        """Return where token and tag stand in a line of so many columns (DataError)."""
        self._first = self._first or (self._number, width)
        number, first = self._first
        if self.tagged and width < first:
            raise self._error(f"has {_columns(width)}, where line {number} has {first}")
        token, tag = _place(self.layout.token, width), _place(self.layout.tag, width)
        if not self.tagged and width == first == 1:  # wherever training had it, here is no other
            token = 1
        if not 1 <= token <= width or (self.tagged and not 1 <= tag <= width):
            wanted = max(abs(self.layout.token), abs(self.layout.tag) if self.tagged else 0)
            raise self._error(f"has {_columns(width)}, where {wanted} are needed")
        if self.tagged and token == tag:
            also = "its token and its tag would be the same"
            raise self._error(f"has {_columns(width)}: {also}")
        row = self._rows[width] = _Row(token - 1, tag - 1)
        return row

    def _error(self, problem: str) -> DataError:
        parted = "tabs" if self.layout.tabs else "white space"
        return DataError(f"{self.where}: line {self._number} {problem}; columns part at {parted}")


def _place(column: int, width: int) -> int:
    """Return the number from 1 on of a column of so many."""
    return column if column > 0 else width + 1 + column


def _columns(width: int) -> str:
    return "1 column" if width == 1 else f"{width} columns"


def in_conllu(line: str) -> bool:
    """Tell whether a line is one of CoNLL-U: also with columns added, as `charlm predict` does."""
    return line.count("\t") >= _CONLLU - 1 and _NODE.match(line) is not None


@lru_cache(maxsize=1 << 12)
def _is_tag(tag: str) -> bool:
    return is_label(tag)


@dataclass
class Survey:
    """What the lines of files say of their layout; `sentences` is how many blank lines part."""

    sentences: int = 0
    _sure: list[bool] = field(default_factory=lambda: [True, True])  # tabs, CoNLL-U: so far, in all
    _hashed: bool = True  # whether all lines that begin with # have a tab
    _found: bool = False  # a line that is a token for sure
    _first: str = ""  # the first of them, or of those that may be
    _heads: int | None = None  # the fewest `# ` lines that a sentence begins with
    _lines: int = 0  # of the sentence in hand,
    _hashes: int = 0  # of these such as begin with #, before any other,
    _spaced: int = 0  # and such as begin with # and a space

    def line(self, line: str) -> None:
        """Take a line."""
        if not line.strip():
            self.end()
            return
        if _DOCUMENT.match(line):
            return
        head = line.startswith("#") and self._lines == self._hashes
        self._lines += 1
        if head:
            self._spaced += line.startswith("# ") and self._spaced == self._hashes
            self._hashes += 1
            self._hashed &= "\t" in line
            self._first = self._first or line
            return
        if not self._found:
            self._found, self._first = True, line
        self._sure[0] &= "\t" in line
        self._sure[1] &= in_conllu(line)

    def end(self) -> None:
        """End a sentence: a blank line, or the end of a file."""
        if self._lines:
            self.sentences += 1
            heads = min(self._spaced, self._lines - 1)  # a sentence has a token
            self._heads = heads if self._heads is None else min(heads, self._heads)
        self._lines = self._hashes = self._spaced = 0

    def layout(self, token: int | None, tag: int | None) -> tuple[Layout, int]:
        """Return the layout and the columns of the first token's line."""
        tabs = self._sure[0] if self._found else self._hashed
        conllu = self._found and self._sure[1]
        heads = (self._heads or 0) if self.sentences > 1 and not conllu else 0
        usual = _USUAL_CONLLU if conllu else _USUAL
        layout = Layout(tabs, token or usual[0], tag or usual[1], conllu, heads)
        return layout, len(layout.cells(self._first))
