"""The directory of a training run: its lock, its log, its settings as TOML, and what may be overwritten."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from charlm import checkpoint, exchange
from charlm.config import path_given
from charlm.errors import DataError, OutputError
from charlm.lock import Lock
from charlm.model_files import parse
from charlm.ownership import (
    CONFIG_FILE,
    LOG_FILE,
    MODEL_FILE,
    RESUME_FILE,
    free_name,
    is_log_entry,
    refuse_foreign,
)  # fmt: skip
from charlm.settings_file import to_toml


class Directory:
    """The directory of a run: locked while open, refusing to overwrite what nobody asked it to.

    A new run writes nothing there before its first save is complete: `place` is where its files go until then.
    """

    def __init__(self, path: str | os.PathLike[str], force: bool = False) -> None:
        self.path, self._force = Path(path_given("path", path)), force
        self.notes: list[str] = []
        self._lock = Lock(self.path)
        self._made: list[Path] = []  # directories that were not there before, from the top
        self._place: Path | None = None
        self._stands = False  # whether this run is the one in the directory
        self._saved = False
        self._config = ""
        self._written: list[bytes] = []  # the lines of the settings of the run that stands here
        self._waiting: list[str] = []  # log lines of a run that does not stand yet

    def __enter__(self) -> Self:
        """Open (OutputError, BusyError, StorageError), with nothing touched where that fails."""
        with checkpoint.storing(self.path):
            _refuse_what_is_no_directory(self.path)
        refuse_foreign(self.path)
        try:
            with checkpoint.storing(self.path):
                self._make()
                self._lock.acquire()
                synced = checkpoint.sync_directory(self.path)
            exchange.recover(self.path)
        except BaseException:
            self.__exit__()
            raise
        self._note_what_is_missing(synced)
        return self

    def __exit__(self, *_: object) -> None:
        """Let others in; of a run that never stood here, leave no trace. The error that ended it is not replaced."""
        if self._place is not None:
            with contextlib.suppress(OSError):
                exchange.undo(self.path)
        self._lock.release()
        for made in [] if self._stands else reversed(self._made):
            with contextlib.suppress(OSError):
                made.rmdir()

    def _make(self) -> None:
        above = [self.path, *self.path.parents]
        for path in reversed([path for path in above if not path.exists()]):
            with contextlib.suppress(FileExistsError):  # made by somebody else in this moment; or it is a/..
                path.mkdir()
                self._made.append(path)
                checkpoint.sync_directory(path.parent)

    def _note_what_is_missing(self, synced: bool) -> None:
        missing = [] if self._lock.guarded else ["locks, so a second trainer there is not noticed"]
        if not synced:
            missing.append("fsync of directories, so a power cut may undo the last save")
        if missing:
            self.notes.append(f"note: the file system of {self.path} has no {', and no '.join(missing)}")

    def refuse_existing(self) -> None:
        """Raise OutputError where a model or a run stands that would be lost."""
        for name in (MODEL_FILE, RESUME_FILE):
            if (self.path / name).exists() and not self._force:
                raise OutputError(
                    f"{self.path / name} exists: go on with --resume, replace it with --force, or choose another -m"
                )

    def edits(self, settings: Mapping[str, Any]) -> list[str]:
        """Take a run's settings; return a line for each file here that was edited by hand and is to be replaced."""
        self._config, self._written = to_toml(settings), _settings_of(self.path)
        return [
            f"{self.path / name} is not as charlm wrote it: kept as {free_name(self.path / name).name} "
            "at this run's first save"
            for name in (CONFIG_FILE, LOG_FILE)
            if self._was_edited(name)
        ]

    def go_on(self, step: int) -> None:
        """Take up the run that stands here, its log cut back to `step`."""
        self._stands = True
        self._keep_edited(LOG_FILE)
        log = self.path / LOG_FILE
        checkpoint.write_text(log, "".join(_entries_until(log, step)))

    def place(self) -> Path:
        """Return the directory that model and state are to be written to."""
        if not self._stands and self._place is None:
            self._place = exchange.begin(self.path)
        return self._place or self.path

    def saved(self) -> None:
        """Model and state have been written: a new run now takes the place of what was here."""
        if self._saved:
            return
        self._keep_edited(CONFIG_FILE)
        checkpoint.write_text(self.place() / CONFIG_FILE, self._config)
        if not self._stands:
            self._keep_edited(LOG_FILE)
            checkpoint.write_text(self.place() / LOG_FILE, "".join(self._waiting))
            refuse_foreign(self.path)  # somebody may have put a file there in the meantime
            exchange.commit(self.path)
        self._place, self._stands, self._saved = None, True, True

    def log(self, line: str) -> None:
        """Append a line to the log."""
        if not self._stands:
            self._waiting.append(line + "\n")
            return
        log = self.path / LOG_FILE
        with checkpoint.storing(log), open(log, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _was_edited(self, name: str) -> bool:
        path = self.path / name
        if not path.exists():
            return False
        if name == LOG_FILE:
            with open(path, "rb") as log:
                return any(map(_is_foreign_line, log))
        content = path.read_bytes()
        return content != self._config.encode("utf-8", "surrogateescape") and self._written != sorted(
            content.splitlines()
        )

    def _keep_edited(self, name: str) -> None:
        """Put a copy of what its owner edited beside what is to replace it."""
        if self._was_edited(name):
            copy = self.place() / free_name(self.path / name).name
            checkpoint.write_bytes(copy, (self.path / name).read_bytes())


def _refuse_what_is_no_directory(path: Path) -> None:
    """Raise OutputError where a directory of a run is a file, or a link to nothing."""
    if path.is_dir() or not os.path.lexists(path):
        return
    if not path.exists():
        what = f"{path} is a link to {os.readlink(path)}, which is not there"
        raise OutputError(f"cannot write to {path}: {what}; choose another directory with -m")
    advice = f"give its directory, -m {path.parent}" if path.suffix == ".safetensors" else "choose another with -m"
    raise OutputError(f"cannot write to {path}: it is a file, not the directory of a run; {advice}")


def _settings_of(directory: Path) -> list[bytes]:
    """Return the sorted lines of the settings that the run in a directory wrote; none where they cannot be known."""
    try:
        settings = parse(checkpoint.metadata(directory / RESUME_FILE), "charlm.resume")["settings"]
        return sorted(to_toml(settings).encode("utf-8", "surrogateescape").splitlines())
    except (OSError, DataError, LookupError, TypeError, AttributeError):
        return []


def _is_foreign_line(line: bytes) -> bool:
    """Return whether somebody wrote a line into a log: it is no entry, nor what a crash leaves of one."""
    torn = not line.endswith(b"\n") or not line.strip(b"\0\n")
    return not torn and not line.startswith(b'{"step": ')  # of a million lines each need not be parsed


def seconds_at(model: str | os.PathLike[str], facts: Mapping[str, Any]) -> float | None:
    """Return how long a model's run had trained when it was saved, as the log beside it says; None without one.

    The log of another run is known by another loss at that step; a model without a loss takes the last line before.
    """
    path, step, loss = Path(model), facts.get("step"), facts.get("valid_nats")
    log = exchange.current((path if path.is_dir() else path.parent) / LOG_FILE)
    if type(step) is not int:
        return None
    with contextlib.suppress(OSError):
        last = None
        for line in _entries_until(log, step):
            last = line
        entry = json.loads(last or "null")
        if is_log_entry(last or "") and loss in (None, entry["valid_nats"]):
            return float(round(entry["seconds"], 1))
    return None


def _entries_until(log: Path, step: int) -> Iterator[str]:
    """Yield the log's lines up to a step, and none from a damaged one on, such as a crash may leave."""
    if not log.exists():
        return
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                if json.loads(line)["step"] > step:
                    return
            except (ValueError, TypeError, LookupError, RecursionError):
                return
            yield line
