"""Lookups in a trie of n-grams: in NumPy here, in counts.c compiled, with the same bits.

A context s is a node, the longest suffix of what was read that the trie has. Where s x is a node
too, its p is p(x | s); else one backs off:

    p(x | s) = backoff(s) * p(x | s without its first token)

The back-off weights are multiplied from the longest context on, in float64, and p last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.nn.params import Array
from charlm.text.tokenizers import EOS

Nodes = NDArray[np.int32]


@dataclass(frozen=True)
class Trie:
    """The arrays of `charlm.counts.table.Counts`, with what they lack to be walked.

    offset [M + 1]: where the children of a node begin. starts [order + 2]: where those of an order
    begin, the root being of order 0. suffix [M]: the node of an n-gram without its first token.
    begin: the node of the context at a text's beginning.
    """

    vocab_size: int
    token: Array
    p: Array
    backoff: Array
    offset: Nodes
    starts: list[int]
    suffix: Nodes
    begin: int

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """Parent and last token of nodes 1 .. N in one number [N], which rises: 8 bytes a node."""
        parent = np.repeat(np.arange(len(self.suffix)), np.diff(self.offset))
        return np.asarray(parent * self.vocab_size + self.token)

    def child(self, node: Nodes, token: Array) -> Nodes:
        """Return the children of nodes by tokens, of shapes that broadcast, 0 where none is."""
        key = node.astype(np.int64) * self.vocab_size + token
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where(self.keys[place] == key, place + 1, 0).astype(np.int32)

    def walk(self, inputs: Array, reset: Array | None, state: Nodes) -> Nodes:
        """Return the contexts [T, B] after inputs [T, B], read from contexts [B] on."""
        if len(self.starts) == 3:  # unigrams have no context but the root
            return np.zeros(inputs.shape, np.int32)
        begins = (inputs == NO_TOKEN) | (inputs == EOS)
        alone = begins if reset is None else begins | reset
        if len(inputs) > 1:
            longest = self._longest(inputs, alone, state)
        else:  # nothing waits for a step before: all orders are looked up at once
            chain, _ = self._chain(np.where(alone[0], 0, state))
            known = self.child(chain, inputs)  # [K, B], the highest order being no context
            longest = np.where(known < len(self.suffix), known, 0).max(axis=0)[None]
        return np.where(begins, np.int32(self.begin), longest)

    def _longest(self, inputs: Array, alone: Array, state: Nodes) -> Nodes:
        """Return the longest contexts [T, B]; nothing stands before inputs that are `alone`.

        Order by order: the n-gram that ends at a step is a child of the shorter one that ends at
        the step before. Longer ones have larger numbers.
        """
        before = self._by_order(state)
        node = np.where(inputs > 0, inputs + 1, self.begin).astype(np.int32)  # [T, B], of 1-grams
        longest = node.copy()
        for last in before[:-1]:
            previous = np.concatenate([last[None], node[:-1]])
            goes_on = (previous > 0) & ~alone
            if not goes_on.any():
                break
            node = np.zeros_like(longest)
            node[goes_on] = self.child(previous[goes_on], inputs[goes_on])
            np.maximum(longest, node, out=longest)
        return longest

    def _by_order(self, state: Nodes) -> list[Nodes]:
        """Return the suffixes of contexts [B] that are 1-grams, 2-grams, ..., 0 for shorter."""
        found = []
        for start in reversed(self.starts[1:-2]):
            found.append(np.where(state >= start, state, 0))
            state = np.where(state >= start, self.suffix[state], state)
        return found[::-1]

    def targets(self, nodes: Nodes, targets: Array) -> NDArray[np.float64]:
        """Return p(targets [n] | contexts [n]) [n]."""
        chain, scales = self._chain(nodes)
        child = self.child(chain, targets)  # [K, n]
        first, row = np.argmax(child > 0, axis=0), np.arange(len(nodes))
        return np.asarray(self.p[child[first, row] - 1] * scales[first, row])

    def distribution(self, nodes: Nodes) -> NDArray[np.float64]:
        """Return p(x | contexts [n]) of every token x [n, V].

        What short contexts say is written first, then over it what longer ones say.
        """
        chain, scales = self._chain(nodes)
        p: NDArray[np.float64] = self.p[: self.vocab_size] * scales[-1][:, None]  # [n, V]
        begin = self.offset[chain]
        count = np.where(chain > 0, self.offset[chain + 1] - begin, 0)
        skipped = begin - (np.cumsum(count, axis=1) - count)
        for k in reversed(range(len(chain) - 1)):
            row = np.repeat(np.arange(len(nodes)), count[k])
            place = np.arange(len(row)) + np.repeat(skipped[k], count[k]) - 1
            p[row, self.token[place]] = self.p[place] * scales[k][row]
        return p

    def _chain(self, nodes: Nodes) -> tuple[Nodes, NDArray[np.float64]]:
        """Return contexts [n] and their suffixes, down to a row of roots, and what scales p there.

        Both are [K, n]; the root's back-off weight is 1.
        """
        chain, scales = [nodes], [np.ones(len(nodes))]
        while chain[-1].any():
            scales.append(scales[-1] * self.backoff[chain[-1]])
            chain.append(self.suffix[chain[-1]])
        return np.stack(chain), np.stack(scales)
