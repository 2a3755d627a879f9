"""Whole texts in chunks: packed end to end, in an order that is computed and not stored."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import NO_TOKEN
from charlm.text import packing
from charlm.text.packing import TextList, WholeTextBatches, chunks_of, deal, make_chunk, pack
from charlm.text.shuffling import Order
from charlm.text.tokenizers import EOS


def drawn(count, mean=8, seed=0):
    """Return so many texts of random ids and lengths, none among them too."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(1, 50, length).astype(np.int32)
        for length in rng.geometric(1 / mean, count) - 1
    ]


def chunk_of(texts, steps=16):
    labels = np.arange(len(texts), dtype=np.int32) % 3 - 1
    return make_chunk(texts, labels, (labels >= 0).astype(np.float32), steps)


def read_back(chunk):
    """Return the texts of a chunk as its steps have them."""
    placed = zip(chunk.first.tolist(), chunk.length.tolist(), chunk.column.tolist(), strict=True)
    return [
        chunk.inputs[first : first + length, column].tolist() for first, length, column in placed
    ]


def naive(chunk, texts):
    """Build inputs and reset one text at a time."""
    inputs, reset = np.full(chunk.inputs.shape, NO_TOKEN), np.zeros(chunk.inputs.shape, bool)
    used = [0] * chunk.width
    for text, first, column in zip(texts, chunk.first, chunk.column, strict=True):
        for step, token in enumerate([*text.tolist(), EOS], start=first):
            assert inputs[step, column] == NO_TOKEN
            inputs[step, column] = token
            used[column] = max(used[column], step + 1)
        reset[first, column] = True
    for column, end in enumerate(used):
        if end < len(inputs):
            reset[end, column] = True
    return inputs, reset


# The order


@pytest.mark.parametrize("count", [*range(1, 20), 31, 32, 33, 255, 256, 257, 1000, 5000])
def test_an_order_has_every_number_once(count):
    for number in range(3):
        assert np.sort(Order(count, 7, number).at(0, count)).tolist() == list(range(count))


def test_an_order_depends_on_seed_and_number_and_not_on_how_it_is_read():
    order = Order(1000, 1, 2).at(0, 1000)
    pieces = [Order(1000, 1, 2).at(start, start + 7) for start in range(0, 1000, 7)]
    assert np.array_equal(np.concatenate(pieces), order)
    for other in (Order(1000, 1, 3), Order(1000, 2, 2)):
        assert np.mean(other.at(0, 1000) == order) < 0.02


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_every_number_comes_first_as_often_as_any_other(count):
    places = np.zeros((count, count))
    for seed in range(2000):
        places[np.arange(count), Order(count, seed, 0).at(0, count)] += 1
    expected = 2000 / count
    assert np.abs(places - expected).max() < 5 * np.sqrt(expected)


def test_neighbours_are_parted():
    """Of a file sorted by label, every batch has about as much of each."""
    shares = [
        np.mean(Order(10_000, 0, 0).at(start, start + 500) < 5000)
        for start in range(0, 10_000, 500)
    ]
    assert 0.4 < min(shares) <= max(shares) < 0.6
    order = Order(10_000, 0, 0).at(0, 10_000)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


# Packing


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 70))
def test_texts_are_whole_and_apart_and_no_column_is_too_long(lengths, steps):
    lengths = np.array(lengths)
    column, first, count, width = pack(lengths, steps)
    held = np.zeros((count, width), int)
    for text, length in enumerate(lengths):
        assert first[text] >= 0
        held[first[text] : first[text] + length, column[text]] += 1
    assert held.max() == 1
    assert held.sum() == lengths.sum()
    assert count <= max(steps, lengths.max())
    assert held.any(axis=0).all()
    assert held.any(axis=1).all()
    assert (np.diff(held, axis=0) <= 0).all()  # nothing is left out inside a column
    assert width <= 1 + lengths.sum() * 2 // max(
        steps, lengths.max()
    )  # two neighbours fill more than one column


def test_packing_is_the_same_each_time():
    lengths = np.random.default_rng(0).integers(1, 40, 300)
    for one, other in zip(pack(lengths, 64), pack(lengths, 64), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("mean", "batch", "steps", "least"), [(8, 64, 64, 0.93), (80, 64, 64, 0.92), (8, 32, 32, 0.9)]
)
def test_most_steps_hold_a_token(mean, batch, steps, least):
    texts = drawn(40 * batch, mean)
    chunks = list(WholeTextBatches(TextList(texts), batch, steps, 0).epoch(0))
    assert sum(chunk.read for chunk in chunks) / sum(chunk.inputs.size for chunk in chunks) > least


# Chunks


@pytest.mark.parametrize("count", [1, 2, 7, 64])
@pytest.mark.parametrize("steps", [1, 16, 200])
def test_a_chunk_has_every_text_in_its_place(count, steps):
    texts = drawn(count, seed=count)
    chunk = chunk_of(texts, steps)
    assert read_back(chunk) == [[*text.tolist(), EOS] for text in texts]
    inputs, reset = naive(chunk, texts)
    assert np.array_equal(chunk.inputs, inputs)
    assert np.array_equal(chunk.reset, reset)
    assert chunk.inputs.dtype == np.int32
    assert chunk.weight.dtype == np.float32
    assert chunk.width == chunk.inputs.shape[1]
    assert chunk.read == sum(map(len, texts)) + count == (chunk.inputs != NO_TOKEN).sum()
    assert chunk.count == (np.arange(count) % 3 > 0).sum()
    assert chunk.labels.tolist() == [k % 3 - 1 for k in range(count)]


def test_empty_texts_have_a_step_each():
    chunk = chunk_of([np.zeros(0, np.int32)] * 3, 2)
    assert chunk.inputs.T.tolist() == [[EOS, EOS], [EOS, NO_TOKEN]]
    assert chunk.reset.all()
    assert chunk.length.tolist() == [1, 1, 1]


def test_columns_of_a_chunk_have_their_texts():
    texts = drawn(50, seed=3)
    chunk = chunk_of(texts)
    found = []
    for start, stop in itertools.pairwise([0, 1, 3, 3, chunk.width - 2, chunk.width]):
        part = chunk.columns(slice(start, stop))
        inside = [k for k in range(50) if start <= chunk.column[k] < stop]
        assert np.array_equal(part.inputs, chunk.inputs[:, start:stop])
        assert np.array_equal(part.reset, chunk.reset[:, start:stop])
        assert read_back(part) == [[*texts[k].tolist(), EOS] for k in inside]
        assert part.labels.tolist() == chunk.labels[inside].tolist()
        assert part.weight.tolist() == chunk.weight[inside].tolist()
        assert part.width == stop - start
        found += inside
    assert sorted(found) == list(range(50))
    assert chunk.columns(slice(None)).read == chunk.read


# Batches for training


def signature(chunk):
    return [tuple(text) for text in read_back(chunk)], chunk.labels.tolist(), chunk.weight.tolist()


@pytest.mark.parametrize(("count", "batch"), [(1, 4), (10, 4), (12, 4), (100, 7), (3, 3)])
def test_an_epoch_has_every_text_once(count, batch):
    texts = [np.array([5 + k] * (k % 4 + 1), np.int32) for k in range(count)]
    batches = WholeTextBatches(TextList(texts, [k % 2 for k in range(count)]), batch, 8, 1)
    chunks = list(batches.epoch(0))
    assert len(chunks) == batches.chunks(0) == -(-count // batch)
    assert [len(chunk.length) for chunk in chunks[:-1]] == [batch] * (len(chunks) - 1)
    found = sorted(tuple(text) for chunk in chunks for text in read_back(chunk))
    assert found == sorted((*text.tolist(), EOS) for text in texts)
    for chunk in chunks:
        assert chunk.labels.tolist() == [(text[0] - 5) % 2 for text in read_back(chunk)]


def test_an_epoch_can_be_entered_at_any_chunk():
    batches = WholeTextBatches(TextList(drawn(50)), 8, 16, 3)
    for number in range(2):
        whole = [signature(chunk) for chunk in batches.epoch(number)]
        for first in range(len(whole) + 1):
            assert [signature(chunk) for chunk in batches.epoch(number, first)] == whole[first:]
    again = WholeTextBatches(TextList(drawn(50)), 8, 16, 3)
    assert [signature(chunk) for chunk in again.epoch(1)] == whole
    for other in (batches.epoch(0), WholeTextBatches(TextList(drawn(50)), 8, 16, 4).epoch(1)):
        assert [signature(chunk) for chunk in other] != whole


class Read(TextList):
    """Texts in memory, and how many were asked for at a time."""

    def __init__(self, ids):
        super().__init__(ids)
        self.asked = []

    def texts(self, numbers):
        self.asked.append(len(numbers))
        return super().texts(numbers)


def test_short_batches_are_read_together_and_long_ones_are_not(monkeypatch):
    texts, expected = Read(drawn(50)), None
    for at_once, most in ((1 << 14, 50), (200, 18), (1, 8)):
        monkeypatch.setattr(packing, "_AT_ONCE", at_once)
        found = [signature(chunk) for chunk in WholeTextBatches(texts, 8, 16, 3).epoch(0)]
        assert max(texts.asked) == most
        assert sum(texts.asked) == 50
        expected, texts.asked = expected or found, []
        assert found == expected


def test_few_texts_make_one_batch_and_a_note():
    batches = WholeTextBatches(TextList(drawn(5)), 8, 16, 0)
    assert (batches.batch_size, batches.seq_len, batches.chunks(0)) == (5, 16, 1)
    assert batches.note == "there are only 5 texts to train on: a batch has no more, not 8"
    assert WholeTextBatches(TextList(drawn(8)), 8, 16, 0).note is None


def test_texts_weigh_what_their_label_does_and_nothing_without_one():
    texts = TextList(drawn(30), [k % 3 - 1 for k in range(30)])
    plain = next(WholeTextBatches(texts, 30, 16, 0).epoch(0))
    assert plain.weight.tolist() == [float(label >= 0) for label in plain.labels]
    weighted = next(WholeTextBatches(texts, 30, 16, 0, np.array([0.5, 2], np.float32)).epoch(0))
    assert weighted.weight.tolist() == [
        {-1: 0.0, 0: 0.5, 1: 2.0}[label] for label in weighted.labels.tolist()
    ]
    assert weighted.count == plain.count == 20


class Endless:
    """So many texts that a list of their numbers would be seen."""

    def __len__(self):
        return 50_000_000

    def texts(self, numbers):
        return [np.array([number % 50 + 1], np.int32) for number in numbers]

    def lengths(self, numbers):
        return np.ones_like(numbers)

    def labels(self, numbers):
        return (numbers % 2).astype(np.int32)


def test_memory_does_not_grow_with_the_number_of_texts():
    tracemalloc.start()
    batches = WholeTextBatches(Endless(), 64, 16, 0)
    for chunk in itertools.islice(batches.epoch(0, batches.chunks(0) - 3), 3):
        assert chunk.count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


# Batches for reading


@pytest.mark.parametrize(("most", "window"), [(1, 10), (40, 10), (40, 1000), (1 << 14, 64)])
def test_every_text_is_read_once_and_known_by_its_number(most, window):
    texts = drawn(150, seed=5)
    seen = []
    for numbers, chunk in chunks_of(TextList(texts, [k % 5 for k in range(150)]), 1, most, window):
        assert read_back(chunk) == [[*texts[number].tolist(), EOS] for number in numbers]
        assert chunk.labels.tolist() == (numbers % 5).tolist()
        assert chunk.read <= most or len(numbers) == 1
        assert len({number // window for number in numbers.tolist()}) == 1
        seen += numbers.tolist()
    assert sorted(seen) == list(range(150))
    assert list(chunks_of(TextList([]))) == []


def test_texts_read_together_are_of_like_length():
    chunks = [chunk for _, chunk in chunks_of(TextList(drawn(2000, 30)), most=2000)]
    assert sum(chunk.read for chunk in chunks) / sum(chunk.inputs.size for chunk in chunks) > 0.92


# Many short texts


@pytest.mark.parametrize("count", [1, 2, 7, 100, 3001])
def test_texts_that_are_dealt_out_lie_side_by_side_and_leave_little_empty(count):
    for seed, steps in itertools.product(range(3), (1, 32, 50)):
        lengths = np.random.default_rng([count, seed]).integers(1, 18, count)
        column, first, height, width = deal(lengths, steps)
        taken = np.zeros((height, width), int)
        for length, b, t in zip(lengths, column, first, strict=True):
            taken[t : t + length, b] += 1
        assert taken.max() == 1
        assert taken.sum() == lengths.sum()
        assert taken[0].all()  # there is no column without a text
        assert height <= max(steps, lengths.max()) + lengths.max()
        if count > 1000 and steps > 1:
            assert taken.mean() > 0.95


def test_a_single_long_text_is_dealt_a_column():
    column, first, height, width = deal(np.array([100]), 32)
    assert (column.tolist(), first.tolist(), height, width) == ([0], [0], 100, 1)
