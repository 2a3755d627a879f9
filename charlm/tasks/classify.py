"""Classification: one label for a text, of those that the training part has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.classifier import Classes, Classifier, evaluate, rebuilt
from charlm.config import LABELS, POOLINGS, Section, TextConfig, TrainConfig, one_of, share, within
from charlm.courses import AnswersCourse, row
from charlm.engines import Tally, Trainable
from charlm.engines.classifier import ClassifierEngine
from charlm.facts import finite
from charlm.finetuning import body_settings, body_weights, load_body, tokenizer_settings
from charlm.metrics import ClassFigures
from charlm.nn.ngrams import MOST
from charlm.plan import classifier_defaults
from charlm.run_files import listed
from charlm.run_settings import Settings, refuse_beside
from charlm.scoring import percent
from charlm.text.labelled import LabelledCorpus, prepare_labelled
from charlm.text.labelled_part import LabelledPart
from charlm.text.packing import WholeTextBatches
from charlm.training import Merit

_MOST_TOKENS = 1 << 20
_STEPS = 32  # of a chunk, unless a text is longer: short texts fill its columns well, and there are columns for threads


@dataclass(frozen=True)
class ClassifyConfig(Section):
    """What only a classifier has to be told: where labels stand, and what is made of a text."""

    labels: str | None = None
    pool: str = "last"
    max_length: int = 1000
    balance: bool = False
    ngrams: int = 0
    token_dropout: float = 0.0
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None:
            one_of("labels", self.labels, LABELS)
        one_of("pool", self.pool, POOLINGS)
        within("max-length", self.max_length, 1, _MOST_TOKENS)
        within("ngrams", self.ngrams, 0, MOST)
        share("token-dropout", self.token_dropout)
        within("embedding-scale", self.embedding_scale, 0, 10)


@dataclass(frozen=True)
class ClassifyLesson:
    """Implements `charlm.training.Lesson`: labelled texts, and the accuracy as what the best weights are chosen by."""

    train: WholeTextBatches
    valid: LabelledPart
    test: LabelledPart
    common: int

    @property
    def valid_tokens(self) -> int:
        return self.valid.tokens

    @property
    def test_tokens(self) -> int:
        return self.test.tokens

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        return evaluate(engine, self.valid, stop)

    def merit(self, valid: Tally) -> Merit | None:
        """Return the accuracy, equal ones told apart by nats; None where no text has a label that is known."""
        figures = self.class_figures("valid", valid)
        return None if figures.nats is None else Merit(figures.nats, figures.right, figures.texts)

    def class_figures(self, part: str, tally: Tally) -> ClassFigures:
        """Return the figures of the validation or the test part."""
        return ClassFigures(
            tally, self.common, len((self.test if part == "test" else self.valid).unseen_names)
        )

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        names = ("accuracy", "macro_f1", "nats", "majority")
        found = self.class_figures(part, tally) if tally else None
        return {f"{part}_{name}": finite(getattr(found, name)) if found else None for name in names}


class _ClassifyCourse(AnswersCourse):
    """Implements `charlm.tasks.Course`."""

    counted, drawn, use = "texts", True, "use it with: charlm predict"
    headings = ("accuracy", "macro F1", "nats")

    def __init__(self, train: TrainConfig, corpus: LabelledCorpus, model: Classifier) -> None:
        weights = _label_weights(corpus.train.counts) if model.classes.balance else None
        batches = WholeTextBatches(corpus.train, train.batch_size, _STEPS, train.seed, weights)
        self.lesson = ClassifyLesson(batches, corpus.valid, corpus.test, model.classes.common)
        ngrams = model.classes.ngrams
        self.shape = [
            f"pooling {model.classes.pool}",
            *([f"n-grams up to {ngrams}"] if ngrams else []),
        ]
        self._corpus = corpus

    def about(self) -> list[str]:
        corpus, counts = self._corpus, self._corpus.train.counts
        parts = [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in parts if len(part))
        rare, common = int(counts.argmin()), int(counts.argmax())
        times = "once" if counts[rare] == 1 else f"{counts[rare]:,} times"
        share = percent(int(counts[common]), int(counts.sum()))
        tokenizer, valid = corpus.tokenizer, corpus.valid
        unknown = (
            f", {percent(valid.unknown, valid.tokens)} of valid unknown" if valid.unknown else ""
        )
        return [
            f"texts: {sizes}; {corpus.train.tokens:,} tokens to train on, {tokenizer.size:,} different "
            f"({tokenizer.kind}{unknown})",
            f"labels: {len(corpus.names):,}, the rarest ({corpus.names[rare]}) {times}; always "
            f"{corpus.names[common]} would be right in {share} of the training texts",
        ]

    def shown(self, part: str, tally: Tally) -> str:
        figures = self.lesson.class_figures(part, tally)
        if figures.accuracy is None:
            return "-"
        nats = "-" if figures.nats is None else f"{figures.nats:.4f}"
        return (
            f"accuracy {100 * figures.accuracy:.2f} %, macro F1 {figures.macro_f1:.3f}, {nats} nats"
        )

    def values(self, part: str, tally: Tally) -> tuple[str, ...]:
        found = self.lesson.class_figures(part, tally)
        return row(found.accuracy, found.macro_f1, nats=found.nats)

    def test(self, stop: Callable[[], bool], best: Classifier) -> Tally | None:
        return best.tally(self._corpus.test, stop) if len(self._corpus.test) else None


class _ClassifyTask:
    """Implements `charlm.tasks.Task`."""

    name, section, engines = "classify", ClassifyConfig, ("numpy",)
    useless = MappingProxyType({"seq_len": "texts are read whole"})

    def check(self, given: Mapping[str, Any]) -> None:
        refuse_beside(
            given, "classes",
            context="each text begins from zero",
            layers="without a network nothing would tell them apart",
            tie="the output has labels, not tokens",
        )  # fmt: skip

    def base(self, given: Mapping[str, Any]) -> Any:
        return load_body(given)

    def inherited(self, base: Any) -> dict[str, Any]:
        return tokenizer_settings(base.language) | body_settings(base.config)

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Any) -> LabelledCorpus:
        grow = base is not None and not given.get("keep_vocabulary")
        own = ClassifyConfig.from_dict(
            {name: given[name] for name in ("labels", "max_length") if name in given}
        )
        held = (listed(given.get("valid_file")), listed(given.get("test_file")))
        tokenizer = base.tokenizer if base else None
        return prepare_labelled(
            given["corpus"], text, own.labels, *held, tokenizer, None, own.max_length, grow=grow
        )

    def read_again(self, settings: Settings, known: Classes) -> LabelledCorpus:
        held = (listed(settings.valid_file), listed(settings.test_file))
        longest = known.max_length
        return prepare_labelled(
            settings.corpus, settings.text, known.form, *held, known.tokenizer, known.names, longest
        )

    def plan(
        self, material: LabelledCorpus, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        train = material.train
        return classifier_defaults(train.tokens, len(train), material.tokenizer.size, given, speed)

    def resolved(self, material: LabelledCorpus, text: TextConfig) -> dict[str, Any]:
        return {
            "labels": material.labels,
            "sequences": material.sequences,
            "context": "sequence",
            "hold_out": "parts",
        }

    def knowledge(self, settings: Settings, material: LabelledCorpus) -> Classes:
        own = settings.own
        assert isinstance(own, ClassifyConfig)
        counts = tuple(material.train.counts.tolist())
        return Classes(
            material.tokenizer,
            material.names,
            counts,
            material.labels,
            own.pool,
            own.max_length,
            own.balance,
            own.ngrams,
            material.sequences,
        )

    def known(self, metadata: Mapping[str, str]) -> Classes:
        return Classes.of_file(metadata)

    def engine(self, settings: Settings, knowledge: Classes) -> ClassifierEngine:
        train = settings.train
        labels, threads = len(knowledge.names), train.threads or 1
        own = settings.own
        assert isinstance(own, ClassifyConfig)
        return ClassifierEngine(
            settings.model,
            labels,
            knowledge.pool,
            threads,
            train,
            knowledge.ngrams,
            own.token_dropout,
            own.embedding_scale,
        )

    def start(self, engine: Trainable[Any], base: Any, settings: Settings) -> Iterator[str]:
        weights, note = body_weights(engine.tensors(), base, settings.model)
        engine.load(weights)
        yield note

    def model(
        self, engine: Any, settings: Settings, knowledge: Classes, facts: dict[str, Any], material: LabelledCorpus
    ) -> Classifier:
        return Classifier(engine, settings.model, knowledge, facts)

    def course(
        self, train: TrainConfig, material: LabelledCorpus, model: Classifier
    ) -> _ClassifyCourse:
        return _ClassifyCourse(train, material, model)

    def notes(self, material: LabelledCorpus, settings: Settings, base: Any) -> Iterator[str]:
        yield material.reason
        yield from material.notes
        own = settings.own
        if isinstance(own, ClassifyConfig) and own.balance:
            yield (
                "balance: every label counts for as much as any other in training, so the probabilities are those of "
                "texts of which each label has as many; the figures weigh nothing"
            )

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Classifier:
        return rebuilt(tensors, metadata, train)


TASK = _ClassifyTask()



def _label_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what a text of each label counts so that all labels count alike, and a text 1 in the mean."""
    here = counts > 0
    weights = np.zeros(len(counts))
    weights[here] = counts.sum() / (here.sum() * counts[here])
    return weights.astype(np.float32)
