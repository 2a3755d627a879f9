"""A training run: settings resolved, corpus read, engine made or taken up again, and everything kept on the way.

What depends on what is learnt, the run asks its task for. Model and state carry one run id, and the model is always
put in place first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import charlm
from charlm import checkpoint, exchange
from charlm.config import LIMITS, TextConfig, TrainConfig
from charlm.directory import Directory
from charlm.engines import Tally
from charlm.engines.choice import training_speed
from charlm.engines.parallel import rank_count, ranks_here
from charlm.errors import DataError, OutputError, UsageError
from charlm.facts import check_facts
from charlm.finetuning import base_file, replacement_notes
from charlm.label_files import with_labelled_files
from charlm.loading import load
from charlm.model_files import dump, parse
from charlm.ownership import MODEL_FILE, RESUME_FILE
from charlm.processors import available_threads
from charlm.run_files import absolute, check_files, check_inputs, refuse_lost_streams
from charlm.run_settings import (
    LANGUAGE,
    TEXT_SETTINGS,
    Settings,
    change_warnings,
    changed,
    check_engine,
    check_settings,
    only,
    task_name,
)
from charlm.standing import Standing
from charlm.tasks import Concluding, Material, Task, Trained, task_named, task_of_file
from charlm.text.reading import is_stream
from charlm.training import Progress, fit, never

_COMPUTING = frozenset({"engine", "device", "precision"})
_OF_ENGINE = {"optimizer_steps": int, "ranks": int}


class Run:
    """A run that is ready to go: `events` trains, `notes` says what was decided on the way."""

    def __init__(
        self, directory: Directory, settings: Settings, task: Task, material: Any, model: Trained, standing: Standing,
        hidden: Any, notes: list[str], started: float,
    ) -> None:  # fmt: skip
        self.directory, self.settings, self.corpus, self.model = directory, settings, material, model
        self.standing = standing
        self.notes = notes = [*directory.notes, *notes, *directory.edits(settings.flat())]
        self.test: Tally | None = None
        self.valid: Tally | None = None  # of all the validation part, where evaluations read less
        self._hidden, self._started = hidden, started
        self.course = task.course(settings.train, material, model)
        self.lesson = self.course.lesson
        if self.lesson.train.note and settings.model.layers:
            notes.append(self.lesson.train.note)

    def events(self, stop: Callable[[], bool] = never) -> Iterator[Progress]:
        """Train, yielding the progress after every step; at the end score with the best weights the
        test part, and the validation part where evaluations read a share of it.
        """
        if self.standing.step:
            self.directory.go_on(self.standing.step)
        train = self.settings.train
        if self.settings.model.layers:
            yield from fit(
                self.model.trained, self.lesson, train, self, self.standing, self._hidden, self._started, stop
            )
        else:
            self._keep_counts(stop)
        if self.lesson.test_tokens and not stop():
            self._score_best(stop)

    def save_model(self, progress: Progress) -> None:
        valid = progress.valid or Tally()
        self.model.facts.pop("seconds", None)  # older runs kept them here, and equal runs differ in them
        self.model.facts |= {
            "step": progress.step,
            "epoch": progress.epoch,
            "tokens": progress.tokens,
            **self._facts_of("valid", valid),
        }
        self.model.save(self.directory.place() / MODEL_FILE)

    def _keep_counts(self, stop: Callable[[], bool]) -> None:
        """Save a model that has no network: it was whole when it was made, and there is nothing to go on with."""
        valid = self.lesson.evaluate(self.model.trained, stop)
        if valid is None:
            return
        self.model.facts |= {"step": 0, "epoch": 1.0, "tokens": self.corpus.train_tokens}
        self.model.facts |= self._facts_of("valid", valid)
        self.model.save(self.directory.place() / MODEL_FILE)
        self.directory.saved()

    def save_resume(self, standing: Standing, hidden: Any) -> None:
        arrays, facts = self.model.trained.snapshot(hidden)
        resume = {"settings": self.settings.flat(), "state": standing.to_dict(), "engine": facts}
        metadata = self.model.metadata() | {"charlm.resume": dump(resume)}
        checkpoint.save(self.directory.place() / RESUME_FILE, arrays, metadata)
        self.directory.saved()

    def example(self, step: int) -> str | None:
        return self.course.example(step)

    def log(self, progress: Progress) -> None:
        self.directory.log(json.dumps(progress.log_entry()))

    def _score_best(self, stop: Callable[[], bool]) -> None:
        """Put into the file what only the best weights tell: figures of whole parts, and what else
        the course has."""
        train = self.settings.train
        best = load(self.directory.path, train.threads, train.engine, train.device)
        self.valid = self.course.validate(stop, best)
        self.test = None if stop() else self.course.test(stop, best)
        told: dict[str, Any] = {}
        for part, tally in (("valid", self.valid), ("test", self.test)):
            if tally is not None:
                told |= self._facts_of(part, tally)
        if isinstance(self.course, Concluding):
            told |= self.course.conclusion(stop, best)
        if told:
            best.facts |= told
            best.save(self.directory.path / MODEL_FILE)

    def _facts_of(self, part: str, tally: Tally) -> dict[str, Any]:
        return self.lesson.figures(part, tally) | {f"{part}_{self.course.counted}_scored": tally.count}


def open_run(directory: Directory, given: Mapping[str, Any], resume: bool = False, started: float | None = None) -> Run:
    """Make a run from the settings that the user gave, or take up the one in `directory`.

    `given` holds settings by option name, and none that was not given; `started` (time.monotonic) is when the
    minutes began to count. Raises UsageError where settings are at odds with each other or with the run to be
    resumed, and whatever reading the corpus and the files raises.
    """
    begun = time.monotonic() if started is None else started
    given = with_labelled_files(given)
    if (task := task_name(given)) != LANGUAGE:
        given = dict(given) | {"task": task}
    check_files(given)
    check_inputs(given)
    if resume and (directory.path / RESUME_FILE).exists():
        return _take_up(directory, given, begun)
    if given.get("init_from") is not None:
        base_file(given["init_from"])
    if resume:
        _refuse_resume(directory, given)
    directory.refuse_existing()
    notes = [f"nothing to resume in {directory.path}: beginning anew"] if resume else []
    return _begin(directory, given, notes, begun)


def _refuse_resume(directory: Directory, given: Mapping[str, Any]) -> None:
    """Raise OutputError or UsageError where there is no state to go on from, and nothing to begin with either."""
    if (directory.path / MODEL_FILE).exists():
        if not load(directory.path, threads=1).config.layers:
            raise OutputError(
                f"{directory.path} has a model of counts alone, which has no training to go on with: "
                "begin anew with --force, or choose another -m"
            )
        raise OutputError(
            f"{directory.path} has no {RESUME_FILE}, so that run cannot go on: start a new one from its model with "
            f"--init-from {directory.path} and another -m"
        )
    if not given.get("corpus"):
        raise UsageError(f"nothing to resume in {directory.path}: give the directory of a run with -m, or a corpus")


def _begin(directory: Directory, given: Mapping[str, Any], notes: list[str], started: float) -> Run:
    if not given.get("corpus"):
        raise UsageError("give a corpus to train on, or --resume a run that has one")
    task = task_named(given.get("task", LANGUAGE))
    base = task.base(given)
    inherited = task.inherited(base) if base else {}
    given = dict(given) | only(inherited, TEXT_SETTINGS)
    check_settings(given, task.section)
    check_engine(inherited | given, task.engines)
    task.check(given)
    text = TextConfig.from_dict({"hold_out": "auto"} | only(given, TEXT_SETTINGS))
    material = task.read(given, text, base)
    settings, reason = _resolved(task, material, text, inherited | given)
    knowledge = task.knowledge(settings, material)
    engine = task.engine(settings, knowledge)
    taken_over = list(task.start(engine, base, settings)) if base else []
    facts = {"charlm": charlm.__version__, "settings": settings.train.to_dict()} | _corpus_facts(material)
    model = task.model(engine, settings, knowledge, facts, material)
    model.facts["run"] = _run_id(settings, knowledge, model.facts, base)
    decided = [*task.notes(material, settings, base), *taken_over, *replacement_notes(given, directory.path)]
    notes = [*notes, *decided, *([] if _chosen(given) else [reason])]
    return Run(directory, settings, task, material, model, Standing(), None, notes, started)


def _resolved(
    task: Task, material: Material, text: TextConfig, given: Mapping[str, Any]
) -> tuple[Settings, str]:
    """Return every setting of a new run, what was not given planned; and a sentence that says why."""
    threads = given.get("threads") or available_threads(ranks_here())
    speed = partial(training_speed, TrainConfig.from_dict(only(given, _COMPUTING) | {"threads": threads}))
    planned, reason = task.plan(material, given, speed)
    if any(given.get(name) is not None for name in LIMITS):
        planned = {name: value for name, value in planned.items() if name not in LIMITS}
    decided = task.resolved(material, text) | {"corpus": material.paths}
    flat = {"threads": threads} | planned | dict(given) | decided
    return Settings.of(flat, material.tokenizer.size, task.section), reason


def _run_id(settings: Settings, knowledge: Any, facts: Mapping[str, Any], base: Any) -> str:
    """Return what tells runs apart: the same for runs that end with the same bits, and drawn where the clock decides.

    Paths are no part of it: what was read at them is.
    """
    if settings.train.minutes is not None:
        return uuid.uuid4().hex
    own = settings.own.to_dict() if settings.own else {}
    if own.get("counts_from") is not None:
        own["counts_from"] = facts["counts_digest"]
    sections = [settings.text, settings.model, settings.train]
    known = [*(section.to_dict() for section in sections), own, knowledge.to_dict()]
    parts = [*filter(None, known), facts["digests"]]
    origin = {name: base.facts.get(name) for name in ("run", "step", "digests")} if base else None
    return hashlib.sha256(dump([charlm.__version__, *parts, origin]).encode()).hexdigest()[:32]


def _chosen(given: Mapping[str, Any]) -> bool:
    """Return whether the user has chosen all that a plan is about."""
    limited = any(given.get(name) is not None for name in ("epochs", "steps"))
    return limited or all(given.get(name) is not None for name in ("hidden", "dropout", "lr"))


def _take_up(directory: Directory, given: Mapping[str, Any], started: float) -> Run:
    """Rebuild a run from what its state file holds."""
    path = directory.path / RESUME_FILE
    arrays, metadata = checkpoint.load(path)
    with _reading(path):
        task = task_of_file(metadata)
        knowledge, facts, resume, standing = _believed(task, metadata)
    _check_run_id(directory, facts)
    refuse_lost_streams(directory.path, resume["settings"], given)
    flat = changed(resume["settings"], given)
    settings = Settings.of(flat, knowledge.tokenizer.size, task.section)
    check_engine(flat, task.engines)
    material = task.read_again(settings, knowledge)
    if material.digests != facts["digests"]:
        raise UsageError(_other_corpus(resume["settings"]["corpus"], material))
    settings = dataclasses.replace(settings, corpus=tuple(map(absolute, material.paths)))
    engine = task.engine(settings, knowledge)
    with _reading(path):
        hidden = engine.restore((dict(arrays), resume["engine"]))
    notes = [f"going on from step {standing.step:,} in {directory.path}", *change_warnings(resume["settings"], flat)]
    ranks = resume["engine"].get("ranks", 1)
    if ranks != rank_count():
        notes.append(
            f"warning: {ranks} -> {rank_count()} ranks: the same columns, shared out anew; sums are rounded, and "
            "dropout is drawn, in another way"
        )
    model = task.model(engine, settings, knowledge, facts, material)
    run = Run(directory, settings, task, material, model, standing, hidden, notes, started)
    columns = arrays["state.0"].shape[1] if "state.0" in arrays else run.lesson.train.batch_size
    if run.lesson.train.batch_size != columns:
        raise DataError(
            f"{path} has {columns} columns and not {run.lesson.train.batch_size}: begin anew (--force)"
        )
    return run


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise DataError, which names the file, for whatever comes of believing what it says."""
    try:
        yield
    except (DataError, UsageError) as error:  # in a file it is no setting of the user's
        raise DataError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} lacks or garbles what a run needs ({error})") from error


def _believed(task: Task, metadata: Mapping[str, str]) -> tuple[Any, dict[str, Any], dict[str, Any], Standing]:
    """Return a state file's knowledge, facts, `charlm.resume` and standing, or raise what `_reading` expects."""
    knowledge, facts = task.known(metadata), parse(metadata, "charlm.training")
    resume = parse(metadata, "charlm.resume")
    check_facts(facts)
    check_facts(resume["engine"], _OF_ENGINE)
    if not {"run", "digests"} <= facts.keys():
        raise DataError("it does not say which run and which corpus it is of")
    settings = Settings.of(resume["settings"], knowledge.tokenizer.size, task.section)
    if settings.task != task.name:
        raise DataError(f"its settings are of task {settings.task}, the rest of task {task.name}")
    return knowledge, facts, resume, Standing.from_dict(resume["state"])


def stored_settings(path: Path, vocabulary: int) -> Settings:
    """Return the settings in a state file (DataError where they are damaged, and as `exchange.load`)."""
    _, metadata = exchange.load(path)
    with _reading(path):
        task = task_of_file(metadata)
        return Settings.of(parse(metadata, "charlm.resume")["settings"], vocabulary, task.section)


def _other_corpus(stored: Sequence[str], material: Material) -> str:
    now, then = len(material.paths), len(stored)
    counts = f" ({now:,} files, then {then:,})" if then != now else ""
    return f"the corpus is not the one this run was trained on{counts}: give that one, or begin anew with --force"


def _check_run_id(directory: Directory, facts: Mapping[str, Any]) -> None:
    path = directory.path / MODEL_FILE
    if path.exists():
        _, metadata = checkpoint.load(path)
        if parse(metadata, "charlm.training").get("run") != facts["run"]:
            raise DataError(f"{path} and {RESUME_FILE} beside it are of different runs: begin anew with --force")


def _corpus_facts(material: Material) -> dict[str, Any]:
    return {
        "corpus": ["-" if is_stream(path) else os.path.basename(path) for path in material.paths],
        "train_tokens": material.train_tokens,
        "digests": material.digests,
    }
