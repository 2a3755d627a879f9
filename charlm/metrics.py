"""The figures of a classifier over texts with gold labels: ratios of sums, which add up over any number of chunks.

    accuracy     right / texts                    majority     texts of the training part's commonest label / texts
    precision    hits / predicted, of one label   recall       hits / gold, of one label
    F1           2 hits / (predicted + gold)      macro F1     the mean of F1 over the labels that stand in either

A gold label that the classifier does not have is always missed: it lowers accuracy and macro F1 and
has no nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.engines import Tally


def class_tally(logp: NDArray[np.float64], labels: NDArray[np.int32], read: int = 0) -> Tally:
    """Add up what a classifier said, log p [N, L] in nats, of texts with these labels [N], -1 where it has none such.

    The label it says is the most probable one, of equal ones the first.
    """
    classes, known = logp.shape[1], labels >= 0
    said = logp.argmax(axis=1)
    nats = -logp[np.flatnonzero(known), labels[known]]
    sums = {
        "gold": np.bincount(labels[known], minlength=classes),
        "predicted": np.bincount(said, minlength=classes),
        "hits": np.bincount(said[said == labels], minlength=classes),
        "unseen": int(np.count_nonzero(~known)),
    }
    return Tally(float(nats.sum()), int(known.sum()), read, sums)


@dataclass(frozen=True)
class LabelFigures:
    """What is to be said of one label: how many texts have it, how many were said to; None where that is over none."""

    label: str
    texts: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class ClassFigures:
    """The figures of a tally made by `class_tally`.

    right, texts: their ratio is the accuracy. common: the number of the training part's commonest
    label. unseen_labels: how many different gold labels the classifier does not have.
    """

    tally: Tally
    common: int
    unseen_labels: int = 0

    @property
    def right(self) -> int:
        """How many texts were given their label."""
        return int(np.sum(self.tally.sums.get("hits", 0)))

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return self.tally.count + int(self.tally.sums.get("unseen", 0))

    @property
    def accuracy(self) -> float | None:
        """right / texts; None over no texts."""
        return self.right / self.texts if self.texts else None

    @property
    def majority(self) -> float | None:
        """The accuracy of saying the training part's commonest label always; None over no texts."""
        return int(self.tally.sums["gold"][self.common]) / self.texts if self.texts else None

    @property
    def nats(self) -> float | None:
        """-log p of the gold label in nats, mean over the texts whose label the classifier has; None over none."""
        return self.tally.mean

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 over the labels that are gold or were said; None over no texts."""
        if not self.texts:
            return None
        hits, either = (
            self.tally.sums["hits"],
            self.tally.sums["predicted"] + self.tally.sums["gold"],
        )
        f1 = 2 * hits[either > 0] / either[either > 0]
        return float(f1.sum()) / (len(f1) + self.unseen_labels)

    def of_labels(self, names: Sequence[str]) -> list[LabelFigures]:
        """Return the figures of each label that is gold or was said, in the order of `names`."""
        columns = (self.tally.sums[name].tolist() for name in ("gold", "predicted", "hits"))
        return [
            LabelFigures(
                name,
                gold,
                said,
                _ratio(hits, said),
                _ratio(hits, gold),
                _ratio(2 * hits, said + gold),
            )
            for name, gold, said, hits in zip(names, *columns, strict=True)
            if gold or said
        ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
