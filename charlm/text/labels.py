"""Where the label of a text stands: in the name of its file, or in its line.

    file         the stem of the file's name: jig.txt and jig.txt.gz hold texts labelled `jig`
    tab          label TAB text, which may hold further tabs
    prefix       __label__x text, as fastText has it
    first-word   the label up to the first white space, then the text

A text is a line, or a paragraph, whose label stands on its first line: where nothing follows it
there, the text begins on the next one. Lines of white space alone are no texts.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from charlm.config import LABELS
from charlm.errors import DataError, UsageError
from charlm.text.reading import BLOCK, TextFile, text_blocks
from charlm.text.sequences import LINE, Kind
from charlm.text.stream import read_texts

PREFIX = "__label__"

_SAY_WHERE = (
    "say with --labels where labels stand: file (the stem of the file's name), "
    f"tab (label TAB text), prefix ({PREFIX}x text) or first-word"
)
_SEVERAL = "has several labels: give each text one"
_COMPRESSED = (".gz", ".xz", ".bz2")
_FIRST_WORD = re.compile(r"\s*(\S+)\s*(.*)", re.DOTALL)
_FIRST_WORD_OF_BYTES = re.compile(_FIRST_WORD.pattern, re.DOTALL | re.ASCII)  # \xa0 ends an à
_FURTHER_LABEL = re.compile(rf"(?:^|\s){PREFIX}")
_MARK_OF_BYTES = "\xef\xbb\xbf"  # the byte order mark of UTF-8
_NOT_IN_A_LABEL = {"Cc", "Cs", "Zl", "Zp"}  # control and half characters, ends of lines

Reader = Callable[[str], tuple[str, str]]


class _MisfitError(Exception):
    """A line is not of the form; the message follows `line 7`."""


def labelled_lines(
    file: TextFile,
    form: str,
    encoding: str | None,
    known: Collection[str] | None = None,
    size: int = BLOCK,
    kind: Kind = LINE,
) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each line, or each paragraph, of a file that has one, in
    order.

    Encoding None takes the text as bytes, each the code point of its value; a label is UTF-8 all
    the same. `known` are the labels that a gold file may have: under `file` one of its lines may
    give the label by tab, too. Raises DataError for a line that is not of the form, UsageError for
    `file` where a file has no name.
    """
    texts = read_texts(text_blocks(file, encoding, size), kind)
    stem = file.label or (None if file.copied else file_label(file.name))
    return labels_of(texts.numbered(), file.name, stem, form, encoding is None, known)


def labels_of(
    lines: Iterable[tuple[int, str]],
    where: str,
    stem: str | None,
    form: str,
    as_bytes: bool,
    known: Collection[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield what `labelled_lines` does of lines with their numbers, each as it comes.

    `where` is what messages call them, `stem` the label that their file has, None where it has
    none.
    """
    read = _reader(where, stem, form, as_bytes, known)
    for number, line in _not_blank(lines, as_bytes):
        first, newline, rest = line.partition("\n")
        try:
            label, text = read(first)
            if form == "prefix" and _FURTHER_LABEL.search(rest):
                raise _MisfitError(_SEVERAL)
            if newline:
                text = f"{text}\n{rest}" if text.strip() else rest
            yield _label(label, as_bytes), text
        except _MisfitError as misfit:
            raise DataError(f"{where}: line {number} {misfit}") from None


def find_form(
    wanted: str | None,
    files: Sequence[TextFile],
    encoding: str | None,
    size: int = BLOCK,
    kind: Kind = LINE,
) -> tuple[str, str]:
    """Return where labels stand and a sentence that says why (UsageError where nothing tells).

    Unless one is wanted it is `prefix` where every line begins so, `tab` where every line has one.
    """
    if wanted is not None:
        if wanted not in LABELS:
            known = ", ".join(LABELS)
            raise UsageError(f"labels {wanted!r} is unknown: it should be one of {known}")
        return wanted, f"labels: {wanted}, as set"
    count, forms = 0, {"prefix": f"begins with {PREFIX}", "tab": "has a tab"}
    for file in files:
        for number, text in _numbered(file, encoding, size, kind):
            count, line = count + 1, text.partition("\n")[0]
            if "prefix" in forms and not line.lstrip().startswith(PREFIX):
                del forms["prefix"]
            if "tab" in forms and "\t" not in line:
                del forms["tab"]
            if not forms:
                place = f"{file.name}: line {number}"
                raise UsageError(
                    f"{place} has no label before a tab or after {PREFIX}: {_SAY_WHERE}"
                )
    form, found = next(iter(forms.items()))
    which = f"the {kind.name}" if count == 1 else f"each of {count:,} {kind.name}s"
    return form, f"labels: {form}, because {which} {found}"


def file_label(name: str) -> str:
    """Return the stem of a file's name, without what tells how it is compressed."""
    stem, suffix = os.path.splitext(os.path.basename(name))
    return os.path.splitext(stem)[0] if suffix.lower() in _COMPRESSED else stem


def is_label(text: str) -> bool:
    """Say whether a text can be a label: there is something to see, and it is one line on any screen."""
    shown = not any(unicodedata.category(character) in _NOT_IN_A_LABEL for character in text)
    return shown and text == text.strip() != ""


def _numbered(
    file: TextFile, encoding: str | None, size: int, kind: Kind
) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that are not blank, with the numbers of their first lines."""
    texts = read_texts(text_blocks(file, encoding, size), kind)
    return _not_blank(texts.numbered(), encoding is None)


def _not_blank(lines: Iterable[tuple[int, str]], as_bytes: bool) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if as_bytes and number == 1:
            line = line.removeprefix(_MARK_OF_BYTES)
        if line.strip():
            yield number, line


def _reader(
    where: str, stem: str | None, form: str, as_bytes: bool, known: Collection[str] | None
) -> Reader:
    if form == "file":
        return _by_file(where, stem, as_bytes, known)
    if form == "tab":
        return _by_tab
    pattern = _FIRST_WORD_OF_BYTES if as_bytes else _FIRST_WORD
    return (_by_prefix if form == "prefix" else _by_first_word)(pattern)


def _by_file(where: str, stem: str | None, as_bytes: bool, known: Collection[str] | None) -> Reader:
    if stem is None:
        problem = f"{where} has none: name files, or say otherwise where labels stand"
        raise UsageError(f"labels file takes the label from a file's name, and {problem}")
    try:
        own = _label(stem, False)
    except _MisfitError as misfit:
        raise DataError(f"{where}: the name {misfit}") from None
    raw = own.encode().decode("latin-1") if as_bytes else own

    def read(line: str) -> tuple[str, str]:
        label, tab, text = line.partition("\t")
        if known is not None and tab and (own not in known or _label(label, as_bytes) in known):
            return label, text
        return raw, line

    return read


def _by_tab(line: str) -> tuple[str, str]:
    label, tab, text = line.partition("\t")
    if not tab:
        raise _MisfitError(f"has no tab, but should be: label TAB text ({_SAY_WHERE})")
    return label, text


def _by_prefix(pattern: re.Pattern[str]) -> Reader:
    def read(line: str) -> tuple[str, str]:
        word, text = _match(pattern, line)
        if not word.startswith(PREFIX):
            raise _MisfitError(
                f"does not begin with {PREFIX}, but should be: {PREFIX}x text ({_SAY_WHERE})"
            )
        if _FURTHER_LABEL.search(text):
            raise _MisfitError(_SEVERAL)
        return word.removeprefix(PREFIX), text

    return read


def _by_first_word(pattern: re.Pattern[str]) -> Reader:
    return lambda line: _match(pattern, line)


def _match(pattern: re.Pattern[str], line: str) -> tuple[str, str]:
    found = pattern.fullmatch(line)
    return (found[1], found[2]) if found else ("", line)


@lru_cache(maxsize=1 << 10)
def _label(raw: str, as_bytes: bool) -> str:
    """Return a label as it is compared and shown, without white space around it."""
    try:
        label = (raw.encode("latin-1").decode() if as_bytes else raw).strip()
    except UnicodeDecodeError:
        raise _MisfitError("has a label that is not UTF-8") from None
    if not label:
        raise _MisfitError("has an empty label")
    if not is_label(label):
        raise _MisfitError(f"has a label with a control character, {label!r:.40}")
    return label
