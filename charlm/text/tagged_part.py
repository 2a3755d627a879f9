"""Tagged sentences as numbers, in memory or on disk, read sentence by sentence in any order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Ids
from charlm.text.parts import gather
from charlm.text.reading import Scratch
from charlm.text.tokenizers import UNK

_ROW = np.dtype(
    [("token", np.int64), ("count", np.int32), ("character", np.int64), ("size", np.int32)]
)
_PLACE = np.dtype([("word", np.int32), ("length", np.int32), ("tag", np.int32)])  # of a token
_MOST_UNSEEN = 1000  # different tags that are told apart
_HELD = 1 << 16  # tokens and characters that are written together


@dataclass(frozen=True, eq=False)
class TaggedText:
    """A sentence of n tokens, which are words, or where characters are tagged, characters.

    words: ids of the tokens, [n]. characters: ids of the tokens' characters, end to end and with
    nothing between them, [c]. lengths: how many characters each token has, [n], 1 for a tagged
    character. tags: their numbers [n], -1 where there is none or training has none such.
    """

    words: Ids
    characters: Ids
    lengths: NDArray[np.int64]
    tags: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where among the characters each token begins, and where the last ends, [n + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])


Piece = tuple[TaggedText, Sequence[str]]  # with the names of its tags


class TaggedTexts(Protocol):
    """Tagged sentences by their numbers from 0 on."""

    def __len__(self) -> int: ...

    @property
    def tokens(self) -> int:
        """How many tokens all sentences have together."""

    def sentences(self, numbers: NDArray[np.int64]) -> list[TaggedText]:
        """Return some sentences."""

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens, and how many characters of tokens, some sentences have, [k,
        2]."""


class TaggedList:
    """Tagged sentences in memory."""

    def __init__(self, texts: Sequence[TaggedText]) -> None:
        self._texts = texts
        sizes = [(len(text), len(text.characters)) for text in texts]
        self._sizes = np.array(sizes, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def tokens(self) -> int:
        """How many tokens all sentences have together."""
        return int(self._sizes[:, 0].sum())

    def sentences(self, numbers: NDArray[np.int64]) -> list[TaggedText]:
        """Return some sentences."""
        return [self._texts[number] for number in numbers.tolist()]

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens, and how many characters of tokens, some sentences have, [k,
        2]."""
        return self._sizes[numbers]


@dataclass(frozen=True, eq=False)
class TaggedPart:
    """One part of a tagged corpus, in an unlinked temporary file: its sentences, long ones in
    pieces.

    names: the tags, [L]. counts: tokens by tag, [L]. unseen: tokens whose tag is none of them,
    `unseen_names` how many by tag (of the first thousand, in the order in which they came). tokens,
    characters: of all sentences together; unknown: tokens that are UNK. whole: how many sentences
    were read, `cut` how many of them are in pieces. `digest` identifies ids, tags and names,
    `text_digest` tokens and tags as read, the same for every vocabulary.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    unseen: int
    unseen_names: Mapping[str, int]
    tokens: int
    characters: int
    unknown: int
    whole: int
    cut: int
    digest: str
    text_digest: str
    _length: int
    _files: tuple[Scratch, Scratch, Scratch]  # rows, places, characters

    def __len__(self) -> int:
        return self._length

    def sentences(self, numbers: NDArray[np.int64]) -> list[TaggedText]:
        """Return some sentences."""
        rows = self._rows(numbers)
        places = self._places(rows)
        ids = gather(
            self._files[2], np.dtype(np.int32), rows["character"], rows["size"].astype(np.int64)
        )
        tags = np.where(places["tag"] < len(self.names), places["tag"], -1).astype(np.int32)
        words, lengths = places["word"].copy(), places["length"].astype(np.int64)
        texts, token, character = [], 0, 0
        for count, size in zip(rows["count"].tolist(), rows["size"].tolist(), strict=True):
            some, of_some = slice(token, token + count), slice(character, character + size)
            texts.append(TaggedText(words[some], ids[of_some], lengths[some], tags[some]))
            token, character = some.stop, of_some.stop
        return texts

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens, and how many characters of tokens, some sentences have, [k,
        2]."""
        rows = self._rows(numbers)
        return np.stack([rows["count"], rows["size"]], axis=1).astype(np.int64)

    def gold(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the tags of some sentences end to end, as `charlm.tag_metrics.tag_tally` has them.

        Where training has none such it is L + m for the mth of `unseen_names`, and -1 beyond these.
        """
        tags: NDArray[np.int32] = self._places(self._rows(numbers))["tag"].copy()
        return tags

    def _rows(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        return gather(self._files[0], _ROW, numbers, np.ones_like(numbers))

    def _places(self, rows: NDArray[Any]) -> NDArray[Any]:
        return gather(self._files[1], _PLACE, rows["token"], rows["count"].astype(np.int64))


class TaggedPartBuilder:
    """Writes a part, sentence by sentence."""

    def __init__(self, names: Sequence[str]) -> None:
        """Prepare; `names` are the tags, in the order of their numbers."""
        self._names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(names)}
        self._files = (Scratch(), Scratch(), Scratch())
        self._held: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
        self._waiting = 0  # tokens and characters that are held
        self._counts = np.zeros(len(names), np.int64)
        self._unseen_names: dict[str, int] = {}
        self._unseen_numbers: dict[str, int] = {}
        self._length = self._tokens = self._characters = self._unknown = self._unseen = 0
        self._whole = self._cut = 0
        self._digests = tuple(hashlib.sha256() for _ in self._files)
        self._text_digest = hashlib.sha256()

    def add(self, pieces: Sequence[Piece], read: bytes) -> None:
        """Add a sentence in pieces, mostly one, each with the names of its tags; `read` is what the
        file said."""
        self._whole += 1
        self._cut += len(pieces) > 1
        self._text_digest.update(read)
        for text, tags in pieces:
            self._add(text, tags)
        if self._waiting >= _HELD:
            self._write()

    def part(self) -> TaggedPart:
        """Return the whole, to be read."""
        self._write()
        counted = (
            self._counts,
            self._unseen,
            dict(self._unseen_names),
            self._tokens,
            self._characters,
        )
        sentences = (self._unknown, self._whole, self._cut)
        digest = hashlib.sha256(json.dumps(self._names).encode())
        for of_file in self._digests:
            digest.update(of_file.digest())
        digests = (digest.hexdigest(), self._text_digest.hexdigest())
        return TaggedPart(self._names, *counted, *sentences, *digests, self._length, self._files)

    def _add(self, text: TaggedText, tags: Sequence[str]) -> None:
        places = np.empty(len(text), _PLACE)
        places["word"], places["length"] = text.words, text.lengths
        places["tag"] = np.fromiter(map(self._number, tags), np.int32, len(text))
        row = np.array((self._tokens, len(text), self._characters, len(text.characters)), _ROW)
        ids = text.characters.astype(np.int32, copy=False)
        for held, array in zip(self._held, (row, places, ids), strict=True):
            held.append(array.tobytes())
        known = places["tag"][(places["tag"] >= 0) & (places["tag"] < len(self._names))]
        self._counts += np.bincount(known, minlength=len(self._names))
        self._length += 1
        self._tokens += len(text)
        self._characters += len(ids)
        self._unknown += int(np.count_nonzero(text.words == UNK))
        self._waiting += len(text) + len(ids)

    def _number(self, tag: str) -> int:
        number = self._numbers.get(tag)
        if number is not None:
            return number
        self._unseen += 1
        if tag not in self._unseen_names and len(self._unseen_names) == _MOST_UNSEEN:
            return -1
        self._unseen_names[tag] = self._unseen_names.get(tag, 0) + 1
        return self._unseen_numbers.setdefault(tag, len(self._names) + len(self._unseen_numbers))

    def _write(self) -> None:
        for file, held, digest in zip(self._files, self._held, self._digests, strict=True):
            data = b"".join(held)
            file.write(data)
            digest.update(data)
            held.clear()
        self._waiting = 0
