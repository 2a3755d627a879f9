"""Which part a text falls into: a hash of it says, whatever stands beside it and wherever it
stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config import TextConfig
from charlm.errors import DataError, UsageError
from charlm.text.duplicates import TEXTS, Called, TextHashes, duplicate_notes, shared_note
from charlm.text.folders import open_all, shortened, text_files
from charlm.text.reading import TextFile, text_blocks
from charlm.text.splitting import TEST, TRAIN, VALID, uniform_parts
from charlm.text.surveys import Survey, count_lines, survey

PARTS = ("training", "validation", "test")  # as notes call them


def text_hashes(texts: Sequence[str], seed: int, as_bytes: bool = False) -> NDArray[np.uint64]:
    """Return the hash [n] of each text and the seed, by BLAKE2; of bytes, texts are in Latin-1."""
    code = ("latin-1", "strict") if as_bytes else ("utf-8", "surrogatepass")
    seeded = hashlib.blake2b(b"%d " % seed, digest_size=8)
    digests = bytearray()
    for text in texts:
        digest = seeded.copy()
        digest.update(text.encode(*code))
        digests += digest.digest()
    return np.frombuffer(digests, "<u8")


def hash_parts(hashes: NDArray[np.uint64], shares: tuple[float, float]) -> list[int]:
    """Return the part of each text by its hash [n]."""
    parts: list[int] = uniform_parts(hashes, shares).tolist()
    return parts


@dataclass(frozen=True)
class Opened:
    """The opened files of a corpus that is drawn text by text: of its three parts, in their order.

    named: the files of the training part, as they were given, those of directories one by one.
    surveys: of each of them. notes: what else the user should know.
    """

    named: list[str | TextFile]
    files: list[list[TextFile]]
    surveys: list[Survey]
    notes: list[str]

    def shares(self, config: TextConfig) -> tuple[float, float]:
        """Return the shares of the training files that are drawn to validate and to test on, none
        where files do."""
        return (
            0 if self.files[VALID] else config.valid_fraction,
            0 if self.files[TEST] else config.test_fraction,
        )


def open_parts(
    groups: Sequence[Sequence[str | TextFile]], encoding: str | None, block: int
) -> Opened:
    """Open the files of the three parts and survey those to train on, `block` bytes at a time.

    Raises UsageError, MissingInputError, DataError, StorageError.
    """
    named, notes = zip(*map(text_files, groups), strict=True)
    files = open_all(*named)
    surveys = [survey(text_blocks(file, encoding, block)) for file in files[TRAIN]]
    count_lines(surveys, [file.name for file in files[TRAIN]])
    return Opened(named[TRAIN], files, surveys, [note for some in notes for note in some])


def refuse_documents(
    sequences: str, hold_out: str, what: str, text: str, allowed: Sequence[str] = ("auto", "line")
) -> None:
    """Raise UsageError for settings of a language model's corpus, given what has texts that are
    drawn one by one."""
    if sequences not in allowed:
        raise UsageError(f"sequences {sequences} does not go with {what}: {text}")
    if hold_out == "files":
        how = "texts are held out one by one (whole files: --valid-file)"
        raise UsageError(f"hold-out files does not go with {what}: {how}")


def gold_files(paths: Sequence[str | TextFile]) -> tuple[list[TextFile], list[str]]:
    """Return the opened files of gold texts, those of directories one by one, and notes."""
    named, notes = text_files(paths)
    return open_all(named)[0], notes


def refuse_empty(texts: int, files: Sequence[TextFile]) -> None:
    """Raise DataError where files hold no texts."""
    if not texts:
        raise DataError(f"{shortened([file.name for file in files])}: holds no text")


def empty_notes(train: int, valid: int, share: float, many: str) -> Iterator[str]:
    """Yield that of so many things to train on none was drawn to validate on, if a share was to
    be."""
    if share and not valid:
        drawn = f"of {train:,} {many} none was drawn (name one with --valid-file)"
        yield f"the validation part is empty: {drawn}"


def repeated_notes(
    hashes: Sequence[TextHashes], files: Sequence[Sequence[TextFile]], called: Called = TEXTS
) -> Iterator[str]:
    """Yield what stands twice in the corpus that was drawn from, given the texts of its parts."""
    own = [hashes[TRAIN], *(hashes[part] for part in (VALID, TEST) if not files[part])]
    yield from duplicate_notes(own, called)


def held_notes(
    hashes: Sequence[TextHashes], files: Sequence[Sequence[TextFile]], part: int,
    called: Called = TEXTS,
) -> Iterator[str]:  # fmt: skip
    """Yield what of a part that has files of its own stands in the training part too."""
    if files[part] and (note := shared_note(hashes[TRAIN], hashes[part], PARTS[part], called)):
        yield note
