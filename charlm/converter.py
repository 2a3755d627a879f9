"""A trained converter as a person uses it: the targets of sources, their probability, and what each
step of a target looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.checkpoint import FORMAT_KEY
from charlm.config import ModelConfig, TrainConfig
from charlm.conversion import Conversion
from charlm.convert_evaluation import Sources, evaluate
from charlm.engines import Tally
from charlm.engines.converter import BoundConverter, ConverterEngine
from charlm.errors import DataError, UsageError
from charlm.facts import check_facts
from charlm.model_files import Tensors, check_size, dump, numpy_settings, parse, save
from charlm.nn.converter import shapes
from charlm.sampling import SamplingConfig, beam_searches
from charlm.scoring import Score, score_texts
from charlm.text.batches import Context, Ids
from charlm.text.pair_packing import PairList, make_pair_chunk, pair_chunks
from charlm.text.pair_part import PairPart
from charlm.text.tokenizers import EOS, UNK, Tokenizer
from charlm.text.windows import always, in_windows, windows
from charlm.writing import Sample, Writer

UNKNOWN = ("mark", "copy")
_WAYS = 256  # that beams have side by side
_SOURCES = 4096  # of a window, which are answered together, fewer by a beam
_PAIRS, _CHARACTERS = 4096, 1 << 18  # of a window, which are scored together
_CONTEXT = Context()


@dataclass(frozen=True)
class Target:
    """A target that was found for a source: its text, its tokens without EOS, and log p in nats of
    these and EOS.

    ended: EOS ended it; where not, it reached the length limit, and its EOS is not in log p.
    logprob: None where nothing was written: the source was copied.
    """

    text: str
    tokens: tuple[str, ...]
    logprob: float | None
    ended: bool


@dataclass(frozen=True)
class Converted:
    """What a converter makes of a source: targets, the most probable first.

    unknown: how many of the source's tokens training had not. source_tokens: those that were read,
    and `cut` says whether the source has more.
    """

    source: str
    targets: tuple[Target, ...]
    unknown: int
    source_tokens: tuple[str, ...]
    cut: bool = False


@dataclass(frozen=True)
class Alignment:
    """How much each token of a target looked at each of its source: shares [n, m], rows add up to
    1.

    Both lists of tokens end with EOS, which is "".
    """

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    shares: NDArray[np.float32]


class Converter:
    """A converter with its vocabularies. `facts` tells where it comes from (`charlm.training` in
    the file).

    config: the sizes of the encoder and of the decoder alike; its vocabulary is the targets', and
    `bidirectional` is about the encoder.
    """

    def __init__(
        self, engine: ConverterEngine, config: ModelConfig, conversion: Conversion,
        facts: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.trained, self.config, self.conversion = engine, config, conversion
        self.facts = dict(facts)

    def __repr__(self) -> str:
        attention = "with" if self.conversion.attention else "without"
        return f"<Converter of {self.conversion.reading}, {attention} attention>"

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the targets."""
        return self.conversion.target

    def predict(
        self, sources: Iterable[str], beam: int = 1, top: int = 1, unknown: str = "mark",
        ready: Callable[[], bool] = always,
    ) -> Iterator[Converted]:  # fmt: skip
        """Yield the `top` most probable targets of each source that a beam of width `beam` finds,
        in order.

        A beam of 1 takes the most probable token at every step. There is no length penalty. With
        `unknown` "copy" a source that has tokens which training had not is its own target.
        `sources` may go on without end; where `ready()` is false, which is asked after each, those
        so far are answered before the next is taken. Raises TypeError for a single text, UsageError
        for a beam below 1 and for a `top` that is not within 1 and `beam`.

        >>> next(charlm.load("numbers").predict(["42"])).targets[0].text
        'forty-two'
        """
        beam, top = checks.whole("beam", beam, 1), checks.whole("top", top, 1)
        if top > beam:
            raise UsageError(f"top must be at most beam, {beam}, not {top}: give a wider beam")
        if checks.text("unknown", unknown) not in UNKNOWN:
            raise UsageError(f"unknown must be one of {', '.join(UNKNOWN)}, not {unknown!r:.80}")
        every = checks.texts("sources", sources)
        return (
            self._converted(text, ids, targets[:top], unknown == "copy")
            for window in windows(every, self.conversion.source, ready, max(1, _SOURCES // beam))
            for (text, ids), targets in zip(
                window, self._found([self._read(ids) for _, ids in window], beam), strict=True
            )
        )

    def sample(
        self, source: str, length: int | None = None, seed: int | None = None,
        temperature: float = 1.0, **filters: Any,
    ) -> str:  # fmt: skip
        """Draw one target of a source, of `length` tokens at most, EOS counted: unless given, by
        its source.

        `filters` are those of `charlm.sampling.SamplingConfig`: top_k, top_p and so on.
        """
        length = self.most_tokens(source) if length is None else length
        config = SamplingConfig(length, temperature, **filters)
        return next(self.samples(source, 1, config, seed)).text

    def samples(
        self, source: str, count: int, config: SamplingConfig | None = None, seed: int | None = None
    ) -> Iterator[Sample]:
        """Draw `count` targets of a source, in order."""
        config = config or SamplingConfig(self.most_tokens(source))
        return self.writer(source).samples(checks.whole("count", count, 1), config, seed)

    def writer(self, source: str) -> Writer:
        """Return what writes targets of a source: drawn ones, or those of a beam."""
        return Writer(self.bound(source), self.tokenizer, _CONTEXT, "", np.zeros(0, np.int32))

    def bound(self, source: str) -> BoundConverter:
        """Return a model of one source's targets (`charlm.engines.Predictor`)."""
        return self.trained.bound(self._ids(source))

    def most_tokens(self, source: str) -> int:
        """Return how many tokens a target of a source may have, EOS counted."""
        return self.conversion.limit(len(self._ids(source))) + 1

    def score(self, source: str, target: str, per_token: bool = False) -> Score:
        """Return the score of a target given its source, its end counted."""
        return next(self.scores([(source, target)], per_token))

    def scores(
        self, pairs: Iterable[tuple[str, str]], per_token: bool = False,
        ready: Callable[[], bool] = always,
    ) -> Iterator[Score]:  # fmt: skip
        """Yield the score of the target of each (source, target), in order; `ready` as in
        `predict`."""
        each = (
            (checks.text(f"source {number}", source), checks.text(f"target {number}", target))
            for number, (source, target) in enumerate(pairs)
        )
        if checks.flag("per_token", per_token):
            for source, target in each:
                scored = self.bound(source), self.tokenizer, _CONTEXT, [target], True, True
                yield from score_texts(*scored)
            return
        for window in in_windows(
            each, ready, lambda pair: len(pair[0]) + len(pair[1]), most=_PAIRS, total=_CHARACTERS
        ):
            yield from self._scored(window)

    def align(self, source: str, target: str | None = None) -> Alignment:
        """Return what each token of a target looked at; without one, of the target that `predict`
        gives.

        Raises UsageError for a converter without attention.
        """
        if not self.conversion.attention:
            raise UsageError("this converter has no attention, so that nothing is looked at")
        ids, tokenizer = self._ids(source), self.tokenizer
        if target is None:
            wanted = self._greedy([ids])[0][0]
            names = [tokenizer.token(token) for token in wanted.tolist()]
        else:
            wanted = tokenizer.encode(checks.text("target", target))
            names = tokenizer.pieces(target)
        (shares,) = self.trained.shares(make_pair_chunk([(ids, wanted)]))
        read = self.conversion.source.pieces(source)[: len(ids)]
        return Alignment((*read, ""), (*names, ""), shares)

    def tally(self, part: PairPart, stop: Callable[[], bool] = lambda: False) -> Tally | None:
        """Return the sums over all sources of a part and their targets (`charlm.convert_metrics`);
        None if `stop` interrupted it."""
        return evaluate(self.trained, Sources.of(part), self.conversion, stop)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file that converting needs, atomically (errors as
        `charlm.model_files.save`)."""
        save(path, self.trained.tensors(), self.metadata())

    def metadata(self) -> dict[str, str]:
        """Return what the file says beside the tensors: configuration, vocabularies, origin."""
        return {
            FORMAT_KEY: "2", "charlm.task": "convert", "charlm.model": dump(self.config.to_dict()),
            "charlm.training": dump(self.facts), **self.conversion.metadata(),
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what a file holds; the copy computes on one thread."""
        return rebuilt, (self.trained.tensors(), self.metadata())

    def _read(self, ids: Ids) -> Ids:
        return ids[: self.conversion.max_length]

    def _ids(self, source: str) -> Ids:
        return self._read(self.conversion.source.encode(checks.text("source", source)))

    def _found(self, sources: Sequence[Ids], beam: int) -> list[list[tuple[Ids, float, bool]]]:
        """Return for each source what `beam` finds, best first: ids, log p, and whether EOS ended
        them."""
        if beam == 1:
            return [[found] for found in self._greedy(sources)]
        found: list[list[tuple[Ids, float, bool]]] = [[] for _ in sources]
        order = np.argsort([len(source) for source in sources], kind="stable").tolist()
        at_once = max(1, _WAYS // beam)
        for begin in range(0, len(order), at_once):
            numbers = order[begin : begin + at_once]
            chosen = [sources[number] for number in numbers]
            model = BoundConverter(self.trained, self.trained.remembered(chosen))
            lengths = [self.conversion.limit(len(source)) + 1 for source in chosen]
            state = model.states(np.arange(len(chosen)))
            ways = beam_searches(model, _CONTEXT, state, lengths, beam)
            for number, some in zip(numbers, ways, strict=True):
                found[number] = [_ended(ids, logprob) for ids, logprob in some]
        return found

    def _greedy(self, sources: Sequence[Ids]) -> list[tuple[Ids, float, bool]]:
        limits = [self.conversion.limit(len(source)) for source in sources]
        return [
            (ids, logprob, ended) for ids, logprob, ended in self.trained.greedy(sources, limits)
        ]

    def _converted(
        self, text: str, ids: Ids, found: Sequence[tuple[Ids, float, bool]], copy: bool
    ) -> Converted:
        read, of = self._read(ids), self.conversion
        unknown = int(np.count_nonzero(read == UNK))
        if copy and unknown:
            targets: tuple[Target, ...] = (Target(text, (), None, True),)
        else:
            targets = tuple(self._target(*each) for each in found)
        pieces = tuple(of.source.pieces(text)[: len(read)])
        return Converted(text, targets, unknown, pieces, len(ids) > len(read))

    def _target(self, ids: Ids, logprob: float, ended: bool) -> Target:
        each = ids.tolist()
        tokens = tuple(map(self.tokenizer.token, each))
        return Target(self.tokenizer.decode(each), tokens, logprob, ended)

    def _scored(self, pairs: Sequence[tuple[str, str]]) -> Iterator[Score]:
        tokenizer = self.tokenizer
        encoded = [(self._ids(source), tokenizer.encode(target)) for source, target in pairs]
        rows: list[NDArray[np.float64]] = [np.zeros(0)] * len(pairs)
        for numbers, chunk in pair_chunks(PairList(encoded)):
            logp = self.trained.log_probs(chunk)
            ends = np.cumsum(chunk.target_length).tolist()
            for number, begin, end in zip(numbers.tolist(), [0, *ends], ends, strict=False):
                rows[number] = logp[begin:end]
        as_bytes = tokenizer.kind == "byte"
        for (_, target), (_, ids), row in zip(pairs, encoded, rows, strict=True):
            unknown = ids == UNK
            yield Score(
                target, float(row.sum()), len(row), int(np.count_nonzero(unknown)),
                float(row[:-1][unknown].sum()), len(target), 1, len(ids) if as_bytes else None,
                tokenizer.lossless,
            )  # fmt: skip


def _ended(ids: list[int], logprob: float) -> tuple[Ids, float, bool]:
    ended = bool(ids) and ids[-1] == EOS
    return np.array(ids[:-1] if ended else ids, np.int32), logprob, ended


def rebuilt(
    tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig | None = None
) -> Converter:
    """Return the converter that a file's tensors and metadata describe; raises DataError where they
    do not fit."""
    try:
        facts, conversion = parse(metadata, "charlm.training"), Conversion.of_file(metadata)
        config = ModelConfig.from_dict(parse(metadata, "charlm.model"))
        shape = conversion.shape(config)
    except UsageError as error:  # in a file it is no setting of the user's
        raise DataError(str(error)) from None
    check_facts(facts)
    if conversion.target.size != config.vocab_size:
        raise DataError(
            f"the targets have {conversion.target.size} tokens, the model {config.vocab_size}"
        )
    check_size(tensors, shapes(shape))
    train = numpy_settings(train, "converters")
    engine = ConverterEngine(shape, train.threads or 1, train)
    engine.load(tensors)
    return Converter(engine, config, conversion, facts)
