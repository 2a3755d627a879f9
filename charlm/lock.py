"""The lock of a run's directory: one trainer at a time, where the file system has locks."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from charlm.errors import BusyError

try:
    import fcntl
except ImportError:  # Windows: two trainers in one directory are not noticed there
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"

_LONGEST = 32  # bytes: more than any process id has digits
_ATTEMPTS = 10  # some network drives number a file anew at each look, which must not go on for ever


class Lock:
    """The lock of one directory, which its `.lock` file holds; `guarded` says whether it shuts others out."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._descriptor: int | None = None
        self._made = False
        self._before = b""
        self.guarded = True

    def acquire(self) -> None:
        """Take the lock or raise BusyError; where there are no locks, go on without (OSError: no such file)."""
        for left in reversed(range(_ATTEMPTS)):
            descriptor = self._open()
            try:
                self._take(descriptor)
            except BusyError:
                os.close(descriptor)
                raise
            if not left or self._is_the_file(descriptor):
                break
            os.close(descriptor)  # its last owner removed it between our two calls
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the process id is there for messages alone
            self._before = os.pread(descriptor, _LONGEST, 0)
            _fill(descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        """Leave the directory as it was found, and let others in."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if self._made:
                os.unlink(self._path)  # while we hold it: who opened it meanwhile sees that it is gone
            else:
                _fill(self._descriptor, self._before)
        os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        mode = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self._path, mode | os.O_CREAT | os.O_EXCL, 0o666)
            self._made = True
            return descriptor
        return os.open(self._path, mode | os.O_CREAT, 0o666)  # its owner may remove it in this moment

    def _take(self, descriptor: int) -> None:
        if fcntl is None:
            self.guarded = False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                self.guarded = False  # a network drive or a container without locks
                return
            owner = os.pread(descriptor, _LONGEST, 0).decode("ascii", "replace").strip()
            raise BusyError(
                f"{self._path.parent} is in use by another trainer (process {owner or 'unknown'}): "
                "wait, or choose another -m"
            ) from None

    def _is_the_file(self, descriptor: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        return False


def _fill(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
