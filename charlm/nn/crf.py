"""A linear chain of tags: a conditional random field (Lafferty et al. 2001), and the best tags of a
sentence.

    p(y | x) = exp(s(y)) / Z        s(y) = b[y_1] + sum_t m_t[y_t] + sum_t W[y_t-1, y_t] + c[y_n]

m_t: the scores of the tags of place t, W, b, c: how well tags go before one another, begin and end.
With e_t = exp(m_t), forward and backward are products of matrices, kept at a sum of 1 by dividing
at each step:

    a_1 = exp(b) * e_1        a_t = (a_t-1 exp(W)) * e_t
    z_n = exp(c)              z_t = exp(W) (e_t+1 * z_t+1)
    p(y_t = j) ~ a_t[j] z_t[j]        p(y_t = i, y_t+1 = j) ~ a_t[i] exp(W[i, j]) e_t+1[j] z_t+1[j]

log Z is the sum of the logarithms of what was divided by. A gradient is the expectation minus what
was observed; where a tag is not known, what is observed is expected too, over all that it may be,
and the probability is that of the known ones.

The best tags (Viterbi 1967) take sums of scores instead of products, and the maximum instead of the
sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charlm.nn import kernel, names
from charlm.nn.params import Array, Params, Shape

# Of a transition that is not allowed: where no tags are free of one, those with the fewest are
# best.
FORBIDDEN = -1e12
# Nats that a transition may lie below the best one, so that nothing vanishes in float64.
_FURTHEST = 300.0
_AT_ONCE = 1 << 20  # sums that are compared together


class Transitions(NamedTuple):
    """How well tags begin a sentence [L], go before one another, row before column, [L, L], and end
    it [L]."""

    start: Array
    step: Array
    end: Array

    @classmethod
    def of(cls, params: Params) -> Transitions:
        """Return those of a chain's parameters, in float64."""
        found = (params[name] for name in (names.CRF_START, names.CRF_WEIGHT, names.CRF_END))
        return cls(*(np.asarray(value, np.float64) for value in found))

    @classmethod
    def allowed(cls, start: Array, step: Array, end: Array) -> Transitions:
        """Return 0 for what is allowed, given as booleans, and `FORBIDDEN` for what is not."""
        return cls(*(np.where(free, 0.0, FORBIDDEN) for free in (start, step, end)))

    def plus(self, other: Transitions) -> Transitions:
        """Return the sums."""
        return Transitions(*(a + b for a, b in zip(self, other, strict=True)))


class Expected(NamedTuple):
    """What a chain makes of sentences: log Z [S], p of every tag of every place [N, L], and how
    often it expects each tag to go before each other, [L, L]."""

    logz: Array
    p: Array
    pairs: Array


def crf_shapes(tags: int) -> dict[str, Shape]:
    """Return the names and shapes of the parameters of a chain."""
    return {names.CRF_WEIGHT: (tags, tags), names.CRF_START: (tags,), names.CRF_END: (tags,)}


def chain_figures(params: Params, scores: Array, tags: Array, starts: Array) -> tuple[Array, Array]:
    """Return log p of every tag of every place, [N, L], and -log p of the known tags of each
    sentence, [S].

    In nats and float64; a place's p is over all tags of the others. Arguments as of
    `chain_backward`.
    """
    chain, compiled = Transitions.of(params), kernel.serves(params[names.CRF_WEIGHT])
    scores = np.asarray(scores, np.float64)
    every = expected(chain, scores, starts, compiled)
    right = _score(chain, scores, np.maximum(tags, 0), starts)
    some = _any(tags < 0, starts)
    if some.any():  # of those sentences alone: others are not summed in another way beside them
        right[some] = expected(chain, _only(scores, tags), starts, compiled).logz[some]
    logp = np.log(np.maximum(every.p, np.finfo(np.float64).tiny))
    return np.asarray(logp), np.asarray(every.logz - right)


def chain_in_turn(params: Params, scores: Array, tags: Array, starts: Array) -> Array:
    """Return log p of each known tag given the known ones before it in its sentence, [N]; 0 where
    one is not known.

    In nats and float64: those of a sentence add up to log p of its known tags. Arguments as of
    `chain_backward`.
    """
    chain, result = Transitions.of(params), np.zeros(len(scores))
    for begin, stop in zip(starts.tolist(), starts[1:].tolist(), strict=False):
        later = np.empty((stop - begin, len(chain.end)))  # log of all that may follow each tag
        later[-1:] = chain.end
        for t in range(len(later) - 2, -1, -1):
            follows = scores[begin + t + 1] + later[t + 1]
            later[t] = np.logaddexp.reduce(chain.step + follows, axis=1)
        before, known = (
            chain.start,
            None,
        )  # log of all that may come before, and of what is known by then
        for t, place in enumerate(range(begin, stop)):
            here = before + scores[place]
            every = np.logaddexp.reduce(here + later[t]) if known is None else known
            if tags[place] >= 0:
                here = np.where(np.arange(len(here)) == tags[place], here, -np.inf)
            known = np.logaddexp.reduce(here + later[t])
            result[place] = known - every if tags[place] >= 0 else 0.0
            before = np.logaddexp.reduce(here[:, None] + chain.step, axis=0)
    return result


def chain_backward(
    params: Params, grads: Params, scores: Array, tags: Array, starts: Array, scale: float
) -> tuple[float, Array]:
    """Add the gradients of scale * nats; return nats = -log p of the known tags, and the gradient
    of the scores.

    scores [N, L]: of the tags of S sentences end to end, tags [N]: the right ones, -1 where one is
    not known, starts [S + 1]: where each sentence begins, and the last ends.
    """
    chain, compiled = Transitions.of(params), kernel.serves(params[names.CRF_WEIGHT])
    wide = np.asarray(scores, np.float64)
    every = expected(chain, wide, starts, compiled)
    if (tags < 0).any():
        known = expected(chain, _only(wide, tags), starts, compiled)
    else:
        known = _observed(chain, wide, tags, starts)
    dscores = (every.p - known.p) * scale
    begin, last = _ends(starts)
    grads[names.CRF_WEIGHT][...] += (every.pairs - known.pairs) * scale
    grads[names.CRF_START][...] += dscores[begin].sum(axis=0)
    grads[names.CRF_END][...] += dscores[last].sum(axis=0)
    return float((every.logz - known.logz).sum()), dscores.astype(scores.dtype)


def expected(chain: Transitions, scores: Array, starts: Array, compiled: bool = False) -> Expected:
    """Return what a chain expects of scores [N, L] in float64, -inf for a tag that cannot be.

    Where it is `compiled` a sentence's figures do not depend on the others, to the bit.
    """
    shift = scores.max(axis=1, initial=-np.inf)
    e = np.exp(scores - shift[:, None])
    (start, top_start), (step, top_step), (end, top_end) = map(_scaled, chain)
    alpha, p, later = np.empty_like(e), np.empty_like(e), np.empty_like(e)
    logz = np.zeros(len(starts) - 1)
    lengths = np.diff(starts)
    arrays = shift, e, step, start, end, alpha, p, later, logz
    if compiled:
        turned, begins = np.ascontiguousarray(step.T), np.ascontiguousarray(starts, np.int64)
        kernel.call("chain", len(logz), len(step), begins, turned, *arrays)
    else:
        _chain(_InSteps(starts), *arrays)
    logz += np.where(lengths > 0, top_start + top_end + (lengths - 1) * top_step, 0.0)
    begin, last = _ends(starts)
    before, after = np.ones(len(e), np.bool_), np.ones(len(e), np.bool_)
    before[last], after[begin] = False, False
    return Expected(logz, p, alpha[before].T @ later[after] * step)


class _InSteps:
    """The places of sentences in the order of steps: the first of all sentences, then the second,
    the longest sentence first.

    Of each in this order, [N]: its number among the places, the number of its sentence, whether it
    is the last. bounds [T + 1]: where each step begins.
    """

    def __init__(self, starts: Array) -> None:
        lengths = np.diff(starts)
        order = np.argsort(-lengths, kind="stable")
        steps = np.arange(lengths.max(initial=0))
        count = np.count_nonzero(lengths[:, None] > steps, axis=0)
        bounds = np.concatenate([[0], np.cumsum(count)])
        step = np.repeat(steps, count)
        self.sentence = order[np.arange(bounds[-1]) - bounds[step]]
        self.place = starts[self.sentence] + step
        self.last = step + 1 == lengths[self.sentence]
        self.bounds: list[int] = bounds.tolist()

    def steps(self) -> list[tuple[slice, slice]]:
        """Return where each step stands, and what of the step before goes on in it; the first has
        none before."""
        before = [0, *self.bounds]
        return [
            (slice(a, b), slice(c, c + b - a))
            for a, b, c in zip(self.bounds, self.bounds[1:], before, strict=False)
        ]


def _chain(
    order: _InSteps, shift: Array, e: Array, step: Array, start: Array, end: Array, alpha: Array,
    p: Array, later: Array, logz: Array,
) -> None:  # fmt: skip
    """Fill alpha, p, later [N, L] and add to logz [S], as kernel.c's `chain` does.

    `later` of a place is e * z, scaled so that alpha of the place before, times exp(W), times it,
    adds up to 1.
    """
    e, shift, steps = e[order.place], shift[order.place], order.steps()
    a, u, z = np.empty_like(e), np.zeros_like(e), np.empty_like(e)
    for k, (here, before) in enumerate(steps):
        np.multiply(a[before] @ step if k else start, e[here], out=a[here])
        total = a[here].sum(axis=1)
        a[here] /= total[:, None]
        logz[order.sentence[here]] += np.log(total) + shift[here]
    logz[order.sentence[order.last]] += np.log(a[order.last] @ end)
    z[...] = end / end.sum()
    for here, before in reversed(steps[1:]):
        told = (e[here] * z[here]) @ step.T
        u[here] = e[here] * z[here] / np.einsum("sl,sl->s", a[before], told)[:, None]
        z[before] = told / told.sum(axis=1, keepdims=True)
    both = a * z
    alpha[order.place], later[order.place] = a, u
    p[order.place] = both / both.sum(axis=1, keepdims=True)


def _scaled(weights: Array) -> tuple[Array, float]:
    """Return exp(weights - the largest), and the largest."""
    top = float(weights.max())
    return np.exp(np.maximum(weights - top, -_FURTHEST)), top


def _only(scores: Array, tags: Array) -> Array:
    """Return the scores [N, L] with -inf for what a known tag is not."""
    free = (tags < 0)[:, None] | (tags[:, None] == np.arange(scores.shape[1]))
    return np.where(free, scores, -np.inf)


def _score(chain: Transitions, scores: Array, tags: Array, starts: Array) -> Array:
    """Return s(y) [S] of tags [N], all known."""
    begin, last = _ends(starts)
    each = scores[np.arange(len(tags)), tags]
    each[begin] += chain.start[tags[begin]]
    each[last] += chain.end[tags[last]]
    inner = np.ones(len(tags), np.bool_)
    inner[begin] = False
    each[inner] += chain.step[tags[:-1][inner[1:]], tags[inner]]
    sums = np.zeros(len(starts) - 1)
    if len(begin):
        sums[np.diff(starts) > 0] = np.add.reduceat(each, begin)
    return sums


def _observed(chain: Transitions, scores: Array, tags: Array, starts: Array) -> Expected:
    """Return s(y), p and pairs of tags [N], all known."""
    size = scores.shape[1]
    inner = np.ones(len(tags), np.bool_)
    inner[_ends(starts)[0]] = False
    numbers = tags[:-1][inner[1:]].astype(np.int64) * size + tags[inner]
    pairs = np.bincount(numbers, minlength=size * size).reshape(size, size).astype(np.float64)
    p = np.zeros_like(scores)
    p[np.arange(len(tags)), tags] = 1
    return Expected(_score(chain, scores, tags, starts), p, pairs)


def _any(which: Array, starts: Array) -> Array:
    """Return of which sentences any place is one of `which` [N], as booleans [S]."""
    before = np.concatenate([[0], np.cumsum(which)])
    return np.asarray(before[starts[1:]] > before[starts[:-1]])


def _ends(starts: Array) -> tuple[Array, Array]:
    """Return the first and the last place of every sentence that has any."""
    some = starts[1:] > starts[:-1]
    return starts[:-1][some], starts[1:][some] - 1


def viterbi(scores: Array, starts: Array, chain: Transitions) -> Array:
    """Return the tags [N] whose sum of scores [N, L] and transitions is the largest for each
    sentence.

    Of equally good ones the last differing tag is the first. A sentence's tags do not depend on the
    others.
    """
    scores, tags = np.ascontiguousarray(scores, np.float64), np.empty(len(scores), np.int32)
    if kernel.missing is None:
        begins = np.ascontiguousarray(starts, np.int64)
        start, step, end = map(np.ascontiguousarray, chain)
        kernel.call("viterbi", len(starts) - 1, len(step), begins, step, start, end, scores, tags)
        return tags
    most = max(1, _AT_ONCE // scores.shape[1] ** 2)
    for begin in range(0, len(starts) - 1, most):
        some = starts[begin : begin + most + 1]
        _viterbi(
            _InSteps(some - some[0]), scores[some[0] : some[-1]], chain, tags[some[0] : some[-1]]
        )
    return tags


def _viterbi(order: _InSteps, scores: Array, chain: Transitions, tags: Array) -> None:
    """Fill tags [N]."""
    scores, steps = scores[order.place], order.steps()
    best, back = np.empty_like(scores), np.zeros(scores.shape, np.int32)
    for k, (here, before) in enumerate(steps):
        if k:
            sums = best[before][:, :, None] + chain.step
            back[here] = sums.argmax(axis=1)
            best[here] = sums.max(axis=1) + scores[here]
        else:
            best[here] = chain.start + scores[here]
    best[order.last] += chain.end
    chosen = best.argmax(axis=1)
    for here, before in reversed(steps[1:]):
        chosen[before] = np.take_along_axis(back[here], chosen[here][:, None], axis=1)[:, 0]
    tags[order.place] = chosen
