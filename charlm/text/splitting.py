"""How the text of a corpus falls into its training, validation and test part.

Lines and paragraphs are drawn by their number. Of documents, whole files are held out where there
are enough of them; where there are few, each gives its end.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.text.folders import shortened
from charlm.text.reading import TextFile, whole_words
from charlm.text.sequences import Kind

TRAIN, VALID, TEST = range(3)
_FEWEST_FILES = 10  # of different content from which whole ones are held out
_NEAR = (0.5, 1.5)  # a part of whole files may be so much of the share that was asked for
_WORD_BREAK = re.compile(r"\n|(?=\s)")


@dataclass(frozen=True)
class Layout:
    """Files and how their text falls into parts."""

    files: Sequence[TextFile]
    characters: Sequence[int]  # in each file
    read: Callable[[TextFile], Iterator[str]]
    words: bool
    kind: Kind
    shares: tuple[float, float]  # of the text, for validation and for test
    seed: int
    whole: Sequence[int] | None = None  # the part of each file, where none is cut

    def documents(self) -> Iterator[Iterator[tuple[int, str]]]:
        """Yield the (part, text) pieces of each document in turn, or those of all lines or
        paragraphs, parted.
        """
        if self.whole is not None:
            for file, part in zip(self.files, self.whole, strict=True):
                yield zip(itertools.repeat(part), self._texts(file))
        elif not self.kind.document:
            texts = itertools.chain.from_iterable(
                self.kind.parted(self.read(file)) for file in self.files
            )
            yield _split_drawn(
                whole_words(texts) if self.words else texts, self.shares, self.seed, self.kind.end
            )
        else:
            for file, characters in zip(self.files, self.characters, strict=True):
                yield _split_document(self._texts(file), _cuts(characters, self.shares), self.words)

    def _texts(self, file: TextFile) -> Iterator[str]:
        texts = self.kind.parted(self.read(file))
        return whole_words(texts) if self.words else texts


def whole_files(
    files: Sequence[TextFile], characters: Sequence[int], shares: tuple[float, float], seed: int, wanted: str
) -> list[int] | None:
    """Return the part of each file where whole ones are held out, None where a part of each is.

    `wanted` is "files", or "auto": only where there are enough for parts near their share. Files go by a hash of
    what is in them, so neither order nor names matter and copies stay together. Raises UsageError where "files"
    cannot be.
    """
    if wanted == "files" and not any(shares):
        raise UsageError("hold-out files has nothing to hold out: the fractions for validation and test are 0")
    if wanted == "parts" or not any(shares) or (wanted == "auto" and len(files) < _FEWEST_FILES):
        return None
    groups: dict[bytes, list[int]] = {}
    for number, file in enumerate(files):
        groups.setdefault(file.digest(), []).append(number)
    if len(groups) < (_FEWEST_FILES if wanted == "auto" else 1 + np.count_nonzero(shares)):
        if wanted == "auto":
            return None
        raise UsageError("hold-out files needs different files for training and for each part held out: give more")
    drawn = sorted(groups, key=lambda digest: hashlib.blake2b(b"%d " % seed + digest).digest())
    sizes = [sum(characters[number] for number in groups[digest]) for digest in drawn]
    parts = _share_out(sizes, shares, wanted == "files")
    if wanted == "auto" and not _near(parts, sizes, shares):
        return None
    part_of = dict(zip(drawn, parts, strict=True))
    return [part for _, part in sorted((number, part_of[key]) for key in groups for number in groups[key])]


def _share_out(sizes: Sequence[int], shares: tuple[float, float], at_least_one: bool) -> list[int]:
    """Return a part for each size in turn: held out if that brings the part nearer to its share."""
    parts = [TRAIN] * len(sizes)
    for part, share in ((VALID, shares[0]), (TEST, shares[1])):
        wanted, held = share * sum(sizes), 0
        free = [place for place in range(len(sizes)) if parts[place] == TRAIN]
        for place in free:
            if abs(held + sizes[place] - wanted) < abs(held - wanted):
                parts[place], held = part, held + sizes[place]
        if at_least_one and share and not held:
            parts[min(free, key=lambda place: (not sizes[place], sizes[place]))] = part
    return parts


def _near(parts: Sequence[int], sizes: Sequence[int], shares: tuple[float, float]) -> bool:
    """Tell whether each part is near its share, and enough of the files are left to train on."""
    least, most = _NEAR
    for part, share in ((VALID, shares[0]), (TEST, shares[1])):
        held = sum(size for size, own in zip(sizes, parts, strict=True) if own == part)
        if not least * share * sum(sizes) <= held <= most * share * sum(sizes):
            return False
    return parts.count(TRAIN) >= least * (1 - sum(shares)) * len(parts)


def hold_out_notes(layout: Layout) -> Iterator[str]:
    """Yield what of several documents is held out."""
    if not any(layout.shares) or (
        layout.whole is None and (not layout.kind.document or len(layout.files) == 1)
    ):
        return
    if layout.whole is None:
        parts = zip(("validation", "test"), layout.shares, strict=True)
        ends = " and ".join(f"{100 * share:g} % for {name}" for name, share in parts if share)
        yield f"held out: the end of each of {len(layout.files):,} files, {ends} (whole files: --hold-out files)"
        return
    for name, part in (("validation", VALID), ("test", TEST)):
        held = [place for place, own in enumerate(layout.whole) if own == part]
        if held:
            share = sum(layout.characters[place] for place in held) / max(1, sum(layout.characters))
            names = shortened([os.path.basename(layout.files[place].name) for place in held])
            yield f"held out for {name}: {len(held):,} of {len(layout.whole):,} files, {share:.1%} of the text: {names}"


def _split_drawn(
    texts: Iterable[str], shares: tuple[float, float], seed: int, end: str
) -> Iterator[tuple[int, str]]:
    number = 0
    for text in texts:
        lines = text.split(end)  # the last is unfinished or empty
        parts = line_parts(np.arange(number, number + len(lines), dtype=np.uint64), shares, seed)
        for part in np.unique(parts).tolist():
            chosen = list(itertools.compress(lines, (parts == part).tolist()))
            yield part, end.join(chosen if parts[-1] == part else [*chosen, ""])
        number += len(lines) - 1


def line_parts(numbers: NDArray[np.uint64], shares: tuple[float, float], seed: int) -> NDArray[np.int8]:
    """Return the part [n] of lines or paragraphs by their numbers [n] alone: a hash of each,
    uniform in [0, 1).

    The hash is SplitMix64 (Steele, Lea and Flood 2014) as a function of the counter.
    """
    stream = mix(np.array([seed % (1 << 64)], np.uint64))
    return uniform_parts(mix(stream + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)), shares)


def uniform_parts(hashes: NDArray[np.uint64], shares: tuple[float, float]) -> NDArray[np.int8]:
    """Return the part [n] of what has these hashes [n], each taken as a number in [0, 1)."""
    uniform = (hashes >> np.uint64(11)) * 2.0**-53
    valid, test = shares
    return (uniform < valid + test).astype(np.int8) + (uniform < test)


def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers [n] with every bit depending on every other: SplitMix64's mixing."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _cuts(characters: int, shares: tuple[float, float]) -> tuple[int, int]:
    """Return where training and where validation end, exact in the decimal fractions as they were given."""
    valid, test = (Fraction(str(share)) for share in shares)
    return int(characters * (1 - valid - test)), int(characters * (1 - test))


def _split_document(texts: Iterable[str], cuts: tuple[int, int], words: bool) -> Iterator[tuple[int, str]]:
    part, position = TRAIN, 0
    for text in texts:
        start = 0
        while part < TEST and (cut := _find_cut(text, max(cuts[part] - position, 0), words)) is not None:
            yield part, text[start:cut]
            start, part = cut, part + 1
        yield part, text[start:]
        position += len(text)


def _find_cut(text: str, cut: int, words: bool) -> int | None:
    """Return where to cut at or after `cut`, for words after a newline or before white space; None: not here."""
    if not words:
        return cut if cut <= len(text) else None
    found = _WORD_BREAK.search(text, cut)
    return found.end() if found else None
