"""Pairs of a source and a target drawn at random, for tests of what reads the one and writes the
other."""

import numpy as np

SOURCES, TARGETS = 6, 5  # sizes of vocabularies; ids 0 and 1 are EOS and UNK
SIZES = [(3, 2), (1, 4), (0, 2), (4, 0), (2, 2), (3, 2), (5, 1), (0, 0)]


def drawn_pairs(sizes=SIZES, seed=0):
    """Return pairs of ids without EOS, of sources and targets of these lengths."""
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(1, SOURCES, n, dtype=np.int32), rng.integers(1, TARGETS, m, dtype=np.int32))
        for n, m in sizes
    ]
