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


def windows(
    texts: Iterable[str], tokenizer: Tokenizer, ready: Callable[[], bool]
) -> Iterator[list[tuple[str, Ids]]]:
    """Encode texts and yield them in lists of bounded size, each ended where `ready()` says no to the next text."""
    if tokenizer.kind == "char" and tokenizer.lossless:  # each character is a token: one call for all texts
        taken = iter(texts)
        while some := list(_until_full(islice(taken, _TEXTS), ready, len)):
            yield list(_cut(some, tokenizer.encode("".join(some))))
        return
    encoded = ((text, tokenizer.encode(text)) for text in texts)
    while window := list(_until_full(islice(encoded, _TEXTS), ready, lambda item: len(item[1]))):
        yield window


def _cut(texts: list[str], ids: Ids) -> Iterator[tuple[str, Ids]]:
    """Yield texts with the ids of each, given those of all end to end."""
    end = 0
    for text in texts:
        begin, end = end, end + len(text)
        yield text, ids[begin:end]


def _until_full(
    items: Iterator[Item], ready: Callable[[], bool], tokens_of: Callable[[Item], int]
) -> Iterator[Item]:
    tokens = 0
    for item in items:
        yield item
        tokens += tokens_of(item)
        if tokens >= _TOKENS or not ready():
            return
