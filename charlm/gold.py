"""Classifiers on gold texts: what their answers add up to, in memory that does not grow with the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.classifier import Classifier
from charlm.engines import Tally
from charlm.metrics import ClassFigures, class_tally
from charlm.text.tokenizers import UNK
from charlm.text.windows import in_windows

_TEXTS, _CHARACTERS = 4096, 1 << 18  # read before any model answers them
_MOST_UNSEEN = 1000  # different labels that are counted by name

Pair = tuple[str, str]  # a label and a text, or a gold label and what was said


class Answers:
    """One classifier's answers to gold texts: sums, confusions, and what it did not know.

    confusions: how often a gold label was taken for another, (gold, said). unseen: gold labels that
    the classifier does not have, and their texts (of the first thousand). tokens, unknown: of the
    texts, as far as they are read; cut: texts longer than that.
    """

    def __init__(self, model: Classifier) -> None:
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
                read = ids[: self.model.classes.max_length]
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
        return ClassFigures(self.tally, self.model.classes.common, len(self.unseen))


class Difference:
    """How many texts one classifier alone gave their label, and how many another alone."""

    def __init__(self) -> None:
        self.ahead = self.behind = 0

    def add(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> None:
        """Take which of some texts each gave their label, [n]."""
        self.ahead += int(np.count_nonzero(first & ~second))
        self.behind += int(np.count_nonzero(second & ~first))


def answer_all(
    models: Sequence[Classifier], pairs: Iterable[Pair]
) -> tuple[list[Answers], list[Difference]]:
    """Let classifiers answer the same gold texts; the differences are the first's to each of the others."""
    every = [Answers(model) for model in models]
    differences = [Difference() for _ in models[1:]]
    held = in_windows(pairs, size_of=lambda pair: len(pair[1]), most=_TEXTS, total=_CHARACTERS)
    for some in held:
        first, *others = (answers.add(some) for answers in every)
        for difference, other in zip(differences, others, strict=True):
            difference.add(first, other)
    return every, differences
