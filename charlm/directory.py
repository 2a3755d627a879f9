"""The directory of a training run: its lock, its log, its settings as TOML, and what may be overwritten."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from charlm import checkpoint
from charlm.errors import BusyError, OutputError, StorageError
from charlm.model import MODEL_FILE

try:
    import fcntl
except ImportError:  # Windows: two trainers in one directory are not noticed there
    fcntl = None  # type: ignore[assignment]

RESUME_FILE, LOG_FILE, CONFIG_FILE, LOCK_FILE = "resume.safetensors", "log.jsonl", "config.toml", ".lock"


class Directory:
    """The directory of a run: locked while open, refusing to overwrite what nobody asked it to."""

    def __init__(self, path: str | os.PathLike[str], force: bool = False) -> None:
        self.path, self._force = Path(path), force
        self._lock: int | None = None
        self._made = self._begun = False
        self._config = ""
        self._waiting: list[str] = []  # log lines held back until the older run may go

    def __enter__(self) -> Self:
        try:
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write to {self.path}: {error.strerror}; choose another with -m") from None
        self._acquire(self._lock)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
        if self._made and not self._begun:  # nothing came of it: leave no trace
            (self.path / LOCK_FILE).unlink(missing_ok=True)
            self.path.rmdir()

    def _acquire(self, lock: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
            raise BusyError(
                f"{self.path} is in use by another trainer (process {owner}): wait, or choose another -m"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())

    def refuse_existing(self) -> None:
        """Raise OutputError where a model or a run stands that would be lost."""
        for name in (MODEL_FILE, RESUME_FILE):
            if (self.path / name).exists() and not self._force:
                raise OutputError(
                    f"{self.path / name} exists: go on with --resume, replace it with --force, or choose another -m"
                )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make ready for a new run's files; where an older run stands, its own first save will."""
        self._config = to_toml(settings)
        if not any((self.path / name).exists() for name in (MODEL_FILE, RESUME_FILE)):
            self.before_save()

    def go_on(self, settings: Mapping[str, Any], step: int) -> None:
        """Take up the run that stands here, its log cut back to `step`."""
        log = self.path / LOG_FILE
        checkpoint.write_text(log, "".join(_entries_until(log, step)))
        checkpoint.write_text(self.path / CONFIG_FILE, to_toml(settings))
        self._begun = True

    def before_save(self) -> None:
        """Remove an older run's files and write the settings, once, when the first file of this run is due."""
        if self._begun:
            return
        with _storing(self.path):
            for name in (RESUME_FILE, LOG_FILE):
                (self.path / name).unlink(missing_ok=True)
        checkpoint.write_text(self.path / CONFIG_FILE, self._config)
        self._begun = True
        for line in self._waiting:
            self.log(line)

    def log(self, line: str) -> None:
        """Append a line to the log."""
        if not self._begun:
            self._waiting.append(line)
            return
        with _storing(self.path / LOG_FILE), open(self.path / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(line + "\n")


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: writing failed: {error.strerror or error}; earlier saves are kept") from None


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML under the names of the command line's options; those that are None are left out.

    A JSON string, number or list is a TOML one too, save that TOML wants DEL escaped.
    """
    lines = [
        f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in settings.items()
        if value is not None
    ]
    return "".join(lines).replace("\x7f", "\\u007f")


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
