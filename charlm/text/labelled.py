"""A corpus of labelled texts of any size: its labels, its vocabulary and its three parts.

It is read a block at a time: a survey of its lines (where do labels stand?), the labels and the
vocabulary of the training part, and the encoding. A text's part is a hash of the text alone, so
that equal texts fall into one, whatever their labels and wherever they stand.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config import MOST_LABELS, TextConfig
from charlm.errors import DataError
from charlm.text.counting import (
    NOTHING_TO_TRAIN_ON,
    CharCounter,
    WordCounter,
    count_texts,
    counter_for,
)
from charlm.text.drawing import (
    PARTS,
    empty_notes,
    gold_files,
    hash_parts,
    held_notes,
    open_parts,
    refuse_documents,
    refuse_empty,
    repeated_notes,
    text_hashes,
)
from charlm.text.duplicates import TextHashes
from charlm.text.folders import shortened
from charlm.text.labelled_part import LabelledPart, LabelledPartBuilder
from charlm.text.labels import find_form, labelled_lines
from charlm.text.reading import TextFile
from charlm.text.sequences import KINDS, LINE, Kind
from charlm.text.splitting import TEST, TRAIN, VALID
from charlm.text.surveys import content_notes
from charlm.text.tokenizers import ByteTokenizer, Tokenizer

_BLOCK = 1 << 16  # bytes read at a time: their lines are in memory together
_BLOCK_CHARACTERS, _BLOCK_LINES = 1 << 18, 1 << 13  # of texts that are encoded together
_MANY_LABELS = 20  # from which on it is odd if most stand only once


@dataclass(frozen=True)
class LabelledCorpus:
    """A tokenizer, the names of the labels and the three parts.

    `labels` says where labels stood and `reason` why; `notes` what else the user should know;
    `paths` are the files, those of directories one by one. `sequences`: what a text is.
    """

    tokenizer: Tokenizer
    names: tuple[str, ...]
    labels: str
    reason: str
    train: LabelledPart
    valid: LabelledPart
    test: LabelledPart
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()
    sequences: str = "line"

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has."""
        return self.train.tokens

    @property
    def digests(self) -> dict[str, str]:
        """What identifies the parts: digests of their ids, labels and names."""
        return {"train": self.train.digest, "valid": self.valid.digest, "test": self.test.digest}


@dataclass(frozen=True)
class _Reading:
    """How labelled files are read: where labels stand, and how texts fall into parts."""

    form: str
    encoding: str | None
    size: int
    shares: tuple[float, float] = (0.0, 0.0)
    seed: int = 0
    kind: Kind = LINE

    def blocks(
        self, files: Iterable[TextFile], known: Collection[str] | None = None
    ) -> Iterator[tuple[list[str], list[str]]]:
        """Yield labels [n] and texts [n], as many as are handled together."""
        labels, texts, characters = list[str](), list[str](), 0
        for file in files:
            lines = labelled_lines(file, self.form, self.encoding, known, self.size, self.kind)
            for label, text in lines:
                labels.append(label)
                texts.append(text)
                characters += len(text)
                if characters >= _BLOCK_CHARACTERS or len(texts) == _BLOCK_LINES:
                    yield labels, texts
                    labels, texts, characters = [], [], 0
        if texts:
            yield labels, texts

    def hashes(self, texts: Sequence[str]) -> NDArray[np.uint64]:
        """Return the hash [n] of each text and the seed."""
        return text_hashes(texts, self.seed, self.encoding is None)

    def parts(self, hashes: NDArray[np.uint64]) -> list[int]:
        """Return the part of each text by its hash [n]."""
        return hash_parts(hashes, self.shares)


def prepare_labelled(
    paths: Sequence[str | TextFile],
    config: TextConfig,
    labels: str | None = None,
    valid_files: Sequence[str | TextFile] = (),
    test_files: Sequence[str | TextFile] = (),
    tokenizer: Tokenizer | None = None,
    names: Sequence[str] | None = None,
    longest: int | None = None,
    grow: bool = False,
    block: int = _BLOCK,
) -> LabelledCorpus:
    """Read, split and encode files of labelled texts, `block` bytes at a time.

    `labels` says where labels stand, one of `LABELS`; None: where all lines have them.
    `tokenizer` and `names`, where a model has them already, are used in place of building; `grow`
    adds to both what is new in the training part. Of a text, `longest` tokens at most are kept.
    Validation and test files take the place of that share of `paths`. Raises UsageError, DataError,
    MissingInputError, StorageError.
    """
    refuse_documents(
        config.sequences, config.hold_out, "labels", "each text is a line, or a paragraph",
        ("auto", "line", "paragraph"),
    )  # fmt: skip
    of = KINDS.get(config.sequences, LINE)
    kind = tokenizer.kind if tokenizer else config.tokenizer
    encoding = None if kind == "byte" else config.encoding
    opened = open_parts((paths, valid_files, test_files), encoding, block)
    files, shares = opened.files, opened.shares(config)
    form, reason = find_form(labels, files[TRAIN], encoding, block, of)
    reading = _Reading(form, encoding, block, shares, config.split_seed, of)
    counter = counter_for(config) if grow or not tokenizer else None
    found = _count(reading, files[TRAIN], counter)
    names = _names(found, names, grow)
    tokenizer = _tokenizer(counter, tokenizer, of)
    parts, hashes = _encode_all(reading, files, tokenizer, names, longest)
    said = (
        *opened.notes,
        *content_notes(files[TRAIN], opened.surveys, kind),
        *_notes(parts, hashes, files, shares, longest),
    )
    train, valid, test = parts
    return LabelledCorpus(
        tokenizer,
        names,
        form,
        reason,
        train,
        valid,
        test,
        tuple(map(str, opened.named)),
        said,
        of.name,
    )


def labelled_part(
    paths: Sequence[str | TextFile],
    tokenizer: Tokenizer,
    names: Sequence[str],
    form: str,
    longest: int | None = None,
    encoding: str = "utf-8",
    kind: Kind = LINE,
) -> tuple[LabelledPart, tuple[str, ...]]:
    """Return the texts of gold files by a model's tokenizer and labels `names`, and notes.

    Raises DataError where there is no text, and else as `prepare_labelled`.
    """
    files, notes = gold_files(paths)
    builder = LabelledPartBuilder(tokenizer, names, longest)
    reading = _Reading(form, None if tokenizer.kind == "byte" else encoding, _BLOCK, kind=kind)
    for block in reading.blocks(files, frozenset(names)):
        builder.add(*block)
    part = builder.part()
    refuse_empty(len(part), files)
    return part, (*notes, *_unseen_notes(part, "given"), *_cut_notes([part], longest))


def gold_lines(
    paths: Sequence[str | TextFile],
    tokenizer: Tokenizer,
    names: Sequence[str],
    form: str,
    encoding: str = "utf-8",
    kind: Kind = LINE,
) -> Iterator[tuple[str, str]]:
    """Yield the label and the text, as read, of each text of a `labelled_part` in its order.

    What can be read only once must be open already, or it would be gone.
    """
    as_bytes = tokenizer.kind == "byte"
    for file in gold_files(paths)[0]:
        code = None if as_bytes else encoding
        lines = labelled_lines(file, form, code, frozenset(names), kind=kind)
        for label, text in lines:
            data = text.encode("latin-1") if as_bytes else text.encode("utf-8", "surrogatepass")
            yield label, data.decode("utf-8", "surrogateescape" if as_bytes else "surrogatepass")


# --- labels and vocabulary of the training part ---------------------------------------------------


def _count(
    reading: _Reading, files: Sequence[TextFile], counter: CharCounter | WordCounter | None
) -> Counter[str]:
    """Return how many texts of the training part have each label; `counter` counts their tokens."""
    found = Counter[str]()
    for labels, texts in reading.blocks(files):
        chosen = [part == TRAIN for part in reading.parts(reading.hashes(texts))]
        found.update(itertools.compress(labels, chosen))
        if len(found) > MOST_LABELS:
            taken = f"labels {reading.form} took them"
            raise DataError(f"more than {MOST_LABELS:,} different labels: {taken}; see --labels")
        count_texts(counter, itertools.compress(texts, chosen))
    return found


def _names(found: Counter[str], known: Sequence[str] | None, grow: bool) -> tuple[str, ...]:
    """Return the names of labels: a model's first, then the training part's by code point."""
    if not found:
        raise DataError(NOTHING_TO_TRAIN_ON)
    new = sorted(found.keys() - set(known or ()))
    if known is not None and new and not grow:
        raise DataError(
            f"the model has {len(known):,} labels and not {shortened(list(map(repr, new)))}"
        )
    names = (*(known or ()), *new)
    if len(names) < 2:
        count = found.total()
        texts = "the only text is" if count == 1 else f"all {count:,} texts are"
        raise DataError(f"there must be two labels or more: {texts} `{names[0]}`")
    return names


def _tokenizer(
    counter: CharCounter | WordCounter | None, known: Tokenizer | None, kind: Kind
) -> Tokenizer:
    if counter is None:
        return known or ByteTokenizer()
    return counter.tokenizer(kind.newline, known.to_dict()["tokens"] if known else ())


# --- texts on disk --------------------------------------------------------------------------------


def _encode_all(
    reading: _Reading, files: Sequence[Sequence[TextFile]], tokenizer: Tokenizer,
    names: Sequence[str], longest: int | None,
) -> tuple[list[LabelledPart], list[TextHashes]]:  # fmt: skip
    builders = [LabelledPartBuilder(tokenizer, names, longest) for _ in files]
    hashes = [TextHashes() for _ in files]
    for labels, texts in reading.blocks(files[TRAIN]):
        of_texts = reading.hashes(texts)
        parts = np.array(reading.parts(of_texts), np.int8)
        for part in np.unique(parts).tolist():
            chosen = parts == part
            some = (list(itertools.compress(column, chosen.tolist())) for column in (labels, texts))
            hashes[part].add(of_texts[chosen], builders[part].add(*some))
    for part in (VALID, TEST):
        for labels, texts in reading.blocks(files[part], frozenset(names)):
            hashes[part].add(reading.hashes(texts), builders[part].add(labels, texts))
    whole = [builder.part() for builder in builders]
    for part in (VALID, TEST):
        if files[part]:
            refuse_empty(len(whole[part]), files[part])
    if whole[TRAIN].tokens == len(whole[TRAIN]):
        raise DataError(NOTHING_TO_TRAIN_ON)
    return whole, hashes


# --- what the user should know --------------------------------------------------------------------


def _notes(
    parts: Sequence[LabelledPart], hashes: Sequence[TextHashes],
    files: Sequence[Sequence[TextFile]], shares: tuple[float, float], longest: int | None,
) -> Iterator[str]:  # fmt: skip
    train, valid, _ = parts
    once = int(np.count_nonzero(train.counts == 1))
    if len(train.names) > _MANY_LABELS and 2 * once > len(train.names):
        count = f"{once:,} of {len(train.names):,} labels stand only once"
        yield f"{count}: is that what --labels should take for a label?"
    yield from empty_notes(len(train), len(valid), shares[0], "texts")
    yield from repeated_notes(hashes, files)
    for number in (VALID, TEST):
        yield from held_notes(hashes, files, number)
        yield from _unseen_notes(parts[number], PARTS[number])
    yield from _cut_notes(parts, longest)


def _unseen_notes(part: LabelledPart, name: str) -> Iterator[str]:
    if part.unseen:
        have = "text has a label" if part.unseen == 1 else "texts have labels"
        names = shortened(list(part.unseen_names))
        yield f"{part.unseen:,} {name} {have} that training has not, which count as wrong: {names}"


def _cut_notes(parts: Sequence[LabelledPart], longest: int | None) -> Iterator[str]:
    if cut := sum(part.cut for part in parts):
        verb = "is" if cut == 1 else "are"
        count = f"{cut:,} of {sum(map(len, parts)):,} texts"
        yield f"{count} {verb} longer than {longest:,} tokens and {verb} cut there"
