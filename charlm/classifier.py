"""A trained classifier as a person uses it: the labels of texts with their probabilities, figures on gold files."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.checkpoint import FORMAT_KEY
from charlm.config import LABELS, POOLINGS, ModelConfig, TrainConfig, have_counts
from charlm.engines import Tally
from charlm.engines.classifier import ClassifierEngine
from charlm.errors import DataError, UsageError
from charlm.facts import check_facts
from charlm.metrics import class_tally
from charlm.model_files import Tensors, check_size, dump, numpy_settings, parse, save
from charlm.nn.classifier import shapes
from charlm.nn.ngrams import MOST
from charlm.text.batches import Ids
from charlm.text.labels import is_label
from charlm.text.packing import TextList, Texts, chunks_of
from charlm.text.sequences import KINDS, LINE, PARAGRAPH, Kind
from charlm.text.tokenizers import UNK, Tokenizer, tokenizer_from_dict
from charlm.text.windows import always, windows

_OF_CLASSES = {"names": list, "counts": list, "labels": str, "pool": str, "max_length": int, "balance": bool,
               "ngrams": int}  # fmt: skip


@dataclass(frozen=True)
class Classes:
    """What a classifier knows beside its weights: how texts become tokens, and what their labels are.

    names: the labels, in the order of their numbers; counts: how many texts of the training part
    had each. form: where labels stood (`charlm.text.labels`). pool: how a text's steps become one
    vector. max_length: the tokens of a text that are read. balance: whether rare labels counted for
    as much as common ones. ngrams: of how many tokens n-grams count beside the network, 0 for none.
    sequences: what of a file is a text, line or paragraph.
    """

    tokenizer: Tokenizer
    names: tuple[str, ...]
    counts: tuple[int, ...]
    form: str
    pool: str
    max_length: int
    balance: bool = False
    ngrams: int = 0
    sequences: str = LINE.name

    @property
    def kind(self) -> Kind:
        """What of a file is a text."""
        return KINDS[self.sequences]

    @property
    def common(self) -> int:
        """The number of the training part's commonest label."""
        return int(np.argmax(self.counts))

    def to_dict(self) -> dict[str, Any]:
        """Return all but the tokenizer, as files have it."""
        return {
            "names": list(self.names), "counts": list(self.counts), "labels": self.form, "pool": self.pool,
            "max_length": self.max_length, "balance": self.balance, "ngrams": self.ngrams,
            **({} if self.kind is LINE else {"sequences": self.sequences}),
        }  # fmt: skip

    def metadata(self) -> dict[str, str]:
        """Return what a file says of it."""
        vocabulary = {"tokenizer": self.tokenizer.to_dict()}
        return {"charlm.vocabulary": dump(vocabulary), "charlm.classes": dump(self.to_dict())}

    @classmethod
    def of_file(cls, metadata: Mapping[str, str]) -> Classes:
        """Rebuild from a file's metadata; raises DataError where anything is missing or wrong."""
        vocabulary, values = parse(metadata, "charlm.vocabulary"), parse(metadata, "charlm.classes")
        if set(vocabulary) != {"tokenizer"}:
            raise DataError("the vocabulary of a classifier needs exactly a tokenizer")
        _check(values)
        names, counts = tuple(values["names"]), tuple(values["counts"])
        tokenizer = tokenizer_from_dict(vocabulary["tokenizer"])
        rest = (values[name] for name in ("labels", "pool", "max_length", "balance", "ngrams"))
        known = cls(tokenizer, names, counts, *rest)
        return replace(known, sequences=values.get("sequences", LINE.name))


@dataclass(frozen=True)
class Answer:
    """What a classifier says of a text: labels and their probabilities, the most probable first.

    unknown: how many of the tokens it does not know. cut: whether the text was longer than what it
    reads. surprise: nats a token of the text whatever its label, which only a language model can
    tell. percentile: how many of 100 validation texts surprise less.
    """

    text: str
    labels: tuple[tuple[str, float], ...]
    unknown: int
    cut: bool
    surprise: float | None = None
    percentile: float | None = None

    @property
    def label(self) -> str | None:
        """The most probable label; None where none is as probable as was asked for."""
        return self.labels[0][0] if self.labels else None

    @property
    def probability(self) -> float | None:
        """The probability of that label."""
        return self.labels[0][1] if self.labels else None


@dataclass(frozen=True)
class LabelScore:
    """How probable a label is for a text: log p(label | text) in nats, None where the label is none of the model's."""

    label: str
    text: str
    logprob: float | None
    cut: bool


class Classifier:
    """A classifier with its labels. `facts` tells where it comes from (`charlm.training` in the file)."""

    def __init__(
        self,
        engine: ClassifierEngine,
        config: ModelConfig,
        classes: Classes,
        facts: Mapping[str, Any],
    ) -> None:
        self.trained, self.config, self.classes, self.facts = engine, config, classes, dict(facts)

    def __repr__(self) -> str:
        names = self.classes.names
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"<Classifier of {len(names)} labels: {some}>"

    @property
    def tokenizer(self) -> Tokenizer:
        return self.classes.tokenizer

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of their numbers."""
        return self.classes.names

    @property
    def form(self) -> str:
        """Where labels stood in training (`charlm.text.labels`)."""
        return self.classes.form

    @property
    def kind(self) -> Kind:
        """What of a file is a text."""
        return self.classes.kind

    @property
    def common(self) -> int:
        """The number of the training part's commonest label."""
        return self.classes.common

    @property
    def max_length(self) -> int:
        """How many tokens of a text are read."""
        return self.classes.max_length

    def predict(
        self,
        texts: Iterable[str],
        top: int = 1,
        threshold: float = 0.0,
        ready: Callable[[], bool] = always,
    ) -> Iterator[Answer]:
        """Yield the `top` most probable labels of each text, in order, those of at least `threshold`.

        `texts` may go on without end; where `ready()` is false, which is asked after each text,
        those so far are answered before the next is taken. Of equally probable labels the first
        comes first. Raises TypeError for a single text, UsageError for a `top` below 1 or a
        threshold that is no probability.

        >>> next(charlm.load("names").predict(["Nguyen"])).label
        'Vietnamese'
        """
        top, threshold = check_wanted(top, threshold)
        every = checks.texts("texts", texts)
        longest, names = self.classes.max_length, self.classes.names
        return (
            _answer(text, ids, row, names, longest, top, threshold)
            for window, logp in self.judged(every, ready)
            for (text, ids), row in zip(window, logp, strict=True)
        )

    def probabilities(self, text: str) -> dict[str, float]:
        """Return the probability of every label for a text, the most probable first."""
        (answer,) = self.predict([checks.text("text", text)], top=len(self.classes.names))
        return dict(answer.labels)

    def scores(
        self, texts: Iterable[tuple[str, str]], ready: Callable[[], bool] = always
    ) -> Iterator[LabelScore]:
        """Yield how probable the label of each (label, text) is, in order; `ready` as in `predict`."""
        numbers = {name: number for number, name in enumerate(self.classes.names)}
        held = deque[str]()  # labels whose texts are being judged

        def texts_alone() -> Iterator[str]:
            for label, text in texts:
                held.append(label)
                yield text

        for window, logp in self.judged(texts_alone(), ready):
            for (text, ids), row in zip(window, logp, strict=True):
                label = held.popleft()
                found = float(row[numbers[label]]) if label in numbers else None
                yield LabelScore(label, text, found, len(ids) > self.classes.max_length)

    def tally(self, texts: Texts, stop: Callable[[], bool] = lambda: False) -> Tally | None:
        """Return the sums over labelled texts (`charlm.metrics`); None if `stop` interrupted it."""
        return evaluate(self.trained, texts, stop)

    def judged(
        self, texts: Iterable[str], ready: Callable[[], bool] = always
    ) -> Iterator[tuple[list[tuple[str, Ids]], NDArray[np.float64]]]:
        """Yield texts with their ids, n at a time and in order, and log p [n, L] of every label in nats."""
        longest = self.classes.max_length
        for window in windows(texts, self.tokenizer, ready):
            held = TextList([ids[:longest] for _, ids in window])
            logp = np.empty((len(window), len(self.classes.names)))
            for numbers, chunk in chunks_of(held):
                logp[numbers] = self.trained.log_probs(chunk)
            yield window, logp

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file that classifying needs, atomically (errors as `charlm.model_files.save`)."""
        save(path, self.trained.tensors(), self.metadata())

    def metadata(self) -> dict[str, str]:
        """Return what the file says beside the tensors: configuration, labels, vocabulary, origin."""
        return {
            FORMAT_KEY: "2", "charlm.task": "classify", "charlm.model": dump(self.config.to_dict()),
            "charlm.training": dump(self.facts), **self.classes.metadata(),
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what a file holds; the copy computes on one thread."""
        return rebuilt, (self.trained.tensors(), self.metadata())


def evaluate(
    engine: ClassifierEngine, texts: Texts, stop: Callable[[], bool] = lambda: False
) -> Tally | None:
    """Return the sums over labelled texts (`charlm.metrics`); None if `stop` interrupted it."""
    total = Tally()
    for _, chunk in chunks_of(texts):
        if stop():
            return None
        total += class_tally(engine.log_probs(chunk), chunk.labels, chunk.read)
    return total


def rebuilt(
    tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig | None = None
) -> Classifier:
    """Return the classifier that a file's tensors and metadata describe; raises DataError where they do not fit."""
    try:
        facts, classes = parse(metadata, "charlm.training"), Classes.of_file(metadata)
        config = ModelConfig.from_dict(parse(metadata, "charlm.model"))
    except UsageError as error:  # in a file it is no setting of the user's
        raise DataError(str(error)) from None
    check_facts(facts)
    if not config.layers:
        raise DataError("a classifier needs layers")
    if classes.tokenizer.size != config.vocab_size:
        raise DataError(
            f"the vocabulary has {classes.tokenizer.size} tokens, the model {config.vocab_size}"
        )
    check_size(tensors, shapes(config, len(classes.names), classes.pool, classes.ngrams))
    train = numpy_settings(train, "classifiers")
    engine = ClassifierEngine(
        config, len(classes.names), classes.pool, train.threads or 1, train, classes.ngrams
    )
    engine.load(tensors)
    return Classifier(engine, config, classes, facts)


def check_wanted(top: int, threshold: float) -> tuple[int, float]:
    """Return how many labels of a text are wanted, and how probable at least (errors as `Classifier.predict`)."""
    top, threshold = checks.whole("top", top, 1), checks.real("threshold", threshold)
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be a probability, 0 to 1, not {threshold:g}")
    return top, threshold


def _answer(
    text: str,
    ids: Ids,
    logp: NDArray[np.float64],
    names: Sequence[str],
    longest: int,
    top: int,
    threshold: float,
) -> Answer:
    order = np.argsort(-logp, kind="stable")[:top].tolist()
    p = np.exp(logp)
    labels = tuple((names[k], float(p[k])) for k in order if p[k] >= threshold)
    return Answer(text, labels, int(np.count_nonzero(ids == UNK)), len(ids) > longest)


def _check(values: Mapping[str, Any]) -> None:
    """Raise DataError unless what a file says of labels has exactly the right entries."""
    if (
        values.get("sequences") == PARAGRAPH.name
    ):  # which stands there alone: a line goes without saying
        values = {name: value for name, value in values.items() if name != "sequences"}
    if values.keys() != _OF_CLASSES.keys():
        raise DataError(f"the classes need exactly {', '.join(_OF_CLASSES)}")
    names = values["names"]
    check_facts({name: value for name, value in values.items() if name != "counts"}, _OF_CLASSES)
    if not have_counts(names, values["counts"]):
        raise DataError("the classes need two or more different labels, and a count for each")
    if not all(map(is_label, names)):  # a control character in one would go to somebody's terminal
        raise DataError("the classes have a label that no text could have had")
    if values["labels"] not in LABELS or values["pool"] not in POOLINGS:
        raise DataError("the classes have a form or a pooling that there is not")
    if values["max_length"] < 1 or values["ngrams"] > MOST:
        raise DataError("the classes have a length or n-grams that there are not")
