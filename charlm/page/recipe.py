"""The command that trains a model again: its settings, as a run writes them, without
directories."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from charlm.page.subject import Subject
from charlm.run_settings import MODEL_SETTINGS, only
from charlm.settings_file import to_toml

_NO_NAME = re.compile(
    "[\ud800-\udc7f\udd00-\udfff]"
)  # what no file's name holds, though a model's file may
_FILES = ("corpus", "valid_file", "test_file", "init_from", "counts_from")


def recipe_of(subject: Subject) -> tuple[str, str]:
    """Return the command that repeats a model's run, and a sentence on how exactly it does.

    Files are named without their directories, for the page is to be shown to others.
    """
    if subject.settings is not None:
        flat = subject.settings.flat()
        return _command(flat), _how_exactly(flat)
    return _command(_of_file(subject.model)), (
        "The run is not beside the model, so what was held out and how the text was read are not "
        "known: this is what the model's file tells, and charlm's usual choices for the rest."
    )


def _how_exactly(flat: Mapping[str, Any]) -> str:
    if flat.get("minutes") is not None:
        return (
            "The run was given minutes, not steps: another one reads more or less in them, and "
            "ends near the same figures."
        )
    return (
        "On a machine like the one it was trained on, with the same versions of charlm and NumPy, "
        "it gives the same model bit for bit; elsewhere the last digits differ."
    )


def _of_file(model: Any) -> dict[str, Any]:
    """Return the settings that the file of a model tells."""
    facts, language = model.facts, getattr(model, "language", None)
    task = model.metadata().get("charlm.task")
    return {
        "task": task,
        "corpus": facts.get("corpus") or ["CORPUS"],
        "tokenizer": model.tokenizer.kind,
        "sequences": language.sequences if language else None,
        **only(model.config.to_dict(), sorted(MODEL_SETTINGS)),
        **(facts.get("settings") or {}),
    }


def _command(flat: Mapping[str, Any]) -> str:
    settings = {name: _named(value) if name in _FILES else value for name, value in flat.items()}
    return f"charlm train --config /dev/stdin -m again <<'END'\n{to_toml(settings)}END"


def _named(paths: Any) -> Any:
    """Return the names of files without their directories."""
    if isinstance(paths, list | tuple):
        return [_named(path) for path in paths]
    if not isinstance(paths, str):
        return paths
    return _NO_NAME.sub("\ufffd", os.path.basename(paths) or paths)
