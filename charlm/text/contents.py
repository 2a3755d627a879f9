"""What a file holds, by its first bytes and whatever its name: compressed text, text of another encoding, no text."""

from __future__ import annotations

import codecs
import importlib
import re
import zlib
from dataclasses import dataclass
from typing import IO, Any

HEAD = 4096  # bytes that are looked at

_ARCHIVE = "unpack it, and give the text files in it"
_CONVERT = "save it as plain text (UTF-8)"
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (  # offset, bytes there, what it is, what to do
    (0, b"\x1f\x8b\x08", "gzip data", "unpack it"),
    (0, b"\xfd7zXZ\0", "xz data", "unpack it"),
    (0, b"BZh", "bzip2 data", "unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", "unpack it first (zstd -d)"),
    (0, b"\x04\x22\x4d\x18", "lz4 data", "unpack it first (lz4 -d)"),
    (0, b"LZIP\x01", "lzip data", "unpack it first (lzip -d)"),
    (0, b"\x1f\x9d", "compress data (.Z)", "unpack it first (uncompress)"),
    (0, b"PK\x03\x04", "a zip archive", _ARCHIVE),
    (0, b"PK\x05\x06", "an empty zip archive", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _ARCHIVE),
    (0, b"Rar!\x1a\x07", "a rar archive", _ARCHIVE),
    (257, b"ustar\0", "a tar archive", _ARCHIVE),
    (257, b"ustar  \0", "a tar archive", _ARCHIVE),
    (0, b"%PDF-", "a PDF", "take its text out first (pdftotext)"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", _CONVERT),
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file", "fetch it with git lfs pull"),
    (0, b"SQLite format 3\0", "an SQLite database", "write its text to a file"),
    (0, b"PAR1\x15", "a Parquet table", "write its text to a file"),
    (0, b"ARROW1\0", "an Arrow table", "write its text to a file"),
    (0, b"\x93NUMPY", "a NumPy array", "write its text to a file"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 data", "write its text to a file"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", "give text files"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give text files"),
    (0, b"GIF87a", "a GIF picture", "give text files"),
    (0, b"GIF89a", "a GIF picture", "give text files"),
    (0, b"\x7fELF", "a program", "give text files"),
)
_ZIPPED = (  # in the first bytes of a zip archive
    (b"application/epub+zip", "an EPUB book"),
    (b"application/vnd.oasis.opendocument", "an OpenDocument file (odt)"),
    (b"word/", "a Word document (docx)"),
    (b"xl/", "an Excel workbook (xlsx)"),
    (b"ppt/", "a PowerPoint presentation (pptx)"),
    (b"[Content_Types].xml", "an Office document (docx, xlsx or pptx)"),
)
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)")
_SAFETENSORS = re.compile(rb".{6}\0\0\{\s*\"", re.DOTALL)  # a length in 8 bytes, and an object
_MARKUP = (
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", re.IGNORECASE), "HTML"),
    (re.compile(rb"\{\\rtf"), "RTF"),
)
_MARKS = (  # byte order marks; that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_COMMON = re.compile("[\t\n\r -~\u3000-\u3002\uff01-\uff5e]")  # rare where the order of the bytes is wrong
_CONTROL = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_FEW_NULS, _MANY_NULS = 0.01, 0.4  # of the bytes: a text may have some, left by a crash; UTF-16 has many
_MANY_CONTROLS = 0.05  # of the bytes: text in any encoding has fewer, compressed or random bytes have twice as many
_FEW_COMMON, _MORE = 0.02, 4  # the share of common characters in wide text, and how much the other order has less


@dataclass(frozen=True)
class Compression:
    """A way of compression that Python can undo, and the module that does."""

    name: str
    module: str

    def open(self, file: Any) -> IO[bytes]:
        """Return a reader of what is compressed in a file, in all its members (ImportError where Python lacks it)."""
        reader: IO[bytes] = importlib.import_module(self.module).open(file)
        return reader

    def errors(self) -> tuple[type[Exception], ...]:
        """Return what the reader raises where the file is damaged or cut off."""
        own = getattr(importlib.import_module(self.module), "LZMAError", EOFError)
        return OSError, EOFError, zlib.error, own


def compression(head: bytes) -> Compression | None:
    """Return how data that begin so are compressed, None where they are not."""
    if head.startswith(b"\x1f\x8b\x08"):
        return Compression("gzip", "gzip")
    if head.startswith(b"\xfd7zXZ\0"):
        return Compression("xz", "lzma")
    return Compression("bzip2", "bz2") if _BZIP2.match(head) else None


def marked_encoding(head: bytes) -> str | None:
    """Return the encoding that a byte order mark tells, None for that of UTF-8 or none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def guessed_encoding(head: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 that data which begin so look like, None for others.

    They hold NUL bytes and decode to text without control characters, in which spaces, Latin letters and stops are
    more frequent than in the other order of the bytes.
    """
    if 0 not in head:
        return None
    shares = {encoding: _common_share(head, encoding) for encoding in _WIDE}
    for encoding in _WIDE:
        other = shares[encoding[:-2] + ("be" if encoding.endswith("le") else "le")]
        if shares[encoding] > max(_FEW_COMMON, _MORE * other) and not _parted_by_nuls(head, encoding):
            return encoding
    return None


def _common_share(head: bytes, encoding: str) -> float:
    text = _decoded(head, encoding)
    if text is None or _CONTROL.search(text) or (len(head) < HEAD and len(head) % (int(encoding[4:6]) // 8)):
        return 0.0
    return len(_COMMON.findall(text)) / max(1, len(text))


def _parted_by_nuls(head: bytes, encoding: str) -> bool:
    """Tell whether the data are rather UTF-8 whose pieces NUL bytes part: few, and the line ends whole without."""
    narrow, wide = _decoded(head, "utf-8"), _decoded(head, encoding)
    if narrow is None or wide is None or _CONTROL.search(narrow.replace("\0", "")):
        return False
    return head.count(0) < _MANY_NULS * len(head) and 2 * wide.count("\n") <= narrow.count("\n")


def _decoded(head: bytes, encoding: str) -> str | None:
    """Return the text of the first bytes of a file, where the last character may be cut off; None for an error."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None


def foreign(head: bytes) -> tuple[str, str] | None:
    """Return what data that begin so are and what to do about them, where they are of a kind that is no text."""
    for offset, magic, kind, advice in _KINDS:
        if head.startswith(magic, offset) and (magic != b"BZh" or _BZIP2.match(head)):
            zipped = (name for mark, name in _ZIPPED if mark in head) if magic.startswith(b"PK") else iter(())
            name = next(zipped, None)
            return (name, _CONVERT) if name else (kind, advice)
    if _SAFETENSORS.match(head):
        return "a safetensors file", "give text files; a model goes with -m or --init-from"
    return None


def binary(head: bytes) -> bool:
    """Tell whether data that begin so are no text: NUL bytes alone, or with control characters or wrong UTF-8.

    NUL bytes may part the pieces of a text, or be left in it by a crash.
    """
    if head.count(0) <= _FEW_NULS * len(head):
        return False
    text = _decoded(head, "utf-8")
    return text is None or not text.strip("\0") or _CONTROL.search(text.replace("\0", "")) is not None


def markup(head: bytes) -> str | None:
    """Return the markup language that data which begin so are written in, if its marks would be learnt as text."""
    return next((name for pattern, name in _MARKUP if pattern.match(head)), None)


def is_text(head: bytes) -> bool:
    """Tell whether data that begin so are text of any encoding, or stand for it and are missed if left out."""
    found = foreign(head)
    if found:
        return "Git LFS" in found[0]
    return bool(marked_encoding(head) or guessed_encoding(head)) or not (binary(head) or _unreadable(head))


def _unreadable(head: bytes) -> bool:
    """Tell whether data that begin so are text in no encoding: no UTF-8, and many control characters."""
    controls = _CONTROL.findall(head.decode("latin-1"))
    return len(controls) > _MANY_CONTROLS * len(head) and _decoded(head, "utf-8") is None
