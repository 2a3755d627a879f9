"""English sentences whose verb agrees with a noun up to 20 words back, and a check of whether a model learnt it.

    the cats, which the old dog near the gardens chased, were full.

The first noun, the head, decides between "was" and "were". The words in between (their number is the distance) are
a prepositional phrase or a relative clause. Each noun in them is singular or plural by a fair coin of its own and
no other word has a number, so that nothing but the head tells the verb: not the nearest noun, not the majority.

    python data/agreement.py > data/agreement.txt
    charlm train data/agreement.txt -m gated
    python data/agreement.py --check gated

The same as a question of two classes, which verb follows these words, to learn and to test:

    python data/agreement.py --classes > agreement-train.tsv
    python data/agreement.py --classes --pairs 2000 > agreement-test.tsv
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol, SupportsFloat

LONGEST = 20  # words between head and verb
CORPUS_SENTENCES = 6000
CHECKED_PAIRS = 2000


def _with_plurals(nouns: str) -> dict[str, str]:
    return {noun: noun + "s" for noun in nouns.split()}


ANIMALS = _with_plurals("bird cat cow dog duck goat horse owl pig rabbit") | {"goose": "geese", "mouse": "mice"}
PLACES = _with_plurals("barn bridge field garden gate hill house pond river road tree wall")
ADJECTIVES = ["big", "black", "brown", "grey", "little", "old", "quiet", "small", "white", "young"]
ADVERBS = ["indoors", "nearby", "outside", "upstairs"]
PREPOSITIONS = ["behind", "beside", "beyond", "by", "near"]
INTRANSITIVE = ["fell", "jumped", "ran", "sang", "slept", "waited"]
TRANSITIVE = ["chased", "followed", "found", "heard", "liked", "met", "saw", "watched"]
STATES = ["alone", "asleep", "awake", "clean", "cold", "full", "happy", "hungry", "lost", "tired"]
BANDS = ((0, 0), (1, 3), (4, 6), (7, 9), (10, 14), (15, LONGEST), (10, LONGEST))  # of distance, both ends included


class Pair(NamedTuple):
    """A sentence, and the same with the other verb; `distance` in words between head and verb."""

    distance: int
    right: str
    wrong: str


class Scorer(Protocol):
    """What a charlm model can do: one number a text, the higher the more probable."""

    def scores(self, texts: Iterable[str]) -> Iterator[SupportsFloat]: ...


class Grammar:
    """Phrases of exactly as many words as asked for, drawn at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def sentence(self) -> Pair:
        """Draw a sentence; distances are equally likely, and so are "was" and "were"."""
        pick = self._rng.choice
        distance = self._rng.randint(0, LONGEST)
        plural = pick((False, True))
        head = " ".join(["the", *self._adjectives(pick((0, 1))), self._noun(ANIMALS, plural)])
        subject, state = head + self._between(distance), pick(STATES)
        was, were = f"{subject} was {state}.", f"{subject} were {state}."
        return Pair(distance, were, was) if plural else Pair(distance, was, were)

    def _between(self, words: int) -> str:
        """Draw what stands between head and verb."""
        pick = self._rng.choice
        if words == 0:
            return ""
        if words == 1:
            return f" {pick(ADVERBS)}"
        if words == 2:
            return f", which {pick(INTRANSITIVE)},"
        if words == 3 or pick((False, False, True)):
            return f" {self._prepositional_phrase(words)}"
        return f", which {self._clause(words - 1)},"

    def _clause(self, words: int) -> str:
        """Draw the rest of a relative clause after "which": the head is its subject or its object."""
        verb, noun_phrase = self._rng.choice(TRANSITIVE), self._noun_phrase(ANIMALS, words - 1)
        return self._rng.choice((f"{verb} {noun_phrase}", f"{noun_phrase} {verb}"))

    def _prepositional_phrase(self, words: int) -> str:
        return f"{self._rng.choice(PREPOSITIONS)} {self._noun_phrase(PLACES, words - 1)}"

    def _noun_phrase(self, nouns: dict[str, str], words: int) -> str:
        """Draw article, adjectives and noun; from 5 words on a prepositional phrase of 3 words or more follows."""
        own = words if words < 5 else self._rng.randint(2, min(4, words - 3))
        phrase = ["the", *self._adjectives(own - 2), self._noun(nouns, self._rng.choice((False, True)))]
        if own < words:
            phrase.append(self._prepositional_phrase(words - own))
        return " ".join(phrase)

    def _adjectives(self, count: int) -> list[str]:
        return self._rng.sample(ADJECTIVES, count)

    def _noun(self, nouns: dict[str, str], plural: bool) -> str:
        singular = self._rng.choice(list(nouns))
        return nouns[singular] if plural else singular


def sentences(seed: int = 0) -> Iterator[Pair]:
    """Yield different sentences without end: a corpus is the first of them, its held-out pairs are the next."""
    grammar, seen = Grammar(random.Random(seed)), set()
    while True:
        pair = grammar.sentence()
        if pair.right not in seen:
            seen.add(pair.right)
            yield pair


def corpus(seed: int = 0, count: int = CORPUS_SENTENCES) -> Iterator[str]:
    """Yield the corpus, a sentence at a time."""
    return (pair.right for pair in islice(sentences(seed), count))


def held_out(pairs: int = CHECKED_PAIRS, seed: int = 0, count: int = CORPUS_SENTENCES) -> Iterator[Pair]:
    """Yield pairs of which neither sentence is in the corpus of the same seed and count."""
    return islice(sentences(seed), count, count + pairs)


def classes(seed: int = 0) -> Iterator[str]:
    """Yield different lines `verb TAB words before it` without end, from the sentences of a seed."""
    seen: set[str] = set()
    for pair in sentences(seed):
        before, verb, _ = pair.right.rsplit(" ", 2)
        if before not in seen:
            seen.add(before)
            yield f"{verb}\t{before}"


def preferences(model: Scorer, pairs: list[Pair]) -> list[bool]:
    """Return for each pair whether the model gives the right sentence more than the wrong one: a tie is no."""
    scores = model.scores(text for pair in pairs for text in (pair.right, pair.wrong))
    return [float(right) > float(wrong) for right, wrong in zip(scores, scores, strict=True)]


def report(pairs: list[Pair], preferred: list[bool]) -> Iterator[str]:
    """Yield a table of the share of preferred right sentences in each band of distance."""
    yield "distance  pairs    right"
    for low, high in BANDS:
        hits = [hit for pair, hit in zip(pairs, preferred, strict=True) if low <= pair.distance <= high]
        name = f"{low}+" if (low, high) == BANDS[-1] else f"{low}-{high}" if low < high else f"{low}"
        share = f"{sum(hits) / len(hits):8.2%}" if hits else "       -"
        yield f"{name:8}  {len(hits):5} {share}"


def check(path: str, pairs: list[Pair]) -> Iterator[str]:
    """Yield the table for the charlm model at `path`."""
    import charlm

    try:
        yield from report(pairs, preferences(charlm.load(path), pairs))
    except charlm.CharlmError as error:
        sys.exit(f"agreement.py: {error}")


def main(arguments: list[str] | None = None) -> None:
    """Write the corpus, or held-out pairs, or the check of a model to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sentences (%(default)s)")
    parser.add_argument("--count", type=int, default=CORPUS_SENTENCES, help="sentences in the corpus (%(default)s)")
    parser.add_argument("--pairs", type=int, metavar="N", help="write N held-out pairs: distance, right, wrong")
    parser.add_argument("--classes", action="store_true", help="write lines of: verb, words before it")
    parser.add_argument("--check", metavar="MODEL", help=f"test a charlm model on the pairs ({CHECKED_PAIRS})")
    options = parser.parse_args(arguments)
    if options.count < 0 or (options.pairs or 0) < 0:
        parser.error("--count and --pairs cannot be negative")
    if options.classes and options.check is not None:
        parser.error("--check scores pairs of sentences, so it takes no --classes")
    for line in _asked_for(options):
        print(line)


def _asked_for(options: argparse.Namespace) -> Iterator[str]:
    if options.classes:
        first, count = (0, options.count) if options.pairs is None else (options.count, options.pairs)
        return islice(classes(options.seed), first, first + count)
    if options.check is None and options.pairs is None:
        return corpus(options.seed, options.count)
    asked = CHECKED_PAIRS if options.pairs is None else options.pairs
    pairs = held_out(asked, options.seed, options.count)
    if options.check:
        return check(options.check, list(pairs))
    return ("\t".join(map(str, pair)) for pair in pairs)


if __name__ == "__main__":
    main()
