"""Models that know labels on gold texts: what their answers add up to, in memory that does not grow
with the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Tally
from charlm.metrics import ClassFigures, class_tally
from charlm.text.batches import Ids
from charlm.text.sequences import Kind
from charlm.text.tokenizers import UNK, Tokenizer
from charlm.text.windows import in_windows

_TEXTS, _CHARACTERS = 4096, 1 << 18  # read before any model answers them
_MOST_UNSEEN = 1000  # different labels that are counted by name

Pair = tuple[str, str]  # a label and a text, or a gold label and what was said


class Labeller(Protocol):
    """What says how probable each label of a text is: a classifier, or a language model of labelled
    texts."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of their numbers."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of a text."""

    @property
    def form(self) -> str:
        """Where labels stood in training."""

    @property
    def kind(self) -> Kind:
        """What of a file is a text."""

    @property
    def common(self) -> int:
        """The number of the training part's commonest label."""

    @property
    def max_length(self) -> int | None:
        """How many tokens of a text are read, None for all."""

    def judged(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[list[tuple[str, Ids]], NDArray[np.float64]]]:
        """Yield texts with their ids, n at a time and in order, and log p [n, L] of every label in
        nats."""


class Answers:
    """One model's answers to gold texts: sums, confusions, and what it did not know.

    confusions: how often a gold label was taken for another, (gold, said). unseen: gold labels that
    the model does not have, and their texts (of the first thousand). tokens, unknown: of the
    texts, as far as they are read; cut: texts longer than that.
    """

    def __init__(self, model: Labeller) -> None:
        self.model, self.tally = model, Tally()
        self.confusions, self.unseen = Counter[Pair](), Counter[str]()
        self.tokens = self.unknown = self.cut = 0
        self._numbers = {name: number for number, name in enumerate(model.labels)}

    def add(self, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
        """Answer texts [n]; return which of them were given their label, [n]."""
        labels, start, right = [label for label, _ in pairs], 0, []
        for window, logp in self.model.judged(text for _, text in pairs):
            gold = labels[start : start + len(window)]
            start += len(window)
            numbers = np.fromiter(
                (self._numbers.get(label, -1) for label in gold), np.int32, len(gold)
            )
            said = logp.argmax(axis=1)
            self.tally += class_tally(logp, numbers)
            for _, ids in window:
                read = ids[: self.model.max_length]
                self.tokens += len(read)
                self.unknown += int(np.count_nonzero(read == UNK))
                self.cut += len(ids) > len(read)
            right.append(said == numbers)
            self._note(gold, numbers, said)
        return np.concatenate(right)

    def _note(
        self, gold: Sequence[str], numbers: NDArray[np.int32], said: NDArray[np.int64]
    ) -> None:
        for place in np.flatnonzero(said != numbers).tolist():
            label = gold[place]
            if numbers[place] < 0:
                if label not in self.unseen and len(self.unseen) == _MOST_UNSEEN:
                    continue
                self.unseen[label] += 1
            self.confusions[label, self.model.labels[said[place]]] += 1

    @property
    def figures(self) -> ClassFigures:
        """The figures of all texts so far."""
        return ClassFigures(self.tally, self.model.common, len(self.unseen))


class Difference:
    """How many texts one model alone gave their label, and how many another alone."""

    def __init__(self) -> None:
        self.ahead = self.behind = 0

    def add(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> None:
        """Take which of some texts each gave their label, [n]."""
        self.ahead += int(np.count_nonzero(first & ~second))
        self.behind += int(np.count_nonzero(second & ~first))


def answer_all(
    models: Sequence[Labeller], pairs: Iterable[Pair]
) -> tuple[list[Answers], list[Difference]]:
    """Let models answer the same gold texts; the differences are the first's to each of the
    others."""
    every = [Answers(model) for model in models]
    differences = [Difference() for _ in models[1:]]
    held = in_windows(pairs, size_of=lambda pair: len(pair[1]), most=_TEXTS, total=_CHARACTERS)
    for some in held:
        first, *others = (answers.add(some) for answers in every)
        for difference, other in zip(differences, others, strict=True):
            difference.add(first, other)
    return every, differences
