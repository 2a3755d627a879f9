"""What is to be known of a file before it is read: its lines, and whether it is meant as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charlm.errors import DataError
from charlm.text.contents import foreign, markup
from charlm.text.folders import shortened
from charlm.text.reading import OLD_MAC, TextFile, nonblank_lines


@dataclass(frozen=True)
class Survey:
    """How much a file holds, in lines and characters."""

    lines: int
    blank: int
    characters: int
    returns: int  # that stand alone


def survey(texts: Iterable[str]) -> Survey:
    """Count a text given in pieces."""
    newlines = characters = returns = 0
    ended = True

    def counted() -> Iterator[str]:
        nonlocal newlines, characters, returns, ended
        for text in texts:
            newlines += text.count("\n")
            characters += len(text)
            returns += text.count("\r")
            ended = text.endswith("\n") if text else ended
            yield text

    nonblank = sum(text.count("\n") for text in nonblank_lines(counted()))
    lines = newlines + (not ended)
    return Survey(lines, lines - nonblank, characters, returns)


def count_lines(surveys: Sequence[Survey], names: Sequence[str]) -> tuple[int, int]:
    """Return how many lines some files have, and how many are blank (DataError where all are)."""
    lines = sum(survey.lines for survey in surveys)
    blank = sum(survey.blank for survey in surveys)
    if blank == lines:
        found = "nothing but white space" if lines else "nothing: it is empty"
        raise DataError(f"{', '.join(names)}: the corpus holds {found}")
    return lines, blank


def content_notes(files: Sequence[TextFile], surveys: Sequence[Survey], kind: str) -> Iterator[str]:
    """Yield what may not be meant as text, or as these lines: a note for all files alike."""
    found: dict[str, list[str]] = {}
    for file, survey in zip(files, surveys, strict=True):
        head = file.head()
        if kind == "byte" and (binary := foreign(head)):
            found.setdefault(f"{binary[0]}, whose bytes are taken as they are", []).append(
                file.name
            )
        if marks := markup(head):
            found.setdefault(f"looks like {marks}, whose marks are learnt as text", []).append(
                file.name
            )
        if survey.returns > max(1, survey.lines):
            found.setdefault(OLD_MAC, []).append(file.name)
    yield from (f"{shortened(names)}: {what}" for what, names in found.items())
