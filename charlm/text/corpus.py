"""A corpus of any size as token ids on disk: its vocabulary, its sequences, its training, validation and test part.

It is read three times, a block at a time: a survey of its lines (what is a sequence? where does the training part
of a document end?), the vocabulary of the training part, and the encoding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.contents import foreign, markup
from charlm.text.counting import NOTHING_TO_TRAIN_ON, CharCounter, WordCounter
from charlm.text.folders import shortened, text_files
from charlm.text.reading import (
    BLOCK,
    OLD_MAC,
    Scratch,
    Source,
    is_standard_input,
    nonblank_lines,
    open_source,
    text_blocks,
)
from charlm.text.repeats import LineHashes, repeat_notes
from charlm.text.splitting import TEST, TRAIN, VALID, Layout, hold_out_notes, whole_files
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer, Tokenizer


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
    """A tokenizer and the three parts it encoded.

    `reason` says what was taken for a sequence, and why; `notes` what else the user should know; `hold_out` is
    "files" where whole ones are held out, else "parts"; `paths` are the files, those of directories one by one.
    """

    tokenizer: Tokenizer
    sequences: str
    reason: str
    train: Part
    valid: Part
    test: Part
    paths: tuple[str, ...]
    hold_out: str = "parts"
    notes: tuple[str, ...] = ()


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
    named, notes = text_files(paths)
    held = [text_files([] if path is None else [path]) for path in (valid_file, test_file)]
    files = _open_all(named, *(texts for texts, _ in held))
    read = partial(text_blocks, encoding=None if kind == "byte" else config.encoding, size=block)
    surveys = [_survey(read(source)) for source in files[TRAIN]]
    sequences, reason = _decide(sequences or config.sequences, surveys, [source.name for source in files[TRAIN]])
    layout = Layout(
        files[TRAIN],
        [survey.characters for survey in surveys],
        read,
        words=kind == "word",
        sequences=sequences,
        shares=(0 if files[VALID] else config.valid_fraction, 0 if files[TEST] else config.test_fraction),
        seed=config.split_seed,
    )
    layout = _with_files_held_out(layout, config.hold_out)
    tokenizer = _vocabulary(layout, counter, tokenizer)
    parts, repeats = _encode_all(layout, tokenizer, files)
    hold_out = "parts" if layout.whole is None else "files"
    notes += [note for _, of_part in held for note in of_part]
    said = (*notes, *_content_notes(files[TRAIN], surveys, kind), *hold_out_notes(layout), *repeats)
    train, valid, test = parts
    return Corpus(tokenizer, sequences, reason, train, valid, test, tuple(map(str, named)), hold_out, said)


def _open_all(*groups: Sequence[str | Source]) -> list[list[Source]]:
    """Open the files of the corpus, of a validation file and of a test file, those of directories one by one."""
    names = [path for group in groups for path in group if isinstance(path, str)]
    if sum(map(is_standard_input, names)) > 1:
        raise UsageError("standard input (-) can be read only once: name files for the others")
    return [[open_source(path) for path in group] for group in groups]


def _with_files_held_out(layout: Layout, wanted: str) -> Layout:
    """Hold out whole files where that was asked for, or "auto" and the files are documents."""
    if wanted == "auto" and layout.sequences == "line":
        return layout
    whole = whole_files(layout.sources, layout.characters, layout.shares, layout.seed, wanted)
    return dataclasses.replace(layout, whole=whole)




# --- what a sequence is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    lines: int
    blank: int
    characters: int
    returns: int  # that stand alone


def _survey(texts: Iterable[str]) -> _Survey:
    newlines = characters = returns = 0
    ended = True

    def counted() -> Iterator[str]:
        nonlocal newlines, characters, returns, ended
        for text in texts:
            newlines += text.count("\n")
            characters += len(text)
            returns += text.count("\r")
            ended = text.endswith("\n") if text else ended
            yield text

    nonblank = sum(text.count("\n") for text in nonblank_lines(counted()))
    lines = newlines + (not ended)
    return _Survey(lines, lines - nonblank, characters, returns)


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
        return "document", f"sequences: document, because {count} (a text in each line: --sequences line)"
    count = f"only {count}" if blank else f"none of {lines:,} lines is blank"
    return "line", f"sequences: line, because {count} (lines of one text: --sequences document)"


def _content_notes(sources: Sequence[Source], surveys: Sequence[_Survey], kind: str) -> Iterator[str]:
    """Yield what of the files may not be meant as text, or as these lines: one note for all that are alike."""
    found: dict[str, list[str]] = {}
    for source, survey in zip(sources, surveys, strict=True):
        head = source.head()
        if kind == "byte" and (binary := foreign(head)):
            found.setdefault(f"{binary[0]}, whose bytes are taken as they are", []).append(source.name)
        if marks := markup(head):
            found.setdefault(f"looks like {marks}, whose marks are learnt as text", []).append(source.name)
        if survey.returns > max(1, survey.lines):
            found.setdefault(OLD_MAC, []).append(source.name)
    yield from (f"{shortened(names)}: {what}" for what, names in found.items())


# --- the vocabulary of the training part ------------------------------------------------------------------------


def _counter(config: TextConfig) -> CharCounter | WordCounter | None:
    if config.tokenizer == "byte":
        return None
    return CharCounter(config) if config.tokenizer == "char" else WordCounter(config)


def _vocabulary(layout: Layout, counter: CharCounter | WordCounter | None, known: Tokenizer | None) -> Tokenizer:
    if counter is None:
        return known or ByteTokenizer()
    for part, text in itertools.chain.from_iterable(layout.documents()):
        if part == TRAIN:
            counter.add(text)
    return counter.tokenizer(layout.sequences == "document", known.to_dict()["tokens"] if known else ())


# --- ids on disk ------------------------------------------------------------------------------------------------


def _encode_all(
    layout: Layout, tokenizer: Tokenizer, files: Sequence[Sequence[Source]]
) -> tuple[list[Part], list[str]]:
    """Return the training, the validation and the test part, and notes on what stands in two of them."""
    writers = [_PartWriter(tokenizer.size) for _ in files]
    lines = [LineHashes() for _ in files] if any(layout.shares) or any(files[VALID:]) else []
    _encode(layout, tokenizer, writers, lines)
    for part in (VALID, TEST):
        if sources := files[part]:
            whole = dataclasses.replace(layout, sources=sources, whole=[TRAIN] * len(sources))
            _encode(whole, tokenizer, writers[part : part + 1], lines[part : part + 1])
            if not len(writers[part].part()):
                raise DataError(f"{', '.join(source.name for source in sources)}: holds no token")
    parts = [writer.part() for writer in writers]
    if not len(parts[TRAIN]):
        raise DataError(NOTHING_TO_TRAIN_ON)
    return parts, list(repeat_notes(lines, layout.sequences)) if lines else []


def _encode(
    layout: Layout, tokenizer: Tokenizer, writers: Sequence[_PartWriter], hashes: Sequence[LineHashes]
) -> None:
    lines = layout.sequences == "line"
    encode = tokenizer.encode_lines if lines else tokenizer.encode
    for document in layout.documents():
        for part, text in document:
            characters = len(text) - (text.count("\n") if lines else 0)
            data = text.encode("latin-1") if tokenizer.kind == "byte" else text.encode("utf-8", "surrogatepass")
            writers[part].append(encode(data if tokenizer.kind == "byte" else text), characters, data)
            if hashes:
                hashes[part].add(text)
        for writer in writers:
            writer.end_sequence()
        for ended in hashes:
            ended.end()
