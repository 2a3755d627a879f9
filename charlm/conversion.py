"""What a converter knows beside its weights: how sources and targets become tokens, and how long a
target may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charlm.config import ModelConfig
from charlm.errors import DataError
from charlm.facts import check_facts
from charlm.model_files import dump, parse
from charlm.nn.converter import ConverterShape
from charlm.text.spelling import BETWEEN, JoinedWords, joined
from charlm.text.tokenizers import Tokenizer, tokenizer_from_dict

_SPARE = 10  # tokens that a target may be longer than training would have it
_MOST = 1 << 20  # tokens of a text
_FIELDS = {
    "attention": bool, "per_token": float, "excess": int, "max_length": int, "between": str | None,
}  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """What a converter knows beside its weights.

    source, target: the tokenizers of both sides. attention: whether each step of a target looks at
    all of its source. per_token, excess: no target of the training part had more than
    per_token * n + excess tokens, n being those of its source; per_token is the mean. max_length:
    the tokens of a source that are read, and what a target has at most.
    """

    source: Tokenizer
    target: Tokenizer
    attention: bool = True
    per_token: float = 1.0
    excess: int = 0
    max_length: int = 1000

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the targets, whose ids the network predicts."""
        return self.target

    @property
    def between(self) -> str | None:
        """What stands between any two words of a target, None where that is not one and the
        same."""
        return self.target.between if isinstance(self.target, JoinedWords) else None

    @property
    def reading(self) -> str:
        """What is read and what is written, in words."""
        names = {"char": "characters", "byte": "bytes", "word": "words"}
        return f"{names[self.source.kind]} to {names[self.target.kind]}"

    def limit(self, source_tokens: int) -> int:
        """Return how many tokens a target may have, given those of its source, EOS not counted.

        Every pair of the training part is within it, with ten tokens to spare. However long the
        source is, there is an end: training left out what is longer than `max_length`.
        """
        longest = math.ceil(self.per_token * source_tokens) + self.excess
        return min(longest, self.max_length) + _SPARE

    def shape(self, model: ModelConfig) -> ConverterShape:
        """Return what the network is: both halves have the sizes of `model`, the encoder its
        direction."""
        encoder = replace(
            model, vocab_size=self.source.size, tie=False, head_layers=0, head_hidden=None
        )
        return ConverterShape(encoder, replace(model, bidirectional=False), self.attention)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the vocabularies, as files have it."""
        return {name: getattr(self, name) for name in _FIELDS}

    def metadata(self) -> dict[str, str]:
        """Return what a file says of it."""
        vocabulary = {"source": self.source.to_dict(), "target": self.target.to_dict()}
        return {"charlm.vocabulary": dump(vocabulary), "charlm.conversion": dump(self.to_dict())}

    @classmethod
    def of_file(cls, metadata: Mapping[str, str]) -> Conversion:
        """Rebuild from a file's metadata; raises DataError where anything is missing or wrong."""
        vocabulary = parse(metadata, "charlm.vocabulary")
        values = parse(metadata, "charlm.conversion")
        if vocabulary.keys() != {"source", "target"}:
            raise DataError("the vocabulary of a converter needs exactly source and target")
        if values.keys() != _FIELDS.keys():
            raise DataError(f"the conversion needs exactly {', '.join(_FIELDS)}")
        check_facts(values, _FIELDS)
        between, longest = values.pop("between"), values["max_length"]
        if not 0 <= values["per_token"] <= _MOST or values["excess"] > _MOST:
            raise DataError("the conversion has a length of targets that there is not")
        if not 1 <= longest <= _MOST:
            raise DataError("the conversion has a length of sources that there is not")
        source, target = (tokenizer_from_dict(vocabulary[side]) for side in ("source", "target"))
        if between not in (None, *BETWEEN) or (between is not None and target.kind != "word"):
            raise DataError("the conversion has something between words that there is not")
        values["per_token"] = float(values["per_token"])
        return cls(source, joined(target, between), **values)
