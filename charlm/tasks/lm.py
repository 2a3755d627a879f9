"""The language model: what comes next in a text, given what came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from charlm import plan
from charlm.config import ModelConfig, TextConfig, TrainConfig, check_language
from charlm.engines import Tally, Trainable
from charlm.engines.choice import training_engine
from charlm.errors import UsageError
from charlm.facts import finite
from charlm.finetuning import (
    finetuning_notes,
    grown,
    load_base,
    model_settings,
    text_settings,
)
from charlm.model import Language, Model, rebuilt
from charlm.model_files import parse
from charlm.run_settings import Settings
from charlm.scoring import evaluate, percent
from charlm.text.batches import Context, StoredIds, TrainingBatches, context_for
from charlm.text.corpus import Corpus, prepare
from charlm.text.parts import Part
from charlm.training import Merit

_EXAMPLE_LENGTH = 120


@dataclass(frozen=True)
class LanguageLesson:
    """Implements `charlm.training.Lesson`: the parts of a corpus, and how their sequences meet."""

    train: TrainingBatches
    valid: StoredIds
    context: Context
    document: bool
    test_tokens: int = 0
    judging: bool = True  # whether validation tells which weights are the best

    @property
    def valid_tokens(self) -> int:
        return len(self.valid)

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        return evaluate(engine, self.valid, self.context, self.document, stop)

    def merit(self, valid: Tally) -> Merit | None:
        """Return nats per known token: unknown ones have no say. None where none is known."""
        nats = valid.mean_known
        return None if nats is None or not self.judging else Merit(nats)

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        return {
            f"{part}_nats": finite(tally.mean) if tally else None,
            f"{part}_nats_known": finite(tally.mean_known) if tally else None,
            f"{part}_unknown": tally.unknown if tally else None,
        }


class _LanguageCourse:
    """Implements `charlm.tasks.Course`."""

    counted, use = "tokens", "write with: charlm sample"

    def __init__(self, train: TrainConfig, corpus: Corpus, model: Model) -> None:
        language = model.language
        sequences = None if language.document else corpus.train.sequences
        newline = language.tokenizer.newline
        batches = TrainingBatches(
            corpus.train,
            train.batch_size,
            train.seq_len,
            train.seed,
            language.start,
            sequences,
            newline,
        )
        judging = not _all_unknown(corpus.valid)
        self.lesson = LanguageLesson(
            batches, corpus.valid, language.start, language.document, len(corpus.test), judging
        )
        self.drawn = not language.document or corpus.hold_out == "files"
        self.shape: list[str] = []
        self._corpus, self._model = corpus, model

    def about(self) -> list[str]:
        parts = [
            ("train", self._corpus.train),
            ("valid", self._corpus.valid),
            ("test", self._corpus.test),
        ]
        sizes = ", ".join(
            f"{len(part):,} {name}{_unknown_in(part)}" for name, part in parts if len(part)
        )
        tokenizer = self._model.tokenizer
        return [f"text: {sizes} tokens, {tokenizer.size:,} different ({tokenizer.kind})"]

    def shown(self, part: str, tally: Tally) -> str:
        return "-" if tally.mean is None else self._figure(tally.mean, tally.unknown, tally.count)

    def shown_training(self, nats: float) -> str:
        part = self._corpus.train
        return self._figure(nats, part.unknown, len(part))

    def example(self, step: int) -> str:
        return self._model.sample(_EXAMPLE_LENGTH, seed=step)

    def test(self, stop: Callable[[], bool], best: Model) -> Tally | None:
        if not len(self._corpus.test):
            return None
        return evaluate(
            best.engine, self._corpus.test, best.language.start, best.language.document, stop
        )

    def _figure(self, nats: float, unknown: int, tokens: int) -> str:
        """Return nats per token with what they mean, and which share of the tokens is unknown.

        As in `score`, there are no bits where a token is unknown or the tokenizer drops
        information.
        """
        tokenizer, part = self._model.tokenizer, self._corpus.train
        told = [f"{percent(unknown, tokens)} unknown"] if unknown else []
        if tokenizer.kind == "word":
            told.insert(0, f"perplexity {math.exp(min(nats, 700)):,.1f}")
        elif not unknown and tokenizer.lossless:
            units = part.characters + (0 if self._model.language.document else part.sequences)
            bits = nats / math.log(2) * len(part) / units
            told.append(f"{bits:.3f} bits/{'byte' if tokenizer.kind == 'byte' else 'char'}")
        return f"{nats:.4f} nats" + (f" ({', '.join(told)})" if told else "")


class _LanguageTask:
    """Implements `charlm.tasks.Task`."""

    name, section, engines = "lm", None, ("numpy", "torch")
    useless: Mapping[str, str] = MappingProxyType({})

    def check(self, given: Mapping[str, Any]) -> None:
        check_language(ModelConfig(2, bidirectional=bool(given.get("bidirectional"))))

    def base(self, given: Mapping[str, Any]) -> Model | None:
        return load_base(given)

    def inherited(self, base: Model) -> dict[str, Any]:
        return text_settings(base.language) | model_settings(base.config)

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Model | None) -> Corpus:
        grow = base is not None and not given.get("keep_vocabulary")
        language = base.language if base else None
        return _prepare(
            given["corpus"], given.get("valid_file"), given.get("test_file"), text, language, grow
        )

    def read_again(self, settings: Settings, known: Language) -> Corpus:
        files = (settings.corpus, settings.valid_file, settings.test_file)
        return _prepare(*files, settings.text, known)

    def plan(
        self, material: Corpus, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        return plan.defaults(material.train_tokens, material.tokenizer.size, given, speed)

    def resolved(self, material: Corpus, text: TextConfig) -> dict[str, Any]:
        newline = material.tokenizer.newline if material.sequences == "document" else None
        context = context_for(text.context, material.train, newline)
        return {"context": context, "hold_out": material.hold_out}

    def knowledge(self, settings: Settings, material: Corpus) -> Language:
        return Language(material.tokenizer, material.sequences, settings.text.context)

    def known(self, metadata: Mapping[str, str]) -> Language:
        return Language.from_dict(parse(metadata, "charlm.vocabulary"))

    def engine(self, settings: Settings, knowledge: Language) -> Trainable[Any]:
        return training_engine(settings.model, settings.train)

    def start(self, engine: Trainable[Any], base: Model, settings: Settings) -> Iterator[str]:
        engine.load(grown(base.trained.tensors(), base.config, settings.model.vocab_size))
        return iter(())

    def model(
        self, engine: Any, settings: Settings, knowledge: Language, facts: Mapping[str, Any]
    ) -> Model:
        return Model(engine, settings.model, knowledge, facts)

    def course(self, train: TrainConfig, material: Corpus, model: Model) -> _LanguageCourse:
        return _LanguageCourse(train, material, model)

    def notes(self, material: Corpus, settings: Settings, base: Model | None) -> Iterator[str]:
        if base:
            yield from finetuning_notes(base, material, bool(settings.keep_vocabulary))
        else:
            yield material.reason
        yield from material.notes
        yield from _empty_parts(material, settings.text)

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Model:
        return rebuilt(tensors, metadata, train)


TASK = _LanguageTask()


def _prepare(
    paths: Any,
    valid_file: Any,
    test_file: Any,
    text: TextConfig,
    language: Language | None,
    grow: bool = False,
) -> Corpus:
    """Read the corpus, with the vocabulary (which may grow) and the sequences of `language` where there is one."""
    for name, files in (("valid-file", valid_file), ("test-file", test_file)):
        if isinstance(files, list | tuple) and len(files) > 1:
            raise UsageError(
                f"a language model takes one {name}, not several: put the texts in one file"
            )
    valid, test = (
        files[0] if isinstance(files, list | tuple) else files for files in (valid_file, test_file)
    )
    tokenizer, sequences = (language.tokenizer, language.sequences) if language else (None, None)
    return prepare(paths, text, valid, test, tokenizer, sequences, grow=grow)


def _unknown_in(part: Part) -> str:
    return f" ({percent(part.unknown, len(part))} unknown)" if part.unknown else ""


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
