"""Converting: a text into another of any length, by an encoder that reads it and a decoder that
writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from charlm.config import TOKENIZERS, Section, TextConfig, TrainConfig, one_of, within
from charlm.conversion import Conversion
from charlm.convert_evaluation import Sources, evaluate
from charlm.convert_metrics import ConvertFigures
from charlm.converter import Converter, rebuilt
from charlm.courses import AnswersCourse, row
from charlm.engines import Tally, Trainable
from charlm.engines.converter import ConverterEngine
from charlm.errors import UsageError
from charlm.facts import finite
from charlm.finetuning import encoder_settings, encoder_weights, load_encoder
from charlm.plan import converter_defaults
from charlm.run_files import listed
from charlm.run_settings import Settings, refuse_beside
from charlm.scoring import percent
from charlm.text.pair_packing import WholePairBatches
from charlm.text.pairs import PairCorpus, Sides, prepare_pairs
from charlm.training import Merit

_MOST_TOKENS = 1 << 20
_STEPS = 32  # of a chunk, unless a text is longer
_EVALUATED = 2000  # sources of the validation part that the best weights are chosen by
_DECODING = 3  # what an evaluation costs over reading its pairs: they are decoded too


@dataclass(frozen=True)
class ConvertConfig(Section):
    """What only a converter has to be told: what a token of either side is, and whether the decoder
    looks at the source."""

    source_tokenizer: str | None = None
    target_tokenizer: str | None = None
    source_pattern: str | None = None
    target_pattern: str | None = None
    attention: bool = True
    max_length: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in ("source", "target"):
            kind, pattern = getattr(self, f"{side}_tokenizer"), getattr(self, f"{side}_pattern")
            if kind is not None:
                one_of(f"{side}-tokenizer", kind, TOKENIZERS)
            if pattern is not None and kind not in (None, "word"):
                raise UsageError(f"{side}-pattern needs {side}-tokenizer word, not {kind}")
        within("max-length", self.max_length, 1, _MOST_TOKENS)

    def sides(self, text: TextConfig) -> Sides:
        """Return how both sides become tokens: words where there is a pattern, else as `text`
        says."""

        def kind(given: str | None, pattern: str | None) -> str:
            return given or ("word" if pattern is not None else text.tokenizer)

        source = kind(self.source_tokenizer, self.source_pattern)
        target = kind(self.target_tokenizer, self.target_pattern)
        return Sides.of(text, source, target, self.source_pattern, self.target_pattern)


@dataclass(frozen=True)
class ConvertLesson:
    """Implements `charlm.training.Lesson`: the best weights are those of the best exact match.

    They are chosen by `chosen`, a fixed share of the validation part where that is large; `rest`
    says how many tokens a reading of all of it takes then.
    """

    train: WholePairBatches
    chosen: Sources
    rest: int
    test: int
    conversion: Conversion

    @property
    def valid_tokens(self) -> int:
        return _DECODING * self.chosen.tokens

    @property
    def test_tokens(self) -> int:
        return _DECODING * (self.test + self.rest)

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        return evaluate(engine, self.chosen, self.conversion, stop)

    def merit(self, valid: Tally) -> Merit | None:
        """Return the share of exact matches, equal ones told apart by nats."""
        figures = ConvertFigures(valid)
        if figures.nats is None:
            return None
        right, of = figures.merit
        return Merit(figures.nats, right, max(1, of))

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        names = ("exact_match", "word_error_rate", "symbol_error_rate", "nats")
        found = ConvertFigures(tally) if tally else None
        return {f"{part}_{name}": finite(getattr(found, name)) if found else None for name in names}


class _ConvertCourse(AnswersCourse):
    """Implements `charlm.tasks.Course`."""

    counted, drawn, use = "targets", True, "use it with: charlm predict"
    headings = ("exact", "errors", "nats")
    unit = "exact: targets that are right, errors: of their symbols, in percent; train, nats: per token"

    def __init__(self, train: TrainConfig, corpus: PairCorpus, model: Converter) -> None:
        known = model.conversion
        batches = WholePairBatches(corpus.train, train.batch_size, _STEPS, train.seed)
        chosen = Sources.of(corpus.valid, _EVALUATED)
        rest = corpus.valid.tokens if len(chosen.numbers) < len(corpus.valid) else 0
        self.lesson = ConvertLesson(batches, chosen, rest, corpus.test.tokens, known)
        self.shape = ["attention" if known.attention else "no attention"]
        self._corpus = corpus

    def about(self) -> list[str]:
        corpus = self._corpus
        parts = [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in parts if len(part))
        read = len(corpus.train.sources) - len(corpus.train)
        written = len(corpus.train.targets) - len(corpus.train)
        unknown = corpus.valid.sources.unknown
        share = percent(unknown, max(1, len(corpus.valid.sources) - len(corpus.valid)))
        some = f", {share} of valid unknown" if unknown else ""
        lines = [
            f"pairs: {sizes}; {read:,} tokens of sources to train on, {corpus.source.size:,} "
            f"different ({corpus.source.kind}{some}), {written:,} of targets, "
            f"{corpus.target.size:,} different ({corpus.target.kind})"
        ]
        if self.lesson.rest:
            lines.append(
                f"validation: {len(self.lesson.chosen):,} sources until the end, then all of them"
            )
        return lines

    def shown(self, part: str, tally: Tally) -> str:
        figures = ConvertFigures(tally)
        if figures.exact_match is None:
            return "-"
        symbols = figures.symbol_error_rate
        return ", ".join([
            f"exact match {100 * figures.exact_match:.2f} %",
            *([] if symbols is None else [f"symbol errors {100 * symbols:.2f} %"]),
            "- nats" if figures.nats is None else f"{figures.nats:.4f} nats",
        ])  # fmt: skip

    def values(self, part: str, tally: Tally) -> tuple[str, ...]:
        found = ConvertFigures(tally)
        return row(found.exact_match, found.symbol_error_rate, nats=found.nats)

    def validate(self, stop: Callable[[], bool], best: Converter) -> Tally | None:
        return best.tally(self._corpus.valid, stop) if self.lesson.rest else None

    def test(self, stop: Callable[[], bool], best: Converter) -> Tally | None:
        return best.tally(self._corpus.test, stop) if len(self._corpus.test) else None


class _ConvertTask:
    """Implements `charlm.tasks.Task`."""

    name, section, engines = "convert", ConvertConfig, ("numpy",)
    useless = MappingProxyType({
        "seq_len": "sources and targets are read whole",
        "punctuation": "--source-pattern and --target-pattern say what a word is",
        "word_pattern": "--source-pattern and --target-pattern say what a word is",
    })  # fmt: skip

    def check(self, given: Mapping[str, Any]) -> None:
        refuse_beside(
            given, "task convert",
            context="each source and each target begins from zero",
            layers="without a network nothing would be written",
            tie="sources and targets have vocabularies of their own",
        )  # fmt: skip
        text = TextConfig(given.get("tokenizer") or "char")
        if given.get("lowercase") and _own(given).sides(text).source.tokenizer == "byte":
            raise UsageError(
                "lowercase does not go with sources of bytes: they are kept as they are"
            )

    def base(self, given: Mapping[str, Any]) -> Any:
        return load_encoder(given)

    def inherited(self, base: Any) -> dict[str, Any]:
        return encoder_settings(base)

    def read(self, given: Mapping[str, Any], text: TextConfig, base: Any) -> PairCorpus:
        own = _own((encoder_settings(base) if base else {}) | dict(given))
        return prepare_pairs(
            given["corpus"], text, own.sides(text), listed(given.get("valid_file")),
            listed(given.get("test_file")), begun=base.tokenizer if base else None,
            longest=own.max_length,
            grow=not given.get("keep_vocabulary"),
        )  # fmt: skip

    def read_again(self, settings: Settings, known: Conversion) -> PairCorpus:
        own = _own_of(settings)
        return prepare_pairs(
            settings.corpus, settings.text, own.sides(settings.text), listed(settings.valid_file),
            listed(settings.test_file), (known.source, known.target), longest=own.max_length,
        )  # fmt: skip

    def plan(
        self, material: PairCorpus, given: Mapping[str, Any], speed: Callable[[], float]
    ) -> tuple[dict[str, Any], str]:
        train = material.train
        sizes = len(train), len(train.sources), len(train.targets)
        return converter_defaults(*sizes, given, speed)

    def resolved(self, material: PairCorpus, text: TextConfig) -> dict[str, Any]:
        return {
            "source_tokenizer": material.source.kind, "target_tokenizer": material.target.kind,
            "sequences": "line", "context": "sequence", "hold_out": "parts",
        }  # fmt: skip

    def knowledge(self, settings: Settings, material: PairCorpus) -> Conversion:
        own = _own_of(settings)
        return Conversion(
            material.source, material.target, own.attention, material.per_token, material.excess,
            own.max_length,
        )  # fmt: skip

    def known(self, metadata: Mapping[str, str]) -> Conversion:
        return Conversion.of_file(metadata)

    def engine(self, settings: Settings, knowledge: Conversion) -> ConverterEngine:
        train = settings.train
        return ConverterEngine(knowledge.shape(settings.model), train.threads or 1, train)

    def start(self, engine: Trainable[Any], base: Any, settings: Settings) -> Iterator[str]:
        assert isinstance(engine, ConverterEngine)
        weights, note = encoder_weights(engine.tensors(), base, engine.shape.encoder)
        engine.load(weights)
        yield note

    def model(
        self, engine: Any, settings: Settings, knowledge: Conversion, facts: dict[str, Any],
        material: PairCorpus,
    ) -> Converter:  # fmt: skip
        return Converter(engine, settings.model, knowledge, facts)

    def course(self, train: TrainConfig, material: PairCorpus, model: Converter) -> _ConvertCourse:
        return _ConvertCourse(train, material, model)

    def notes(self, material: PairCorpus, settings: Settings, base: Any) -> Iterator[str]:
        yield from material.notes

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Converter:
        return rebuilt(tensors, metadata, train)


TASK = _ConvertTask()


def _own(given: Mapping[str, Any]) -> ConvertConfig:
    names = ConvertConfig.__dataclass_fields__
    return ConvertConfig.from_dict({name: given[name] for name in names if name in given})


def _own_of(settings: Settings) -> ConvertConfig:
    assert isinstance(settings.own, ConvertConfig)
    return settings.own
