"""Lines `source TAB target` of equal length: the tag of a character is the target's in its place.

Where both are the same the tag is "", to keep it, so that characters that training has not are kept
too. Lengths are those after NFC, by which a letter with an accent is one character where Unicode
has it as one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from charlm.errors import DataError
from charlm.text.columns import Sentence
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.stream import Lines

KEEP = ""


def composed(text: str) -> str:
    """Return a text as its characters are tagged: in NFC."""
    return unicodedata.normalize("NFC", text)


def character_tags(source: str, target: str) -> list[str]:
    """Return the tags of a source's characters, given a target of its length.

    >>> character_tags("cesky", "český")
    ['č', '', '', '', 'ý']
    """
    pairs = zip(source, target, strict=True)
    return [KEEP if ours == theirs else theirs for ours, theirs in pairs]


def applied(source: Sequence[str], tags: Sequence[str]) -> str:
    """Return the target that tags make of a source.

    >>> applied("cesky", ["č", "", "", "", "ý"])
    'český'
    """
    return "".join(tag or character for character, tag in zip(source, tags, strict=True))


def pair_of(line: str) -> tuple[str, str] | None:
    """Return source and target of a line, in NFC; None where it has not exactly one tab."""
    source, tab, target = line.partition("\t")
    return (composed(source), composed(target)) if tab and "\t" not in target else None


def pairs_of(lines: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
    """Yield source and target of lines, in NFC, without those of white space alone.

    Raises DataError, which names the line, where there is not exactly one tab or lengths differ.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        pair = pair_of(line)
        if pair is None:
            found = line.count("\t")
            tabs = "no tab" if not found else f"{found} tabs"
            problem = f"has {tabs}, but should be: source TAB target, a line each"
            raise DataError(f"{where}: line {number} {problem} (--tags words reads columns)")
        if len(pair[0]) != len(pair[1]):
            lengths = f"a source of {len(pair[0]):,} characters and a target of {len(pair[1]):,}"
            raise DataError(f"{where}: line {number} has {lengths} (in NFC): they should be equal")
        yield pair


def read_pairs(file: TextFile, encoding: str, size: int = BLOCK) -> Iterator[Sentence]:
    """Yield each line of a file as a sentence whose tokens are the characters of the source.

    Errors as `pairs_of`.
    """
    return sentences_of(Lines(text_blocks(file, encoding, size), lambda: True), file.name)


def sentences_of(lines: Iterable[str], where: str) -> Iterator[Sentence]:
    """Yield each of some lines, which messages call `where`, as `read_pairs` does (errors as
    `pairs_of`)."""
    pairs = pairs_of(lines, where)
    return (Sentence(source, character_tags(source, target)) for source, target in pairs)
