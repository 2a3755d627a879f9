"""Model files and training states: tensors and strings in the safetensors layout, signed and written whole.

A file is 8 bytes of little-endian header length, an ASCII JSON header padded with spaces to a multiple of 8,
and the tensors in name order, C order and little endian, without holes. A header has one spelling only (keys
sorted, no white space), so the same values always give the same bytes, and whatever `save` would not have
written can be refused. `charlm.sha256` in the metadata is the SHA-256 of the whole file taken with its own 64
digits as '0'; it is checked before anything else in the file is believed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charlm.errors import NO_ACCESS, DataError, DivergedError, MissingInputError, OutputError, StorageError

FORMAT_KEY = "charlm.format"  # of the metadata: 2 where a model has what an older charlm would not know
FORMATS = ("1", "2")

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U16": "<u2", "U8": "|u1"}
_CODES = {np.dtype(text): code for code, text in _DTYPES.items()}

_MAX_HEADER = 100_000_000  # bytes, the layout's own limit
_MAX_AXES = 32  # what the oldest supported NumPy takes
_MAX_ITEMS = 2**60  # 8 bytes each: NumPy's limit, in which it counts an empty axis as 1

_ZEROS = b"0" * 64
# No text in the header can pass for this key. Inside a JSON string every quote has a backslash before it, so
# a quote after a comma either opens a string, or closes one that ends in a comma; and no letter follows a
# closing quote. The comma is always there: `charlm.format` is in every file and sorts before.
_DIGEST_KEY = b',"charlm.sha256":"'

_NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_FSYNC_OF_DIRECTORIES = _NO_FSYNC | {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTTY}

_FOREIGN = "its header is not one that charlm writes: give a file as charlm wrote it"

FilePath = str | os.PathLike[str]
Content = tuple[dict[str, NDArray[Any]], dict[str, str]]  # tensors and metadata
Entry = dict[str, Any]  # of a tensor in the header: dtype, shape, data_offsets


def save(path: FilePath, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write tensors (float32, float64, int64, int32, uint16, uint8; any shape) and metadata, whole or not at all.

    The format is 1 unless the metadata says otherwise.
    Raises DivergedError, before anything is written, where a tensor holds NaN or infinity; OutputError where
    the file cannot be created; StorageError where writing it fails.
    """
    arrays = {name: _little_endian(tensors[name]) for name in sorted(tensors)}
    for name, array in arrays.items():
        if not _finite(array):
            raise DivergedError(f"tensor {name} is not finite, so nothing was saved: train with a lower lr")
    entries = _entries({name: (_CODES[array.dtype], array.shape) for name, array in arrays.items()})
    unsigned = _encode(entries, {FORMAT_KEY: FORMATS[0], **metadata, "charlm.sha256": _ZEROS.decode()})
    prefix = len(unsigned).to_bytes(8, "little")
    data = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    header = _with_digest(unsigned, _sha256(prefix, unsigned, *data))
    with replacing(path) as file:
        file.write(prefix + header)
        file.writelines(data)


def load(path: FilePath) -> Content:
    """Return the tensors of a file (writable, mostly views on one buffer) and its metadata without digest.

    Raises MissingInputError where the file cannot be opened, StorageError where reading it fails, and
    DataError where it is damaged, written by a newer charlm, or none of charlm's.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # asked first: to open a named pipe would wait for its writer
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise DataError("a pipe or a device, not a file: write the model to a file and give that")
        with open(path, "rb") as file:
            header, data = _read(file)
        entries, metadata = _parse(header)
        return _tensors(entries, data), metadata
    except OSError as error:
        if error.errno in NO_ACCESS:
            raise MissingInputError(f"cannot open {path}: {error.strerror}; give a model's path") from None
        raise StorageError(f"reading {path} failed: {error.strerror}; try a copy on another disk") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def metadata(path: FilePath) -> dict[str, str]:
    """Return the metadata of a file, its tensors unread and its digest unchecked (DataError, OSError)."""
    return _parse(_header(path))[1]


def is_signed(path: FilePath) -> bool:
    """Return whether a file's header names `charlm.format`, however damaged the rest may be (OSError)."""
    header = _header(path)
    return header.startswith(b"{") and b'"charlm.format":' in header


def write_text(path: FilePath, text: str) -> None:
    """Write a text file in UTF-8 as `write_bytes` does."""
    # the name of a file need not be UTF-8: it keeps its bytes
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: FilePath, data: bytes) -> None:
    """Write a file, whole or not at all; raises OutputError and StorageError as `save` does."""
    with replacing(path) as file:
        file.write(data)


def _header(path: FilePath) -> bytes:
    """Return as much of a header as there is."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length) if length <= _MAX_HEADER else b""


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _entries(layout: Mapping[str, tuple[str, Sequence[int]]]) -> dict[str, Entry]:
    """Return the header's entries of tensors with these type codes and shapes, end to end in name order."""
    entries, end = {}, 0
    for name, (code, shape) in sorted(layout.items()):
        start, end = end, end + math.prod(shape) * np.dtype(_DTYPES[code]).itemsize
        entries[name] = {"dtype": code, "shape": shape, "data_offsets": (start, end)}
    return entries


def _encode(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """Return the one spelling of a header."""
    text = json.dumps({**entries, "__metadata__": metadata}, sort_keys=True, separators=(",", ":"))
    return text.encode("ascii") + b" " * (-len(text) % 8)


def _with_digest(header: bytes, digits: bytes) -> bytes:
    start = header.index(_DIGEST_KEY) + len(_DIGEST_KEY)
    return header[:start] + digits + header[start + len(_ZEROS) :]


def _sha256(*parts: bytes | bytearray | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def _read(file: io.BufferedReader) -> tuple[bytes, bytearray]:
    """Return header and tensor bytes of a file whose digest fits; raises DataError for any other."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise DataError("cut short, or not a charlm model: copy the file again, or train anew")
    header = file.read(length)
    if header.count(_DIGEST_KEY) != 1:
        raise DataError("not a charlm model, or rewritten by another program: give a file as charlm wrote it")
    data = bytearray(size - 8 - length)
    file.readinto(data)
    if header != _with_digest(header, _sha256(prefix, _with_digest(header, _ZEROS), data)):
        raise DataError("damaged, its charlm.sha256 does not fit: copy the file again, or train anew")
    return header, data


def _parse(header: bytes) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return entries and metadata of a header; raises DataError unless `save` would spell them the same.

    That one comparison finds wrong offsets, overlaps, holes, double or extra keys, numbers like 1.0 or NaN.
    """
    try:
        content = json.loads(header)
    except (ValueError, RecursionError):
        raise DataError(_FOREIGN) from None
    match content:
        case {"__metadata__": {"charlm.format": str(version)}} if version not in FORMATS:
            raise DataError("written by a newer charlm: update charlm to read it")
        case {"__metadata__": {"charlm.format": str()}}:
            metadata = content.pop("__metadata__")
            texts = all(isinstance(text, str) for text in metadata.values())
            if texts and all(map(_is_entry, content.values())):
                entries = _entries({name: (its["dtype"], its["shape"]) for name, its in content.items()})
                if _encode(entries, metadata) == header:
                    del metadata["charlm.sha256"]
                    return entries, metadata
    raise DataError(_FOREIGN)


def _is_entry(entry: object) -> bool:
    """Say whether a value of the header has a known type and a shape that NumPy can take."""
    match entry:
        case {"dtype": str(code), "shape": list(shape)} if code in _DTYPES and len(shape) <= _MAX_AXES:
            whole = all(type(n) is int and n >= 0 for n in shape)
            return whole and math.prod(max(n, 1) for n in shape) < _MAX_ITEMS
    return False


def _tensors(entries: Mapping[str, Entry], data: bytearray) -> dict[str, NDArray[Any]]:
    if len(data) != max((entry["data_offsets"][1] for entry in entries.values()), default=0):
        raise DataError("its tensors do not fill the file: give a file as charlm wrote it")
    buffer, tensors = np.frombuffer(data, np.uint8), {}
    for name, entry in entries.items():
        array = buffer[slice(*entry["data_offsets"])].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if not _finite(array):
            raise DataError(f"tensor {name!a} is not finite: train anew")
        tensors[name] = np.require(array, array.dtype.newbyteorder("="), "A")  # a copy where not aligned
    return tensors


@contextmanager
def replacing(path: FilePath) -> Iterator[BinaryIO]:
    """Yield a new file beside `path` that takes its name once its bytes are on the disk, else is removed."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with storing(path):
            with open(beside, "xb") as file:
                yield file
                file.flush()
                _sync(file.fileno(), _NO_FSYNC)
            os.replace(beside, target)
            sync_directory(target.parent)
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def storing(path: FilePath) -> Iterator[None]:
    """Tell of an OSError inside as OutputError where `path` cannot be written to, else as StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ACCESS:
            raise OutputError(f"cannot write to {path}: {error.strerror}; choose another place") from None
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some space there" if full else "choose another disk"
        raise StorageError(f"writing {path} failed: {error.strerror or error}; {advice}") from None


def sync_directory(path: FilePath) -> bool:
    """Make a renaming last through a power cut; return whether this file system can (OSError: it failed)."""
    if os.name != "posix":  # a directory cannot be opened
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # it may be written to, not read
        return False
    try:
        return _sync(descriptor, _NO_FSYNC_OF_DIRECTORIES)
    finally:
        os.close(descriptor)


def _sync(descriptor: int, unable: set[int]) -> bool:
    """Flush to the disk; return False where the error is one of a file system that cannot."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in unable:
            raise
        return False
    return True
