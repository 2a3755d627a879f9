"""A character n-gram model with modified Kneser-Ney smoothing, on charlm's own split: what a network must beat.

    python tests/benchmarks/ngram.py FILE [--order 6]

Chen and Goodman's (1999) interpolated form: with c the counts of the highest order, and below it the numbers of
different tokens that an n-gram was seen after,

    p(x | s) = (c(s x) - D(c(s x))) / c(s) + (D1 N1(s) + D2 N2(s) + D3 N3(s)) / c(s) * p(x | s without its first)

where N1, N2, N3 count the tokens seen once, twice and more often after s, and the discounts D follow from how many
n-grams of that order were seen once to four times. Below the tokens stands the uniform distribution. A line begins
after EOS, which is counted; a document after a newline where it has any, which is not. The end of either is counted.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from charlm.config import TextConfig
from charlm.text.corpus import prepare
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS, UNK

Ids = tuple[int, ...]
# Counts; for each context its sum, and how many came once, twice, more often; discounts by count, 3 for all above.
_Level = tuple[Counter[Ids], dict[Ids, tuple[int, list[int]]], list[float]]
_NOTHING = -1  # before a document
_LEAST_DISCOUNT = 0.1  # so that what never followed a context still may


class KneserNey:
    """Counts and discounts of all orders up to `order`, over `vocabulary` different ids."""

    def __init__(
        self, texts: Iterable[Sequence[int]], order: int, vocabulary: int, begin: int | None = EOS
    ) -> None:
        """Count texts with their EOS; each begins after `begin`, which is counted if it is EOS."""
        self.order, self.vocabulary = order, vocabulary
        self._begin = () if begin is None else (begin,)
        counts: Counter[Ids] = Counter()
        for text in texts:
            begun = (EOS if begin == EOS else _NOTHING, *text)
            for i in range(1, len(begun)):
                counts[tuple(begun[max(0, i - order + 1) : i + 1])] += 1
        self._levels = [self._level(found) for found in self._by_length(counts)]

    def nats(self, text: Sequence[int], counted: Sequence[bool]) -> float:
        """Return -log p of the ids of a text that are counted."""
        begun, total = (*self._begin, *text), 0.0
        for i, counts in enumerate(counted, start=len(self._begin)):
            if counts:
                total -= math.log(self.probability(begun[max(0, i - self.order + 1) : i], begun[i]))
        return total

    def probability(self, before: Ids, following: int) -> float:
        """Return p(following | before), of at most order - 1 ids before."""
        p = 1 / self.vocabulary
        for n in range(len(before) + 1):
            counts, sums, discounts = self._levels[n]
            context = before[len(before) - n :]
            if context not in sums:
                break
            total, kinds = sums[context]
            c = counts.get((*context, following), 0)
            held = sum(d * k for d, k in zip(discounts[1:], kinds, strict=True))
            p = (c - discounts[min(c, 3)]) / total + held / total * p
        return p

    def _by_length(self, counts: Counter[Ids]) -> list[Counter[Ids]]:
        """Return, for each length, how often an n-gram was seen; below the highest, after how many different ids.

        An n-gram that begins with EOS, as a line does, has nothing before it, and keeps how often it was seen.
        """
        levels = [Counter[Ids]() for _ in range(self.order)]
        for gram, count in counts.items():
            levels[len(gram) - 1][gram] += count
        for n in range(self.order - 1, 0, -1):
            for gram in levels[n]:
                levels[n - 1][gram[1:]] += 1
        begun = (_NOTHING,)
        return [Counter({gram: level[gram] for gram in level if gram[:1] != begun}) for level in levels]

    def _level(self, counts: Counter[Ids]) -> _Level:
        """Return the counts of one length, with what the formula needs of them."""
        sums: dict[Ids, tuple[int, list[int]]] = defaultdict(lambda: (0, [0, 0, 0]))
        seen = Counter(min(c, 5) for c in counts.values())
        for gram, c in counts.items():
            total, kinds = sums[gram[:-1]]
            kinds[min(c, 3) - 1] += 1
            sums[gram[:-1]] = total + c, kinds
        y = seen[1] / max(1, seen[1] + 2 * seen[2])
        usual = [k - (k + 1) * y * seen[k + 1] / seen[k] if seen[k] else 0.5 for k in (1, 2, 3)]
        return counts, dict(sums), [0.0, *(max(_LEAST_DISCOUNT, d) for d in usual)]


def texts_of(part: Part) -> list[list[int]]:
    """Return the sequences of a part, each with its EOS."""
    ids = part.read(0, len(part))
    return [text.tolist() for text in np.split(ids, np.flatnonzero(ids == EOS) + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--order", type=int, default=6)
    options = parser.parse_args()
    corpus = prepare([options.file], TextConfig())
    document = corpus.sequences == "document"
    begin = corpus.tokenizer.newline if document else EOS
    model = KneserNey(texts_of(corpus.train), options.order, corpus.tokenizer.size, begin)
    nats = count = 0.0
    for text in texts_of(corpus.valid):
        known = [token != UNK and not (document and token == EOS) for token in text]
        nats += model.nats(text, known)
        count += sum(known)
    print(f"order {options.order}: valid {nats / count:.4f} nats per known character, {count:,.0f} of them")


if __name__ == "__main__":
    main()
