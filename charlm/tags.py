"""What a tagger knows beside its weights: its tags, how sentences become tokens, and where tags
stood."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.bio import SCHEMES, Allowed, allowed, mark_spans
from charlm.config import UNITS, ModelConfig, have_counts
from charlm.errors import DataError
from charlm.facts import check_facts
from charlm.model_files import dump, parse
from charlm.nn.ngrams import MOST
from charlm.nn.tagger import TaggerShape
from charlm.text.character_tags import KEEP
from charlm.text.columns import Layout
from charlm.text.kinds import kinds_of
from charlm.text.labels import is_label
from charlm.text.tag_forms import CHARACTERS, Form
from charlm.text.tag_packing import Reading
from charlm.text.tagged_encoder import Encoder
from charlm.text.tokenizers import (
    SPECIALS,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    tokenizer_from_dict,
)

_WIDEST, _MOST_COLUMN = 1 << 16, 1 << 16
_READ = {
    "word": "words",
    "char": "characters",
}  # what the network reads, by the tokenizer of the settings
_OF_TAGS = {
    "names": list, "counts": list, "unit": str, "scheme": str | None, "max_length": int,
    "crf": bool, "char_hidden": int, "char_embedding": int, "ngrams": int,
}  # fmt: skip
_OF_LAYOUT = {"tabs": bool, "token": int, "tag": int, "conllu": bool, "heads": int}


@dataclass(frozen=True)
class Tags:
    """What a tagger knows beside its weights.

    encoder: the vocabularies, and what a sentence is to the network. form: where words and tags
    stand. names: the tags, in the order of their numbers, spans in IOB2; counts: how many tokens of
    the training part had each. scheme: how the corpus wrote spans (`charlm.bio`), None where tags
    mark none. max_length: steps that are read at once. The rest is as in
    `charlm.nn.tagger.TaggerShape`.
    """

    encoder: Encoder
    form: Form
    names: tuple[str, ...]
    counts: tuple[int, ...]
    scheme: str | None
    max_length: int
    crf: bool = False
    char_hidden: int = 0
    char_embedding: int = TaggerShape.char_embedding
    ngrams: int = 0

    @property
    def tokenizer(self) -> Tokenizer:
        """Whose ids the network reads."""
        return self.encoder.tokenizer

    @property
    def unit(self) -> str:
        """What has a tag, "words" or "characters"."""
        return self.form.unit

    @property
    def of_characters(self) -> bool:
        """Whether characters have the tags."""
        return self.unit == CHARACTERS

    @property
    def common(self) -> int:
        """The number of the training part's commonest tag."""
        return int(np.argmax(self.counts))

    @cached_property
    def allowed(self) -> Allowed | None:
        """Which tags may follow which; None where all may."""
        return None if self.scheme is None else allowed(self.names)

    @cached_property
    def spaces(self) -> NDArray[np.bool_]:
        """Which of the characters, by their ids, are white space."""
        tokens = self.encoder.characters.to_dict()["tokens"]
        return np.array([*(False for _ in SPECIALS), *map(str.isspace, tokens)], np.bool_)

    @cached_property
    def reading(self) -> Reading:
        """How the network reads sentences."""
        if self.of_characters:
            return Reading("steps")
        if self.tokenizer.kind == "word":
            return Reading("words")
        return Reading("characters", int(self.tokenizer.encode(" ")[0]))

    @cached_property
    def kinds(self) -> NDArray[np.int32]:
        """Of which kind each character is, by its id (`charlm.text.kinds`)."""
        return kinds_of(self.encoder.characters.to_dict()["tokens"])

    def shape(self, model: ModelConfig) -> TaggerShape:
        """Return what the network is, given its recurrent layers (UsageError where they do not go
        together)."""
        beside = {
            name: getattr(self, name) for name in ("char_hidden", "char_embedding", "ngrams", "crf")
        }
        words = self.reading.way == "words"
        return TaggerShape(model, len(self.names), words, self.encoder.characters.size, **beside)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the vocabularies and the layout, as files have it."""
        values = {name: getattr(self, name) for name in _OF_TAGS}
        return values | {"names": list(self.names), "counts": list(self.counts)}

    def metadata(self) -> dict[str, str]:
        """Return what a file says of it."""
        words, layout = self.encoder.words, self.form.layout
        vocabulary = {
            "reads": _READ[self.tokenizer.kind],
            "characters": self.encoder.characters.to_dict(),
            "words": words.to_dict() if words else None,
        }
        tags = self.to_dict() | {"layout": dataclasses.asdict(layout) if layout else None}
        return {"charlm.vocabulary": dump(vocabulary), "charlm.tags": dump(tags)}

    @classmethod
    def of_file(cls, metadata: Mapping[str, str]) -> Tags:
        """Rebuild from a file's metadata; raises DataError where anything is missing or wrong."""
        vocabulary, values = parse(metadata, "charlm.vocabulary"), parse(metadata, "charlm.tags")
        if values.keys() != {*_OF_TAGS, "layout"}:
            raise DataError(f"the tags need exactly {', '.join(_OF_TAGS)} and layout")
        layout = values.pop("layout")
        _check(values)
        unit = values.pop("unit")
        lists = {name: tuple(values[name]) for name in ("names", "counts")}
        form = Form(unit, _layout(layout, unit))
        return cls(_encoder(vocabulary, unit), form, **(values | lists))


def _encoder(vocabulary: Mapping[str, Any], unit: str) -> Encoder:
    """Return the vocabularies of a file (DataError)."""
    if vocabulary.keys() != {"reads", "characters", "words"}:
        raise DataError("the vocabulary of a tagger needs exactly reads, characters and words")
    reads, given = vocabulary["reads"], vocabulary["words"]
    characters = tokenizer_from_dict(vocabulary["characters"])
    words = None if given is None else tokenizer_from_dict(given)
    if not isinstance(characters, CharTokenizer) or not isinstance(words, WordTokenizer | None):
        raise DataError("the vocabulary of a tagger has no characters, or words that are none")
    if (words is None) != (unit == CHARACTERS) or reads not in _READ.values():
        raise DataError("the vocabulary of a tagger does not fit what has the tags")
    tokenizer = characters if reads == _READ["char"] else words
    if tokenizer is None:
        raise DataError("where characters have the tags, a tagger reads characters")
    return Encoder(tokenizer, characters, words, unit)


def _layout(values: Any, unit: str) -> Layout | None:
    """Return the layout of a file's columns (DataError)."""
    if unit == CHARACTERS:
        if values is not None:
            raise DataError("where characters have the tags, there are no columns")
        return None
    if not isinstance(values, dict) or values.keys() != _OF_LAYOUT.keys():
        raise DataError(f"the columns need exactly {', '.join(_OF_LAYOUT)}")
    columns = [values[name] for name in ("token", "tag")]
    check_facts(
        {name: value for name, value in values.items() if name not in ("token", "tag")}, _OF_LAYOUT
    )
    if not all(type(column) is int and 1 <= abs(column) <= _MOST_COLUMN for column in columns):
        raise DataError("the columns have a number that there is not")
    return Layout(**values)


def _check(values: Mapping[str, Any]) -> None:
    """Raise DataError unless what a file says of tags is possible."""
    names = values["names"]
    check_facts({name: value for name, value in values.items() if name != "counts"}, _OF_TAGS)
    if not have_counts(names, values["counts"]):
        raise DataError("the tags need two or more different names, and a count for each")
    if values["unit"] not in UNITS or values["scheme"] not in (None, *SCHEMES):
        raise DataError("the tags have a unit or a scheme that there is not")
    _check_names(names, values["unit"], values["scheme"])
    if values["max_length"] < 1 or values["ngrams"] > MOST:
        raise DataError("the tags have a length or n-grams that there are not")
    if values["char_hidden"] > _WIDEST or not 1 <= values["char_embedding"] <= _WIDEST:
        raise DataError("the tags have a width that there is not")


def _check_names(names: Sequence[str], unit: str, scheme: str | None) -> None:
    """Raise DataError for tags that no corpus could have had: one may go to somebody's terminal."""
    if unit == CHARACTERS:
        if names[0] != KEEP or not all(map(_is_character, names[1:])) or scheme is not None:
            raise DataError("the tags have a character that no text could have had")
    elif not all(map(is_label, names)):
        raise DataError("the tags have a name that no token could have had")
    elif scheme is not None and not mark_spans(names):
        raise DataError("the tags do not fit their scheme")


def _is_character(text: str) -> bool:
    return len(text) == 1 and text != "\n" and unicodedata.category(text) != "Cs"
