"""Does a model learn or memorise: what of a written text stands, word for word, in the training text."""

from __future__ import annotations

from collections.abc import Iterable


class Novelty:
    """Compares texts with a training text, given as its sequences: the lines, or the whole of each document."""

    def __init__(self, sequences: Iterable[str], lines: bool) -> None:
        """Remember the text; `lines` says that a text is copied if it is a line, not if it is anywhere in it."""
        parts = list(sequences)
        self._lines = frozenset(parts) if lines else None
        self._text = "\n".join(parts)

    def copied(self, text: str) -> bool:
        """Return whether the whole text stands in the training text."""
        return text in (self._text if self._lines is None else self._lines)

    def longest_run(self, text: str) -> str:
        """Return the longest piece of the text that stands in the training text, the first of several as long."""
        best = ""
        for start in range(len(text)):
            while len(text) > start + len(best) and text[start : start + len(best) + 1] in self._text:
                best = text[start : start + len(best) + 1]
        return best
