"""Texts that may go on without end, in windows of bounded size that are answered together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from charlm.text.batches import Ids
from charlm.text.tokenizers import Tokenizer

_TEXTS = 4096  # texts of a window,
_TOKENS = 1 << 18  # or as many as reach this many tokens


def always() -> bool:
    """Say yes: the next text is there, as those of a list are."""
    return True


def windows(
    texts: Iterable[str], tokenizer: Tokenizer, ready: Callable[[], bool]
) -> Iterator[list[tuple[str, Ids]]]:
    """Encode texts and yield them in lists of bounded size, each ended where `ready()` says no to the next text."""
    encoded = ((text, tokenizer.encode(text)) for text in texts)
    while window := list(_until_full(islice(encoded, _TEXTS), ready)):
        yield window


def _until_full(
    encoded: Iterator[tuple[str, Ids]], ready: Callable[[], bool]
) -> Iterator[tuple[str, Ids]]:
    tokens = 0
    for item in encoded:
        yield item
        tokens += len(item[1])
        if tokens >= _TOKENS or not ready():
            return
