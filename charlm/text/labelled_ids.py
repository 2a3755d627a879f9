"""Labelled texts as a language model reads them: end to end, each begun with an input that stands
for its label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Ids
from charlm.text.labelled import LabelledCorpus
from charlm.text.labelled_part import LabelledPart
from charlm.text.parts import Part, PartBuilder
from charlm.text.tokenizers import EOS, Tokenizer

_TEXTS = 1 << 12  # handled together


@dataclass(frozen=True)
class LabelledIds:
    """Implements `charlm.text.batches.Begun`: the ids of texts, an EOS after each, on disk.

    A text whose label is number k begins with the input `vocabulary` + k. `first_inputs` has that
    of its text for every id, so that one can begin to read anywhere. `left_out`: texts whose label
    the model has not.
    """

    ids: Part
    first_inputs: Part
    left_out: int = 0

    @staticmethod
    def of(part: LabelledPart, vocabulary: int) -> LabelledIds:
        """Return the texts of a part without those whose label the model has not: nothing stands
        for it."""
        firsts, kept = PartBuilder(vocabulary + len(part.names)), PartBuilder(vocabulary)
        for numbers in _blocks(len(part)):
            labels, texts = part.labels(numbers), part.texts(numbers)
            for label, ids in zip(labels.tolist(), texts, strict=True):
                if label >= 0:
                    firsts.append(np.full(len(ids) + 1, vocabulary + label, np.int32), 0)
                    if part.unseen:  # and the text is no more than its ids, as nobody else reads it
                        kept.append(np.append(ids, np.int32(EOS)), len(ids), ids.tobytes())
        return LabelledIds(kept.part() if part.unseen else part.ids, firsts.part(), part.unseen)

    @staticmethod
    def in_memory(ids: Ids, first_inputs: Ids) -> LabelledIds:
        """Keep ids [n], an EOS after each text, and what is fed where the text of each begins,
        [n]."""
        return LabelledIds(Part.from_ids(ids), Part.from_ids(first_inputs))

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, count: int) -> Ids:
        """Return ids [count] from `start` on."""
        return self.ids.read(start, count)

    def firsts(self, start: int, count: int) -> Ids:
        """Return for each of `count` ids from `start` on what is fed where its text begins,
        [count]."""
        return self.first_inputs.read(start, count)

    @property
    def sequences(self) -> int:
        """How many texts there are."""
        return self.ids.sequences

    @property
    def characters(self) -> int:
        """How many characters they have."""
        return self.ids.characters

    @property
    def text_digest(self) -> str:
        """The digest of labels and texts as read, the same for every tokenizer."""
        return self.ids.text_digest

    @property
    def unknown(self) -> int:
        """How many ids are UNK."""
        return self.ids.unknown


@dataclass(frozen=True)
class ConditionalCorpus:
    """A labelled corpus with its parts as a language model reads them
    (`charlm.text.corpus.Corpus`)."""

    labelled: LabelledCorpus
    train: LabelledIds
    valid: LabelledIds
    test: LabelledIds
    hold_out: str = "parts"

    @staticmethod
    def of(corpus: LabelledCorpus) -> ConditionalCorpus:
        """Return a corpus whose texts begin with their labels."""
        size = corpus.tokenizer.size
        train, valid, test = (
            LabelledIds.of(p, size) for p in (corpus.train, corpus.valid, corpus.test)
        )
        return ConditionalCorpus(corpus, train, valid, test)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.labelled.tokenizer

    @property
    def sequences(self) -> str:
        """What a text is."""
        return self.labelled.sequences

    @property
    def reason(self) -> str:
        """Where labels stood, and why they were taken to stand there."""
        return self.labelled.reason

    @property
    def paths(self) -> tuple[str, ...]:
        return self.labelled.paths

    @property
    def notes(self) -> tuple[str, ...]:
        return self.labelled.notes

    @property
    def digests(self) -> dict[str, str]:
        return self.labelled.digests

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has."""
        return len(self.train)


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    return (np.arange(start, min(start + _TEXTS, count)) for start in range(0, count, _TEXTS))
