"""Which tokens may come next in texts that are written side by side, so that each is one of its
kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.text.batches import Ids
from charlm.text.sequences import Kind
from charlm.text.tokenizers import EOS, SPECIALS, Tokenizer

Mask = NDArray[np.bool_]


class Allowed:
    """What may be drawn: at first what `first` [V] has, and of a paragraph nothing that leaves a
    line blank.

    A line is blank so far where nothing but white space stands in it: neither a newline nor the end
    of the text may come then, so that what is written is one paragraph when it is read again.
    """

    def __init__(self, tokenizer: Tokenizer | None = None, kind: Kind | None = None) -> None:
        """Allow what a kind of sequence has in a tokenizer's vocabulary; all unless they are
        given."""
        self.first: Mask | None = None
        self._newline = -1  # no token
        self._white: Mask | None = None  # which tokens are white space, [V]; None: it is no matter
        self._ends: Mask | None = None
        if tokenizer is None or kind is None or kind.document or not kind.newline:
            return
        names = ["a", "a", *map(tokenizer.token, range(len(SPECIALS), tokenizer.size))]
        white = np.array([name.isspace() for name in names])
        if tokenizer.kind == "byte":  # which are shown otherwise
            white[len(SPECIALS) :] = [chr(value).isspace() for value in range(256)]
        if white[len(SPECIALS) :].all():  # a line that must not be blank would have no end
            return
        if tokenizer.newline is not None:
            self._newline = tokenizer.newline
        self._white, self._ends = white, np.isin(np.arange(tokenizer.size), [EOS, self._newline])

    def begin(self, prompt: Ids, texts: int) -> Mask | None:
        """Return where lines are blank so far, [n texts], after a prompt [ids]; None where it does
        not matter."""
        if self._white is None:
            return None
        ended = np.flatnonzero(prompt == self._newline)
        line = prompt[ended[-1] :] if len(ended) else prompt
        return np.full(texts, bool(self._white[line].all()))

    def after(self, blank: Mask | None, ids: NDArray[np.intp]) -> Mask | None:
        """Return `begin`'s answer [n] once one more token of each text is there, ids [n]."""
        if blank is None or self._white is None:
            return None
        after: Mask = (blank & self._white[ids]) | (ids == self._newline)
        return after

    def tokens(self, first: bool, blank: Mask | None) -> Mask | None:
        """Return which tokens may come next, [V] or of each text [n, V]; None: all. `first`: none
        has come yet."""
        opening = self.first if first else None
        if blank is None or self._ends is None or not blank.any():
            return opening
        lines = ~(blank[:, None] & self._ends)
        return lines if opening is None else lines & opening
