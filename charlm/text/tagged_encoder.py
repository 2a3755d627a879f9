"""From the tokens of a sentence to numbers: ids of words and of their characters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charlm.config import TextConfig
from charlm.errors import UsageError
from charlm.text.counting import CharCounter, WordCounter
from charlm.text.tag_forms import CHARACTERS
from charlm.text.tagged_part import TaggedText
from charlm.text.tokenizers import SPECIALS, UNK, CharTokenizer, Tokenizer, WordTokenizer

WHOLE_TOKENS = r"\S+"  # the pattern of a vocabulary whose words are the tokens of columns


@dataclass(frozen=True, eq=False)
class Encoder:
    """The vocabularies of a tagger, and what they make of a sentence.

    tokenizer: whose ids are the network's input: `words`, or `characters`. characters: of the
    training part, for words spelt out or read by characters. words: the tokens of the training
    part, by which a token is known or unknown; None where characters are tagged. unit: what is
    tagged, "words" or "characters".
    """

    tokenizer: Tokenizer
    characters: CharTokenizer
    words: WordTokenizer | None
    unit: str

    def __call__(self, tokens: Sequence[str]) -> TaggedText:
        """Return a sentence of tokens, words or characters, without tags.

        A word is looked up whole, whatever stands in it.
        """
        characters = "".join(tokens)
        ids = self.characters.encode(characters)
        if self.unit == CHARACTERS:
            if len(ids) != len(tokens):  # a character that is several when it is lowered: its first
                ids = np.array([self.characters.encode(token)[0] for token in tokens], np.int32)
            words, lengths = ids, np.ones(len(tokens), np.int64)
        else:
            words = self._words(tokens)
            lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
            if len(ids) != len(characters):
                each = (len(self.characters.encode(token)) for token in tokens)
                lengths = np.fromiter(each, np.int64, len(tokens))
        return TaggedText(words, ids, lengths, np.full(len(tokens), -1, np.int32))

    def unknown(self, words: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which tokens, by their ids in a `TaggedText`, training has not."""
        found: NDArray[np.bool_] = words == UNK
        return found

    def steps(self, text: TaggedText) -> NDArray[np.int64]:
        """Return how many steps of the network each token of a sentence takes, [n].

        One, but where words are read by characters, so many as it has and one that parts it from
        the next.
        """
        if self.unit == CHARACTERS or self.tokenizer.kind == "word":
            return np.ones(len(text), np.int64)
        return text.lengths + 1

    def cuts(self, text: TaggedText, longest: int | None) -> list[slice]:
        """Return the pieces of a sentence, of about one length and of `longest` steps at most each.

        One that is not longer is a single piece; no token is cut, so one may be longer by itself.
        """
        steps = self.steps(text)
        total = int(steps.sum())
        if longest is None or total <= longest or len(text) < 2:
            return [slice(0, len(text))]
        pieces = -(-total // longest)
        room = -(-total // pieces)
        found, start, used = [], 0, 0
        for place, count in enumerate(steps.tolist()):
            if used and used + count > room:
                found.append(slice(start, place))
                start, used = place, 0
            used += count
        return [*found, slice(start, len(text))]

    def _words(self, tokens: Sequence[str]) -> NDArray[np.int32]:
        if self._lowers:
            tokens = [token.lower() for token in tokens]
        ids = self._ids
        return np.fromiter((ids.get(token, UNK) for token in tokens), np.int32, len(tokens))

    @cached_property
    def _ids(self) -> dict[str, int]:
        names = self.words.to_dict()["tokens"] if self.words else []
        return {name: number for number, name in enumerate(names, start=len(SPECIALS))}

    @cached_property
    def _lowers(self) -> bool:
        return bool(self.words and self.words.to_dict()["lowercase"])


def piece_of(text: TaggedText, cut: slice) -> TaggedText:
    """Return some tokens of a sentence as one."""
    start, stop = text.ends[[cut.start, cut.stop]].tolist()
    return TaggedText(
        text.words[cut], text.characters[start:stop], text.lengths[cut], text.tags[cut]
    )


class Vocabularies:
    """Counts tokens and characters of the training part, and makes an encoder of them."""

    def __init__(
        self, unit: str, config: TextConfig, known: Tokenizer | None = None, grow: bool = False
    ) -> None:
        """Prepare; `known` is the tokenizer of a model of another kind, which may `grow` or not."""
        kind = known.kind if known else config.tokenizer
        if unit == CHARACTERS and kind == "word" and known:
            raise UsageError("a model of words cannot be the beginning of one that tags characters")
        self._unit, self._known, self._grow = unit, known, grow
        self._by_words = unit != CHARACTERS and kind == "word"
        lowercase = config.lowercase
        words, characters = TextConfig("word", lowercase), replace(config, tokenizer="char")
        if self._by_words:
            words, characters = replace(config, tokenizer="word"), TextConfig()
        words = replace(words, word_pattern=WHOLE_TOKENS, min_count=words.min_count or 1)
        self._words = WordCounter(words) if unit != CHARACTERS else None
        self._characters, self._lowercase = CharCounter(characters), lowercase

    def add(self, sentences: Sequence[Sequence[str]]) -> None:
        """Count the tokens [n] of each of some sentences."""
        between = " " if self._words and not self._by_words else ""
        words = list(itertools.chain.from_iterable(sentences))
        self._characters.add(between.join(words))
        if self._words:
            self._words.add_words([w.lower() for w in words] if self._lowercase else words)

    def encoder(self) -> Encoder:
        """Return what encodes by what was counted (DataError, UsageError)."""
        known = self._known.to_dict()["tokens"] if self._known and self._grow else ()
        of_words, of_characters = (known, ()) if self._by_words else ((), known)
        words = self._words.tokenizer(False, of_words) if self._words else None
        characters = self._characters.tokenizer(False, of_characters)
        if isinstance(self._known, CharTokenizer) and not self._grow:
            characters = self._known
        if isinstance(self._known, WordTokenizer) and not self._grow:
            words = self._known
        tokenizer = words if words and self._by_words else characters
        return Encoder(tokenizer, characters, words, self._unit)
