"""The vocabulary of a text given in pieces: its tokens, counted in memory that does not grow with their number."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.reading import Scratch
from charlm.text.tokenizers import SPECIALS, UNK, CharTokenizer, WordTokenizer, code_points, find_words, word_regex

WORD_VOCAB_SIZE, WORD_MIN_COUNT = 20_000, 2  # what a word vocabulary has unless told otherwise
NOTHING_TO_TRAIN_ON = (
    "the training part of the corpus holds no token: give more text, or a smaller valid-fraction and test-fraction"
)

_MOST_WORDS, _MOST_CHARACTERS = 1 << 17, 1 << 22  # of different words in memory
_CHUNK_WORDS, _CHUNK_CHARACTERS = 512, 1 << 15  # of a run on disk, read at a time
_MOST_RUNS = 16  # of about one size
_LENGTH = 8  # bytes before each chunk

Counts = Iterable[tuple[str, int]]


class CharCounter:
    """Counts the characters of a text given in pieces."""

    def __init__(self, config: TextConfig) -> None:
        self._config = config
        self._counts = np.zeros(0x110000, np.int64)

    def add(self, text: str) -> None:
        counts = np.bincount(code_points(text, self._config.lowercase))
        self._counts[: len(counts)] += counts

    def tokenizer(self, newline: bool, known: Sequence[str] = ()) -> CharTokenizer:
        """Return the tokenizer of `known` characters and then what was counted (DataError, UsageError).

        `newline`: whether that may be one.
        """
        points = np.flatnonzero(self._counts)
        counts = zip(map(chr, points), self._counts[points].tolist(), strict=True)
        tokens = _select(counts, newline, self._config.vocab_size, self._config.min_count or 1, known)
        return CharTokenizer(tokens, self._config.lowercase)


class WordCounter:
    """Counts the words of a text given in pieces that end between words.

    Beyond a bound on the different words in memory, those counted so far go to disk. The vocabulary that is
    kept at the end stays in memory: it is as large as the model's.
    """

    def __init__(
        self, config: TextConfig, most_words: int = _MOST_WORDS, most_characters: int = _MOST_CHARACTERS
    ) -> None:
        self._config = config
        self._regex = word_regex(config.word_pattern, config.punctuation)
        self._counts: Counter[str] = Counter()
        self._characters = 0  # of the different words in memory
        self._most_words, self._most_characters = most_words, most_characters
        self._runs = _Runs()

    def add(self, text: str) -> None:
        self.add_words(find_words(self._regex, text, self._config.lowercase))

    def add_words(self, words: Iterable[str]) -> None:
        """Count words that have been found already."""
        before = len(self._counts)
        self._counts.update(words)
        new = itertools.islice(reversed(self._counts), len(self._counts) - before)
        self._characters += sum(map(len, new))
        if len(self._counts) > self._most_words or self._characters > self._most_characters:
            self._runs.add(self._sorted())
            self._counts, self._characters = Counter(), 0

    def tokenizer(self, newline: bool, known: Sequence[str] = ()) -> WordTokenizer:
        """Return the tokenizer of `known` words and then what was counted (DataError, UsageError).

        `newline`: whether that may be one. Unless told otherwise, as many words are added as a new vocabulary has.
        """
        config = self._config
        vocab_size, min_count = config.vocab_size or WORD_VOCAB_SIZE + len(known), config.min_count or WORD_MIN_COUNT
        counts = self._runs.merged(self._sorted()) if self._runs else self._counts.items()
        words = (pair for pair in counts if pair[0] != SPECIALS[UNK])
        tokens = _select(words, newline, vocab_size, min_count, known)
        return WordTokenizer(tokens, config.lowercase, config.punctuation, config.word_pattern)

    def _sorted(self) -> Iterator[tuple[str, int]]:
        return ((word, self._counts[word]) for word in sorted(self._counts))


def counter_for(config: TextConfig) -> CharCounter | WordCounter | None:
    """Return what counts the tokens that a configuration asks for, None for bytes, which are all known."""
    if config.tokenizer == "byte":
        return None
    return CharCounter(config) if config.tokenizer == "char" else WordCounter(config)


def count_texts(counter: CharCounter | WordCounter | None, texts: Iterable[str]) -> None:
    """Count the tokens of texts, each for itself: a pattern of words must not see the next one."""
    if isinstance(counter, CharCounter):
        counter.add("".join(texts))
    elif counter is not None:
        for text in texts:
            counter.add(text)


class _Runs:
    """Sorted runs of (word, count) on disk; where there are many, they become one among larger ones."""

    def __init__(self) -> None:
        self._larger: _Runs | None = None
        self._clear()

    def __bool__(self) -> bool:
        return bool(self._runs or self._larger)

    def add(self, run: Counts) -> None:
        """Append a run, whose words rise by code points."""
        self._append(run)
        if len(self._runs) == _MOST_RUNS:
            self._larger = self._larger or _Runs()
            self._larger.add(_merged([self._read(*run) for run in self._runs]))
            self._clear()

    def merged(self, last: Counts = ()) -> Iterator[tuple[str, int]]:
        """Yield each word once with its count in all runs and in `last`, in the order of code points."""
        larger = self._larger.merged() if self._larger else ()
        return _merged([*(self._read(*run) for run in self._runs), larger, last])

    def _clear(self) -> None:
        self._file, self._size = Scratch(), 0
        self._runs: list[tuple[int, int]] = []  # where each begins and ends

    def _append(self, run: Counts) -> None:
        begin = self._size
        for chunk in _chunks(run):
            data = json.dumps(chunk).encode()
            self._file.write(len(data).to_bytes(_LENGTH) + data)
            self._size += _LENGTH + len(data)
        self._runs.append((begin, self._size))

    def _read(self, begin: int, end: int) -> Iterator[tuple[str, int]]:
        while begin < end:
            length = int.from_bytes(self._file.read(begin, _LENGTH))
            yield from json.loads(self._file.read(begin + _LENGTH, length))
            begin += _LENGTH + length


def _merged(runs: Iterable[Counts]) -> Iterator[tuple[str, int]]:
    for word, same in itertools.groupby(heapq.merge(*runs, key=itemgetter(0)), key=itemgetter(0)):
        yield word, sum(count for _, count in same)


def _chunks(run: Counts) -> Iterator[list[tuple[str, int]]]:
    chunk: list[tuple[str, int]] = []
    characters = 0
    for word, count in run:
        chunk.append((word, count))
        characters += len(word)
        if len(chunk) == _CHUNK_WORDS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    yield chunk


def _select(
    counts: Counts, newline: bool, vocab_size: int | None, min_count: int, known: Sequence[str] = ()
) -> list[str]:
    """Return the tokens to keep in the order of their ids, `known` ones first; `vocab_size` counts the specials."""
    found, before = 0, frozenset(known)
    most = vocab_size and vocab_size - len(SPECIALS) - len(known)
    if most is not None and most < 0:
        size = len(SPECIALS) + len(known)
        raise UsageError(f"vocab-size {vocab_size} is less than the {size} tokens of the model, which all stay")
    if most == 0 and known:
        return [*known]

    def frequent() -> Iterator[tuple[int, str]]:
        nonlocal found
        for token, count in counts:
            if newline or token != "\n":
                found += 1
                if count >= min_count and token not in before:
                    yield -count, token

    tokens = sorted(frequent()) if most is None else heapq.nsmallest(most, frequent())
    if not found:
        raise DataError(NOTHING_TO_TRAIN_ON)
    if not tokens and not known:
        raise UsageError(f"no token of the corpus is there {min_count} times: give a lower --min-count")
    return [*known, *(token for _, token in tokens)]
