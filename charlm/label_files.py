"""Files whose texts all have one label, which is said by name: `reels=reelsa-c.abc`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from charlm.errors import UsageError
from charlm.run_files import absolute
from charlm.run_settings import LABELLED, LANGUAGE
from charlm.text.folders import text_files
from charlm.text.labels import is_label
from charlm.text.reading import TextFile, is_stream, open_file

_FORM = "NAME=FILE, such as reels=reelsa-c.abc"


def with_labelled_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which the files of `label` are part of the corpus, and labels are `file`.

    Each setting of `label` is NAME=FILE; a directory is replaced by the text files in it. Raises
    UsageError for what is no such thing, and where another setting is at odds with it.
    """
    given = dict(given)
    if not given.get("label"):
        return given
    if given.get("task", LANGUAGE) not in (LANGUAGE, LABELLED):
        raise UsageError(f"label does not go with task {given['task']}: leave it out")
    if given.get("labels", "file") != "file":
        raise UsageError(
            f"label names files, and labels {given['labels']} takes labels from lines: leave one out"
        )
    named = [
        (name, str(file))
        for name, path in map(_parted, given["label"])
        for file in text_files([path])[0]
    ]
    label_of: dict[str, str] = {}
    for name, file in named:
        if label_of.setdefault(absolute(file), name) != name:
            raise UsageError(f"label gives {file} to {label_of[absolute(file)]} and to {name}")
    corpus = list(given.get("corpus", ()))
    for file in label_of:
        folders = [path for path in corpus if os.path.isdir(path) and _within(file, path)]
        if folders:
            raise UsageError(f"label names {file}, which {folders[0]} holds too: name it once")
    there = set(map(absolute, corpus))
    more = dict.fromkeys(file for _, file in named if absolute(file) not in there)
    pairs = [f"{name}={file}" for file, name in label_of.items()]
    return given | {"corpus": [*corpus, *more], "label": pairs, "labels": "file"}


def labelled_files(corpus: Sequence[str], label: Sequence[str] | None) -> list[str | TextFile]:
    """Return the files of a corpus, those of `label` (NAME=FILE) opened with that label."""
    label_of = {file: name for name, file in map(_parted, label or ())}
    files: list[str | TextFile] = []
    for path in corpus:
        name = label_of.get(absolute(path))
        files.append(path if name is None else open_file(path).labelled(name))
    return files


def _parted(setting: str) -> tuple[str, str]:
    name, sign, path = setting.partition("=")
    if not sign or not path or not is_label(name.strip()):
        raise UsageError(f"label must be {_FORM}, not {setting!r:.80}")
    if is_stream(path):
        raise UsageError(f"label names files, and {path} can be read only once: name a file")
    return name.strip(), path


def _within(file: str, folder: str) -> bool:
    return os.path.commonpath([file, os.path.abspath(folder)]) == os.path.abspath(folder)
