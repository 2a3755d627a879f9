"""Files that a command is asked to write: none is replaced unasked, and each is written whole or
not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from charlm.errors import OutputError


def check_free(path: str, force: bool) -> None:
    """Raise OutputError where a file stands that must not be replaced; a pipe or a device is
    written into."""
    from charlm import checkpoint
    from charlm.ownership import is_model

    with checkpoint.storing(path):
        if not os.path.lexists(path) or _is_device(path):
            return
        if os.path.isdir(path):
            raise OutputError(f"{path} is a directory: name a file in it")
        if is_model(Path(path)):
            raise OutputError(f"{path} is a model of charlm's: choose another name")
    if not force:
        raise OutputError(
            f"{path} is there already: choose another name, or replace it with --force"
        )


def _is_device(path: str) -> bool:
    """Return whether what stands at a path takes bytes and keeps none: a pipe or a device."""
    if not os.path.exists(path):
        return False
    mode = os.stat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """Open a file to be written, which stands there once all is written and not before; a pipe or a
    device takes what comes (OutputError, StorageError)."""
    from charlm import checkpoint

    with checkpoint.storing(path):
        opened = open(path, "wb") if _is_device(path) else checkpoint.replacing(path)  # noqa: SIM115
        with opened as file:
            yield file
