"""Tagged sentences in chunks: every token stands where it is said to, words stand once, columns can
be parted."""

import itertools

import numpy as np
import pytest

from charlm.config import NO_TOKEN
from charlm.text.tag_packing import (
    Reading,
    WholeSentenceBatches,
    different,
    make_tag_chunk,
    sentence_chunks,
)
from charlm.text.tagged_part import TaggedList
from charlm.text.tokenizers import EOS
from tests.tagged import drawn_sentences, tokens_of

LENGTHS = [3, 1, 6, 0, 2, 1, 9, 4]
SPACE = 5
READINGS = [Reading("words"), Reading("characters", SPACE), Reading("steps")]
readings = pytest.mark.parametrize("reading", READINGS, ids=[each.way for each in READINGS])


def spelt(words, number):
    """Return the characters of a word as they are packed, without EOS."""
    packed = words.packed
    first, size = packed.first[number], packed.length[number]
    ids = packed.inputs[first : first + size, packed.column[number]].tolist()
    assert ids.pop() == EOS
    assert packed.reset[first, packed.column[number]]
    return ids


def read_back(chunk, reading):
    """Return the sentences of a chunk: of each token, what stands at its steps."""
    sentences = []
    for a, b in zip(chunk.starts[:-1], chunk.starts[1:], strict=True):
        tokens = []
        for i in range(a, b):
            at = chunk.inputs[chunk.first[i] : chunk.first[i] + chunk.length[i], chunk.column[i]]
            if reading.way == "words":
                (number,) = at.tolist()
                tokens.append((int(chunk.words.ids[number]), spelt(chunk.words, number)))
            else:
                tokens.append(at.tolist())
        sentences.append(tokens)
    return sentences


def expected(text, reading):
    if reading.way == "words":
        return tokens_of(text)
    if reading.way == "characters":
        return [characters for _, characters in tokens_of(text)]
    return [[word] for word in text.words.tolist()]


@readings
@pytest.mark.parametrize("steps", [1, 12, 40])
def test_every_token_stands_where_it_is_said_to(reading, steps):
    texts = drawn_sentences(LENGTHS)
    chunk = make_tag_chunk(texts, reading, steps)
    assert read_back(chunk, reading) == [expected(text, reading) for text in texts]
    np.testing.assert_array_equal(chunk.tags, np.concatenate([text.tags for text in texts]))
    assert chunk.count == np.count_nonzero(chunk.tags >= 0)
    assert chunk.read == sum(LENGTHS)
    np.testing.assert_array_equal(chunk.weight, chunk.tags >= 0)
    np.testing.assert_array_equal(
        chunk.column, np.repeat(chunk.sentence_column, np.diff(chunk.starts))
    )


@readings
def test_between_two_resets_is_a_sentence_whole_and_its_eos(reading):
    texts = drawn_sentences(LENGTHS)
    chunk = make_tag_chunk(texts, reading, 12)
    end = 0 if reading.way == "words" else EOS
    found = []
    for b in range(chunk.width):
        begins = [*np.flatnonzero(chunk.reset[:, b]).tolist(), len(chunk.inputs)]
        for first, stop in itertools.pairwise(begins):
            ids = chunk.inputs[first:stop, b].tolist()
            if NO_TOKEN in ids:
                assert set(ids) == {NO_TOKEN}
                continue
            assert ids.pop() == end
            found.append(ids)
    if reading.way == "characters":
        joined = [expected(text, reading) for text in texts]
        wanted = [
            [c for i, word in enumerate(words) for c in ([SPACE] * (i > 0) + word)]
            for words in joined
        ]
    elif reading.way == "steps":
        wanted = [text.words.tolist() for text in texts]
    else:
        sizes = sorted(map(len, found))
        assert sizes == sorted(LENGTHS)
        return
    assert sorted(found) == sorted(wanted)
    sizes = np.array([[len(text.words), len(text.characters)] for text in texts])
    np.testing.assert_array_equal(reading.steps_of(sizes), [len(ids) + 1 for ids in wanted])


def test_each_different_word_stands_once():
    texts = drawn_sentences([30, 20, 25], seed=3)
    words = make_tag_chunk(texts, READINGS[0], 40).words
    every = {(w, tuple(c)) for text in texts for w, c in tokens_of(text)}
    listed = [(w, tuple(spelt(words, i))) for i, w in enumerate(words.ids.tolist())]
    assert listed[0] == (EOS, ())
    assert len(listed) == len(every) + 1
    assert set(listed[1:]) == every


def test_words_differ_by_their_id_and_by_the_order_of_their_characters():
    ids = np.array([1, 1, 1, 1, 2, 1], np.int32)
    characters = np.array([3, 4, 4, 3, 3, 4, 3, 4, 3, 3, 4], np.int32)
    lengths = np.array([2, 2, 2, 1, 2, 2])  # 34 43 34 3 43 34, the fifth another word
    number, words = different(ids, characters, lengths)
    assert len(words.ids) == 6 - 2 + 1
    assert number[0] == number[2] == number[5]
    assert len(set(number.tolist())) == 4


@readings
def test_parts_of_the_columns_have_their_sentences_and_no_other_words(reading):
    texts = drawn_sentences(LENGTHS)
    chunk = make_tag_chunk(texts, reading, 12)
    assert chunk.width > 2
    whole, found = read_back(chunk, reading), {}
    for a, b in ((0, 1), (1, chunk.width - 1), (chunk.width - 1, chunk.width)):
        part = chunk.columns(slice(a, b))
        own = np.flatnonzero((chunk.sentence_column >= a) & (chunk.sentence_column < b))
        inside = np.repeat((chunk.sentence_column >= a) & (chunk.sentence_column < b), LENGTHS)
        np.testing.assert_array_equal(part.tags, chunk.tags[inside])
        assert part.width == b - a
        assert read_back(part, reading) == [whole[i] for i in own]
        np.testing.assert_array_equal(part.inputs == NO_TOKEN, chunk.inputs[:, a:b] == NO_TOKEN)
        if part.words is not None:
            used = np.unique(part.inputs[part.inputs != NO_TOKEN])
            np.testing.assert_array_equal(used, np.arange(len(part.words.ids)))
        found |= dict.fromkeys(own.tolist())
    assert len(found) == len(texts)


@readings
def test_an_epoch_has_every_sentence_once_in_another_order_each_time(reading):
    texts = drawn_sentences(np.random.default_rng(0).integers(0, 8, 70).tolist(), seed=1)
    batches = WholeSentenceBatches(TaggedList(texts), 16, 20, 3, reading)
    wanted = sorted(map(str, (expected(text, reading) for text in texts)))
    orders = []
    for epoch in (0, 1):
        chunks = list(batches.epoch(epoch))
        assert len(chunks) == batches.chunks(epoch) == 5
        read = [str(one) for chunk in chunks for one in read_back(chunk, reading)]
        assert sorted(read) == wanted
        orders.append(read)
        later = [str(one) for chunk in batches.epoch(epoch, 3) for one in read_back(chunk, reading)]
        assert later == read[48:]
    assert orders[0] != orders[1]
    assert batches.shape == "of 16 sentences"
    few = WholeSentenceBatches(TaggedList(texts[:4]), 16, 20, 3, reading)
    assert few.note == "there are only 4 sentences to train on: a batch has no more, not 16"
    one = WholeSentenceBatches(TaggedList(texts[:1]), 16, 20, 3, reading)
    assert one.note == "there is only 1 sentence to train on: a batch has no more, not 16"


@readings
def test_every_sentence_is_read_once_and_known_by_its_number(reading):
    texts = drawn_sentences(np.random.default_rng(0).integers(0, 8, 70).tolist(), seed=1)
    seen = []
    for numbers, chunk in sentence_chunks(TaggedList(texts), reading):
        assert read_back(chunk, reading) == [expected(texts[i], reading) for i in numbers]
        seen += numbers.tolist()
    assert sorted(seen) == list(range(70))
