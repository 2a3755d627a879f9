"""The table of an n-gram model in back-off form: a trie in level order, its checks and its lookups.

Node 0 is the root, the empty context; nodes 1 .. V are all tokens, in the order of their ids; then
come all 2-grams, and so on: the children of a node are neighbours, sorted by their last token, and
lie in the order of their parents. So a file need not say where children begin, only how many there
are. Every prefix and every suffix of an n-gram is in the table. lookups.py has the equations.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charlm.config import NO_TOKEN
from charlm.counts.lookups import Nodes, Trie
from charlm.errors import DataError
from charlm.nn import kernel
from charlm.nn.params import Array

MOST_ORDER = 10
_MOST_P = 1 + 1e-4  # float32, and the digits of an ARPA file, round
_MOST_BACKOFF = 1e6  # finite whatever is multiplied; estimates known lie below 100
_SUMS_WITHIN = 1e-3
_MOST_NODES = 2**31 - 2
_ARRAYS = ("token", "p", "children", "backoff")


class Counts:
    """Probabilities of n-grams of up to `order` tokens, of a vocabulary of V.

    Lookups write to their results alone, so threads may share it.

    begin: the token whose 1-gram is the context at a text's beginning; None: the empty context.
    token [N] uint8, uint16 or int32: the last token of nodes 1 .. N.
    p [N] float32: p(last token | the tokens before it).
    children [M] uint8, uint16 or int32: how many nodes 0 .. M - 1 have; others, of the highest
    order, have none.
    backoff [M] float32: what probabilities after the shorter context are multiplied with.
    """

    def __init__(
        self,
        order: int,
        vocab_size: int,
        begin: int | None,
        token: Array,
        p: Array,
        children: Array,
        backoff: Array,
    ) -> None:
        """Check all arrays and link every context with its suffix.

        Types must be the smallest: by V for tokens, by their largest for children. Raises DataError
        where anything does not fit.
        """
        _need(type(order) is int and 1 <= order <= MOST_ORDER, "order is out of range")
        _need(
            begin is None or (type(begin) is int and 0 <= begin < vocab_size), "begin is no token"
        )
        self.order, self.vocab_size, self.begin = order, vocab_size, begin
        self.beginnings = 0
        self.token, self.p, self.children, self.backoff = (
            np.require(array, None, ["C", "A", "W"]) for array in (token, p, children, backoff)
        )
        self._check_numbers()
        offset, starts = self._levels()
        self._check_tokens(offset)
        first = 0 if begin is None or order == 1 else 1 + begin
        suffix = np.zeros(len(self.children), np.int32)
        self._trie = Trie(
            vocab_size, self.token, self.p, self.backoff, offset, starts, suffix, first
        )
        facts = np.array([vocab_size, len(suffix), self.token.itemsize, first], np.int64)
        self._pointers = kernel.Pointers([facts, self.token, self.p, self.backoff, offset, suffix])
        self._link()

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Array], facts: Mapping[str, Any], vocab_size: int
    ) -> Counts:
        """Return the model that `tensors` and `facts` are of (DataError: of none)."""
        _need(tensors.keys() == set(_ARRAYS), "their arrays are not those of an n-gram model")
        _need(facts.keys() == {"order", "begin"}, "their facts are not those of an n-gram model")
        return cls(facts["order"], vocab_size, facts["begin"], **tensors)

    def tensors(self) -> dict[str, Array]:
        """Return the arrays of a file, by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def facts(self) -> dict[str, Any]:
        """Return what a file says beside the arrays and the model's vocabulary."""
        return {"order": self.order, "begin": self.begin}

    def ngrams(self) -> list[int]:
        """Return how many 1-grams there are, how many 2-grams, and so on up to `order`."""
        starts = self._trie.starts[1:]
        return [end - start for start, end in itertools.pairwise(starts)]

    @property
    def tables(self) -> tuple[Counts, ...]:
        """All tables that it is made of: itself."""
        return (self,)

    @property
    def trie(self) -> Trie:
        """Its arrays, linked, for what must see all of it."""
        return self._trie

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays in a file."""
        return sum(array.nbytes for array in self.tensors().values())

    def zero_state(self, columns: int) -> Nodes:
        """Return the context of each column before anything is read, not even a beginning: the root [B]."""
        return np.zeros(columns, np.int32)

    def walk(self, inputs: Array, reset: Array | None, state: Nodes) -> Nodes:
        """Return the context after each of inputs [T, B], read from `state` [B] on: nodes [T, B].

        After EOS, NO_TOKEN and a label (one of `beginnings` ids past the vocabulary) it is that of
        a text's beginning; an input at a `reset` [T, B] has nothing before it. The last row is the
        next state. Raises IndexError for what is no token or no context.
        """
        inputs, state = _dense(inputs, np.int32), _dense(state, np.int32)
        if self.beginnings:
            label = (inputs >= self.vocab_size) & (inputs < self.vocab_size + self.beginnings)
            inputs = np.where(label, np.int32(NO_TOKEN), inputs)
        if not kernel.serves(self.p):
            _within(inputs, NO_TOKEN, self.vocab_size)
            _within(state, 0, len(self.children))
            return self._trie.walk(inputs, reset, state)
        T, B = inputs.shape
        nodes = np.empty((T, B), np.int32)
        dense = None if reset is None else _dense(reset, np.uint8)
        kernel.call("counts_walk", self._pointers, T, B, inputs, dense, state, nodes)
        return nodes

    def targets(self, nodes: Nodes, targets: Array) -> NDArray[np.float64]:
        """Return p(targets | contexts), of any one shape (IndexError as in `walk`)."""
        nodes, targets = _dense(nodes, np.int32), _dense(targets, np.int32)
        if not kernel.serves(self.p):
            _within(nodes, 0, len(self.children))
            _within(targets, 0, self.vocab_size)
            p = self._trie.targets(nodes.reshape(-1), targets.reshape(-1))
            return p.reshape(nodes.shape)
        p = np.empty(nodes.shape)
        kernel.call("counts_targets", self._pointers, nodes.size, nodes, targets, p)
        return p

    def distribution(self, nodes: Nodes) -> NDArray[np.float64]:
        """Return p(x | contexts [n]) of every token x [n, V], to the bit as `targets` does."""
        nodes = _dense(nodes, np.int32)
        if not kernel.serves(self.p):
            _within(nodes, 0, len(self.children))
            return self._trie.distribution(nodes)
        p = np.empty((len(nodes), self.vocab_size))
        kernel.call("counts_distribution", self._pointers, len(nodes), nodes, p)
        return p

    def _check_numbers(self) -> None:
        V, N, M = self.vocab_size, self.token.size, self.children.size
        _need(
            all(array.ndim == 1 for array in self.tensors().values()), "an array is not of one axis"
        )
        _need(0 < V <= N <= _MOST_NODES and M > 0, "they are too few or too many")
        _need(len(self.p) == N and len(self.backoff) == M, "their arrays are of unlike lengths")
        _need(self.p.dtype == self.backoff.dtype == np.float32, "numbers are of another type")
        _need(self.children[0] == V, "the vocabulary is another")
        _need(self.token.dtype == narrowest(V - 1), "tokens are of another type")
        whole = self.children.dtype.kind in "iu"
        most = int(self.children.max()) if whole else 0
        fits = whole and self.children.dtype == narrowest(most)
        _need(fits, "numbers of children are of another type")
        _need(int(self.children.min()) >= 0, "numbers of children are negative")
        # NaN fails any comparison
        _need(self.p.min() > 0 and self.p.max() <= _MOST_P, "probabilities are out of range")
        bounded = self.backoff.min() > 0 and self.backoff.max() <= _MOST_BACKOFF
        _need(bool(bounded) and self.backoff[0] == 1, "back-off weights are out of range")

    def _levels(self) -> tuple[Nodes, list[int]]:
        """Return where each node's children begin [M + 1], and where those of each order begin."""
        N, M = len(self.token), len(self.children)
        ends = np.cumsum(self.children, dtype=np.int64)
        _need(ends[-1] == N, "children are more or fewer than there are")
        offset = np.concatenate([[1], 1 + ends]).astype(np.int32)
        starts = [0, 1]
        for _ in range(self.order - 1):
            _need(starts[-1] <= M, "their orders are fewer")
            starts.append(int(offset[starts[-1]]))
        _need(starts[-1] == M, "their orders are more or fewer")
        return offset, [*starts, N + 1]

    def _check_tokens(self, offset: Nodes) -> None:
        """Raise DataError unless tokens are of the vocabulary and rise among a node's children."""
        V = self.vocab_size
        _need(int(self.token.min()) >= 0 and int(self.token.max()) < V, "tokens are out of range")
        rises = np.ones(len(self.token) + 1, np.bool_)
        np.greater(self.token[1:], self.token[:-1], out=rises[1:-1])
        rises[offset - 1] = True  # the first child of a node follows another's last
        _need(bool(rises.all()), "tokens are not in order")

    def _link(self) -> None:
        """Fill in the suffix of every context.

        Raises DataError where one is missing, or where probabilities do not sum to 1.
        """
        totals = np.empty(len(self.children))
        if kernel.serves(self.p):
            missing = np.zeros(1, np.int32)
            kernel.call("counts_link", self._pointers, totals, missing)
            _need(not missing[0], "an n-gram lacks its suffix")
        else:
            self._link_in_numpy(totals)
        wrong = ~(np.abs(totals - 1) <= _SUMS_WITHIN)
        _need(not wrong.any(), "probabilities do not sum to 1")

    def _link_in_numpy(self, totals: NDArray[np.float64]) -> None:
        """Fill in the suffixes, and the sum over all tokens after each context to `totals` [M].

        With C the tokens of the children of a context s, and s' the suffix of s,

            total(s) = sum p(C | s) + backoff(s) * (total(s') - sum p(C | s'))

        where p(C | s') stand at the suffixes of the children.
        """
        trie, M = self._trie, len(self.children)
        of_shorter = np.zeros(M)
        for start, end, after in zip(
            trie.starts[1:-2], trie.starts[2:-1], trie.starts[3:], strict=True
        ):
            parent = np.repeat(np.arange(start, end), self.children[start:end])
            suffix = trie.child(trie.suffix[parent], self.token[end - 1 : after - 1])
            _need(bool(suffix.all()), "an n-gram lacks its suffix")
            trie.suffix[end : min(after, M)] = suffix[: max(0, M - end)]
            of_shorter[start:end] = np.bincount(
                parent - start, self.p[suffix - 1], minlength=end - start
            )
        parent = np.repeat(np.arange(M), self.children)
        totals[:] = np.bincount(parent, self.p, minlength=M)
        for start, end in zip(trie.starts[1:-2], trie.starts[2:-1], strict=True):
            level = slice(start, end)
            left = totals[trie.suffix[level]] - of_shorter[level]
            totals[level] += self.backoff[level] * left


def _need(holds: bool | np.bool_, fault: str) -> None:
    if not holds:
        raise DataError(f"its counts cannot be used, {fault}: give a file as charlm wrote it")


def narrowest(most: int) -> np.dtype[Any]:
    """Return the type of whole numbers up to `most`."""
    return np.dtype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.int32)


def _dense(array: Array, dtype: DTypeLike) -> Array:
    """Return an array as the compiled loops take it, a copy only where it is not so."""
    if array.dtype == dtype and array.flags.carray:
        return array
    return np.require(array, dtype, ["C", "A", "W"])


def _within(array: Array, low: int, high: int) -> None:
    if array.size and not (low <= int(array.min()) and int(array.max()) < high):
        raise IndexError(f"indices must lie in {low} .. {high - 1}")
