"""A directory as a corpus: the text files in it, and below it, in the order of their names."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from charlm.errors import MissingInputError, UsageError
from charlm.text.contents import is_text
from charlm.text.reading import TextFile, is_standard_input, open_file

_SHOWN = 3  # names in a note
_RUN_FILE = re.compile(r"(model|resume)\.safetensors|config(\.\d+)?\.toml|log(\.\d+)?\.jsonl")
_HIDDEN, _NO_TEXT, _MODEL, _NO_FILE = "hidden", "not text", "of a charlm model", "no regular file"


def text_files(paths: Iterable[str | TextFile]) -> tuple[list[str | TextFile], list[str]]:
    """Return the paths with each directory replaced by the text files in it, and notes that say so.

    Hidden files, directories that a link leads to and what a charlm run wrote are passed over. Raises
    MissingInputError for a directory without text.
    """
    files: list[str | TextFile] = []
    notes = []
    for path in paths:
        if isinstance(path, TextFile) or not path or "\0" in path or not os.path.isdir(path):
            files.append(path)
            continue
        found = sorted(_walk(path))
        texts = [name for name, problem in found if not problem]
        passed = sorted((problem, name) for name, problem in found if problem)
        skipped = "; ".join(
            f"{problem}: {shortened([os.path.relpath(name, path) for _, name in group])}"
            for problem, group in groupby(passed, key=lambda pair: pair[0])
        )
        if not texts:
            raise MissingInputError(f"{path}: no text file in this directory{f' ({skipped})' if skipped else ''}")
        count = "1 text file" if len(texts) == 1 else f"{len(texts):,} text files"
        notes.append(f"{path}: {count}{f'; passed over: {skipped}' if skipped else ''}")
        files += texts
    return files, notes


def open_all(*groups: Sequence[str | TextFile]) -> list[list[TextFile]]:
    """Open the files of the corpus, of a validation part and of a test part (UsageError, and as `open_file`)."""
    names = [path for group in groups for path in group if isinstance(path, str)]
    if sum(map(is_standard_input, names)) > 1:
        raise UsageError("standard input (-) can be read only once: name files for the others")
    return [[open_file(path) for path in group] for group in groups]


def shortened(names: list[str]) -> str:
    """Return a list of names for a note: the first few, and how many there are if that is more."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names):,} in all)"


def _walk(top: str) -> Iterator[tuple[str, str]]:
    """Yield each file below a directory and why it is passed over, empty where it is not (MissingInputError)."""

    def refuse(error: OSError) -> None:
        raise MissingInputError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for folder, folders, files in os.walk(top, onerror=refuse):
        kept = []
        for name in folders:
            path = os.path.join(folder, name)
            if name.startswith("."):
                yield path, _HIDDEN
            elif os.path.islink(path):
                yield path, "linked directory"
            elif _is_model(path):
                yield path, _MODEL
            else:
                kept.append(name)
        folders[:] = kept
        beside_a_model = _is_model(folder)  # only the top, where a run may be kept beside its corpus
        for name in files:
            path = os.path.join(folder, name)
            if name.startswith("."):
                yield path, _HIDDEN
            elif beside_a_model and _RUN_FILE.fullmatch(name):
                yield path, _MODEL
            else:
                yield path, _problem(path)


def _problem(path: str) -> str:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # a link that leads nowhere, or to itself
        return _NO_FILE
    if not regular:
        return _NO_FILE
    return "" if is_text(open_file(path).head()) else _NO_TEXT


def _is_model(path: str) -> bool:
    inside = {name for name in ("model.safetensors", "resume.safetensors", "config.toml", "log.jsonl")
              if os.path.exists(os.path.join(path, name))}  # fmt: skip
    return "model.safetensors" in inside or "resume.safetensors" in inside or len(inside) == 2
