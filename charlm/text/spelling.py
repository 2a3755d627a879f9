"""Words that are written with the same characters between any two, so that a target comes back
exactly as it stood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charlm.text.tokenizers import SPECIALS, UNK, Decoder, Tokenizer, WordTokenizer

BETWEEN = ("", " ")  # what may stand between any two words


class JoinedWords(WordTokenizer):
    r"""Words as `WordTokenizer` finds them, written with `between` between any two.

    >>> JoinedWords(["K", "AE1"], word_pattern=r"\S+", between=" ").decode([2, 3])
    'K AE1'
    """

    def __init__(self, tokens: list[str], between: str, **settings: Any) -> None:
        """Take what `WordTokenizer` does (UsageError)."""
        super().__init__(tokens, **settings)
        self.between = between
        self._written = ["", SPECIALS[UNK], *tokens]

    def decode(self, ids: Iterable[int]) -> str:
        decoder = self.decoder()
        return "".join(map(decoder.feed, ids)) + decoder.finish()

    def decoder(self) -> Decoder:
        return _Joined(self._written, self.between)


class _Joined:
    def __init__(self, written: list[str], between: str) -> None:
        self._written, self._between, self._begun = written, between, False

    def feed(self, token_id: int) -> str:
        text = self._written[token_id]
        if text and self._begun:
            text = self._between + text
        self._begun = self._begun or bool(text)
        return text

    def finish(self) -> str:
        return ""


def joined(tokenizer: Tokenizer, between: str | None) -> Tokenizer:
    """Return a tokenizer that writes its words with `between` between any two.

    Characters and bytes, and words with None, are written as they ever are.
    """
    if between is None or not isinstance(tokenizer, WordTokenizer):
        return tokenizer
    settings: Mapping[str, Any] = tokenizer.to_dict()
    own = {name: value for name, value in settings.items() if name != "tokenizer"}
    return JoinedWords(between=between, **own)


class Between:
    """Finds what stands between any two words of all texts that it is shown: always nothing, or
    always one space."""

    def __init__(self) -> None:
        self._possible = list(BETWEEN)

    def add(self, text: str, words: list[str]) -> None:
        """Take a text and its words."""
        self._possible = [between for between in self._possible if between.join(words) == text]

    @property
    def found(self) -> str | None:
        """What it is, None where it differs or words are not all of a text."""
        return self._possible[0] if self._possible else None
