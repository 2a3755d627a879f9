"""A trained model as a person uses it: write, score, save; and the file it comes from."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.checkpoint import FORMAT_KEY
from charlm.config import ModelConfig, TrainConfig, check_language
from charlm.counts.labelled import AnyCounts
from charlm.engines import Engine, Predictor
from charlm.engines.blend import USUAL_WEIGHT, BlendEngine, BlendScorer, Scorer
from charlm.engines.cache import CacheEngine
from charlm.engines.choice import make_engine
from charlm.engines.count_cache import ORDER, CountCacheEngine
from charlm.engines.counts import CountsEngine, NoNetwork
from charlm.engines.dynamic import DynamicEngine
from charlm.engines.mixture import MixtureEngine
from charlm.engines.numpy import NumpyEngine
from charlm.errors import DataError, UsageError
from charlm.facts import check_facts
from charlm.kept_counts import COUNTS, kept_counts
from charlm.language import Language
from charlm.model_files import Tensors, check_size, dump, opened, parse, save
from charlm.nn.model import shapes
from charlm.notebooks import as_table
from charlm.sampling import SamplingConfig, next_log_probs
from charlm.scoring import Score, TokenScore, score_texts
from charlm.text.batches import Ids
from charlm.text.sequences import PARAGRAPH
from charlm.text.tokenizers import EOS, UNK, Tokenizer
from charlm.text.windows import always
from charlm.writing import Sample, Writer

_Parts = tuple[Engine | NoNetwork, ModelConfig, Language, dict[str, Any], AnyCounts | None, float | None]


@dataclass(frozen=True)
class TextState:
    """Where in a text a model stands: its hidden state, and log p [V] in nats of every next token."""

    hidden: Any
    logp: NDArray[np.float64]


class Model:
    """A language model with its vocabulary. `facts` tells where it comes from (`charlm.training` in the file).

    `counts` are the n-grams of the training text, whose probabilities are blended with the network's; a model of
    `config.layers` 0 is counts alone.
    """

    def __init__(
        self, engine: Engine | MixtureEngine | NoNetwork, config: ModelConfig, language: Language,
        facts: Mapping[str, Any], counts: AnyCounts | None = None, weight: float | None = None,
    ) -> None:  # fmt: skip
        """Put together; `weight` is that of the counts, unless given a usual one of the tokenizer's kind."""
        self.config, self.language, self.facts, self.counts = config, language, dict(facts), counts
        self._network = engine
        if counts is not None:
            counts.beginnings = config.beginnings
        usual = USUAL_WEIGHT[language.tokenizer.kind]
        self.engine = _predictor(engine, counts, usual if weight is None else weight)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.language.tokenizer

    @property
    def trained(self) -> Engine | NoNetwork:
        """The network's engine, which has the weights; raises UsageError for a mixture."""
        if isinstance(self._network, MixtureEngine):
            raise UsageError("a mixture has no weights of its own to train or to save: take one of its models")
        return self._network

    @property
    def counts_weight(self) -> float:
        """How much the counts have to say: 0 where there are none, 1 where there is nothing else."""
        if self.counts is None:
            return 0.0
        return self.engine.weight if isinstance(self.engine, BlendEngine) else 1.0

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the model: a small table."""
        config, nats = self.config, self.facts.get("valid_nats")
        return as_table(f"Language model of {self.language.sequences}s", [
            ("tokens", f"{self.tokenizer.kind}s, {self.tokenizer.size:,} of them"),
            ("network", f"{config.layers} × {config.hidden} {config.cell}" if config.layers else None),
            ("weight of the counts", f"{self.counts_weight:.4f}" if self.counts else None),
            ("corpus", self.facts.get("corpus") and ", ".join(map(str, self.facts["corpus"]))),
            ("validation", nats and f"{nats:.4f} nats a token"),
        ])  # fmt: skip

    def without_counts(self) -> Model:
        """Return the model that its network alone is (UsageError where there is no network); this one stays."""
        if isinstance(self._network, NoNetwork):
            raise UsageError("this model is counts alone, and nothing would be left of it: leave --no-counts out")
        return type(self)(self._network, self.config, self.language, self.facts)

    def writer(self, prompt: str = "") -> Writer:
        """Return what writes after a prompt."""
        ids, kind = self.prompt_ids(prompt), self.language.kind
        return Writer(self.engine, self.tokenizer, self.language.start, prompt, ids, kind)

    def sample(
        self, length: int = 200, prompt: str = "", seed: int | None = None, temperature: float = 1.0, **settings: Any
    ) -> str:
        """Write one text of at most `length` tokens (0: however many until EOS) after `prompt`, and return both.

        `settings` are those of `SamplingConfig`: top_k, top_p, stop and so on. It is text to show: what a byte model
        draws that is part of no character is U+FFFD; `samples` keeps the bytes.
        """
        return "".join(self.stream(length, prompt, seed, temperature, **settings))

    def stream(
        self, length: int = 200, prompt: str = "", seed: int | None = None, temperature: float = 1.0, **settings: Any
    ) -> Iterator[str]:
        """Write one text as `sample` does, yielding the prompt and then each piece as it is drawn."""
        pieces = self.writer(prompt).stream(SamplingConfig(length, temperature, **settings), seed)
        return pieces if self.tokenizer.kind != "byte" else itertools.chain([next(pieces)], map(_printable, pieces))

    def samples(
        self, count: int, config: SamplingConfig | None = None, prompt: str = "", seed: int | None = None
    ) -> Iterator[Sample]:
        """Write `count` texts in batches and yield them in order, each as soon as it and those before it end."""
        return self.writer(prompt).samples(checks.whole("count", count, 1), _drawing(config), seed)

    def matching(
        self, count: int, accept: Callable[[str], bool], config: SamplingConfig | None = None, prompt: str = "",
        seed: int | None = None, tries: int = 10_000,
    ) -> Iterator[Sample]:  # fmt: skip
        """Write texts, of which `count` that are accepted are yielded, or as many as `tries` of them have."""
        return self.writer(prompt).matching(count, accept, tries, _drawing(config), seed)

    def beam(
        self, width: int, length: int = 200, prompt: str = "", unk: str = "reject", **settings: Any
    ) -> list[Sample]:
        """Return the most probable texts that go on from `prompt`, as a beam of `width` finds them, best first.

        `settings` are those of `SamplingConfig` that do not draw: stop, lines, starts_with (UsageError).
        """
        return self.writer(prompt).beam(width, SamplingConfig(length, unk=unk, **settings))

    def score(self, text: str, eos: bool | None = None, per_token: bool = False) -> Score:
        """Return the score of one text; `eos` says whether its end counts (default: not of a document)."""
        return next(self.scores([checks.text("text", text)], eos, per_token))

    def scores(
        self, texts: Iterable[str], eos: bool | None = None, per_token: bool = False,
        ready: Callable[[], bool] = always,
    ) -> Iterator[Score]:  # fmt: skip
        """Score many texts in batches, each by itself, in order; `texts` may go on without end.

        Where `ready()` is false, which is asked after each text, those so far are scored before the next is taken.
        Raises TypeError for a single text, or one of bytes.
        """
        counts, wanted = self.counts_eos(eos), checks.flag("per_token", per_token)
        each = checks.texts("texts", texts)
        return score_texts(self.engine, self.tokenizer, self.language.start, each, counts, wanted, ready)

    def counts_eos(self, eos: bool | None = None) -> bool:
        """Return whether the end of a text is scored: as asked, else unless the model is of documents."""
        return not self.language.document if eos is None else checks.flag("eos", eos)

    def full_scores(self, text: str, eos: bool | None = None) -> Iterator[TokenScore]:
        """Yield the score of each token of a text; their sum is the text's log-probability."""
        return iter(self.score(text, eos, per_token=True).per_token)

    def perplexity(self, text: str, eos: bool | None = None) -> float:
        """Return exp(-logprob / tokens) of a text; nan over no tokens."""
        result = self.score(text, eos).perplexity
        return math.nan if result is None else result

    def surprisal(self, text: str, eos: bool | None = None) -> list[tuple[str, float]]:
        """Return each token of a text with its surprisal in bits, -log2 p."""
        return [(token.token, token.bits) for token in self.full_scores(text, eos)]

    def begin_state(self, prompt: str = "") -> TextState:
        """Return the state at the beginning of a text, or after a prompt, for `base_score`."""
        read = np.concatenate([[self.language.start.first_input], self.prompt_ids(prompt)]).astype(np.int32)
        return self._state_after(read, self.engine.zero_state(1))

    def base_score(self, state: TextState, token: str) -> tuple[float, TextState]:
        """Return log p in nats of one token after `state`, and the state after it; "<eos>" is the end of the text.

        Raises UsageError where `token` is not a single token of the tokenizer (unknown ones count as `<unk>`).
        """
        checks.instance("state", state, TextState)
        if checks.text("token", token) == self.tokenizer.token(EOS):
            return float(state.logp[EOS]), self.begin_state()
        ids = self.tokenizer.encode(token)
        if len(ids) != 1:
            raise UsageError(f"{token!r} is {len(ids)} tokens of this model, not one")
        return float(state.logp[ids[0]]), self._state_after(ids, state.hidden)

    def next_tokens(self, prompt: str = "") -> dict[str, float]:
        """Return the probability of every token that may come after a prompt, the most probable first."""
        p = np.exp(self.begin_state(prompt).logp)
        return {self.tokenizer.token(k): float(p[k]) for k in np.argsort(-p, kind="stable").tolist()}

    def dynamic(self, lr: float) -> Scorer:
        """Return an engine that goes on learning, at rate `lr`, from what it scores; this model stays as it is.

        The network learns; counts are blended with it as ever. Raises UsageError unless 0 < lr <= 1, and for a
        mixture and a model without a network.
        """
        return self._with_counts(self._dynamic(lr))

    def cached(self, window: int, lr: float | None = None) -> Scorer:
        """Return an engine that looks up its last `window` tokens; with `lr` it goes on learning too, as `dynamic`.

        Raises UsageError unless 1 <= window <= 100,000, and as `dynamic`.
        """
        window = checks.whole("window", window)
        return self._with_counts(CacheEngine(self._engine_apart() if lr is None else self._dynamic(lr), window))

    def counting(self, order: int = ORDER, over: Scorer | None = None) -> Scorer:
        """Return an engine that counts n-grams of up to `order` tokens of the text so far, beside this model.

        `over`, of `dynamic` or `cached`, is what it adapts by besides. Raises UsageError unless 1 <= order <= 10.
        """
        return CountCacheEngine(over or self.engine, self.tokenizer.size, checks.whole("order", order))

    def _dynamic(self, lr: float) -> DynamicEngine:
        lr = checks.real("lr", lr)
        if not 0 < lr <= 1:
            raise UsageError(f"lr, the rate of dynamic evaluation, must be above 0 and at most 1, not {lr:g}")
        return DynamicEngine(self._engine_apart(), lr)

    def _with_counts(self, engine: CacheEngine | DynamicEngine) -> Scorer:
        return BlendScorer(engine, self.counts, self.counts_weight) if self.counts else engine

    def _engine_apart(self) -> NumpyEngine:
        """Return an engine with a copy of the weights, which may change."""
        if isinstance(self._network, MixtureEngine):
            raise UsageError("a mixture does not adapt: dynamic evaluation and the cache take one model")
        if isinstance(self._network, NoNetwork):
            raise UsageError("a model of counts alone has no network that could adapt: leave --dynamic and --cache out")
        engine = NumpyEngine(replace(self.config, dropout=0.0), 1, TrainConfig(optimizer="rmsprop"))
        engine.load(self._network.tensors())
        return engine

    def _state_after(self, ids: Ids, hidden: Any) -> TextState:
        logp, after = next_log_probs(self.engine, ids[:, None], hidden)
        return TextState(after, logp[0])

    def unknown_in(self, text: str) -> list[str]:
        """Return the different characters or words of a text that the model reads as <unk>."""
        pieces = self.tokenizer.pieces(checks.text("text", text))
        unknown = self.tokenizer.encode(text) == UNK
        return sorted({piece for piece, odd in zip(pieces, unknown, strict=True) if odd})

    def prompt_ids(self, prompt: str) -> Ids:
        """Encode a prompt; raises UsageError for a newline, or a blank line, where the model's texts have none."""
        if self.language.kind.why_not(checks.text("prompt", prompt), begins=True):
            raise UsageError(
                "the prompt has a blank line, but a paragraph has none inside: leave it out"
                if self.language.kind.newline
                else "the prompt has a newline, but this model knows single lines only: leave it out"
            )
        return self.tokenizer.encode(prompt)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file that sampling and scoring need, atomically (errors as `charlm.model_files.save`)."""
        save(path, self.tensors(), self.metadata())

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of its file: copies of the network's weights, and the counts."""
        counts = self.counts.tensors() if self.counts else {}
        return {**self.trained.tensors(), **{f"{COUNTS}{name}": value for name, value in counts.items()}}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what a file holds, arrays and JSON: Dask, Ray and Spark rebuild it there.

        The copy computes on one thread, since such workers share out the processors themselves.
        """
        return rebuilt, (self.tensors(), self.metadata())

    def metadata(self) -> dict[str, str]:
        """Return what the file says beside the tensors: configuration, vocabulary, origin."""
        parts = {"model": self.config.to_dict(), "vocabulary": self.language.to_dict(), "training": self.facts}
        if self.counts:
            parts["counts"] = self.counts.facts() | {"weight": self.counts_weight}
        form = 2 if self.counts or self.language.kind is PARAGRAPH else self.config.format
        return {f"charlm.{key}": dump(part) for key, part in parts.items()} | {FORMAT_KEY: str(form)}


def _predictor(
    engine: Engine | MixtureEngine | NoNetwork, counts: AnyCounts | None, weight: float
) -> Predictor:
    """Return what predicts: the network, the counts, or both as one."""
    if isinstance(engine, NoNetwork):
        if counts is None:
            raise UsageError("a model needs layers or counts")
        return CountsEngine(counts)
    return engine if counts is None else BlendEngine(engine, counts, weight)


def mix(models: Sequence[Model], weights: Sequence[float]) -> Model:
    """Return the linear interpolation of models of one vocabulary (UsageError where they differ), for use, not to save.

    `weights` are positive and add up to 1.
    """
    models = list(checks.several("models", models, "models"))
    every = checks.several("weights", weights, "numbers")
    weights = [checks.real(f"weights[{k}]", weight) for k, weight in enumerate(every)]
    for k, model in enumerate(models):
        checks.instance(f"models[{k}]", model, Model)
    if not models or not all(map(math.isfinite, weights)):
        raise UsageError("mix needs models, and weights that are finite numbers")
    first = models[0]
    if any(model.language.to_dict() != first.language.to_dict() for model in models):
        raise UsageError("models can be mixed only where tokenizer, vocabulary, sequences and context are the same")
    engine = MixtureEngine([model.engine for model in models], weights)
    return Model(engine, first.config, first.language, {})


def without_counts(models: Sequence[Any]) -> list[Any]:
    """Return models without their counts, those that have none as they are (UsageError where none has any)."""
    if all(getattr(model, "counts", None) is None for model in models):
        raise UsageError("there are no counts to leave out: leave --no-counts out")
    return [model.without_counts() if getattr(model, "counts", None) else model for model in models]


def load_language_model(
    path: str | os.PathLike[str] = "charlm-model", threads: int | None = None, engine: str = "numpy",
    device: str = "auto",
) -> Model:  # fmt: skip
    """Open a language model from its directory or its `.safetensors` file, to compute with `engine` on `device`.

    Raises MissingInputError where there is none, DataError where it is damaged or not a charlm model, and UsageError
    where it is a model of another task, or PyTorch or the device is missing.
    """
    return opened(path, rebuilt_language, threads, engine, device)


def rebuilt_language(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Model:
    """Return the model that a file describes (UsageError for one of another task, and else as `rebuilt`)."""
    if task := metadata.get("charlm.task"):
        use = "charlm sample and charlm score" if task == "labelled" else "charlm predict and charlm test"
        raise UsageError(f"a model of task {task}, no language model of plain texts: use it with {use}")
    return rebuilt(tensors, metadata, train)


def rebuilt(tensors: Mapping[str, Any], metadata: Mapping[str, str], train: TrainConfig | None = None) -> Model:
    """Return the model that a file's tensors and metadata describe; raises DataError where they do not fit."""
    model = Model(*parts_of_file(tensors, metadata, train))
    if model.language.labels:
        raise DataError("it has labels, but is not of the task that knows them")
    return model


def parts_of_file(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig | None = None) -> _Parts:
    """Return what a model of a file is made of; raises DataError where it does not fit together."""
    try:
        facts = parse(metadata, "charlm.training")
        config = ModelConfig.from_dict(parse(metadata, "charlm.model"))
        check_language(config)
        language = Language.from_dict(parse(metadata, "charlm.vocabulary"))
    except UsageError as error:  # in a file it is no setting of the user's
        raise DataError(str(error)) from None
    check_facts(facts)
    if language.tokenizer.size != config.vocab_size:
        raise DataError(f"the vocabulary has {language.tokenizer.size} tokens, the model {config.vocab_size}")
    language.check_beginnings(config.beginnings)
    counts, weight = kept_counts(tensors, metadata, config)
    weights = {name: value for name, value in tensors.items() if not name.startswith(COUNTS)}
    check_size(weights, shapes(config))
    if not config.layers and counts is None:
        raise DataError("it has neither layers nor counts")
    train = train or TrainConfig()
    if not config.layers and train.engine != "numpy":
        raise UsageError(f"engine {train.engine} has nothing to compute in a model of counts alone: leave --engine out")
    engine = make_engine(config, train) if config.layers else NoNetwork()
    engine.load(weights)
    return engine, config, language, facts, counts, weight


def _drawing(config: SamplingConfig | None) -> SamplingConfig:
    if config is not None:
        checks.instance("config", config, SamplingConfig)
    return config or SamplingConfig()


def _printable(text: str) -> str:
    """Show each byte that is part of no character as U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
