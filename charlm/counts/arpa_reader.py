r"""N-grams from an ARPA file, charlm's own or another program's, over the vocabulary of a tokenizer.

What a file may lack, and what is made of it:

- the prefix or the suffix of an n-gram: it is put in, which changes no probability (assembly.py); -
a back-off weight: it is 1; -inf or -99 in the place of a log10 is the smallest number that there
is; - <unk> or </s>: their p is the smallest that there is; - values of bytes: to the file they are
unknown, so they and <unk> share its p equally. Any other
  vocabulary must be that of the tokenizer, in both directions;
- of n-grams with <s> inside or at their end, and with </s> before their end, nothing is kept, nor
in
  documents of those that begin with <s>: no text of charlm's holds them.
"""

from __future__ import annotations

import codecs
import itertools
import re
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charlm.counts.assembly import MOST, Level, TwiceError, assemble
from charlm.counts.names import Vocabulary, arpa_names
from charlm.counts.table import MOST_ORDER, Counts
from charlm.errors import DataError
from charlm.text.reading import TextFile
from charlm.text.tokenizers import EOS, SPECIALS, UNK, Tokenizer

_SIZE = re.compile(rb"ngram\s*(\d{1,3})\s*=\s*(\d{1,18})")
_LONGEST = 1 << 20  # bytes of a line
_MOST_LOG = 4e-5  # log10 p: digits round, to 1e-4 above 1
_MOST_BACKOFF = 30.0  # log10, so that float32 holds it
_SHOWN, _SHOWN_WIDTH = 5, 40  # tokens that a message names, and characters of each


def read_arpa(file: TextFile, tokenizer: Tokenizer, begin: int | None) -> Counts:
    """Return the table that an ARPA file holds, compressed or not, over the vocabulary of a tokenizer.

    begin: as in `Counts`. Tokens are named as in names.py, or plainly. Raises DataError, with the
    line, where the file is no ARPA file or probabilities do not sum to 1, and for another
    vocabulary, with what is missing; MissingInputError and StorageError as `TextFile.blocks`.
    """
    try:
        return _Reader(file, tokenizer, begin).read()
    except DataError as error:
        own = f"{file.name}: "
        raise DataError(own + str(error).removeprefix(own)) from None


class _Reader:
    """One reading of a file: the line where it is, and what it has found."""

    def __init__(self, file: TextFile, tokenizer: Tokenizer, begin: int | None) -> None:
        self._tokenizer, self._begin = tokenizer, begin
        self._vocabulary = Vocabulary(tokenizer)
        self._ids: dict[bytes, int] = {}  # of the file's 1-grams
        self._lines = _lines(file)
        self._line, self._number = b"", 0

    def read(self) -> Counts:
        """Return the table."""
        sizes = self._head()
        levels, numbers = [self._unigrams(sizes[0])], [np.empty(0, np.uint32)]
        for k, size in enumerate(sizes[1:], start=2):
            level, lines = self._section(k, size)
            levels.append(level)
            numbers.append(lines)
        if self._line != b"\\end\\":
            raise self._wrong(f"should be \\end\\, not {_shown(self._line)}")
        try:
            return assemble(levels, self._tokenizer.size, self._begin)
        except TwiceError as error:
            self._number = int(numbers[error.order - 1][error.row])
            raise self._wrong("its n-gram stands in the file twice") from None

    def _next(self) -> bytes:
        """Return the next line that is not blank, without white space at its ends."""
        for line in self._lines:
            self._number += 1
            self._line = line.strip()
            if self._line:
                return self._line
        raise DataError("ends before \\end\\: it is cut short, or no ARPA file")

    def _wrong(self, what: str) -> DataError:
        return DataError(f"line {self._number:,}: {what}")

    def _head(self) -> list[int]:
        """Return how many n-grams there are of each order, by the file's head."""
        while self._next() != b"\\data\\":
            pass  # a comment
        sizes: list[int] = []
        while found := _SIZE.fullmatch(self._next()):
            if int(found[1]) != len(sizes) + 1:
                raise self._wrong(f"should give the number of {len(sizes) + 1}-grams")
            sizes.append(int(found[2]))
        if not sizes:
            raise self._wrong(f"should be ngram 1=N, not {_shown(self._line)}")
        if len(sizes) > MOST_ORDER:
            raise DataError(f"has n-grams of order {len(sizes)}: the highest here is {MOST_ORDER}")
        if sum(sizes) > MOST:
            raise DataError(f"has {sum(sizes):,} n-grams, more than {MOST:,}: prune it first")
        return sizes

    def _rows(self, k: int, size: int) -> Iterator[tuple[float, list[bytes], float]]:
        """Yield log10 p, tokens and log10 of the back-off weight of each n-gram of order k."""
        if self._line != b"\\%d-grams:" % k:
            raise self._wrong(f"should be \\{k}-grams:, not {_shown(self._line)}")
        for count in itertools.count():
            fields = self._next().split()
            if fields[0].startswith(b"\\"):  # the next title
                if count < size:
                    raise self._wrong(f"only {count:,} {k}-grams of the {size:,} of its head")
                return
            if count == size:
                raise self._wrong(f"more {k}-grams than the {size:,} of its head")
            if len(fields) not in (k + 1, k + 2):
                raise self._wrong(f"should have log10 p, {k} tokens, log10 of a back-off weight")
            yield (
                self._number_of(fields[0], _MOST_LOG),
                fields[1 : k + 1],
                (self._number_of(fields[k + 1], _MOST_BACKOFF) if len(fields) == k + 2 else 0.0),
            )

    def _number_of(self, field: bytes, most: float) -> float:
        try:
            number = float(field)
        except ValueError:
            raise self._wrong(f"{_shown(field)} is no number") from None
        if not number <= most:  # nor NaN
            raise self._wrong(f"{_shown(field)} is too large for a log10 here")
        return number

    def _unigrams(self, size: int) -> Level:
        V = self._tokenizer.size
        logp, backoff = np.full(V + 1, np.nan), np.zeros(V + 1)  # by id, that of <s> last
        foreign: list[bytes] = []
        for value, (name,), weight in self._rows(1, size):
            token = self._vocabulary.find(name)
            if token is None:
                foreign.append(name)
                continue
            if not np.isnan(logp[token]):
                raise self._wrong(f"{_shown(name)} stands in the file twice")
            logp[token], backoff[token], self._ids[name] = value, weight, token
        self._check_vocabulary(foreign, np.flatnonzero(np.isnan(logp[:V])).tolist())
        backoff[EOS] = backoff[V] if self._begin == EOS else 0.0
        ids = np.arange(V, dtype=np.int32)[:, None]
        return Level(ids, _shared(10.0 ** logp[:V]), 10.0 ** backoff[:V])

    def _check_vocabulary(self, foreign: list[bytes], absent: list[int]) -> None:
        """Raise DataError for tokens of the file alone, and for those of the tokenizer alone, but for bytes."""
        absent = [token for token in absent if token >= len(SPECIALS)]
        faults = []
        if foreign:
            faults.append(f"{len(foreign):,} of its tokens are not in it: {_some(foreign)}")
        if absent and self._tokenizer.kind != "byte":
            names = arpa_names(self._tokenizer)
            lacking = [names[token].encode() for token in absent]
            faults.append(f"{len(absent):,} tokens in it have no 1-gram: {_some(lacking)}")
        if faults:
            raise DataError(f"has another vocabulary than the text: {'; '.join(faults)}")

    def _section(self, k: int, size: int) -> tuple[Level, NDArray[np.uint32]]:
        """Read the n-grams of order k, and return those that a text can hold, each with its line."""
        ids, logp, backoff, lines = array("i"), array("d"), array("d"), array("I")
        for value, names, weight in self._rows(k, size):
            try:
                ids.extend([self._ids[name] for name in names])
            except KeyError as error:
                raise self._wrong(f"{_shown(error.args[0])} has no 1-gram") from None
            logp.append(value)
            backoff.append(weight)
            lines.append(self._number)
        table = np.array(ids, np.int32).reshape(-1, k)
        begins = table[:, 0] == self._vocabulary.begin
        kept = (table[:, :-1] != EOS).all(axis=1)
        kept &= (table[:, 1:] != self._vocabulary.begin).all(axis=1)
        if self._begin == EOS:
            table[begins, 0] = EOS
        else:
            kept &= ~begins
        level = Level(table[kept], 10.0 ** np.array(logp)[kept], 10.0 ** np.array(backoff)[kept])
        return level, np.array(lines, np.uint32)[kept]


def _shared(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p [V] of all tokens, where those absent, NaN, share that of <unk>; that of EOS is then 0."""
    absent = np.flatnonzero(np.isnan(p))
    absent = absent[absent >= len(SPECIALS)]
    p = np.nan_to_num(p, nan=0.0)
    p[[UNK, *absent]] = p[UNK] / (1 + len(absent))
    return p


def _lines(file: TextFile) -> Iterator[bytes]:
    """Yield the lines of a file, its byte order mark left out (DataError for one without an end)."""
    tail, first = b"", True
    for block in file.blocks():
        if first:
            block, first = block.removeprefix(codecs.BOM_UTF8), False
        *lines, tail = (tail + block).split(b"\n")
        yield from lines
        if len(tail) > _LONGEST:
            raise DataError(f"a line is longer than {_LONGEST:,} bytes: it is no ARPA file")
    yield tail


def _some(names: list[bytes]) -> str:
    shown = ", ".join(map(_shown, names[:_SHOWN]))
    return f"{shown}, ..." if len(names) > _SHOWN else shown


def _shown(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN_WIDTH else f"{text[:_SHOWN_WIDTH]}..."
