"""The figures of a tagger over sentences with gold tags: ratios of sums, which add up over any
number of chunks.

    accuracy            right / tokens
    majority            tokens of the training part's commonest tag / tokens
    unknown accuracy    right / tokens, of the tokens that training has not
    precision           right spans / said spans
    recall              right spans / gold spans
    F1                  2 right spans / (said spans + gold spans)
    word accuracy       of tagged characters: words, parted by white space, that are right in whole

Spans are read by conlleval's rule (`charlm.bio`), one is right where its kind and both its ends
are; they count in the tags that are trained, which for spans are those of IOB2. A gold tag that the
tagger does not have is always wrong, and has no nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.bio import OUTSIDE, begin_table, mark_spans, parted
from charlm.engines import Tally

UNSEEN = "?"  # how a kind of spans is called that training has not


class _Kinds(NamedTuple):
    """What the tags of a sentence mean: where spans begin, [L + M + 2, L + M + 1], the last tag
    being of an unseen kind; the number of each tag's kind, [L + M + 1], -1 outside; the kinds."""

    begins: NDArray[np.bool_]
    kind: NDArray[np.int64]
    names: tuple[str, ...]


def tag_tally(
    said: NDArray[np.int32],
    gold: NDArray[np.int32],
    nats: NDArray[np.float64],
    starts: NDArray[np.int64],
    names: Sequence[str],
    unknown: NDArray[np.bool_] | None = None,
    unseen: Sequence[str] = (),
    spaces: NDArray[np.bool_] | None = None,
    read: int = 0,
) -> Tally:
    """Add up what a tagger said of the N tokens of S whole sentences.

    said [N]: numbers of tags, of `names` [L]. gold [N]: the same, L + m for tag m of `unseen`, and
    -1 for others that the tagger does not have; so many neighbouring ones are taken for one span of
    an unseen kind. nats: -log p of the gold tags, [N], or of all of a sentence's together, [S]; 0
    where the tagger has no such tag. starts [S + 1]: where each sentence begins, and N. unknown
    [N]: which tokens training has not. spaces [N]: which of tagged characters are white space, for
    the accuracy of words. read: how many tokens were read.
    """
    count, right = len(names), said == gold
    known = (gold >= 0) & (gold < count)
    sums = {
        "gold": np.bincount(gold[known], minlength=count),
        "predicted": np.bincount(said, minlength=count),
        "hits": np.bincount(said[right], minlength=count),
        "unseen": int(np.count_nonzero(~known)),
    }
    if unknown is not None:
        sums |= _of(right, unknown, "unknown")
    if spaces is not None:
        sums |= _words(right, spaces, starts)
    if mark_spans(names):
        sums |= _spans(said, gold, starts, _kinds(tuple(names), tuple(unseen)))
    return Tally(float(nats.sum()), int(known.sum()), read, sums)


def _of(right: NDArray[np.bool_], some: NDArray[np.bool_], name: str) -> dict[str, int]:
    """Return how many of some there are and how many of them are right."""
    found = int(np.count_nonzero(some)), int(np.count_nonzero(right & some))
    return {f"{name}_tokens": found[0], f"{name}_right": found[1]}


def _words(
    right: NDArray[np.bool_], spaces: NDArray[np.bool_], starts: NDArray[np.int64]
) -> dict[str, int]:
    """Return how many words, runs of what is not white space within a sentence, there are and how
    many are right."""
    before = np.roll(spaces, 1)
    before[_firsts(starts, len(spaces))] = True
    begins = np.flatnonzero(before & ~spaces)
    wrong = np.add.reduceat(~right & ~spaces, begins, dtype=np.int64) if len(begins) else begins
    return {"words": len(begins), "words_right": int(np.count_nonzero(wrong == 0))}


@lru_cache(maxsize=16)
def _kinds(names: tuple[str, ...], unseen: tuple[str, ...]) -> _Kinds:
    kinds = kinds_of(names)
    every = (*names, *unseen, "I-\0")  # the last stands for any, and no file's kind is called so
    numbers = {kind: number for number, kind in enumerate(kinds)}
    parts = [parted(tag) or (OUTSIDE, "") for tag in every]
    found = [-1 if letter == OUTSIDE else numbers.get(kind, len(kinds)) for letter, kind in parts]
    return _Kinds(begin_table(every), np.array(found, np.int64), kinds)


def kinds_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of the spans that tags mark, by code point; none where they mark no
    spans."""
    if not mark_spans(names):
        return ()
    return tuple(sorted({parts[1] for tag in names if (parts := parted(tag)) and tag != OUTSIDE}))


def _spans(
    said: NDArray[np.int32], gold: NDArray[np.int32], starts: NDArray[np.int64], kinds: _Kinds
) -> dict[str, NDArray[np.int64]]:
    """Return how many spans of each kind, the last being all that training has not, are gold, are
    said and are both."""
    of_gold, of_said = (_spans_of(tags, starts, kinds) for tags in (gold, said))
    both = of_gold[np.isin(_keys(of_gold), _keys(of_said))]
    found = {"gold_spans": of_gold, "said_spans": of_said, "right_spans": both}
    size = len(kinds.names) + 1
    return {name: np.bincount(spans[:, 2], minlength=size) for name, spans in found.items()}


def _spans_of(
    tags: NDArray[np.int32], starts: NDArray[np.int64], kinds: _Kinds
) -> NDArray[np.int64]:
    """Return first token, end and kind of each span, in order, [n, 3]."""
    none = len(kinds.kind)
    numbers = np.where(tags < 0, none - 1, tags)
    before = np.roll(numbers, 1)
    before[_firsts(starts, len(tags))] = none
    begins = kinds.begins[before, numbers]
    inside = kinds.kind[numbers] >= 0
    after = np.roll(begins | ~inside, -1)  # true at each sentence's first, so the last is right too
    begin, stop = np.flatnonzero(begins), np.flatnonzero(inside & after) + 1
    return np.stack([begin, stop, kinds.kind[numbers[begin]]], axis=1)


def _firsts(starts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the first token of each sentence that has one."""
    return starts[starts < count]


def _keys(spans: NDArray[np.int64]) -> NDArray[np.void]:
    """Return something to compare for each span, [n, 3]."""
    return np.ascontiguousarray(spans).view([("", np.int64)] * 3).ravel()


@dataclass(frozen=True)
class SpanFigures:
    """What is to be said of the spans of a kind, or of all (kind None); None where a figure is over
    none."""

    kind: str | None
    gold: int
    said: int
    right: int

    @property
    def precision(self) -> float | None:
        """right / said."""
        return self.right / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """right / gold."""
        return self.right / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        """2 right / (gold + said)."""
        both = self.gold + self.said
        return 2 * self.right / both if both else None


@dataclass(frozen=True)
class TagFigures:
    """The figures of a tally made by `tag_tally`.

    names: the tagger's tags. common: the number of the training part's commonest. unseen_tags: how
    many different gold tags the tagger does not have.
    """

    tally: Tally
    names: tuple[str, ...]
    common: int
    unseen_tags: int = 0

    @property
    def right(self) -> int:
        """How many tokens were given their tag."""
        return int(np.sum(self.tally.sums.get("hits", 0)))

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self.tally.count + int(self.tally.sums.get("unseen", 0))

    @property
    def accuracy(self) -> float | None:
        """right / tokens; None over no tokens."""
        return _ratio(self.right, self.tokens)

    @property
    def majority(self) -> float | None:
        """The accuracy of saying the training part's commonest tag always; None over no tokens."""
        return (
            _ratio(int(self.tally.sums["gold"][self.common]), self.tokens) if self.tokens else None
        )

    @property
    def nats(self) -> float | None:
        """-log p of a gold tag in nats, mean over those that the tagger has; None over none."""
        return self.tally.mean

    @property
    def unknown(self) -> int:
        """How many tokens training has not."""
        return int(self.tally.sums.get("unknown_tokens", 0))

    @property
    def unknown_accuracy(self) -> float | None:
        """The accuracy over the tokens that training has not; None over none, and where they were
        not told apart."""
        return _ratio(int(self.tally.sums.get("unknown_right", 0)), self.unknown)

    @property
    def words(self) -> int:
        """How many words the tagged characters make; 0 where words are tagged."""
        return int(self.tally.sums.get("words", 0))

    @property
    def word_accuracy(self) -> float | None:
        """The share of those words all of whose characters are right; None over none."""
        return _ratio(int(self.tally.sums.get("words_right", 0)), self.words)

    @property
    def spans(self) -> SpanFigures | None:
        """The figures over the spans of all kinds; None where the tags mark no spans."""
        return self._spans(None, slice(None)) if mark_spans(self.names) else None

    @property
    def span_f1(self) -> float | None:
        """The F1 over all spans; None where the tags mark none, or none is gold and none was
        said."""
        return self.spans.f1 if self.spans else None

    @property
    def precision(self) -> float | None:
        """The precision over all spans; None where there is none."""
        return self.spans.precision if self.spans else None

    @property
    def recall(self) -> float | None:
        """The recall over all spans; None where there is none."""
        return self.spans.recall if self.spans else None

    @property
    def merit(self) -> tuple[int, int]:
        """What weights are chosen by, the span F1 or else the accuracy, as a ratio of whole
        numbers: (right, of)."""
        found = self.spans
        return (2 * found.right, found.gold + found.said) if found else (self.right, self.tokens)

    def by_kind(self) -> list[SpanFigures]:
        """Return the figures of each kind of spans that is gold or was said, by code point; last,
        as `UNSEEN`, all gold spans of kinds that the tagger does not have."""
        every = (
            self._spans(kind, number) for number, kind in enumerate((*kinds_of(self.names), UNSEEN))
        )
        return [figures for figures in every if figures.gold or figures.said]

    def _spans(self, kind: str | None, which: slice | int) -> SpanFigures:
        size = len(kinds_of(self.names)) + 1
        none = np.zeros(size, np.int64)
        found = (self.tally.sums.get(f"{name}_spans", none) for name in ("gold", "said", "right"))
        return SpanFigures(kind, *(int(np.sum(sums[which])) for sums in found))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
