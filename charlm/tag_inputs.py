"""Sentences to be tagged: columns or plain lines of a file or of standard input as they come, or
texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from charlm.tags import Tags
from charlm.text.character_tags import sentences_of
from charlm.text.columns import Layout, Sentence, Sentences, in_conllu
from charlm.text.reading import is_standard_input
from charlm.text.stream import Lines, open_lines

_LOOKED_AT = 1000  # lines that may be comments, before one decides


@dataclass(frozen=True)
class Incoming:
    """Sentences in order, each with its lines. `ready` says whether the next is there already.

    layout: how columns part, None for plain sentences. reason: why they are taken for what they
    are, None where it was said. lines: what they come from.
    """

    sentences: Iterator[Sentence]
    ready: Callable[[], bool]
    layout: Layout | None = None
    reason: str | None = None
    lines: Lines | None = None


class _Part:
    """Every nth of some sentences, from the kth on, of `shard` (k, n)."""

    def __init__(
        self, sentences: Iterator[Sentence], ready: Callable[[], bool], shard: tuple[int, int]
    ) -> None:
        """Take from sentences, of which `ready` says whether the next is there already."""
        self._sentences, self._ready = sentences, ready
        first, self._step = shard
        self._skipped = self._step - first  # since the last one that was taken
        self._held: Sentence | None = None
        self._over = False

    def __iter__(self) -> Iterator[Sentence]:
        return self

    def __next__(self) -> Sentence:
        while self._held is None and not self._over:
            self._fill()
        found, self._held = self._held, None
        if found is None:
            raise StopIteration
        return found

    def ready(self) -> bool:
        """Return whether the next one, or the end, is there already; those between are passed
        over."""
        while self._held is None and not self._over and self._ready():
            self._fill()
        return self._held is not None or self._over

    def _fill(self) -> None:
        sentence = next(self._sentences, None)
        if sentence is None:
            self._over = True
            return
        self._skipped = (self._skipped + 1) % self._step
        if not self._skipped:
            self._held = sentence


def of_texts(tags: Tags, texts: Iterable[str]) -> Incoming:
    """Return texts as plain sentences."""
    return Incoming((_plain(tags, text) for text in texts), lambda: True)


def of_file(
    tags: Tags, path: str, encoding: str, columns: bool | None = None,
    shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> Incoming:  # fmt: skip
    """Return the sentences of a file, or of stdin (`-`) as they come; of `shard` (k, n) every nth,
    from the kth on.

    They are columns or plain as `columns` says; None: columns if the first line that is neither
    blank nor a comment has a tab. Where characters are tagged, lines are sentences. Raises what
    reading a corpus does.
    """
    lines = open_lines(path, encoding, before_waiting=before_waiting)
    reason = None
    tab = "\t" in _telling(lines) if not tags.of_characters and columns is not False else False
    if tags.of_characters:
        columns = False
    elif columns is None:
        columns, which = tab, "a tab" if tab else "no tab"
        told = "columns" if tab else "plain sentences"
        other = "plain sentences: --plain" if tab else "columns: --columns"
        reason = f"{told}, because the first line has {which} ({other})"
    if not columns:
        plain = _Part((_plain(tags, line) for line in lines), lines.ready, shard)
        return Incoming(plain, plain.ready, None, reason, lines)
    assert tags.form.layout is not None
    layout = replace(tags.form.layout, tabs=tab)
    found = Sentences(
        lines, layout, "standard input" if is_standard_input(path) else path, tagged=False
    )
    part = _Part(found, found.ready, shard)
    return Incoming(part, part.ready, layout, reason, lines)


def of_tagged(
    tags: Tags, path: str, encoding: str, shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> Incoming:  # fmt: skip
    """Return the sentences of a file, or of stdin (`-`) as they come, with their tags where
    training had them.

    Of `shard` (k, n) every nth, from the kth on. Raises what reading a corpus does.
    """
    lines = open_lines(path, encoding, before_waiting=before_waiting)
    where, layout = "standard input" if is_standard_input(path) else path, tags.form.layout
    if layout is None:
        part = _Part(sentences_of(lines, where), lines.ready, shard)
        return Incoming(part, part.ready, None, None, lines)
    first = _telling(lines)
    layout = replace(layout, tabs="\t" in first)
    found = Sentences(lines, layout.of_conllu() if in_conllu(first) else layout, where)
    part = _Part((sentence for sentence in found if sentence.tokens), found.ready, shard)
    return Incoming(part, part.ready, layout, None, lines)


def _telling(lines: Lines) -> str:
    """Return the first line that tells how columns part; a comment does only where nothing else is
    there."""
    ahead, told = 0, ""
    while (line := lines.peek(ahead)) is not None:
        ahead += 1
        if not line.strip():
            continue
        told = line
        comment = line.startswith(("#", "-DOCSTART-")) and ahead < _LOOKED_AT
        if "\t" in line or not comment or not lines.ready(ahead):
            break
    return told


def _plain(tags: Tags, text: str) -> Sentence:
    return Sentence(() if tags.of_characters else tuple(text.split()), (), (text,))
