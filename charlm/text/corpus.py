"""A corpus of any size as token ids on disk: its vocabulary, its sequences, its training, validation and test part.

It is read three times, a block at a time: a survey of its lines (what is a sequence? where does the training part
of a document end?), the vocabulary of the training part, and the encoding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.counting import NOTHING_TO_TRAIN_ON, CharCounter, WordCounter
from charlm.text.reading import (
    BLOCK,
    Scratch,
    Source,
    is_standard_input,
    nonblank_lines,
    open_source,
    text_blocks,
    whole_words,
)
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, Tokenizer

TRAIN, VALID, TEST = range(3)
_WORD_BREAK = re.compile(r"\n|(?=\s)")


@dataclass(frozen=True, eq=False)
class Part:
    """Token ids of one split, in an unlinked temporary file, read by offset.

    Every sequence ends with EOS, so a position begins one if it is 0 or the id before it is EOS. `characters`
    counts code points (bytes, for bytes) of the text as read, without the newlines that EOS stands for; `unknown`
    counts UNK; `digest` is the SHA-256 of the ids as little-endian int32, `text_digest` that of the text, the same
    for every tokenizer.
    """

    sequences: int
    characters: int
    unknown: int
    digest: str
    text_digest: str
    _length: int
    _ids: Scratch
    _dtype: np.dtype[np.generic]

    @staticmethod
    def from_ids(ids: ArrayLike, characters: int | None = None) -> Part:
        """Keep ids [n]; `characters` is the number of those that are not EOS unless given."""
        array = np.ascontiguousarray(ids, np.int32)
        writer = _PartWriter(int(array.max(initial=0)) + 1)
        writer.append(array, int(np.count_nonzero(array != EOS)) if characters is None else characters)
        return writer.part()

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, count: int) -> NDArray[np.int32]:
        """Return ids [count] from `start` on (IndexError outside the part, StorageError)."""
        if not 0 <= start <= start + count <= self._length:
            raise IndexError(f"ids {start} to {start + count} are not within a part of {self._length}")
        data = self._ids.read(start * self._dtype.itemsize, count * self._dtype.itemsize)
        return np.frombuffer(data, self._dtype).astype(np.int32)


class _PartWriter:
    def __init__(self, vocab_size: int) -> None:
        self._ids = Scratch()
        self._dtype: np.dtype[np.generic] = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.int32)
        self._digest, self._text_digest = hashlib.sha256(), hashlib.sha256()
        self._length = self._sequences = self._characters = self._unknown = 0
        self._ended = True  # the last id is EOS, or there is none

    def append(self, ids: NDArray[np.int32], characters: int, text: bytes = b"") -> None:
        self._text_digest.update(text)
        self._characters += characters
        if not ids.size:
            return
        self._digest.update(ids.astype("<i4", copy=False).data)
        self._ids.write(ids.astype(self._dtype, copy=False).data)
        self._length += ids.size
        self._sequences += int(np.count_nonzero(ids == EOS))
        self._unknown += int(np.count_nonzero(ids == UNK))
        self._ended = bool(ids[-1] == EOS)

    def end_sequence(self) -> None:
        self._text_digest.update(b"\xff")  # no byte of UTF-8
        if not self._ended:
            self.append(np.array([EOS], np.int32), 0)

    def part(self) -> Part:
        digests = (self._digest.hexdigest(), self._text_digest.hexdigest())
        counts = (self._sequences, self._characters, self._unknown)
        return Part(*counts, *digests, self._length, self._ids, self._dtype)


@dataclass(frozen=True)
class Corpus:
    """A tokenizer and the three parts it encoded; `reason` says what was taken for a sequence, and why."""

    tokenizer: Tokenizer
    sequences: str
    reason: str
    train: Part
    valid: Part
    test: Part
    paths: tuple[str, ...]


def prepare(
    paths: Sequence[str | Source],
    config: TextConfig,
    valid_file: str | None = None,
    test_file: str | None = None,
    tokenizer: Tokenizer | None = None,
    sequences: str | None = None,
    block: int = BLOCK,
    grow: bool = False,
) -> Corpus:
    """Read, split and encode corpus files, `block` bytes at a time.

    `tokenizer` and `sequences`, where a model has them already, are used in place of building and deciding;
    `grow` adds to the vocabulary what is new in the training part, as `config` (of the same tokenizer) says.
    A validation or test file takes the place of that share of `paths`; files may be open already. Raises UsageError,
    DataError (empty or not readable as text), MissingInputError, StorageError.
    """
    kind = tokenizer.kind if tokenizer else config.tokenizer
    counter = _counter(config) if grow or not tokenizer else None
    sources, valid, test = _open_all(paths, valid_file, test_file)
    read = partial(text_blocks, encoding=None if kind == "byte" else config.encoding, size=block)
    surveys = [_survey(read(source)) for source in sources]
    sequences, reason = _decide(sequences or config.sequences, surveys, [source.name for source in sources])
    layout = _Layout(
        sources,
        [survey.characters for survey in surveys],
        read,
        words=kind == "word",
        sequences=sequences,
        shares=(0 if valid else config.valid_fraction, 0 if test else config.test_fraction),
        seed=config.split_seed,
    )
    tokenizer = _vocabulary(layout, counter, tokenizer)
    parts = _encode_all(layout, tokenizer, valid, test)
    return Corpus(tokenizer, sequences, reason, parts[TRAIN], parts[VALID], parts[TEST], tuple(map(str, paths)))


def _open_all(
    paths: Sequence[str | Source], valid_file: str | None, test_file: str | None
) -> tuple[list[Source], Source | None, Source | None]:
    named = [path for path in (*paths, valid_file, test_file) if isinstance(path, str)]
    if sum(map(is_standard_input, named)) > 1:
        raise UsageError("standard input (-) can be read only once: name files for the others")
    valid, test = (None if path is None else open_source(path) for path in (valid_file, test_file))
    return [open_source(path) for path in paths], valid, test


# --- what a sequence is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    lines: int
    blank: int
    characters: int


def _survey(texts: Iterable[str]) -> _Survey:
    newlines = characters = 0
    ended = True

    def counted() -> Iterator[str]:
        nonlocal newlines, characters, ended
        for text in texts:
            newlines += text.count("\n")
            characters += len(text)
            ended = text.endswith("\n") if text else ended
            yield text

    nonblank = sum(text.count("\n") for text in nonblank_lines(counted()))
    lines = newlines + (not ended)
    return _Survey(lines, lines - nonblank, characters)


def _decide(wanted: str, surveys: Sequence[_Survey], names: Sequence[str]) -> tuple[str, str]:
    """Return what is a sequence, "line" or "document", and a sentence that says why."""
    lines = sum(survey.lines for survey in surveys)
    blank = sum(survey.blank for survey in surveys)
    if blank == lines:
        found = "nothing but white space" if lines else "nothing: it is empty"
        raise DataError(f"{', '.join(names)}: the corpus holds {found}")
    if wanted != "auto":
        return wanted, f"sequences: {wanted}, as set"
    if lines == 1:
        return "document", "sequences: document, because the corpus is a single line"
    count = f"{blank:,} of {lines:,} lines {'is' if blank == 1 else 'are'} blank"
    if 100 * blank >= lines:
        return "document", f"sequences: document, because {count}"
    return "line", f"sequences: line, because {f'only {count}' if blank else f'none of {lines:,} lines is blank'}"


# --- which part a piece of text belongs to ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Files and how their text falls into parts."""

    sources: Sequence[Source]
    characters: Sequence[int]  # in each file
    read: Callable[[Source], Iterator[str]]
    words: bool
    sequences: str
    shares: tuple[float, float]  # of the text, for validation and for test
    seed: int

    def documents(self) -> Iterator[Iterator[tuple[int, str]]]:
        """Yield the (part, text) pieces of each document in turn, or those of all lines."""
        if self.sequences == "line":
            lines = itertools.chain.from_iterable(nonblank_lines(self.read(source)) for source in self.sources)
            yield _split_lines(whole_words(lines) if self.words else lines, self.shares, self.seed)
            return
        for source, characters in zip(self.sources, self.characters, strict=True):
            texts, cuts = self.read(source), _cuts(characters, self.shares)
            yield _split_document(whole_words(texts) if self.words else texts, cuts, self.words)


def _split_lines(texts: Iterable[str], shares: tuple[float, float], seed: int) -> Iterator[tuple[int, str]]:
    number = 0
    for text in texts:
        lines = text.split("\n")  # the last is unfinished or empty
        parts = line_parts(np.arange(number, number + len(lines), dtype=np.uint64), shares, seed)
        for part in np.unique(parts).tolist():
            chosen = list(itertools.compress(lines, (parts == part).tolist()))
            yield part, "\n".join(chosen if parts[-1] == part else [*chosen, ""])
        number += len(lines) - 1


def line_parts(numbers: NDArray[np.uint64], shares: tuple[float, float], seed: int) -> NDArray[np.int8]:
    """Return the part [n] of lines by their numbers [n] alone: a hash of each, as a uniform number in [0, 1).

    The hash is SplitMix64 (Steele, Lea and Flood 2014) as a function of the counter.
    """
    stream = _mix(np.array([seed % (1 << 64)], np.uint64))
    uniform = (_mix(stream + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)) * 2.0**-53
    valid, test = shares
    return (uniform < valid + test).astype(np.int8) + (uniform < test)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _cuts(characters: int, shares: tuple[float, float]) -> tuple[int, int]:
    """Return where training and where validation end, exact in the decimal fractions as they were given."""
    valid, test = (Fraction(str(share)) for share in shares)
    return int(characters * (1 - valid - test)), int(characters * (1 - test))


def _split_document(texts: Iterable[str], cuts: tuple[int, int], words: bool) -> Iterator[tuple[int, str]]:
    part, position = TRAIN, 0
    for text in texts:
        start = 0
        while part < TEST and (cut := _find_cut(text, max(cuts[part] - position, 0), words)) is not None:
            yield part, text[start:cut]
            start, part = cut, part + 1
        yield part, text[start:]
        position += len(text)


def _find_cut(text: str, cut: int, words: bool) -> int | None:
    """Return where to cut at or after `cut`, for words after a newline or before white space; None: not here."""
    if not words:
        return cut if cut <= len(text) else None
    found = _WORD_BREAK.search(text, cut)
    return found.end() if found else None


# --- the vocabulary of the training part ------------------------------------------------------------------------


def _counter(config: TextConfig) -> CharCounter | WordCounter | None:
    if config.tokenizer == "byte":
        return None
    return CharCounter(config) if config.tokenizer == "char" else WordCounter(config)


def _vocabulary(layout: _Layout, counter: CharCounter | WordCounter | None, known: Tokenizer | None) -> Tokenizer:
    if counter is None:
        return known or ByteTokenizer()
    for part, text in itertools.chain.from_iterable(layout.documents()):
        if part == TRAIN:
            counter.add(text)
    return counter.tokenizer(layout.sequences == "document", known.to_dict()["tokens"] if known else ())


# --- ids on disk ------------------------------------------------------------------------------------------------


def _encode_all(layout: _Layout, tokenizer: Tokenizer, valid: Source | None, test: Source | None) -> list[Part]:
    """Return the training, the validation and the test part."""
    writers = [_PartWriter(tokenizer.size) for _ in (TRAIN, VALID, TEST)]
    _encode(layout, tokenizer, writers)
    for writer, source in zip(writers[VALID:], (valid, test), strict=True):
        if source:
            whole = dataclasses.replace(layout, sources=[source], characters=[sys.maxsize], shares=(0, 0))
            _encode(whole, tokenizer, [writer])
            if not len(writer.part()):
                raise DataError(f"{source.name}: holds no token")
    parts = [writer.part() for writer in writers]
    if not len(parts[TRAIN]):
        raise DataError(NOTHING_TO_TRAIN_ON)
    return parts


def _encode(layout: _Layout, tokenizer: Tokenizer, writers: Sequence[_PartWriter]) -> None:
    lines = layout.sequences == "line"
    encode = tokenizer.encode_lines if lines else tokenizer.encode
    for document in layout.documents():
        for part, text in document:
            characters = len(text) - (text.count("\n") if lines else 0)
            data = text.encode("latin-1") if tokenizer.kind == "byte" else text.encode("utf-8", "surrogatepass")
            writers[part].append(encode(data if tokenizer.kind == "byte" else text), characters, data)
        for writer in writers:
            writer.end_sequence()
