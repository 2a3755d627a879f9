"""Tagging: a tag for every word of a sentence, or for every character of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from charlm.config import UNITS, Section, TextConfig, TrainConfig, one_of, share, within
from charlm.courses import AnswersCourse, row
from charlm.engines import Tally, Trainable
from charlm.engines.tagger import TaggerEngine
from charlm.errors import UsageError
from charlm.facts import finite
from charlm.finetuning import body_settings, body_weights, load_body, tokenizer_settings
from charlm.nn.ngrams import MOST
from charlm.plan import tagger_defaults
from charlm.run_files import listed
from charlm.run_settings import Settings, refuse_beside
from charlm.scoring import percent
from charlm.tag_metrics import TagFigures
from charlm.tagger import Tagger, evaluate, rebuilt
from charlm.tags import Tags
from charlm.text.tag_forms import CHARACTERS
from charlm.text.tag_packing import WholeSentenceBatches
from charlm.text.tagged import TaggedCorpus, prepare_tagged
from charlm.text.tagged_part import TaggedPart
from charlm.training import Merit

_MOST_TOKENS, _MOST_COLUMN, _WIDEST = 1 << 20, 1 << 16, 1 << 16
_STEPS = 32  # of a chunk, unless a sentence is longer
_READ = (
    "tags",
    "token_column",
    "column",
    "max_length",
)  # settings that the reading of a corpus knows
_TOKENS_ALONE = "the tokens are those of the columns"


@dataclass(frozen=True)
class TagConfig(Section):
    """What only a tagger has to be told: what has tags, where they stand, and what a word is read
    by."""

    tags: str | None = None
    token_column: int | None = None
    column: int | None = None
    crf: bool = False
    char_hidden: int = 0
    ngrams: int = 0
    token_dropout: float = 0.0
    embedding_scale: float = 1.0
    max_length: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tags is not None:
            one_of("tags", self.tags, UNITS)
        for name, column in (("token-column", self.token_column), ("column", self.column)):
            within(name, column, -_MOST_COLUMN, _MOST_COLUMN)
            if column == 0:
                raise UsageError(
                    f"{name} counts from 1, or from the last, -1, backwards: 0 is none"
                )
        within("char-hidden", self.char_hidden, 0, _WIDEST)
        within("ngrams", self.ngrams, 0, MOST)
        share("token-dropout", self.token_dropout)
        within("embedding-scale", self.embedding_scale, 0, 10)
        within("max-length", self.max_length, 1, _MOST_TOKENS)


@dataclass(frozen=True)
class TagLesson:
    """Implements `charlm.training.Lesson`: the best weights are those of the best span F1, or else
    accuracy."""

    train: WholeSentenceBatches
    valid: TaggedPart
    test: TaggedPart
    tags: Tags

    @property
    def valid_tokens(self) -> int:
        return self.valid.tokens

    @property
    def test_tokens(self) -> int:
        return self.test.tokens

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        return evaluate(engine, self.valid, self.tags, stop)

    def merit(self, valid: Tally) -> Merit | None:
        """Return the span F1 or the accuracy, equal ones told apart by nats; None where no tag is
        known."""
        figures = self.tag_figures("valid", valid)
        if figures.nats is None:
            return None
        right, of = figures.merit
        return Merit(figures.nats, right, max(1, of))

    def tag_figures(self, part: str, tally: Tally) -> TagFigures:
        """Return the figures of the validation or the test part."""
        unseen = len((self.test if part == "test" else self.valid).unseen_names)
        return TagFigures(tally, self.tags.names, self.tags.common, unseen)

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        words = ("word_accuracy",) if self.tags.of_characters else ()
        names = ("accuracy", "span_f1", "unknown_accuracy", *words, "nats")
        found = self.tag_figures(part, tally) if tally else None
        return {f"{part}_{name}": finite(getattr(found, name)) if found else None for name in names}


class _TagCourse(AnswersCourse):
    """Implements `charlm.tasks.Course`."""

    counted, drawn, use = "tags", True, "use it with: charlm predict"

    def __init__(self, train: TrainConfig, corpus: TaggedCorpus, model: Tagger) -> None:
        tags = model.tags
        batches = WholeSentenceBatches(
            corpus.train, train.batch_size, _STEPS, train.seed, tags.reading
        )
        self.lesson = TagLesson(batches, corpus.valid, corpus.test, tags)
        self.shape = [
            *([f"characters of words by {tags.char_hidden}"] if tags.char_hidden else []),
            *([f"n-grams of up to {tags.ngrams} characters"] if tags.ngrams else []),
            *(["transitions of tags learnt"] if tags.crf else []),
        ]
        spans = ("span F1",) if tags.scheme else ()
        self.headings = (*spans, "accuracy", "nats")
        self._corpus, self._tags = corpus, tags

    def about(self) -> list[str]:
        corpus, tags = self._corpus, self._tags
        parts = [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]
        sizes = ", ".join(f"{part.whole:,} {name}" for name, part in parts if len(part))
        valid, counts = corpus.valid, corpus.train.counts
        unknown = (
            f", {percent(valid.unknown, valid.tokens)} of valid unknown" if valid.unknown else ""
        )
        common = tags.names[tags.common] or "the character itself"
        many = "lines" if tags.of_characters else "sentences"
        return [
            f"{many}: {sizes}; {corpus.train.tokens:,} {tags.unit} to train on, "
            f"{corpus.tokenizer.size:,} different "
            f"({corpus.tokenizer.kind}{unknown})",
            f"tags: {len(tags.names):,}; always {common} would be right in "
            f"{percent(int(counts.max()), int(counts.sum()))} of the training {tags.unit}",
        ]

    def shown(self, part: str, tally: Tally) -> str:
        figures = self.lesson.tag_figures(part, tally)
        if figures.accuracy is None:
            return "-"
        spans = [] if figures.span_f1 is None else [f"span F1 {100 * figures.span_f1:.2f} %"]
        of = (("unknown", figures.unknown_accuracy), ("words", figures.word_accuracy))
        return ", ".join([
            *spans, f"accuracy {100 * figures.accuracy:.2f} %",
            *(f"{name} {100 * share:.2f} %" for name, share in of if share is not None),
            "- nats" if figures.nats is None else f"{figures.nats:.4f} nats",
        ])  # fmt: skip

    def values(self, part: str, tally: Tally) -> tuple[str, ...]:
        found = self.lesson.tag_figures(part, tally)
        spans = [found.span_f1] if self._tags.scheme else []
        return row(*spans, found.accuracy, nats=found.nats)

    def test(self, stop: Callable[[], bool], best: Tagger) -> Tally | None:
        return best.tally(self._corpus.test, stop) if len(self._corpus.test) else None


class _TagTask:
    """Implements `charlm.tasks.Task`."""

    name, section, engines = "tag", TagConfig, ("numpy",)
    useless = MappingProxyType({
        "seq_len": "sentences are read whole", "punctuation": _TOKENS_ALONE,
        "word_pattern": _TOKENS_ALONE,
    })  # fmt: skip

    def check(self, given: Mapping[str, Any]) -> None:
        if given.get("tokenizer") == "byte":
            raise UsageError(
                "tokenizer byte does not go with tags: a tag is a word's or a character's"
            )
        if given.get("tokenizer") == "word" and given.get("tags") == "characters":
            raise UsageError(
                "tokenizer word does not go with tags characters: each of them is read"
            )
        refuse_beside(
            given, "tags",
            context="each sentence begins from zero",
            layers="without a network nothing would tell them apart",
            tie="the output has tags, not tokens",
        )  # fmt: skip

    def base(self, given: Mapping[str, Any]) -> Any:
        return load_body(given)

    def inherited(self, base: Any) -> dict[str, Any]:
        """Return them, but for those that say what a word is: columns do."""
        cuts = ("word_pattern", "punctuation")
        kept = {
            name: value
            for name, value in tokenizer_settings(base.language).items()
            if name not in cuts
        }
        return kept | body_settings(base.config)

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Any) -> TaggedCorpus:
        if "tokenizer" not in given:
            text = replace(text, tokenizer="word")
        own = TagConfig.from_dict({name: given[name] for name in _READ if name in given})
        lower = text.tokenizer == "word" and given.get("lowercase") is None
        return prepare_tagged(
            given["corpus"], text, own.tags, own.token_column, own.column,
            listed(given.get("valid_file")), listed(given.get("test_file")),
            tokenizer=base.tokenizer if base else None,
            grow=base is not None and not given.get("keep_vocabulary"), longest=own.max_length,
            lower_words=lower,
        )  # fmt: skip

    def read_again(self, settings: Settings, known: Tags) -> TaggedCorpus:
        own = _own(settings)
        return prepare_tagged(
            settings.corpus, settings.text, own.tags, own.token_column, own.column,
            listed(settings.valid_file), listed(settings.test_file), known.encoder, known.names,
            longest=own.max_length,
        )  # fmt: skip

    def plan(
        self, material: TaggedCorpus, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        kind, characters = material.tokenizer.kind, material.unit == CHARACTERS
        for name in () if kind == "word" else ("char_hidden", "ngrams"):
            if given.get(name):
                what = (
                    "characters have the tags"
                    if characters
                    else "tokenizer char reads them one by one"
                )
                raise UsageError(
                    f"{name.replace('_', '-')} is for words that are read whole: {what}"
                )
        steps = material.train.tokens + (
            0 if kind == "word" or characters else material.train.characters
        )
        read = CHARACTERS if characters else kind
        planned, reason = tagger_defaults(read, steps, material.train.characters, given, speed)
        return planned | {"crf": material.scheme is not None}, reason

    def resolved(self, material: TaggedCorpus, text: TextConfig) -> dict[str, Any]:
        read = material.tokenizer.to_dict()
        return {
            "tags": material.unit, "tokenizer": material.tokenizer.kind,
            "lowercase": read["lowercase"],
            "sequences": "line", "context": "sequence", "hold_out": "parts",
        }  # fmt: skip

    def knowledge(self, settings: Settings, material: TaggedCorpus) -> Tags:
        own = _own(settings)
        return Tags(
            material.encoder, material.form, material.names,
            tuple(material.train.counts.tolist()), material.scheme,
            own.max_length, own.crf, own.char_hidden, ngrams=own.ngrams,
        )  # fmt: skip

    def known(self, metadata: Mapping[str, str]) -> Tags:
        return Tags.of_file(metadata)

    def engine(self, settings: Settings, knowledge: Tags) -> TaggerEngine:
        own, train = _own(settings), settings.train
        shape = knowledge.shape(settings.model)
        return TaggerEngine(
            shape,
            train.threads or 1,
            train,
            own.token_dropout,
            own.embedding_scale,
            knowledge.kinds,
        )

    def start(self, engine: Trainable[Any], base: Any, settings: Settings) -> Iterator[str]:
        weights, note = body_weights(engine.tensors(), base, settings.model)
        engine.load(weights)
        yield note

    def model(
        self,
        engine: Any,
        settings: Settings,
        knowledge: Tags,
        facts: dict[str, Any],
        material: TaggedCorpus,
    ) -> Tagger:
        return Tagger(engine, settings.model, knowledge, facts)

    def course(self, train: TrainConfig, material: TaggedCorpus, model: Tagger) -> _TagCourse:
        return _TagCourse(train, material, model)

    def notes(self, material: TaggedCorpus, settings: Settings, base: Any) -> Iterator[str]:
        yield material.reason
        yield from material.notes

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Tagger:
        return rebuilt(tensors, metadata, train)


TASK = _TagTask()


def _own(settings: Settings) -> TagConfig:
    assert isinstance(settings.own, TagConfig)
    return settings.own
