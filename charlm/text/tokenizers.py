"""Text to token ids and back: characters, bytes or words.

Ids 0 and 1 are the specials, the end of a sequence and the unknown token. They are ids and not strings: a
text with the characters "<eos>" in it is just characters. Tokens follow by falling count, ties by code point.
"""

from __future__ import annotations

import codecs
import itertools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import DataError, UsageError

EOS, UNK = 0, 1
SPECIALS = ("<eos>", "<unk>")  # for show only


class Decoder(Protocol):
    """Turns ids into text one at a time; what it returns, joined, is what `Tokenizer.decode` gives."""

    def feed(self, token_id: int) -> str:
        """Take one id and return the text that can be shown now."""

    def finish(self) -> str:
        """Return what was held back."""


class Tokenizer(Protocol):
    """What every tokenizer does.

    `size` is V, the two specials included. `lossless`: no character but white space is lost or changed on the
    way to ids, so that a figure per character makes sense. `newline`: the id of the newline, if it has one.
    """

    kind: str
    size: int
    lossless: bool
    newline: int | None

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        """Return the ids [n] of a text, without EOS; what is not in the vocabulary is UNK."""

    def encode_lines(self, text: str | bytes) -> NDArray[np.int32]:
        """Return the ids [n] of lines that are a sequence each: every newline becomes an EOS."""

    def pieces(self, text: str | bytes) -> list[str]:
        """Return what each id of `encode` stands for in this text, the unknown too."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids: EOS is nothing, UNK is `<unk>`."""

    def decoder(self) -> Decoder:
        """Return a decoder for text that is shown while it is drawn."""

    def token(self, token_id: int) -> str:
        """Return how one id is shown in a table."""

    def to_dict(self) -> dict[str, Any]:
        """Return all that `tokenizer_from_dict` needs, for JSON."""


class CharTokenizer:
    """Unicode code points, nothing normalised."""

    kind = "char"

    def __init__(self, tokens: Sequence[str], lowercase: bool = False) -> None:
        self.size = len(SPECIALS) + len(tokens)
        self.lossless = not lowercase
        self.newline = len(SPECIALS) + tokens.index("\n") if "\n" in tokens else None
        self._names = [*SPECIALS, *tokens]
        self._lowercase = lowercase
        self._ids = np.full(0x110000, UNK, np.int32)  # of every code point
        self._ids[code_points("".join(tokens))] = np.arange(len(SPECIALS), self.size)

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        return self._ids.take(code_points(_characters(text), self._lowercase))  # twice as quick as [] for a few

    def encode_lines(self, text: str | bytes) -> NDArray[np.int32]:
        points = code_points(_characters(text), self._lowercase)
        ids = self._ids[points]
        ids[points == ord("\n")] = EOS
        return ids

    def pieces(self, text: str | bytes) -> list[str]:
        return list(map(chr, code_points(_characters(text), self._lowercase)))

    def decode(self, ids: Iterable[int]) -> str:
        return _decode(self.decoder(), ids)

    def decoder(self) -> Decoder:
        return _CharDecoder(["", *self._names[UNK:]])

    def token(self, token_id: int) -> str:
        return self._names[token_id]

    def to_dict(self) -> dict[str, Any]:
        return {"tokenizer": self.kind, "lowercase": self._lowercase, "tokens": self._names[len(SPECIALS) :]}


class ByteTokenizer:
    """The 256 byte values, any input at all: a byte's id is its value + 2.

    Raises UsageError for a lone surrogate that stands for no byte.
    """

    kind = "byte"
    size = len(SPECIALS) + 256
    lossless = True
    newline: int | None = len(SPECIALS) + ord("\n")

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        try:
            data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise UsageError(f"the text has {half!r}, half of a character, which no byte stands for") from None
        return np.frombuffer(data, np.uint8).astype(np.int32) + len(SPECIALS)

    def encode_lines(self, text: str | bytes) -> NDArray[np.int32]:
        ids = self.encode(text)
        ids[ids == self.newline] = EOS
        return ids

    def pieces(self, text: str | bytes) -> list[str]:
        return [self.token(token_id) for token_id in self.encode(text).tolist()]

    def decode(self, ids: Iterable[int]) -> str:
        return _decode(self.decoder(), ids)

    def decoder(self) -> Decoder:
        return _ByteDecoder()

    def token(self, token_id: int) -> str:
        """Show printable ASCII as it is and any other byte as \\xNN."""
        if token_id < len(SPECIALS):
            return SPECIALS[token_id]
        value = token_id - len(SPECIALS)
        return chr(value) if 0x20 <= value < 0x7F else f"\\x{value:02x}"

    def to_dict(self) -> dict[str, Any]:
        return {"tokenizer": self.kind}


class WordTokenizer:
    """Words as a regular expression finds them, in lines; what it does not match is passed over.

    The default takes runs of letters, digits and combining marks, with inner apostrophes or hyphens, and, unless
    `punctuation` is off, each other character but white space. A literal `<unk>` is the unknown token; a newline
    is a token where the vocabulary has one. Raises UsageError for a pattern that cannot be used.
    """

    kind = "word"

    def __init__(
        self,
        tokens: Sequence[str],
        lowercase: bool = False,
        punctuation: bool = True,
        word_pattern: str | None = None,
    ) -> None:
        self.size = len(SPECIALS) + len(tokens)
        self.newline = len(SPECIALS) + tokens.index("\n") if "\n" in tokens else None
        self._names = [*SPECIALS, *tokens]
        self._lowercase, self._punctuation, self._word_pattern = lowercase, punctuation, word_pattern
        self._ids = {token: place for place, token in enumerate(tokens, start=len(SPECIALS))}
        self._line_ids = self._ids | {"\n": EOS}
        self._regex = word_regex(word_pattern, punctuation)
        self.lossless = not lowercase and _keeps_all(self._regex)
        self.spaced = find_words(self._regex, "a, (b)") != ["a", ",", "(", "b", ")"]  # what is written, between any two

    def encode(self, text: str | bytes) -> NDArray[np.int32]:
        return _look_up(self.pieces(text), self._ids)

    def encode_lines(self, text: str | bytes) -> NDArray[np.int32]:
        return _look_up(find_words(self._regex, _characters(text), self._lowercase), self._line_ids)

    def pieces(self, text: str | bytes) -> list[str]:
        characters = _characters(text)
        if self.newline is None:
            characters = characters.replace("\n", " ")
        return find_words(self._regex, characters, self._lowercase)

    def decode(self, ids: Iterable[int]) -> str:
        return _decode(self.decoder(), ids)

    def decoder(self) -> Decoder:
        return _WordDecoder(self._names, self.spaced)

    def token(self, token_id: int) -> str:
        return self._names[token_id]

    def to_dict(self) -> dict[str, Any]:
        return {
            "tokenizer": self.kind,
            "lowercase": self._lowercase,
            "punctuation": self._punctuation,
            "word_pattern": self._word_pattern,
            "tokens": self._names[len(SPECIALS) :],
        }


def _characters(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} of the text is not valid utf-8: only a byte model takes it") from error


def code_points(text: str, lowercase: bool = False) -> NDArray[np.uint32]:
    """Return the code points [n] of a text, each lowered whatever stands beside it.

    (A capital sigma has two small ones, chosen by its place in the word, which a cut in the text would hide.)
    """
    if lowercase:
        text = text.replace("Σ", "σ").lower()
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def find_words(regex: re.Pattern[str], text: str, lowercase: bool = False) -> list[str]:
    """Return the words of a text, as a pattern of `word_regex` finds them."""
    if lowercase:
        text = text.lower()
    return [match[0] for match in regex.finditer(text)] if regex.groups else regex.findall(text)


def _look_up(words: list[str], ids: dict[str, int]) -> NDArray[np.int32]:
    return np.fromiter(map(ids.get, words, itertools.repeat(UNK)), np.int32, len(words))


@cache
def word_regex(word_pattern: str | None, punctuation: bool) -> re.Pattern[str]:
    """Compile what finds a word, `<unk>` or a newline; `^` and `$` are those of a line (UsageError)."""
    pattern = _default_pattern(punctuation) if word_pattern is None else word_pattern
    try:
        re.compile(pattern)  # alone first, so that a position in the message is the user's
        regex = re.compile(rf"<unk>|\n|{pattern}", re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"word-pattern {word_pattern!r} is no regular expression: {error}") from error
    if "" in find_words(regex, _PROBE):
        raise UsageError(f"word-pattern {word_pattern!r} can match the empty string: demand a character, say \\S+")
    return regex


@cache
def _default_pattern(punctuation: bool) -> str:
    r"""Build the class of combining marks that `re` lacks: \w has no vowel signs, and Indic words would shatter.

    Zero-width joiners and emoji modifiers, too, belong to the character before them.
    """
    extenders = character_class(
        point
        for point in itertools.chain(range(0x20000), range(0xE0100, 0xE01F0))  # no marks anywhere else
        if unicodedata.category(chr(point))[0] == "M" or point in (0x200C, 0x200D) or 0x1F3FB <= point <= 0x1F3FF
    )
    # No group is possessive, which matches wrongly before Python 3.11.5; nothing after a word gives back.
    run = rf"(?:[^\W_]++{extenders}*+)+"
    word = rf"{run}(?:['’‐‑-]{run})*"
    symbol = rf"\S{extenders}*+(?:(?<=\u200d)[^\w\s]{extenders}*+)*"
    return f"{word}|{symbol}" if punctuation else word


def character_class(points: Iterable[int]) -> str:
    """Write rising code points as a character class of ranges."""
    runs = (list(run) for _, run in itertools.groupby(enumerate(points), lambda pair: pair[1] - pair[0]))
    return "[" + "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs) + "]"


_PROBED = string.ascii_letters + string.digits + string.punctuation + "éßЖক中’—।。"
_PROBE = " ".join(map("".join, itertools.product(_PROBED, repeat=2)))  # every two of these side by side


@lru_cache(maxsize=32)
def _keeps_all(regex: re.Pattern[str]) -> bool:
    """Tell whether a pattern passes over nothing but white space, by what it makes of the probe."""
    found = "".join(find_words(regex, _PROBE))
    return "".join(found.split()) == _PROBE.replace(" ", "")


def _decode(decoder: Decoder, ids: Iterable[int]) -> str:
    return "".join(map(decoder.feed, ids)) + decoder.finish()


class _CharDecoder:
    def __init__(self, texts: list[str]) -> None:
        self.feed = texts.__getitem__

    def finish(self) -> str:
        return ""


class _ByteDecoder:
    """Holds back the bytes of an unfinished character; a byte that belongs to none is a lone surrogate (PEP 383)."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, token_id: int) -> str:
        if token_id < len(SPECIALS):
            return self._utf8.decode(SPECIALS[UNK].encode()) if token_id == UNK else ""
        return self._utf8.decode(bytes([token_id - len(SPECIALS)]))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WordDecoder:
    """Writes words as people do: no space before a comma or after an opening bracket, quotes in pairs.

    `spaced` puts a space between any two, for a pattern that would not part them again.
    """

    _OPENING = frozenset("([{“‘«‹¿¡「『（")
    _CLOSING = frozenset(",.;:!?%)]}”’»›…।॥、。，！？；：」』）")
    _QUOTES = frozenset("\"'")
    _REPEATED = frozenset("-*=_~#")

    def __init__(self, names: list[str], spaced: bool) -> None:
        self._names = names
        self._spaced = spaced
        self._tight = True  # the next token follows without a space
        self._previous = ""
        self._quoted: set[str] = set()

    def feed(self, token_id: int) -> str:
        token = self._names[token_id]
        if token_id == EOS or token == "\n":
            self._quoted.clear()
            self._tight |= token == "\n"
            return "" if token_id == EOS else token
        opens, closes = (False, False) if self._spaced else self._sides(token)
        text = token if self._tight or closes else f" {token}"
        self._tight, self._previous = opens, token
        return text

    def _sides(self, token: str) -> tuple[bool, bool]:
        """Tell whether a token clings to what follows, and whether to what went before."""
        if token in self._QUOTES:
            closes = token in self._quoted
            self._quoted ^= {token}
            return not closes, closes
        again = token == self._previous and token in self._REPEATED
        return token in self._OPENING, again or token in self._CLOSING

    def finish(self) -> str:
        return ""


_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "char": {"lowercase": (bool,), "tokens": (list,)},
    "byte": {},
    "word": {"lowercase": (bool,), "punctuation": (bool,), "word_pattern": (str, type(None)), "tokens": (list,)},
}


def tokenizer_from_dict(values: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer that `to_dict` described, trusting nothing (DataError)."""
    if not isinstance(values, Mapping):
        raise DataError(f"vocabulary is {values!r:.40}, not an object that describes a tokenizer")
    fields = dict(values)
    kind = fields.pop("tokenizer", None)
    expected = _FIELDS.get(kind) if isinstance(kind, str) else None
    if expected is None:
        raise DataError(f"vocabulary is of unknown kind {kind!r}: it should be char, byte or word")
    if fields.keys() != expected.keys():
        raise DataError(f"{kind} vocabulary has the fields {sorted(fields)}: it should have {sorted(expected)}")
    for name, types in expected.items():
        if type(fields[name]) not in types:
            raise DataError(f"vocabulary: {name} cannot be {fields[name]!r:.40}")
    if kind == "byte":
        return ByteTokenizer()
    _check_tokens(fields["tokens"], kind)
    try:
        return CharTokenizer(**fields) if kind == "char" else WordTokenizer(**fields)
    except UsageError as error:
        raise DataError(f"vocabulary: {error}") from error


def _check_tokens(tokens: list[Any], kind: str) -> None:
    for place, token in enumerate(tokens, start=len(SPECIALS)):
        if not isinstance(token, str) or not token or (kind == "char" and len(token) != 1):
            raise DataError(f"vocabulary: {token!r:.40}, id {place}, is no {kind}")
    if len(set(tokens)) < len(tokens):
        twice, _ = Counter(tokens).most_common(1)[0]
        raise DataError(f"vocabulary: {twice!r:.40} stands in it twice")
    if kind == "word" and SPECIALS[UNK] in tokens:
        raise DataError("vocabulary: <unk> stands among the words, and would be two tokens")
