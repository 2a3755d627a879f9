"""Texts that may go on without end, in windows of bounded size that are answered together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from charlm.text.batches import Ids
from charlm.text.tokenizers import Tokenizer

Item = TypeVar("Item")

_TEXTS = 4096  # texts of a window,
_TOKENS = 1 << 18  # or as many as reach this many tokens


def always() -> bool:
    """Say yes: the next text is there, as those of a list are."""
    return True


def in_windows(
    items: Iterable[Item],
    ready: Callable[[], bool] = always,
    size_of: Callable[[Item], int] = lambda _: 0,
    *,
    most: int,
    total: int = 1,
) -> Iterator[list[Item]]:
    """Yield items in lists, each full with `most` items or with sizes that make `total`.

    A list is also ended where `ready()`, which is asked after each item, says no to the next one.

    >>> list(in_windows("abcde", most=2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    taken = iter(items)
    while window := list(_until_full(islice(taken, most), ready, size_of, total)):
        yield window


def windows(
    texts: Iterable[str], tokenizer: Tokenizer, ready: Callable[[], bool], most: int | None = None
) -> Iterator[list[tuple[str, Ids]]]:
    """Encode texts and yield them in lists of bounded size, of at most so many (as
    `in_windows`)."""
    most = most or _TEXTS
    if tokenizer.kind == "char" and tokenizer.lossless:  # a token a character: one call for all
        for some in in_windows(texts, ready, len, most=most, total=_TOKENS):
            yield list(_cut(some, tokenizer.encode("".join(some))))
        return
    encoded = ((text, tokenizer.encode(text)) for text in texts)
    yield from in_windows(encoded, ready, lambda item: len(item[1]), most=most, total=_TOKENS)


def _cut(texts: list[str], ids: Ids) -> Iterator[tuple[str, Ids]]:
    """Yield texts with the ids of each, given those of all end to end."""
    end = 0
    for text in texts:
        begin, end = end, end + len(text)
        yield text, ids[begin:end]


def _until_full(
    items: Iterator[Item], ready: Callable[[], bool], size_of: Callable[[Item], int], total: int
) -> Iterator[Item]:
    size = 0
    for item in items:
        yield item
        size += size_of(item)
        if size >= total or not ready():
            return
