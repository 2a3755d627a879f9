"""Sentences to be tagged: columns or plain lines of a file or of standard input as they come, or texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from charlm.tags import Tags
from charlm.text.character_tags import sentences_of
from charlm.text.columns import Layout, Sentence, Sentences
from charlm.text.reading import is_standard_input
from charlm.text.stream import Lines, open_lines

_LOOKED_AT = 1000  # lines that may be comments, before one decides


@dataclass(frozen=True)
class Incoming:
    """Sentences in order, each with its lines. `ready` says whether the next is there already.

    layout: how columns part, None for plain sentences. reason: why they are taken for what they are, None where it
    was said. lines: what they come from.
    """

    sentences: Iterator[Sentence]
    ready: Callable[[], bool]
    layout: Layout | None = None
    reason: str | None = None
    lines: Lines | None = None


def of_texts(tags: Tags, texts: Iterable[str]) -> Incoming:
    """Return texts as plain sentences."""
    return Incoming((_plain(tags, text) for text in texts), lambda: True)


def of_file(
    tags: Tags, path: str, encoding: str, columns: bool | None = None, shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> Incoming:  # fmt: skip
    """Return the sentences of a file, or of stdin (`-`) as they come; of `shard` (k, n) every nth, from the kth on.

    They are columns or plain as `columns` says; None: columns if the first line that is neither blank nor a comment
    has a tab. Where characters are tagged, lines are sentences. Raises what reading a corpus does.
    """
    lines = open_lines(path, encoding, before_waiting=before_waiting)
    reason, (first, step) = None, shard
    tab = _has_tab(lines) if not tags.of_characters and columns is not False else False
    if tags.of_characters:
        columns = False
    elif columns is None:
        columns, which = tab, "a tab" if tab else "no tab"
        told = "columns" if tab else "plain sentences"
        other = "plain sentences: --plain" if tab else "columns: --columns"
        reason = f"{told}, because the first line has {which} ({other})"
    if not columns:
        plain = (_plain(tags, line) for line in lines)
        return Incoming(islice(plain, first - 1, None, step), lines.ready, None, reason, lines)
    assert tags.form.layout is not None
    layout = replace(tags.form.layout, tabs=tab)
    found = Sentences(lines, layout, "standard input" if is_standard_input(path) else path, tagged=False)
    return Incoming(islice(found, first - 1, None, step), found.ready, layout, reason, lines)


def of_tagged(
    tags: Tags, path: str, encoding: str, shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> Incoming:  # fmt: skip
    """Return the sentences of a file, or of stdin (`-`) as they come, with their tags where training had them.

    Of `shard` (k, n) every nth, from the kth on. Raises what reading a corpus does.
    """
    lines = open_lines(path, encoding, before_waiting=before_waiting)
    where, (first, step) = "standard input" if is_standard_input(path) else path, shard
    layout = tags.form.layout
    if layout is None:
        pairs = islice(sentences_of(lines, where), first - 1, None, step)
        return Incoming(pairs, lines.ready, None, None, lines)
    layout = replace(layout, tabs=_has_tab(lines))
    found = Sentences(lines, layout, where)
    some = islice((sentence for sentence in found if sentence.tokens), first - 1, None, step)
    return Incoming(some, found.ready, layout, None, lines)


def _has_tab(lines: Lines) -> bool:
    """Return whether the first line that tells has a tab; a comment tells only where nothing else is there."""
    ahead, tab = 0, False
    while (line := lines.peek(ahead)) is not None:
        ahead += 1
        if not line.strip():
            continue
        tab = "\t" in line
        comment = line.startswith(("#", "-DOCSTART-")) and ahead < _LOOKED_AT
        if tab or not comment or not lines.ready(ahead):
            break
    return tab


def _plain(tags: Tags, text: str) -> Sentence:
    return Sentence(() if tags.of_characters else tuple(text.split()), (), (text,))
