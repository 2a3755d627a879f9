"""Pairs in chunks: nothing lost, all in its place, and the same whoever asks."""

import numpy as np
import pytest

from charlm.config import NO_TOKEN
from charlm.text.pair_packing import (
    PairList,
    WholePairBatches,
    lay_out_sources,
    make_pair_chunk,
    pair_chunks,
)
from charlm.text.tokenizers import EOS
from tests.pairs import SIZES, drawn_pairs


def texts_of(laid):
    """Return what stands at the place of each text."""
    places = zip(laid.column, laid.first, laid.length, strict=True)
    return [
        laid.inputs[first : first + length, column].tolist() for column, first, length in places
    ]


@pytest.mark.parametrize("steps", [1, 5, 7, 40])
def test_sources_are_whole_and_targets_are_shifted(steps):
    pairs = drawn_pairs()
    chunk = make_pair_chunk(pairs, steps)
    assert texts_of(chunk.source) == [[*source, EOS] for source, _ in pairs]
    assert texts_of(chunk.target) == [[NO_TOKEN, *target] for _, target in pairs]
    assert chunk.targets.tolist() == [token for _, target in pairs for token in (*target, EOS)]
    assert (chunk.width, chunk.count) == (len(SIZES), sum(m + 1 for _, m in SIZES))
    assert chunk.read == sum(n + m + 2 for n, m in SIZES)
    for laid in (chunk.source, chunk.target):
        expected = np.zeros_like(laid.reset)
        for column, first, length in zip(laid.column, laid.first, laid.length, strict=True):
            expected[first, column] = True
            used = np.zeros_like(expected)
            used[first : first + length, column] = True
        taken = np.bincount(laid.column, laid.length, laid.inputs.shape[1]).astype(int)
        for column, end in enumerate(taken.tolist()):
            expected[end : end + 1, column] = True
        np.testing.assert_array_equal(laid.reset, expected)
        assert (laid.inputs[1:][~laid.reset[1:]] >= EOS).sum() == laid.length.sum() - len(pairs)
    sources = lay_out_sources([source for source, _ in pairs], steps)
    np.testing.assert_array_equal(sources.inputs, chunk.source.inputs)


def test_a_part_is_a_chunk_of_its_pairs():
    pairs = drawn_pairs()
    chunk = make_pair_chunk(pairs, 9)
    for part in (slice(0, 3), slice(3, 8), slice(2, 3), slice(0, 8)):
        some, own = chunk.columns(part), make_pair_chunk(pairs[part], 9)
        for name in ("sources", "targets", "source_length", "target_length"):
            np.testing.assert_array_equal(getattr(some, name), getattr(own, name))
        assert texts_of(some.target) == texts_of(own.target)


def test_an_epoch_has_every_pair_once_in_an_order_of_its_own():
    pairs = [(np.full(n % 5, n + 2, np.int32), np.full(n % 3, n + 2, np.int32)) for n in range(50)]
    batches = WholePairBatches(PairList(pairs), 8, 16, seed=3)
    assert batches.chunks(0) == 7
    assert batches.shape == "of 8 pairs"
    assert batches.size == round(8 * sum(len(a) + len(b) + 2 for a, b in pairs) / 50)

    def order(number, first=0):
        chunks = list(batches.epoch(number, first))
        assert [chunk.width for chunk in chunks[:-1]] == [8] * (len(chunks) - 1)
        return [
            (tuple(source[:-1]), tuple(target[1:]))
            for chunk in chunks
            for source, target in zip(texts_of(chunk.source), texts_of(chunk.target), strict=True)
        ]

    def plain(some):
        return [(tuple(a.tolist()), tuple(b.tolist())) for a, b in some]

    assert sorted(order(0)) == sorted(order(1)) == sorted(plain(pairs))
    assert order(0) != order(1)
    assert order(0, 2) == order(0)[16:]
    assert WholePairBatches(PairList(pairs), 80, 16, 0).note.startswith("there are only 50 pairs")


def test_pairs_of_like_length_come_together():
    pairs = drawn_pairs([(n % 9, n % 4) for n in range(60)])
    found = [(number, chunk) for number, chunk in pair_chunks(PairList(pairs))]
    numbers = np.concatenate([number for number, _ in found])
    assert sorted(numbers.tolist()) == list(range(60))
    sizes = [sum(map(len, pairs[number])) for number in numbers.tolist()]
    assert sizes == sorted(sizes)
    assert sum(chunk.read for _, chunk in found) == PairList(pairs).tokens
