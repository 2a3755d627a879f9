"""The language model of labelled texts: what comes next in a text, given its label and what came
before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charlm.config import LABELS, LanguageConfig, TextConfig, TrainConfig, one_of
from charlm.counted import counted_by_label
from charlm.counts.labelled import AnyCounts
from charlm.counts.table import Counts
from charlm.engines import Trainable
from charlm.engines.choice import training_engine
from charlm.finetuning import (
    begun,
    load_network,
    model_settings,
    tokenizer_settings,
    vocabulary_notes,
)
from charlm.label_files import labelled_files
from charlm.labelled import LabelledModel, known_labels, rebuilt
from charlm.language import Language
from charlm.model import Model
from charlm.run_files import listed
from charlm.run_settings import LABELLED, Settings, refuse_beside
from charlm.scoring import percent
from charlm.tasks.lm import LanguageCourse, LanguageTask, counts_of_run, empty_parts
from charlm.text.label_names import Labels
from charlm.text.labelled import prepare_labelled
from charlm.text.labelled_ids import ConditionalCorpus

_JUDGED = 1 << 20  # tokens of validation texts, read under each label, that tell what is usual


@dataclass(frozen=True)
class LabelledConfig(LanguageConfig):
    """What only a language model of labelled texts has to be told: where labels stand.

    label: files whose texts all have one label, as NAME=FILE.
    """

    labels: str | None = None
    label: list | None = None  # type: ignore[type-arg]  # as check_type knows it

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None:
            one_of("labels", self.labels, LABELS)

    def to_dict(self) -> dict[str, Any]:
        named = {} if self.label is None else {"label": self.label}
        return super().to_dict() | {"labels": self.labels} | named


class _LabelledCourse(LanguageCourse):
    """Implements `charlm.tasks.Course` and `charlm.tasks.Concluding`."""

    use = "write with: charlm sample --label LABEL"

    def __init__(self, train: TrainConfig, corpus: ConditionalCorpus, model: Model) -> None:
        super().__init__(train, corpus, model)
        valid, labels = corpus.labelled.valid, len(corpus.labelled.names)
        most = max(1, _JUDGED // (labels * max(1, len(valid.ids) // max(1, len(valid)))))
        count = min(most, len(valid))
        self._judged = np.linspace(0, len(valid) - 1, count).astype(np.int64)  # evenly spread
        tokens = labels * int((valid.lengths(self._judged) + 1).sum())
        self.lesson = replace(self.lesson, test_tokens=self.lesson.test_tokens + tokens)

    def about(self) -> list[str]:
        corpus = self._corpus
        assert isinstance(corpus, ConditionalCorpus)
        counts, names = corpus.labelled.train.counts, corpus.labelled.names
        rare, common = int(counts.argmin()), int(counts.argmax())
        times = "once" if counts[rare] == 1 else f"{counts[rare]:,} times"
        share = percent(int(counts[common]), int(counts.sum()))
        labels = (
            f"labels: {len(names):,}, the rarest ({names[rare]}) {times}, "
            f"the commonest ({names[common]}) in {share} of the training texts"
        )
        return [*super().about(), labels]

    def conclusion(self, stop: Callable[[], bool], best: Model) -> dict[str, Any]:
        """Return how much validation texts surprise, whatever their labels."""
        assert isinstance(self._corpus, ConditionalCorpus)
        assert isinstance(best, LabelledModel)
        if not len(self._judged) or stop():
            return {}
        return best.told_surprise(self._corpus.labelled.valid.texts(self._judged))

    def example(self, step: int) -> str:
        """Return a text of a label: of one after the other in the course of a run."""
        model = self._model
        assert isinstance(model, LabelledModel)
        label = model.labels[step % len(model.labels)]
        return f"{label}: {model.sample(self.example_length, seed=step, label=label)}"


class _LabelledTask(LanguageTask):
    """Implements `charlm.tasks.Task`."""

    name, section = LABELLED, LabelledConfig

    def check(self, given: Mapping[str, Any]) -> None:
        refuse_beside(
            given, "labels",
            context="each text begins with its own",
            layers="counts alone do not know them",
            tie="they have rows of the embedding, which the output has not",
        )  # fmt: skip
        super().check(given)

    def base(self, given: Mapping[str, Any]) -> Model | None:
        return load_network(given)

    def inherited(self, base: Model) -> dict[str, Any]:
        return tokenizer_settings(base.language) | model_settings(base.config)

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Model | None) -> Any:
        grow = base is not None and not given.get("keep_vocabulary")
        tokenizer = base.tokenizer if base else None
        held = (listed(given.get("valid_file")), listed(given.get("test_file")))
        return ConditionalCorpus.of(
            prepare_labelled(
                labelled_files(given["corpus"], given.get("label")),
                text,
                given.get("labels"),
                *held,
                tokenizer,
                grow=grow,
            )
        )

    def read_again(self, settings: Settings, known: Language) -> Any:
        labels, own = known_labels(known), settings.own
        assert isinstance(own, LabelledConfig)
        held = (listed(settings.valid_file), listed(settings.test_file))
        files = labelled_files(settings.corpus, own.label)
        return ConditionalCorpus.of(
            prepare_labelled(
                files, settings.text, labels.form, *held, known.tokenizer, labels.names
            )
        )

    def plan(
        self, material: Any, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        settings, reason = super().plan(material, given, speed)
        return settings | {"tie": False}, reason

    def resolved(self, material: Any, text: TextConfig) -> dict[str, Any]:
        corpus = material.labelled
        return {
            "labels": corpus.labels,
            "sequences": corpus.sequences,
            "context": "sequence",
            "hold_out": "parts",
        }

    def knowledge(self, settings: Settings, material: Any) -> Language:
        corpus = material.labelled
        labels = Labels(corpus.names, tuple(corpus.train.counts.tolist()), corpus.labels)
        return Language(material.tokenizer, material.sequences, settings.text.context, labels)

    def known(self, metadata: Mapping[str, str]) -> Language:
        language = super().known(metadata)
        known_labels(language)
        return language

    def engine(self, settings: Settings, knowledge: Language) -> Trainable[Any]:
        beginnings = len(known_labels(knowledge).names)
        return training_engine(replace(settings.model, beginnings=beginnings), settings.train)

    def start(self, engine: Trainable[Any], base: Model, settings: Settings) -> Iterator[str]:
        shape = settings.model
        first = engine.tensors()
        engine.load(begun(base, shape.vocab_size, first))
        yield (
            "labels: each begins as the zero vector, which the texts of the model to start from "
            "began with"
        )
        yield from self.left_behind(base, settings)

    def model(
        self,
        engine: Any,
        settings: Settings,
        knowledge: Language,
        facts: dict[str, Any],
        material: Any,
    ) -> LabelledModel:
        counts = _counts(settings, knowledge, facts, material)
        shape = replace(settings.model, beginnings=len(known_labels(knowledge).names))
        return LabelledModel(engine, shape, knowledge, facts, counts)

    def course(self, train: TrainConfig, material: Any, model: Model) -> _LabelledCourse:
        return _LabelledCourse(train, material, model)

    def notes(self, material: Any, settings: Settings, base: Model | None) -> Iterator[str]:
        yield material.reason
        if base:
            yield from vocabulary_notes(base, material, bool(settings.keep_vocabulary))
        yield from material.notes
        yield from empty_parts(material, settings.text)

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> LabelledModel:
        return rebuilt(tensors, metadata, train)


def _counts(
    settings: Settings, knowledge: Language, facts: dict[str, Any], material: ConditionalCorpus
) -> AnyCounts | None:
    """Return the counts that a run's settings ask for: of all texts, and of each label's own unless
    they are those of a file.
    """
    own, minutes = settings.own, settings.train.minutes
    if minutes is not None:  # so that both together take what one may
        settings = replace(settings, train=replace(settings.train, minutes=minutes / 2))
    every = counts_of_run(settings, knowledge, facts, material)
    if isinstance(every, Counts) and isinstance(own, LabelledConfig) and own.counts:
        tokens = facts["counted_tokens"]
        return counted_by_label(every, material.labelled.train, own.counts, knowledge, tokens)
    return every


TASK = _LabelledTask()
