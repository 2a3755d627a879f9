"""Which of two models finds the same texts more probable, and how sure that is: a paired bootstrap over the texts.

Probabilities of the same text can be compared; that of a text in which a token is unknown is the probability of all
that might stand there, and grows with all that a model does not know. So a verdict needs texts that both models know
in full, or models of one vocabulary; and tokenizers that both keep the text, or change it in the same way.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.scoring import Score
from charlm.text.tokenizers import Tokenizer

FEWEST_TEXTS = 10  # from which on an interval is given
_RESAMPLES = 1000
_LEVEL = 0.95
_MANY = 1 << 20  # numbers drawn at once


@dataclass(frozen=True)
class Comparison:
    """How much more probable texts are under one model than under another, in nats; or how many more are right.

    `mean` is the mean difference a text, from `low` to `high` the interval that holds it in 95 of 100 resamples of
    the texts (Efron 1979; percentile interval; None from fewer than FEWEST_TEXTS); `better` counts the texts where
    the first model is ahead.
    """

    texts: int
    better: int
    total: float
    mean: float
    low: float | None
    high: float | None


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Compare two models by their log-probabilities of the same texts, one or more; the seed decides the resamples."""
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count, ahead, total = len(differences), int((differences > 0).sum()), float(differences.sum())
    low, high = (None, None) if count < FEWEST_TEXTS else _interval(differences, seed)
    return Comparison(count, ahead, total, total / count, low, high)


def compare_right(ahead: int, behind: int, texts: int, seed: int = 0) -> Comparison:
    """Compare the accuracies of two models over the same texts, one or more.

    `ahead` is how many only the first got right, `behind` how many only the second. A text's difference is 1, -1 or
    0, so that resampling the texts is drawing how many there are of each.
    """
    low = high = None
    if texts >= FEWEST_TEXTS:
        shares = [ahead / texts, behind / texts, (texts - ahead - behind) / texts]
        drawn = np.random.default_rng(seed).multinomial(texts, shares, size=_RESAMPLES)
        low, high = _bounds((drawn[:, 0] - drawn[:, 1]) / texts)
    return Comparison(texts, ahead, ahead - behind, (ahead - behind) / texts, low, high)


def compare_ratios(
    first: NDArray[np.int64], second: NDArray[np.int64], seed: int = 0
) -> Comparison:
    """Compare two models by a ratio of sums over the same texts, such as an F1 over sentences.

    `first` and `second` have what each text adds to either, [n, 2]; the seed decides the resamples.
    `better` counts the texts of which the first has a higher ratio, `mean` and the interval are of
    the difference of the ratios.
    """
    count = len(first)
    ahead = int(np.count_nonzero(first[:, 0] * second[:, 1] > second[:, 0] * first[:, 1]))
    mean = _ratio(first.sum(axis=0)) - _ratio(second.sum(axis=0))
    low = high = None
    if count >= FEWEST_TEXTS:
        rng, means = np.random.default_rng(seed), np.empty(_RESAMPLES)
        for place in range(_RESAMPLES):
            drawn = rng.integers(count, size=count)
            means[place] = _ratio(first[drawn].sum(axis=0)) - _ratio(second[drawn].sum(axis=0))
        low, high = _bounds(means)
    return Comparison(count, ahead, mean, mean, low, high)


def _ratio(sums: NDArray[np.int64]) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _interval(differences: np.ndarray[Any, Any], seed: int) -> tuple[float, float]:
    rng, count = np.random.default_rng(seed), len(differences)
    means = np.empty(_RESAMPLES)
    at_once = max(1, _MANY // count)
    for start in range(0, _RESAMPLES, at_once):
        part = means[start : start + at_once]
        part[:] = differences[rng.integers(count, size=(len(part), count))].mean(axis=1)
    return _bounds(means)


def _bounds(means: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the interval that holds the means of _LEVEL of the resamples."""
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


@dataclass
class Pair:
    """Two models and how they stand, text by text; `known_only` leaves out texts that one of them does not know.

    `texts` counts all, `full` those that both know in full; `tokens` and `characters` (each EOS scored is one more)
    are of the texts compared.
    """

    first: Tokenizer
    second: Tokenizer
    known_only: bool = False
    texts: int = 0
    full: int = 0
    tokens: int = 0
    characters: int = 0
    _first: array[float] = field(default_factory=lambda: array("d"))
    _second: array[float] = field(default_factory=lambda: array("d"))

    def __post_init__(self) -> None:
        ours, theirs = _settings(self.first), _settings(self.second)
        self.same_units = ours == theirs
        self.same_vocabulary = self.same_units and _vocabulary(self.first) == _vocabulary(self.second)
        lossless = self.first.lossless and self.second.lossless
        self.same_text = self.same_units or lossless

    def add(self, first: Score, second: Score) -> bool:
        """Take the scores of a text by both; return whether they can be compared with each other."""
        full = not (first.unknown or second.unknown)
        self.texts, self.full = self.texts + 1, self.full + full
        comparable = self.same_text and (full or self.same_vocabulary)
        if full or not self.known_only:
            self._first.append(first.logprob)
            self._second.append(second.logprob)
            self.tokens += first.tokens
            self.characters += first.characters + first.eos
        return comparable

    @property
    def why_no_verdict(self) -> str | None:
        """Why nothing can be said, or None where something can."""
        if not self.same_text:
            return "a tokenizer drops something that the other keeps, so these are probabilities of different texts"
        if self._first and (self.same_vocabulary or self.known_only or self.full == self.texts):
            return None
        return "no text is known in full to both" if not self.full else "not all texts are known in full to both"

    def verdict(self) -> Comparison | None:
        """Return how the first stands to the second; None where `why_no_verdict` says why."""
        return None if self.why_no_verdict else compare(self._first, self._second)


def _settings(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """Return what decides how a text is cut into tokens, whatever the vocabulary."""
    return {name: value for name, value in tokenizer.to_dict().items() if name != "tokens"}


def _vocabulary(tokenizer: Tokenizer) -> set[str]:
    return set(tokenizer.to_dict().get("tokens", ()))
