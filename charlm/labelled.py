"""A trained language model of labelled texts as a person uses it: it writes and scores texts of a
label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import checks
from charlm.classifier import Answer, check_wanted
from charlm.config import TrainConfig, one_of
from charlm.errors import DataError
from charlm.language import Language
from charlm.model import Model, parts_of_file
from charlm.model_files import Tensors
from charlm.sampling import SamplingConfig
from charlm.scoring import Score
from charlm.text.label_names import Labels
from charlm.text.windows import always, in_windows
from charlm.writing import Sample

TASK = "labelled"  # what its files call what it has learnt
PRIORS = ("training", "uniform")  # how probable a label is before a text is read
_TEXTS = 1024  # of several labels that are scored together


class LabelledModel(Model):
    """A language model whose texts begin with a label: p(text | label).

    `given(label)` is the same model with one label for all that it is asked about; without any it
    raises UsageError for whatever needs to know how a text begins.

    >>> charlm.load("names").sample(label="Irish", seed=1)
    "O'Shea"
    """

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
        language = replace(self.language, label=label)
        return LabelledModel(
            self._network, self.config, language, self.facts, self.counts, self.counts_weight
        )

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
        """Return the score of one text of a label, log p(text | label), as `Model.score` does."""
        return Model.score(self.given(label), text, eos, per_token)

    def scores(
        self, texts: Iterable[str], eos: bool | None = None, per_token: bool = False,
        ready: Callable[[], bool] = always, label: str | None = None,
    ) -> Iterator[Score]:  # fmt: skip
        """Score many texts of one label, as `Model.scores` does."""
        return Model.scores(self.given(label), texts, eos, per_token, ready)

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
        ready: Callable[[], bool] = always, prior: str = "training",
    ) -> Iterator[Answer]:  # fmt: skip
        """Yield the `top` most probable labels of each text, as `charlm.Classifier.predict` does,
        by Bayes:

            p(label | text) = p(label) p(text | label) / p(text)

        p(label) is the share of the training texts that had it, or with `prior` "uniform" the same
        for each; p(text), the sum of the numerators, is the answer's `surprise`: -log p(text) a
        token, the end of the text with them. Raises TypeError for a single text, UsageError for a
        `top` below 1, a threshold that is no probability or another prior.

        >>> next(charlm.load("names").predict(["Nguyen"])).label
        'Vietnamese'
        """
        top, threshold = check_wanted(top, threshold)
        weights = self._log_prior(prior)
        return self._predicted(checks.texts("texts", texts), top, threshold, ready, weights)

    def probabilities(self, text: str, prior: str = "training") -> dict[str, float]:
        """Return the probability of every label for a text, the most probable first."""
        (answer,) = self.predict([checks.text("text", text)], len(self.labels), prior=prior)
        return dict(answer.labels)

    def _log_prior(self, prior: str) -> NDArray[np.float64]:
        """Return log p [L] of the labels (UsageError)."""
        one_of("prior", prior, PRIORS)
        counts = np.array(known_labels(self.language).counts, float)
        if prior == "uniform" or not counts.any():
            counts = np.ones(len(counts))
        with np.errstate(divide="ignore"):  # of a label that no text has
            logp: NDArray[np.float64] = np.log(counts / counts.sum())
        return logp

    def _predicted(
        self, texts: Iterable[str], top: int, threshold: float, ready: Callable[[], bool],
        prior: NDArray[np.float64],
    ) -> Iterator[Answer]:  # fmt: skip
        for window in in_windows(texts, ready, most=_TEXTS):
            scores = [list(self.scores(window, True, label=label)) for label in self.labels]
            joint = prior[:, None] + np.array(
                [[one.logprob for one in of] for of in scores]
            )  # [L, n]
            logp = np.logaddexp.reduce(joint, axis=0)
            for k, (text, score) in enumerate(zip(window, scores[0], strict=True)):
                p = np.exp(joint[:, k] - logp[k])
                order = np.argsort(-p, kind="stable")[:top].tolist()
                found = tuple((self.labels[n], float(p[n])) for n in order if p[n] >= threshold)
                yield Answer(text, found, score.unknown, False, -float(logp[k]) / score.tokens)

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
    return model


def _rebuilt_given(
    tensors: Tensors, metadata: Mapping[str, str], label: str | None
) -> LabelledModel:
    return rebuilt(tensors, metadata).given(label)
