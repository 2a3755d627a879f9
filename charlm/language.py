"""What a language model knows of its text beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlm.config import CONTEXTS
from charlm.errors import DataError
from charlm.text.batches import Context
from charlm.text.sequences import KINDS, Kind
from charlm.text.tokenizers import Tokenizer, tokenizer_from_dict


@dataclass(frozen=True)
class Language:
    """What a model knows of its text: the tokenizer, what a sequence is, and what is fed at a start."""

    tokenizer: Tokenizer
    sequences: str
    context: str

    @property
    def kind(self) -> Kind:
        """What a sequence is."""
        return KINDS[self.sequences]

    @property
    def document(self) -> bool:
        """Whether a sequence is a whole file."""
        return self.kind.document

    @property
    def start(self) -> Context:
        return Context.of(self.context, self.tokenizer.newline)

    def to_dict(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.to_dict(),
            "sequences": self.sequences,
            "context": self.context,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Language:
        """Rebuild; raises DataError where anything is missing or wrong."""
        if set(values) != {"tokenizer", "sequences", "context"}:
            raise DataError("the vocabulary needs exactly tokenizer, sequences and context")
        if values["sequences"] not in (*KINDS,) or values["context"] not in CONTEXTS[1:]:
            raise DataError("the vocabulary names unknown sequences or an unknown context")
        language = cls(
            tokenizer_from_dict(values["tokenizer"]), values["sequences"], values["context"]
        )
        if language.context == "newline" and (
            language.tokenizer.newline is None or not language.document
        ):
            raise DataError(
                "the context is newline, but the model is of lines or has no token for it"
            )
        return language
