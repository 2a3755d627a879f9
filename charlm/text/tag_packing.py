"""Whole tagged sentences end to end in the columns of a chunk, as a tagger reads them, and where
their tags stand.

A sentence is read in one of three ways, each with an EOS after it:

    words         a step for each token, which is the number of one of the chunk's different words
    characters    a step for each character of its tokens, a space between them; a token is the
                  steps of its characters
    steps         a step for each id, all of which have a tag: the characters of a text, each with
                  its own; those that are unknown are kept

A word that stands in a chunk several times is read once: what a network makes of its id and its
characters is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.text.batches import Ids
from charlm.text.packing import Layout, WholeBatches, alike, deal, lay_out
from charlm.text.splitting import mix
from charlm.text.tagged_part import TaggedText, TaggedTexts
from charlm.text.tokenizers import EOS, UNK

_CHUNK_STEPS = (
    1 << 12
)  # of a chunk that is only read: more leave the cache, and take twice the time
_STEPS = 64  # of a chunk that is only read, unless a sentence is longer
_WORD_STEPS = 32  # of a chunk of words' characters, unless a word is longer
_NO_WORD = -1  # the word of what is none


@dataclass(frozen=True)
class Reading:
    """How sentences are read: "words", "characters" or "steps"; `space` is the id between the
    characters of two tokens.

    >>> Reading("characters", tokenizer.encode(" ").item())  # doctest: +SKIP
    """

    way: str = "words"
    space: int = UNK

    def steps_of(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many steps sentences of so many tokens and characters [n, 2] take, EOS
        counted, [n]."""
        tokens, characters = sizes.T
        if self.way == "characters":
            return np.asarray(characters + np.maximum(tokens, 1))
        return np.asarray(tokens + 1)


class Words:
    """Different words: their ids [R], their characters' ids end to end, how many each has [R].

    Word 0 of a chunk is what stands for EOS: it has no characters.
    """

    def __init__(self, ids: Ids, characters: Ids, lengths: NDArray[np.int64]) -> None:
        self.ids, self.characters, self.lengths = ids, characters, lengths
        self._packed: Layout | None = None

    @property
    def packed(self) -> Layout:
        """The words as whole texts of their characters, in the order of their numbers."""
        found = self._packed  # two threads that come first both make it, and the same
        if found is None:
            ends = np.cumsum(self.lengths + 1)
            ids = np.full(int(ends[-1]), EOS, np.int32)
            own = np.ones(len(ids), np.bool_)
            own[ends - 1] = False
            ids[own] = self.characters
            found = self._packed = lay_out(ids, self.lengths + 1, _WORD_STEPS, deal)
        return found

    def at(self, rows: NDArray[np.int64]) -> Words:
        """Return some of the words."""
        lengths = self.lengths[rows]
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        return Words(self.ids[rows], self.characters[_spans(starts, lengths)], lengths)


@dataclass(frozen=True)
class TagChunk:
    """S whole sentences, with N tagged places, in T steps of B columns.

    inputs [T, B]: token ids, or numbers of `words` where there are such; NO_TOKEN where nothing
    stands. reset [T, B]: true at each sentence's first step and at a column's first unused one. Of
    each place, [N], sentence by sentence: its column, its first step, its length in steps, its
    tag, -1 where none is known, and its token's id. starts [S + 1]: where in these each sentence
    begins, and where the last ends. sentence_column [S]. words: every one of them occurs. kept [N]:
    which places have tag 0, whatever the network says; None: none has.
    """

    inputs: Ids
    reset: NDArray[np.bool_]
    column: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    tags: NDArray[np.int32]
    tokens: Ids
    starts: NDArray[np.int64]
    sentence_column: NDArray[np.int64]
    words: Words | None = None
    kept: NDArray[np.bool_] | None = None

    @property
    def width(self) -> int:
        """B, the number of columns."""
        return int(self.inputs.shape[1])

    @property
    def count(self) -> int:
        """How many places count: those whose tag is known."""
        return int(np.count_nonzero(self.tags >= 0))

    @property
    def read(self) -> int:
        """How many places there are: tokens, or tagged characters."""
        return len(self.tags)

    @property
    def weight(self) -> NDArray[np.float32]:
        """What each place counts [N]: 1 where the tag is known, else 0."""
        return (self.tags >= 0).astype(np.float32)

    def columns(self, part: slice) -> TagChunk:
        """Return some neighbouring columns and the sentences in them, in the same order."""
        start, stop, _ = part.indices(self.width)
        if (start, stop) == (0, self.width):
            return self
        whole = (self.sentence_column >= start) & (self.sentence_column < stop)
        inside = np.repeat(whole, np.diff(self.starts))
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[whole])])
        inputs, words = self.inputs[:, start:stop], self.words
        if words is not None:
            rows, inverse = np.unique(inputs, return_inverse=True)
            gap = int(rows[0] == NO_TOKEN)  # unused steps keep their number
            inputs = (inverse.reshape(inputs.shape) - gap).astype(np.int32)
            words = words.at(rows[gap:].astype(np.int64))
        return TagChunk(
            inputs, self.reset[:, start:stop], self.column[inside] - start, self.first[inside],
            self.length[inside], self.tags[inside], self.tokens[inside], starts,
            self.sentence_column[whole] - start, words,
            None if self.kept is None else self.kept[inside],
        )  # fmt: skip


def make_tag_chunk(texts: Sequence[TaggedText], reading: Reading, steps: int) -> TagChunk:
    """Pack sentences, of which there is at least one, into a chunk of `steps` steps unless one is
    longer."""
    sizes = np.array([[len(text.words), len(text.characters)] for text in texts], np.int64)
    tags = np.concatenate([text.tags for text in texts])
    tokens = np.concatenate([text.words for text in texts])
    lengths = np.concatenate([text.lengths for text in texts])
    starts = np.concatenate([[0], np.cumsum(sizes[:, 0])])
    sentence, words = np.repeat(np.arange(len(texts)), sizes[:, 0]), None
    within = np.arange(len(tags)) - starts[sentence]  # the place of each token in its sentence
    kept = None
    if reading.way == "characters":
        ids, offset = _spaced(texts, lengths, within, reading.space)
        lengths = np.maximum(lengths, 1)  # a token without characters is what follows it
    else:
        given = tokens
        if reading.way == "words":
            characters = np.concatenate([text.characters for text in texts])
            given, words = different(given, characters, lengths)
        elif (unknown := given == UNK).any():
            kept = unknown
        end = 0 if words is not None else EOS
        ids, offset = np.insert(given, starts[1:], np.int32(end)), within
        lengths = np.ones_like(lengths)
    laid = lay_out(ids, reading.steps_of(sizes), steps)
    return TagChunk(
        laid.inputs, laid.reset, laid.column[sentence], laid.first[sentence] + offset, lengths,
        tags, tokens, starts, laid.column, words, kept,
    )  # fmt: skip


def different(ids: Ids, characters: Ids, lengths: NDArray[np.int64]) -> tuple[Ids, Words]:
    """Return which of the different words each of N is, [N], counted from 1 on, and all of them.

    Words are the same where their ids and their characters are. They are told apart by hashes of 64
    bits: a million different words have two alike with a probability of 3e-8.
    """
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    pieces = mix(_keys(characters) + mix(_keys(place)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(pieces, dtype=np.uint64)])
    hashes = sums[starts + lengths] - sums[starts] + mix(_keys(ids) ^ np.uint64(1 << 63))
    _, chosen, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    own = lengths[chosen]
    spelt = characters[_spans(starts[chosen], own)]
    words = Words(
        np.concatenate([[EOS], ids[chosen]]).astype(np.int32), spelt, np.concatenate([[0], own])
    )
    return (inverse.reshape(-1) + 1).astype(np.int32), words


def _keys(values: NDArray[np.integer]) -> NDArray[np.uint64]:
    return values.astype(np.uint64)


def _spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers starts[i] to starts[i] + lengths[i] - 1 of all i, end to end."""
    before = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())))


def _spaced(
    texts: Sequence[TaggedText], lengths: NDArray[np.int64], within: NDArray[np.int64], space: int
) -> tuple[Ids, NDArray[np.int64]]:
    """Return the characters of sentences with spaces between tokens and an EOS after each sentence;
    and each token's first step in its sentence [N]."""
    characters = np.concatenate([text.characters for text in texts])
    tokens = np.array([len(text.words) for text in texts], np.int64)
    sizes = np.array([len(text.characters) for text in texts], np.int64)
    starts, ends = np.cumsum(lengths) - lengths, np.cumsum(sizes)
    later = within > 0
    spaced = np.insert(
        characters,
        np.concatenate([starts[later], ends]),
        np.concatenate([np.full(int(later.sum()), space), np.full(len(ends), EOS)]).astype(
            np.int32
        ),
    )
    return spaced, np.asarray(starts - np.repeat(ends - sizes, tokens) + within)


class WholeSentenceBatches(WholeBatches[TaggedText, TagChunk]):
    """A training part as chunks of `batch_size` whole sentences, in an order drawn anew each
    epoch."""

    _name = "sentences"

    def __init__(
        self, texts: TaggedTexts, batch_size: int, steps: int, seed: int, reading: Reading
    ) -> None:
        """Prepare; a chunk has `steps` steps unless a sentence is longer."""
        super().__init__(len(texts), batch_size, steps, seed)
        self._texts, self._reading = texts, reading

    def _all_steps(self) -> int:
        return self._texts.tokens

    def _steps_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._reading.steps_of(self._texts.sizes(numbers))

    def _items(self, numbers: NDArray[np.int64]) -> Sequence[TaggedText]:
        return self._texts.sentences(numbers)

    def _chunk(self, items: Sequence[TaggedText]) -> TagChunk:
        return make_tag_chunk(items, self._reading, self.seq_len)


def sentence_chunks(
    texts: TaggedTexts, reading: Reading, steps: int = _STEPS
) -> Iterator[tuple[NDArray[np.int64], TagChunk]]:
    """Yield the numbers [S] of some sentences of like length and a chunk of them, until all are
    read."""
    for some in alike(
        len(texts), lambda numbers: reading.steps_of(texts.sizes(numbers)), _CHUNK_STEPS
    ):
        yield some, make_tag_chunk(texts.sentences(some), reading, steps)
