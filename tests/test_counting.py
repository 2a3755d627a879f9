"""Vocabularies: the same tokens however little of them is held in memory."""

import random
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.counting import WordCounter

SPACED = {"word_pattern": r"\S+"}


def vocabulary(counter: WordCounter, newline: bool = False) -> list[str]:
    return counter.tokenizer(newline).to_dict()["tokens"]


def counted(texts: list[str], config: TextConfig, **bounds: int) -> WordCounter:
    counter = WordCounter(config, **bounds)
    for text in texts:
        counter.add(text)
    return counter


@settings(deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab\ud800é中😀\u0301 \n", max_size=30).map(lambda text: text + " ")),
    vocab_size=st.sampled_from([None, 3, 5, 100]),
    min_count=st.integers(1, 3),
    bounds=st.sampled_from([{"most_words": 1}, {"most_words": 3}, {"most_characters": 4}]),
    newline=st.booleans(),
)
def test_words_on_disk_make_the_vocabulary_of_words_in_memory(texts, vocab_size, min_count, bounds, newline):
    config = TextConfig("word", vocab_size=vocab_size, min_count=min_count, **SPACED)
    counts = Counter(word for text in texts for word in text.split())
    if newline:
        counts["\n"] = sum(text.count("\n") for text in texts)
    order = sorted(-count for count in counts.values() if count)
    kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    if not order or not kept:
        with pytest.raises((DataError, UsageError)) as caught:
            vocabulary(counted(texts, config, **bounds), newline)
        assert type(caught.value) is (UsageError if order else DataError)
        return
    expected = [word for _, word in kept][: vocab_size and vocab_size - 2]
    assert vocabulary(counted(texts, config, **bounds), newline) == expected


def test_many_runs_are_merged_and_none_is_lost():
    draw = random.Random(0)
    words = [f"w{draw.randrange(3000)}" for _ in range(20_000)]
    texts = [" ".join(words[place : place + 50]) for place in range(0, len(words), 50)]
    config = TextConfig("word", vocab_size=1000, min_count=1)
    expected = sorted((-count, word) for word, count in Counter(words).items())[:998]
    assert vocabulary(counted(texts, config, most_words=100)) == [word for _, word in expected]  # 400 runs
    assert vocabulary(counted(texts, config)) == [word for _, word in expected]


def test_the_unknown_token_is_no_word_from_disk_either():
    config = TextConfig("word", min_count=1)
    assert vocabulary(counted(["<unk> a ", "b <unk> "], config, most_words=1)) == ["a", "b"]


@pytest.mark.parametrize(("words", "length", "bound"), [(8000, 8, 100), (64, 50_000, 4)], ids=["many", "long"])
def test_memory_does_not_grow_with_the_different_words(words, length, bound):
    config = TextConfig("word", vocab_size=3, min_count=1)

    def peak(count: int) -> int:
        tracemalloc.start()
        counter = WordCounter(config, most_words=bound)
        for place in range(0, count, bound // 4):
            counter.add(" ".join(f"{number:0{length}}" for number in range(place, place + bound // 4)))
        vocabulary(counter)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(2 * words) < peak(words) + words * max(40, length // 2)


def test_long_words_go_to_disk_before_there_are_many():
    config = TextConfig("word", vocab_size=3, min_count=1)
    counter = WordCounter(config, most_characters=400_000)
    tracemalloc.start()
    for number in range(64):
        counter.add(f"{number:0100000}")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1_000_000
    assert vocabulary(counter) == [f"{0:0100000}"]
