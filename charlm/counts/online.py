"""N-grams of the text so far: counted as it is read, and what they say of each token before it.

With c(s x) how often x has come after a context s, c(s) how often anything has, T(s) how many
different tokens have, and s' the context s without its first token,

    p(x | s) = (c(s x) + T(s) p(x | s')) / (c(s) + T(s))

which is interpolation by Witten & Bell (1991), "The zero-frequency problem", method C: where much
that came was new, much is left to the shorter context. Below the empty context all V tokens are
alike, 1 / V; a context that nothing has followed yet says what the shorter one says.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

MOST_NGRAMS = 1_000_000


class OnlineCounts:
    """Counts n-grams of up to `order` tokens of a text that is read from its beginning, of V
    different tokens.

    They are a trie: node 0 is the empty context. Some 130 bytes an n-gram; beyond `most` of them
    known ones are counted on, and new ones are no longer learnt.

    >>> counts = OnlineCounts(vocab_size=4, order=2)
    >>> counts.read([2, 3, 2])[0]  # 1/4; then 2 is known, 3 is not; then (1 + 2/4) / (2 + 2)
    [0.25, 0.125, 0.375]
    """

    def __init__(self, vocab_size: int, order: int, most: int = MOST_NGRAMS) -> None:
        self._vocab_size, self._order, self._most = vocab_size, order, most
        self._child: dict[int, int] = {}  # by parent * V + token
        self._count = array("i", [0])  # of node 0 it stands for what has not come: 0
        self._followed, self._different = array("i", [0]), array("i", [0])
        self._contexts = [0]  # of the last 0, 1, 2 .. tokens, up to order - 1

    @property
    def size(self) -> int:
        """How many n-grams there are."""
        return len(self._child)

    def read(self, ids: Sequence[int]) -> tuple[list[float], list[int]]:
        """Return of each token its p before it was counted, and what it was judged by; then count
        it.

        That is twice the number of contexts that were known, those with the empty one, and one less
        where the longest of them had been followed by one token alone; 0 is for the first token.
        """
        chances, kinds = [], []
        for token in ids:
            known = [self._child.get(node * self._vocab_size + token, 0) for node in self._contexts]
            p, kind = self._chance(known)
            chances.append(p)
            kinds.append(kind)
            self._learn(token, known)
        return chances, kinds

    def _chance(self, known: list[int]) -> tuple[float, int]:
        """Return p of a token and its kind, given the child by it of each context, 0 for none."""
        p, kind = 1 / self._vocab_size, 0
        for length, (node, child) in enumerate(zip(self._contexts, known, strict=True), start=1):
            followed, different = self._followed[node], self._different[node]
            if not followed:
                break  # and a longer one has come no more often
            p = (self._count[child] + different * p) / (followed + different)
            kind = 2 * length - (different == 1)
        return p, kind

    def _learn(self, token: int, known: list[int]) -> None:
        after = [0]
        for node, child in zip(self._contexts, known, strict=True):
            if not child:
                if self.size >= self._most:
                    break  # nor is there room for a longer one
                child = self._new(node, token)
            self._count[child] += 1
            self._followed[node] += 1
            after.append(child)
        self._contexts = after[: self._order]

    def _new(self, node: int, token: int) -> int:
        child = len(self._count)
        self._child[node * self._vocab_size + token] = child
        for each in (self._count, self._followed, self._different):
            each.append(0)
        self._different[node] += 1
        return child
