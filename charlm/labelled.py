"""A trained language model of labelled texts as a person uses it: it writes and scores texts of a
label, and says by Bayes which label a text has.

    p(label | text) = p(label) p(text | label) / p(text)
    p(text) = the sum of p(label) p(text | label) over all labels
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.classifier import Answer, check_wanted
from charlm.config import PRIORS, TrainConfig, one_of
from charlm.engines import LogProbs
from charlm.errors import DataError, UsageError
from charlm.language import Language
from charlm.model import Model, parts_of_file
from charlm.model_files import Tensors
from charlm.sampling import SamplingConfig
from charlm.scoring import Joined, Score, joined_log_probs, scores_of
from charlm.text.batches import Context, Ids
from charlm.text.label_names import Labels
from charlm.text.sequences import Kind
from charlm.text.tokenizers import UNK
from charlm.text.windows import always, in_windows, windows
from charlm.writing import Sample

TASK = "labelled"  # what its files call what it has learnt
_TEXTS = 1024  # of several labels that are scored together
_JUDGED = 1 << 20  # probabilities of labels that are in memory together
_TOKENS = 1 << 16  # of texts that are judged together

_Encoded = tuple[str, Ids]  # a text with its ids

_LARGEST = 1e300  # of what a file may have as a surprise
QUANTILES = 101  # of the surprise of the validation texts, from the least to the most
_SURPRISE = "valid_surprise"  # what the model's facts call them


class LabelledModel(Model):
    """A language model whose texts begin with a label: p(text | label).

    `given(label)` is the same model with one label for all that it is asked about; without any it
    raises UsageError for whatever needs to know how a text begins.

    >>> charlm.load("names").sample(label="Irish", seed=1)
    "O'Shea"
    """

    prior = PRIORS[0]  # how probable labels are held to be before a text is read

    def __repr__(self) -> str:
        names = self.labels
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"<LabelledModel of {len(names)} labels: {some}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of their numbers."""
        return known_labels(self.language).names

    def given(self, label: str | None) -> LabelledModel:
        """Return the model with this label for all texts, itself for None; they share weights.

        Raises UsageError, which names the nearest, for a label that the model has not.
        """
        if label is None:
            return self
        known_labels(self.language).number(label)
        view = copy.copy(self)
        view.language = replace(self.language, label=label)
        return view

    def weighed(self, prior: str) -> LabelledModel:
        """Return the model with another prior: "training", the share of the training texts that had
        a label, or "uniform", the same for each (UsageError for any other).
        """
        one_of("prior", prior, PRIORS)
        view = copy.copy(self)
        view.prior = prior
        return view

    @property
    def form(self) -> str:
        """Where labels stood in training (`charlm.text.labels`)."""
        return known_labels(self.language).form

    @property
    def kind(self) -> Kind:
        """What of a file is a text."""
        return self.language.kind

    @property
    def common(self) -> int:
        """The number of the training part's commonest label."""
        return int(np.argmax(known_labels(self.language).counts))

    @property
    def max_length(self) -> None:
        """How many tokens of a text are read: all."""

    def sample(
        self, length: int = 200, prompt: str = "", seed: int | None = None,
        temperature: float = 1.0, label: str | None = None, **settings: Any,
    ) -> str:  # fmt: skip
        """Write one text of a label, as `Model.sample` does."""
        return Model.sample(self.given(label), length, prompt, seed, temperature, **settings)

    def stream(
        self, length: int = 200, prompt: str = "", seed: int | None = None,
        temperature: float = 1.0, label: str | None = None, **settings: Any,
    ) -> Iterator[str]:  # fmt: skip
        """Write one text of a label, yielding the prompt and each piece, as `Model.stream` does."""
        return Model.stream(self.given(label), length, prompt, seed, temperature, **settings)

    def samples(
        self, count: int, config: SamplingConfig | None = None, prompt: str = "",
        seed: int | None = None, label: str | None = None,
    ) -> Iterator[Sample]:  # fmt: skip
        """Write `count` texts of a label, as `Model.samples` does."""
        return Model.samples(self.given(label), count, config, prompt, seed)

    def score(
        self, text: str, eos: bool | None = None, per_token: bool = False, label: str | None = None
    ) -> Score:
        """Return the score of one text of a label, log p(text | label), as `Model.score` does;
        without a label that of the text whatever its label is, as `scores` does.
        """
        return Model.score(self.given(label), text, eos, per_token)

    def scores(
        self, texts: Iterable[str], eos: bool | None = None, per_token: bool = False,
        ready: Callable[[], bool] = always, label: str | None = None,
    ) -> Iterator[Score]:  # fmt: skip
        """Score many texts of one label, as `Model.scores` does; without a label, log p(text) of
        each.

        The labels are then summed out, by the prior (raises UsageError for `per_token`).
        """
        view = self.given(label)
        if view.language.label is not None:
            return Model.scores(view, texts, eos, per_token, ready)
        if checks.flag("per_token", per_token):
            why = "say with --label which one, or leave --per-token out"
            raise UsageError(f"the tokens of a text are scored given its label: {why}")
        return self._summed_out(checks.texts("texts", texts), self.counts_eos(eos), ready)

    def scores_given(
        self, texts: Iterable[tuple[str, str]], eos: bool | None = None, per_token: bool = False,
        ready: Callable[[], bool] = always,
    ) -> Iterator[Score]:  # fmt: skip
        """Score many texts, each of its own label: yield log p(text | label) of each (label, text),
        in order.

        `texts` may go on without end; where `ready()` is false, which is asked after each, those so
        far are scored first. Raises UsageError for a label that the model has not.
        """
        for window in in_windows(texts, ready, most=_TEXTS):
            grouped: dict[str, list[str]] = {}
            for label, text in window:
                grouped.setdefault(label, []).append(text)
            scores = {
                label: self.scores(some, eos, per_token, label=label)
                for label, some in grouped.items()
            }
            yield from (next(scores[label]) for label, _ in window)

    def predict(
        self, texts: Iterable[str], top: int = 1, threshold: float = 0.0,
        ready: Callable[[], bool] = always, prior: str | None = None,
    ) -> Iterator[Answer]:  # fmt: skip
        """Yield the `top` most probable labels of each text, as `charlm.Classifier.predict` does.

        p(label) is the share of the training texts that had it, or with `prior` "uniform" the same
        for each. An answer's `surprise` is -log p(text) a token, the end of the text with them; its
        `percentile` says how many of 100 validation texts surprise less. Raises TypeError for a
        single text, UsageError for a `top` below 1, a threshold that is no probability or another
        prior.

        >>> next(charlm.load("names").predict(["Nguyen"])).label
        'Vietnamese'
        """
        top, threshold = check_wanted(top, threshold)
        view = self.weighed(self.prior if prior is None else prior)
        return view._answers(checks.texts("texts", texts), top, threshold, ready)

    def probabilities(self, text: str, prior: str | None = None) -> dict[str, float]:
        """Return the probability of every label for a text, the most probable first."""
        (answer,) = self.predict([checks.text("text", text)], len(self.labels), prior=prior)
        return dict(answer.labels)

    def judged(
        self, texts: Iterable[str], ready: Callable[[], bool] = always
    ) -> Iterator[tuple[list[tuple[str, Ids]], NDArray[np.float64]]]:
        """Yield texts with their ids, n at a time and in order, and log p [n, L] of every label in
        nats, given the text.
        """
        for window, joint in self._joint(self._encoded(texts), ready):
            yield window, joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)

    def percentile(self, surprise: float) -> float | None:
        """Return how many of 100 validation texts surprise less; None where the file does not say
        how much those did.
        """
        known = self.facts.get(_SURPRISE)
        if known is None or not math.isfinite(surprise):
            return None
        return float(np.interp(surprise, known, np.linspace(0, 100, QUANTILES)))

    def told_surprise(self, texts: Sequence[Ids]) -> dict[str, Any]:
        """Return what a file is to say of how much validation texts surprise, one or more, given
        their ids: the quantiles.
        """
        joint = self._joint(("", ids) for ids in texts)
        found = np.concatenate([_surprise(of, window) for window, of in joint])
        quantiles: list[float] = np.quantile(found, np.linspace(0, 1, QUANTILES)).tolist()
        return {_SURPRISE: quantiles}

    def _answers(
        self, texts: Iterable[str], top: int, threshold: float, ready: Callable[[], bool]
    ) -> Iterator[Answer]:
        for window, joint in self._joint(self._encoded(texts), ready):
            surprises = _surprise(joint, window).tolist()
            probabilities = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
            for (text, ids), p, surprise in zip(window, probabilities, surprises, strict=True):
                order = np.argsort(-p, kind="stable")[:top].tolist()
                found = tuple((self.labels[n], float(p[n])) for n in order if p[n] >= threshold)
                unknown = int(np.count_nonzero(ids == UNK))
                yield Answer(text, found, unknown, False, surprise, self.percentile(surprise))

    def _encoded(self, texts: Iterable[str]) -> Iterator[_Encoded]:
        return ((text, self.tokenizer.encode(text)) for text in texts)

    def _joint(
        self, texts: Iterable[_Encoded], ready: Callable[[], bool] = always
    ) -> Iterator[tuple[list[_Encoded], NDArray[np.float64]]]:
        """Yield texts with their ids, n at a time, and log p [n, L] of each label and the text."""
        most = max(1, min(_TEXTS, _JUDGED // len(self.labels)))
        for window in in_windows(texts, ready, lambda it: len(it[1]), most=most, total=_TOKENS):
            yield window, self._joint_of([ids for _, ids in window])

    def _joint_of(self, texts: Sequence[Ids]) -> NDArray[np.float64]:
        """Return log p [n, L] of each label and each text, its end with it."""
        joined, joint = Joined(texts), np.empty((len(texts), len(self.labels)))
        for number, prior in enumerate(self._log_prior().tolist()):
            logp = self._log_probs(joined, number, True)
            joint[:, number] = prior + np.add.reduceat(logp, joined.starts)
        return joint

    def _summed_out(
        self, texts: Iterable[str], eos: bool, ready: Callable[[], bool]
    ) -> Iterator[Score]:
        for window in windows(texts, self.tokenizer, ready):
            joined = Joined([ids for _, ids in window])
            figures = LogProbs(self._given_the_text_alone(joined, eos))
            yield from scores_of(self.tokenizer, window, joined, figures, eos)

    def _given_the_text_alone(self, joined: Joined, eos: bool) -> NDArray[np.float64]:
        """Return log p of every id [N] given those before it in its text: what all up to it have by
        what all before it have, labels summed out.
        """
        starts = np.array(joined.starts)
        lengths = np.diff([*joined.starts, len(joined)])
        upto = np.full(len(joined), -np.inf)
        for number, prior in enumerate(self._log_prior().tolist()):
            logp = self._log_probs(joined, number, eos)
            total = np.cumsum(logp)
            total -= np.repeat(total[starts] - logp[starts], lengths)
            np.logaddexp(upto, prior + total, out=upto)
        found = np.diff(upto, prepend=0)
        found[starts] = upto[starts]
        return found

    def _log_probs(self, joined: Joined, number: int, eos: bool) -> NDArray[np.float64]:
        """Return log p of every id [N] given those before it and the label of this number."""
        context = Context(self.tokenizer.size + number)
        return joined_log_probs(self.engine, context, joined, eos).target

    def _log_prior(self) -> NDArray[np.float64]:
        """Return log p [L] of the labels before a text is read."""
        counts = np.array(known_labels(self.language).counts, float)
        if self.prior == "uniform" or not counts.any():
            counts = np.ones(len(counts))
        with np.errstate(divide="ignore"):  # of a label that no text has
            logp: NDArray[np.float64] = np.log(counts / counts.sum())
        return logp

    def metadata(self) -> dict[str, str]:
        """Return what the file says beside the tensors; the label that was asked for is no part of
        it."""
        return super().metadata() | {"charlm.task": TASK}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what a file holds; the copy computes on one thread."""
        return _rebuilt_given, (self.tensors(), self.metadata(), self.language.label)


def known_labels(language: Language) -> Labels:
    """Return the labels of a language; raises DataError where a file has none."""
    if language.labels is None:
        raise DataError("a model of labelled texts needs labels")
    return language.labels


def rebuilt(
    tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig | None = None
) -> LabelledModel:
    """Return the model that a file describes; raises DataError where its parts do not fit."""
    model = LabelledModel(*parts_of_file(tensors, metadata, train))
    known_labels(model.language)
    if _SURPRISE in model.facts and not _are_quantiles(model.facts[_SURPRISE]):
        raise DataError(f"{_SURPRISE} must be {QUANTILES} numbers that rise")
    return model


def _rebuilt_given(
    tensors: Tensors, metadata: Mapping[str, str], label: str | None
) -> LabelledModel:
    return rebuilt(tensors, metadata).given(label)


def _surprise(joint: NDArray[np.float64], texts: Sequence[_Encoded]) -> NDArray[np.float64]:
    """Return -log p(text) a token [n], the end of the text with them, by log p [n, L] of labels and
    texts."""
    tokens = np.array([len(ids) + 1 for _, ids in texts])
    surprise: NDArray[np.float64] = -np.logaddexp.reduce(joint, axis=1) / tokens
    return surprise


def _are_quantiles(values: Any) -> bool:
    if not isinstance(values, list) or len(values) != QUANTILES:
        return False
    numbers = all(type(value) in (int, float) and abs(value) < _LARGEST for value in values)
    return numbers and values == sorted(values)
