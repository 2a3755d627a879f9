"""The files that a run is given to read: paths, or streams whose text is gone once they are read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config import check_type
from charlm.errors import MissingInputError, UsageError
from charlm.text.reading import check_file, is_stream

HELD_OUT = ("valid_file", "test_file")
FILES = frozenset({"corpus", *HELD_OUT})  # on resume their content is compared, not their names


def check_files(flat: Mapping[str, Any]) -> None:
    """Raise UsageError unless the corpus is a list or a tuple of paths, and other files are paths or None.

    The same of keep-vocabulary, which is True, False or None.
    """
    corpus = flat.get("corpus", ())
    if type(corpus) not in (list, tuple):
        raise UsageError(f"corpus must be a list of paths, not {corpus!r:.80}")
    for path in corpus:
        check_type("corpus", _text(path), str)
    for name in HELD_OUT:
        for path in listed(flat.get(name)):
            check_type(name.replace("_", "-"), _text(path), str | None)
    check_type("init-from", _text(flat.get("init_from")), str | None)
    check_type("keep-vocabulary", flat.get("keep_vocabulary"), bool | None)


def _text(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def check_inputs(given: Mapping[str, Any]) -> None:
    """Raise MissingInputError where a file that was named cannot be opened, before anything else is looked at."""
    for path in files_of(given):
        check_file(path)


def files_of(given: Mapping[str, Any]) -> list[str]:
    """Return all files to be read: those of the corpus, and those held out, of which there may be none or several."""
    named = [*given.get("corpus", ())]
    for name in HELD_OUT:
        named += [path for path in listed(given.get(name)) if path is not None]
    return named


def listed(paths: Any) -> list[Any]:
    """Return the files that a setting names: none, one, or several."""
    return [] if paths is None else list(paths) if isinstance(paths, list | tuple) else [paths]


def streams_of(settings: Mapping[str, Any]) -> list[str]:
    """Return which of a run's settings name something that could be read only once: standard input or a pipe."""
    paths = {name: settings.get(name) for name in FILES}
    lists = {name: [value] if isinstance(value, str) else value or [] for name, value in paths.items()}
    return sorted(name for name, value in lists.items() if any(is_stream(path) for path in value))


def refuse_lost_streams(directory: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise MissingInputError where the run read a stream and is not given its text again."""
    missing = [name for name in streams_of(stored) if name not in given]
    if not missing:
        return
    streams = [path for path in stored["corpus"] if is_stream(path)] if "corpus" in missing else []
    one = "-" if len(streams) == 1 else "FILE"
    words = [one if path in streams else shlex.quote(path) for path in stored["corpus"] if streams]
    words += ["-m", shlex.quote(str(directory)), "--resume"]
    words += [f"--{name.replace('_', '-')} FILE" for name in missing if name != "corpus"]
    raise MissingInputError(
        "this run read standard input or a pipe, so give the same text again: "
        f"charlm train {' '.join(words)}{' < FILE' if len(streams) == 1 else ''}"
    )


def absolute(path: str | None) -> Any:
    """Return what a run remembers of a path; of anything that can be read only once, that it was such a thing."""
    return path if path is None else "-" if is_stream(path) else os.path.abspath(path)
