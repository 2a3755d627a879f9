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
        return keys(self.vocab_size, self.token, self.offset)

    def child(self, node: Nodes, token: Array) -> Nodes:
        """Return the children of nodes [n] by tokens [n], and 0 where there is none."""
        key = node.astype(np.int64) * self.vocab_size + token
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where(self.keys[place] == key, place + 1, 0).astype(np.int32)

    def walk(self, inputs: Array, reset: Array | None, state: Nodes) -> Nodes:
        """Return the contexts [T, B] after inputs [T, B], read from contexts [B] on.

        Order by order: the n-gram that ends at a step is a child of the shorter one that ends at
        the step before.
        """
        if len(self.starts) == 3:  # unigrams have no context but the root
            return np.zeros(inputs.shape, np.int32)
        begins = (inputs == NO_TOKEN) | (inputs == EOS)
        alone = begins if reset is None else begins | reset
        node = np.where(begins, self.begin, inputs + 1).astype(np.int32)  # [T, B], of 1-grams
        longest, before = node.copy(), self._by_order(state)
        for last in before[:-1]:
            previous = np.concatenate([last[None], node[:-1]])
            goes_on = (previous > 0) & ~alone
            if not goes_on.any():
                break
            node = np.zeros_like(longest)
            node[goes_on] = self.child(previous[goes_on], inputs[goes_on])
            longest = np.where(node > 0, node, longest)
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
        p, scale = np.zeros(len(nodes)), np.ones(len(nodes))
        left, node = np.arange(len(nodes)), nodes
        while len(left):
            child = self.child(node, targets[left])
            found = child > 0
            p[left[found]] = self.p[child[found] - 1] * scale[left[found]]
            left, node = left[~found], node[~found]
            scale[left] *= self.backoff[node]
            node = self.suffix[node]
        return p

    def distribution(self, nodes: Nodes) -> NDArray[np.float64]:
        """Return p(x | contexts [n]) of every token x [n, V].

        What short contexts say is written first, then over it what longer ones say.
        """
        scales, chain = [np.ones(len(nodes))], [nodes]
        while chain[-1].any():
            weight = np.where(chain[-1] > 0, self.backoff[chain[-1]], 1)
            scales.append(scales[-1] * weight)
            chain.append(self.suffix[chain[-1]])
        p = self.p[: self.vocab_size] * scales[-1][:, None]  # [n, V]
        for node, scale in zip(chain[-2::-1], scales[-2::-1], strict=True):
            count = np.where(node > 0, self.offset[node + 1] - self.offset[node], 0)
            row = np.repeat(np.arange(len(nodes)), count)
            ends = np.cumsum(count)
            child = np.arange(len(row)) + np.repeat(self.offset[node] - (ends - count), count)
            p[row, self.token[child - 1]] = self.p[child - 1] * scale[row]
        return p


def keys(vocab_size: int, token: Array, offset: Nodes) -> NDArray[np.int64]:
    """Return parent and last token of nodes 1 .. N in one number [N]."""
    parent = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    return np.asarray(parent * vocab_size + token)
