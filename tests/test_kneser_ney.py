"""Counted n-grams and their probabilities, against dictionaries in plain Python."""

import math
import tracemalloc
from collections import Counter
from random import Random

import numpy as np
import pytest

from charlm.counts.counting import floors
from charlm.counts.kneser_ney import BYTES, CANDIDATES, LEAST_DISCOUNT, budget, count_text
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS, UNK
from tests.benchmarks.ngram import KneserNey, texts_of

ALL = 10**9
NEWLINE = 2
ARRAYS = ("token", "p", "children", "backoff")


def text(rng, tokens, sequences, longest, first=UNK, peaked=2.0):
    """Return ids of sequences of tokens below `tokens`, low ones often, each with its EOS."""
    ids = []
    for length in rng.integers(0, longest + 1, sequences):
        ids += [*(first + (rng.random(length) ** peaked * (tokens - first)).astype(int)), EOS]
    return np.array(ids, np.int32)


def tables(counts):
    """Return p of every n-gram and the back-off weight of every context, found by going through the arrays."""
    grams, p, backoff = [()], {}, {}
    token = iter(counts.token.tolist())
    values = iter(counts.p.tolist())
    for node, (children, weight) in enumerate(
        zip(counts.children.tolist(), counts.backoff.tolist(), strict=True)
    ):
        backoff[grams[node]] = weight
        for _ in range(children):
            gram = (*grams[node], next(token))
            grams.append(gram)
            p[gram] = next(values)
    assert len(p) == len(counts.token)
    return p, backoff


def probability(p, backoff, order, context, x):
    context, weight = context[max(0, len(context) - order + 1) :], 1.0
    while context and (*context, x) not in p:
        weight *= backoff.get(context, 1.0)
        context = context[1:]
    return weight * p[*context, x]


def contexts_of(texts, order, begin):
    """Return every context that occurs, and some that do not."""
    found = {()}
    for sequence in texts:
        begun = (*([] if begin is None else [begin]), *sequence[:-1])
        found |= {begun[i - n : i] for i in range(len(begun) + 1) for n in range(order) if n <= i}
    return [*sorted(found), (UNK,) * (order - 1), (5, 3, 4, 5)[: order - 1]]


def check_against_oracle(ids, vocab_size, order, begin, chosen=None):
    """Check all tokens after all contexts, or so many of either drawn at random."""
    part = Part.from_ids(ids)
    texts = [sequence for sequence in texts_of(part) if sequence]
    oracle = KneserNey(texts, order, vocab_size, begin)
    counts = count_text(part, vocab_size, order, begin, ALL)
    p, backoff = tables(counts)
    contexts, tokens = contexts_of(texts, order, begin), list(range(vocab_size))
    if chosen:
        random = Random(order)
        contexts = random.sample(contexts, chosen)
        tokens = [*random.sample(tokens, min(chosen, vocab_size)), EOS, UNK, 2, 3]
    for context in contexts:
        found = [probability(p, backoff, counts.order, context, x) for x in tokens]
        wanted = [oracle.probability(context, x) for x in tokens]
        assert found == pytest.approx(wanted, rel=2e-6, abs=0)
        assert chosen or sum(found) == pytest.approx(1, abs=2e-6)
    return counts


@pytest.mark.parametrize("begin", [EOS, NEWLINE, None], ids=["lines", "documents", "no newline"])
@pytest.mark.parametrize("order", range(1, 11))
def test_every_probability_is_that_of_the_oracle(order, begin):
    """Lines, and several files, with unknown tokens."""
    rng = np.random.default_rng(order)
    lines = text(rng, 7, 25, 9) if begin == EOS else text(rng, 7, 3, 70)
    check_against_oracle(lines, 8, order, begin)  # one token never comes


@pytest.mark.parametrize("begin", [EOS, None])
@pytest.mark.parametrize(
    ("tokens", "order"), [(60, 10), (258, 8), (40, 4)], ids=["two words", "bytes", "one word"]
)
def test_keys_of_several_words(tokens, order, begin):
    """So many different tokens that a record does not fit one word of 64 bits, as of a large vocabulary."""
    rng = np.random.default_rng(tokens)
    check_against_oracle(text(rng, tokens, 12, 60, peaked=3.0), tokens, order, begin, 60)


def test_a_large_vocabulary():
    """Tokens of 13 bits in the text: three words of 64 bits for ten tokens."""
    rng = np.random.default_rng(0)
    ids = np.concatenate(
        [text(rng, 9, 80, 12), np.arange(1, 70_000, 15, np.int32), [EOS], text(rng, 9, 80, 12)]
    )
    assert check_against_oracle(ids, 100_000, 10, EOS, 60).token.dtype == np.int32


def raw_counts(texts, order, begin):
    raws = [Counter() for _ in range(order)]
    for sequence in texts:
        begun = (*([EOS] if begin == EOS else []), *sequence)
        for i in range(len(begun) - len(sequence), len(begun)):
            for k in range(1, min(order, i + 1) + 1):
                raws[k - 1][begun[i - k + 1 : i + 1]] += 1
    return raws


def seen_often(raws, most):
    """Return the n-grams of each length, of which those longest and seen most seldom are left out until all fit."""
    order, turn = len(raws), 1
    least = [1] * order

    def kept():
        return [
            {gram for gram, c in raw.items() if c >= floor}
            for raw, floor in zip(raws, least, strict=True)
        ]

    while sum(map(len, kept()[1:])) > most:
        turn += 1
        for k in range(order, 1, -1):
            if sum(map(len, kept()[1:])) > most:
                least[k - 1] = turn if k > 2 else max(1, turn - 1)
    return kept()


def pruned_by_force(texts, vocab_size, order, begin, most):
    """Return p and back-off weights as `tables` does, by the rules of charlm.counts in plain Python."""
    oracle = KneserNey(texts, order, 1, begin)
    adjusted, discounts = ([level[part] for level in oracle._levels] for part in (0, 2))
    raws = raw_counts(texts, order, begin)
    candidates, safe = seen_often(raws, int(CANDIDATES * most)), seen_often(raws, most)
    candidates[0] = {(x,) for x in range(vocab_size)}
    totals = {}
    for k in range(order):
        for context in candidates[k - 1] if k else [()]:
            mine = [
                gram for gram in ((*context, x) for x in range(vocab_size)) if gram in candidates[k]
            ]
            seen = raws[k - 1][context] if k else sum(raws[0].values())
            missing = seen - sum(raws[k][gram] for gram in mine)
            totals[context] = sum(adjusted[k][gram] for gram in mine) + missing

    def smoothed(kept):
        p, backoff = {}, {}
        for k in range(order):
            held = {gram: discounts[k][min(3, adjusted[k][gram])] for gram in kept[k]}
            for context in kept[k - 1] if k else [()]:
                mine = [
                    gram for gram in ((*context, x) for x in range(vocab_size)) if gram in kept[k]
                ]
                own = sum(adjusted[k][gram] - held[gram] for gram in mine)
                backoff[context] = 1 - own / totals[context] if totals[context] else 1.0
                for gram in mine:
                    shorter = backoff[context] * (p[gram[1:]] if k else 1 / vocab_size)
                    p[gram] = (adjusted[k][gram] - held[gram]) / totals[context] + shorter
        return p, backoff

    p, backoff = smoothed(candidates)
    gains = {
        gram: math.inf
        if gram in safe[k]
        else raws[k][gram] * math.log(p[gram] / backoff[gram[:-1]] / p[gram[1:]])
        for k in range(1, order)
        for gram in candidates[k]
    }
    kept = candidates
    for least in [0, *sorted(gains.values()), math.inf]:
        found = {gram for gram, gain in gains.items() if gain >= least - 1e-9}
        found |= {
            gram[i:j]
            for gram in found
            for i in range(len(gram))
            for j in range(i + 2, len(gram) + 1)
        }
        if len(found) <= most:
            kept = [
                candidates[0],
                *({gram for gram in found if len(gram) == k} for k in range(2, order + 1)),
            ]
            break
    return smoothed(kept)


@pytest.mark.parametrize("begin", [EOS, NEWLINE])
@pytest.mark.parametrize(
    ("order", "most"), [(2, 20), (3, 30), (5, 150), (5, 60), (8, 300), (8, 9), (4, 0)]
)
def test_pruned_tables_are_those_of_the_same_rule_by_force(order, most, begin):
    rng = np.random.default_rng(most)
    part = Part.from_ids(text(rng, 7, 40, 12) if begin == EOS else text(rng, 7, 3, 200))
    counts = count_text(part, 7, order, begin, most, chunk=50)
    p, backoff = tables(counts)
    wanted, weights = pruned_by_force([t for t in texts_of(part) if t], 7, order, begin, most)
    assert p == pytest.approx(wanted, rel=2e-6)
    backoff[()] = weights[()]
    assert backoff == pytest.approx({context: weights[context] for context in backoff}, rel=2e-6)
    assert all(weights[context] == 1 for context in weights.keys() - backoff.keys())
    assert len(p) <= most + 7


@pytest.mark.parametrize("begin", [EOS, NEWLINE])
@pytest.mark.parametrize("most", [ALL, 2000, 100])
@pytest.mark.parametrize("tokens", [7, 3000], ids=["one word", "two words"])
def test_chunks_change_nothing(tokens, most, begin, monkeypatch):
    """Runs of few targets merged in blocks of few records, some inside an n-gram: the same arrays to the bit."""
    rng = np.random.default_rng(most % 7)
    part = Part.from_ids(text(rng, tokens, 50, 60, peaked=4.0))
    whole = count_text(part, tokens, 6, begin, most)
    assert same(whole, count_text(part, tokens, 6, begin, most))
    for chunk, sample in [(1000, 1 << 11), (97, 3), (40, 1)]:
        monkeypatch.setattr("charlm.counts.records._NEXT_SAMPLE", sample)
        assert same(whole, count_text(part, tokens, 6, begin, most, chunk=chunk))


def same(left, right):
    return left.order == right.order and all(
        getattr(left, name).dtype == getattr(right, name).dtype
        and (getattr(left, name).tobytes() == getattr(right, name).tobytes())
        for name in ARRAYS
    )


@pytest.mark.parametrize("begin", [EOS, NEWLINE])
@pytest.mark.parametrize("most", [ALL, 300, 40])
def test_closure(most, begin):
    """What an n-gram of the table begins and ends with is in the table; siblings rise; probabilities sum to 1."""
    rng = np.random.default_rng(3)
    counts = count_text(Part.from_ids(text(rng, 9, 60, 30)), 9, 7, begin, most)
    p, backoff = tables(counts)
    for gram in p:
        assert len(gram) == 1 or (gram[1:] in p and gram[:-1] in p)
    assert list(p) == sorted(p, key=lambda gram: (len(gram), gram))
    for context in backoff:
        total = sum(probability(p, backoff, counts.order, context, x) for x in range(9))
        assert total == pytest.approx(1, abs=3e-6)


@pytest.mark.parametrize("begin", [EOS, NEWLINE, None])
@pytest.mark.parametrize(
    "ids",
    [
        [5] * 400 + [EOS],
        [5],
        [EOS],
        [EOS] * 30,
        [UNK, EOS],
        [2, EOS] * 9,
        [5, 5, EOS, EOS, 5],
        list(range(1, 9)) * 2,
    ],
    ids=[
        "one character",
        "one token",
        "only EOS",
        "empty lines",
        "unknown",
        "newlines",
        "unended",
        "twice",
    ],
)
def test_degenerate_texts(ids, begin):
    check_against_oracle(np.array(ids, np.int32), 9, 5, begin)
    counts = count_text(Part.from_ids(np.array(ids, np.int32)), 9, 5, begin)
    assert (counts.p > 0).all()
    assert (counts.backoff > 0).all()


@pytest.mark.parametrize("vocab_size", [200, 256, 258, 5000, 70_000])
def test_the_budget_is_one_of_bytes(vocab_size):
    """At worst all but a few n-grams have a back-off weight and a number of children."""
    rng = np.random.default_rng(0)
    counts = count_text(Part.from_ids(text(rng, 200, 9, 90)), vocab_size, 3, EOS)
    size = counts.token.itemsize + 4 + 4 + counts.children.itemsize
    assert BYTES - size < budget(vocab_size) * size <= BYTES


def test_only_the_first_tokens_are_counted():
    rng = np.random.default_rng(5)
    ids = text(rng, 9, 30, 20)
    counts = count_text(Part.from_ids(ids), 9, 4, EOS, tokens=101)
    assert same(counts, count_text(Part.from_ids(ids[:101]), 9, 4, EOS))
    assert same(
        count_text(Part.from_ids(ids), 9, 4, EOS, tokens=10**6),
        count_text(Part.from_ids(ids), 9, 4, EOS),
    )


def test_a_discount_is_never_nothing():
    """Else a token that did not follow a context that is often seen would have probability 0."""
    ids = np.array([2, 3, 4] * 3 + [5, 6, 7] * 3 + [EOS], np.int32)
    p, backoff = tables(count_text(Part.from_ids(ids), 8, 4, None))
    assert min(backoff.values()) >= LEAST_DISCOUNT / 10
    assert probability(p, backoff, 4, (2, 3), 7) > 0


def test_floors_fall_order_by_order_from_the_longest():
    raws = np.array(
        [[0, 5, 0, 0], [0, 3, 1, 4], [0, 6, 2, 1], [0, 8, 1, 1]]
    )  # how many were seen 1, 2, 3 times
    for most, wanted in [
        (27, [1, 1, 1, 1]), (26, [1, 1, 1, 2]), (19, [1, 1, 1, 2]), (18, [1, 1, 2, 2]), (13, [1, 1, 2, 2]),
        (12, [1, 1, 2, 3]), (11, [1, 1, 3, 3]), (9, [1, 2, 3, 3]), (6, [1, 2, 3, 4]), (5, [1, 2, 4, 4]),
        (4, [1, 4, 4, 4]), (0, [1, 4, 4, 4]),
    ]:  # fmt: skip
        assert floors(raws, most) == wanted


def test_memory_does_not_grow_with_the_text():
    """Of a text whose n-grams are all new; NumPy's arrays are traced."""

    class New:
        """Ids drawn at random, the same whenever they are read."""

        def __init__(self, length):
            self._length = length

        def __len__(self):
            return self._length

        def read(self, start, count):
            places = np.arange(start, start + count, dtype=np.uint64)
            return ((places * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) % 50 + 1).astype(
                np.int32
            )

    peaks = []
    for length in (100_000, 400_000):
        tracemalloc.start()
        count_text(New(length), 51, 8, None, most=10_000, chunk=1 << 14)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 10 << 20
    assert peaks[1] < 1.15 * peaks[0]
