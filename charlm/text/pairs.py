"""A corpus of pairs, lines `source TAB target`, of any size: its vocabularies and its three parts.

It is read a block at a time: a survey, the vocabularies of the training part, and the encoding. A
pair's part is a hash of its source alone, so that pairs of equal sources fall into one, whatever
their targets and wherever they stand.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config import TextConfig
from charlm.errors import DataError
from charlm.text.counting import NOTHING_TO_TRAIN_ON, count_texts, counter_for
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
from charlm.text.pair_part import PairPart, PairPartBuilder
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.spelling import Between, joined
from charlm.text.splitting import TEST, TRAIN, VALID
from charlm.text.stream import Lines
from charlm.text.surveys import content_notes
from charlm.text.tokenizers import ByteTokenizer, Tokenizer, WordTokenizer
from charlm.text.windows import in_windows

_BLOCK = 1 << 16  # bytes read at a time: their lines are in memory together
_BLOCK_CHARACTERS, _BLOCK_PAIRS = 1 << 18, 1 << 13  # that are encoded together
_MOST_WORDS = 1 << 16  # different ones of a side, unless told otherwise
_CALLED = Called("source", "sources", "with several targets", "the target too")

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairCorpus:
    """The tokenizers of both sides and the three parts.

    per_token, excess: no target of the training part has more than per_token * n + excess tokens, n
    being those of its source. `notes` says what the user should know; `paths` are the files, those
    of directories one by one.
    """

    source: Tokenizer
    target: Tokenizer
    train: PairPart
    valid: PairPart
    test: PairPart
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the targets."""
        return self.target

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has, of sources and targets."""
        return self.train.tokens

    @property
    def digests(self) -> dict[str, str]:
        """What identifies the parts: digests of their ids."""
        return {"train": self.train.digest, "valid": self.valid.digest, "test": self.test.digest}

    @property
    def per_token(self) -> float:
        """How many tokens a target has for each of its source, of all the training part."""
        pairs = len(self.train)
        sources = len(self.train.sources) - pairs
        return (len(self.train.targets) - pairs) / sources if sources else 0.0

    @property
    def excess(self) -> int:
        """How many tokens a target has at most beyond that many."""
        most, rate = self.train.longest, self.per_token
        beyond = (most - rate * np.arange(len(most)))[most >= 0]
        return math.ceil(float(beyond.max(initial=0.0)))


@dataclass(frozen=True)
class Sides:
    """How sources and targets become tokens: the configuration of each side's tokenizer.

    Every token is kept unless the configuration says otherwise; sources alone are lowercased.
    """

    source: TextConfig
    target: TextConfig

    @staticmethod
    def of(
        config: TextConfig, source: str, target: str, source_pattern: str | None,
        target_pattern: str | None,
    ) -> Sides:  # fmt: skip
        """Return it for tokenizers of these kinds, words being those of these patterns
        (UsageError)."""
        given = {"vocab_size": config.vocab_size, "min_count": config.min_count}
        of_words = {
            "vocab_size": config.vocab_size or _MOST_WORDS, "min_count": config.min_count or 1,
        }  # fmt: skip
        kept = given if source == target else {}  # bytes: refused by name
        counted: dict[str, dict[str, Any]] = {"char": given, "word": of_words, "byte": kept}

        def side(kind: str, pattern: str | None, lowercase: bool) -> TextConfig:
            return TextConfig(kind, lowercase, word_pattern=pattern, **counted[kind])

        return Sides(
            side(source, source_pattern, config.lowercase), side(target, target_pattern, False)
        )


@dataclass(frozen=True)
class _Reading:
    """How files of pairs are read, and how pairs fall into parts."""

    encoding: str
    size: int
    shares: tuple[float, float] = (0.0, 0.0)
    seed: int = 0

    def blocks(self, files: Iterable[TextFile]) -> Iterator[tuple[list[str], list[str]]]:
        """Yield sources [n] and targets [n], as many as are handled together."""
        every = itertools.chain.from_iterable(
            read_pairs(file, self.encoding, self.size) for file in files
        )
        for window in in_windows(
            every, size_of=lambda pair: len(pair[0]) + len(pair[1]), most=_BLOCK_PAIRS,
            total=_BLOCK_CHARACTERS,
        ):  # fmt: skip
            sources, targets = zip(*window, strict=True)
            yield list(sources), list(targets)

    def hashes(self, sources: Sequence[str]) -> NDArray[np.uint64]:
        """Return the hash [n] of each source and the seed."""
        return text_hashes(sources, self.seed)

    def parts(self, hashes: NDArray[np.uint64]) -> NDArray[np.int8]:
        """Return the part of each source by its hash, [n]."""
        return np.array(hash_parts(hashes, self.shares), np.int8)


def pairs_of(lines: Iterable[tuple[int, str]], where: str) -> Iterator[Pair]:
    """Yield source and target of lines with their numbers, which messages call `where`.

    Lines of white space without a tab are none. Raises DataError where there is not exactly one
    tab.
    """
    for number, line in lines:
        source, tab, target = line.partition("\t")
        if not tab and not line.strip():
            continue
        if not tab or "\t" in target:
            tabs = f"{line.count(tab)} tabs" if tab else "no tab"
            problem = f"has {tabs}, but should be: source TAB target, a line each"
            raise DataError(f"{where}: line {number} {problem}")
        yield source, target


def read_pairs(file: TextFile, encoding: str, size: int = BLOCK) -> Iterator[Pair]:
    """Yield source and target of each line of a file (errors as `pairs_of`)."""
    lines = Lines(text_blocks(file, encoding, size), lambda: True)
    return pairs_of(lines.numbered(), file.name)


def prepare_pairs(
    paths: Sequence[str | TextFile],
    config: TextConfig,
    sides: Sides,
    valid_files: Sequence[str | TextFile] = (),
    test_files: Sequence[str | TextFile] = (),
    known: tuple[Tokenizer, Tokenizer] | None = None,
    begun: Tokenizer | None = None,
    grow: bool = True,
    longest: int | None = None,
    block: int = _BLOCK,
) -> PairCorpus:
    """Read, split and encode files of pairs, `block` bytes at a time.

    `known`, the tokenizers of both sides, where a model has them, are used in place of building;
    `begun` is one for sources, whose tokens come first where it may `grow`, and else are all. Pairs
    that have more than `longest` tokens on a side are left out. Validation and test files take the
    place of that share of `paths`. Raises UsageError, DataError, MissingInputError, StorageError.
    """
    refuse_documents(config.sequences, config.hold_out, "task convert", "each pair is a line")
    opened = open_parts((paths, valid_files, test_files), config.encoding, block)
    files, shares = opened.files, opened.shares(config)
    reading = _Reading(config.encoding, block, shares, config.split_seed)
    source, target = known or _tokenizers(reading, files[TRAIN], sides, begun)
    if not known and begun and not grow:
        source = begun
    builders = [PairPartBuilder(source, target, longest) for _ in files]
    hashes = _encode_all(reading, files, builders)
    train, valid, test = (builder.part() for builder in builders)
    for part, of in ((valid, files[VALID]), (test, files[TEST])):
        if of:
            refuse_empty(len(part), of)
    if not len(train):
        raise DataError(NOTHING_TO_TRAIN_ON)
    said = (
        *opened.notes,
        *content_notes(files[TRAIN], opened.surveys, source.kind),
        *_notes((train, valid, test), hashes, files, shares, longest),
        *_between_notes(target),
    )
    named = tuple(map(str, opened.named))
    return PairCorpus(source, target, train, valid, test, named, said)


def pair_part(
    paths: Sequence[str | TextFile], source: Tokenizer, target: Tokenizer,
    longest: int | None = None, encoding: str = "utf-8",
) -> tuple[PairPart, tuple[str, ...]]:  # fmt: skip
    """Return the pairs of gold files by a model's tokenizers, and notes.

    Raises DataError where there is none, and else as `prepare_pairs`.
    """
    files, notes = gold_files(paths)
    reading = _Reading(encoding, _BLOCK)
    builder = PairPartBuilder(source, target, longest)
    for sources, targets in reading.blocks(files):
        builder.add(sources, targets, reading.hashes(sources))
    part = builder.part()
    refuse_empty(len(part), files)
    return part, (*notes, *_left_out_notes([part], longest))


def _tokenizers(
    reading: _Reading, files: Sequence[TextFile], sides: Sides, begun: Tokenizer | None
) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of sources and targets, of the training part's tokens."""
    counters = [counter_for(sides.source), counter_for(sides.target)]
    words = None
    if sides.target.tokenizer == "word":
        words = WordTokenizer([], word_pattern=sides.target.word_pattern)
    between = Between()
    for block in reading.blocks(files):
        chosen = (reading.parts(reading.hashes(block[0])) == TRAIN).tolist()
        for counter, texts in zip(counters, block, strict=True):
            count_texts(counter, itertools.compress(texts, chosen))
        for text in itertools.compress(block[1], chosen) if words else ():
            between.add(text, words.pieces(text) if words else [])
    found = []
    for counter, first in zip(counters, (begun, None), strict=True):
        tokens = first.to_dict().get("tokens", ()) if first else ()
        found.append(counter.tokenizer(False, tokens) if counter else ByteTokenizer())
    return found[0], joined(found[1], between.found)


def _encode_all(
    reading: _Reading, files: Sequence[Sequence[TextFile]], builders: Sequence[PairPartBuilder]
) -> list[TextHashes]:
    """Give each builder the pairs of its part; return the hashes of their sources."""
    hashes = [TextHashes() for _ in files]
    for number, some in enumerate(files):
        for sources, targets in reading.blocks(some):
            of_sources = reading.hashes(sources)
            parts = np.full(len(sources), number, np.int8)
            if number == TRAIN:
                parts = reading.parts(of_sources)
            marks = np.array([_mark(target) for target in targets], np.int32)
            for part in np.unique(parts).tolist():
                chosen = parts == part
                texts = (
                    list(itertools.compress(side, chosen.tolist())) for side in (sources, targets)
                )
                builders[part].add(*texts, of_sources[chosen])
                hashes[part].add(of_sources[chosen], marks[chosen])
    return hashes


def _mark(target: str) -> int:
    """Return a number that tells a target from others."""
    return zlib.crc32(target.encode("utf-8", "surrogatepass")) >> 1


# --- what the user should know --------------------------------------------------------------------


def _notes(
    parts: Sequence[PairPart], hashes: Sequence[TextHashes],
    files: Sequence[Sequence[TextFile]], shares: tuple[float, float], longest: int | None,
) -> Iterator[str]:  # fmt: skip
    train, valid, _ = parts
    yield from empty_notes(len(train), len(valid), shares[0], "pairs")
    yield from repeated_notes(hashes, files, _CALLED)
    for number in (VALID, TEST):
        yield from held_notes(hashes, files, number, _CALLED)
    for part, name in zip(parts, PARTS, strict=True):
        if unknown := part.targets.unknown:
            have = (
                "token that training has not, which counts"
                if unknown == 1
                else ("tokens that training has not, which count")
            )
            yield f"the targets of the {name} part have {unknown:,} {have} as wrong"
    yield from _left_out_notes(parts, longest)
    if train.same_length == len(train) > 1:
        yield (
            "source and target have as many tokens in each pair: tagging is the better task, "
            "--task tag with --tags characters for these lines, or with columns for words"
        )


def _left_out_notes(parts: Sequence[PairPart], longest: int | None) -> Iterator[str]:
    if count := sum(part.left_out for part in parts):
        every = count + sum(map(len, parts))
        have, are = ("has", "is") if count == 1 else ("have", "are")
        what = f"more than {longest:,} tokens on a side (--max-length)"
        yield f"{count:,} of {every:,} pairs {have} {what} and {are} left out"


def _between_notes(target: Tokenizer) -> Iterator[str]:
    if target.kind == "word" and not hasattr(target, "between"):
        yield (
            "what stands between the words of targets differs, so they are not written back exactly"
            r" as they stood (--target-pattern '\S+' takes what white space parts)"
        )
