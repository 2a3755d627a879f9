"""A corpus of tagged sentences of any size: its tags, its vocabularies and its three parts.

It is read a block at a time: a survey (what are its lines?), the tags and vocabularies of the
training part, and the encoding. A sentence's part is a hash of its tokens alone, so that equal ones
fall into one, whatever their tags and wherever they stand.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from charlm.bio import Pair, iob2, mark_spans, scheme_note, scheme_of, tag_pairs, to_iob2
from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.character_tags import KEEP
from charlm.text.columns import Layout, Sentence
from charlm.text.counting import NOTHING_TO_TRAIN_ON
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
from charlm.text.duplicates import Called, TextHashes
from charlm.text.folders import shortened
from charlm.text.reading import TextFile
from charlm.text.splitting import TEST, TRAIN, VALID
from charlm.text.surveys import content_notes
from charlm.text.tag_forms import CHARACTERS, Form, find_form
from charlm.text.tagged_encoder import Encoder, Vocabularies, piece_of
from charlm.text.tagged_part import Piece, TaggedPart, TaggedPartBuilder
from charlm.text.tokenizers import CharTokenizer, Tokenizer
from charlm.text.windows import in_windows

_BLOCK = 1 << 16  # bytes read at a time: their lines are in memory together
_BLOCK_TOKENS, _BLOCK_SENTENCES = 1 << 16, 1 << 12  # that are encoded together
_MOST_TAGS = 1 << 16  # different ones; more are no tags
_MANY_TAGS = 20  # from which on it is odd if most stand only once
_CALLED = Called("sentence", "sentences", "with different tags", "the tags too")
_LINES = Called("line", "lines", "with different targets", "the target too")


@dataclass(frozen=True)
class TaggedCorpus:
    """Vocabularies, the names of the tags and the three parts.

    names: in the order of their numbers, those of spans in IOB2; of characters the first is "",
    which keeps the source's. scheme: in which the files have spans, None where tags mark none.
    `reason` says what the files hold and why, `notes` what else the user should know; `paths` are
    the files, those of directories one by one.
    """

    encoder: Encoder
    names: tuple[str, ...]
    form: Form
    scheme: str | None
    reason: str
    train: TaggedPart
    valid: TaggedPart
    test: TaggedPart
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def tokenizer(self) -> Tokenizer:
        """Whose ids are the network's input: of whole tokens, or of characters."""
        return self.encoder.tokenizer

    @property
    def characters(self) -> CharTokenizer:
        """The characters of the training part."""
        return self.encoder.characters

    @property
    def unit(self) -> str:
        """What is tagged, "words" or "characters"."""
        return self.form.unit

    @property
    def layout(self) -> Layout | None:
        """How columns part, None where characters are tagged."""
        return self.form.layout

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has."""
        return self.train.tokens

    @property
    def digests(self) -> dict[str, str]:
        """What identifies the parts: digests of their ids, tags and names."""
        return {"train": self.train.digest, "valid": self.valid.digest, "test": self.test.digest}


@dataclass(frozen=True)
class _Reading:
    """How files of tags are read, and how their sentences fall into parts."""

    form: Form
    encoding: str
    size: int
    shares: tuple[float, float] = (0.0, 0.0)
    seed: int = 0

    def blocks(self, files: Iterable[TextFile]) -> Iterator[list[Sentence]]:
        """Yield sentences, as many as are handled together."""
        every = (
            sentence
            for file in files
            for sentence in self.form.sentences(file, self.encoding, self.size)
        )
        return in_windows(
            every,
            size_of=lambda sentence: len(sentence.tokens),
            most=_BLOCK_SENTENCES,
            total=_BLOCK_TOKENS,
        )

    def hashes(self, sentences: Sequence[Sentence]) -> NDArray[np.uint64]:
        """Return the hash [n] of the tokens of each sentence and the seed."""
        between = "" if self.form.unit == CHARACTERS else " "
        return text_hashes([between.join(each.tokens) for each in sentences], self.seed)

    def parts(self, hashes: NDArray[np.uint64]) -> list[int]:
        """Return the part of each sentence by its hash [n]."""
        return hash_parts(hashes, self.shares)


def prepare_tagged(
    paths: Sequence[str | TextFile],
    config: TextConfig,
    tags: str | None = None,
    token_column: int | None = None,
    column: int | None = None,
    valid_files: Sequence[str | TextFile] = (),
    test_files: Sequence[str | TextFile] = (),
    encoder: Encoder | None = None,
    names: Sequence[str] | None = None,
    tokenizer: Tokenizer | None = None,
    grow: bool = False,
    longest: int | None = None,
    lower_words: bool = False,
    block: int = _BLOCK,
) -> TaggedCorpus:
    """Read, split and encode files of tagged sentences, `block` bytes at a time.

    `tags`, `token_column` and `column` are those of `charlm.text.tag_forms.find_form`. `encoder`
    and `names`, where a model has them, are used in place of building. `tokenizer` is that of a
    model of another kind, whose tokens come first where it may `grow`, and else are all. Words are
    read as whole tokens, or by characters with the configuration's tokenizer `char`; characters
    that are tagged always so. With `lower_words` words that are read whole are lowercased, if there
    is no `tokenizer`, and their characters are not. Sentences of more than `longest` steps are cut
    into pieces, between which no span goes on. Validation and test files take the place of that
    share of `paths`. Raises UsageError, DataError, MissingInputError, StorageError.
    """
    _check(config)
    encoding = config.encoding
    opened = open_parts((paths, valid_files, test_files), encoding, block)
    files, shares = opened.files, opened.shares(config)
    form, reason = find_form(files[TRAIN], encoding, tags, token_column, column, block)
    reading = _Reading(form, encoding, block, shares, config.split_seed)
    if lower_words and not tokenizer and form.unit != CHARACTERS:
        config = replace(config, lowercase=True)
    vocabularies = None if encoder else Vocabularies(form.unit, config, tokenizer, grow)
    counts = _count(reading, files[TRAIN], vocabularies)
    names = tuple(names) if names is not None else counts.names(form.unit)
    encoder = vocabularies.encoder() if vocabularies else encoder
    assert encoder is not None
    pieces = _Pieces(encoder, counts.scheme, longest)
    parts, hashes = _encode_all(reading, files, pieces, names)
    said = (
        *([scheme_note(counts.pairs)] if counts.scheme else []),
        *opened.notes,
        *content_notes(files[TRAIN], opened.surveys, "char"),
        *_notes(parts, hashes, files, reading, pieces),
    )
    train, valid, test = parts
    where = tuple(map(str, opened.named))
    return TaggedCorpus(
        encoder, names, form, counts.scheme, reason, train, valid, test, where, said
    )


def gold_sentences(
    paths: Sequence[str | TextFile], form: Form, encoding: str = "utf-8"
) -> Iterator[Sentence]:
    """Yield the sentences of gold files, tags as read (errors as `prepare_tagged`).

    What can be read only once must be open already, or it would be gone.
    """
    files, _ = gold_files(paths)
    found = 0
    for file in files:
        for sentence in form.sentences(file, encoding):
            found += 1
            yield sentence
    refuse_empty(found, files)


def _check(config: TextConfig) -> None:
    refuse_documents(config.sequences, config.hold_out, "tags", "each sentence is for itself")
    if config.tokenizer == "byte":
        raise UsageError("tokenizer byte does not go with tags: use word or char")
    if config.word_pattern is not None or not config.punctuation:
        raise UsageError(
            "word-pattern and no-punctuation do not go with tags: the columns say what a word is"
        )


# --- tags and vocabularies of the training part ---------------------------------------------------


@dataclass
class _Counts:
    """What tags the files have: in all of them how often each stands after which, while they may
    mark spans; in the training part which there are, and which in IOB2."""

    pairs: Counter[Pair] = field(default_factory=Counter)
    trained: Counter[Pair] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    marks: bool = True

    @property
    def scheme(self) -> str | None:
        """The scheme that the tags are in; None where they mark no spans."""
        return scheme_of(self.pairs) if self.marks else None

    def add(self, sentences: Sequence[Sentence], chosen: Sequence[bool]) -> None:
        """Take sentences and which of them are to be trained on (DataError)."""
        for sentence, training in zip(sentences, chosen, strict=True):
            self.sentences += training
            if training:
                self.tags.update(sentence.tags)
            if self.marks:
                pairs = list(tag_pairs(sentence.tags))
                self.pairs.update(pairs)
                self.trained.update(pairs if training else ())
        self.marks = self.marks and mark_spans({*(tag for _, tag in self.pairs), "B-"})
        if len(self.tags) > _MOST_TAGS:
            raise DataError(
                f"more than {_MOST_TAGS:,} different tags: is that the tags' column? (--column)"
            )

    def names(self, unit: str) -> tuple[str, ...]:
        """Return the names of the tags by code point, in IOB2 where they mark spans (DataError)."""
        if not self.sentences:
            raise DataError(NOTHING_TO_TRAIN_ON)
        names = {iob2(*pair) for pair in self.trained} if self.scheme else set(self.tags)
        if unit == CHARACTERS:
            names.add(KEEP)
        if len(names) < 2:
            if unit == CHARACTERS:
                raise DataError("source and target are the same in every line: nothing is to learn")
            only = f"all {self.tags.total():,} tokens have `{min(names)}`"
            raise DataError(f"a tagger needs two tags or more: {only} (is that --column?)")
        return tuple(sorted(names))


def _count(
    reading: _Reading, files: Sequence[TextFile], vocabularies: Vocabularies | None
) -> _Counts:
    counts = _Counts(marks=reading.form.unit != CHARACTERS)
    for sentences in reading.blocks(files):
        chosen = [part == TRAIN for part in reading.parts(reading.hashes(sentences))]
        counts.add(sentences, chosen)
        if vocabularies:
            vocabularies.add([s.tokens for s in itertools.compress(sentences, chosen)])
    return counts


# --- sentences on disk ----------------------------------------------------------------------------


def _encode_all(
    reading: _Reading,
    files: Sequence[Sequence[TextFile]],
    pieces: _Pieces,
    names: Sequence[str],
) -> tuple[list[TaggedPart], list[TextHashes]]:
    builders = [TaggedPartBuilder(names) for _ in files]
    hashes = [TextHashes() for _ in files]
    for number, some in enumerate(files):
        for sentences in reading.blocks(some):
            of_sentences = reading.hashes(sentences)
            parts = reading.parts(of_sentences) if number == TRAIN else [number] * len(sentences)
            for sentence, part in zip(sentences, parts, strict=True):
                builders[part].add(*pieces(sentence))
            marks = np.array([_mark(sentence) for sentence in sentences], np.int32)
            for part in set(parts):
                chosen = np.array(parts) == part
                hashes[part].add(of_sentences[chosen], marks[chosen])
    whole = [builder.part() for builder in builders]
    for number in (VALID, TEST):
        if files[number]:
            refuse_empty(len(whole[number]), files[number])
    if not whole[TRAIN].tokens:
        raise DataError(NOTHING_TO_TRAIN_ON)
    return whole, hashes


@dataclass(frozen=True)
class _Pieces:
    """Makes numbers of sentences, in pieces where they are long."""

    encoder: Encoder
    scheme: str | None
    longest: int | None

    def __call__(self, sentence: Sentence) -> tuple[list[Piece], bytes]:
        """Return the pieces of a sentence, each with its tags, and what was read."""
        text, tags = self.encoder(sentence.tokens), sentence.tags
        cuts = self.encoder.cuts(text, self.longest)
        pieces: list[Piece] = [
            (piece_of(text, cut), to_iob2(tags[cut], self.scheme)) for cut in cuts
        ]
        lines = map("\t".join, zip(sentence.tokens, tags, strict=True))
        return pieces, ("\n".join(lines) + "\n\n").encode("utf-8", "surrogatepass")


def _mark(sentence: Sentence) -> int:
    """Return a number that tells the tags of a sentence from others."""
    return zlib.crc32("\n".join(sentence.tags).encode("utf-8", "surrogatepass")) >> 1


# --- what the user should know --------------------------------------------------------------------


def _notes(
    parts: Sequence[TaggedPart], hashes: Sequence[TextHashes],
    files: Sequence[Sequence[TextFile]], reading: _Reading, pieces: _Pieces,
) -> Iterator[str]:  # fmt: skip
    train, valid, _ = parts
    called = _LINES if reading.form.unit == CHARACTERS else _CALLED
    once = int(np.count_nonzero(train.counts == 1))
    if called is _CALLED and len(train.names) > _MANY_TAGS and 2 * once > len(train.names):
        count = f"{once:,} of {len(train.names):,} tags stand only once"
        yield f"{count}: is the tag in the column that --column says?"
    yield from empty_notes(len(train), len(valid), reading.shares[0], called.many)
    yield from repeated_notes(hashes, files, called)
    for number in (VALID, TEST):
        yield from held_notes(hashes, files, number, called)
    for part, name in zip(parts, PARTS, strict=True):
        yield from _unseen_notes(part, name, reading.form.unit)
    yield from _cut_notes(parts, pieces, called.many)


def _unseen_notes(part: TaggedPart, name: str, unit: str) -> Iterator[str]:
    if part.unseen:
        what = "character" if unit == CHARACTERS else "token"
        have = f"{what} has a tag" if part.unseen == 1 else f"{what}s have tags"
        names = shortened([tag if tag.isprintable() else repr(tag) for tag in part.unseen_names])
        yield f"{part.unseen:,} {name} {have} that training has not, which count as wrong: {names}"


def _cut_notes(parts: Sequence[TaggedPart], pieces: _Pieces, many: str) -> Iterator[str]:
    if cut := sum(part.cut for part in parts):
        verb = "is" if cut == 1 else "are"
        count = f"{cut:,} of {sum(part.whole for part in parts):,} {many}"
        told = f"longer than {pieces.longest:,} steps and {verb} cut into pieces, each for itself"
        spans = ": a span over a cut is two" if pieces.scheme else ""
        yield f"{count} {verb} {told}{spans}"
