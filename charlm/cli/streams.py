"""The standard streams of a command: the product arrives or the command says why, and messages never decide.

Standard error may be closed, full, a pipe that nobody reads or a terminal that has hung up: what is written there is
then lost, and the command goes on. Nothing that is written to a terminal drives it: control characters are pictures.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import select
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from charlm.errors import StorageError

# C0, DEL, C1, and lone surrogates: bytes that are no UTF-8, of which two may make up a C1 character.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # what follows is shown in another order than it is


_HALVES = "charlm.halves"  # what becomes of surrogates in the output


def _write_halves(error: UnicodeError) -> tuple[bytes, int]:
    """Write a surrogate that stands for a byte as that byte, and any other, which UTF-8 has not, as U+FFFD."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    halves = error.object[error.start : error.end]
    marked = "".join(half if 0xDC80 <= ord(half) <= 0xDCFF else "\ufffd" for half in halves)
    return marked.encode("utf-8", "surrogateescape"), error.end


codecs.register_error(_HALVES, _write_halves)


def visible(text: str, keep: str = "\n\t") -> str:
    """Return text with control characters, but for those to keep, as pictures: none of them drives a terminal."""
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else _picture(ord(found[0])), text)


def one_line(message: str) -> str:
    """Return a message as a single line that shows what it names in the order in which it is written."""
    return _REORDERING.sub("\ufffd", visible(message, keep=""))


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


class HadEnough(Exception):  # noqa: N818  (it is no error)
    """Who reads the product has closed the pipe and wants no more, which is no failure."""


class _Output(io.RawIOBase):
    """What lies below a stream of text: all bytes are written, however slow their reader is."""

    name = "standard stream"

    def __init__(self, raw: Any) -> None:
        self._raw = raw  # None where the stream was closed from the start

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._raw is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return self._raw is not None and bool(self._raw.isatty())

    def _write_all(self, data: Any) -> None:
        rest = memoryview(data).cast("B")
        if rest and self._raw is None:  # click tries a stream out with an empty text
            raise OSError(errno.EBADF, "it is closed")
        while rest:
            written = self._raw.write(rest)
            if written is None:  # a pipe that does not block its writer, and is full
                select.select([], [self._raw], [])
            else:
                rest = rest[written:]


class _Product(_Output):
    """Standard output: a failure is told once, and what is still held back after it is dropped."""

    _over = False

    def write(self, data: Any) -> int:
        if not self._over:
            try:
                self._write_all(data)
            except (BrokenPipeError, ConnectionResetError):
                self._over = True
                raise HadEnough from None
            except (OSError, ValueError) as error:  # ValueError: a caller from Python has closed it
                self._over = True
                raise StorageError(f"standard output: {getattr(error, 'strerror', None) or error}") from None
        return memoryview(data).nbytes


class _Lossy(_Output):
    """Standard error: what cannot be written is lost."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._write_all(data)
        return memoryview(data).nbytes


class _Text(io.TextIOWrapper):
    """Text in UTF-8 whatever the locale; bytes that came in as surrogates go out as they were."""

    replaced: Any = None  # the stream in whose place this one stands


class _Shown:
    """A stream whose text is made visible on its way; all else is as in the stream itself."""

    pictures = True

    def __init__(self, stream: Any, replaced: Any) -> None:
        self.stream, self.replaced = stream, replaced

    def write(self, text: str) -> int:
        self.stream.write(visible(text) if self.pictures else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Messages(_Shown):
    """A stream of messages: whatever becomes of it, its writer goes on."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def isatty(self) -> bool:
        return _is_terminal(self.stream)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """While open, sys.stdout and sys.stderr are streams as described above; afterwards the caller's own again."""
    _fill_closed_descriptors()
    with contextlib.ExitStack() as after:
        output = _opened(sys.stdout, sys.__stdout__, _Product, after)
        if _is_terminal(output):
            output = _Shown(output, _first(sys.stdout))
        _put("stdout", output, after)
        errors = _opened(sys.stderr, sys.__stderr__, _Lossy, after)
        _put("stderr", _Messages(errors, _first(sys.stderr)), after)
        yield


def bar_stream() -> Any:
    """Return standard error for a progress bar, which goes back to the beginning of its line."""
    stream = sys.stderr
    if not isinstance(stream, _Messages):
        return stream
    bar = _Messages(stream.stream, None)
    bar.pictures = False
    return bar


def let_controls_through() -> None:
    """Send control characters to the terminal as they are, from now on."""
    if isinstance(sys.stdout, _Shown):
        sys.stdout.pictures = False


def tell_what_is_awaited(what: str) -> None:
    """Say that a text is read from the keyboard, where it is: nothing else would."""
    if sys.stdin is not None and _is_terminal(sys.stdin):
        click.echo(f"charlm: reading {what} from the terminal; end it with Ctrl-D on a line of its own", err=True)


def _fill_closed_descriptors() -> None:
    """Put the null device where a standard stream is closed, so that no file of ours gets its number.

    The wrong way round, so that a product does not seem to be written, nor a text to be empty.
    """
    for number, way in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, way)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)


def _opened(stream: Any, at_start: Any, kind: type[_Output], after: contextlib.ExitStack) -> Any:
    """Return the interpreter's own stream anew, over an output of the given kind; a caller's is only set to UTF-8."""
    if _is_closed(stream):
        return _Text(kind(None), "utf-8", _HALVES, write_through=True)
    if stream is not at_start or not isinstance(stream, io.TextIOWrapper):
        _set_to_utf8(stream, after)
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    below = kind(getattr(stream.buffer, "raw", stream.buffer))
    if kind is _Lossy or stream.write_through:
        return _Text(below, "utf-8", _HALVES, write_through=True)
    buffer = io.BufferedWriter(below)
    return _Text(buffer, "utf-8", _HALVES, line_buffering=stream.line_buffering)


def _is_closed(stream: Any) -> bool:
    try:
        return stream is None or bool(getattr(stream, "closed", False))
    except ValueError:  # what was below it has been detached
        return True


def _set_to_utf8(stream: Any, after: contextlib.ExitStack) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    with contextlib.suppress(OSError, ValueError):
        before = {"encoding": stream.encoding, "errors": stream.errors}
        reconfigure(encoding="utf-8", errors=_HALVES)
        after.callback(_quietly, reconfigure, **before)


def _put(name: str, stream: Any, after: contextlib.ExitStack) -> None:
    before = _first(getattr(sys, name))
    if isinstance(stream, _Text):
        stream.replaced = before
    setattr(sys, name, stream)
    after.callback(_take_back, name, stream, before)


def _take_back(name: str, stream: Any, before: Any) -> None:
    """Put the caller's stream back, unless another thread's command has put its own there meanwhile."""
    with contextlib.suppress(OSError, ValueError, StorageError, HadEnough):
        stream.flush()
    if getattr(sys, name) is stream:
        setattr(sys, name, before)


def _first(stream: Any) -> Any:
    """Return what stood there before any command put its own stream in that place."""
    while isinstance(stream, _Shown | _Text):
        stream = stream.replaced
    return stream


def _quietly(function: Any, **arguments: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        function(**arguments)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False
