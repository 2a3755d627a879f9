"""The settings of a run: sorted by section in the code, flat under the names of the options everywhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charlm.config import (
    LATER,
    LIMITS,
    OF_TEXT,
    LanguageConfig,
    ModelConfig,
    Section,
    TextConfig,
    TrainConfig,
    refuse_cell,
)
from charlm.errors import UsageError
from charlm.run_files import FILES, absolute, check_files

LANGUAGE = "lm"  # the task, unless another is named
LABELLED = "labelled"  # that of a language model where texts have labels
CONVERT = "convert"  # that of a converter
_PATHS = ("init_from", "counts_from")  # of files that are read again
_MAY_CHANGE = frozenset({*LIMITS, "patience", "threads", "engine", "device"})  # on resume


def _names(section: type[Section] | None) -> frozenset[str]:
    return frozenset(section.__dataclass_fields__) if section else frozenset()


TEXT_SETTINGS = _names(TextConfig)
MODEL_SETTINGS = _names(ModelConfig) - {*OF_TEXT}
TRAIN_SETTINGS = _names(TrainConfig)
_START = frozenset({"init_from", "keep_vocabulary"})


@dataclass(frozen=True)
class Settings:
    """Every setting of a run, resolved; `own` are those that only its task has."""

    corpus: tuple[str, ...]
    valid_file: Any
    test_file: Any
    text: TextConfig
    model: ModelConfig
    train: TrainConfig
    init_from: str | None = None
    keep_vocabulary: bool | None = None
    task: str = LANGUAGE
    own: Section | None = None

    def flat(self) -> dict[str, Any]:
        """Return all settings by the names of the command line's options; the task where it is not the usual one."""
        files = {
            "corpus": list(self.corpus),
            "valid_file": self.valid_file,
            "test_file": self.test_file,
        }
        start = {"init_from": self.init_from, "keep_vocabulary": self.keep_vocabulary}
        usual = (
            self.task == LANGUAGE
        )  # whose files keep their bytes; another task may plan what these leave out
        model = self.model.to_dict() if usual else dataclasses.asdict(self.model)
        model = {name: value for name, value in model.items() if name not in OF_TEXT}
        task = {} if self.task in (LANGUAGE, LABELLED) else {"task": self.task}  # labels say it too
        own = dataclasses.asdict(self.own) if self.own else {}
        return task | files | start | model | self.train.to_dict() | self.text.to_dict() | own

    @classmethod
    def of(
        cls, flat: Mapping[str, Any], vocabulary: int, section: type[Section] | None = None
    ) -> Settings:
        """Check and sort settings given by option name.

        `vocabulary` is the size that the corpus led to, `section` the settings that only the task
        has.
        """
        check_files(flat)
        return cls(
            tuple(absolute(path) for path in flat["corpus"]),
            _absolute(flat.get("valid_file")),
            _absolute(flat.get("test_file")),
            TextConfig.from_dict(only(flat, TEXT_SETTINGS)),
            ModelConfig.from_dict(only(flat, MODEL_SETTINGS) | {"vocab_size": vocabulary}),
            TrainConfig.from_dict(only(flat, TRAIN_SETTINGS)),
            absolute(flat.get("init_from")),
            flat.get("keep_vocabulary"),
            task_name(flat),
            section.from_dict(_with_absolute(only(flat, _names(section)))) if section else None,
        )


def _with_absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose files can be found from any directory."""
    return {name: absolute(value) if name in _PATHS else value for name, value in settings.items()}


def _absolute(paths: Any) -> Any:
    return (
        [absolute(path) for path in paths] if isinstance(paths, list | tuple) else absolute(paths)
    )


def check_settings(given: Mapping[str, Any], section: type[Section] | None = None) -> None:
    """Raise UsageError for what no run could have, before the corpus is read and a plan made from it."""
    own = _names(section)
    known = TEXT_SETTINGS | MODEL_SETTINGS | TRAIN_SETTINGS | FILES | _START | own | {"task"}
    alien = sorted(name for name in given if given[name] is not None and name not in known)
    if alien:
        listed = ", ".join(name.replace("_", "-") for name in alien)
        task = _called(given.get("task", LANGUAGE))
        raise UsageError(f"these do not go with task {task}, so leave them out: {listed}")
    TextConfig.from_dict(only(given, TEXT_SETTINGS))
    shape = only(given, MODEL_SETTINGS - {"tie", "nonlinearity"})  # which a plan may fit
    ModelConfig.from_dict(shape | {"vocab_size": 2})
    TrainConfig.from_dict(only(given, TRAIN_SETTINGS))
    if section:
        section.from_dict(only(given, own))


def refuse_beside(given: Mapping[str, Any], what: str, context: str, layers: str, tie: str) -> None:
    """Raise UsageError for settings that texts with `what` cannot have, for the reasons that are
    given.
    """
    if given.get("context") not in (None, "auto", "sequence"):
        raise UsageError(f"context {given['context']} does not go with {what}: {context}")
    if given.get("layers") == 0:
        raise UsageError(f"layers 0 does not go with {what}: {layers}")
    if given.get("tie"):
        raise UsageError(f"tie does not go with {what}: {tie}")


def check_engine(settings: Mapping[str, Any], engines: tuple[str, ...]) -> None:
    """Raise UsageError where the engine is none of those that can train the task, or has not got the cell."""
    engine = settings.get("engine", TrainConfig.engine)
    if engine not in engines:
        task = _called(settings.get("task", LANGUAGE))
        raise UsageError(
            f"engine {engine} does not know task {task}, which NumPy computes: leave --engine out"
        )
    refuse_cell(settings.get("cell", ModelConfig.cell), engine)


def changed(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a resumed run: the stored ones, with the changes that a resume allows."""
    resolved = [name for name in ("context", "hold_out") if given.get(name) == "auto"]
    given = {name: value for name, value in given.items() if name not in resolved}
    stored = {"hold_out": TextConfig.hold_out} | dict(stored)  # which older runs do not name
    given = _with_absolute(given)
    usual = {name: getattr(ModelConfig, name) for name in LATER}
    usual |= {"task": task_name(stored), "counts": LanguageConfig.counts}
    changes = {
        name: value for name, value in given.items() if value != stored.get(name, usual.get(name))
    }
    refused = sorted(set(changes) - _MAY_CHANGE - FILES)
    if refused:
        listed = ", ".join(
            f"{name.replace('_', '-')} {stored.get(name)} -> {changes[name]}" for name in refused
        )
        raise UsageError(
            f"a resumed run keeps its settings, so leave these out or begin anew with --force: {listed}"
        )
    kept = dict(stored)
    if any(name in changes for name in LIMITS):
        kept |= dict.fromkeys(LIMITS)
    return kept | changes


def change_warnings(stored: Mapping[str, Any], flat: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting that a resume changes."""
    for name in sorted(_MAY_CHANGE):
        if stored.get(name) != flat.get(name):
            yield f"warning: {name} {stored.get(name)} -> {flat.get(name)}: the run is no longer what one sitting gives"


def task_name(given: Mapping[str, Any]) -> str:
    """Return the task of settings that were given: a language model that is told of labels is one
    of labelled texts.
    """
    name: str = given.get("task", LANGUAGE)
    return LABELLED if name == LANGUAGE and given.get("labels") is not None else name


def _called(task: str) -> str:
    """Return what the user calls a task."""
    return f"{LANGUAGE} with labels" if task == LABELLED else task


def only(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of some names, of those that are there."""
    return {name: settings[name] for name in names if name in settings}
