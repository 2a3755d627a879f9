"""What a language model knows of its text beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlm.config import CONTEXTS
from charlm.errors import DataError, UsageError
from charlm.text.batches import Context
from charlm.text.label_names import Labels
from charlm.text.sequences import KINDS, Kind
from charlm.text.tokenizers import Tokenizer, tokenizer_from_dict


@dataclass(frozen=True)
class Language:
    """What a model knows of its text: the tokenizer, what a sequence is, and what is fed at a
    start.

    A model of labelled texts has `labels`; `label` is that of the texts which it is asked about,
    None where that is not said.
    """

    tokenizer: Tokenizer
    sequences: str
    context: str
    labels: Labels | None = None
    label: str | None = None

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
        """What a text begins with: where there are labels, that of its own (UsageError where it is
        not said).
        """
        if self.labels is None:
            return self.running
        if self.label is None:
            raise UsageError(self._which_label(self.labels))
        return Context(self.tokenizer.size + self.labels.number(self.label))

    @property
    def running(self) -> Context:
        """What the texts of a corpus begin with, those apart that have labels: these say it
        themselves.
        """
        return Context.of(self.context, self.tokenizer.newline)

    def check_beginnings(self, count: int) -> None:
        """Raise DataError unless there are so many labels as a model's shape has."""
        if count != (len(self.labels.names) if self.labels else 0):
            raise DataError("the labels are not as many as the model's shape has")

    @staticmethod
    def _which_label(labels: Labels) -> str:
        some = ", ".join(labels.names[:3]) + (", ..." if len(labels.names) > 3 else "")
        return f"this model knows texts by their labels: say with --label which one ({some})"

    def to_dict(self) -> dict[str, Any]:
        """Return all but the label that was asked for, as files have it."""
        labels = {} if self.labels is None else {"labels": self.labels.to_dict()}
        return {
            "tokenizer": self.tokenizer.to_dict(),
            "sequences": self.sequences,
            "context": self.context,
            **labels,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Language:
        """Rebuild; raises DataError where anything is missing or wrong."""
        if set(values) - {"labels"} != {"tokenizer", "sequences", "context"}:
            raise DataError("the vocabulary needs exactly tokenizer, sequences and context")
        if values["sequences"] not in (*KINDS,) or values["context"] not in CONTEXTS[1:]:
            raise DataError("the vocabulary names unknown sequences or an unknown context")
        labels = Labels.from_dict(values["labels"]) if "labels" in values else None
        language = cls(
            tokenizer_from_dict(values["tokenizer"]), values["sequences"], values["context"], labels
        )
        if labels and (language.document or language.context != "sequence"):
            raise DataError("only lines and paragraphs have labels, and each begins by itself")
        if language.context == "newline" and (
            language.tokenizer.newline is None or not language.document
        ):
            raise DataError(
                "the context is newline, but the model is of lines or has no token for it"
            )
        return language
