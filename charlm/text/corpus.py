"""A corpus of any size as token ids on disk: its vocabulary, its sequences, its training, validation and test part.

It is read three times, a block at a time: a survey of its lines (what is a sequence? where does the training part
of a document end?), the vocabulary of the training part, and the encoding.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from charlm.config import TextConfig
from charlm.errors import DataError
from charlm.text.counting import NOTHING_TO_TRAIN_ON, CharCounter, WordCounter, counter_for
from charlm.text.folders import open_all, text_files
from charlm.text.parts import Part, PartBuilder
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.repeats import LineHashes, repeat_notes
from charlm.text.sequences import DOCUMENT, KINDS, LINE, Kind
from charlm.text.splitting import TEST, TRAIN, VALID, Layout, hold_out_notes, whole_files
from charlm.text.surveys import Survey, content_notes, count_lines, survey
from charlm.text.tokenizers import ByteTokenizer, Tokenizer


@dataclass(frozen=True)
class Corpus:
    """A tokenizer and the three parts it encoded.

    `reason` says what was taken for a sequence, and why; `notes` what else the user should know; `hold_out` is
    "files" where whole ones are held out, else "parts"; `paths` are the files, those of directories one by one.
    """

    tokenizer: Tokenizer
    sequences: str
    reason: str
    train: Part
    valid: Part
    test: Part
    paths: tuple[str, ...]
    hold_out: str = "parts"
    notes: tuple[str, ...] = ()

    @property
    def train_tokens(self) -> int:
        """How many tokens the training part has."""
        return len(self.train)

    @property
    def digests(self) -> dict[str, str]:
        """What identifies the parts: digests of their token ids."""
        return {"train": self.train.digest, "valid": self.valid.digest, "test": self.test.digest}


def prepare(
    paths: Sequence[str | TextFile],
    config: TextConfig,
    valid_file: str | None = None,
    test_file: str | None = None,
    tokenizer: Tokenizer | None = None,
    sequences: str | None = None,
    block: int = BLOCK,
    grow: bool = False,
) -> Corpus:
    """Read, split and encode corpus files, `block` bytes at a time.

    `tokenizer` and `sequences`, where a model has them already, are used in place of building and deciding;
    `grow` adds to the vocabulary what is new in the training part, as `config` (of the same tokenizer) says.
    A validation or test file takes the place of that share of `paths`; files may be open already. Raises UsageError,
    DataError (empty or not readable as text), MissingInputError, StorageError.
    """
    kind = tokenizer.kind if tokenizer else config.tokenizer
    counter = counter_for(config) if grow or not tokenizer else None
    named, notes = text_files(paths)
    held = [text_files([] if path is None else [path]) for path in (valid_file, test_file)]
    files = open_all(named, *(texts for texts, _ in held))
    read = partial(text_blocks, encoding=None if kind == "byte" else config.encoding, size=block)
    surveys = [survey(read(file)) for file in files[TRAIN]]
    of, reason = _decide(
        sequences or config.sequences, surveys, [file.name for file in files[TRAIN]]
    )
    layout = Layout(
        files[TRAIN],
        [survey.characters for survey in surveys],
        read,
        words=kind == "word",
        kind=of,
        shares=(0 if files[VALID] else config.valid_fraction, 0 if files[TEST] else config.test_fraction),
        seed=config.split_seed,
    )
    layout = _with_files_held_out(layout, config.hold_out)
    tokenizer = _vocabulary(layout, counter, tokenizer)
    parts, repeats = _encode_all(layout, tokenizer, files)
    hold_out = "parts" if layout.whole is None else "files"
    notes += [note for _, of_part in held for note in of_part]
    said = (*notes, *content_notes(files[TRAIN], surveys, kind), *hold_out_notes(layout), *repeats)
    train, valid, test = parts
    return Corpus(
        tokenizer, of.name, reason, train, valid, test, tuple(map(str, named)), hold_out, said
    )


def _with_files_held_out(layout: Layout, wanted: str) -> Layout:
    """Hold out whole files where that was asked for, or "auto" and the files are documents."""
    if wanted == "auto" and not layout.kind.document:
        return layout
    whole = whole_files(layout.files, layout.characters, layout.shares, layout.seed, wanted)
    return dataclasses.replace(layout, whole=whole)


# --- what a sequence is -----------------------------------------------------------------------------------------


def _decide(wanted: str, surveys: Sequence[Survey], names: Sequence[str]) -> tuple[Kind, str]:
    """Return what is a sequence, where nothing is set a line or a document, and a sentence that
    says why.
    """
    lines, blank = count_lines(surveys, names)
    if wanted != "auto":
        alone = (
            ""
            if blank or wanted != "paragraph"
            else ", but no line is blank: each file is a single one"
        )
        return KINDS[wanted], f"sequences: {wanted}, as set{alone}"
    if lines == 1:
        return DOCUMENT, "sequences: document, because the corpus is a single line"
    count = f"{blank:,} of {lines:,} lines {'is' if blank == 1 else 'are'} blank"
    if 100 * blank >= lines:
        other = "a text in each line: --sequences line; between blank lines: --sequences paragraph"
        return DOCUMENT, f"sequences: document, because {count} ({other})"
    count = f"only {count}" if blank else f"none of {lines:,} lines is blank"
    return LINE, f"sequences: line, because {count} (lines of one text: --sequences document)"


# --- the vocabulary of the training part ------------------------------------------------------------------------


def _vocabulary(layout: Layout, counter: CharCounter | WordCounter | None, known: Tokenizer | None) -> Tokenizer:
    if counter is None:
        return known or ByteTokenizer()
    for part, text in itertools.chain.from_iterable(layout.documents()):
        if part == TRAIN:
            pieces = layout.kind.inside(text)
            for piece in pieces if isinstance(counter, WordCounter) else ["".join(pieces)]:
                counter.add(piece)
    return counter.tokenizer(layout.kind.newline, known.to_dict()["tokens"] if known else ())


# --- ids on disk ------------------------------------------------------------------------------------------------


def _encode_all(
    layout: Layout, tokenizer: Tokenizer, files: Sequence[Sequence[TextFile]]
) -> tuple[list[Part], list[str]]:
    """Return the training, the validation and the test part, and notes on what stands in two of them."""
    builders = [PartBuilder(tokenizer.size) for _ in files]
    end = layout.kind.end or "\n"
    lines = [LineHashes(end) for _ in files] if any(layout.shares) or any(files[VALID:]) else []
    _encode(layout, tokenizer, builders, lines)
    for part in (VALID, TEST):
        if held := files[part]:
            whole = dataclasses.replace(layout, files=held, whole=[TRAIN] * len(held))
            _encode(whole, tokenizer, builders[part : part + 1], lines[part : part + 1])
            if not len(builders[part].part()):
                raise DataError(f"{', '.join(file.name for file in held)}: holds no token")
    parts = [builder.part() for builder in builders]
    if not len(parts[TRAIN]):
        raise DataError(NOTHING_TO_TRAIN_ON)
    return parts, list(repeat_notes(lines, layout.kind)) if lines else []


def _encode(
    layout: Layout, tokenizer: Tokenizer, builders: Sequence[PartBuilder], hashes: Sequence[LineHashes]
) -> None:
    kind = layout.kind
    for document in layout.documents():
        for part, text in document:
            data = text.encode("latin-1") if tokenizer.kind == "byte" else text.encode("utf-8", "surrogatepass")
            ids = kind.encode(tokenizer, data if tokenizer.kind == "byte" else text)
            builders[part].append(ids, kind.characters(text), data)
            if hashes:
                hashes[part].add(text)
        for builder in builders:
            builder.end_sequence()
        for ended in hashes:
            ended.end()
