"""Whose file is it: what charlm wrote in the directory of a run, and what it must leave alone.

A lock is charlm's if it is empty or holds a process id; a model or a state, if its header names `charlm.format`. A log
and settings are charlm's if a run stands beside them and they read like a run's, whatever its owner has edited in them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from charlm import checkpoint
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import OutputError
from charlm.lock import LOCK_FILE

MODEL_FILE, RESUME_FILE = "model.safetensors", "resume.safetensors"
LOG_FILE, CONFIG_FILE = "log.jsonl", "config.toml"
FILES = (CONFIG_FILE, LOG_FILE, RESUME_FILE, MODEL_FILE)  # in the order in which a new run's move
NEW, READY = ".charlm-new", ".charlm-ready"  # directories: of a first save under way; of a whole one

_KEPT = re.compile(r"config\.\d+\.toml|log\.\d+\.jsonl")
_UNFINISHED = re.compile(  # what `checkpoint` writes before it takes its name
    rf"\.({'|'.join(map(re.escape, FILES))}|{_KEPT.pattern})\.[0-9a-f]{{16}}"
)
_PROCESS_ID = re.compile(rb"\d{0,20}\s*")
_LOG_KEYS = frozenset({"step", "tokens", "seconds", "train_nats", "lr"})
_KEY = re.compile(r"^\s*([\w-]+)\s*=", re.MULTILINE)
_SETTINGS = frozenset({"corpus", "valid-file", "test-file", "init-from"}) | {
    field.name.replace("_", "-")
    for kind in (TextConfig, ModelConfig, TrainConfig)
    for field in dataclasses.fields(kind)
}


def refuse_foreign(directory: Path) -> None:
    """Raise OutputError where a run would replace a file in its directory that is not charlm's."""
    with checkpoint.storing(directory):
        path = next(_foreign(directory), None)
    if path is not None:
        raise OutputError(
            f"{path} is not a file of charlm's, and a run here would replace it: move it away, or "
            "choose another directory with -m"
        )


def _foreign(directory: Path) -> Iterator[Path]:
    """Yield what a run's files would replace and charlm did not write."""
    for name in (NEW, READY):
        if os.path.lexists(directory / name) and not is_charlms(directory / name):
            yield directory / name
    places = (directory, directory / READY)  # after a kill a run may stand in both
    run = any(is_model(place / name) for place in places for name in (MODEL_FILE, RESUME_FILE))
    judges: dict[str, Callable[[Path], bool]] = {
        LOCK_FILE: _is_lock,
        MODEL_FILE: is_model,
        RESUME_FILE: is_model,
        LOG_FILE: lambda path: run and _is_log(path),
        CONFIG_FILE: lambda path: run and _is_config(path),
    }
    for name, judge in judges.items():
        if os.path.lexists(directory / name) and not judge(directory / name):
            yield directory / name


def is_charlms(directory: Path) -> bool:
    """Return whether a directory holds what a first save puts there and nothing else; a link is none."""
    if not os.path.isdir(directory) or os.path.islink(directory):
        return False
    names = os.listdir(directory)
    if all(_UNFINISHED.fullmatch(name) for name in names):
        return True
    # the model is the first file there and the last to leave
    known = all(name in FILES or _KEPT.fullmatch(name) or _UNFINISHED.fullmatch(name) for name in names)
    return known and is_model(directory / MODEL_FILE)


def free_name(path: Path) -> Path:
    """Return where config.toml or a copy of it can be kept: config.1.toml, or the next number."""
    stem = path.name.split(".")[0]
    names = (path.with_name(f"{stem}.{number}{path.suffix}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def is_log_entry(line: bytes | str) -> bool:
    """Return whether charlm wrote a line of a log."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and entry.keys() >= _LOG_KEYS


def _is_file(path: Path) -> bool:
    """Return whether there is a file of its own at a path: no link, no directory, no pipe."""
    return os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode)


def is_model(path: Path) -> bool:
    """Return whether a model or a state of charlm's is at a path, and no link to one."""
    return _is_file(path) and checkpoint.is_signed(path)


def _is_lock(path: Path) -> bool:
    return _is_file(path) and _PROCESS_ID.fullmatch(path.read_bytes()[:64]) is not None


def _is_log(path: Path) -> bool:
    """Return whether a log begins as charlm's do, a line that a crash has torn included."""
    if not _is_file(path):
        return False
    with open(path, "rb") as file:
        first = file.readline(1 << 16).rstrip(b"\0")
    return not first or (is_log_entry(first) if first.endswith(b"\n") else first.startswith(b'{"step": '))


def _is_config(path: Path) -> bool:
    """Return whether settings are a run's for the most part: its owner may have edited them."""
    if not _is_file(path):
        return False
    keys = _KEY.findall(path.read_bytes().decode("utf-8", "replace"))
    return sum(key in _SETTINGS for key in keys) * 2 > len(keys)
