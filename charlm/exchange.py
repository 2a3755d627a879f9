"""How a new run takes the place of an older one as a whole: built apart, and exchanged under a marker.

A run's first save is built in `.charlm-new`. Its renaming to `.charlm-ready` is the moment from which the new run
stands; then its files move out, over the older ones. Whatever a crash leaves, the next opening undoes (`.charlm-new`)
or finishes (`.charlm-ready`), and who can only read takes the files of `.charlm-ready` before those beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from charlm import checkpoint
from charlm.errors import CharlmError, MissingInputError
from charlm.lock import Lock
from charlm.ownership import FILES, MODEL_FILE, NEW, READY, RESUME_FILE, free_name, is_charlms, refuse_foreign


def begin(directory: Path) -> Path:
    """Make and return the place in which a first save is built (OutputError, StorageError)."""
    place = directory / NEW
    with checkpoint.storing(place):
        place.mkdir()
    return place


def commit(directory: Path) -> None:
    """Put what was built in the place of what stands in a directory (OutputError, StorageError)."""
    with checkpoint.storing(directory):  # each file of it was flushed, and the directory after each
        os.rename(directory / NEW, directory / READY)
        checkpoint.sync_directory(directory)
        _move_out(directory)


def recover(directory: Path) -> None:
    """Under the lock: remove what was not complete, finish what was (OutputError, StorageError)."""
    with checkpoint.storing(directory):
        undo(directory)
        if is_charlms(directory / READY):
            _move_out(directory)


def undo(directory: Path) -> None:
    """Remove a first save that is not complete (OSError)."""
    place = directory / NEW
    if is_charlms(place):
        for name in sorted(os.listdir(place), key=_position):
            os.unlink(place / name)
        os.rmdir(place)


def finish(directory: Path) -> None:
    """Finish an exchange that a crash interrupted, where that can be done now; any reader may."""
    if not os.path.lexists(directory / READY):
        return
    lock = Lock(directory)
    with contextlib.suppress(OSError, CharlmError):  # busy, or may not write: `load` reads through
        refuse_foreign(directory)
        lock.acquire()
        if lock.guarded and is_charlms(directory / READY):
            _move_out(directory)
    lock.release()


def current(path: Path) -> Path:
    """Return where the file of a run at `path` is: in its place, or waiting to be moved there."""
    waiting = path.parent / READY / path.name
    return waiting if os.path.lexists(waiting) and is_charlms(waiting.parent) else path


def load(path: Path) -> checkpoint.Content:
    """Return what `checkpoint.load` does, of the newest run that stands whole."""
    finish(path.parent)
    try:
        return checkpoint.load(current(path))
    except MissingInputError:  # moved to its place between the two calls
        return checkpoint.load(path)


def _move_out(directory: Path) -> None:
    place = directory / READY
    for name in sorted(os.listdir(place), key=_position):
        target = directory / name
        if name == MODEL_FILE and _run_of(place / name) != _run_of(directory / RESUME_FILE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(directory / RESUME_FILE)  # of an older run: a model without a network has no state
        os.replace(place / name, target if name in FILES else free_name(target))
    checkpoint.sync_directory(directory)
    os.rmdir(place)


def _run_of(path: Path) -> str | None:
    """Return the id of the run that a model or a state is of, None where it does not say."""
    try:
        run = json.loads(checkpoint.metadata(path)["charlm.training"]).get("run")
    except (OSError, CharlmError, LookupError, ValueError, AttributeError):
        return None
    return run if isinstance(run, str) else None


def _position(name: str) -> int:
    """Return when a file leaves: the model last, by which the others are known to be charlm's."""
    return FILES.index(name) if name in FILES else -1
