"""Lines and paragraphs of a file, a pipe or standard input as they come: each can be answered
before the next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import stat
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO

from charlm.errors import MissingInputError, StorageError
from charlm.text.contents import compression
from charlm.text.reading import (
    BLOCK,
    OLD_MAC,
    Scratch,
    TextFile,
    is_standard_input,
    open_file,
    standard_input,
    text_blocks,
)
from charlm.text.sequences import Kind

_GRACE = 0.002  # seconds without input that count as a pause: a writer that is busy comes back sooner


class Pipe:
    """What can be read only once. It is read from its descriptor, which tells whether more has arrived."""

    def __init__(self, file: IO[bytes], name: str, before_waiting: Callable[[], object], closes: bool = True) -> None:
        """Read from a file, which is closed at its end where it `closes`."""
        self.name, self._closes = name, closes
        self._file, self._before_waiting = file, before_waiting
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, ValueError):  # a stand-in in memory has none, and never waits
            self._descriptor = file.fileno()

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Yield bytes as they come, at most `size` at a time, decompressed (DataError, StorageError)."""
        blocks = self._blocks(size)
        first = next(blocks, b"")
        if compression(first):  # which has no lines that could be answered before all is there
            yield from TextFile(self.name, _spooled(itertools.chain([first], blocks))).blocks(size)
            return
        yield from itertools.chain([first] if first else [], blocks)

    def _blocks(self, size: int) -> Iterator[bytes]:
        try:
            with self._file if self._closes else contextlib.nullcontext():
                while block := self._read(size):
                    yield block
        except OSError as error:
            raise StorageError(f"{self.name}: reading failed: {error.strerror}") from error

    def arrived(self) -> bool:
        """Return whether the next block, or the end, can be had without waiting; yes where nothing can tell."""
        if self._descriptor is None:
            return True
        try:
            return bool(select.select([self._descriptor], [], [], _GRACE)[0])
        except (OSError, ValueError):  # a pipe of Windows, or a descriptor beyond the first 1,024
            return True

    def _read(self, size: int) -> bytes:
        if self._descriptor is None:
            return self._file.read(size)
        if not self.arrived():
            self._before_waiting()
            select.select([self._descriptor], [], [])
        return os.read(self._descriptor, size)


def _spooled(blocks: Iterator[bytes]) -> Scratch:
    scratch = Scratch()
    for block in blocks:
        scratch.write(block)
    return scratch


class Lines:
    """The lines of a text in order, without their newline; of `shard` (k, n) only every nth, from the kth on.

    They end at LF. `ready` says whether the next can be had at once: where not, this is the time to answer what
    has come so far.
    """

    def __init__(
        self, texts: Iterator[str], arrived: Callable[[], bool], shard: tuple[int, int] = (1, 1),
        decoded: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        """Read `texts`, which never waits while `arrived`; `decoded` is what to make of each line."""
        self._texts, self._arrived, self._decoded = texts, arrived, decoded
        (first, self._step), self._number = shard, 0
        self._first = first - 1
        self._lines: deque[str] = deque()
        self._begun: list[str] = []  # pieces of the line whose end has not come
        self._over = False
        self._returns = 0  # carriage returns that stand alone

    @property
    def note(self) -> str | None:
        """What may be wrong with lines that all have been read: on an old Mac they ended otherwise."""
        return OLD_MAC if self._over and self._returns > max(1, self._number) else None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._lines and not self._over:
            self._fill()
        if not self._lines:
            raise StopIteration
        return self._decoded(self._lines.popleft())

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their numbers among all, from 1 on."""
        return zip(itertools.count(self._first + 1, self._step), self)

    def ready(self, ahead: int = 0) -> bool:
        """Return whether the next line, or that so many lines `ahead` of it, or the end, is there
        already.
        """
        while len(self._lines) <= ahead and not self._over and self._arrived():
            self._fill()
        return len(self._lines) > ahead or self._over

    def peek(self, ahead: int = 0) -> str | None:
        """Return the next line, or that so many lines `ahead` of it, without taking it; None beyond
        the end.
        """
        while len(self._lines) <= ahead and not self._over:
            self._fill()
        return self._decoded(self._lines[ahead]) if len(self._lines) > ahead else None

    def _fill(self) -> None:
        text = next(self._texts, None)
        if text is None:
            self._over = True
            last = "".join(self._begun)
            self._take([last] if last else [])
            return
        self._returns += text.count("\r") - text.count("\r\n")
        if "\n" not in text:
            self._begun.append(text)
        else:
            lines = ("".join(self._begun) + text).split("\n")
            self._begun = [lines.pop()]
            self._take(lines)

    def _take(self, lines: list[str]) -> None:
        self._lines.extend(lines[(self._first - self._number) % self._step :: self._step])
        self._number += len(lines)


class Paragraphs:
    """The paragraphs of a text in order, lines between blank ones; of `shard` (k, n) every nth,
    from the kth on.

    The newlines inside stay, that of the last line does not. `ready` as for `Lines`.
    """

    def __init__(
        self, lines: Lines, shard: tuple[int, int] = (1, 1), decoded: Callable[[str], str] = str
    ) -> None:
        """Take all of `lines`; `decoded` is what to make of each paragraph."""
        self._lines, self._decoded = lines, decoded
        (first, self._step), self._count = shard, 0
        self._first = first - 1
        self._read = 0  # lines
        self._begun: list[str] = []  # lines of the paragraph whose end has not come
        self._whole: deque[tuple[int, str]] = deque()
        self._over = False

    @property
    def note(self) -> str | None:
        """As for `Lines`."""
        return self._lines.note

    def __iter__(self) -> Iterator[str]:
        return (text for _, text in self.numbered())

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield the paragraphs with the numbers of their first lines, from 1 on."""
        while True:
            while not self._whole and not self._over:
                self._take()
            if not self._whole:
                return
            number, text = self._whole.popleft()
            yield number, self._decoded(text)

    def ready(self) -> bool:
        """Return whether the next paragraph, or the end, is there already."""
        while not self._whole and not self._over and self._lines.ready():
            self._take()
        return bool(self._whole) or self._over

    def _take(self) -> None:
        line = next(self._lines, None)
        if line is not None and line.strip():
            self._begun.append(line)
        elif self._begun:
            if self._count % self._step == self._first:
                self._whole.append((self._read - len(self._begun) + 1, "\n".join(self._begun)))
            self._count, self._begun = self._count + 1, []
        self._over = line is None
        self._read += 1


InOrder = Lines | Paragraphs


def read_texts(texts: Iterator[str], kind: Kind) -> InOrder:
    """Return the lines, or the paragraphs, of a text given in pieces."""
    lines = Lines(texts, lambda: True)
    return Paragraphs(lines) if kind.newline else lines


def open_texts(
    path: str, encoding: str | None, kind: Kind, shard: tuple[int, int] = (1, 1),
    decoded: Callable[[str], str] = str, before_waiting: Callable[[], object] = lambda: None,
) -> InOrder:  # fmt: skip
    """Return the lines or the paragraphs of a file as `open_lines` does."""
    if kind.newline:
        return Paragraphs(open_lines(path, encoding, before_waiting=before_waiting), shard, decoded)
    return open_lines(path, encoding, shard, decoded, before_waiting)


def open_lines(
    path: str, encoding: str | None, shard: tuple[int, int] = (1, 1), decoded: Callable[[str], str] = str,
    before_waiting: Callable[[], object] = lambda: None,
) -> Lines:  # fmt: skip
    """Return the lines of a file, or those of `-` (standard input) or a pipe as they come, by `text_blocks`' rules.

    `before_waiting` is called each time the next line is not there yet. Raises MissingInputError, and on the way
    DataError and StorageError.
    """
    opened = _open(path, before_waiting)
    arrived = opened.arrived if isinstance(opened, Pipe) else lambda: True
    return Lines(iter(text_blocks(opened, encoding)), arrived, shard, decoded)


def _open(path: str, before_waiting: Callable[[], object]) -> TextFile | Pipe:
    if is_standard_input(path):
        return Pipe(standard_input(), "standard input", before_waiting, closes=False)
    try:
        passes = not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path)
        return Pipe(open(path, "rb", buffering=0), path, before_waiting) if passes else open_file(path)
    except OSError as error:
        raise MissingInputError(f"{path}: cannot be read: {error.strerror}") from error
