"""The language model: what comes next in a text, given what came before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from charlm import plan
from charlm.config import LanguageConfig, ModelConfig, TextConfig, TrainConfig, check_language
from charlm.counted import counted, counts_of_file
from charlm.counts.labelled import AnyCounts, LabelCounts
from charlm.engines import Tally, Trainable
from charlm.engines.blend import BlendEngine, GridScorer, fitted
from charlm.engines.choice import training_engine
from charlm.engines.counts import CountsEngine, NoNetwork
from charlm.errors import UsageError
from charlm.facts import finite
from charlm.finetuning import (
    finetuning_notes,
    grown,
    load_base,
    model_settings,
    text_settings,
)
from charlm.language import Language
from charlm.losses import Losses
from charlm.model import Model, rebuilt
from charlm.model_files import parse
from charlm.run_settings import Settings, only
from charlm.scoring import evaluate, percent
from charlm.text.batches import Context, StoredIds, TrainingBatches, context_for
from charlm.text.corpus import Corpus, prepare
from charlm.text.labelled_ids import ConditionalCorpus, LabelledIds
from charlm.text.parts import Part
from charlm.text.reading import check_file, is_stream
from charlm.training import Merit

_Corpus = Corpus | ConditionalCorpus


@dataclass(frozen=True)
class LanguageLesson:
    """Implements `charlm.training.Lesson`: the parts of a corpus, and how their sequences meet.

    With counts, `predictor` is what is evaluated: the network's blend with them, whose weight each evaluation fits
    anew, or the counts alone.
    """

    train: TrainingBatches
    valid: StoredIds
    context: Context
    document: bool
    test_tokens: int = 0
    judging: bool = True  # whether validation tells which weights are the best
    predictor: BlendEngine | CountsEngine | None = None

    @property
    def valid_tokens(self) -> int:
        return len(self.valid)

    def evaluate(self, engine: Any, stop: Callable[[], bool]) -> Tally | None:
        blend = self.predictor
        if not isinstance(blend, BlendEngine) or not self.judging or not len(self.valid):
            return evaluate(blend or engine, self.valid, self.context, self.document, stop)
        grid = GridScorer(engine, blend.counts, blend.weight)
        tally = evaluate(grid, self.valid, self.context, self.document, stop)
        if tally is None:
            return None
        tally = fitted(tally)
        blend.weight = tally.sums["weight"]
        if isinstance(blend.counts, LabelCounts):
            blend.counts.share = tally.sums["share"]
        return tally

    def merit(self, valid: Tally) -> Merit | None:
        """Return nats per known token: unknown ones have no say. None where none is known."""
        nats = valid.mean_known
        if nats is None or not self.judging:
            return None
        if "weight" not in valid.sums:
            return Merit(nats)
        known = valid.count - valid.unknown
        network = valid.sums["network_nats"] - valid.sums["network_unknown_nats"]
        return Merit(nats, network=network / known)

    def figures(self, part: str, tally: Tally | None) -> dict[str, float | int | None]:
        return {
            f"{part}_nats": finite(tally.mean) if tally else None,
            f"{part}_nats_known": finite(tally.mean_known) if tally else None,
            f"{part}_unknown": tally.unknown if tally else None,
            **(self._shares(tally) if part == "valid" and self.predictor else {}),
        }

    def _shares(self, valid: Tally | None) -> dict[str, float | None]:
        """Return what each of both alone reaches on the validation part, and the counts' weight; of
        labels with counts of their own also their share.
        """
        by_label = self.predictor is not None and isinstance(self.predictor.counts, LabelCounts)
        if isinstance(self.predictor, CountsEngine):
            return {"valid_nats_counts": finite(valid.mean) if valid else None, "counts_weight": 1.0}
        if valid is None or "weight" not in valid.sums:
            names = ("valid_nats_network", "valid_nats_counts", "counts_weight")
            return dict.fromkeys((*names, "counts_share") if by_label else names)
        sums, count = valid.sums, max(1, valid.count)
        return {
            "valid_nats_network": finite(sums["network_nats"] / count),
            "valid_nats_counts": finite(sums["counts_nats"] / count),
            "counts_weight": sums["weight"],
            **({"counts_share": sums["share"]} if by_label else {}),
        }


class LanguageCourse:
    """Implements `charlm.tasks.Course`."""

    counted, use = "tokens", "write with: charlm sample"
    example_length = 120

    def __init__(self, train: TrainConfig, corpus: _Corpus, model: Model) -> None:
        language = model.language
        sequences = None if language.document else corpus.train.sequences
        newline = language.tokenizer.newline
        batches = TrainingBatches(
            corpus.train,
            train.batch_size,
            train.seq_len,
            train.seed,
            language.running,
            sequences,
            newline,
        )
        judging = not _all_unknown(corpus.valid)
        predictor = model.engine if isinstance(model.engine, BlendEngine | CountsEngine) else None
        self.lesson = LanguageLesson(
            batches,
            corpus.valid,
            language.running,
            language.document,
            len(corpus.test),
            judging,
            predictor,
        )
        self.drawn = not language.document or corpus.hold_out == "files"
        self.shape: list[str] = []
        self._corpus, self._model = corpus, model
        self._losses = Losses(model.tokenizer, corpus.train, corpus.valid, language.document)

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
        text = f"text: {sizes} tokens, {tokenizer.size:,} different ({tokenizer.kind})"
        return [text, *([self._about_counts(counts)] if (counts := self._model.counts) else [])]

    def _about_counts(self, counts: AnyCounts) -> str:
        """Say what the counts alone reach, so that it is seen what a network adds."""
        longest = f"up to {counts.order} tokens" if counts.order > 1 else "one token"
        size = f"{sum(counts.ngrams()):,} n-grams of {longest}, {counts.nbytes / 1e6:.1f} MB"
        language, valid = self._model.language, self._corpus.valid
        tally = evaluate(CountsEngine(counts), valid, language.running, language.document)
        if not tally or tally.mean is None:
            return f"counts: {size}"
        facts = self._model.facts
        of, file = facts.get("counted_tokens"), facts.get("counts_file")
        whole = of is None or of == self._corpus.train_tokens
        text = file or ("this text" if whole else f"the first {of:,} tokens of this text")
        return f"counts: alone, those of {text} reach {self.shown('valid', tally)}; {size}"

    def shown(self, part: str, tally: Tally) -> str:
        if tally.mean is None:
            return "-"
        figure = self._losses.figure(tally.mean, tally.unknown, tally.count)
        if "weight" not in tally.sums:
            return figure
        return f"{figure}, network alone {tally.sums['network_nats'] / tally.count:.4f}"

    @property
    def merit_unit(self) -> str:
        return self._losses.unit

    @property
    def unit(self) -> str:
        return self._losses.said

    @property
    def headings(self) -> tuple[str, ...]:
        return ("valid", "network") if self._model.counts else ("valid",)

    def values(self, part: str, tally: Tally) -> tuple[str, ...]:
        nats = [tally.mean]
        if "weight" in tally.sums:
            nats.append(tally.sums["network_nats"] / tally.count)
        return tuple("-" if each is None else self.training_value(each) for each in nats)

    def training_value(self, nats: float) -> str:
        return self._losses.value(nats)

    def example(self, step: int) -> str:
        return self._model.sample(self.example_length, seed=step)

    def validate(self, stop: Callable[[], bool], best: Model) -> None:
        """Return nothing: each evaluation reads all of the validation part."""

    def test(self, stop: Callable[[], bool], best: Model) -> Tally | None:
        if not len(self._corpus.test):
            return None
        return evaluate(
            best.engine, self._corpus.test, best.language.running, best.language.document, stop
        )


class LanguageTask:
    """Implements `charlm.tasks.Task`."""

    name, section, engines = "lm", LanguageConfig, ("numpy", "torch")
    useless: Mapping[str, str] = MappingProxyType({})

    def check(self, given: Mapping[str, Any]) -> None:
        check_language(ModelConfig(2, bidirectional=bool(given.get("bidirectional"))))
        LanguageConfig.from_dict(only(given, ("counts", "counts_from")))
        if given.get("counts_from") is not None:
            if is_stream(given["counts_from"]):
                raise UsageError("counts-from takes a file, since a run that is taken up again reads it again")
            check_file(given["counts_from"])
        elif given.get("layers") == 0 and given.get("counts") == 0:
            raise UsageError("layers 0 and counts 0 leave no model: give one of them")

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
        if not settings.model.layers:
            none: Any = NoNetwork()  # which nobody will ask to learn
            return none  # type: ignore[no-any-return]
        return training_engine(settings.model, settings.train)

    def start(self, engine: Trainable[Any], base: Model, settings: Settings) -> Iterator[str]:
        engine.load(grown(base.trained.tensors(), base.config, settings.model.vocab_size))
        yield from self.left_behind(base, settings)

    def left_behind(self, base: Model, settings: Settings) -> Iterator[str]:
        """Yield a sentence on the counts, which do not come from the model that a run starts from.
        """
        if isinstance(settings.own, LanguageConfig) and settings.own.counts:
            left = "; those of the model to start from are left behind" if base.counts else ""
            yield f"counts: of the new text alone, over the vocabulary that it has now{left}"

    def model(
        self, engine: Any, settings: Settings, knowledge: Language, facts: dict[str, Any], material: Corpus
    ) -> Model:
        counts = counts_of_run(settings, knowledge, facts, material)
        return Model(engine, settings.model, knowledge, facts, counts)

    def course(self, train: TrainConfig, material: Corpus, model: Model) -> LanguageCourse:
        return LanguageCourse(train, material, model)

    def notes(self, material: Corpus, settings: Settings, base: Model | None) -> Iterator[str]:
        if base:
            yield from finetuning_notes(base, material, bool(settings.keep_vocabulary))
        else:
            yield material.reason
        yield from material.notes
        if settings.model.layers:
            yield from empty_parts(material, settings.text)

    def opened(
        self, tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None
    ) -> Model:
        return rebuilt(tensors, metadata, train)


TASK = LanguageTask()


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


def _unknown_in(part: Part | LabelledIds) -> str:
    return f" ({percent(part.unknown, len(part))} unknown)" if part.unknown else ""


def counts_of_run(
    settings: Settings, knowledge: Language, facts: dict[str, Any], material: _Corpus
) -> AnyCounts | None:
    """Return the n-grams that a run's settings ask for, None where they ask for none; `facts` tell
    of them.
    """
    own = settings.own
    if isinstance(own, LanguageConfig) and own.counts_from is not None:
        return counts_of_file(own.counts_from, knowledge, facts)
    if isinstance(own, LanguageConfig) and own.counts:
        minutes = settings.train.minutes if settings.model.layers else None
        return counted(material.train, own.counts, knowledge, minutes, facts)
    return None


def empty_parts(corpus: _Corpus, text: TextConfig) -> Iterator[str]:
    """Yield sentences on parts that hold nothing to go by."""
    if not len(corpus.valid):
        yield "no validation part: the last weights are kept, and nothing tells whether they are the best"
    elif _all_unknown(corpus.valid):
        yield (
            "no token of the validation part is known to the model: the last weights are kept, and nothing tells "
            "whether they are the best"
        )
    if not len(corpus.test) and text.test_fraction:
        yield "the test part is empty: the corpus is too small for its fraction"


def _all_unknown(part: Part | LabelledIds) -> bool:
    """Return whether a part holds tokens, and none that is known but the ends of its sequences."""
    return bool(len(part)) and part.unknown == len(part) - part.sequences > 0
