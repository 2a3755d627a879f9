"""Labelled texts on disk: the token ids of one part of a corpus, read text by text in any order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Ids
from charlm.text.parts import Part, PartBuilder, gather
from charlm.text.reading import Scratch
from charlm.text.tokenizers import EOS, Tokenizer

_ROW = np.dtype(
    [("start", np.int64), ("length", np.int32), ("label", np.int32)]
)  # of ids, EOS not counted
_MOST_UNSEEN = 1000  # different labels that are counted by name


@dataclass(frozen=True, eq=False)
class LabelledPart:
    """Texts by their numbers, each with a label's number: its place among `names`, -1 where it is
    none of them.

    `counts` [L]: texts by label. `unseen`: texts whose label is none, `unseen_names` how many by
    label (of the first thousand). `cut`: texts that had more than the longest number of ids, of
    which only so many were kept. `ids`: all ids end to end, an EOS after each text. `digest`
    identifies ids, labels and names, `text_digest` the labels and texts as read, the same for every
    tokenizer.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    unseen: int
    unseen_names: Mapping[str, int]
    cut: int
    ids: Part
    digest: str
    text_digest: str
    _index: Scratch  # a row for each text

    def __len__(self) -> int:
        return self.ids.sequences

    @property
    def tokens(self) -> int:
        """How many ids a reading of all texts takes, an EOS for each."""
        return len(self.ids)

    @property
    def unknown(self) -> int:
        """How many ids are UNK."""
        return self.ids.unknown

    def texts(self, numbers: NDArray[np.int64]) -> list[Ids]:
        """Return the ids of some texts, without EOS."""
        rows = self._rows(numbers)
        lengths = rows["length"].astype(np.int64)
        ids = self.ids.gather(rows["start"], lengths)
        after = np.cumsum(lengths).tolist()
        return [ids[start:end] for start, end in zip([0, *after], after, strict=False)]

    def lengths(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many ids some texts have, without EOS, [n]."""
        return self._rows(numbers)["length"].astype(np.int64)

    def labels(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the labels of some texts, [n]."""
        labels: NDArray[np.int32] = self._rows(numbers)["label"]
        return labels

    def _rows(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        return gather(self._index, _ROW, numbers, np.ones_like(numbers))


class LabelledPartBuilder:
    """Writes a part, some texts at a time."""

    def __init__(self, tokenizer: Tokenizer, names: Sequence[str], longest: int | None) -> None:
        """Prepare; of a text, `longest` ids at most are kept."""
        self._tokenizer, self._names, self._longest = tokenizer, tuple(names), longest
        self._numbers = {name: number for number, name in enumerate(names)}
        self._ids, self._index = PartBuilder(tokenizer.size), Scratch()
        self._counts = np.zeros(len(names), np.int64)
        self._unseen, self._unseen_names = 0, Counter[str]()
        self._length = self._cut = 0
        self._digest = hashlib.sha256(json.dumps(self._names).encode())

    def add(self, labels: Sequence[str], texts: Sequence[str]) -> NDArray[np.int32]:
        """Add texts (of bytes, in Latin-1) and return the numbers [n] of their labels."""
        numbers = np.fromiter(
            (self._numbers.get(label, -1) for label in labels), np.int32, len(labels)
        )
        self._count(labels, numbers)
        ids, lengths = encode_texts(self._tokenizer, texts)
        if self._longest is not None and lengths.max(initial=0) > self._longest + 1:
            ids, lengths = self._shortened(ids, lengths)
        read = zip(labels, texts, strict=True)
        data = b"".join(
            label.encode() + b"\t" + _bytes(text, self._tokenizer) + b"\n" for label, text in read
        )
        self._ids.append(ids, sum(map(len, texts)), data)
        rows = np.empty(len(texts), _ROW)
        rows["start"] = self._length + np.cumsum(lengths) - lengths
        rows["length"], rows["label"] = lengths - 1, numbers
        self._index.write(rows.tobytes())
        self._digest.update(numbers.astype("<i4", copy=False).data)
        self._length += len(ids)
        return numbers

    def part(self) -> LabelledPart:
        """Return the whole, to be read."""
        ids = self._ids.part()
        digest = self._digest.copy()
        digest.update(ids.digest.encode())
        counted = (self._counts, self._unseen, dict(self._unseen_names.most_common()), self._cut)
        digests = (digest.hexdigest(), ids.text_digest)
        return LabelledPart(self._names, *counted, ids, *digests, self._index)

    def _count(self, labels: Sequence[str], numbers: NDArray[np.int32]) -> None:
        self._counts += np.bincount(numbers[numbers >= 0], minlength=len(self._names))
        for place in np.flatnonzero(numbers < 0).tolist():
            self._unseen += 1
            if len(self._unseen_names) < _MOST_UNSEEN or labels[place] in self._unseen_names:
                self._unseen_names[labels[place]] += 1

    def _shortened(self, ids: Ids, lengths: NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64]]:
        """Return ids and lengths of texts of which the first `longest` ids, and EOS, are left."""
        assert self._longest is not None
        step = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self._cut += int(np.count_nonzero(lengths > self._longest + 1))
        return ids[(step < self._longest) | (ids == EOS)], np.minimum(lengths, self._longest + 1)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
    """Return the ids of texts end to end, an EOS after each, and how many each has, [n]; of bytes,
    they are in Latin-1.

    Each is encoded as it is by itself, which a pattern of words would not do where the next line is
    in sight; a newline inside a text is a token.
    """
    if tokenizer.kind == "word" or any("\n" in text for text in texts):
        end = np.array([EOS], np.int32)
        raw = tokenizer.kind == "byte"
        encoded = (tokenizer.encode(_bytes(text, tokenizer) if raw else text) for text in texts)
        pieces = [piece for ids in encoded for piece in (ids, end)]
        ids = np.concatenate(pieces or [end[:0]])
        return ids, np.fromiter(map(len, pieces[::2]), np.int64, len(texts)) + 1
    lines = "".join(f"{text}\n" for text in texts)
    ids = tokenizer.encode_lines(_bytes(lines, tokenizer) if tokenizer.kind == "byte" else lines)
    return ids, np.diff(np.flatnonzero(ids == EOS), prepend=-1)


def _bytes(text: str, tokenizer: Tokenizer) -> bytes:
    return (
        text.encode("latin-1")
        if tokenizer.kind == "byte"
        else text.encode("utf-8", "surrogatepass")
    )
