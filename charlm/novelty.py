"""Does a model learn or memorise: what of a written text stands, word for word, in the training text."""

from __future__ import annotations

from collections.abc import Iterable

from charlm.text.sequences import Kind

_BETWEEN = "\ud800"  # half a character, which no text has: no run goes over it


class Novelty:
    """Compares texts with a training text, given as its sequences."""

    def __init__(self, sequences: Iterable[str], kind: Kind) -> None:
        """Remember the text; of documents a text is copied if it stands anywhere in one, else if it
        is one.
        """
        parts = list(sequences)
        self._whole = None if kind.document else frozenset(parts)
        self._text = _BETWEEN.join(parts)

    def copied(self, text: str) -> bool:
        """Return whether the whole text stands in the training text."""
        return text in (self._text if self._whole is None else self._whole)

    def longest_run(self, text: str) -> str:
        """Return the longest piece of the text that stands in the training text, the first of several as long."""
        best = ""
        for start in range(len(text)):
            while len(text) > start + len(best) and text[start : start + len(best) + 1] in self._text:
                best = text[start : start + len(best) + 1]
        return best
