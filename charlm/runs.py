"""A training run: settings resolved, corpus read, engine made or taken up again, and everything kept on the way.

Model and state carry one run id, and the model is always put in place first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import charlm
from charlm import checkpoint, exchange, plan
from charlm.config import LIMITS, ModelConfig, TextConfig, TrainConfig
from charlm.directory import Directory
from charlm.engines import Loss
from charlm.engines.choice import training_engine, training_speed
from charlm.engines.parallel import rank_count, ranks_here
from charlm.errors import DataError, OutputError, UsageError
from charlm.facts import check_facts, finite
from charlm.finetuning import base_file, finetuning_notes, grown, load_base, replacement_notes, text_settings
from charlm.model import Language, Model, dump, load, parse
from charlm.ownership import MODEL_FILE, RESUME_FILE
from charlm.processors import available_threads
from charlm.run_files import FILES, absolute, check_files, check_inputs, refuse_lost_streams
from charlm.scoring import evaluate
from charlm.text.batches import TrainingBatches, context_for
from charlm.text.corpus import Corpus, prepare
from charlm.text.parts import Part
from charlm.text.reading import is_stream
from charlm.training import Lesson, Progress, Standing, fit, never

_MAY_CHANGE = frozenset({*LIMITS, "patience", "threads", "engine", "device"})  # on resume
_COMPUTING = frozenset({"engine", "device", "precision"})
_OF_ENGINE = {"optimizer_steps": int, "ranks": int}

TEXT_SETTINGS = frozenset(field.name for field in dataclasses.fields(TextConfig))
MODEL_SETTINGS = frozenset(field.name for field in dataclasses.fields(ModelConfig)) - {"vocab_size"}
TRAIN_SETTINGS = frozenset(field.name for field in dataclasses.fields(TrainConfig))


@dataclass(frozen=True)
class Settings:
    """Every setting of a run, resolved."""

    corpus: tuple[str, ...]
    valid_file: str | None
    test_file: str | None
    text: TextConfig
    model: ModelConfig
    train: TrainConfig
    init_from: str | None = None
    keep_vocabulary: bool | None = None

    def flat(self) -> dict[str, Any]:
        """Return all settings by the names of the command line's options."""
        files = {"corpus": list(self.corpus), "valid_file": self.valid_file, "test_file": self.test_file}
        start = {"init_from": self.init_from, "keep_vocabulary": self.keep_vocabulary}
        return files | start | self.model.to_dict() | self.train.to_dict() | self.text.to_dict()

    @classmethod
    def of(cls, flat: Mapping[str, Any], vocabulary: int) -> Settings:
        """Check and sort settings given by option name; `vocabulary` is the size that the corpus led to."""
        check_files(flat)
        return cls(
            tuple(absolute(path) for path in flat["corpus"]),
            absolute(flat.get("valid_file")),
            absolute(flat.get("test_file")),
            TextConfig.from_dict(_only(flat, TEXT_SETTINGS)),
            ModelConfig.from_dict(_only(flat, MODEL_SETTINGS) | {"vocab_size": vocabulary}),
            TrainConfig.from_dict(_only(flat, TRAIN_SETTINGS)),
            absolute(flat.get("init_from")),
            flat.get("keep_vocabulary"),
        )


class Run:
    """A run that is ready to go: `events` trains, `notes` says what was decided on the way."""

    def __init__(
        self, directory: Directory, settings: Settings, corpus: Corpus, model: Model, state: Standing, hidden: Any,
        notes: list[str], started: float,
    ) -> None:  # fmt: skip
        self.directory, self.settings, self.corpus, self.model = directory, settings, corpus, model
        self.state = state
        self.notes = notes = [*directory.notes, *notes, *directory.edits(settings.flat())]
        self.test: Loss | None = None
        self._hidden, self._started = hidden, started
        self._lesson = _lesson(settings.train, corpus, model.language)
        self.columns = self._lesson.train.batch_size
        self.batch_shape = f"{self.columns}x{self._lesson.train.seq_len}"
        if self._lesson.train.note:
            notes.append(self._lesson.train.note)

    def events(self, stop: Callable[[], bool] = never) -> Iterator[Progress]:
        """Train, yielding the progress after every step; at the end score the test part with the best weights."""
        if self.state.step:
            self.directory.go_on(self.state.step)
        yield from fit(
            self.model.trained, self._lesson, self.settings.train, self, self.state, self._hidden, self._started, stop
        )
        if len(self.corpus.test) and not stop():
            self._score_test(stop)

    def save_model(self, progress: Progress) -> None:
        valid = progress.valid or Loss()
        self.model.facts.pop("seconds", None)  # older runs kept them here, and equal runs differ in them
        self.model.facts |= {
            "step": progress.step,
            "epoch": progress.epoch,
            "tokens": progress.tokens,
            **_loss_facts("valid", valid),
        }
        self.model.save(self.directory.place() / MODEL_FILE)

    def save_state(self, state: Standing, hidden: Any) -> None:
        arrays, facts = self.model.trained.snapshot(hidden)
        resume = {"settings": self.settings.flat(), "state": dataclasses.asdict(state), "engine": facts}
        metadata = self.model.metadata() | {"charlm.resume": dump(resume)}
        checkpoint.save(self.directory.place() / RESUME_FILE, arrays, metadata)
        self.directory.saved()

    def log(self, progress: Progress) -> None:
        self.directory.log(json.dumps(progress.log_entry()))

    def _score_test(self, stop: Callable[[], bool]) -> None:
        train = self.settings.train
        best = load(self.directory.path, train.threads, train.engine, train.device)
        self.test = evaluate(best.engine, self.corpus.test, best.language.start, best.language.document, stop)
        if self.test is not None:
            best.facts |= _loss_facts("test", self.test)
            best.save(self.directory.path / MODEL_FILE)


def open_run(directory: Directory, given: Mapping[str, Any], resume: bool = False, started: float | None = None) -> Run:
    """Make a run from the settings that the user gave, or take up the one in `directory`.

    `given` holds settings by option name, and none that was not given; `started` (time.monotonic) is when the
    minutes began to count. Raises UsageError where settings are at odds with each other or with the run to be
    resumed, and whatever reading the corpus and the files raises.
    """
    begun = time.monotonic() if started is None else started
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


def _check_settings(given: Mapping[str, Any]) -> None:
    """Raise UsageError for what no run could have, before the corpus is read and a plan made from it."""
    TextConfig.from_dict(_only(given, TEXT_SETTINGS))
    ModelConfig.from_dict(_only(given, MODEL_SETTINGS - {"tie", "nonlinearity"}) | {"vocab_size": 2})  # a plan may fit
    TrainConfig.from_dict(_only(given, TRAIN_SETTINGS))


def _refuse_resume(directory: Directory, given: Mapping[str, Any]) -> None:
    """Raise OutputError or UsageError where there is no state to go on from, and nothing to begin with either."""
    if (directory.path / MODEL_FILE).exists():
        raise OutputError(
            f"{directory.path} has no {RESUME_FILE}, so that run cannot go on: start a new one from its model with "
            f"--init-from {directory.path} and another -m"
        )
    if not given.get("corpus"):
        raise UsageError(f"nothing to resume in {directory.path}: give the directory of a run with -m, or a corpus")


def _begin(directory: Directory, given: Mapping[str, Any], notes: list[str], started: float) -> Run:
    if not given.get("corpus"):
        raise UsageError("give a corpus to train on, or --resume a run that has one")
    base, kept = load_base(given), bool(given.get("keep_vocabulary"))
    if base:
        given = dict(given) | text_settings(base.language)
    _check_settings(given)
    text = TextConfig.from_dict({"hold_out": "auto"} | _only(given, TEXT_SETTINGS))
    corpus = _prepare(given, text, base.language if base else None, grow=base is not None and not kept)
    context = _context(text, corpus)
    size = corpus.tokenizer.size
    inherited = _only(base.config.to_dict(), MODEL_SETTINGS) if base else {}
    threads = given.get("threads") or available_threads(ranks_here())
    speed = partial(training_speed, TrainConfig.from_dict(_only(given, _COMPUTING) | {"threads": threads}))
    planned, reason = plan.defaults(len(corpus.train), size, inherited | dict(given), speed)
    if any(given.get(name) is not None for name in LIMITS):
        planned = {name: value for name, value in planned.items() if name not in LIMITS}
    resolved = {"context": context, "hold_out": corpus.hold_out, "corpus": corpus.paths}
    settings = Settings.of({"threads": threads} | planned | inherited | dict(given) | resolved, size)
    engine = training_engine(settings.model, settings.train)
    if base:
        engine.load(grown(base.trained.tensors(), base.config, size))
    language = Language(corpus.tokenizer, corpus.sequences, context)
    facts = {"charlm": charlm.__version__, "settings": settings.train.to_dict()} | _corpus_facts(corpus)
    facts["run"] = _run_id(settings, language, facts["digests"], base)
    model = Model(engine, settings.model, language, facts)
    decided = finetuning_notes(base, corpus, kept) if base else [corpus.reason]
    decided = [*decided, *replacement_notes(given, directory.path)]
    notes = [*notes, *decided, *corpus.notes, *_empty_parts(corpus, text), *([] if _chosen(given) else [reason])]
    return Run(directory, settings, corpus, model, Standing(), None, notes, started)


def _context(text: TextConfig, corpus: Corpus) -> str:
    """Return what texts begin from, by its name in the settings."""
    newline = corpus.tokenizer.newline if corpus.sequences == "document" else None
    return context_for(text.context, corpus.train, newline)


def _run_id(settings: Settings, language: Language, digests: Mapping[str, str], base: Model | None) -> str:
    """Return what tells runs apart: the same for runs that end with the same bits, and drawn where the clock decides.

    Paths are no part of it: what was read at them is.
    """
    if settings.train.minutes is not None:
        return uuid.uuid4().hex
    parts = [settings.text.to_dict(), settings.model.to_dict(), settings.train.to_dict(), language.to_dict(), digests]
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
        language, facts, resume, state = _believed(metadata)
    _check_run_id(directory, facts)
    refuse_lost_streams(directory.path, resume["settings"], given)
    flat = _changed(resume["settings"], given)
    settings = Settings.of(flat, language.tokenizer.size)
    corpus = _prepare(flat, settings.text, language)
    if digests_of(corpus) != facts["digests"]:
        raise UsageError(_other_corpus(resume["settings"]["corpus"], corpus))
    settings = dataclasses.replace(settings, corpus=tuple(map(absolute, corpus.paths)))
    engine = training_engine(settings.model, settings.train)
    with _reading(path):
        hidden = engine.restore((dict(arrays), resume["engine"]))
    notes = [f"going on from step {state.step:,} in {directory.path}", *_warnings(resume["settings"], flat)]
    ranks = resume["engine"].get("ranks", 1)
    if ranks != rank_count():
        notes.append(
            f"warning: {ranks} -> {rank_count()} ranks: the same columns, shared out anew; sums are rounded, and "
            "dropout is drawn, in another way"
        )
    model = Model(engine, settings.model, language, facts)
    run = Run(directory, settings, corpus, model, state, hidden, notes, started)
    if run.columns != arrays["state.0"].shape[1]:
        raise DataError(f"{path} has {arrays['state.0'].shape[1]} columns and not {run.columns}: begin anew (--force)")
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


def _believed(metadata: Mapping[str, str]) -> tuple[Language, dict[str, Any], dict[str, Any], Standing]:
    """Return a state file's language, facts, `charlm.resume` and state, or raise what `_reading` expects."""
    language, facts = Language.from_dict(parse(metadata, "charlm.vocabulary")), parse(metadata, "charlm.training")
    resume = parse(metadata, "charlm.resume")
    check_facts(facts)
    check_facts(resume["engine"], _OF_ENGINE)
    if not {"run", "digests"} <= facts.keys():
        raise DataError("it does not say which run and which corpus it is of")
    Settings.of(resume["settings"], language.tokenizer.size)
    return language, facts, resume, Standing.from_dict(resume["state"])


def stored_settings(path: Path, vocabulary: int) -> Settings:
    """Return the settings in a state file (DataError where they are damaged, and as `exchange.load`)."""
    _, metadata = exchange.load(path)
    with _reading(path):
        return Settings.of(parse(metadata, "charlm.resume")["settings"], vocabulary)


def _other_corpus(stored: Sequence[str], corpus: Corpus) -> str:
    counts = f" ({len(corpus.paths):,} files, then {len(stored):,})" if len(stored) != len(corpus.paths) else ""
    return f"the corpus is not the one this run was trained on{counts}: give that one, or begin anew with --force"


def _prepare(flat: Mapping[str, Any], text: TextConfig, language: Language | None, grow: bool = False) -> Corpus:
    """Read the corpus, with the vocabulary (which may grow) and the sequences of `language` where there is one."""
    return prepare(
        flat["corpus"],
        text,
        flat.get("valid_file"),
        flat.get("test_file"),
        language.tokenizer if language else None,
        language.sequences if language else None,
        grow=grow,
    )


def _lesson(train: TrainConfig, corpus: Corpus, language: Language) -> Lesson:
    sequences = None if language.document else corpus.train.sequences
    batches = TrainingBatches(
        corpus.train, train.batch_size, train.seq_len, train.seed, language.start, sequences, language.tokenizer.newline
    )
    judging = not _all_unknown(corpus.valid)
    return Lesson(batches, corpus.valid, language.start, language.document, len(corpus.test), judging)


def _changed(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a resumed run: the stored ones, with the changes that a resume allows."""
    resolved = [name for name in ("context", "hold_out") if given.get(name) == "auto"]
    given = {name: value for name, value in given.items() if name not in resolved}
    stored = {"hold_out": TextConfig.hold_out} | dict(stored)  # which older runs do not name
    if given.get("init_from") is not None:
        given = {**given, "init_from": absolute(given["init_from"])}
    changes = {name: value for name, value in given.items() if value != stored.get(name)}
    refused = sorted(set(changes) - _MAY_CHANGE - FILES)
    if refused:
        listed = ", ".join(f"{name.replace('_', '-')} {stored.get(name)} -> {changes[name]}" for name in refused)
        raise UsageError(f"a resumed run keeps its settings, so leave these out or begin anew with --force: {listed}")
    kept = dict(stored)
    if any(name in changes for name in LIMITS):
        kept |= dict.fromkeys(LIMITS)
    return kept | changes


def _warnings(stored: Mapping[str, Any], flat: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(_MAY_CHANGE):
        if stored.get(name) != flat.get(name):
            yield f"warning: {name} {stored.get(name)} -> {flat.get(name)}: the run is no longer what one sitting gives"


def _check_run_id(directory: Directory, facts: Mapping[str, Any]) -> None:
    path = directory.path / MODEL_FILE
    if path.exists():
        _, metadata = checkpoint.load(path)
        if parse(metadata, "charlm.training").get("run") != facts["run"]:
            raise DataError(f"{path} and {RESUME_FILE} beside it are of different runs: begin anew with --force")


def digests_of(corpus: Corpus) -> dict[str, str]:
    """Return what identifies the parts of a corpus: digests of their token ids."""
    return {"train": corpus.train.digest, "valid": corpus.valid.digest, "test": corpus.test.digest}


def _corpus_facts(corpus: Corpus) -> dict[str, Any]:
    return {
        "corpus": ["-" if is_stream(path) else os.path.basename(path) for path in corpus.paths],
        "train_tokens": len(corpus.train),
        "digests": digests_of(corpus),
    }


def _loss_facts(part: str, loss: Loss) -> dict[str, Any]:
    return {
        f"{part}_nats": finite(loss.mean),
        f"{part}_nats_known": finite(loss.mean_known),
        f"{part}_tokens_scored": loss.count,
        f"{part}_unknown": loss.unknown,
    }


def _empty_parts(corpus: Corpus, text: TextConfig) -> Iterator[str]:
    if not len(corpus.valid):
        yield "no validation part: the last weights are kept, and nothing tells whether they are the best"
    elif _all_unknown(corpus.valid):
        yield (
            "no token of the validation part is known to the model: the last weights are kept, and nothing tells "
            "whether they are the best"
        )
    if not len(corpus.test) and text.test_fraction:
        yield "the test part is empty: the corpus is too small for its fraction"


def _all_unknown(part: Part) -> bool:
    """Return whether a part holds tokens, and none that is known but the ends of its sequences."""
    return bool(len(part)) and part.unknown == len(part) - part.sequences > 0


def _only(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}
