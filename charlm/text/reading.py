"""From a corpus file to text, a block at a time, so that memory does not grow with the corpus.

file -> `TextFile.blocks` bytes -> `text_blocks` characters -> `nonblank_lines`, `whole_words` -> a tokenizer
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import itertools
import os
import re
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

from charlm.config import path_given
from charlm.errors import NO_ACCESS, DataError, MissingInputError, StorageError, UsageError
from charlm.text.contents import HEAD, binary, compression, foreign, guessed_encoding, marked_encoding

BLOCK = 1 << 20  # bytes read at a time
LONGEST_WORD = 1 << 20  # characters without white space after which `whole_words` cuts all the same
_BYTES = "use a model of bytes (train it with --tokenizer byte)"
_WAY_OUT = f"name its encoding with --encoding, or {_BYTES}"
OLD_MAC = "more carriage returns alone than lines: where they end lines, as on an old Mac, use tr '\\r' '\\n' first"
_CHANGED = "changed while it was read: leave it alone meanwhile"
_BLANK_LINES = re.compile(r"\n\s*\n")  # with the end of the line before them
_DESCRIPTOR = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/(self|thread-self|\d+)(/task/\d+)?/fd/\d+")
_MOST_LINKS = 40  # as many as Linux follows
_UP_TO_LAST_SPACE = re.compile(r".*(?=\s)", re.DOTALL)


class Scratch:
    """An unlinked temporary file: it is gone with this object or with the process, however that ends."""

    def __init__(self) -> None:
        with _storing():
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes (StorageError)."""
        rest = memoryview(data).cast("B")
        with _storing():
            while rest:
                rest = rest[self._file.write(rest) :]

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly `count` bytes from byte `offset` on (StorageError)."""
        try:
            data = os.pread(self._file.fileno(), count, offset)
        except OSError as error:
            raise _storage_error(error) from error
        if len(data) != count:
            raise _storage_error(OSError(f"{len(data)} bytes came back instead of {count}"))
        return data

    def open(self) -> IO[bytes]:
        """Open the whole for reading from its beginning."""
        self._file.seek(0)
        return open(os.dup(self._file.fileno()), "rb")


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> StorageError:
    return StorageError(f"temporary file failed: {error.strerror or error}; free some space, or set TMPDIR")


class TextFile:
    """A corpus file that can be read again and again; `name` is what messages call it.

    It is read at the length that it had when it was opened, so that a log may grow meanwhile. Every reading to its
    end must give the same bytes, or the parts would be torn.
    """

    def __init__(self, name: str, spooled: Scratch | None = None, size: int | None = None) -> None:
        """Describe a file, of which `size` bytes are read: all, unless given."""
        self.name, self._spooled, self._size = name, spooled, size
        self.label: str | None = None  # of all its texts, where it is not the stem of the name
        self._read: dict[int, int] = {}  # by the size of blocks: a hash of what was read

    def __str__(self) -> str:
        return self.name

    def labelled(self, label: str) -> TextFile:
        """Return this file, with a label that all its texts have."""
        self.label = label
        return self

    @property
    def copied(self) -> bool:
        """Whether this is a copy of what can be read only once, standard input or a pipe."""
        return self._spooled is not None

    def head(self) -> bytes:
        """Return its first bytes, decompressed (errors as `blocks`)."""
        with self._opened() as file:
            return file.read(HEAD)

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """Yield its bytes, decompressed, at most `size` at a time (MissingInputError, DataError, StorageError)."""
        read = 0
        with self._opened() as file:
            while block := file.read(size):
                read = hash((read, block))
                yield block
        if self._read.setdefault(size, read) != read:
            raise DataError(f"{self.name}: {_CHANGED}")

    def digest(self) -> bytes:
        """Return what identifies its bytes, decompressed (errors as `blocks`)."""
        digest = hashlib.blake2b(digest_size=16)
        for block in self.blocks():
            digest.update(block)
        return digest.digest()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes] | _Limited]:
        with self._spooled.open() if self._spooled else _open(self.name) as file:
            limited = _Limited(file, self.name, self._size)
            compressed = compression(limited.read(HEAD))
            limited.rewind()
            if compressed is None:
                yield limited
                return
            try:
                with compressed.open(limited) as decompressed:
                    yield decompressed
            except ImportError:
                problem = f"this Python cannot unpack {compressed.name}: unpack it first"
                raise DataError(f"{self.name}: {problem}") from None
            except compressed.errors() as error:
                problem = f"damaged or cut-off {compressed.name} file ({error}); unpack it to see what is left"
                raise DataError(f"{self.name}: {problem}") from error


class _Limited(io.RawIOBase):
    """The first bytes of a file, so many as it had when it was opened."""

    def __init__(self, file: IO[bytes], name: str, size: int | None) -> None:
        self._file, self._name = file, name
        self._size = sys.maxsize if size is None else size
        self._missed = size is not None  # whether an earlier end is a loss
        self._left = self._size

    def rewind(self) -> None:
        self._file.seek(0)
        self._left = self._size

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        wanted = self._left if count < 0 else min(count, self._left)
        try:
            data = self._file.read(wanted)
        except OSError as error:
            raise StorageError(f"{self._name}: reading failed: {error.strerror}") from error
        if wanted and not data and self._missed:
            raise DataError(f"{self._name}: {_CHANGED}")
        self._left -= len(data)
        return data


def standard_input() -> IO[bytes]:
    """Return the bytes of standard input; raises MissingInputError where it is closed from the start."""
    stream: IO[bytes] | None = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise MissingInputError("standard input is closed: name a file")
    # At a terminal one Ctrl-D ends the text: a buffer would ask for more, and hide that there was an end.
    return getattr(stream, "raw", stream) if stream.isatty() else stream


def is_standard_input(path: str) -> bool:
    """Return whether a path is one of the names of standard input."""
    return path == "-" or (_descriptor(path) or "x").rpartition("/")[2] in ("stdin", "0")


def is_stream(path: str) -> bool:
    """Return whether what a path names can be read only once, or is another text the next time.

    That is standard input, any descriptor (a shell's `<(...)` is one), a named pipe or a terminal.
    """
    if path == "-" or _descriptor(path):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _descriptor(path: str) -> str | None:
    """Return the name of an open descriptor that a path stands for, itself or by links; None if it is none."""
    name = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        if _DESCRIPTOR.fullmatch(name):
            return name
        try:
            name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
        except (OSError, ValueError):
            return None
    return None


class Readable(Protocol):
    """Bytes by blocks; `name` is what messages call them."""

    @property
    def name(self) -> str: ...

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]: ...


def open_file(path: str | TextFile) -> TextFile:
    """Check that a file can be read; spool standard input (`-`) or a pipe, which can be read only once.

    What is open already stays so. Raises MissingInputError, StorageError.
    """
    if isinstance(path, TextFile):
        return path
    if is_standard_input(path):
        return TextFile("standard input", _spool(standard_input(), "standard input"))
    with _open(path) as file:
        about = os.fstat(file.fileno())
        if stat.S_ISREG(about.st_mode) and (about.st_size or not file.peek(1)):
            return TextFile(path, size=about.st_size)
        return TextFile(path, _spool(file, path))  # a pipe, or a file of the system, which tells no length


def check_file(path: str) -> None:
    """Check that a file can be opened, as `open_file` does, but leave what can be read only once alone."""
    if path_given("path", path) == "-":
        return
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise _unreadable(path, error) from error
    if regular:
        _open(path).close()


def _open(path: str) -> io.BufferedReader:
    try:
        return open(path_given("path", path), "rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> MissingInputError | StorageError:
    kind = MissingInputError if error.errno in NO_ACCESS else StorageError
    return kind(f"{path}: cannot be read: {error.strerror}")


def _spool(file: IO[bytes], name: str) -> Scratch:
    scratch = Scratch()
    reader = _Limited(file, name, None)
    while block := reader.read(BLOCK):
        scratch.write(block)
    return scratch


def text_blocks(file: Readable, encoding: str | None, size: int = BLOCK) -> Iterator[str]:
    """Yield the text of a file, with its BOM dropped and CRLF made LF; a lone CR stays.

    Encoding None takes bytes as they are: each becomes the code point of its value (Latin-1), so that all
    that comes after handles one kind of text. Raises UsageError for an unknown encoding, DataError with the
    offset of a byte that does not belong.
    """
    if encoding is None:
        return (block.decode("latin-1") for block in file.blocks(size))
    return _unix_newlines(_decoded(file, encoding, size))


def _decoded(file: Readable, encoding: str, size: int) -> Iterator[str]:
    decoder = _decoder(encoding)
    blocks = file.blocks(size)
    if isinstance(file, TextFile):
        head = file.head()
    else:
        head = next(blocks, b"")  # what has arrived of a stream
        blocks = itertools.chain([head], blocks)
    actual = encoding_of(head, file.name, encoding)
    if actual != encoding:
        encoding, decoder = actual, _decoder(actual)
    seen = 0
    for block in itertools.chain(blocks, [b""]):  # the empty block says that the file is over
        seen += len(block)
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset = seen - len(error.object) + error.start  # `object` is what the decoder had held back + block
            problem = f"byte 0x{error.object[error.start]:02x} at offset {offset} is not valid {encoding}"
            raise DataError(f"{file.name}: {problem} ({error.reason}); {_WAY_OUT}") from error
        except UnicodeError as error:
            raise DataError(f"{file.name}: not valid {encoding} ({error}); {_WAY_OUT}") from error


def encoding_of(head: bytes, name: str, encoding: str) -> str:
    """Return the encoding of a file that begins with `head`: as set, or for UTF-8 as a byte order mark tells.

    Raises DataError for what is no text, and for UTF-16 or UTF-32 where that was not set and no mark tells.
    """
    if found := foreign(head):
        raise DataError(f"{name}: is {found[0]}: {found[1]}")
    if "a\n".encode(encoding) != b"a\n":
        return encoding
    if (marked := marked_encoding(head)) and codecs.lookup(encoding).name.startswith("utf-8"):
        return marked
    if guess := guessed_encoding(head):
        raise DataError(f"{name}: looks like {guess[:6].upper()}: name it with --encoding {guess}")
    if binary(head):
        raise DataError(f"{name}: is binary, not text: give text, or {_BYTES}")
    return encoding


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        "a".encode(encoding)  # refuses what codecs.lookup lets pass: codecs from bytes to bytes, such as hex
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError):
        raise UsageError(f"unknown encoding {encoding!r}: try utf-8, utf-16, latin-1 or cp1252") from None


def _unix_newlines(texts: Iterable[str]) -> Iterator[str]:
    held = ""  # a CR at the end of a block, whose LF may come with the next
    first = True
    for text in texts:  # each gives one, an empty one too: who reads a pipe must not wait for more than that
        text, first = held + (text.removeprefix("\ufeff") if first else text), first and not text
        held = "\r" if text.endswith("\r") else ""
        yield text.removesuffix("\r").replace("\r\n", "\n")
    yield held


def nonblank_lines(texts: Iterable[str]) -> Iterator[str]:
    """Drop the lines that hold only white space and end every other one with a newline, the last too.

    Lines end at LF only. What is yielded may end inside a line.
    """
    begun = False  # inside a line that has shown something other than white space
    held = ""  # white space that may turn out to be a blank line
    for text in texts:
        text = _BLANK_LINES.sub("\n", held + text) if begun else _BLANK_LINES.sub("\n", f"\n{held}{text}")[1:]
        last = text[text.rfind("\n") + 1 :]
        begun = bool(last.strip()) or (begun and last == text)
        held = "" if begun else last
        yield text.removesuffix(held)
    if begun:
        yield "\n"


def whole_words(texts: Iterable[str]) -> Iterator[str]:
    """Cut a stream of text anew at line ends, or before white space where a line is longer than a block."""
    tail = ""
    for text in texts:
        text = tail + text
        cut = text.rfind("\n") + 1
        if not cut and (spaced := _UP_TO_LAST_SPACE.match(text)):
            cut = spaced.end()
        if len(text) - cut > LONGEST_WORD:
            cut = len(text)
        yield text[:cut]
        tail = text[cut:]
    yield tail
