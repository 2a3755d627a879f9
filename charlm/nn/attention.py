"""Attention: each step of a target looks at the steps of its own source (Luong et al. 2015, the
form that they call general, without input feeding).

    k_j = K m_j        v_j = V m_j        a_t = softmax over j of y_t . k_j
    out_t = tanh(C y_t + b + sum_j a_tj v_j)

m: the values of a source's steps, y: those of a target's. Luong's W_a is K, and his W_c is [V, C]:
as sums may be taken in any order, v is made once for each step of a source and not for each of a
target. Nothing here goes from step to step: it is done for all at once, outside the time loop.

Backward, for the gradient d_t of what the tanh is taken of:

    e_tj = d_t . v_j                     g_tj = a_tj (e_tj - sum_i a_ti e_ti)
    dy_t = C^T d_t + sum_j g_tj k_j      dk_j = sum_t g_tj y_t      dv_j = sum_t a_tj d_t

Pairs whose lengths are the same are done together: nothing is padded, no pair knows of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from charlm.nn import names
from charlm.nn.layers import Linear, Tape
from charlm.nn.panels import Panels
from charlm.nn.params import Array, Params, Shape, Workspace
from charlm.nn.pooling import Places, Rows


class _Placed(NamedTuple):
    """Some texts of a chunk (`charlm.nn.pooling.Places`)."""

    column: Array
    first: Array
    length: Array


class Group(NamedTuple):
    """Pairs with targets of `n` steps and sources of `m`: their rows of a `Meeting`, and their
    looks."""

    targets: slice
    sources: slice
    looks: slice
    pairs: int
    n: int
    m: int


class Meeting:
    """Who looks at what: targets and sources in chunks of their own, text i of each being pair i.

    order: the pairs as they are sorted here, by length [N]. target, source: which rows of the
    chunks are theirs, in that order. looks: how often a step of a target looks at one of a source.
    """

    def __init__(self, target: Places, columns: int, source: Places, source_columns: int) -> None:
        """Take the places of targets and sources in chunks of so many columns."""
        self.order = np.lexsort((target.length, source.length))
        self.target, self.source = (
            Rows(
                _Placed(each.column[self.order], each.first[self.order], each.length[self.order]), b
            )
            for each, b in ((target, columns), (source, source_columns))
        )
        self.groups = list(self._grouped())
        self.looks = self.groups[-1].looks.stop

    def _grouped(self) -> Iterator[Group]:
        n, m = self.target.length, self.source.length
        changes = np.flatnonzero((np.diff(n) != 0) | (np.diff(m) != 0)) + 1
        bounds = [0, *changes.tolist(), len(n)]
        first = target = source = looks = 0
        for last in bounds[1:]:
            count, each, other = last - first, int(n[first]), int(m[first])
            after = target + count * each, source + count * other, looks + count * each * other
            yield Group(
                slice(target, after[0]), slice(source, after[1]), slice(looks, after[2]),
                count, each, other,
            )  # fmt: skip
            first, (target, source, looks) = last, after

    def each_pair(self, shares: Array) -> list[Array]:
        """Return the shares [looks] of each pair, [n, m], in the order in which the pairs were
        given."""
        result: list[Array] = [shares] * len(self.order)
        number = iter(self.order.tolist())
        for group in self.groups:
            for share in shares[group.looks].reshape(group.pairs, group.n, group.m):
                result[next(number)] = share
        return result


class Attention:
    """Maps targets' values [R, H] to [R, H], given the sources' [S, W]; buffers, but no
    parameters."""

    def __init__(self) -> None:
        self._key, self._value = (
            Linear(name, None) for name in (names.KEY_WEIGHT, names.VALUE_WEIGHT)
        )
        self._own = Linear(names.COMBINE_WEIGHT, names.COMBINE_BIAS)
        self._space = Workspace()
        self._tape: Tape[tuple[Meeting, Array, Array, Array, Array, Array]] = Tape()

    def known(self, params: Params | Panels, memory: Array) -> tuple[Array, Array]:
        """Return the keys and the values [S, H] of sources' steps, given the encoder's [S, W]."""
        return self._key.forward(params, memory), self._value.forward(params, memory)

    def forward(
        self, params: Params | Panels, y: Array, memory: Array, meeting: Meeting
    ) -> tuple[Array, Array]:
        """Return out [R, H], and how much each step looks at each, [looks], for the rows of a
        meeting.

        With `Panels` each row is summed in one order, however many there are.
        """
        keys, values = self.known(params, memory)
        out = self._own.forward(params, y)
        shares = self._space("shares", (meeting.looks,), y.dtype)
        alone = isinstance(params, Panels)
        for group in meeting.groups:
            share = shares[group.looks].reshape(group.pairs, group.n, group.m)
            context = look(*_of(group, y, keys, values), alone, share)
            out[group.targets] += context.reshape(-1, y.shape[1])
        np.tanh(out, out=out)
        self._tape.put((meeting, y, keys, values, shares, out))
        return out, shares

    def backward(self, params: Params, grads: Params, dout: Array) -> tuple[Array, Array]:
        """Add all gradients; return dy [R, H] and that of the memory [S, W]; dout is used up."""
        meeting, y, keys, values, shares, out = self._tape.take()
        dout *= 1 - out * out
        dy = self._own.backward(params, grads, dout)
        dkeys, dvalues = (self._space(name, keys.shape, keys.dtype) for name in ("dk", "dv"))
        for group in meeting.groups:
            share = shares[group.looks].reshape(group.pairs, group.n, group.m)
            q, k, v = _of(group, y, keys, values)
            d, dk, dv = _of(group, dout, dkeys, dvalues)
            dshare = d @ v.transpose(0, 2, 1)
            dshare -= np.einsum("gnm,gnm->gn", dshare, share)[:, :, None]
            dshare *= share
            dy[group.targets] += (dshare @ k).reshape(-1, y.shape[1])
            np.matmul(dshare.transpose(0, 2, 1), q, out=dk)
            np.matmul(share.transpose(0, 2, 1), d, out=dv)
        dmemory = self._key.backward(params, grads, dkeys)
        dmemory += self._value.backward(params, grads, dvalues)
        return dy, dmemory

    def step(self, params: Params | Panels, y: Array, memory: Memory, which: Array) -> Array:
        """Return out [T, B, H] of y [T, B, H], whose column b looks at source `which[b]`."""
        out = self._own.forward(params, y)
        assert memory.keys is not None
        assert memory.values is not None
        length = memory.length[which]
        for m in np.unique(length).tolist():
            columns = np.flatnonzero(length == m)
            every = len(columns) == y.shape[1]
            q = (y if every else y[:, columns]).transpose(1, 0, 2)
            k, v = (memory.of(each, which[columns], m) for each in (memory.keys, memory.values))
            context = look(q, k, v, isinstance(params, Panels)).transpose(1, 0, 2)
            if every:
                out += context
            else:
                out[:, columns] += context
        return np.tanh(out, out=out)


class Memory(NamedTuple):
    """What is known of N sources once they are read: all that writing their targets takes.

    products [N, G·H]: what is added to the decoder's input product. keys, values [S, H]: of the
    sources' steps, source by source; None without attention. begin, length [N]: where in these.
    """

    products: Array
    keys: Array | None
    values: Array | None
    begin: Array
    length: Array

    def at(self, numbers: Array) -> Memory:
        """Return what is known of some of the sources."""
        length = self.length[numbers]
        begin = np.cumsum(length) - length
        row = np.repeat(self.begin[numbers] - begin, length) + np.arange(int(length.sum()))
        keys, values = (None if each is None else each[row] for each in (self.keys, self.values))
        return Memory(self.products[numbers], keys, values, begin, length)

    def of(self, rows: Array, which: Array, m: int) -> Array:
        """Return the rows of some sources of m steps, [g, m, H], or [1, m, H] where all are one
        source.

        They are copied only where they do not stand end to end.
        """
        begin = self.begin[which]
        if (begin == begin[0]).all():
            begin = begin[:1]
        elif (np.diff(begin) != m).any():
            return np.asarray(rows[begin[:, None] + np.arange(m)])
        return rows[begin[0] : begin[0] + m * len(begin)].reshape(len(begin), m, rows.shape[1])


def look(q: Array, k: Array, v: Array, alone: bool, out: Array | None = None) -> Array:
    """Return what steps q [g, n, H] see of values v [g, m, H]; their shares go to `out` [g, n, m].

    Where all look at one source, k and v are [1, m, H]. `alone`: each step is a product of its own,
    so that it is summed in one order whatever others there are.
    """
    share = np.empty((*q.shape[:2], k.shape[1]), q.dtype) if out is None else out
    turned = k.transpose(0, 2, 1)
    if alone:
        np.matmul(q[:, :, None], turned[:, None], out=share[:, :, None])
    else:
        np.matmul(q, turned, out=share)
    share -= np.maximum.reduce(share, axis=2, keepdims=True)
    np.exp(share, out=share)
    share /= np.add.reduce(share, axis=2, keepdims=True)
    if alone:
        return np.asarray(share[:, :, None] @ v[:, None])[:, :, 0]
    return np.asarray(share @ v)


def attention_shapes(width: int, hidden: int) -> dict[str, Shape]:
    """Return the names and shapes of the parameters, of an encoder's and a decoder's width."""
    return {
        names.KEY_WEIGHT: (hidden, width),
        names.VALUE_WEIGHT: (hidden, width),
        names.COMBINE_WEIGHT: (hidden, hidden),
        names.COMBINE_BIAS: (hidden,),
    }


def _of(group: Group, y: Array, keys: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return the rows of a group as [pairs, n, H], [pairs, m, H] and the same."""
    hidden = y.shape[1]
    return (
        y[group.targets].reshape(group.pairs, group.n, hidden),
        keys[group.sources].reshape(group.pairs, group.m, hidden),
        values[group.sources].reshape(group.pairs, group.m, hidden),
    )
