"""Which part a text falls into: a hash of it says, whatever stands beside it and wherever it
stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.errors import DataError, UsageError
from charlm.text.folders import open_all, shortened, text_files
from charlm.text.reading import TextFile
from charlm.text.splitting import uniform_parts


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
