"""A model of the page, with what stands beside its file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm import exchange
from charlm.directory import seconds_at
from charlm.errors import CharlmError
from charlm.loading import load
from charlm.model_files import model_file, parse
from charlm.ownership import MODEL_FILE, RESUME_FILE
from charlm.page.log import Log, log_of
from charlm.run_settings import Settings
from charlm.tasks import task_of_file


@dataclass(frozen=True)
class Subject:
    """A model as the page has it: `name` is what it is called there, `path` where it was opened.

    `settings` are those of its run, None where there is no run beside the file; `size` is the
    file's in bytes.
    """

    name: str
    path: str
    model: Any
    log: Log
    settings: Settings | None
    size: int


def subjects_of(paths: Sequence[str], threads: int | None = None) -> list[Subject]:
    """Open the models of a page (errors as `charlm.load`); of equal names each stands as it was
    given."""
    names = [_name(path) for path in paths]
    shown = [
        path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)
    ]
    return [_subject(path, name, threads) for path, name in zip(paths, shown, strict=True)]


def _subject(path: str, name: str, threads: int | None) -> Subject:
    model = load(path, threads)
    model.facts.setdefault("seconds", seconds_at(path, model.facts))
    size = exchange.current(model_file(path)).stat().st_size
    return Subject(name, path, model, log_of(path, model.facts), _settings(path, model), size)


def _settings(path: str, model: Any) -> Settings | None:
    """Return the settings of the run beside a model, where there is one and it is the model's."""
    state = (Path(path) if os.path.isdir(path) else Path(path).parent) / RESUME_FILE
    if not exchange.current(state).exists():
        return None
    try:
        _, metadata = exchange.load(state)
        if parse(metadata, "charlm.training").get("run") != model.facts.get("run"):
            return None
        section = task_of_file(metadata).section
        return Settings.of(
            parse(metadata, "charlm.resume")["settings"], model.tokenizer.size, section
        )
    except (CharlmError, LookupError, TypeError):
        return None


def _name(path: str) -> str:
    """Return what a model is called: its directory, or its file unless that has the usual name."""
    whole = Path(os.path.abspath(path))
    own = whole.parent if whole.name == MODEL_FILE else whole
    return own.name.removesuffix(".safetensors") or str(whole)
