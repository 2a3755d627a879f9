"""N-gram models in back-off form as plain dictionaries, and the arrays that hold the same."""

import itertools

import numpy as np

from charlm.counts.table import Counts


def random_model(seed, V=5, order=4, length=60, kept=0.7):
    """Return p by n-gram and back-off weight by context, of a random text's n-grams, some left out."""
    rng = np.random.default_rng(seed)
    text = rng.integers(0, V, length).tolist()
    grams = {(x,) for x in range(V)}
    for n in range(2, order + 1):
        found = sorted({tuple(text[i : i + n]) for i in range(length - n + 1)})
        grams |= {
            gram for gram in found
            if gram[:-1] in grams and gram[1:] in grams and rng.random() < kept
        }  # fmt: skip
    return estimated(rng, V, grams, order)


def estimated(rng, V, grams, order):
    """Return random p of these n-grams, and back-off weights with which each context's sum to 1."""
    p, backoff = {}, {}
    for n in range(order):
        for context in [()] if n == 0 else sorted(gram for gram in grams if len(gram) == n):
            followed = [x for x in range(V) if (*context, x) in grams]
            share = rng.dirichlet(np.ones(len(followed))) if followed else []
            whole = len(followed) == V
            mass = 1 if whole else rng.uniform(0.1, 0.9) if followed else 0
            for x, part in zip(followed, share, strict=True):
                p[(*context, x)] = float(np.float32(mass * (0.9 * part + 0.1 / len(followed))))
            left = 1 - sum(probability(p, backoff, context[1:], x) for x in followed)
            backoff[context] = 1.0 if whole or not context else float(np.float32((1 - mass) / left))
    return p, backoff


def probability(p, backoff, context, x):
    """Return p(x | context) as ARPA files mean it."""
    if (*context, x) in p:
        return p[(*context, x)]
    weight = backoff.get(context, 1.0)  # no context of the model: as if it were not there
    return weight * probability(p, backoff, context[1:], x)


def arrays_of(p, backoff, V):
    """Return the four arrays of these dictionaries, sorted as the table is."""
    by_level = [
        sorted(gram for gram in p if len(gram) == n) for n in range(1, 1 + max(map(len, p)))
    ]
    grams = list(itertools.chain(*by_level))  # sorted by prefix, so in the order of the parents
    contexts = [(), *(gram for gram in grams if gram in backoff)]
    children = [sum((*context, x) in p for x in range(V)) for context in contexts]
    return {
        "token": smallest([gram[-1] for gram in grams], V - 1),
        "p": np.array([p[gram] for gram in grams], np.float32),
        "children": smallest(children, max(children)),
        "backoff": np.array([backoff[context] for context in contexts], np.float32),
    }


def smallest(values, most):
    return np.array(values, np.uint8 if most < 256 else np.uint16 if most < 65536 else np.int32)


def counts_of(p, backoff, V, order, begin=0):
    return Counts(order, V, begin, **arrays_of(p, backoff, V))
