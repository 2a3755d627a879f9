"""The n-grams of texts with labels: those of all texts, and beside them those of each label's own.

    p(x | label, s) = (1 - share) p(x | s) + share p_label(x | s)

Both are tables of one vocabulary (charlm.counts.table). All texts have more to tell about what is
rare, a label's own about what is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN
from charlm.counts.lookups import Nodes
from charlm.counts.table import Counts, narrowest
from charlm.errors import DataError
from charlm.nn.params import Array

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the labels' own tables, which validation tries
USUAL_SHARE = 0.5  # where there is no validation part
_OWN = "own."  # what the names of their arrays begin with in a file
_WHY = "its counts by label cannot be used, {}: give a file as charlm wrote it"

P = NDArray[np.float64]


class LabelCounts:
    """Probabilities of n-grams, given a label: what `Counts` is for texts without labels.

    A label is told where its text begins, by the input `vocab_size` + its number. A context is two
    nodes, that of all texts and that of the label: nodes are [..., 2]. The second numbers the nodes
    of all labels' tables, one table's after those of another, so that it says which label it is of.

    share: how much the labels' own tables have to say.
    """

    def __init__(self, every: Counts, own: Sequence[Counts], share: float = USUAL_SHARE) -> None:
        """Put the table of all texts and one for each label together."""
        every.beginnings = self.beginnings = len(own)
        self.order, self.vocab_size, self.begin = every.order, every.vocab_size, every.begin
        self.share, self._every, self._own = share, every, tuple(own)
        contexts = (len(table.children) for table in own)
        self._first = np.array([*accumulate(contexts, initial=0)][:-1], np.int32)  # node of each

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Array], facts: Mapping[str, Any], vocab_size: int
    ) -> LabelCounts:
        """Return the counts that `tensors` and `facts` are of (DataError: of none)."""
        facts = dict(facts)
        share, sizes = facts.pop("share", None), facts.pop("own", None)
        _need(type(share) in (int, float) and 0 <= share <= 1, "the share is none")
        own = {
            name.removeprefix(_OWN): array
            for name, array in tensors.items()
            if name.startswith(_OWN)
        }
        others = {name: array for name, array in tensors.items() if not name.startswith(_OWN)}
        every = Counts.from_tensors(others, facts, vocab_size)
        tables = [
            Counts.from_tensors(arrays, {"order": order, "begin": every.begin}, vocab_size)
            for order, arrays in _cut(own, sizes)
        ]
        return cls(every, tables, float(share))

    def tensors(self) -> dict[str, Array]:
        """Return the arrays of a file, by name: the labels' own end to end."""
        own = [table.tensors() for table in self._own]
        joined = {
            f"{_OWN}{name}": np.concatenate([arrays[name] for arrays in own]) for name in own[0]
        }
        return self._every.tensors() | joined

    def facts(self) -> dict[str, Any]:
        """Return what a file says beside the arrays and the model's vocabulary: of each label's
        table the order, the nodes and the contexts.
        """
        sizes = [[table.order, len(table.token), len(table.children)] for table in self._own]
        return self._every.facts() | {"share": self.share, "own": sizes}

    @property
    def tables(self) -> tuple[Counts, ...]:
        """All tables that it is made of: that of all texts, then one for each label."""
        return self._every, *self._own

    def ngrams(self) -> list[int]:
        """Return how many 1-grams there are in all tables, how many 2-grams, and so on."""
        order = max(table.order for table in self.tables)
        counts = np.zeros((len(self.tables), order), np.int64)
        for row, table in zip(counts, self.tables, strict=True):
            row[: table.order] = table.ngrams()
        found: list[int] = counts.sum(axis=0).tolist()
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays in a file."""
        return self._every.nbytes + sum(table.nbytes for table in self._own)

    def zero_state(self, columns: int) -> Nodes:
        """Return the context of each column before anything is read, not even a label: [B, 2]."""
        return np.zeros((columns, 2), np.int32)

    def walk(self, inputs: Array, reset: Array | None, state: Nodes) -> Nodes:
        """Return the contexts [T, B, 2] after inputs [T, B], read from `state` [B, 2] on.

        Inputs past the vocabulary begin a text of their label; else as `Counts.walk`.
        """
        nodes = np.empty((*inputs.shape, 2), np.int32)
        nodes[..., 0] = self._every.walk(inputs, reset, state[:, 0])
        before = self._labels_of(state[:, 1])
        label = _told(inputs - self.vocab_size, before)
        plain = np.where(inputs >= self.vocab_size, np.int32(NO_TOKEN), inputs)
        for number in np.unique(label).tolist():
            here = label == number
            columns = np.flatnonzero(here.any(axis=0))
            first, own = self._first[number], state[columns, 1]
            # What the steps of other labels lead to is forgotten where a text begins.
            found = self._own[number].walk(
                plain[:, columns],
                None if reset is None else reset[:, columns],
                np.where(before[columns] == number, own - first, 0).astype(np.int32),
            )
            there = here[:, columns]
            steps, places = np.nonzero(there)
            nodes[steps, columns[places], 1] = first + found[there]
        return nodes

    def targets(self, nodes: Nodes, targets: Array) -> P:
        """Return p(targets | contexts), `nodes` having one more axis than `targets`."""
        return self._blend(*self._both(nodes, targets), self.share)

    def targets_by_share(self, nodes: Nodes, targets: Array) -> P:
        """Return what `targets` does under each of SHARES, [S, ...]."""
        every, own = self._both(nodes, targets)
        return np.stack([self._blend(every, own, share) for share in SHARES])

    def distribution(self, nodes: Nodes) -> P:
        """Return p(x | contexts [n, 2]) of every token x [n, V], to the bit as `targets` does."""
        own = np.empty((len(nodes), self.vocab_size))
        for rows, table, of in self._by_label(nodes[:, 1]):
            own[rows] = table.distribution(of)
        every = self._every.distribution(np.ascontiguousarray(nodes[:, 0]))
        return self._blend(every, own, self.share)

    def _both(self, nodes: Nodes, targets: Array) -> tuple[P, P]:
        """Return what all texts say of the targets, and what their labels' own do."""
        every = self._every.targets(np.ascontiguousarray(nodes[..., 0]), targets)
        flat, own = targets.reshape(-1), np.empty(targets.size)
        for rows, table, of in self._by_label(nodes[..., 1].reshape(-1)):
            own[rows] = table.targets(of, flat[rows])
        return every, own.reshape(targets.shape)

    def _by_label(self, nodes: Nodes) -> Iterator[tuple[NDArray[np.int64], Counts, Nodes]]:
        """Yield for each label the places of its nodes [n], its table, and the nodes in that."""
        label = self._labels_of(nodes)
        for number in np.unique(label).tolist():
            rows = np.flatnonzero(label == number)
            yield rows, self._own[number], nodes[rows] - self._first[number]

    def _labels_of(self, nodes: Nodes) -> NDArray[np.int64]:
        """Return the numbers of the labels in whose tables nodes are."""
        return np.searchsorted(self._first, nodes, "right") - 1

    @staticmethod
    def _blend(every: P, own: P, share: float) -> P:
        return (1 - share) * every + share * own


AnyCounts = Counts | LabelCounts


def counts_of_tensors(
    tensors: Mapping[str, Array], facts: Mapping[str, Any], vocab_size: int, labels: int
) -> AnyCounts:
    """Return the counts that `tensors` and `facts` are of: by label or not, where a model has so
    many `labels` (DataError: of none).
    """
    if "own" not in facts:
        return Counts.from_tensors(tensors, facts, vocab_size)
    counts = LabelCounts.from_tensors(tensors, facts, vocab_size)
    _need(counts.beginnings == labels, "its labels are not as many as the model's shape has")
    return counts


def _told(labels: Array, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the label of each step [T, B]: what the last of `labels` [T, B] that is 0 or more
    says, else that before.
    """
    every = np.concatenate([before[None], labels])
    step = np.where(every >= 0, np.arange(len(every))[:, None], 0)
    return np.take_along_axis(every, np.maximum.accumulate(step, axis=0), axis=0)[1:]


def _cut(arrays: Mapping[str, Array], sizes: Any) -> Iterator[tuple[Any, dict[str, Array]]]:
    """Yield the order and the arrays of each label's table (DataError)."""
    _need(isinstance(sizes, list) and len(sizes) > 0, "it says of no label's table how large it is")
    nodes = contexts = 0
    for size in sizes:
        right = isinstance(size, list) and len(size) == 3 and all(type(n) is int for n in size)
        _need(right and min(size) > 0, "a table has no size")
        order, more_nodes, more_contexts = size
        ends = {"token": (nodes, more_nodes), "p": (nodes, more_nodes)}
        ends |= {"children": (contexts, more_contexts), "backoff": (contexts, more_contexts)}
        _need(arrays.keys() == ends.keys(), "their arrays are not those of an n-gram model")
        table = {name: array[ends[name][0] : sum(ends[name])] for name, array in arrays.items()}
        yield order, table | {"children": _narrow(table["children"])}
        nodes, contexts = nodes + more_nodes, contexts + more_contexts
    whole = {"token": nodes, "p": nodes, "children": contexts, "backoff": contexts}
    _need(
        all(array.shape == (whole[name],) for name, array in arrays.items()), "their sizes differ"
    )


def _narrow(children: Array) -> Array:
    """Return a table's numbers of children in the type that they have by themselves: end to end
    with others they may have a wider one.
    """
    usable = children.size > 0 and children.ndim == 1 and children.dtype.kind in "iu"
    return children.astype(narrowest(int(children.max()))) if usable else children


def _need(holds: bool, fault: str) -> None:
    if not holds:
        raise DataError(_WHY.format(fault))
